package node_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/berth-net/berth/internal/core/hostnet"
	"github.com/berth-net/berth/internal/core/pool"
	"github.com/berth-net/berth/internal/core/vpc"
	"github.com/berth-net/berth/internal/node"
	"github.com/berth-net/berth/internal/vpcsim"
	"github.com/berth-net/berth/internal/vpcsim/ec2"
)

// trickyHost is a host's network that does not do as it should.
type trickyHost struct {
	*memoryHost
	blind      atomic.Bool   // shows no link
	slow       time.Duration // each wiring takes so long
	broken     string        // the pod that cannot be unwired
	failing    atomic.Bool   // no comparison succeeds
	reconciled atomic.Int32
}

func (h *trickyHost) Links(ctx context.Context) ([]hostnet.Link, error) {
	if h.blind.Load() {
		return nil, nil
	}
	return h.memoryHost.Links(ctx)
}

func (h *trickyHost) Reconcile(ctx context.Context, cfg hostnet.Config) ([]string, []hostnet.Seen, error) {
	n := h.reconciled.Add(1)
	if h.failing.Load() {
		return nil, nil, fmt.Errorf("nft: process %d: no such table", n)
	}
	return h.memoryHost.Reconcile(ctx, cfg)
}

func (h *trickyHost) WirePod(ctx context.Context, s hostnet.Settings, p hostnet.Pod, netns *os.File) (hostnet.Wired, error) {
	<-time.After(h.slow)
	return h.memoryHost.WirePod(ctx, s, p, netns)
}

func (h *trickyHost) UnwirePod(ctx context.Context, s hostnet.Settings, p hostnet.Pod) error {
	if p.Name == h.broken {
		return errors.New("told to")
	}
	return h.memoryHost.UnwirePod(ctx, s, p)
}

// countingCluster counts the steps of the loop, which asks it in each.
type countingCluster struct {
	*cluster
	steps atomic.Int32
}

func (c *countingCluster) Node() (node.Facts, bool) {
	c.steps.Add(1)
	return c.cluster.Node()
}

// tricky starts a house again with another host.
func (h *house) tricky() *trickyHost {
	h.close()
	host := &trickyHost{memoryHost: h.host}
	h.ports.Host = host
	h.start()
	return host
}

func TestInterfaceWhoseLinkNeverAppearsIsNotLookedForAllTheTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, "10.0.0.0/24")
		defer func() { h.close() }()
		host := h.tricky()
		host.blind.Store(true)
		_, errs := h.addAll("p")
		if e, ok := errors.AsType[*node.Error](errors.Join(errs...)); !ok || e.Why != node.HostNetwork || !strings.Contains(e.Detail, "eni-") {
			t.Errorf("errors: %v", errs)
		}
		<-time.After(10 * time.Minute)
		if n := host.reconciled.Load(); n > 60 {
			t.Errorf("the host's network was compared %d times in 10 minutes", n)
		}
		if r, err := h.node.Report(t.Context()); err != nil || !strings.Contains(strings.Join(r.Degraded, "\n"), "have not appeared") {
			t.Errorf("degraded %q, %v", r.Degraded, err)
		}
		host.blind.Store(false)
		<-time.After(31 * time.Second)
		if _, errs := h.addAll("q"); len(errs) > 0 {
			t.Errorf("once the link is there: %v", errs)
		}
	})
}

// Runtimes take a node out of service for any error of STATUS: what heals by itself within a minute is none.
func TestStatusTellsOfAHostNetworkThatCannotBePutRight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, "10.0.0.0/24")
		defer func() { h.close() }()
		host := h.tricky()
		if e, ok := errors.AsType[*node.Error](h.node.Status(t.Context())); !ok || e.Why != pool.Starting {
			t.Errorf("at the start: %v", e)
		}
		<-h.node.Ready()
		<-time.After(time.Minute)
		host.failing.Store(true)
		<-time.After(59 * time.Second)
		if err := h.node.Status(t.Context()); err != nil {
			t.Errorf("after less than a minute: %v", err)
		}
		<-time.After(50 * time.Second)
		e, ok := errors.AsType[*node.Error](h.node.Status(t.Context()))
		if !ok || e.Why != node.HostNetwork || !strings.Contains(e.Error(), "no such table") {
			t.Errorf("after more than a minute: %v", e)
		}
		if n := host.reconciled.Load(); n > 40 {
			t.Errorf("%d comparisons: the pause between two that fail does not grow", n)
		}
		host.failing.Store(false)
		<-time.After(31 * time.Second)
		if err := h.node.Status(t.Context()); err != nil {
			t.Errorf("once it works: %v", err)
		}
	})
}

// A lack of addresses ends by itself, and the pods that run are well.
func TestStatusOfANodeWithoutFreeAddressesIsGood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, "10.0.0.0/28")
		defer h.close()
		if _, errs := h.addAll(names("p", 14)...); len(errs) == 0 {
			t.Fatal("a /28 had room for 14 pods")
		}
		if err := h.node.Status(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestLoopDoesNotSpinWhilePodsAreWired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, "10.0.0.0/24")
		counting := &countingCluster{cluster: h.cluster}
		h.ports.Cluster = counting
		defer func() { h.close() }()
		host := h.tricky()
		<-time.After(25 * time.Second) // the next comparison comes due in the middle
		host.slow = 10 * time.Second
		before := counting.steps.Load()
		if _, errs := h.addAll(names("p", 4)...); len(errs) > 0 {
			t.Fatal(errs[0])
		}
		if n := counting.steps.Load() - before; n > 100 {
			t.Errorf("%d steps of the loop in 10 s", n)
		}
	})
}

// The runtime repeats an ADD of a running pod while the journal cannot be written: the pod keeps its address.
func TestRepeatedAddThatFailsTakesNoAddressAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, "10.0.0.0/24")
		defer h.close()
		if _, errs := h.addAll("p"); len(errs) > 0 {
			t.Fatal(errs[0])
		}
		h.journal.mu.Lock()
		h.journal.err = errors.New("no space left on device")
		h.journal.mu.Unlock()
		if _, errs := h.addAll("p"); len(errs) != 1 {
			t.Fatalf("errors: %v", errs)
		}
		if r, err := h.node.Report(t.Context()); err != nil || r.Tally.InUse != 1 || r.Tally.Cooling != 0 {
			t.Errorf("tally %+v, %v", r.Tally, err)
		}
	})
}

func TestGCGoesOnAfterAPodThatCannotBeUnwired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, "10.0.0.0/24")
		defer func() { h.close() }()
		host := h.tricky()
		host.broken = "a"
		if _, errs := h.addAll("a", "b", "c"); len(errs) > 0 {
			t.Fatal(errs[0])
		}
		if err := h.node.GC(t.Context(), "", nil); err == nil || !strings.Contains(err.Error(), "default/a") {
			t.Errorf("GC: %v", err)
		}
		if len(h.host.pods) != 1 {
			t.Errorf("%d pods are left", len(h.host.pods))
		}
	})
}

// ipv6Cloud has a subnet without IPv4 addresses.
type ipv6Cloud struct{ node.Cloud }

func (c ipv6Cloud) Subnets(ctx context.Context, id vpc.ID, zone vpc.ZoneName) ([]vpc.Subnet, error) {
	list, err := c.Cloud.Subnets(ctx, id, zone)
	return append(list, vpc.Subnet{ID: "subnet-6", VPC: id, Zone: zone, Available: true, Tags: vpc.Tags{vpc.TagCNIRole: "1"}}), err
}

// "berth status" counted the addresses of "invalid Prefix".
func TestSubnetWithoutIPv4IsNotReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(t, "10.0.0.0/24")
		h.ports.Cloud = ipv6Cloud{h.cloud}
		h.start()
		defer h.close()
		if _, errs := h.addAll(names("p", 12)...); len(errs) > 0 {
			t.Fatal(errs[0])
		}
		if r, err := h.node.Report(t.Context()); err != nil || len(r.Subnets) != 1 {
			t.Errorf("%+v, %v", r.Subnets, err)
		}
	})
}

// silentMetadata does not answer.
type silentMetadata struct{ node.Metadata }

func (silentMetadata) Instance(ctx context.Context) (vpc.Instance, error) {
	<-ctx.Done()
	return vpc.Instance{}, ctx.Err()
}

// CHECK told the runtime that the agent does not know the pod, and GC that all was collected.
func TestCheckAndGCWhileStartingAreToldToComeAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, "10.0.0.0/24")
		defer func() { h.close() }()
		if _, errs := h.addAll("p"); len(errs) > 0 {
			t.Fatal(errs[0])
		}
		h.close()
		h.ports.Metadata = silentMetadata{h.ports.Metadata}
		h.start()
		synctest.Wait()
		_, check := h.node.Check(t.Context(), pod("p"), nil)
		for verb, err := range map[string]error{"CHECK": check, "GC": h.node.GC(t.Context(), "", nil)} {
			if e, ok := errors.AsType[*node.Error](err); !ok || e.Why != pool.Starting || !e.Retry || !strings.Contains(e.Error(), "metadata") {
				t.Errorf("%s: %v", verb, err)
			}
		}
	})
}

// silentCloud answers for interfaces and nothing else.
type silentCloud struct{ node.Cloud }

func (silentCloud) Subnets(ctx context.Context, _ vpc.ID, _ vpc.ZoneName) ([]vpc.Subnet, error) {
	<-ctx.Done()
	return nil, &vpc.Error{Code: vpc.Internal, Op: "DescribeSubnets", Err: ctx.Err()}
}

func (silentCloud) TagENI(ctx context.Context, _ vpc.ENIID, _ vpc.Tags) error {
	<-ctx.Done()
	return &vpc.Error{Code: vpc.Internal, Op: "CreateTags", Err: ctx.Err()}
}

func TestRule4RestartServesPodsBeforeAnyOtherWorkOfEC2(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, "10.0.0.0/24")
		defer func() { h.close() }()
		if _, errs := h.addAll("p"); len(errs) > 0 {
			t.Fatal(errs[0])
		}
		<-time.After(time.Minute)
		h.close()
		h.ports.Cloud = silentCloud{h.cloud}
		h.start()
		began := time.Now()
		<-h.node.Ready()
		if _, errs := h.addAll("q"); len(errs) > 0 || time.Since(began) > time.Second {
			t.Errorf("after %s: %v", time.Since(began), errs)
		}
	})
}

func TestRule3NothingIsMadeWhileTheJournalCannotBeWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, "10.0.0.0/24")
		defer h.close()
		h.journal.mu.Lock()
		h.journal.err = errors.New("no space left on device")
		h.journal.mu.Unlock()
		_, errs := h.addAll(names("p", 12)...)
		<-time.After(5 * time.Minute)
		if len(errs) != 12 || len(h.host.pods) != 0 {
			t.Errorf("%d errors, %d pods wired", len(errs), len(h.host.pods))
		}
		if n := len(h.sim.Topology().Interfaces); n != 1 {
			t.Errorf("%d interfaces exist, though none could be recorded", n)
		}
	})
}

// The host booted a while ago and the journal is gone: an address that a lagging read may show is given to nobody yet.
func TestRule2LostJournalOnAHostThatBootedLongAgoHoldsTheAddresses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, "10.0.0.0/24")
		defer func() { h.close() }()
		got, errs := h.addAll("a", "b")
		if len(errs) > 0 {
			t.Fatal(errs[0])
		}
		<-time.After(10 * time.Minute)
		h.close()
		h.journal.records = nil
		h.booted = time.Now().Add(-10 * time.Minute)
		h.start()
		<-h.node.Ready()
		r, err := h.node.Report(t.Context())
		if err != nil || r.Tally.Free != 0 {
			t.Errorf("tally %+v, %v", r.Tally, err)
		}
		next, errs := h.addAll("c")
		if len(errs) > 0 {
			t.Fatal(errs[0])
		}
		for _, a := range []netip.Addr{got["a"], got["b"]} {
			if next["c"] == a {
				t.Errorf("%s lives on and was given away", a)
			}
		}
	})
}

// meter counts what it is told.
type meter struct{ enis, addrs, compared atomic.Int32 }

func (*meter) Added(time.Duration, string)                     {}
func (*meter) Deleted(time.Duration, error)                    {}
func (*meter) Acted(pool.Kind, pool.Why, time.Duration, error) {}
func (m *meter) Compared(error)                                { m.compared.Add(1) }
func (m *meter) Lost(enis, addrs int)                          { m.enis.Add(int32(enis)); m.addrs.Add(int32(addrs)) }

// Somebody unassigns the address of a running pod: it is told once, and the pod keeps its address in the records.
func TestPodWhoseAddressEC2DoesNotListIsNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(t, "10.0.0.0/24")
		counts := &meter{}
		h.ports.Meter = counts
		h.start()
		defer h.close()
		got, errs := h.addAll("p")
		if len(errs) > 0 {
			t.Fatal(errs[0])
		}
		r, err := h.node.Report(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var eni vpc.ENIID
		for _, e := range r.ENIs {
			if slices.ContainsFunc(e.Addresses, func(a node.ReportAddress) bool { return a.IP == got["p"] }) {
				eni = e.ID
			}
		}
		if _, err := h.sim.UnassignPrivateIpAddresses(vpcsim.Caller{}, ec2.UnassignPrivateIpAddressesInput{
			NetworkInterfaceId: string(eni), PrivateIpAddresses: []string{got["p"].String()},
		}); err != nil {
			t.Fatal(err)
		}
		<-time.After(30 * time.Minute)
		if counts.addrs.Load() != 1 || counts.enis.Load() != 0 || counts.compared.Load() == 0 {
			t.Errorf("%d addresses, %d interfaces, %d comparisons", counts.addrs.Load(), counts.enis.Load(), counts.compared.Load())
		}
		r, err = h.node.Report(t.Context())
		if err != nil || r.Tally.InUse != 1 || !strings.Contains(strings.Join(r.Lost, "\n"), "does not list "+got["p"].String()+" of pod default/p") {
			t.Errorf("%+v, lost %q, %v", r.Tally, r.Lost, err)
		}
	})
}

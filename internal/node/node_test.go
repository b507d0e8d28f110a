package node_test

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/berth-net/berth/internal/core/hostnet"
	"github.com/berth-net/berth/internal/core/pool"
	"github.com/berth-net/berth/internal/core/vpc"
	"github.com/berth-net/berth/internal/node"
	"github.com/berth-net/berth/internal/testkit/simcloud"
	"github.com/berth-net/berth/internal/vpcsim"
	"github.com/berth-net/berth/internal/vpcsim/ec2"
)

// realClock is the bubble's time.
type realClock struct{}

func (realClock) Now() time.Time                         { return time.Now() }
func (realClock) After(d time.Duration) <-chan time.Time { return time.After(d) }

// slowCloud takes its time for each call, and refuses what it is told to.
type slowCloud struct {
	node.Cloud
	call time.Duration
	mu   sync.Mutex
	deny map[string]vpc.Code
}

func (c *slowCloud) wait(ctx context.Context, op string) error {
	select {
	case <-time.After(c.call):
	case <-ctx.Done():
		return &vpc.Error{Code: vpc.Internal, Op: op, Err: ctx.Err()}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if code, ok := c.deny[op]; ok {
		return &vpc.Error{Code: code, Op: op, Subject: "eni", Err: errors.New("told to")}
	}
	return nil
}

func (c *slowCloud) AttachedENIs(ctx context.Context, id vpc.InstanceID) ([]vpc.ENI, error) {
	if err := c.wait(ctx, "DescribeNetworkInterfaces"); err != nil {
		return nil, err
	}
	return c.Cloud.AttachedENIs(ctx, id)
}

func (c *slowCloud) Assign(ctx context.Context, eni vpc.ENIID, want vpc.Want) ([]vpc.Block, error) {
	if err := c.wait(ctx, "AssignPrivateIpAddresses"); err != nil {
		return nil, err
	}
	return c.Cloud.Assign(ctx, eni, want)
}

// memoryHost is a host's network as a map.
type memoryHost struct {
	mu      sync.Mutex
	sim     *vpcsim.Sim
	id      vpc.InstanceID
	pods    map[netip.Addr]hostnet.Pod
	wireErr error
	changes chan struct{}
}

func (h *memoryHost) Reconcile(ctx context.Context, cfg hostnet.Config) ([]string, []hostnet.Seen, error) {
	seen, err := h.Seen(ctx, cfg.Settings)
	return nil, seen, err
}

func (h *memoryHost) Changes() <-chan struct{} { return h.changes }

func (h *memoryHost) CheckPod(_ context.Context, _ hostnet.Settings, p hostnet.Pod, _ *os.File) ([]string, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, ok := h.pods[p.Addrs[0]]; !ok {
		return []string{"route"}, nil
	}
	return nil, nil
}

func (h *memoryHost) WirePod(_ context.Context, _ hostnet.Settings, p hostnet.Pod, _ *os.File) (hostnet.Wired, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.wireErr != nil {
		return hostnet.Wired{}, h.wireErr
	}
	if old, ok := h.pods[p.Addrs[0]]; ok && old.Key != p.Key {
		return hostnet.Wired{}, errors.New("the address is taken")
	}
	h.pods[p.Addrs[0]] = p
	return hostnet.Wired{HostVeth: "eni1"}, nil
}

func (h *memoryHost) UnwirePod(_ context.Context, _ hostnet.Settings, p hostnet.Pod) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if old := h.pods[p.Addrs[0]]; old.Key == p.Key || old.Key == (hostnet.PodKey{}) { // what another attachment has now is left alone
		delete(h.pods, p.Addrs[0])
	}
	return nil
}

func (h *memoryHost) Seen(context.Context, hostnet.Settings) ([]hostnet.Seen, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var seen []hostnet.Seen
	for a, p := range h.pods {
		s := hostnet.Seen{Addr: a, Live: true, Veth: hostnet.VethName("eni", p.Namespace, p.Name)}
		if p.Key != (hostnet.PodKey{}) { // else the existing CNI wired it
			s.Alias = hostnet.Alias(p.Key)
		}
		seen = append(seen, s)
	}
	return seen, nil
}

func (h *memoryHost) Links(context.Context) ([]hostnet.Link, error) {
	var links []hostnet.Link
	for _, i := range h.sim.Topology().Interfaces {
		if i.Instance == h.id {
			links = append(links, hostnet.Link{MAC: i.MAC})
		}
	}
	return links, nil
}

// memoryJournal keeps records, or fails.
type memoryJournal struct {
	mu      sync.Mutex
	records []pool.Record
	err     error
}

func (j *memoryJournal) Load() ([]pool.Record, string, error) {
	return slices.Clone(j.records), "", nil
}
func (j *memoryJournal) Due() bool                          { return false }
func (j *memoryJournal) Compact([]pool.Record) func() error { return func() error { return nil } }
func (j *memoryJournal) Append(r []pool.Record) func() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	err := j.err
	if err == nil {
		j.records = append(j.records, r...)
	}
	return func() error { return err }
}

// cluster remembers the events, and the last condition of each type.
type cluster struct {
	mu         sync.Mutex
	events     []node.Event
	conditions map[string]node.Condition
	overrides  []pool.Overrides
	refused    []string
}

func (c *cluster) Node() (node.Facts, bool) {
	return node.Facts{MaxPods: 29, Schedulable: true, Overrides: c.overrides, Refused: c.refused}, true
}
func (c *cluster) Changes() <-chan struct{} { return nil }
func (c *cluster) Condition(n node.Condition) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conditions == nil {
		c.conditions = make(map[string]node.Condition)
	}
	c.conditions[n.Type] = n
}

func (c *cluster) Event(e node.Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.events = append(c.events, e)
}

// house is a node's loop with everything around it.
type house struct {
	t       *testing.T
	sim     *vpcsim.Sim
	cloud   *slowCloud
	host    *memoryHost
	journal *memoryJournal
	cluster *cluster
	ports   node.Ports
	node    *node.Node
	booted  time.Time // of the host; now unless set
	stop    context.CancelFunc
	ended   chan error
}

// newHouse returns a node that runs.
func newHouse(t *testing.T, cidr string) *house {
	t.Helper()
	h := build(t, cidr)
	h.start()
	return h
}

// build returns one that was not started yet.
func build(t *testing.T, cidr string) *house {
	t.Helper()
	sim := vpcsim.New(vpcsim.Options{Seed: 1})
	v, err := sim.CreateVpc(vpcsim.Caller{}, ec2.CreateVpcInput{CidrBlock: "10.0.0.0/16"})
	if err != nil {
		t.Fatal(err)
	}
	sn, err := sim.CreateSubnet(vpcsim.Caller{}, ec2.CreateSubnetInput{VpcId: v.Vpc.VpcId, CidrBlock: cidr, AvailabilityZone: "us-west-2a"})
	if err != nil {
		t.Fatal(err)
	}
	one := 1
	out, err := sim.RunInstances(vpcsim.Caller{}, ec2.RunInstancesInput{ImageId: "ami-0123456789abcdef0", InstanceType: "m5.large", SubnetId: sn.Subnet.SubnetId, MinCount: &one, MaxCount: &one})
	if err != nil {
		t.Fatal(err)
	}
	id := vpc.InstanceID(out.Instances[0].InstanceId)
	h := &house{
		t: t, sim: sim, journal: &memoryJournal{}, cluster: &cluster{},
		cloud: &slowCloud{Cloud: simcloud.Cloud{Sim: sim, Caller: vpcsim.Caller{Source: "node"}}, call: 400 * time.Millisecond, deny: map[string]vpc.Code{}},
		host:  &memoryHost{sim: sim, id: id, pods: map[netip.Addr]hostnet.Pod{}, changes: make(chan struct{}, 1)},
	}
	h.ports = node.Ports{
		Cloud: h.cloud, Metadata: simcloud.Metadata{Sim: sim, ID: id}, Host: h.host, Cluster: h.cluster, Journal: h.journal,
		Clock: realClock{}, Log: slog.New(slog.DiscardHandler),
	}
	return h
}

func (h *house) start() {
	ctx, stop := context.WithCancel(context.Background())
	h.stop, h.ended = stop, make(chan error, 1)
	booted := h.booted
	if booted.IsZero() {
		booted = time.Now()
	}
	h.node = node.New(node.Config{IPAM: pool.Defaults(), Settings: hostnet.Settings{VethPrefix: "eni"}, Nonce: "n", BootedAt: booted}, h.ports)
	n := h.node
	ended := h.ended
	go func() { ended <- n.Run(ctx) }()
}

func (h *house) close() {
	h.stop()
	if err := <-h.ended; err != nil {
		h.t.Errorf("run: %v", err)
	}
}

func pod(name string) pool.Pod {
	return pool.Pod{Key: pool.Key{ContainerID: "c-" + name, IfName: "eth0"}, Namespace: "default", Name: name}
}

func (h *house) addAll(names ...string) (map[string]netip.Addr, []error) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	got := map[string]netip.Addr{}
	var errs []error
	for _, name := range names {
		wg.Go(func() {
			added, err := h.node.Add(h.t.Context(), node.AddRequest{Pod: pod(name)})
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				errs = append(errs, err)
				return
			}
			got[name] = added.Pod.Addrs[0]
		})
	}
	wg.Wait()
	return got, errs
}

func names(prefix string, n int) []string {
	var list []string
	for i := range n {
		list = append(list, prefix+string(rune('a'+i)))
	}
	return list
}

func TestBurstOnAFreshNodeIsServedAsAddressesCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, "10.0.0.0/24")
		defer h.close()
		began := time.Now()
		got, errs := h.addAll(names("p", 26)...)
		if len(errs) > 0 {
			t.Fatal(errs[0])
		}
		if elapsed := time.Since(began); elapsed > 2*time.Second {
			t.Errorf("the last of 26 pods was served after %s", elapsed)
		}
		distinct := map[netip.Addr]bool{}
		for a := range maps.Values(got) {
			distinct[a] = true
		}
		if len(distinct) != 26 {
			t.Errorf("%d distinct addresses for 26 pods", len(distinct))
		}
	})
}

func TestAddWithoutAnAddressWaitsTenSecondsAndSaysWhy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, "10.0.0.0/28") // eleven addresses, one is the node's own
		defer h.close()
		if _, errs := h.addAll(names("p", 9)...); len(errs) > 0 {
			t.Fatal(errs[0])
		}
		began := time.Now()
		_, errs := h.addAll("late", "later")
		if len(errs) != 2 || time.Since(began) != 10*time.Second {
			t.Fatalf("after %s: %v", time.Since(began), errs)
		}
		e, ok := errors.AsType[*node.Error](errs[0])
		if !ok || !e.Retry || !strings.Contains(e.Error(), "kubernetes.io/role/cni=1") || !strings.Contains(e.Error(), "pod default/late") {
			t.Errorf("error: %v", errs[0])
		}
		if len(h.cluster.events) != 2 || h.cluster.events[0].Reason != "WaitingForAddress" {
			t.Errorf("events: %+v", h.cluster.events)
		}
	})
}

func TestAddRepeatedGivesTheSameAddressAndDelTwiceSucceeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, "10.0.0.0/24")
		defer h.close()
		first, _ := h.addAll("p")
		again, _ := h.addAll("p")
		if first["p"] != again["p"] || !first["p"].IsValid() {
			t.Errorf("first %s, then %s", first["p"], again["p"])
		}
		if _, err := h.node.Check(t.Context(), pod("p"), nil); err != nil {
			t.Errorf("check: %v", err)
		}
		for range 2 {
			if err := h.node.Del(t.Context(), node.DelRequest{Pod: pod("p")}); err != nil {
				t.Errorf("del: %v", err)
			}
		}
		if _, err := h.node.Check(t.Context(), pod("p"), nil); err == nil {
			t.Error("a deleted pod passes CHECK")
		}
	})
}

func TestDelWhileTheAddWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(t, "10.0.0.0/24")
		h.cloud.call = 3 * time.Second
		h.start()
		defer h.close()
		added := make(chan error, 1)
		go func() {
			_, err := h.node.Add(t.Context(), node.AddRequest{Pod: pod("p")})
			added <- err
		}()
		<-time.After(2 * time.Second)
		if err := h.node.Del(t.Context(), node.DelRequest{Pod: pod("p")}); err != nil {
			t.Errorf("del: %v", err)
		}
		if err := <-added; err == nil {
			t.Error("the ADD of a deleted attachment succeeded")
		}
		<-time.After(10 * time.Second)
		r, err := h.node.Report(t.Context())
		if err != nil || r.Tally.InUse != 0 || r.Tally.Waiting != 0 {
			t.Errorf("report %+v, %v", r.Tally, err)
		}
	})
}

func TestStopAnswersWhoWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(t, "10.0.0.0/24")
		h.cloud.call = time.Minute
		h.start()
		added := make(chan error, 1)
		go func() {
			_, err := h.node.Add(t.Context(), node.AddRequest{Pod: pod("p")})
			added <- err
		}()
		<-time.After(time.Second)
		began := time.Now()
		h.close()
		if time.Since(began) > time.Second {
			t.Errorf("stopping took %s", time.Since(began))
		}
		if e, ok := errors.AsType[*node.Error](<-added); !ok || e.Why != node.Stopping {
			t.Errorf("the ADD that waited: %v", e)
		}
	})
}

func TestRestartGivesNoAddressTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, "10.0.0.0/24")
		first, errs := h.addAll(names("p", 9)...)
		if len(errs) > 0 {
			t.Fatal(errs[0])
		}
		h.close()
		h.cloud.deny["DescribeNetworkInterfaces"] = vpc.Throttled
		h.start()
		defer h.close()
		<-time.After(5 * time.Second)
		h.cloud.mu.Lock()
		clear(h.cloud.deny)
		h.cloud.mu.Unlock()
		second, errs := h.addAll(names("q", 9)...)
		if len(errs) > 0 {
			t.Fatal(errs[0])
		}
		for name, a := range second {
			for other, b := range first {
				if a == b {
					t.Errorf("%s and %s both have %s", name, other, a)
				}
			}
		}
	})
}

func TestJournalThatCannotBeWrittenFailsTheAddAndFreesTheAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, "10.0.0.0/24")
		defer h.close()
		if _, errs := h.addAll("p"); len(errs) > 0 {
			t.Fatal(errs[0])
		}
		h.journal.mu.Lock()
		h.journal.err = errors.New("no space left on device")
		h.journal.mu.Unlock()
		_, errs := h.addAll("q")
		if len(errs) != 1 || !strings.Contains(errs[0].Error(), "no space left on device") {
			t.Fatalf("errors: %v", errs)
		}
		if len(h.host.pods) != 1 {
			t.Errorf("%d pods are wired", len(h.host.pods))
		}
	})
}

func TestWiringThatFailsFreesTheAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, "10.0.0.0/24")
		defer h.close()
		h.host.wireErr = errors.New("no such namespace")
		_, errs := h.addAll("p")
		if e, ok := errors.AsType[*node.Error](errors.Join(errs...)); !ok || e.Why != node.WiringError {
			t.Errorf("errors: %v", errs)
		}
		r, err := h.node.Report(t.Context())
		if err != nil || r.Tally.InUse != 0 || r.Tally.Cooling != 1 {
			t.Errorf("tally %+v, %v", r.Tally, err)
		}
	})
}

func TestGCRemovesWhatTheRuntimeDoesNotKnow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, "10.0.0.0/24")
		defer h.close()
		got, _ := h.addAll("a", "b", "c")
		if err := h.node.GC(t.Context(), "", []pool.Key{pod("b").Key}); err != nil {
			t.Fatal(err)
		}
		if len(h.host.pods) != 1 || h.host.pods[got["b"]].Name != "b" {
			t.Errorf("left: %v", h.host.pods)
		}
	})
}

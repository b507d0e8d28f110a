package vpcsim_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/berth-net/berth/internal/core/vpc"
	"github.com/berth-net/berth/internal/vpcsim"
	"github.com/berth-net/berth/internal/vpcsim/ec2"
	"github.com/berth-net/berth/internal/vpcsim/pacing"
)

// restless are settings under which everything takes a time of its own.
func restless() vpcsim.Settings {
	some := pacing.Distribution{P50: 300 * time.Millisecond, P99: 4 * time.Second, Max: 10 * time.Second}
	return vpcsim.Settings{
		Attach: some, Detach: some, AssociateBlock: some, LaunchInstance: some, TerminateInstance: some, DescribeLag: some,
		FreeCountLag: some, MetadataAdd: some, MetadataRemove: some, Quarantine: time.Second,
	}
}

// drive makes random calls and tells what was answered, one line per call.
func drive(t testing.TB, w *world, rng *rand.Rand, steps int) []string {
	t.Helper()
	var trace []string
	note := func(action string, v any, err error) {
		data, jsonErr := json.Marshal(v)
		must(t, jsonErr)
		trace = append(trace, fmt.Sprintf("%s %s %s %s", w.clock.now.Format("15:04:05.000"), action, code(err), data))
	}
	pick := func() ec2.NetworkInterface { return w.pick(t, rng) }
	for range steps {
		w.clock.add(time.Duration(rng.IntN(1000)) * time.Millisecond)
		switch rng.IntN(9) {
		case 0, 1:
			out, err := w.CreateNetworkInterface(operator, ec2.CreateNetworkInterfaceInput{SubnetId: w.subnet, SecondaryPrivateIpAddressCount: new(rng.IntN(12))})
			note("create", out, err)
		case 2:
			out, err := w.CreateNetworkInterface(operator, ec2.CreateNetworkInterfaceInput{SubnetId: w.subnet, Ipv4PrefixCount: new(rng.IntN(3))})
			note("create", out, err)
		case 3:
			out, err := w.AssignPrivateIpAddresses(operator, ec2.AssignPrivateIpAddressesInput{
				NetworkInterfaceId: pick().NetworkInterfaceId, SecondaryPrivateIpAddressCount: new(1 + rng.IntN(4)),
			})
			note("assign", out, err)
		case 4:
			e := pick()
			in := ec2.UnassignPrivateIpAddressesInput{NetworkInterfaceId: e.NetworkInterfaceId}
			for i, a := range e.PrivateIpAddresses {
				if i > 0 && rng.IntN(2) == 0 {
					in.PrivateIpAddresses = append(in.PrivateIpAddresses, a.PrivateIpAddress)
				}
			}
			for _, p := range e.Ipv4Prefixes {
				in.Ipv4Prefixes = append(in.Ipv4Prefixes, p.Ipv4Prefix)
			}
			out, err := w.UnassignPrivateIpAddresses(operator, in)
			note("unassign", out, err)
		case 5:
			out, err := w.DeleteNetworkInterface(operator, ec2.DeleteNetworkInterfaceInput{NetworkInterfaceId: pick().NetworkInterfaceId})
			note("delete", out, err)
		case 6:
			out, err := w.AttachNetworkInterface(operator, ec2.AttachNetworkInterfaceInput{
				NetworkInterfaceId: pick().NetworkInterfaceId, InstanceId: w.node, DeviceIndex: new(rng.IntN(3)),
			})
			note("attach", out, err)
		case 7:
			if e := pick(); e.Attachment != nil {
				out, err := w.DetachNetworkInterface(operator, ec2.DetachNetworkInterfaceInput{AttachmentId: e.Attachment.AttachmentId})
				note("detach", out, err)
			}
		default:
			m, _ := w.Metadata(vpc.InstanceID(w.node))
			note("metadata", m.Values, nil)
		}
	}
	return trace
}

// pick is a random interface that describe actions show.
func (w *world) pick(t testing.TB, rng *rand.Rand) ec2.NetworkInterface {
	t.Helper()
	out, err := w.DescribeNetworkInterfaces(operator, ec2.DescribeNetworkInterfacesInput{})
	must(t, err)
	if len(out.NetworkInterfaces) == 0 {
		return ec2.NetworkInterface{NetworkInterfaceId: "eni-" + absent}
	}
	return out.NetworkInterfaces[rng.IntN(len(out.NetworkInterfaces))]
}

// balance holds the topology against the subnet: no address twice, none reserved, all prefixes aligned, and the free
// count is what is left.
func balance(t testing.TB, w *world) {
	t.Helper()
	used := make(map[netip.Addr]vpc.ENIID)
	top := w.Topology()
	cidr := top.Subnets[0].CIDR
	add := func(a netip.Addr, e vpc.ENIID) {
		if other, twice := used[a]; twice {
			t.Fatalf("%s is assigned to %s and %s", a, other, e)
		}
		if !cidr.Contains(a) || vpc.Reserved(cidr, a) {
			t.Fatalf("%s of %s is outside %s or reserved", a, e, cidr)
		}
		used[a] = e
	}
	for _, e := range top.Interfaces {
		for _, a := range e.Addresses {
			add(a, e.ID)
		}
		for _, p := range e.Prefixes {
			if p.Bits() != 28 || p != p.Masked() {
				t.Fatalf("prefix %s of %s is not an aligned /28", p, e.ID)
			}
			for a := p.Addr(); p.Contains(a); a = a.Next() {
				add(a, e.ID)
			}
		}
	}
	if w.Settings().FreeCountLag.Zero() {
		if got, want := w.free(t, w.subnet), 251-len(used); got != want {
			t.Fatalf("%d free, want %d", got, want)
		}
	}
}

func TestAddressesBalance(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		set := restless()
		set.FreeCountLag, set.DescribeLag = pacing.Distribution{}, pacing.Distribution{}
		set.Sequential = rapid.Bool().Draw(rt, "sequential")
		w := newWorld(t, vpcsim.Options{Seed: rapid.Uint64().Draw(rt, "seed"), Settings: set})
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "calls"), 0))
		for range 20 {
			drive(t, w, rng, 5)
			balance(t, w)
		}
	})
}

func TestSameSeedSameTrace(t *testing.T) {
	run := func(seed uint64) []string {
		w := newWorld(t, vpcsim.Options{Seed: seed, Settings: restless()})
		return drive(t, w, rand.New(rand.NewPCG(1, 1)), 400)
	}
	first := run(7)
	if diff := cmp.Diff(first, run(7)); diff != "" {
		t.Errorf("another trace with the same seed: %s", diff)
	}
	if cmp.Equal(first, run(8)) {
		t.Error("the same trace with another seed")
	}
}

func TestSnapshotGoesOnTheSame(t *testing.T) {
	w := newWorld(t, vpcsim.Options{Seed: 5, Settings: restless()})
	rng := rand.New(rand.NewPCG(2, 2))
	w.AddFault(pacing.Fault{Action: "Nothing", Code: "Unavailable"})
	must(t, w.SetPolicies("role", readOnlyPolicy))
	must(t, result(w.CreateNetworkInterface(operator, ec2.CreateNetworkInterfaceInput{SubnetId: w.subnet, ClientToken: "t"})))
	drive(t, w, rng, 300)
	data, err := w.Snapshot()
	must(t, err)

	copied := *w
	copied.clock = &clock{now: w.clock.now}
	copied.Sim = vpcsim.New(vpcsim.Options{Clock: copied.clock, Seed: 99})
	must(t, copied.Restore(data))
	again, err := copied.Snapshot()
	must(t, err)
	var a, b map[string]any
	must(t, json.Unmarshal(data, &a))
	must(t, json.Unmarshal(again, &b))
	delete(a, "Revision") // a restored region is a change
	delete(b, "Revision")
	if diff := cmp.Diff(a, b); diff != "" {
		t.Fatalf("another state after restoring: %s", diff)
	}
	if len(copied.Faults()) != 1 {
		t.Error("the fault is gone")
	}
	first := drive(t, w, rand.New(rand.NewPCG(3, 3)), 300)
	second := drive(t, &copied, rand.New(rand.NewPCG(3, 3)), 300)
	if diff := cmp.Diff(first, second); diff != "" {
		t.Errorf("another future after restoring: %s", diff)
	}
	for _, bad := range []string{"", "{", `{"IDs":"AAAA"}`, `{"Policies":{"x":["{"]}}`} {
		if err := copied.Restore([]byte(bad)); err == nil || !strings.HasPrefix(err.Error(), "restore snapshot") {
			t.Errorf("restore %q: %v", bad, err)
		}
	}
}

// BenchmarkNode is what one node asks for at its start, in a region with many nodes.
func BenchmarkNode(b *testing.B) {
	w := newWorld(b, vpcsim.Options{Settings: vpcsim.Settings{Quotas: vpcsim.Quotas{Interfaces: 1 << 20}}})
	big := w.newSubnet(b, "10.0.128.0/17")
	w.subnet = big
	var nodes []string
	for range 1000 {
		nodes = append(nodes, w.launch(b, "m6a.large"))
	}
	n := 0
	for b.Loop() {
		w.node = nodes[n%len(nodes)]
		n++
		p := w.primary(b)
		e := w.newENI(b, ec2.CreateNetworkInterfaceInput{SecondaryPrivateIpAddressCount: new(9), ClientToken: fmt.Sprint("t-", n)})
		id := w.attach(b, e.NetworkInterfaceId, 1)
		out, err := w.AssignPrivateIpAddresses(operator, ec2.AssignPrivateIpAddressesInput{NetworkInterfaceId: p.NetworkInterfaceId, SecondaryPrivateIpAddressCount: new(9)})
		must(b, err)
		var addrs []string
		for _, a := range out.AssignedPrivateIpAddresses {
			addrs = append(addrs, a.PrivateIpAddress)
		}
		w.free(b, big)
		must(b, result(w.UnassignPrivateIpAddresses(operator, ec2.UnassignPrivateIpAddressesInput{NetworkInterfaceId: p.NetworkInterfaceId, PrivateIpAddresses: addrs})))
		must(b, result(w.DetachNetworkInterface(operator, ec2.DetachNetworkInterfaceInput{AttachmentId: id})))
		must(b, result(w.DeleteNetworkInterface(operator, ec2.DeleteNetworkInterfaceInput{NetworkInterfaceId: e.NetworkInterfaceId})))
	}
}

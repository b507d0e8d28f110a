package ipam_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/berth-net/berth/internal/core/ipam"
	"github.com/berth-net/berth/internal/core/pool"
	"github.com/berth-net/berth/internal/core/target"
	"github.com/berth-net/berth/internal/core/vpc"
)

// roomy is a subnet that takes many prefixes.
func roomy(w *world) { w.subs[0].CIDR, w.subs[0].Free = netip.MustParsePrefix("10.0.0.0/16"), 60000 }

func inPrefixes(c *pool.Config) { c.Prefixes = true }

func TestPrefixes(t *testing.T) {
	tests := []struct {
		name   string
		change func(*pool.Config)
		pods   int
		want   string
	}{
		{"one warm prefix", inPrefixes, 0, "assign-addresses eni-primary +1 prefixes: warm-target\n"},
		{"two warm prefixes", func(c *pool.Config) { c.Prefixes, c.WarmPrefix = true, 2 }, 0, "assign-addresses eni-primary +2 prefixes: warm-target\n"},
		{"none warm: one address stays free", func(c *pool.Config) { c.Prefixes, c.WarmPrefix = true, 0 }, 0, "assign-addresses eni-primary +1 prefixes: warm-target\n"},
		{"pods wait", inPrefixes, 20, "assign-addresses eni-primary +3 prefixes: pods-waiting\n"},
		{"warm addresses are rounded up", func(c *pool.Config) { c.Prefixes, c.WarmIP = true, 5 }, 14, "assign-addresses eni-primary +2 prefixes: pods-waiting\n"},
		{"a minimum", func(c *pool.Config) { c.Prefixes, c.MinimumIP = true, 33 }, 0, "assign-addresses eni-primary +3 prefixes: warm-target\n"},
		{"not more than the kubelet allows", func(c *pool.Config) { c.Prefixes, c.WarmIP = true, 500 }, 0, "assign-addresses eni-primary +7 prefixes: warm-target\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, tt.change)
			roomy(w)
			w.state.MaxPods = 110
			w.add(0, tt.pods)
			plans := w.settle()
			if !strings.Contains(plans, tt.want) {
				t.Errorf("plans:\n%swant\n%s", plans, tt.want)
			}
			if tally := w.state.Tally(); tally.Waiting > 0 || tally.Other > 0 {
				t.Errorf("%+v", tally)
			}
		})
	}
}

// Before the Node object is known the number of the type's single addresses is no limit of prefixes.
func TestPrefixTargetsHoldWithoutTheNodeObject(t *testing.T) {
	w := newWorld(t, func(c *pool.Config) { c.Prefixes, c.MinimumIP = true, 65 })
	roomy(w)
	w.settle()
	if tally := w.state.Tally(); tally.Free != 80 {
		t.Errorf("65 addresses are asked for: %+v", tally)
	}
}

func TestPrefixesNeedNitro(t *testing.T) {
	w := newWorld(t, inPrefixes)
	w.state.Limits.Hypervisor = "xen"
	if plans := w.settle(); !strings.Contains(plans, "assign-addresses eni-primary +9: warm-target") {
		t.Errorf("plans:\n%s", plans)
	}
}

// A prefix of which a pod has an address stays, and those that nobody needs go.
func TestIdlePrefixesGoBack(t *testing.T) {
	w := newWorld(t, inPrefixes)
	roomy(w)
	w.state.MaxPods = 110
	w.add(0, 40)
	w.settle()
	w.del(0, 39)
	w.now = w.now.Add(2 * time.Minute)
	plans := w.settle()
	w.settleFor(time.Minute)
	if !strings.Contains(plans, "unassign-addresses eni-primary [10.0.") {
		t.Errorf("plans:\n%s", plans)
	}
	if tally := w.state.Tally(); tally.InUse != 1 || tally.Free < 16 || tally.Free > 31 {
		t.Errorf("%+v", tally)
	}
}

// The mode changes under pods, in both directions: they keep their addresses, and new ones come in the new kind.
func TestModeChangesUnderPods(t *testing.T) {
	for _, to := range []bool{true, false} {
		t.Run(fmt.Sprintf("to prefixes %t", to), func(t *testing.T) {
			w := newWorld(t, func(c *pool.Config) { c.Prefixes = !to })
			roomy(w)
			w.state.MaxPods = 29
			w.add(0, 6)
			w.settle()
			before := w.state.Allocations()
			cfg := w.state.Config
			cfg.Prefixes = to
			w.state.SetConfig(cfg)
			w.now = w.now.Add(2 * time.Minute)
			w.settleFor(time.Minute)
			if after := w.state.Allocations(); !slices.Equal(before, after) {
				t.Errorf("pods' addresses changed:\n%v\n%v", before, after)
			}
			w.add(6, 10)
			w.settleFor(time.Minute)
			for _, a := range w.state.Allocations()[0:] {
				_, prefix := w.block(a.Addr)
				if old := a.Pod.Name < "p6" && len(a.Pod.Name) == 2; old == (prefix == to) {
					t.Errorf("%s has %s, prefix %t", a.Pod.Name, a.Addr, prefix)
				}
			}
			w.del(0, 6)
			w.now = w.now.Add(2 * time.Minute)
			w.settleFor(2 * time.Minute)
			if tally := w.state.Tally(); tally.Other > 0 {
				t.Errorf("what nobody uses of the old kind is kept: %+v", tally)
			}
		})
	}
}

// block tells in which block EC2 has an address.
func (w *world) block(ip netip.Addr) (vpc.ENIID, bool) {
	w.t.Helper()
	for _, e := range w.enis {
		for _, b := range e.Assigned() {
			if b.Contains(ip) {
				return e.ID, b.IsPrefix()
			}
		}
	}
	w.t.Fatalf("%s is nowhere", ip)
	return "", false
}

// A subnet has no prefix left: pods get single addresses at once, and prefixes later, when there are some again.
func TestFragmentedSubnetGivesSingleAddresses(t *testing.T) {
	w := newWorld(t, inPrefixes)
	roomy(w)
	w.state.MaxPods = 29
	w.refusePrefixes = true
	w.add(0, 3)
	began := w.now
	w.settle()
	if tally := w.state.Tally(); tally.Waiting > 0 || w.now.Sub(began) > 2*time.Second {
		t.Errorf("after %s: %+v", w.now.Sub(began), tally)
	}
	if tally := w.state.Tally(); tally.Free > 6 {
		t.Errorf("single addresses in place of a whole prefix: %+v", tally)
	}
	w.refusePrefixes = false
	w.settleFor(6 * time.Minute)
	w.add(3, 8)
	w.settleFor(time.Minute)
	prefixes := 0
	for _, a := range w.state.Allocations() {
		if _, prefix := w.block(a.Addr); prefix {
			prefixes++
		}
	}
	if prefixes != 5 {
		t.Errorf("%d of the 5 new pods are in prefixes", prefixes)
	}
}

// One subnet has no prefix left, another one has: the next interface goes there, and nobody waits for it.
func TestFragmentedSubnetDoesNotStopAnother(t *testing.T) {
	w := newWorld(t, inPrefixes)
	roomy(w)
	w.state.MaxPods = 110
	w.subs = append(w.subs, vpc.Subnet{ID: "subnet-2", VPC: "vpc-1", Zone: "us-west-2a", CIDR: netip.MustParsePrefix("10.1.0.0/20"), Free: 4000, Available: true, Tags: vpc.Tags{vpc.TagCNIRole: "1"}})
	w.noPrefixIn = "subnet-primary"
	w.add(0, 20)
	w.settle()
	if tally := w.state.Tally(); tally.Waiting > 0 {
		t.Errorf("%+v", tally)
	}
	if e := w.enis[len(w.enis)-1]; e.Subnet != "subnet-2" || len(e.Prefixes) == 0 {
		t.Errorf("the new interface: %+v", e)
	}
}

// Custom networking: the primary interface gives nothing, the others lie where the ENIConfig says.
func TestCustomNetworking(t *testing.T) {
	custom := vpc.Subnet{ID: "subnet-pods", VPC: "vpc-1", Zone: "us-west-2a", CIDR: netip.MustParsePrefix("100.64.0.0/19"), Free: 8000, Available: true}
	for _, prefixes := range []bool{false, true} {
		t.Run(fmt.Sprintf("prefixes %t", prefixes), func(t *testing.T) {
			w := newWorld(t, func(c *pool.Config) { c.CustomNetworking, c.Prefixes = true, prefixes })
			w.subs = append(w.subs, custom)
			w.add(0, 12)
			w.settle()
			if tally := w.state.Tally(); tally.Waiting != 12 || len(w.enis) != 1 {
				t.Fatalf("without an ENIConfig: %+v, %d interfaces", tally, len(w.enis))
			}
			if b := ipam.Explain(w.state, ipam.Decide(w.state, w.now)); b.Why != ipam.NoENIConfig {
				t.Errorf("blocked: %s", b)
			}
			w.state.SetCustom(pool.Custom{Name: "us-west-2a", Found: true, Subnet: "subnet-pods", Groups: []vpc.SecurityGroupID{"sg-pods"}})
			w.settle()
			if tally := w.state.Tally(); tally.Waiting > 0 {
				t.Errorf("%+v", tally)
			}
			for _, e := range w.enis[1:] {
				if e.Subnet != "subnet-pods" || !slices.Equal(e.Groups, []vpc.SecurityGroupID{"sg-pods"}) {
					t.Errorf("%s in %s with %v", e.ID, e.Subnet, e.Groups)
				}
			}
			if len(w.enis[0].Assigned()) > 0 {
				t.Errorf("the primary interface has %v", w.enis[0].Assigned())
			}
			w.state.SetCustom(pool.Custom{Name: "us-west-2a", Found: true, Subnet: "subnet-pods", Groups: []vpc.SecurityGroupID{"sg-new"}})
			w.settle()
			if e := w.enis[1]; !slices.Equal(e.Groups, []vpc.SecurityGroupID{"sg-new"}) {
				t.Errorf("groups of %s: %v", e.ID, e.Groups)
			}
		})
	}
}

// Custom networking is turned on under pods: they stay, the next ones come from the new subnet, and the old addresses go.
func TestCustomNetworkingUnderPods(t *testing.T) {
	w := newWorld(t, nil)
	w.subs = append(w.subs, vpc.Subnet{ID: "subnet-pods", VPC: "vpc-1", Zone: "us-west-2a", CIDR: netip.MustParsePrefix("100.64.0.0/19"), Free: 8000, Available: true})
	w.add(0, 12) // on two interfaces
	w.settle()
	before := w.state.Allocations()
	cfg := w.state.Config
	cfg.CustomNetworking = true
	w.state.SetConfig(cfg)
	w.state.SetCustom(pool.Custom{Name: "default", Found: true, Subnet: "subnet-pods", Groups: []vpc.SecurityGroupID{"sg-pods"}})
	w.now = w.now.Add(2 * time.Minute)
	w.settleFor(2 * time.Minute)
	if after := w.state.Allocations(); !slices.Equal(before, after) {
		t.Errorf("pods' addresses changed:\n%v\n%v", before, after)
	}
	w.add(12, 16)
	w.settleFor(time.Minute)
	for _, a := range w.state.Allocations() {
		if eni, _ := w.block(a.Addr); (eni == "eni-primary" || eni == "eni-1") != slices.Contains(before, a) {
			t.Errorf("%s has %s of %s", a.Pod.Name, a.Addr, eni)
		}
	}
	for _, e := range w.enis {
		if e.Subnet != "subnet-pods" && !slices.Equal(e.Groups, []vpc.SecurityGroupID{"sg-1"}) {
			t.Errorf("the groups of %s in %s, which has pods, became %v", e.ID, e.Subnet, e.Groups)
		}
	}
	if n := len(w.enis[0].Assigned()); n != 9 {
		t.Errorf("the primary interface keeps %d addresses for 9 pods", n)
	}
}

// Without a warm target the pool follows what is known and what came lately, and the plan says so.
func TestPoolFollowsDemand(t *testing.T) {
	w := newWorld(t, func(c *pool.Config) { c.WarmENI = target.NotSet })
	w.state.MaxPods = 29
	bound := make([]pool.Bound, 7)
	for i := range bound {
		bound[i] = pool.Bound{Namespace: "default", Name: fmt.Sprint("p", i)}
	}
	w.state.Expect(bound, 0)
	if plans := w.settle(); !strings.Contains(plans, "assign-addresses eni-primary +9: pods-bound\n") {
		t.Errorf("plans:\n%s", plans)
	}
	for i := range 7 {
		if _, ok := w.state.Add(pool.Pod{Key: key(i), Namespace: "default", Name: fmt.Sprint("p", i)}, w.now); !ok {
			t.Fatalf("pod %d waits", i)
		}
	}
	w.settle()
	if tally := w.state.Tally(); tally.Free < 2 || tally.Free > 11 {
		t.Errorf("%+v", tally)
	}
	w.settleFor(20 * time.Minute)
	if tally := w.state.Tally(); tally.Free > 6 || tally.Free < 2 {
		t.Errorf("nothing came for long: %+v", tally)
	}
}

// All slots are taken by interfaces of which custom networking wants none: an empty one goes although pods wait, since they
// would wait for ever.
func TestBarredInterfaceMakesRoomForWaitingPods(t *testing.T) {
	w := newWorld(t, nil)
	w.subs = append(w.subs, vpc.Subnet{ID: "subnet-pods", VPC: "vpc-1", Zone: "us-west-2a", CIDR: netip.MustParsePrefix("100.64.0.0/19"), Free: 8000, Available: true})
	w.add(0, 20)
	w.settle()
	cfg := w.state.Config
	cfg.CustomNetworking = true
	w.state.SetConfig(cfg)
	w.state.SetCustom(pool.Custom{Name: "default", Found: true, Subnet: "subnet-pods"})
	w.del(0, 20)
	w.add(20, 30)
	w.settleFor(3 * time.Minute)
	if tally := w.state.Tally(); tally.Waiting > 0 {
		t.Errorf("%+v, %d interfaces", tally, len(w.state.ENIs()))
	}
}

// busy is a primary subnet that is mostly used by others, in single addresses all over it, and a map of which is known.
func busy(w *world, gap int) {
	w.subs[0].CIDR, w.refusePrefixes = netip.MustParsePrefix("10.0.0.0/22"), true
	used := 0
	for a, n := netip.MustParseAddr("10.0.0.5"), 5; n < 1023; a, n = a.Next(), n+1 {
		if n%gap == 0 {
			w.others = append(w.others, vpc.ENI{ID: vpc.ENIID("eni-other-" + a.String()), Subnet: "subnet-primary", Primary: a})
			used++
		}
	}
	w.subs[0].Free = 1024 - 5 - 1 - used
}

// A subnet in which every block is broken: pods get single addresses at once, which EC2 chooses since no name would protect
// anything, and no interface is asked for prefixes in vain.
func TestScatteredSubnetGivesAllItsAddresses(t *testing.T) {
	w := newWorld(t, inPrefixes)
	w.state.MaxPods = 29
	busy(w, 2)
	w.settle()
	w.add(0, 12)
	plans := w.settle()
	if tally := w.state.Tally(); tally.Waiting > 0 {
		t.Errorf("%+v", tally)
	}
	if strings.Contains(plans, "prefixes") || !strings.Contains(plans, "create-eni in subnet-primary with ") {
		t.Errorf("plans:\n%s", plans)
	}
}

// Somebody else takes what was named: the map is read again, and the next names are free ones.
func TestLostRaceIsRepeatedWithFreshFacts(t *testing.T) {
	w := newWorld(t, inPrefixes)
	w.state.MaxPods = 7 // no reason for an interface
	busy(w, 2)
	w.reserved = []vpc.Reservation{{ID: "scr-1", Subnet: "subnet-primary", CIDR: netip.MustParsePrefix("10.0.2.0/28"), Type: vpc.ReservedForPrefixes}} // names matter
	w.settle()
	w.add(0, 7)
	plan := ipam.Decide(w.state, w.now)
	i := slices.IndexFunc(plan.Actions, func(a pool.Action) bool { return a.Kind == pool.AssignAddresses })
	if i < 0 || len(plan.Actions[i].Want.Addrs) == 0 {
		t.Fatalf("nothing is named: %s", plan)
	}
	for n, a := range plan.Actions[i].Want.Addrs {
		w.others = append(w.others, vpc.ENI{ID: vpc.ENIID(fmt.Sprint("eni-faster-", n)), Subnet: "subnet-primary", Primary: a})
	}
	if n := w.count(pool.ReadSpace, 2*time.Second, 50*time.Millisecond); n != 1 {
		t.Errorf("the map was read %d times", n)
	}
	if tally := w.state.Tally(); tally.Waiting > 0 {
		t.Errorf("%+v", tally)
	}
}

func TestPartOfASubnetIsReservedWhenToldTo(t *testing.T) {
	w := newWorld(t, func(c *pool.Config) { c.Prefixes, c.ReservePrefixes = true, true })
	roomy(w)
	w.subs[0].CIDR, w.subs[0].Free = netip.MustParsePrefix("10.0.0.0/22"), 1000
	plans := w.settle()
	w.settleFor(time.Minute)
	if len(w.reserved) != 1 || w.reserved[0].CIDR.Bits() != 23 || w.reserved[0].Tags[vpc.TagENICluster] != "demo" {
		t.Errorf("reserved %v, plans:\n%s", w.reserved, plans)
	}
}

// Security groups by tag: interfaces in a discovered subnet have those, also when the tags change; the node's own keeps its.
func TestGroupsOfDiscoveredSubnets(t *testing.T) {
	w := newWorld(t, nil)
	w.subs = append(w.subs, vpc.Subnet{ID: "subnet-b", VPC: "vpc-1", Zone: "us-west-2a", CIDR: netip.MustParsePrefix("10.1.0.0/20"), Free: 4000, Available: true, Tags: vpc.Tags{vpc.TagCNIRole: "1"}})
	tag := func(ids ...string) {
		w.groups = nil
		for _, id := range ids {
			w.groups = append(w.groups, vpc.SecurityGroup{ID: vpc.SecurityGroupID(id), VPC: "vpc-1", Tags: vpc.Tags{vpc.TagCNIRole: "1"}})
		}
	}
	w.mostGroups = 5
	tag("sg-a", "sg-b")
	w.add(0, 12)
	w.settle()
	if e := w.enis[1]; e.Subnet != "subnet-b" || fmt.Sprint(e.Groups) != "[sg-a sg-b]" {
		t.Errorf("%s in %s has %v", e.ID, e.Subnet, e.Groups)
	}
	w.restart()
	tag("sg-a")
	w.settleFor(13 * time.Minute)
	if e := w.enis[1]; fmt.Sprint(e.Groups) != "[sg-a]" {
		t.Errorf("after the tags changed: %v", e.Groups)
	}
	if fmt.Sprint(w.enis[0].Groups) != "[sg-1]" {
		t.Errorf("the primary interface has %v", w.enis[0].Groups)
	}
	tag("1", "2", "3", "4", "5", "6")
	w.settleFor(13 * time.Minute)
	if e := w.enis[1]; fmt.Sprint(e.Groups) != "[sg-a]" {
		t.Errorf("too many groups changed an interface: %v", e.Groups)
	}
	if p := ipam.Problems(w.state); len(p) != 1 || p[0].Why != ipam.TooManyGroups {
		t.Errorf("problems %v", p)
	}
}

// Prefixes are turned off on a node whose kubelet allows 29 pods: the free rest of its prefixes counts against the 29, so that no
// single address is assigned, and is kept since there is none.
func TestModeChangesBackUnderASmallPodLimit(t *testing.T) {
	w := newWorld(t, func(c *pool.Config) { c.Prefixes, c.MinimumIP = true, 32 })
	roomy(w)
	w.state.MaxPods = 29
	w.add(0, 20)
	w.settle()
	w.del(4, 16)
	w.now = w.now.Add(2 * time.Minute)
	cfg := w.state.Config
	cfg.Prefixes, cfg.MinimumIP, cfg.WarmIP = false, 0, 3
	w.state.SetConfig(cfg)
	w.settleFor(3 * time.Minute)
	if tally := w.state.Tally(); tally.Free != 3 {
		t.Errorf("%+v", tally)
	}
}

// A creation for the warm target that was throttled is no more urgent when it is tried again, until a pod waits.
func TestWarmCreationStaysWarm(t *testing.T) {
	w := newWorld(t, func(c *pool.Config) { c.WarmENI = 2 })
	w.refuse[pool.CreateENI] = vpc.Throttled
	w.settleFor(2 * time.Second)
	create := func() pool.Why {
		w.now = w.now.Add(time.Minute)
		for _, a := range ipam.Decide(w.state, w.now).Actions {
			if a.Kind == pool.CreateENI {
				return a.Why
			}
		}
		return ""
	}
	if why := create(); why != pool.WarmTarget {
		t.Errorf("again for %q", why)
	}
	w.add(0, 12)
	if why := create(); why != pool.PodsWaiting {
		t.Errorf("with pods that wait for %q", why)
	}
}

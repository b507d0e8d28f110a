package ipam_test

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/berth-net/berth/internal/core/ipam"
	"github.com/berth-net/berth/internal/core/vpc"
)

// world is a node whose EC2 answers what the test says. Time moves only by the test.
type world struct {
	t     *testing.T
	state *ipam.State
	now   time.Time
	enis  []vpc.ENI
	subs  []vpc.Subnet
	// blocks are what metadata shows as the VPC's; none is no answer.
	blocks []netip.Prefix
	// leaked is what a search for unattached interfaces finds.
	leaked []vpc.ENI
	next   byte
	// refuse gives an error for an action, by kind.
	refuse map[ipam.Kind]vpc.Code
}

var instance = vpc.Instance{
	ID: "i-1", Type: "m5.large", Region: "us-west-2", Zone: "us-west-2a", VPC: "vpc-1", Subnet: "subnet-primary", PrimaryENI: "eni-primary",
	Groups: []vpc.SecurityGroupID{"sg-1"}, VPCCIDRs: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/16")},
}

func newWorld(t *testing.T, change func(*ipam.Config)) *world {
	t.Helper()
	cfg := ipam.Defaults()
	cfg.Cluster = "demo"
	if change != nil {
		change(&cfg)
	}
	limits, _ := vpc.Limits("m5.large")
	w := &world{t: t, now: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC), next: 10, blocks: slices.Clone(instance.VPCCIDRs), refuse: map[ipam.Kind]vpc.Code{}}
	w.state = ipam.New(cfg, instance, limits, "n", w.now)
	w.enis = []vpc.ENI{{
		ID: "eni-primary", Subnet: "subnet-primary", VPC: "vpc-1", MAC: "02:00:00:00:00:01", Type: "interface", Primary: netip.MustParseAddr("10.0.0.4"),
		Groups: instance.Groups, Attachment: &vpc.Attachment{ID: "attach-0", Instance: "i-1", State: vpc.Attached, DeleteOnTermination: true},
	}}
	w.subs = []vpc.Subnet{{ID: "subnet-primary", VPC: "vpc-1", Zone: "us-west-2a", CIDR: netip.MustParsePrefix("10.0.0.0/24"), Free: 200, Available: true}}
	return w
}

// plan returns the plan as text.
func (w *world) plan() string { return w.state.Plan(w.now).String() }

// step plans once, performs all actions in order and returns the plan's text.
func (w *world) step() string {
	w.t.Helper()
	plan := w.state.Plan(w.now)
	for _, a := range plan.Actions {
		w.state.Begin(a, w.now)
	}
	w.now = w.now.Add(time.Millisecond)
	for _, a := range plan.Actions {
		w.state.Finish(a, w.perform(a), w.now)
	}
	for _, e := range w.state.ENIs() {
		w.state.Configured(e.ID, e.Phase == ipam.Attached)
	}
	w.state.Satisfy(w.now)
	w.now = w.now.Add(time.Millisecond)
	return plan.String()
}

// settle steps until nothing is planned and returns all the plans.
func (w *world) settle() string {
	w.t.Helper()
	var all strings.Builder
	for range 20 {
		text := w.step()
		if !strings.Contains(text, "-") || strings.HasPrefix(text, "blocked") {
			all.WriteString(text)
			return all.String()
		}
		all.WriteString(text)
	}
	w.t.Fatalf("does not settle:\n%s", all.String())
	return ""
}

func (w *world) perform(a ipam.Action) ipam.Result {
	r := ipam.Result{AskedAt: w.now}
	if code, ok := w.refuse[a.Kind]; ok {
		r.Err = &vpc.Error{Code: code, Op: string(a.Kind), Err: errors.New("refused")}
		return r
	}
	switch a.Kind {
	case ipam.ReadENIs:
		r.ENIs = w.attached()
	case ipam.ReadENI:
		for _, e := range w.enis {
			if e.ID == a.ENI {
				r.ENIs = []vpc.ENI{e}
			}
		}
	case ipam.ReadLeaked:
		r.ENIs, w.leaked = w.leaked, nil
	case ipam.ReadSubnets:
		r.Subnets = append([]vpc.Subnet{}, w.subs...)
	case ipam.ReadVPC:
		r.Blocks = w.blocks
	case ipam.ReadMetadata:
		for _, e := range w.attached() {
			r.Metadata = append(r.Metadata, vpc.MetadataENI{ID: e.ID, MAC: e.MAC, DeviceIndex: e.Attachment.DeviceIndex, Subnet: e.Subnet, Addresses: append([]netip.Addr{e.Primary}, e.Secondary...)})
		}
	case ipam.CreateENI:
		e := vpc.ENI{ID: vpc.ENIID(fmt.Sprintf("eni-%d", len(w.enis))), Subnet: a.Create.Subnet, MAC: fmt.Sprint(len(w.enis)), Type: "interface", Primary: w.addr(), Groups: a.Create.Groups, Tags: a.Create.Tags}
		for range a.Create.Secondary {
			e.Secondary = append(e.Secondary, w.addr())
		}
		w.take(a.Create.Subnet, a.Create.Secondary+1)
		w.enis = append(w.enis, e)
		r.ENI = e
	case ipam.AttachENI:
		r.Attachment = vpc.AttachmentID("attach-" + string(a.ENI))
		w.eni(a.ENI).Attachment = &vpc.Attachment{ID: r.Attachment, Instance: "i-1", DeviceIndex: a.Device, State: vpc.Attached}
	case ipam.AssignAddresses:
		for range a.Count {
			r.Addrs = append(r.Addrs, w.addr())
		}
		w.take(w.eni(a.ENI).Subnet, a.Count)
		w.eni(a.ENI).Secondary = append(w.eni(a.ENI).Secondary, r.Addrs...)
	case ipam.TagENI:
		w.eni(a.ENI).Tags = a.Tags
	case ipam.KeepENI:
		w.eni(a.ENI).Attachment.DeleteOnTermination = true
	default:
		w.remove(a)
	}
	return r
}

func (w *world) remove(a ipam.Action) {
	switch a.Kind {
	case ipam.UnassignAddresses:
		e := w.eni(a.ENI)
		var kept []netip.Addr
		for _, ip := range e.Secondary {
			if !contains(a.Addrs, ip) {
				kept = append(kept, ip)
			}
		}
		e.Secondary = kept
	case ipam.DetachENI:
		w.eni(a.ENI).Attachment = nil
	default:
	}
}

func contains(list []netip.Addr, ip netip.Addr) bool {
	return slices.Contains(list, ip)
}

func (w *world) attached() []vpc.ENI {
	var list []vpc.ENI
	for _, e := range w.enis {
		if e.Attachment != nil {
			list = append(list, e)
		}
	}
	return list
}

func (w *world) eni(id vpc.ENIID) *vpc.ENI {
	for i := range w.enis {
		if w.enis[i].ID == id {
			return &w.enis[i]
		}
	}
	w.t.Fatalf("no interface %s", id)
	return nil
}

func (w *world) take(id vpc.SubnetID, n int) {
	for i := range w.subs {
		if w.subs[i].ID == id {
			w.subs[i].Free -= n
		}
	}
}

func (w *world) addr() netip.Addr {
	w.next++
	return netip.AddrFrom4([4]byte{10, 0, 0, w.next})
}

func key(i int) ipam.Key { return ipam.Key{ContainerID: fmt.Sprint("c", i), IfName: "eth0"} }

func (w *world) add(from, to int) (granted int) {
	for i := from; i < to; i++ {
		if _, ok := w.state.Add(ipam.Pod{Key: key(i), Name: fmt.Sprint("p", i)}, w.now); ok {
			granted++
		}
	}
	return granted
}

func (w *world) del(from, to int) {
	for i := from; i < to; i++ {
		w.state.BeginRelease(key(i))
		w.state.Release(key(i), w.now)
	}
}

func (w *world) want(what, got, want string) {
	w.t.Helper()
	if diff := cmp.Diff(strings.TrimLeft(want, "\n"), got); diff != "" {
		w.t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func TestFreshNodeToTwoInterfacesInSevenCalls(t *testing.T) {
	w := newWorld(t, nil)
	w.want("start", w.settle(), `
read-enis: starting
read-subnets: starting
tag-eni eni-primary: unfinished
assign-addresses eni-primary +9: warm-target
`)
	if got := w.add(0, 5); got != 5 {
		t.Errorf("%d of 5 pods got an address at once", got)
	}
	w.want("five pods", w.settle(), `
create-eni in subnet-primary with 9: warm-target
attach-eni eni-1 at 1: unfinished
set-delete-on-termination eni-1: unfinished
`)
}

func TestBurstOnAFreshNodeIsOnePlan(t *testing.T) {
	w := newWorld(t, nil)
	w.add(0, 27)
	w.step()
	w.want("growth", w.step(), `
tag-eni eni-primary: unfinished
assign-addresses eni-primary +9: pods-waiting
create-eni in subnet-primary with 9: pods-waiting
create-eni in subnet-primary with 9: pods-waiting
blocked: addresses-coming
`)
	w.settle()
	if tally := w.state.Tally(); tally.InUse != 27 || tally.Waiting != 0 {
		t.Errorf("tally %+v", tally)
	}
}

// The story: 27 addresses a subnet; two interfaces fill 20, and the last 7 must not cost the third slot.
// EC2 answers for subnets at once and is slow with interfaces: the subnets are not asked for again and again.
func TestSubnetsAreReadOnceWhileInterfacesAreSlow(t *testing.T) {
	w := newWorld(t, nil)
	plan := w.state.Plan(w.now)
	for _, a := range plan.Actions {
		w.state.Begin(a, w.now)
		if a.Kind == ipam.ReadSubnets {
			w.state.Finish(a, w.perform(a), w.now)
		}
	}
	w.want("then", w.plan(), "")
}

func TestLastSlotIsKeptForASubnetThatCanFillIt(t *testing.T) {
	w := newWorld(t, nil)
	w.subs[0].CIDR, w.subs[0].Free = netip.MustParsePrefix("10.0.0.96/27"), 26 // the primary address is taken
	w.add(0, 25)
	w.settle()
	if tally := w.state.Tally(); tally.InUse != 18 || tally.Waiting != 7 {
		t.Fatalf("before the fix: %+v", tally)
	}
	b := w.state.Explain(w.state.Plan(w.now))
	if b.Why != ipam.LastSlotKept || !strings.Contains(b.String(), "subnet-primary 10.0.0.96/27 has 7 free") || !strings.Contains(b.Hint, "kubernetes.io/role/cni=1") {
		t.Errorf("blocked: %s", b)
	}
	w.subs = append(w.subs, vpc.Subnet{
		ID: "subnet-large", VPC: "vpc-1", Zone: "us-west-2a", CIDR: netip.MustParsePrefix("10.1.0.0/19"), Free: 8187, Available: true,
		Tags: vpc.Tags{vpc.TagCNIRole: "1"},
	})
	w.now = w.now.Add(5 * time.Second)
	w.want("after the fix", w.settle(), `
read-subnets: pods-waiting
blocked: last-slot-kept
read-vpc: block-unknown
create-eni in subnet-large with 9: pods-waiting
blocked: addresses-coming
attach-eni eni-2 at 2: unfinished
blocked: addresses-coming
set-delete-on-termination eni-2: unfinished
`)
	if tally := w.state.Tally(); tally.InUse != 25 || tally.Waiting != 0 {
		t.Errorf("after the fix: %+v", tally)
	}
}

func TestFullSubnetMeansTheNext(t *testing.T) {
	w := newWorld(t, nil)
	w.subs = append(w.subs, vpc.Subnet{ID: "subnet-b", VPC: "vpc-1", Zone: "us-west-2a", CIDR: netip.MustParsePrefix("10.1.0.0/24"), Free: 100, Available: true, Tags: vpc.Tags{vpc.TagCNIRole: "x"}})
	w.settle()
	w.add(0, 5)
	w.refuse[ipam.CreateENI] = vpc.SubnetFull
	w.want("refused", w.step(), "create-eni in subnet-primary with 9: warm-target\n")
	delete(w.refuse, ipam.CreateENI)
	w.want("next", w.step(), "create-eni in subnet-b with 9: warm-target\n")
}

func TestChurnTakesOtherAddressesWhileTheOldOnesCool(t *testing.T) {
	w := newWorld(t, func(c *ipam.Config) { c.WarmIP, c.MinimumIP = 2, 5 })
	w.add(0, 5)
	w.settle()
	w.settle()
	w.del(0, 5)
	granted := w.add(5, 10)
	text := w.settle()
	if tally := w.state.Tally(); tally.InUse != 5 || tally.Cooling != 5 || tally.Waiting != 0 {
		t.Errorf("%d at once, tally %+v after\n%s", granted, tally, text)
	}
}

func TestNothingIsReleasedOnAnOldReadOrWhilePodsWait(t *testing.T) {
	w := newWorld(t, func(c *ipam.Config) { c.WarmIP = 1 })
	w.add(0, 6)
	w.settle()
	w.del(0, 6)
	w.now = w.now.Add(31 * time.Second)
	w.want("excess", w.step(), "read-vpc: resync\nread-enis: read-before-release\n")
	text := w.step()
	if !strings.HasPrefix(text, "unassign-addresses eni-primary [") || !strings.HasSuffix(text, "excess\n") {
		t.Errorf("after the read: %s", text)
	}
	if tally := w.state.Tally(); tally.Free != 1 {
		t.Errorf("tally %+v", tally)
	}
}

func TestEmptyInterfaceIsFreed(t *testing.T) {
	w := newWorld(t, nil)
	w.add(0, 15)
	w.settle()
	w.settle()
	w.del(0, 15)
	w.now = w.now.Add(2 * time.Minute)
	// Three interfaces, 27 free: one interface's worth has to stay.
	w.want("freed", w.settle(), `
read-metadata: resync
read-vpc: resync
read-leaked: resync
read-enis: read-before-release
detach-eni eni-2: interface-empty
read-eni eni-2: unfinished
delete-eni eni-2: unfinished
detach-eni eni-1: interface-empty
read-eni eni-1: unfinished
delete-eni eni-1: unfinished
`)
	if tally := w.state.Tally(); tally.Free != 9 || len(w.state.ENIs()) != 1 {
		t.Errorf("tally %+v, %d interfaces", tally, len(w.state.ENIs()))
	}
}

// EC2 takes the detachment, reads lag, the repetition is throttled: the interface is still on its way out.
func TestThrottledRepetitionOfADetachDoesNotBringTheInterfaceBack(t *testing.T) {
	w := newWorld(t, nil)
	w.add(0, 15)
	w.settle()
	w.settle()
	w.del(0, 15)
	w.now = w.now.Add(2 * time.Minute)
	w.step()
	stale := *w.eni("eni-2").Attachment
	w.want("first try", w.step(), "detach-eni eni-2: interface-empty\n")
	w.eni("eni-2").Attachment = &stale // what a lagging read shows
	w.step()
	w.now = w.now.Add(10 * time.Second)
	w.refuse[ipam.DetachENI] = vpc.Throttled
	if text := w.step(); !strings.Contains(text, "detach-eni eni-2: unfinished") {
		t.Fatalf("no repetition: %s", text)
	}
	if phase := w.state.ENI("eni-2").Phase; phase != ipam.Detaching {
		t.Errorf("the interface is %s", phase)
	}
}

// An unassignment whose outcome a crash hid is repeated. Meanwhile EC2 may have given the address out again.
func TestAssignAndUnassignOfAnInterfaceTakeTurns(t *testing.T) {
	w := newWorld(t, func(c *ipam.Config) { c.WarmIP = 1 })
	w.add(0, 6)
	w.settle()
	w.del(0, 6)
	w.now = w.now.Add(31 * time.Second)
	w.step()
	plan := w.state.Plan(w.now)
	if len(plan.Actions) != 1 || plan.Actions[0].Kind != ipam.UnassignAddresses {
		t.Fatalf("plan: %s", plan)
	}
	w.state.Begin(plan.Actions[0], w.now)
	w.add(6, 9)
	if text := w.plan(); strings.Contains(text, "assign-addresses") {
		t.Errorf("while it runs: %s", text)
	}
	w.state.Finish(plan.Actions[0], w.perform(plan.Actions[0]), w.now)
	if text := w.plan(); !strings.Contains(text, "assign-addresses eni-primary +3") {
		t.Errorf("after it: %s", text)
	}
}

// The agent dies between creating and attaching an interface, and its journal with it: the interface is taken in again.
func TestOwnOrphanIsAttached(t *testing.T) {
	w := newWorld(t, nil)
	w.state.Doubt(w.now)
	w.settle()
	w.enis = append(w.enis, vpc.ENI{
		ID: "eni-orphan", Subnet: "subnet-primary", VPC: "vpc-1", MAC: "2", Type: "interface", Primary: w.addr(), Secondary: []netip.Addr{w.addr()},
		Description: "aws-K8S-i-1", Groups: instance.Groups,
		Tags: vpc.Tags{vpc.TagENIInstance: "i-1", vpc.TagENICluster: "demo", vpc.TagENIOwner: vpc.ENIOwner},
	})
	w.leaked = w.enis[1:]
	w.now = w.now.Add(time.Minute)
	if text := w.settle(); !strings.Contains(text, "attach-eni eni-orphan at 1") {
		t.Errorf("the orphan was not attached:\n%s", text)
	}
	if tally := w.state.Tally(); tally.Free != 10 {
		t.Errorf("tally %+v", tally)
	}
}

func TestHeldGrowth(t *testing.T) {
	t.Run("unschedulable", func(t *testing.T) {
		w := newWorld(t, nil)
		w.state.Unschedulable = true
		w.add(0, 1)
		w.step()
		w.want("plan", w.step(), "tag-eni eni-primary: unfinished\nblocked: node-unschedulable\n")
	})
	t.Run("provisioning disabled", func(t *testing.T) {
		w := newWorld(t, func(c *ipam.Config) { c.Provision = false })
		w.enis[0].Secondary = []netip.Addr{netip.MustParseAddr("10.0.0.9")}
		w.add(0, 2)
		w.want("plan", w.settle(), "read-enis: starting\nread-subnets: starting\nblocked: starting\nblocked: provisioning-disabled\n")
		if tally := w.state.Tally(); tally.InUse != 1 || tally.Waiting != 1 {
			t.Errorf("tally %+v", tally)
		}
	})
	t.Run("node full", func(t *testing.T) {
		w := newWorld(t, nil)
		w.state.MaxPods = 110
		w.add(0, 30)
		text := w.settle()
		if b := w.state.Explain(w.state.Plan(w.now)); b.Why != ipam.NodeFull {
			t.Errorf("blocked %s\n%s", b, text)
		}
	})
	t.Run("throttled", func(t *testing.T) {
		w := newWorld(t, nil)
		w.settle()
		w.refuse[ipam.CreateENI] = vpc.Throttled
		w.add(0, 12)
		w.step()
		if b := w.state.Explain(w.state.Plan(w.now)); b.Why != ipam.EC2Throttled {
			t.Errorf("blocked %s", b)
		}
	})
}

func TestRestartKeepsPodsAndReadsOnce(t *testing.T) {
	w := newWorld(t, nil)
	w.add(0, 12)
	w.settle()
	w.settle()
	before := w.state.Allocations()
	records := w.state.Snapshot(w.now)

	limits, _ := vpc.Limits("m5.large")
	w.now = w.now.Add(time.Minute)
	w.state = ipam.New(w.state.Config, instance, limits, "n2", w.now)
	w.state.Restore(records)
	var live []netip.Addr
	for _, a := range before {
		live = append(live, a.Addr)
	}
	w.state.SetLive(live, w.now)
	if stale := w.state.Stale(); len(stale) != 0 {
		t.Errorf("stale: %v", stale)
	}
	w.want("restart", w.step(), "read-enis: starting\n")
	w.want("then", w.plan(), "")
	if diff := cmp.Diff(before, w.state.Allocations(), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("allocations (-before +after):\n%s", diff)
	}
}

// A lost journal: the kernel shows pods that nobody knows. Their addresses are held, and given to nobody.
func TestLostJournalHoldsWhatTheKernelShows(t *testing.T) {
	w := newWorld(t, nil)
	for i := range 9 {
		w.enis[0].Secondary = append(w.enis[0].Secondary, netip.AddrFrom4([4]byte{10, 0, 0, byte(100 + i)}))
	}
	live := w.enis[0].Secondary[:4]
	w.state.SetLive(live, w.now)
	w.step()
	w.step()
	if got := w.add(0, 6); got != 5 {
		t.Errorf("%d pods got one of 5 addresses that nobody uses", got)
	}
	for _, a := range w.state.Allocations() {
		if contains(live, a.Addr) {
			t.Errorf("%s belongs to a live pod and was given to %s", a.Addr, a.Pod.Name)
		}
	}
	w.state.SetLive(live[1:], w.now)
	if tally := w.state.Tally(); tally.Held != 3 || tally.Cooling != 1 {
		t.Errorf("tally %+v", tally)
	}
}

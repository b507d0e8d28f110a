package ipam_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/berth-net/berth/internal/core/ipam"
	"github.com/berth-net/berth/internal/core/pool"
	"github.com/berth-net/berth/internal/core/target"
	"github.com/berth-net/berth/internal/core/vpc"
)

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
func TestLastSlotIsKeptForASubnetThatCanFillIt(t *testing.T) {
	w := newWorld(t, nil)
	w.subs[0].CIDR, w.subs[0].Free = netip.MustParsePrefix("10.0.0.96/27"), 26 // the primary address is taken
	w.add(0, 25)
	w.settle()
	if tally := w.state.Tally(); tally.InUse != 18 || tally.Waiting != 7 {
		t.Fatalf("before the fix: %+v", tally)
	}
	b := ipam.Explain(w.state, ipam.Decide(w.state, w.now))
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
read-groups: pods-waiting
blocked: addresses-coming
create-eni in subnet-large with 9: pods-waiting
blocked: addresses-coming
attach-eni eni-2 at 2: pods-waiting
blocked: addresses-coming
set-delete-on-termination eni-2: unfinished
`)
	if tally := w.state.Tally(); tally.InUse != 25 || tally.Waiting != 0 {
		t.Errorf("after the fix: %+v", tally)
	}
}

// Pods came while the second interface was being made for three of them. Its free slots were not counted, and what it could
// have held made the subnet look large enough for the last slot.
func TestLastSlotIsKeptWhileTheOneBeforeIsBeingMade(t *testing.T) {
	w := newWorld(t, func(c *pool.Config) { c.WarmENI = target.NotSet })
	w.subs[0].CIDR, w.subs[0].Free = netip.MustParsePrefix("10.0.0.96/27"), 26
	w.settle()
	w.add(0, 12)
	w.step() // the create is answered, its interface not attached yet
	w.add(12, 25)
	w.settle()
	if tally := w.state.Tally(); tally.InUse != 18 || tally.Waiting != 7 || len(w.enis) != 2 {
		t.Errorf("%d interfaces, %+v", len(w.enis), tally)
	}
}

func TestFullSubnetMeansTheNext(t *testing.T) {
	w := newWorld(t, nil)
	w.subs = append(w.subs, vpc.Subnet{ID: "subnet-b", VPC: "vpc-1", Zone: "us-west-2a", CIDR: netip.MustParsePrefix("10.1.0.0/24"), Free: 100, Available: true, Tags: vpc.Tags{vpc.TagCNIRole: "x"}})
	w.settle()
	w.add(0, 5)
	w.refuse[pool.CreateENI] = vpc.SubnetFull
	w.want("refused", w.step(), "create-eni in subnet-primary with 9: warm-target\n")
	delete(w.refuse, pool.CreateENI)
	w.want("its security groups", w.step(), "read-groups: warm-target\n")
	w.want("next", w.step(), "create-eni in subnet-b with 9: warm-target\n")
}

func TestChurnTakesOtherAddressesWhileTheOldOnesCool(t *testing.T) {
	w := newWorld(t, func(c *pool.Config) { c.WarmIP, c.MinimumIP = 2, 5 })
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
	w := newWorld(t, func(c *pool.Config) { c.WarmIP = 1 })
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

// A warm target of one address and a burst: the interface that is being made takes what comes later, too.
func TestBurstSpendsNoInterfaceThatAnotherComingOneCanReplace(t *testing.T) {
	w := newWorld(t, func(c *pool.Config) { c.WarmENI, c.WarmIP = 0, 1 })
	w.add(0, 8)
	w.settle()
	w.now = w.now.Add(time.Second)
	plan := ipam.Decide(w.state, w.now)
	var create pool.Action
	for i := range 3 { // pods come one by one while the interface is being made
		w.add(8+i, 9+i)
		plan = ipam.Decide(w.state, w.now)
		for _, a := range plan.Actions {
			if a.Kind == pool.CreateENI && create.Key != "" {
				t.Fatalf("a second interface is made: %s", plan)
			}
			if a.Kind == pool.CreateENI {
				create = a
			}
			w.state.Begin(a, w.now)
		}
	}
	if create.Key == "" {
		t.Fatalf("no interface is made: %s", plan)
	}
	w.state.Finish(create, w.perform(create), w.now)
	if text := w.settle(); strings.Contains(text, "create-eni") {
		t.Errorf("a second interface is made:\n%s", text)
	}
	if tally := w.state.Tally(); tally.Waiting != 0 || tally.InUse != 11 {
		t.Errorf("tally %+v", tally)
	}
}

// While EC2 adds one address to an interface with room for eight more, the next pod waits for that call to end.
func TestBurstMakesNoInterfaceWhileAnAddressIsBeingAdded(t *testing.T) {
	w := newWorld(t, func(c *pool.Config) { c.WarmENI, c.WarmIP = 0, 1 })
	w.settle()
	for i := range 5 {
		w.add(i, i+1)
		plan := ipam.Decide(w.state, w.now)
		for _, a := range plan.Actions {
			if a.Kind == pool.CreateENI {
				t.Fatalf("pod %d: an interface is made: %s", i, plan)
			}
			w.state.Begin(a, w.now)
		}
	}
}

// EC2 says that an interface takes no more (prefixes fill its slots): the pods get another interface.
func TestInterfaceThatTakesNoMoreIsNotWaitedFor(t *testing.T) {
	w := newWorld(t, func(c *pool.Config) { c.WarmENI, c.WarmIP = 0, 1 })
	w.refuse[pool.AssignAddresses] = vpc.LimitReached
	w.add(0, 3)
	w.count("", 3*time.Second, 100*time.Millisecond)
	if tally := w.state.Tally(); tally.InUse != 3 {
		t.Errorf("tally %+v\n%s", tally, ipam.Explain(w.state, ipam.Decide(w.state, w.now)))
	}
}

// An unassignment whose outcome a crash hid is repeated. Meanwhile EC2 may have given the address out again.
func TestAssignAndUnassignOfAnInterfaceTakeTurns(t *testing.T) {
	w := newWorld(t, func(c *pool.Config) { c.WarmIP = 1 })
	w.add(0, 6)
	w.settle()
	w.del(0, 6)
	w.now = w.now.Add(31 * time.Second)
	w.step()
	plan := ipam.Decide(w.state, w.now)
	if len(plan.Actions) != 1 || plan.Actions[0].Kind != pool.UnassignAddresses {
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

// The record of a creation did not become durable (the disk is full), so the call was not made: its repetition is recorded too.
func TestRepeatedCreationIsRecordedBeforeItsCall(t *testing.T) {
	w := newWorld(t, nil)
	w.settle()
	w.add(0, 5)
	first := ipam.Decide(w.state, w.now).Actions[0]
	w.state.Begin(first, w.now)
	w.state.Finish(first, pool.Result{Err: &vpc.Error{Code: vpc.Throttled}}, w.now)
	w.now = w.now.Add(time.Second)
	again := ipam.Decide(w.state, w.now).Actions[0]
	if again.Key != first.Key {
		t.Fatalf("%s, then %s", first, again)
	}
	if records := w.state.Begin(again, w.now); len(records) != 1 || records[0].Pending == nil {
		t.Errorf("records of the repetition: %+v", records)
	}
}

func TestUnassignmentThatIAMDeniesLosesNoAddress(t *testing.T) {
	w := newWorld(t, func(c *pool.Config) { c.WarmENI, c.WarmIP = 0, 1 })
	w.add(0, 8)
	w.settle()
	w.del(0, 8)
	w.refuse[pool.UnassignAddresses] = vpc.NotAuthorized
	if n := w.count(pool.UnassignAddresses, 10*time.Minute, time.Second); n == 0 || n > 12 {
		t.Errorf("%d tries in 10 minutes", n)
	}
	if tally := w.state.Tally(); tally.Leaving != 0 || tally.Free != 9 {
		t.Errorf("tally %+v", tally)
	}
}

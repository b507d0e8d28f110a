package ipam_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/berth-net/berth/internal/core/ipam"
	"github.com/berth-net/berth/internal/core/pool"
	"github.com/berth-net/berth/internal/core/vpc"
)

// The safety rules of the loop, each by its plainest case. The simulation holds them in all the others.

func TestRule1MetadataThatOmitsAnInterfaceTakesNothingAway(t *testing.T) {
	w := newWorld(t, nil)
	w.add(0, 12)
	w.settle()
	w.settle()
	for range 5 {
		w.now = w.now.Add(time.Minute)
		w.metadata(vpc.MetadataENI{ID: "eni-primary", Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.4")}})
		if text := w.settle(); strings.Contains(text, "detach") || strings.Contains(text, "unassign") || strings.Contains(text, "delete") {
			t.Fatalf("plans:\n%s", text)
		}
	}
	if tally := w.state.Tally(); tally.InUse != 12 || len(w.state.ENIs()) != 3 {
		t.Errorf("tally %+v, %d interfaces", tally, len(w.state.ENIs()))
	}
}

func TestRule1DetachWaitsForAReadAfterOurLastWrite(t *testing.T) {
	w := newWorld(t, nil)
	w.emptied()
	w.refuse[pool.ReadENIs] = vpc.Throttled
	if n := w.count(pool.DetachENI, 5*time.Minute, time.Second); n != 0 {
		t.Errorf("%d detachments on an old read", n)
	}
}

func TestRule2StaleMetadataGivesNoAddressThatWasGivenBack(t *testing.T) {
	w := newWorld(t, func(c *pool.Config) { c.WarmENI, c.WarmIP = 0, 1 })
	w.add(0, 6)
	w.settle()
	before := slices.Clone(w.enis[0].Secondary)
	w.del(0, 6)
	w.now = w.now.Add(31 * time.Second)
	w.settle()
	kept := w.enis[0].Secondary
	w.restart()
	w.refuse[pool.ReadENIs] = vpc.Throttled
	w.metadata(vpc.MetadataENI{ID: "eni-primary", Addresses: append([]netip.Addr{netip.MustParseAddr("10.0.0.4")}, before...)})
	w.state.Configured("eni-primary", true)
	w.add(10, 13)
	if got := w.state.Allocations(); len(got) != len(kept) {
		t.Errorf("%d pods for %d addresses", len(got), len(kept))
	}
	for _, a := range w.state.Allocations() {
		if !contains(kept, a.Addr) {
			t.Errorf("%s was given back to EC2 and then to %s", a.Addr, a.Pod.Name)
		}
	}
}

func TestRule2LostJournalHoldsAddressesThatALaggingReadShows(t *testing.T) {
	w := newWorld(t, nil)
	w.settle() // nine free addresses in EC2
	w.begin()
	w.state.Doubt(w.now)
	w.step()
	old := slices.Clone(w.enis[0].Secondary)
	w.add(0, 3)
	w.settle()
	for _, a := range w.state.Allocations() {
		if contains(old, a.Addr) {
			t.Errorf("%s is in doubt and was given to %s", a.Addr, a.Pod.Name)
		}
	}
	w.now = w.now.Add(61 * time.Second)
	w.settle()
	if tally := w.state.Tally(); tally.Held != 0 || tally.Free == 0 {
		t.Errorf("a minute later: %+v", tally)
	}
}

func TestRule3WhatCannotBeFoundAgainIsRecordedBeforeItBegins(t *testing.T) {
	w := newWorld(t, nil)
	w.add(0, 15)
	for range 400 {
		plan := ipam.Decide(w.state, w.now)
		for _, a := range plan.Actions {
			records := w.state.Begin(a, w.now)
			switch a.Kind {
			case pool.CreateENI, pool.AttachENI, pool.DetachENI, pool.UnassignAddresses:
				if len(records) == 0 {
					t.Errorf("%s begins without a record", a)
				}
			default:
			}
			w.state.Finish(a, w.perform(a), w.now)
		}
		for _, e := range w.state.ENIs() {
			w.state.Configured(e.ID, e.Phase == pool.Attached)
		}
		w.state.Satisfy(w.now)
		if w.now = w.now.Add(time.Second); w.now.Second() == 30 {
			w.del(0, 15)
		}
	}
	if len(w.state.ENIs()) != 1 {
		t.Errorf("%d interfaces: the scenario detaches nothing", len(w.state.ENIs()))
	}
}

func TestRule4SubnetsThatCannotBeReadStopNoPod(t *testing.T) {
	w := newWorld(t, nil)
	for _, code := range []vpc.Code{vpc.Throttled, vpc.Internal, vpc.NotAuthorized} {
		w.refuse[pool.ReadSubnets] = code
		w.refuse[pool.TagENI] = code
		w.settleFor(5 * time.Second)
		w.restart()
		w.settleFor(5 * time.Second)
		if !w.state.Ready() {
			t.Errorf("%s: not ready", code)
		}
	}
	if got := w.add(0, 9); got != 9 {
		t.Errorf("%d of 9 pods got one of the free addresses", got)
	}
}

func TestRule5CooldownSurvivesARestartAndYieldsNoAddress(t *testing.T) {
	w := newWorld(t, func(c *pool.Config) { c.MaxENI = 1 })
	w.add(0, 9)
	w.settle()
	w.del(0, 9)
	if tally := w.state.Tally(); tally.Cooling != 9 || tally.Free != 0 {
		t.Fatalf("tally %+v", tally)
	}
	w.now = w.now.Add(10 * time.Second)
	w.restart()
	w.settleFor(2 * time.Second)
	if got := w.add(10, 12); got != 0 {
		t.Errorf("%d pods got an address that cools", got)
	}
	if b := ipam.Explain(w.state, ipam.Decide(w.state, w.now)); b.Why != ipam.AddressesCooling {
		t.Errorf("blocked %s", b)
	}
	w.settleFor(20 * time.Second)
	if tally := w.state.Tally(); tally.InUse != 2 || tally.Waiting != 0 {
		t.Errorf("after the period: %+v", tally)
	}
}

func TestRule6NothingIsUnassignedWhileAPodWaits(t *testing.T) {
	w := newWorld(t, func(c *pool.Config) { c.MaxENI = 2 })
	w.add(0, 9)
	w.settle()
	w.settle()
	w.subs[0].Tags = vpc.Tags{vpc.TagCNIRole: "0"} // all nine free addresses lie in an excluded subnet now
	w.add(20, 40)
	w.subs[0].Free = 0
	w.now = w.now.Add(11 * time.Minute)
	if n := w.count(pool.UnassignAddresses, 5*time.Minute, time.Second) + w.count(pool.DetachENI, time.Minute, time.Second); n != 0 || w.state.Tally().Waiting == 0 {
		t.Errorf("%d were taken while %d pods waited", n, w.state.Tally().Waiting)
	}
}

func TestRule5CooldownOfAHeldAddressSurvivesARestart(t *testing.T) {
	w := newWorld(t, func(c *pool.Config) { c.MaxENI = 1 })
	w.settle()
	ip := w.enis[0].Secondary[0]
	w.state.SetLive([]netip.Addr{ip}, w.now)
	records := w.state.Snapshot(w.now)
	r, ok := w.state.ReleaseHeld(ip, w.now)
	if !ok {
		t.Fatal("the address was not held")
	}
	w.begin(append(records, r)...)
	if tally := w.state.Tally(); tally.Cooling != 1 {
		t.Errorf("tally %+v", tally)
	}
}

// The journal lost its end: by what is left an address is being given back, and the kernel shows a pod on it. EC2 had given
// it to the interface again.
func TestRule2AddressThatLeavesByADamagedJournalIsNotTakenFromALivePod(t *testing.T) {
	w := newWorld(t, func(c *pool.Config) { c.WarmENI, c.WarmIP = 0, 1 })
	w.add(0, 6)
	w.settle()
	w.del(0, 6)
	w.now = w.now.Add(31 * time.Second)
	w.step()
	unassign := ipam.Decide(w.state, w.now).Actions[0]
	if unassign.Kind != pool.UnassignAddresses {
		t.Fatalf("plan: %s", unassign)
	}
	w.state.Begin(unassign, w.now)
	records := w.state.Snapshot(w.now)

	w.begin(records...)
	w.state.SetLive([]netip.Addr{unassign.Blocks[0].First()}, w.now)
	w.state.Doubt(w.now)
	w.settleFor(3 * time.Minute)
	if !contains(w.enis[0].Secondary, unassign.Blocks[0].First()) {
		t.Errorf("%s was taken from a live pod", unassign.Blocks[0].First())
	}
	if contains(w.enis[0].Secondary, unassign.Blocks[1].First()) {
		t.Errorf("%s was not given back", unassign.Blocks[1].First())
	}
}

// The journal was damaged, its repair is durable, and the agent dies within the minute in which reads may lag.
func TestRule2DoubtOfADamagedJournalSurvivesARestart(t *testing.T) {
	w := newWorld(t, nil)
	w.settle()
	records := w.state.Snapshot(w.now)
	for range 2 {
		w.now = w.now.Add(5 * time.Second)
		w.begin(records...)
		records = append(records, w.state.Doubt(w.now))
	}
	w.now = w.now.Add(5 * time.Second)
	w.begin(records...)
	old := slices.Clone(w.enis[0].Secondary)
	w.add(0, 2)
	w.settle()
	for _, a := range w.state.Allocations() {
		if contains(old, a.Addr) {
			t.Errorf("%s is in doubt and was given to %s", a.Addr, a.Pod.Name)
		}
	}
	w.now = w.now.Add(time.Minute)
	w.settle()
	if tally := w.state.Tally(); tally.Held != 0 {
		t.Errorf("a minute later: %+v", tally)
	}
}

// Metadata confirms what cools as well as what is free: the period ends while EC2 still cannot be read.
func TestRule2CoolingAddressThatMetadataOmitsIsNotGivenOut(t *testing.T) {
	w := newWorld(t, func(c *pool.Config) { c.MaxENI = 1 })
	w.add(0, 9)
	w.settle()
	w.del(0, 9)
	w.restart()
	w.refuse[pool.ReadENIs] = vpc.Throttled
	w.metadata(vpc.MetadataENI{ID: "eni-primary", Addresses: append([]netip.Addr{netip.MustParseAddr("10.0.0.4")}, w.enis[0].Secondary[1:]...)})
	w.state.Configured("eni-primary", true)
	w.now = w.now.Add(31 * time.Second)
	if got := w.add(10, 20); got != 8 {
		t.Errorf("%d pods got one of 8 addresses that metadata confirms", got)
	}
}

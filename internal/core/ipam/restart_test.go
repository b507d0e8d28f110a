package ipam_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/berth-net/berth/internal/core/ipam"
	"github.com/berth-net/berth/internal/core/pool"
	"github.com/berth-net/berth/internal/core/vpc"
)

func TestRestartKeepsPodsAndReadsOnce(t *testing.T) {
	w := newWorld(t, nil)
	w.add(0, 12)
	w.settle()
	w.settle()
	before := w.state.Allocations()
	records := w.state.Snapshot(w.now)

	w.now = w.now.Add(time.Minute)
	w.begin(records...)
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

// EC2 does not refuse, it just never answers: half a second later the node serves pods from its journal and metadata.
func TestRestartIsNotHeldUpByEC2ThatDoesNotAnswer(t *testing.T) {
	w := newWorld(t, nil)
	w.add(0, 3)
	w.settle()
	records := w.state.Snapshot(w.now)
	w.now = w.now.Add(time.Minute)
	w.begin(records...)

	plan := ipam.Decide(w.state, w.now)
	if len(plan.Actions) != 1 || plan.Actions[0].Kind != pool.ReadENIs {
		t.Fatalf("the first plan is %s", plan)
	}
	w.state.Begin(plan.Actions[0], w.now) // and nothing comes back
	if plan = ipam.Decide(w.state, w.now); plan.Wake.After(w.now.Add(time.Second)) {
		t.Errorf("the next plan comes at %s, the start was at %s", plan.Wake, w.now)
	}
	w.now = plan.Wake
	plan = ipam.Decide(w.state, w.now)
	if len(plan.Actions) != 1 || plan.Actions[0].Kind != pool.ReadMetadata {
		t.Fatalf("after half a second without an answer the plan is %s", plan)
	}
	w.state.Begin(plan.Actions[0], w.now)
	if w.state.Ready() {
		t.Error("ready before metadata answered")
	}
	primary := w.enis[0]
	w.state.Finish(plan.Actions[0], pool.Result{AskedAt: w.now, Metadata: []vpc.MetadataENI{{
		ID: primary.ID, MAC: primary.MAC, Addresses: append([]netip.Addr{primary.Primary}, primary.Secondary...),
	}}}, w.now)
	if !w.state.Ready() || !w.state.Provisional() {
		t.Errorf("ready %t, provisional %t", w.state.Ready(), w.state.Provisional())
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

// A year of WARM_IP_TARGET: addresses come and go, and the journal's snapshot does not grow with them.
func TestAddressesGivenBackAreForgottenInTheEnd(t *testing.T) {
	w := newWorld(t, func(c *pool.Config) { c.WarmENI, c.WarmIP = 0, 1 })
	w.settle()
	for i := range 8 {
		w.add(i*6, i*6+6)
		w.settle()
		w.del(i*6, i*6+6)
		w.now = w.now.Add(20 * time.Minute)
		w.settle()
	}
	unassigned := 0
	for _, r := range w.state.Snapshot(w.now) {
		if r.Unassign != nil {
			unassigned++
		}
	}
	if unassigned > 8 {
		t.Errorf("the snapshot remembers %d addresses that were given back", unassigned)
	}
}

package ipam_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/berth-net/berth/internal/core/ipam"
	"github.com/berth-net/berth/internal/core/vpc"
)

// EC2 does not refuse, it just never answers: half a second later the node serves pods from its journal and metadata.
func TestRestartIsNotHeldUpByEC2ThatDoesNotAnswer(t *testing.T) {
	w := newWorld(t, nil)
	w.add(0, 3)
	w.settle()
	records := w.state.Snapshot(w.now)
	limits, _ := vpc.Limits("m5.large")
	w.now = w.now.Add(time.Minute)
	w.state = ipam.New(w.state.Config, instance, limits, "n2", w.now)
	w.state.Restore(records)

	plan := w.state.Plan(w.now)
	if len(plan.Actions) != 1 || plan.Actions[0].Kind != ipam.ReadENIs {
		t.Fatalf("the first plan is %s", plan)
	}
	w.state.Begin(plan.Actions[0], w.now) // and nothing comes back
	if plan = w.state.Plan(w.now); plan.Wake.After(w.now.Add(time.Second)) {
		t.Errorf("the next plan comes at %s, the start was at %s", plan.Wake, w.now)
	}
	w.now = plan.Wake
	plan = w.state.Plan(w.now)
	if len(plan.Actions) != 1 || plan.Actions[0].Kind != ipam.ReadMetadata {
		t.Fatalf("after half a second without an answer the plan is %s", plan)
	}
	w.state.Begin(plan.Actions[0], w.now)
	if w.state.Ready() {
		t.Error("ready before metadata answered")
	}
	primary := w.enis[0]
	w.state.Finish(plan.Actions[0], ipam.Result{AskedAt: w.now, Metadata: []vpc.MetadataENI{{
		ID: primary.ID, MAC: primary.MAC, Addresses: append([]netip.Addr{primary.Primary}, primary.Secondary...),
	}}}, w.now)
	if !w.state.Ready() || !w.state.Provisional() {
		t.Errorf("ready %t, provisional %t", w.state.Ready(), w.state.Provisional())
	}
}

// A warm target of one address and a burst: the interface that is being made takes what comes later, too.
func TestBurstSpendsNoInterfaceThatAnotherComingOneCanReplace(t *testing.T) {
	w := newWorld(t, func(c *ipam.Config) { c.WarmENI, c.WarmIP = 0, 1 })
	w.add(0, 8)
	w.settle()
	w.now = w.now.Add(time.Second)
	plan := w.state.Plan(w.now)
	var create ipam.Action
	for i := range 3 { // pods come one by one while the interface is being made
		w.add(8+i, 9+i)
		plan = w.state.Plan(w.now)
		for _, a := range plan.Actions {
			if a.Kind == ipam.CreateENI && create.Key != "" {
				t.Fatalf("a second interface is made: %s", plan)
			}
			if a.Kind == ipam.CreateENI {
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
	w := newWorld(t, func(c *ipam.Config) { c.WarmENI, c.WarmIP = 0, 1 })
	w.settle()
	for i := range 5 {
		w.add(i, i+1)
		plan := w.state.Plan(w.now)
		for _, a := range plan.Actions {
			if a.Kind == ipam.CreateENI {
				t.Fatalf("pod %d: an interface is made: %s", i, plan)
			}
			w.state.Begin(a, w.now)
		}
	}
}

// The addresses of somebody else's interface are not the node's to give, also when the journal is lost.
func TestFullNodeIsNotToldToWaitForAddressesOfAnotherInterface(t *testing.T) {
	w := newWorld(t, func(c *ipam.Config) { c.MaxENI = 1 })
	w.state.Doubt(w.now)
	w.enis = append(w.enis, vpc.ENI{
		ID: "eni-theirs", Subnet: "subnet-primary", VPC: "vpc-1", Type: "interface", Tags: vpc.Tags{vpc.TagENINoManage: "true"},
		Secondary:  []netip.Addr{netip.MustParseAddr("10.0.0.200")},
		Attachment: &vpc.Attachment{ID: "attach-1", Instance: "i-1", DeviceIndex: 1, State: vpc.Attached},
	})
	w.add(0, 30)
	w.settle()
	if plan := w.state.Plan(w.now); plan.Blocked != ipam.NodeFull {
		t.Errorf("blocked by %s: %+v", plan.Blocked, w.state.Tally())
	}
}

package bpf_test

import (
	"testing"
	"time"

	"github.com/berth-net/berth/internal/testkit"
	"github.com/berth-net/berth/internal/testkit/flow"
)

// TestSettlingAPodLosesPacketsOnTheirWayToIt: the kernel stops an interface for as long as its qdisc clsact is taken away, and what is
// sent there meanwhile is dropped without a trace.
func TestSettlingAPodLosesPacketsOnTheirWayToIt(t *testing.T) {
	w := newWire(t)
	d := open(t, options(mountBPF(t)))
	t.Cleanup(func() { _ = d.Close() })
	const rounds, flows = 12, 100
	swarm := flow.NewSwarm(5 * time.Millisecond)
	all, err := swarm.Add("to the pod", w.far, w.pod, addr("10.0.0.1"), flows)
	if err != nil {
		t.Fatal(err)
	}
	if err := swarm.Start(); err != nil {
		t.Fatal(err)
	}
	pass := func(more uint64) uint64 { // until each has sent so many more
		end := all[flows-1].Next() + more
		testkit.Eventually(t, "messages", func() bool { return all[flows-1].Next() >= end })
		return all[0].Next()
	}
	var from, to [rounds]uint64
	for i := range rounds {
		testkit.InNetns(t, w.node, func() error { return d.Attach(w.ifindex, slot, false, addr("10.0.0.1")) })
		from[i] = pass(5)
		testkit.InNetns(t, w.node, func() error { return d.Settle(w.ifindex) })
		to[i] = pass(5)
		testkit.InNetns(t, w.node, func() error { return d.Detach(w.ifindex) })
	}
	machine, err := swarm.End()
	if err != nil {
		t.Fatal(err)
	}
	sent, lost := 0, 0
	for _, m := range all {
		for i := range rounds {
			sum := m.Between(from[i], to[i])
			sent, lost = sent+sum.Sent, lost+sum.Lost()
		}
	}
	if sent < rounds*flows*5 || lost > machine {
		t.Errorf("%d of %d messages were lost while the interface was settled, %d of them by the machine", lost, sent, machine)
	}
	t.Logf("%d messages", sent)
}

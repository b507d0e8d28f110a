package bpf_test

import (
	"testing"
	"time"

	"github.com/berth-net/berth/internal/bpf"
	"github.com/berth-net/berth/internal/testkit"
	"github.com/berth-net/berth/internal/testkit/flow"
)

// TestTurningPolicyOffAndOnLosesPackets: the interfaces of pods that run must not stop for it, in either way of attaching, settled or not.
// Without TCX the first time cannot be helped: the qdisc has to be made.
func TestTurningPolicyOffAndOnLosesPackets(t *testing.T) {
	inBothAttachments(t, func(t *testing.T, o bpf.Options, w *wire) {
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
		var at [rounds][3]uint64
		for i := range rounds {
			d := open(t, o)
			at[i][0] = pass(5)
			testkit.InNetns(t, w.node, func() error { return d.Attach(w.ifindex, slot, true, addr("10.0.0.1")) })
			at[i][1] = pass(5)
			if i%2 == 1 {
				testkit.InNetns(t, w.node, func() error { return d.Settle(w.ifindex) })
			}
			testkit.InNetns(t, w.node, d.Remove)
			at[i][2] = pass(5)
		}
		machine, err := swarm.End()
		if err != nil {
			t.Fatal(err)
		}
		var sent, lost [2]int
		for _, m := range all {
			for i := range rounds {
				for phase := range 2 {
					if o.Clsact && i == 0 && phase == 0 {
						continue
					}
					sum := m.Between(at[i][phase], at[i][phase+1])
					sent[phase], lost[phase] = sent[phase]+sum.Sent, lost[phase]+sum.Lost()
				}
			}
		}
		if sent[0] < rounds*flows*3 || sent[1] < rounds*flows*5 || lost[0]+lost[1] > machine {
			t.Errorf("turned on %d of %d messages were lost, turned off %d of %d, all %d by the machine", lost[0], sent[0], lost[1], sent[1], machine)
		}
		t.Logf("%d and %d messages", sent[0], sent[1])
	})
}

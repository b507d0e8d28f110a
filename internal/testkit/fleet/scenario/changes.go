package scenario

import (
	"fmt"
	"time"

	"github.com/berth-net/berth/internal/testkit/fleet"
)

// podStart is how long a pod takes to be ready once it has an address.
const podStart = 5 * time.Second

// Rollout replaces every pod of a cluster, with so many more than wanted at a time.
type Rollout struct {
	Seed        uint64
	Nodes, Pods int
	Surge       float64
	Prefixes    bool
	Limit       time.Duration
}

// Run runs the scenario.
func (s Rollout) Run() Report {
	title := fmt.Sprintf("rollout of all pods, surge %.0f %%", 100*s.Surge)
	rep := both(title, func(p fleet.Policy, _ int) (*fleet.Region, fleet.Figures) {
		r := fleet.NewRegion(fleet.Options{Seed: s.Seed})
		c := populated(r, subnets(r, 1), "demo", p, fleet.Config{}, "m5.large", s.Nodes, s.Pods)
		r.Run(settle, nil)
		var old []*fleet.Pod
		for _, n := range c.Nodes() {
			old = append(old, n.Running()...)
		}
		r.Dice().Shuffle(len(old), func(i, j int) { old[i], old[j] = old[j], old[i] })
		made, total := 0, len(old)
		next := func() {
			if made < total {
				if _, ok := c.Schedule(0); ok {
					made++
				}
			}
		}
		r.Mark()
		c.WhenServed(func(*fleet.Pod) {
			r.After(podStart, func() {
				if len(old) > 0 {
					c.Delete(old[0])
					old = old[1:]
				}
				next()
			})
		})
		for range int(s.Surge * float64(total)) {
			next()
		}
		r.Run(r.Elapsed()+s.Limit, func() bool { return len(old) == 0 })
		return r, c.Figures()
	})
	rep.Rows = []Row{
		{Name: title + ": time", Value: rep.Ours.Took.Seconds(), Unit: "s", Baseline: rep.Theirs.Took.Seconds(), Limit: 1.05 * rep.Theirs.Took.Seconds()},
		{Name: title + ": p99 wait for an address", Value: rep.Ours.P99.Seconds(), Unit: "s", Baseline: rep.Theirs.P99.Seconds(), Limit: max(rep.Theirs.P99.Seconds(), 1)},
	}
	return rep
}

// ZoneLoss takes a third of the nodes away at once; their pods come to the others.
type ZoneLoss struct {
	Seed        uint64
	Nodes, Pods int
	Limit       time.Duration
}

// Run runs the scenario.
func (s ZoneLoss) Run() Report {
	title := "a zone is lost, its pods come to the others"
	rep := both(title, func(p fleet.Policy, _ int) (*fleet.Region, fleet.Figures) {
		r := fleet.NewRegion(fleet.Options{Seed: s.Seed})
		c := populated(r, subnets(r, 1), "demo", p, fleet.Config{}, "m5.large", s.Nodes, s.Pods)
		r.Run(settle, nil)
		r.Mark()
		lost := 0
		for _, n := range c.Nodes() {
			if n.Zone() == fleet.Zone(0) {
				lost += c.Kill(n)
			}
		}
		for range lost {
			c.Schedule(fleet.Sandboxes)
		}
		r.Run(r.Elapsed()+s.Limit, func() bool { return c.Waiting() == 0 })
		return r, c.Figures()
	})
	rep.Rows = []Row{{
		Name: title + ": all pods have an address", Value: readySeconds(rep.Ours), Unit: "s", Baseline: readySeconds(rep.Theirs),
		Limit: readySeconds(rep.Theirs), Note: notReady(rep.Theirs),
	}}
	return rep
}

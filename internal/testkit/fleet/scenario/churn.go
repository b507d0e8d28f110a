package scenario

import (
	"fmt"
	"time"

	"github.com/berth-net/berth/internal/core/pool"
	"github.com/berth-net/berth/internal/core/vpc"
	"github.com/berth-net/berth/internal/testkit/fleet"
)

// Churn is a cluster whose pods come and go.
type Churn struct {
	Seed        uint64
	Nodes, Pods int           // Pods is per node, on average
	PerMinute   float64       // the part of the pods that is replaced each minute
	For         time.Duration // after the pool has settled
	Prefixes    bool
}

// settle is how long a cluster is left alone before anything is measured.
const settle = 20 * time.Minute

// populated is a cluster that has run for a while: its pods have addresses, its pools have settled.
func populated(r *fleet.Region, in []vpc.SubnetID, name string, p fleet.Policy, cfg fleet.Config, kind string, nodes, pods int) *fleet.Cluster {
	c := r.NewCluster(name, p, cfg)
	for i, sn := range in {
		c.Launch(kind, sn, nodes/len(in)+btoi(i < nodes%len(in)))
	}
	c.Boot(c.Nodes(), time.Minute)
	for range nodes * pods {
		c.Schedule(time.Minute)
	}
	return c
}

// replace deletes random pods of a cluster and schedules others in their place, at random moments and so many each second
// on average, until a moment.
func replace(r *fleet.Region, c *fleet.Cluster, perSecond float64, until time.Duration) {
	leaving := make(map[*fleet.Pod]bool)
	var next func()
	next = func() {
		if r.Elapsed() >= until {
			return
		}
		n := c.Nodes()[r.Dice().IntN(len(c.Nodes()))]
		if pods := n.Running(); len(pods) > 0 {
			if p := pods[r.Dice().IntN(len(pods))]; !leaving[p] {
				leaving[p] = true
				c.Schedule(0) // a ReplicaSet does not wait for the old pod's end
				r.After(time.Second, func() { c.Delete(p); delete(leaving, p) })
			}
		}
		r.After(time.Duration(r.Dice().ExpFloat64()/perSecond*float64(time.Second)), next)
	}
	next()
}

// Run runs the scenario.
func (s Churn) Run() Report {
	mode, cfg := "secondary addresses", fleet.Config{}
	if s.Prefixes {
		mode, cfg = "prefixes", fleet.Config{Prefixes: true, WarmPrefix: 1, MaxPods: 110}
	}
	title := fmt.Sprintf("churn, %.0f %% of pods per minute for %s, %s", 100*s.PerMinute, s.For, mode)
	rep := both(title, func(p fleet.Policy, _ int) (*fleet.Region, fleet.Figures) {
		r := fleet.NewRegion(fleet.Options{Seed: s.Seed})
		c := populated(r, subnets(r, 1), "demo", p, cfg, "m5.large", s.Nodes, s.Pods)
		r.Run(settle, nil)
		r.Mark()
		replace(r, c, s.PerMinute*float64(s.Nodes*s.Pods)/60, r.Elapsed()+s.For)
		r.Run(r.Elapsed()+s.For, nil)
		f := c.Figures()
		f.Steady = true
		return r, f
	})
	rep.Rows = []Row{
		{Name: title + ": p99 wait for an address", Value: rep.Ours.P99.Seconds(), Unit: "s", Baseline: rep.Theirs.P99.Seconds(), Limit: 1},
		{Name: title + ": addresses idle on average", Value: rep.Ours.IdleMean, Baseline: rep.Theirs.IdleMean, Limit: rep.Theirs.IdleMean / 2, Bound: rep.Ours.IdleLeast},
	}
	return rep
}

// Shared is an account with several clusters, one of which starts many nodes at once while the others have ordinary churn.
type Shared struct {
	Seed        uint64
	Nodes, Pods int // of each of the calm clusters
	Burst       int // fresh nodes of the other one
	PerMinute   float64
	For         time.Duration
	// WarmIP is WARM_IP_TARGET of the calm clusters; with 0 they have the default settings.
	WarmIP int
}

// Run runs the scenario.
func (s Shared) Run() Report {
	title := fmt.Sprintf("four clusters in one account, one starts %d nodes", s.Burst)
	var cfg fleet.Config
	if s.WarmIP > 0 {
		title += fmt.Sprintf(", the others have WARM_IP_TARGET=%d", s.WarmIP)
		cfg.IPAM = pool.Defaults()
		cfg.IPAM.WarmIP = s.WarmIP
	}
	var burst [2]fleet.Figures
	rep := both(title, func(p fleet.Policy, side int) (*fleet.Region, fleet.Figures) {
		r := fleet.NewRegion(fleet.Options{Seed: s.Seed})
		shared := subnets(r, 1)
		var calm []*fleet.Cluster
		for i := range 3 {
			calm = append(calm, populated(r, shared, fmt.Sprintf("calm-%d", i+1), p, cfg, "m5.large", s.Nodes, s.Pods))
		}
		r.Run(settle, nil)
		hot := r.NewCluster("burst", p, fleet.Config{})
		for i, sn := range shared {
			hot.Launch("m5.large", sn, s.Burst/len(shared)+btoi(i < s.Burst%len(shared)))
		}
		r.Mark()
		for _, c := range calm {
			replace(r, c, s.PerMinute*float64(s.Nodes*s.Pods)/60, r.Elapsed()+s.For)
		}
		hot.Boot(hot.Nodes(), time.Second)
		for _, n := range hot.Nodes() {
			for range 27 {
				hot.Bind(n, fleet.Sandboxes)
			}
		}
		r.Run(r.Elapsed()+s.For, nil)
		burst[side] = hot.Figures()
		f := fleet.Sum(calm)
		f.Steady = true
		return r, f
	})
	rep.Bound = fmt.Sprintf("the tables show the three calm clusters; all pods of the one that bursts have an address: existing CNI %s, berth %s", readiness(burst[0]), readiness(burst[1]))
	rep.Rows = []Row{{
		Name: title + ": p99 wait of the others' pods", Value: rep.Ours.P99.Seconds(), Unit: "s", Baseline: rep.Theirs.P99.Seconds(), Limit: 2,
	}}
	return rep
}

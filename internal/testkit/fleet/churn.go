package fleet

import (
	"fmt"
	"time"

	"github.com/berth-net/berth/internal/core/pool"
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

// replace deletes random pods and schedules others in their place, at random moments and so many each second on average,
// until a moment.
func (c *Cluster) replace(perSecond float64, until time.Duration) {
	r := c.region
	var next func()
	next = func() {
		if r.now >= until {
			return
		}
		if p := c.randomPod(); p != nil {
			c.Schedule(0) // a ReplicaSet does not wait for the old pod's end
			r.after(time.Second, func() { c.Delete(p) })
		}
		r.after(time.Duration(r.dice.ExpFloat64()/perSecond*float64(time.Second)), next)
	}
	next()
}

// randomPod is a pod that is not being deleted yet, nil after some tries in vain.
func (c *Cluster) randomPod() *Pod {
	for range 100 {
		n := c.nodes[c.region.dice.IntN(len(c.nodes))]
		if !n.alive || len(n.running) == 0 {
			continue
		}
		if p := n.running[c.region.dice.IntN(len(n.running))]; !p.over && !p.leaving {
			p.leaving = true
			return p
		}
	}
	return nil
}

// populated is a cluster that has run for a while: its pods have addresses, its pools have settled.
func (r *Region) populated(name string, p Policy, cfg Config, kind string, nodes, pods int) *Cluster {
	c := r.NewCluster(name, p, cfg)
	if len(r.subnets) == 0 {
		r.subnets = r.Subnets(1)
	}
	for i, sn := range r.subnets {
		c.Launch(kind, sn, nodes/len(r.subnets)+btoi(i < nodes%len(r.subnets)))
	}
	c.Boot(c.nodes, time.Minute)
	for range nodes * pods {
		c.Schedule(time.Minute)
	}
	return c
}

// Run runs the scenario.
func (s Churn) Run() Report {
	mode, cfg := "secondary addresses", Config{}
	if s.Prefixes {
		mode, cfg = "prefixes", Config{Prefixes: true, WarmPrefix: 1, MaxPods: 110}
	}
	title := fmt.Sprintf("churn, %.0f %% of pods per minute for %s, %s", 100*s.PerMinute, s.For, mode)
	rep := both(title, func(p Policy) (*Region, Figures) {
		r := NewRegion(Options{Seed: s.Seed})
		c := r.populated("demo", p, cfg, "m5.large", s.Nodes, s.Pods)
		r.Run(settle, nil)
		r.Mark()
		c.replace(s.PerMinute*float64(s.Nodes*s.Pods)/60, r.now+s.For)
		r.Run(r.now+s.For, nil)
		f := c.Figures()
		f.Steady = true
		return r, f
	})
	idle := rep.Theirs.IdleMean / 2
	if s.Prefixes { // a prefix is not divided, whoever holds it
		idle = rep.Theirs.IdleMean
	}
	rep.Rows = []Row{
		{Name: title + ": p99 wait for an address", Value: rep.Ours.P99.Seconds(), Unit: "s", Baseline: rep.Theirs.P99.Seconds(), Limit: 1},
		{Name: title + ": addresses idle on average", Value: rep.Ours.IdleMean, Baseline: rep.Theirs.IdleMean, Limit: idle},
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
	var cfg Config
	if s.WarmIP > 0 {
		title += fmt.Sprintf(", the others have WARM_IP_TARGET=%d", s.WarmIP)
		cfg.IPAM = pool.Defaults()
		cfg.IPAM.WarmIP = s.WarmIP
	}
	var burst [2]Figures
	rep := both(title, func(p Policy) (*Region, Figures) {
		r := NewRegion(Options{Seed: s.Seed})
		var calm []*Cluster
		for i := range 3 {
			calm = append(calm, r.populated(fmt.Sprintf("calm-%d", i+1), p, cfg, "m5.large", s.Nodes, s.Pods))
		}
		r.Run(settle, nil)
		hot := r.NewCluster("burst", p, Config{})
		for i, sn := range r.subnets {
			hot.Launch("m5.large", sn, s.Burst/len(r.subnets)+btoi(i < s.Burst%len(r.subnets)))
		}
		r.Mark()
		for _, c := range calm {
			c.replace(s.PerMinute*float64(s.Nodes*s.Pods)/60, r.now+s.For)
		}
		hot.Boot(hot.nodes, time.Second)
		for _, n := range hot.nodes {
			for range 27 {
				hot.Bind(n, sandboxes)
			}
		}
		r.Run(r.now+s.For, nil)
		burst[btoi(r.ours())] = hot.Figures()
		f := sum(calm)
		f.Steady = true
		return r, f
	})
	rep.Bound = fmt.Sprintf("the tables show the three calm clusters; all pods of the one that bursts have an address: existing CNI %s, berth %s", burst[0].readiness(), burst[1].readiness())
	rep.Rows = []Row{{
		Name: title + ": p99 wait of the others' pods", Value: rep.Ours.P99.Seconds(), Unit: "s", Baseline: rep.Theirs.P99.Seconds(), Limit: 2,
	}}
	return rep
}

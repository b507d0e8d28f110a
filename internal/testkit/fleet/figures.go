package fleet

import (
	"slices"
	"time"
)

// gauge is a number over time.
type gauge struct {
	value, most int
	since, from time.Duration
	sum         float64 // of value times seconds
}

func (g *gauge) add(now time.Duration, n int) {
	g.sum += float64(g.value) * (now - g.since).Seconds()
	g.value, g.since = g.value+n, now
	g.most = max(g.most, g.value)
}

// restart forgets what was before.
func (g *gauge) restart(now time.Duration) {
	*g = gauge{value: g.value, most: g.value, since: now, from: now}
}

func (g *gauge) mean(now time.Duration) float64 {
	if now <= g.from {
		return float64(g.value)
	}
	return (g.sum + float64(g.value)*(now-g.since).Seconds()) / (now - g.from).Seconds()
}

// Count is how many calls of an action were made: those that EC2 carried out, throttled and refused.
type Count struct{ OK, Throttled, Refused int }

// All counts the attempts.
func (c Count) All() int { return c.OK + c.Throttled + c.Refused }

// Figures are what a scenario shows of one cluster.
type Figures struct {
	Nodes, Pods, Unserved int
	Ready                 time.Duration // until the last pod had an address; meaningless while Unserved is not 0
	P50, P99, Max         time.Duration // from a pod's first ADD to its address; a pod without one counts with the time it has waited
	FailedAdds            int           // answered with an error, and repeated
	Calls                 map[string]Count
	IdleMean, IdleMax     float64 // addresses that EC2 has assigned for pods and no pod has
	IdleLeast             float64 // what of IdleMean nobody can save who uses prefixes, on average; 0 without prefixes
	Took                  time.Duration
	Steady                bool // pods come and go all the time: no moment is the last
}

// Attempts counts all calls to EC2.
func (f Figures) Attempts() (all, throttled int) {
	for _, c := range f.Calls {
		all, throttled = all+c.All(), throttled+c.Throttled
	}
	return all, throttled
}

// PerNode is the number of attempts per node.
func (f Figures) PerNode() float64 {
	all, _ := f.Attempts()
	return float64(all) / float64(max(f.Nodes, 1))
}

// Mark begins the measurement of all clusters anew.
func (r *Region) Mark() {
	r.Sim.Mark("measured")
	for _, c := range r.clusters {
		c.started, c.ready, c.waits = r.now, r.now, nil
		c.idle.restart(r.now)
		c.least.restart(r.now)
		c.failedBefore = 0
		for _, n := range c.nodes {
			c.failedBefore += n.agent.failedAdds()
		}
	}
}

// Figures are what has been measured of the cluster since Mark.
func (c *Cluster) Figures() Figures {
	r := c.region
	f := Figures{
		Nodes: len(c.nodes), Unserved: c.waiting, Ready: c.ready - c.started, Took: r.now - c.started, Calls: make(map[string]Count),
		IdleMean: c.idle.mean(r.now), IdleMax: float64(c.idle.most), IdleLeast: c.least.mean(r.now),
	}
	for _, n := range c.nodes {
		f.FailedAdds += n.agent.failedAdds()
		f.Pods += len(n.pods)
	}
	f.FailedAdds -= c.failedBefore
	waits := c.Waits()
	f.P50, f.P99, f.Max = Percentile(waits, 50), Percentile(waits, 99), Percentile(waits, 100)
	counts, ok := r.Sim.Calls("measured")
	if !ok {
		counts, _ = r.Sim.Calls("")
	}
	for _, n := range counts {
		if n.Caller != c.Name {
			continue
		}
		k := f.Calls[n.Action]
		switch n.Outcome {
		case "ok":
			k.OK += n.Count
		case "RequestLimitExceeded":
			k.Throttled += n.Count
		default:
			k.Refused += n.Count
		}
		f.Calls[n.Action] = k
	}
	return f
}

// Sum adds up the figures of clusters; their waits count as those of one.
func Sum(list []*Cluster) Figures {
	all := &Cluster{region: list[0].region, started: list[0].started}
	f := Figures{Calls: make(map[string]Count)}
	for _, c := range list {
		one := c.Figures()
		f.Nodes, f.Pods, f.Unserved, f.FailedAdds = f.Nodes+one.Nodes, f.Pods+one.Pods, f.Unserved+one.Unserved, f.FailedAdds+one.FailedAdds
		f.IdleMean, f.IdleMax, f.Ready, f.Took = f.IdleMean+one.IdleMean, f.IdleMax+one.IdleMax, max(f.Ready, one.Ready), one.Took
		for action, n := range one.Calls {
			k := f.Calls[action]
			f.Calls[action] = Count{k.OK + n.OK, k.Throttled + n.Throttled, k.Refused + n.Refused}
		}
		all.waits = append(all.waits, c.Waits()...)
	}
	waits := all.Waits()
	f.P50, f.P99, f.Max = Percentile(waits, 50), Percentile(waits, 99), Percentile(waits, 100)
	return f
}

// Waits are the waits of all pods, sorted; a pod without an address counts with the time that it has waited.
func (c *Cluster) Waits() []time.Duration {
	waits := slices.Clone(c.waits)
	for _, n := range c.nodes {
		for p := range n.without {
			if c.region.now >= p.first {
				waits = append(waits, c.region.now-p.first)
			}
		}
	}
	slices.Sort(waits)
	return waits
}

// Percentile is the smallest of the sorted values that p percent of them do not exceed.
func Percentile(sorted []time.Duration, p int) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[max(min(len(sorted)-1, (len(sorted)*p+99)/100-1), 0)] // the first for 0
}

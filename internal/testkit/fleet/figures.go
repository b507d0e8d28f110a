package fleet

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
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
		IdleMean: c.idle.mean(r.now), IdleMax: float64(c.idle.most),
	}
	for _, n := range c.nodes {
		f.FailedAdds += n.agent.failedAdds()
		f.Pods += len(n.pods)
	}
	f.FailedAdds -= c.failedBefore
	waits := c.allWaits()
	f.P50, f.P99, f.Max = percentile(waits, 50), percentile(waits, 99), percentile(waits, 100)
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

// sum adds up the figures of clusters; their waits count as those of one.
func sum(list []*Cluster) Figures {
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
		all.waits = append(all.waits, c.allWaits()...)
	}
	waits := all.allWaits()
	f.P50, f.P99, f.Max = percentile(waits, 50), percentile(waits, 99), percentile(waits, 100)
	return f
}

// allWaits are the waits of all pods, sorted; a pod without an address counts with the time that it has waited.
func (c *Cluster) allWaits() []time.Duration {
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

// percentile is the smallest of the sorted values that p percent of them do not exceed.
func percentile(sorted []time.Duration, p int) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[max(min(len(sorted)-1, (len(sorted)*p+99)/100-1), 0)] // the first for 0
}

// Row is a figure beside its baseline, as `make bench` writes them.
type Row struct {
	Name     string  `json:"name"`
	Value    float64 `json:"value"`
	Unit     string  `json:"unit"`
	Baseline float64 `json:"baseline"`
	Limit    float64 `json:"limit"`
	AtLeast  bool    `json:"atLeast"`
	// Bound is what cannot be undercut, where there is such a figure.
	Bound float64 `json:"bound,omitempty"`
	// Note says what the figures do not: that the baseline did not come to its end, for example.
	Note string `json:"note,omitempty"`
}

// Met tells whether the figure is within its limit.
func (r Row) Met() bool {
	if r.AtLeast {
		return r.Value >= r.Limit
	}
	return r.Value <= r.Limit
}

// Report is what one scenario showed.
type Report struct {
	Title  string
	Bound  string // the bound in words and figures; empty where there is none
	Ours   Figures
	Theirs Figures
	Rows   []Row
	Wrong  []string // what must never happen, and did, on our side
	// TheirsWrong is the same of the existing CNI's rules.
	TheirsWrong []string
	Audited     int
}

func seconds(d time.Duration) string {
	if d < 10*time.Second {
		return fmt.Sprintf("%.2f s", d.Seconds())
	}
	return fmt.Sprintf("%.0f s", d.Seconds())
}

func (f Figures) readiness() string {
	if f.Steady {
		return "-"
	}
	if f.Unserved > 0 {
		return fmt.Sprintf("%d without after %s", f.Unserved, seconds(f.Took))
	}
	return seconds(f.Ready)
}

// Print writes the scenario's table.
func (p Report) Print(w io.Writer) {
	fmt.Fprintf(w, "\n== %s: %d nodes, %d pods\n", p.Title, p.Ours.Nodes, p.Ours.Pods)
	if p.Bound != "" {
		fmt.Fprintf(w, "   bound: %s\n", p.Bound)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(what string, of func(Figures) string) {
		fmt.Fprintf(t, "   %s\t%s\t%s\t\n", what, of(p.Theirs), of(p.Ours))
	}
	fmt.Fprintf(t, "   \texisting CNI\tberth\t\n")
	line("all pods have an address", Figures.readiness)
	line("wait p50 / p99 / max", func(f Figures) string {
		return seconds(f.P50) + " / " + seconds(f.P99) + " / " + seconds(f.Max)
	})
	line("ADDs answered with an error", func(f Figures) string { return fmt.Sprint(f.FailedAdds) })
	line("addresses idle, mean / max", func(f Figures) string { return fmt.Sprintf("%.0f / %.0f", f.IdleMean, f.IdleMax) })
	line("EC2 calls per node", func(f Figures) string { return fmt.Sprintf("%.1f", f.PerNode()) })
	line("EC2 calls / throttled", func(f Figures) string { a, b := f.Attempts(); return fmt.Sprintf("%d / %d", a, b) })
	actions := maps.Clone(p.Ours.Calls)
	maps.Copy(actions, p.Theirs.Calls)
	for _, a := range slices.SortedFunc(maps.Keys(actions), cmp.Compare) {
		line("  "+a+" ok/throttled/refused", func(f Figures) string {
			c := f.Calls[a]
			return fmt.Sprintf("%d/%d/%d", c.OK, c.Throttled, c.Refused)
		})
	}
	_ = t.Flush()
	if len(p.Wrong) > 0 {
		fmt.Fprintf(w, "   WRONG, ours:\n     %s\n", strings.Join(p.Wrong, "\n     "))
	}
	if len(p.TheirsWrong) > 0 {
		fmt.Fprintf(w, "   wrong, existing CNI:\n     %s\n", strings.Join(p.TheirsWrong, "\n     "))
	}
}

// PrintRows writes the table of what was asked for.
func PrintRows(w io.Writer, rows []Row) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "\nmeasure\texisting CNI\tberth\tlimit\tbound\t\t")
	for _, r := range rows {
		verdict, limit, bound := "ok", "at most", ""
		if !r.Met() {
			verdict = "FALLS SHORT"
		}
		if r.AtLeast {
			limit = "at least"
		}
		if r.Bound > 0 {
			bound = fmt.Sprintf("%.4g %s", r.Bound, r.Unit)
		}
		fmt.Fprintf(t, "%s\t%.4g %s\t%.4g %s\t%s %.4g %s\t%s\t%s\t%s\n", r.Name, r.Baseline, r.Unit, r.Value, r.Unit, limit, r.Limit, r.Unit, bound, verdict, r.Note)
	}
	_ = t.Flush()
}

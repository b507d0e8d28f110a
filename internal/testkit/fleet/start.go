package fleet

import (
	"fmt"
	"sync"
	"time"

	"github.com/berth-net/berth/internal/vpcsim/pacing"
)

// both runs a scenario with the existing CNI's rules and with ours, each in a region of its own from the same seed,
// side by side.
func both(title string, scenario func(Policy) (*Region, Figures)) Report {
	rep := Report{Title: title}
	var side sync.WaitGroup
	side.Go(func() {
		theirs, f := scenario(Existing)
		rep.Theirs, rep.TheirsWrong = f, theirs.Audit()
		theirs.halt()
	})
	ours, f := scenario(Ours)
	rep.Ours, rep.Wrong, rep.Audited = f, ours.Audit(), ours.audited
	ours.halt()
	side.Wait()
	return rep
}

// halt ends what is under way.
func (r *Region) halt() {
	for _, c := range r.clusters {
		for _, n := range c.nodes {
			n.agent.halt()
		}
	}
}

// Start is the start of a cluster: fresh nodes, each with its pods bound at once.
type Start struct {
	Seed        uint64
	Nodes, Pods int // Pods is per node
	Prefixes    bool
	// Limit is how long the simulated time goes on at most.
	Limit time.Duration
}

// Run runs the scenario.
func (s Start) Run() Report {
	mode := "secondary addresses"
	if s.Prefixes {
		mode = "prefixes"
	}
	title := fmt.Sprintf("cluster start, %d m5.large, %s", s.Nodes, mode)
	rep := both(title, func(p Policy) (*Region, Figures) {
		r := NewRegion(Options{Seed: s.Seed})
		c := r.NewCluster("demo", p, s.config())
		r.startAll(c, s.Nodes, s.Pods)
		r.Run(s.Limit, func() bool { return c.waiting == 0 })
		return r, c.Figures()
	})
	bound, words := s.bound()
	rep.Bound = words
	rep.Rows = []Row{
		{Name: title + ": all pods ready", Value: readySeconds(rep.Ours), Unit: "s", Baseline: readySeconds(rep.Theirs), Limit: 1.10 * bound.Seconds(), Bound: bound.Seconds(), Note: notReady(rep.Theirs)},
		{Name: title + ": EC2 calls per node, throttled attempts counted", Value: rep.Ours.PerNode(), Baseline: rep.Theirs.PerNode(), Limit: rep.Theirs.PerNode() / 2},
		{Name: title + ": pods without an address at the end", Value: float64(rep.Ours.Unserved), Baseline: float64(rep.Theirs.Unserved)},
	}
	return rep
}

// readySeconds is the time to the last pod's address, and at least the whole time when some have none.
func readySeconds(f Figures) float64 {
	if f.Unserved > 0 {
		return f.Took.Seconds()
	}
	return f.Ready.Seconds()
}

func notReady(baseline Figures) string {
	if baseline.Unserved == 0 {
		return ""
	}
	return fmt.Sprintf("the existing CNI's rules leave %d of %d pods without an address when the simulation ends", baseline.Unserved, baseline.Pods)
}

func (s Start) config() Config {
	if s.Prefixes {
		return Config{Prefixes: true, WarmPrefix: 1, MaxPods: 110}
	}
	return Config{}
}

// startAll launches the nodes over three zones, binds their pods and starts their agents within a second.
func (r *Region) startAll(c *Cluster, nodes, pods int) {
	perZone := 1 + nodes*49/3/60000 // with prefixes a node takes 49 addresses
	subnets := r.Subnets(perZone)
	for i, sn := range subnets {
		c.Launch("m5.large", sn, nodes/len(subnets)+btoi(i < nodes%len(subnets)))
	}
	r.Mark()
	c.Boot(c.nodes, time.Second)
	for _, n := range c.nodes {
		for range pods {
			c.Bind(n, sandboxes)
		}
	}
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// perNode is how many calls of an action the mode needs at least before a node's pods all have an address.
type perNode struct {
	action string
	calls  float64
}

// needs are the calls without which the pods of a node cannot have addresses: a read of the node's interfaces, one
// assignment on the primary one, and an interface created and attached for each nine further pods.
func (s Start) needs() []perNode {
	const slots = 9 // of an interface of an m5.large, beside its primary address
	need := []perNode{{"DescribeNetworkInterfaces", 1}, {"AssignPrivateIpAddresses", 1}}
	size := slots
	if s.Prefixes {
		size = slots * 16
	}
	if more := (s.Pods - 1) / size; more > 0 {
		need = append(need, perNode{"CreateNetworkInterface", float64(more)}, perNode{"AttachNetworkInterface", float64(more)})
	}
	return need
}

// bound is the least time in which the buckets let those calls through, and the formula in words.
//
//	bound = max over actions of (calls per node x nodes - bucket) / refill
func (s Start) bound() (time.Duration, string) {
	most, words := 0.0, ""
	for _, n := range s.needs() {
		b := pacing.DefaultBucket(n.action)
		if t := (n.calls*float64(s.Nodes) - b.Size) / b.Refill; t > most {
			most = t
			words = fmt.Sprintf("%s: (%.0f x %d - %.0f) / %.0f per second = %.0f s", n.action, n.calls, s.Nodes, b.Size, b.Refill, t)
		}
	}
	return time.Duration(most * float64(time.Second)), words
}

package scenario

import (
	"fmt"
	"sync"
	"time"

	"github.com/berth-net/berth/internal/core/vpc"
	"github.com/berth-net/berth/internal/testkit/fleet"
	"github.com/berth-net/berth/internal/vpcsim/pacing"
)

// must holds what a scenario's own set-up relies on.
func must(err error) {
	if err != nil {
		panic(fmt.Sprintf("fleet: %v", err))
	}
}

// both runs a scenario with the existing CNI's rules and with ours, each in a region of its own from the same seed,
// side by side.
func both(title string, scenario func(p fleet.Policy, side int) (*fleet.Region, fleet.Figures)) Report {
	rep := Report{Title: title}
	var other sync.WaitGroup
	other.Go(func() {
		theirs, f := scenario(fleet.Existing, 0)
		rep.Theirs, rep.TheirsWrong = f, theirs.Audit()
		theirs.Halt()
	})
	ours, f := scenario(fleet.Ours, 1)
	rep.Ours, rep.Wrong, rep.Audited = f, ours.Audit(), ours.Audited()
	ours.Halt()
	other.Wait()
	return rep
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
	rep := both(title, func(p fleet.Policy, _ int) (*fleet.Region, fleet.Figures) {
		r := fleet.NewRegion(fleet.Options{Seed: s.Seed})
		c := r.NewCluster("demo", p, s.config())
		startAll(r, c, s.Nodes, s.Pods)
		r.Run(s.Limit, func() bool { return c.Waiting() == 0 })
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
func readySeconds(f fleet.Figures) float64 {
	if f.Unserved > 0 {
		return f.Took.Seconds()
	}
	return f.Ready.Seconds()
}

func notReady(baseline fleet.Figures) string {
	if baseline.Unserved == 0 {
		return ""
	}
	return fmt.Sprintf("the existing CNI's rules leave %d of %d pods without an address when the simulation ends", baseline.Unserved, baseline.Pods)
}

func (s Start) config() fleet.Config {
	if s.Prefixes {
		return fleet.Config{Prefixes: true, WarmPrefix: 1, MaxPods: 110}
	}
	return fleet.Config{}
}

// subnets makes so many /16 subnets in each of three zones, zone by zone.
func subnets(r *fleet.Region, perZone int) []vpc.SubnetID {
	var all []vpc.SubnetID
	for i := range 3 * perZone {
		cidr := fmt.Sprintf("10.%d.0.0/16", i)
		if i > 0 {
			r.Block(cidr)
		}
		all = append(all, r.Subnet(cidr, i%3, ""))
	}
	return all
}

// startAll launches the nodes over three zones, binds their pods and starts their agents within a second.
func startAll(r *fleet.Region, c *fleet.Cluster, nodes, pods int) {
	perZone := 1 + nodes*49/3/60000 // with prefixes a node takes 49 addresses
	all := subnets(r, perZone)
	for i, sn := range all {
		c.Launch("m5.large", sn, nodes/len(all)+btoi(i < nodes%len(all)))
	}
	r.Mark()
	c.Boot(c.Nodes(), time.Second)
	for _, n := range c.Nodes() {
		for range pods {
			c.Bind(n, fleet.Sandboxes)
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

package scenario

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/berth-net/berth/internal/core/vpc"
	"github.com/berth-net/berth/internal/testkit/fleet"
	"github.com/berth-net/berth/internal/vpcsim"
	"github.com/berth-net/berth/internal/vpcsim/ec2"
)

// Scattered is a subnet in which single addresses lie everywhere, so that hardly a whole prefix is free, and a cluster in
// prefix mode whose pods ask for more addresses than it has.
type Scattered struct {
	Seed  uint64
	CIDR  string
	Full  float64 // the part of the subnet that others have
	Nodes int     // of c5.4xlarge, which take 29 addresses each without another interface
	Pods  int     // per node
	For   time.Duration
}

// free is how many addresses a subnet has left.
func free(r *fleet.Region, id vpc.SubnetID) int {
	out, err := r.Sim.DescribeSubnets(vpcsim.Caller{Source: "audit"}, ec2.DescribeSubnetsInput{SubnetIds: []string{string(id)}})
	must(err)
	return out.Subnets[0].AvailableIpAddressCount
}

// occupy gives others so many addresses of a subnet, which EC2 chooses at random.
func occupy(r *fleet.Region, id vpc.SubnetID, addresses int) {
	for addresses > 0 {
		n := min(addresses, 50) - 1
		_, err := r.Sim.CreateNetworkInterface(vpcsim.Caller{}, ec2.CreateNetworkInterfaceInput{
			SubnetId: string(id), Description: "somebody else's", SecondaryPrivateIpAddressCount: &n,
		})
		must(err)
		addresses -= n + 1
	}
}

// Run runs the scenario.
func (s Scattered) Run() Report {
	title := fmt.Sprintf("prefix mode in a subnet %.0f %% full of scattered addresses", 100*s.Full)
	var share [2]float64
	rep := both(title, func(p fleet.Policy, side int) (*fleet.Region, fleet.Figures) {
		r := fleet.NewRegion(fleet.Options{Seed: s.Seed})
		sn := r.Subnet(s.CIDR, 0, "")
		c := r.NewCluster("demo", p, fleet.Config{Prefixes: true, WarmPrefix: 1, MaxPods: 110})
		c.Launch("c5.4xlarge", sn, s.Nodes)
		size := 1<<(32-netip.MustParsePrefix(s.CIDR).Bits()) - vpc.ReservedPerSubnet
		occupy(r, sn, int(s.Full*float64(size)))
		free := free(r, sn)
		r.Mark()
		c.Boot(c.Nodes(), time.Second)
		for _, n := range c.Nodes() {
			for range s.Pods {
				c.Bind(n, fleet.Sandboxes)
			}
		}
		r.Run(r.Elapsed()+s.For, nil)
		f := c.Figures()
		share[side] = 100 * float64(f.Pods-f.Unserved) / float64(free)
		return r, f
	})
	rep.Bound = "more pods than free addresses: none can be idle"
	rep.Rows = []Row{{
		Name: title + ": free addresses that reach pods", Value: share[1], Unit: "%", Baseline: share[0], Limit: 95, AtLeast: true, Bound: 100,
	}}
	return rep
}

// Fragmented is a fresh node in prefix mode whose own subnet has no whole prefix left, while two others of its zone have.
type Fragmented struct {
	Seed uint64
	Pods int
	For  time.Duration
}

// Run runs the scenario.
func (s Fragmented) Run() Report {
	title := "InsufficientCidrBlocks in one of the zone's three subnets"
	var first [2]time.Duration
	rep := both(title, func(p fleet.Policy, side int) (*fleet.Region, fleet.Figures) {
		r := fleet.NewRegion(fleet.Options{Seed: s.Seed})
		own := r.Subnet("10.0.0.0/24", 0, "1")
		r.Subnet("10.0.1.0/24", 0, "1")
		r.Subnet("10.0.2.0/24", 0, "1")
		fragment(r, "10.0.0.0/24", own)
		c := r.NewCluster("demo", p, fleet.Config{Prefixes: true, WarmPrefix: 1, MaxPods: 110})
		n := c.Launch("m5.large", own, 1)[0]
		r.Mark()
		c.Boot(c.Nodes(), 0)
		for range s.Pods {
			c.Bind(n, 0)
		}
		r.Run(r.Elapsed()+s.For, nil)
		first[side] = fleet.Percentile(c.Waits(), 0)
		return r, c.Figures()
	})
	rep.Rows = []Row{
		{Name: title + ": first pod served", Value: first[1].Seconds(), Unit: "s", Baseline: first[0].Seconds(), Limit: 2},
		{Name: title + ": last pod served", Value: rep.Ours.Max.Seconds(), Unit: "s", Baseline: rep.Theirs.Max.Seconds(), Limit: rep.Theirs.Max.Seconds()},
	}
	return rep
}

// fragment takes one address out of every prefix of a subnet.
func fragment(r *fleet.Region, cidr string, id vpc.SubnetID) {
	block := netip.MustParsePrefix(cidr)
	for a := block.Addr().Next(); block.Contains(a); {
		for range 7 {
			a = a.Next()
		}
		_, err := r.Sim.CreateNetworkInterface(vpcsim.Caller{}, ec2.CreateNetworkInterfaceInput{SubnetId: string(id), PrivateIpAddress: a.String()})
		must(err)
		for range 9 {
			a = a.Next()
		}
	}
}

// Exhaustion is a cluster whose subnets are too small for its pods, until somebody makes another one in each zone. With no
// more pods than two interfaces hold, a node whose own subnet left its primary interface empty can still serve them all.
type Exhaustion struct {
	Seed        uint64
	Nodes, Pods int
	After       time.Duration // until the new subnets are there
	Limit       time.Duration
}

// Run runs the scenario.
func (s Exhaustion) Run() Report {
	title := fmt.Sprintf("subnets run out, others appear after %s", s.After)
	var from [2]int
	rep := both(title, func(p fleet.Policy, side int) (*fleet.Region, fleet.Figures) {
		r := fleet.NewRegion(fleet.Options{Seed: s.Seed})
		c := r.NewCluster("demo", p, fleet.Config{})
		perZone := s.Nodes / 3 * (s.Pods + 3)
		for i := range 3 {
			sn := r.Subnet(fmt.Sprintf("10.0.%d.0/%d", 64*i, 18), i, "")
			occupy(r, sn, free(r, sn)-perZone*3/4)
			c.Launch("m5.large", sn, s.Nodes/3)
		}
		c.Boot(c.Nodes(), time.Second)
		for _, n := range c.Nodes() {
			for range s.Pods {
				c.Bind(n, fleet.Sandboxes)
			}
		}
		r.Run(s.After, nil)
		from[side] = c.Waiting()
		r.Mark()
		r.Block("10.1.0.0/16")
		for i := range 3 {
			r.Subnet(fmt.Sprintf("10.1.%d.0/%d", 64*i, 18), i, "1")
		}
		r.Run(s.After+s.Limit, func() bool { return c.Waiting() == 0 })
		return r, c.Figures()
	})
	rep.Bound = fmt.Sprintf("pods without an address when the new subnets appear: existing CNI %d, berth %d; the waits count from their first ADD", from[0], from[1])
	rep.Rows = []Row{{
		Name: title + ": all pods have an address, from then", Value: readySeconds(rep.Ours), Unit: "s", Baseline: readySeconds(rep.Theirs),
		Limit: readySeconds(rep.Theirs), Note: notReady(rep.Theirs),
	}}
	return rep
}

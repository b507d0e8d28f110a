package fleet

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/berth-net/berth/internal/core/vpc"
	"github.com/berth-net/berth/internal/vpcsim"
	"github.com/berth-net/berth/internal/vpcsim/ec2"
	"github.com/berth-net/berth/internal/vpcsim/pacing"
)

// Latencies of EC2. No vendor publishes them: these are what logs and threads of several projects show. A call takes 0.2
// to 0.4 s; the link of an attached interface is there after 5 s as a rule, and after 150 s at worst; metadata follows 2 s later.
var (
	callTime   = pacing.Distribution{P50: 280 * time.Millisecond, P99: 400 * time.Millisecond, Max: time.Second}
	attachTime = pacing.Distribution{P50: 5 * time.Second, P99: 40 * time.Second, Max: 150 * time.Second}
	detachTime = pacing.Distribution{P50: 5 * time.Second, P99: 40 * time.Second, Max: 150 * time.Second}
	imdsLag    = pacing.Distribution{P50: 2 * time.Second, P99: 18 * time.Second, Max: 60 * time.Second}
)

// Options say what a region is like. The zero value has EC2's buckets and the latencies above.
type Options struct {
	Seed uint64
	// Call, Attach and IMDS replace the latencies where they are set.
	Call, Attach, IMDS pacing.Distribution
	// Calm turns the request buckets off.
	Calm bool
}

// Region is a simulated region with its clusters. One goroutine uses it.
type Region struct {
	Clock
	Sim      *vpcsim.Sim
	opts     Options
	dice     *rand.Rand
	vpc      string
	blocks   []netip.Prefix // of the VPC
	clusters []*Cluster
	dirty    []*Node // something happened to them at this instant

	pods    map[netip.Addr]*Pod    // who has each address
	podsOn  map[vpc.ENIID]int      // addresses in use
	held    map[vpc.ENIID]holding  // addresses that EC2 has assigned for pods
	links   map[vpc.ENIID]linkTime // since when an interface's link is there
	made    map[vpc.ENIID]maker    // interfaces that agents made
	loose   map[vpc.ENIID]bool     // of these, those that may be unattached
	wrong   []string               // what must never happen, and did
	audited int                    // how many such checks there were
}

// holding is what an interface has for pods.
type holding struct {
	node  *Node
	addrs int
}

// maker is who made an interface, and when.
type maker struct {
	node *Node
	at   time.Duration
}

// linkTime is when an interface's link appears, and when the metadata service tells of it.
type linkTime struct{ link, imds time.Duration }

func or(d, standard pacing.Distribution) pacing.Distribution {
	if d.Zero() {
		return standard
	}
	return d
}

// NewRegion makes a region with a VPC and nothing in it.
func NewRegion(o Options) *Region {
	o.Call, o.Attach, o.IMDS = or(o.Call, callTime), or(o.Attach, attachTime), or(o.IMDS, imdsLag)
	r := &Region{
		opts: o, dice: rand.New(rand.NewPCG(o.Seed, 17)), pods: make(map[netip.Addr]*Pod), podsOn: make(map[vpc.ENIID]int),
		held: make(map[vpc.ENIID]holding), links: make(map[vpc.ENIID]linkTime), made: make(map[vpc.ENIID]maker), loose: make(map[vpc.ENIID]bool),
	}
	r.Sim = vpcsim.New(vpcsim.Options{Seed: o.Seed, Clock: &r.Clock, Settings: vpcsim.Settings{
		Throttle: !o.Calm, Latency: map[string]pacing.Distribution{"*": o.Call}, Detach: detachTime,
		MetadataAdd: o.IMDS, MetadataRemove: o.IMDS, LaxBlocks: true,
		Quotas: vpcsim.Quotas{BlocksPerVPC: 100, SubnetsPerVPC: 1000, Interfaces: 1 << 20},
	}})
	v, err := r.Sim.CreateVpc(vpcsim.Caller{}, ec2.CreateVpcInput{CidrBlock: "10.0.0.0/16"})
	must(err)
	r.vpc, r.blocks = v.Vpc.VpcId, []netip.Prefix{netip.MustParsePrefix(v.Vpc.CidrBlock)}
	return r
}

// must holds what the scenario's own set-up relies on.
func must(err error) {
	if err != nil {
		panic(fmt.Sprintf("fleet: %v", err))
	}
}

// Zone names the nth zone.
func Zone(n int) string { return "us-west-2" + string(rune('a'+n)) }

// Block adds a block to the VPC.
func (r *Region) Block(cidr string) {
	_, err := r.Sim.AssociateVpcCidrBlock(vpcsim.Caller{}, ec2.AssociateVpcCidrBlockInput{VpcId: r.vpc, CidrBlock: cidr})
	must(err)
	r.blocks = append(slices.Clone(r.blocks), netip.MustParsePrefix(cidr))
}

// Subnet makes a subnet in the nth zone. With role, it carries the tag kubernetes.io/role/cni of that value.
func (r *Region) Subnet(cidr string, zoneIndex int, role string) vpc.SubnetID {
	sn, err := r.Sim.CreateSubnet(vpcsim.Caller{}, ec2.CreateSubnetInput{VpcId: r.vpc, CidrBlock: cidr, AvailabilityZone: Zone(zoneIndex)})
	must(err)
	if role != "" {
		_, err = r.Sim.CreateTags(vpcsim.Caller{}, ec2.CreateTagsInput{
			Resources: []string{sn.Subnet.SubnetId}, Tags: []ec2.Tag{{Key: vpc.TagCNIRole, Value: role}},
		})
		must(err)
	}
	return vpc.SubnetID(sn.Subnet.SubnetId)
}

// Dice are what the region's own luck is drawn from.
func (r *Region) Dice() *rand.Rand { return r.dice }

// Audited is how many checks of what must never happen there were.
func (r *Region) Audited() int { return r.audited }

// Halt ends what is under way; the region is of no use afterwards.
func (r *Region) Halt() {
	for _, c := range r.clusters {
		for _, n := range c.nodes {
			n.agent.halt()
		}
	}
}

// between draws a time.
func (r *Region) between(low, high time.Duration) time.Duration {
	return low + time.Duration(r.dice.Int64N(int64(high-low)+1))
}

// Run lets time pass until all is done or the limit has come, and tells which.
func (r *Region) Run(limit time.Duration, done func() bool) bool {
	for {
		if done != nil && done() {
			return true
		}
		at, ok := r.next()
		if !ok || at > limit {
			r.now = max(r.now, limit)
			return done == nil
		}
		r.now = at
		for ok && at == r.now {
			r.pop().do()
			at, ok = r.next()
		}
		r.pump()
	}
}

// pump lets each node to which something happened at this instant look once.
func (r *Region) pump() {
	for len(r.dirty) > 0 {
		nodes := r.dirty
		r.dirty = nil
		for _, n := range nodes {
			n.dirty = false
			if n.alive {
				n.agent.pump()
			}
		}
	}
}

// broken notes what must never happen.
func (r *Region) broken(format string, args ...any) {
	if len(r.wrong) < 20 {
		r.wrong = append(r.wrong, fmt.Sprintf("%s "+format, append([]any{r.now}, args...)...))
	}
}

// take notes that a pod got an address, and checks that it is the pod's alone and its node's in EC2.
func (r *Region) take(p *Pod, addr netip.Addr, eni vpc.ENIID) {
	r.audited++
	if other := r.pods[addr]; other != nil {
		r.broken("%s is given to %s of %s while %s of %s has it", addr, p.name, p.node.id, other.name, other.node.id)
	}
	if !r.has(p.node.id, eni, addr) {
		r.broken("%s is given to %s, but EC2 does not have it on %s of %s", addr, p.name, eni, p.node.id)
	}
	p.addr, p.eni = addr, eni
	r.pods[addr] = p
	r.podsOn[eni]++
	p.node.cluster.idle.add(r.now, -1)
	p.node.uses(1)
}

// uses notes that pods have so many addresses more, and what the prefixes that they need at least have beside them.
func (n *Node) uses(addrs int) {
	spare := func() int { return (16 - n.used%16) % 16 }
	before := spare()
	n.used += addrs
	if n.cluster.cfg.Prefixes {
		n.cluster.least.add(n.cluster.region.now, spare()-before)
	}
}

// give notes that a pod's address is nobody's any more.
func (r *Region) give(p *Pod) {
	delete(r.pods, p.addr)
	r.podsOn[p.eni]--
	p.node.cluster.idle.add(r.now, 1)
	p.node.uses(-1)
	p.addr = netip.Addr{}
}

// has tells whether EC2 has an address on an interface of an instance.
func (r *Region) has(id vpc.InstanceID, eni vpc.ENIID, addr netip.Addr) bool {
	out, err := r.Sim.DescribeNetworkInterfaces(vpcsim.Caller{Source: "audit"}, ec2.DescribeNetworkInterfacesInput{NetworkInterfaceIds: []string{string(eni)}})
	if err != nil || len(out.NetworkInterfaces) != 1 {
		return false
	}
	e := out.NetworkInterfaces[0]
	if e.Attachment == nil || e.Attachment.InstanceId != string(id) {
		return false
	}
	text := addr.String()
	for _, a := range e.PrivateIpAddresses {
		if a.PrivateIpAddress == text {
			return true
		}
	}
	for _, p := range e.Ipv4Prefixes {
		if netip.MustParsePrefix(p.Ipv4Prefix).Contains(addr) {
			return true
		}
	}
	return false
}

// gains notes that EC2 has assigned addresses for pods to an interface; negative, that it has them back.
func (r *Region) gains(n *Node, eni vpc.ENIID, addrs int) {
	h := r.held[eni]
	h.node, h.addrs = n, h.addrs+addrs
	r.held[eni] = h
	n.cluster.idle.add(r.now, addrs)
}

// frees checks that no pod has what is about to be given back.
func (r *Region) frees(what string, blocks ...netip.Prefix) {
	r.audited++
	for _, b := range blocks {
		for a := b.Addr(); b.Contains(a); a = a.Next() {
			if p := r.pods[a]; p != nil {
				r.broken("%s takes %s from %s", what, a, p.name)
			}
		}
	}
}

// detaches checks that no pod lives on an interface that is about to go.
func (r *Region) detaches(what string, eni vpc.ENIID) {
	r.audited++
	if n := r.podsOn[eni]; n > 0 {
		r.broken("%s of %s with %d pods", what, eni, n)
	}
}

// gone notes that an interface is deleted.
func (r *Region) gone(eni vpc.ENIID) {
	if h := r.held[eni]; h.addrs != 0 {
		h.node.cluster.idle.add(r.now, -h.addrs)
	}
	delete(r.held, eni)
	delete(r.links, eni)
	delete(r.loose, eni)
	delete(r.made, eni)
}

// ofNode are the interfaces that have addresses for a node's pods.
func (r *Region) ofNode(n *Node) []vpc.ENIID {
	var ids []vpc.ENIID
	for eni, h := range r.held {
		if h.node == n {
			ids = append(ids, eni)
		}
	}
	return slices.Sorted(slices.Values(ids))
}

// creates notes that a node made an interface.
func (r *Region) creates(n *Node, eni vpc.ENIID) {
	r.made[eni] = maker{n, r.now}
	r.loose[eni] = true
}

// leakable are the interfaces of a node's cluster that may be unattached and for which the node might do something: its own,
// and those that are nearly old enough to count as leaked. Whoever looks for leaked ones asks for these. A search through all
// interfaces of the region, for each node, would take longer than all the rest, and lead to the same actions.
func (r *Region) leakable(n *Node) []vpc.ENIID {
	const young = 290 * time.Second
	var ids []vpc.ENIID
	for id := range r.loose {
		if m := r.made[id]; m.node == n || m.node.cluster == n.cluster && r.now-m.at >= young {
			ids = append(ids, id)
		}
	}
	return slices.Sorted(slices.Values(ids))
}

// attached draws when the link of an interface that EC2 has just attached appears on the host, and in metadata. EC2 itself
// shows it attached at once: the wait is the host's, and nobody has to poll for it.
func (r *Region) attached(eni vpc.ENIID) linkTime {
	delete(r.loose, eni)
	l := linkTime{link: r.now + r.opts.Attach.Sample(r.dice)}
	l.imds = l.link + r.opts.IMDS.Sample(r.dice)
	r.links[eni] = l
	return l
}

// Audit compares every pod with EC2, and returns all that was ever wrong.
func (r *Region) Audit() []string {
	for addr, p := range r.pods {
		if p.node.alive && !r.has(p.node.id, p.eni, addr) {
			r.broken("%s lives on %s, which EC2 does not have on %s", p.name, addr, p.eni)
		}
	}
	return r.wrong
}

package fleet

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/berth-net/berth/internal/core/pool"
	"github.com/berth-net/berth/internal/core/vpc"
	"github.com/berth-net/berth/internal/vpcsim"
	"github.com/berth-net/berth/internal/vpcsim/ec2"
)

// addRetry is after which time the kubelet and the runtime repeat an ADD that failed, for both policies. It is what the
// existing CNI's figures were measured with.
const addRetry = time.Second

// Policy makes the agent of a node.
type Policy func(*Node) Agent

// Agent is what gives a node's pods addresses.
type Agent interface {
	boot()           // the agent's process starts
	add(p *Pod)      // an ADD; it is repeated by the agent's model itself, every addRetry after it failed
	cancel(p *Pod)   // the pod that waits is deleted
	del(p *Pod)      // a DEL
	pump()           // something happened at this instant
	halt()           // the node is gone
	failedAdds() int // ADDs that were answered with an error
}

// Config is how a cluster's agents are set.
type Config struct {
	// IPAM are the settings of both policies. The zero value is the manifest's.
	IPAM pool.Config
	// Prefixes is ENABLE_PREFIX_DELEGATION; WarmPrefix is WARM_PREFIX_TARGET of the existing CNI.
	Prefixes   bool
	WarmPrefix int
	// MaxPods is the kubelet's limit; 0 is the type's.
	MaxPods int
}

// Cluster is nodes of one policy with their pods. Its name is the source of its calls.
type Cluster struct {
	Name   string
	region *Region
	policy Policy
	cfg    Config
	nodes  []*Node

	pods    int // made so far
	waiting int // bound, and without an address
	waits   []time.Duration
	idle    gauge
	least   gauge // idle addresses that prefixes bring with them: a prefix is on one node and has 16
	started time.Duration
	ready   time.Duration // when the last pod got its address

	served       func(*Pod) // told of each pod that got an address, when set
	failedBefore int        // ADDs that had failed when the measurement began
}

// NewCluster makes a cluster without nodes.
func (r *Region) NewCluster(name string, policy Policy, cfg Config) *Cluster {
	if cfg.IPAM.Cooldown == 0 && !cfg.IPAM.Provision {
		cfg.IPAM = pool.Defaults()
	}
	cfg.IPAM.Cluster = name
	c := &Cluster{Name: name, region: r, policy: policy, cfg: cfg, started: r.now}
	r.clusters = append(r.clusters, c)
	return c
}

// Launch starts instances in a subnet. Their agents are not started yet.
func (c *Cluster) Launch(kind string, subnet vpc.SubnetID, n int) []*Node {
	if n == 0 {
		return nil
	}
	r := c.region
	out, err := r.Sim.RunInstances(vpcsim.Caller{}, ec2.RunInstancesInput{
		ImageId: "ami-0123456789abcdef0", InstanceType: kind, SubnetId: string(subnet), MinCount: &n, MaxCount: &n,
	})
	must(err)
	limits, _ := vpc.Limits(kind)
	var nodes []*Node
	for _, i := range out.Instances {
		e := i.NetworkInterfaces[0]
		node := &Node{
			cluster: c, id: vpc.InstanceID(i.InstanceId), limits: limits, alive: true, pods: make(map[*Pod]bool), without: make(map[*Pod]bool),
			subnet: subnet, zone: vpc.ZoneName(i.Placement.AvailabilityZone), primary: vpc.ENIID(e.NetworkInterfaceId), mac: e.MacAddress,
			address: netip.MustParseAddr(e.PrivateIpAddress),
		}
		node.agent = c.policy(node)
		nodes = append(nodes, node)
	}
	c.nodes = append(c.nodes, nodes...)
	return nodes
}

// Boot starts the agents of nodes, spread over a time.
func (c *Cluster) Boot(nodes []*Node, over time.Duration) {
	for _, n := range nodes {
		c.region.After(c.region.between(0, over), n.agent.boot)
	}
}

// Node is a machine of a cluster with its kubelet.
type Node struct {
	cluster *Cluster
	id      vpc.InstanceID
	limits  vpc.InstanceLimits
	subnet  vpc.SubnetID
	zone    vpc.ZoneName
	primary vpc.ENIID
	mac     string
	address netip.Addr
	agent   Agent
	alive   bool
	used    int // addresses that pods have
	dirty   bool
	pods    map[*Pod]bool // bound, and not deleted
	without map[*Pod]bool // of these, those without an address
	running []*Pod        // bound, in no order
}

// touch makes the node look once at this instant.
func (n *Node) touch() {
	if !n.dirty && n.alive {
		n.dirty = true
		n.cluster.region.dirty = append(n.cluster.region.dirty, n)
	}
}

// capacity is how many pods with an address the kubelet takes: two are in the host's network.
func (n *Node) capacity() int {
	if n.cluster.cfg.MaxPods > 0 {
		return n.cluster.cfg.MaxPods - 2
	}
	return n.limits.MaxPods() - 2
}

// Pod is a pod that was bound to a node.
type Pod struct {
	name  string
	key   pool.Key
	node  *Node
	first time.Duration // its first ADD
	addr  netip.Addr    // invalid while it waits
	eni   vpc.ENIID
	over  bool // deleted
	place int  // in the node's running
}

// Sandboxes is how finely the moments of first ADDs are told apart: pods of one node that come together are looked at together.
const Sandboxes = 500 * time.Millisecond

// Bind binds a new pod to a node. Its first ADD comes after a moment, as sandboxes are made one after the other.
func (c *Cluster) Bind(n *Node, within time.Duration) *Pod {
	c.pods++
	p := &Pod{name: fmt.Sprintf("%s-%d", c.Name, c.pods), node: n, first: c.region.now + c.region.between(0, within).Round(Sandboxes)}
	p.key = pool.Key{ContainerID: p.name, IfName: "eth0"}
	n.pods[p], n.without[p] = true, true
	p.place = len(n.running)
	n.running = append(n.running, p)
	n.touch()
	c.waiting++
	c.region.at(p.first, func() {
		if !p.over {
			n.agent.add(p)
			n.touch()
		}
	})
	return p
}

// granted tells that a pod's ADD was answered with an address.
func (n *Node) granted(p *Pod, addr netip.Addr, eni vpc.ENIID) {
	c := n.cluster
	c.region.take(p, addr, eni)
	c.waits = append(c.waits, c.region.now-p.first)
	delete(n.without, p)
	c.waiting--
	c.ready = c.region.now
	if c.served != nil {
		c.served(p)
	}
}

// Delete deletes a pod.
func (c *Cluster) Delete(p *Pod) {
	if p.over {
		return
	}
	p.over = true
	p.node.forget(p)
	if p.addr.IsValid() {
		p.node.agent.del(p)
	} else {
		c.waiting--
		p.node.agent.cancel(p)
	}
	p.node.touch()
}

func (n *Node) forget(p *Pod) {
	delete(n.pods, p)
	delete(n.without, p)
	last := n.running[len(n.running)-1]
	n.running[p.place], last.place = last, p.place
	n.running = n.running[:len(n.running)-1]
}

// released tells that a pod's wiring is gone.
func (n *Node) released(p *Pod) { n.cluster.region.give(p) }

// Schedule binds a new pod to the node with the fewest pods, as the scheduler does by default; false when all are full.
func (c *Cluster) Schedule(within time.Duration) (*Pod, bool) {
	var best *Node
	for _, n := range c.nodes {
		if n.alive && len(n.pods) < n.capacity() && (best == nil || len(n.pods) < len(best.pods)) {
			best = n
		}
	}
	if best == nil {
		return nil, false
	}
	return c.Bind(best, within), true
}

// Kill terminates a node, and returns how many pods it had.
func (c *Cluster) Kill(n *Node) int {
	r, pods := c.region, len(n.pods)
	n.alive = false
	n.agent.halt()
	for p := range n.pods {
		p.over = true
		if p.addr.IsValid() {
			r.give(p)
		} else {
			c.waiting--
		}
	}
	clear(n.pods)
	clear(n.without)
	n.running = nil
	_, err := r.Sim.TerminateInstances(vpcsim.Caller{}, ec2.TerminateInstancesInput{InstanceIds: []string{string(n.id)}})
	must(err)
	for _, eni := range r.ofNode(n) {
		m := r.made[eni]
		r.gone(eni)
		if out, err := r.Sim.DescribeNetworkInterfaces(vpcsim.Caller{Source: "audit"}, ec2.DescribeNetworkInterfacesInput{NetworkInterfaceIds: []string{string(eni)}}); err == nil && len(out.NetworkInterfaces) > 0 {
			r.made[eni], r.loose[eni] = m, true // it does not go with its instance
		}
	}
	return pods
}

// Waiting is how many pods are bound and have no address.
func (c *Cluster) Waiting() int { return c.waiting }

// Nodes are the cluster's nodes, those that were killed among them.
func (c *Cluster) Nodes() []*Node { return c.nodes }

// WhenServed has f called with each pod that gets an address.
func (c *Cluster) WhenServed(f func(*Pod)) { c.served = f }

// Running are the pods that are bound to the node, in no order. The caller must not change them.
func (n *Node) Running() []*Pod { return n.running }

// Zone is the node's zone.
func (n *Node) Zone() string { return string(n.zone) }

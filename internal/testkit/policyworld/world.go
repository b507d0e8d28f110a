// Package policyworld makes small clusters with policies that get in each other's way, and packets near where their verdicts change:
// what the reference, the compiled rules and the datapath have to agree on. A seed always gives the same world.
//
// Everything is drawn from little: few labels, ports and priorities, addresses of three small blocks in which pods, nodes and nobody's
// addresses lie side by side. So selectors, ranges and blocks overlap far more than in a cluster that somebody runs. Nothing in a
// world is invalid.
package policyworld

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"

	"github.com/berth-net/berth/internal/core/policy"
)

// Size bounds a world. A world has between half and all of each.
type Size struct {
	Namespaces, Nodes, Pods, Policies int
	Rules                             int // of a policy in a direction, none at least
}

// Small is a world in which a difference can still be read. Made in a tenth of a millisecond, as Large in two.
func Small() Size { return Size{Namespaces: 2, Nodes: 2, Pods: 6, Policies: 6, Rules: 3} }

// Large has enough rules and labels for classes to split in many ways.
func Large() Size { return Size{Namespaces: 5, Nodes: 4, Pods: 30, Policies: 20, Rules: 5} }

// maker holds what a world draws from.
type maker struct {
	*rand.Rand
	*policy.World
	size Size
	// free are addresses that nobody has yet, by family; outside are of no block that pods have addresses of.
	free, outside [2][]netip.Addr
	families      []int         // 0 for IPv4, 1 for IPv6
	tiers         []policy.Tier // that policies are of
	names         []string
	selectors     []*policy.Selector // of pods
	spaces        []*policy.Selector // of namespaces
	nodes         []*policy.Selector
}

// New makes the world of a seed.
func New(seed uint64, size Size) *policy.World {
	m := maker{Rand: rand.New(rand.NewPCG(seed, 0)), World: &policy.World{}, size: size}
	m.families = [][]int{{0}, {1}, {0, 1}, {0, 1}}[m.IntN(4)]
	m.tiers = [][]policy.Tier{
		{policy.Network}, {policy.Admin}, {policy.Baseline}, {policy.Admin, policy.Baseline}, {policy.Network, policy.Baseline}, {policy.Admin, policy.Network, policy.Baseline},
	}[m.IntN(6)]
	m.Strict = m.one(4)
	m.addresses()
	m.palette()
	m.places()
	m.pods()
	m.resolve()
	for i := range m.upTo(size.Policies) {
		m.Policies = append(m.Policies, m.policy(i))
	}
	return m.World
}

// upTo is between half of n and n.
func (m *maker) upTo(n int) int { return n - m.IntN(n/2+1) }

// one tells whether something that happens once in n times happens now.
func (m *maker) one(n int) bool { return m.IntN(n) == 0 }

func pick[E any](r *rand.Rand, from []E) E { return from[r.IntN(len(from))] }

// addresses lays out two blocks of neighbours and one far away. IPv6 has the same shape.
func (m *maker) addresses() {
	for f, prefix := range []string{"10.0.0.0", "fd00::"} {
		at := netip.MustParseAddr(prefix)
		for range 64 {
			m.free[f] = append(m.free[f], at)
			at = at.Next()
		}
		m.Shuffle(64, func(i, j int) { m.free[f][i], m.free[f][j] = m.free[f][j], m.free[f][i] })
	}
	m.outside = [2][]netip.Addr{
		{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("192.0.2.129"), netip.MustParseAddr("255.255.255.255")},
		{netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2"), netip.MustParseAddr("2001:db8::8001"), netip.MustParseAddr("ffff:ffff::")},
	}
}

// take gives an address of each family of the world away.
func (m *maker) take() []netip.Addr {
	var taken []netip.Addr
	for _, f := range m.families {
		if len(m.free[f]) == 0 {
			continue
		}
		taken = append(taken, m.free[f][0])
		m.free[f] = m.free[f][1:]
	}
	if len(taken) == 2 && m.one(6) { // a family may come later, or never
		taken = taken[m.IntN(2):][:1]
	}
	return taken
}

// values are those of labels; names those of ports and domains.
var (
	values    = []string{"a", "b", "c"}
	portNames = []string{"web", "dns", "api"}
	domains   = []string{"example.com", "www.example.com", "a.www.example.com", "notexample.com", "example.org"}
	patterns  = []string{"example.com", "*.example.com", "www.example.com", "*.www.example.com", "*.org", "unknown.example"}
)

// palette makes the selectors that policies share, as policies of a cluster do.
func (m *maker) palette() {
	everything := policy.NewSelector()
	m.selectors, m.spaces, m.nodes = []*policy.Selector{everything}, []*policy.Selector{everything}, []*policy.Selector{everything}
	for range 6 {
		m.selectors = append(m.selectors, m.selector("app", "tier"))
	}
	for range 3 {
		m.spaces, m.nodes = append(m.spaces, m.selector("team", "env")), append(m.nodes, m.selector("zone"))
	}
	m.spaces = append(m.spaces, policy.NewSelector(policy.Requirement{Key: "kubernetes.io/metadata.name", Operator: policy.In, Values: []string{"n0"}}))
}

func (m *maker) selector(keys ...string) *policy.Selector {
	var requirements []policy.Requirement
	for _, key := range keys {
		if len(keys) > 1 && m.one(3) {
			continue
		}
		r := policy.Requirement{Key: key, Operator: pick(m.Rand, []policy.Operator{policy.In, policy.In, policy.NotIn, policy.Exists, policy.DoesNotExist})}
		if r.Operator == policy.In || r.Operator == policy.NotIn {
			r.Values = m.some(values)
		}
		requirements = append(requirements, r)
	}
	return policy.NewSelector(requirements...)
}

// some are one or two of a list.
func (m *maker) some(from []string) []string {
	first := m.IntN(len(from))
	if m.one(2) {
		return []string{from[first]}
	}
	return []string{from[first], from[(first+1)%len(from)]}
}

func (m *maker) labels(keys ...string) map[string]string {
	labels := make(map[string]string)
	for _, key := range keys {
		if !m.one(4) {
			labels[key] = pick(m.Rand, values)
		}
	}
	return labels
}

// places makes namespaces and nodes. Now and then a node has two addresses of a family.
func (m *maker) places() {
	m.Namespaces = make(map[string]map[string]string)
	for i := range m.upTo(m.size.Namespaces) {
		name := fmt.Sprintf("n%d", i)
		m.names = append(m.names, name)
		m.Namespaces[name] = m.labels("team", "env")
		m.Namespaces[name]["kubernetes.io/metadata.name"] = name
	}
	for i := range m.upTo(m.size.Nodes) {
		node := policy.Node{Name: fmt.Sprintf("node%d", i), Labels: m.labels("zone"), Addrs: m.take()}
		if m.one(3) {
			node.Addrs = append(node.Addrs, m.take()...)
		}
		m.Nodes = append(m.Nodes, node)
	}
}

func (m *maker) pods() {
	for i := range m.upTo(m.size.Pods) {
		m.Pods = append(m.Pods, m.pod(fmt.Sprintf("p%d", i)))
	}
}

func (m *maker) pod(name string) policy.Pod {
	node := pick(m.Rand, m.Nodes)
	p := policy.Pod{Namespace: pick(m.Rand, m.names), Name: name, Labels: m.labels("app", "tier"), Node: node.Name, HostNetwork: m.one(8)}
	if p.HostNetwork {
		p.Addrs = slices.Clone(node.Addrs)
	} else {
		p.Addrs = m.take()
	}
	for _, n := range portNames {
		if m.one(2) {
			continue
		}
		p.Ports = append(p.Ports, policy.NamedPort{Name: n, Protocol: m.protocol(), Number: pick(m.Rand, numbers)})
		if m.one(6) { // as dns over UDP and TCP, or two containers that call different ports so
			p.Ports = append(p.Ports, policy.NamedPort{Name: n, Protocol: m.protocol(), Number: pick(m.Rand, numbers)})
		}
	}
	return p
}

// resolve lets names stand for addresses of the outside, of pods, and of nobody; also for the same.
func (m *maker) resolve() {
	m.Resolved = make(map[string][]netip.Addr)
	for _, name := range domains {
		for _, f := range m.families {
			if m.one(3) {
				continue
			}
			m.Resolved[name] = append(m.Resolved[name], pick(m.Rand, m.outside[f]))
			if m.one(4) && len(m.free[f]) > 0 {
				m.Resolved[name] = append(m.Resolved[name], pick(m.Rand, m.free[f]))
			}
		}
	}
	if pod := pick(m.Rand, m.Pods); m.one(3) {
		m.Resolved[domains[0]] = append(m.Resolved[domains[0]], pod.Addrs...)
	}
}

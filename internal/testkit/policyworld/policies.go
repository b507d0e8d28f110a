package policyworld

import (
	"fmt"
	"net/netip"

	"github.com/berth-net/berth/internal/core/policy"
)

// numbers are the ports that everything is made of: neighbours, and the ends.
var numbers = []uint16{1, 52, 53, 54, 79, 80, 81, 82, 443, 8080, 65534, 65535}

func (m *maker) protocol() policy.Protocol {
	return pick(m.Rand, []policy.Protocol{policy.TCP, policy.TCP, policy.UDP, policy.SCTP})
}

// policy makes a policy of any tier. Worlds have more of one tier or of another: where Network isolates, Baseline is never asked.
func (m *maker) policy(i int) policy.Policy {
	tier := pick(m.Rand, m.tiers)
	if tier == policy.Network {
		return m.namespaced(i)
	}
	p := policy.Policy{
		Ref:      policy.Ref{Kind: "ClusterNetworkPolicy.policy.networking.k8s.io", Name: fmt.Sprintf("c%d", i)},
		Tier:     tier,
		Priority: pick(m.Rand, []int32{-1, 0, 10, 10, 10, 11, 1000}),
		Subject:  policy.Pods{Namespaces: pick(m.Rand, m.spaces), Pods: m.podSelector()},
	}
	for _, d := range []policy.Direction{policy.Ingress, policy.Egress} {
		for range m.IntN(m.size.Rules + 1) {
			p.Rules[d] = append(p.Rules[d], m.rule(d, pick(m.Rand, []policy.Action{policy.Accept, policy.Deny, policy.Pass}), ""))
		}
	}
	return p
}

// namespaced makes one of NetworkPolicy's form. Now and then it has rules for a direction that it does not isolate.
func (m *maker) namespaced(i int) policy.Policy {
	p := policy.Policy{
		Ref:      policy.Ref{Kind: "NetworkPolicy", Namespace: pick(m.Rand, m.names), Name: fmt.Sprintf("p%d", i)},
		Tier:     policy.Network,
		Isolates: [2]bool{m.one(2), m.one(2)},
	}
	p.Subject = policy.Pods{Namespace: p.Namespace, Pods: m.podSelector()}
	for _, d := range []policy.Direction{policy.Ingress, policy.Egress} {
		if !p.Isolates[d] && !m.one(8) {
			continue
		}
		for range m.IntN(m.size.Rules + 1) {
			p.Rules[d] = append(p.Rules[d], m.rule(d, policy.Accept, p.Namespace))
		}
	}
	return p
}

func (m *maker) podSelector() *policy.Selector { return pick(m.Rand, m.selectors) }

// rule makes a rule; one in forty has nothing left that it matches.
func (m *maker) rule(d policy.Direction, a policy.Action, namespace string) policy.Rule {
	r := policy.Rule{Action: a, AnyPeer: m.one(5), AnyPort: m.one(3)}
	if m.one(3) {
		r.Name = fmt.Sprintf("rule-%d", m.IntN(100))
	}
	empty := m.one(40)
	if !r.AnyPeer && !empty {
		for range 1 + m.IntN(3) {
			r.Peers = append(r.Peers, m.peer(d, a, namespace))
		}
	}
	if !r.AnyPort {
		for range 1 + m.IntN(3) {
			r.Ports = append(r.Ports, m.port())
		}
		if m.one(40) {
			r.Ports = nil
		}
	}
	return r
}

func (m *maker) peer(d policy.Direction, a policy.Action, namespace string) policy.Peer {
	switch kind := m.IntN(10); {
	case kind == 0 && d == policy.Egress && a == policy.Accept:
		return policy.Peer{Domain: pick(m.Rand, patterns)}
	case kind == 1 && d == policy.Egress:
		return policy.Peer{Nodes: pick(m.Rand, m.nodes)}
	case kind < 5:
		return policy.Peer{Network: m.block()}
	case kind < 7 && namespace != "":
		return policy.Peer{Pods: &policy.Pods{Namespace: namespace, Pods: m.podSelector()}}
	}
	return policy.Peer{Pods: &policy.Pods{Namespaces: pick(m.Rand, m.spaces), Pods: m.podSelector()}}
}

// block is often around an address that somebody has, sometimes everything, or one address; its excepts lie inside of it, sometimes
// inside of each other.
func (m *maker) block() *policy.Block {
	f := pick(m.Rand, m.families)
	base := m.somewhere(f)
	bits := base.BitLen()
	length := bits - pick(m.Rand, []int{0, 1, 2, 3, 4, 5, 6, 8, bits - 1, bits})
	b := &policy.Block{CIDR: netip.PrefixFrom(base, length).Masked()}
	within := b.CIDR
	for m.one(2) && within.Bits() < bits && len(b.Except) < 3 {
		at := m.somewhere(f)
		if !within.Contains(at) {
			at = base
		}
		except := netip.PrefixFrom(at, within.Bits()+1+m.IntN(bits-within.Bits())).Masked()
		b.Except = append(b.Except, except)
		if m.one(3) {
			within = except
		}
	}
	return b
}

// somewhere is an address of a family: a pod's, a node's, or nobody's.
func (m *maker) somewhere(f int) netip.Addr {
	var addrs []netip.Addr
	switch m.IntN(4) {
	case 0, 1:
		addrs = pick(m.Rand, m.Pods).Addrs
	case 2:
		addrs = pick(m.Rand, m.Nodes).Addrs
	}
	for _, a := range addrs {
		if a.Is6() == (f == 1) {
			return a
		}
	}
	if len(m.free[f]) > 0 && !m.one(3) {
		return pick(m.Rand, m.free[f])
	}
	return pick(m.Rand, m.outside[f])
}

func (m *maker) port() policy.Port {
	p := policy.Port{Protocol: m.protocol()}
	i := m.IntN(len(numbers))
	switch m.IntN(8) {
	case 0, 1:
		p.Name = pick(m.Rand, portNames)
	case 2: // of every number
		p.Last = 65535
	case 3, 4:
		p.First, p.Last = numbers[i], numbers[i+m.IntN(len(numbers)-i)]
	default:
		p.First, p.Last = numbers[i], numbers[i]
	}
	return p
}

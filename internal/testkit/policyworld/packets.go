package policyworld

import (
	"math/rand/v2"
	"net/netip"

	"github.com/berth-net/berth/internal/core/policy"
)

// sampler knows the addresses and ports of a world near which verdicts change.
type sampler struct {
	*rand.Rand
	pods, nodes, edges [2][]netip.Addr // by family
	ports              []policy.NamedPort
}

// Packets draws packets: mostly from or to a pod, at the edges of blocks and ranges, of either family, also without ports, from the
// node itself, and from a pod to itself.
func Packets(w *policy.World, r *rand.Rand, n int) []policy.Packet {
	s := newSampler(w, r)
	packets := make([]policy.Packet, 0, n)
	for range n {
		packets = append(packets, s.packet())
	}
	return packets
}

func newSampler(w *policy.World, r *rand.Rand) *sampler {
	s := &sampler{Rand: r}
	for _, p := range w.Pods {
		if !p.HostNetwork {
			add(&s.pods, p.Addrs...)
			s.ports = append(s.ports, p.Ports...)
		}
	}
	for _, n := range w.Nodes {
		add(&s.nodes, n.Addrs...)
	}
	for _, a := range []string{"192.0.2.1", "10.0.0.1", "0.0.0.0", "255.255.255.255", "2001:db8::1", "fd00::1", "::", "ffff::"} {
		add(&s.edges, netip.MustParseAddr(a))
	}
	for _, name := range domains {
		add(&s.edges, w.Resolved[name]...)
	}
	for _, p := range w.Policies {
		for _, rules := range p.Rules {
			for _, rule := range rules {
				s.near(rule)
			}
		}
	}
	for _, number := range numbers {
		s.ports = append(s.ports, policy.NamedPort{Protocol: policy.TCP, Number: number})
	}
	return s
}

// add sorts addresses by family.
func add(to *[2][]netip.Addr, addrs ...netip.Addr) {
	for _, a := range addrs {
		f := 0
		if a.Is6() {
			f = 1
		}
		to[f] = append(to[f], a)
	}
}

// near collects the edges of a rule's blocks and ranges.
func (s *sampler) near(rule policy.Rule) {
	for _, peer := range rule.Peers {
		if peer.Network == nil {
			continue
		}
		for _, prefix := range append([]netip.Prefix{peer.Network.CIDR}, peer.Network.Except...) {
			first, last := prefix.Addr(), Last(prefix)
			for _, a := range []netip.Addr{first.Prev(), first, last, last.Next()} {
				if a.IsValid() {
					add(&s.edges, a)
				}
			}
		}
	}
	for _, port := range rule.Ports {
		if port.Name == "" {
			for _, number := range []uint16{port.First - 1, port.First, port.Last, port.Last + 1} { // around the ends, which are ports too
				s.ports = append(s.ports, policy.NamedPort{Protocol: port.Protocol, Number: number})
			}
		}
	}
}

// Last is the greatest address of a prefix.
func Last(p netip.Prefix) netip.Addr {
	raw := p.Addr().AsSlice()
	for bit := p.Bits(); bit < len(raw)*8; bit++ {
		raw[bit/8] |= 0x80 >> (bit % 8)
	}
	last, _ := netip.AddrFromSlice(raw) // of as many bytes as it came with
	return last
}

func (s *sampler) packet() policy.Packet {
	f := s.IntN(2)
	if len(s.pods[f]) == 0 {
		f = 1 - f
	}
	p := policy.Packet{From: s.address(f), To: s.address(f)}
	switch s.IntN(30) {
	case 0:
		if len(s.pods[f]) > 0 {
			p.From = pick(s.Rand, s.pods[f])
			p.To = p.From
		}
	case 1, 2:
		if len(s.nodes[f]) > 0 {
			p.From, p.FromHost = pick(s.Rand, s.nodes[f]), true
		}
	}
	p.Protocol, p.Port = s.service(f)
	return p
}

// address is a pod's more often than not.
func (s *sampler) address(f int) netip.Addr {
	switch kind := s.IntN(10); {
	case kind < 7 && len(s.pods[f]) > 0:
		return pick(s.Rand, s.pods[f])
	case kind == 7 && len(s.nodes[f]) > 0:
		return pick(s.Rand, s.nodes[f])
	}
	return pick(s.Rand, s.edges[f])
}

// service is a protocol and a port.
func (s *sampler) service(f int) (policy.Protocol, uint16) {
	port := pick(s.Rand, s.ports)
	switch s.IntN(16) {
	case 0:
		return [2]policy.Protocol{policy.ICMP, policy.ICMPv6}[f], 0
	case 1:
		return pick(s.Rand, []policy.Protocol{2, 47, 112, 255}), 0 // IGMP, GRE, VRRP, and what nobody uses
	case 2, 3, 4: // the same number of another protocol
		return pick(s.Rand, []policy.Protocol{policy.TCP, policy.UDP, policy.SCTP}), port.Number
	case 5:
		return port.Protocol, uint16(s.IntN(1 << 16))
	}
	return port.Protocol, port.Number
}

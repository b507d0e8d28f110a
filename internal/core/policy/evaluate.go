package policy

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
)

// Verdict is what becomes of a packet, and why.
type Verdict struct {
	Allowed bool
	Egress  Side // of the pod that sends
	Ingress Side // of the pod that receives
}

// Side is one pod's word. Policies are not asked where the address is no pod's, or that of a pod that uses the host's network.
type Side struct {
	Asked bool
	Decision
}

// Decision is what one side of a packet was decided by.
type Decision struct {
	Allowed bool
	Tier    Tier
	// Policy is empty where Default decides. Where Network denies it is the first that isolates the pod.
	Policy Ref
	Rule   int    // index in the policy's rules of the direction; -1 where none matches
	Name   string // of the rule
	Action Action // of the rule; zero where none matches
}

// Evaluate decides on a packet by reading the world's policies from the first to the last. It is what the compiled rules and the
// datapath are held against: short rather than fast.
func Evaluate(w *World, p Packet) Verdict {
	v := Verdict{Allowed: true}
	if p.FromHost || p.From == p.To {
		return v
	}
	if from := w.podAt(p.From); from != nil {
		v.Egress = Side{Asked: true, Decision: w.decide(from, Egress, p)}
		v.Allowed = v.Allowed && v.Egress.Allowed
	}
	if to := w.podAt(p.To); to != nil {
		v.Ingress = Side{Asked: true, Decision: w.decide(to, Ingress, p)}
		v.Allowed = v.Allowed && v.Ingress.Allowed
	}
	return v
}

// podAt is the pod that an address belongs to, nil when it is none's or the node's.
func (w *World) podAt(a netip.Addr) *Pod {
	for i := range w.Pods {
		if pod := &w.Pods[i]; !pod.HostNetwork && slices.Contains(pod.Addrs, a) {
			return pod
		}
	}
	return nil
}

// decide asks the tiers in turn.
func (w *World) decide(pod *Pod, d Direction, p Packet) Decision {
	if r, matched := w.first(Admin, pod, d, p); matched && r.Action != Pass {
		return r
	}
	if by, isolated := w.isolates(pod, d); isolated {
		if r, matched := w.first(Network, pod, d, p); matched {
			return r
		}
		return Decision{Tier: Network, Policy: by, Rule: -1}
	}
	if r, matched := w.first(Baseline, pod, d, p); matched && r.Action != Pass {
		return r
	}
	return Decision{Allowed: !w.Strict, Tier: Default, Rule: -1}
}

// isolates names the first policy that isolates a pod.
func (w *World) isolates(pod *Pod, d Direction) (by Ref, isolated bool) {
	for _, policy := range w.Policies {
		if policy.Tier == Network && policy.Isolates[d] && w.Selects(policy.Subject, pod) {
			if !isolated || compareRefs(policy.Ref, by) < 0 {
				by, isolated = policy.Ref, true
			}
		}
	}
	return by, isolated
}

// first is the first rule of a tier that matches, in the order that the package's comment gives.
func (w *World) first(t Tier, pod *Pod, d Direction, p Packet) (first Decision, matched bool) {
	var priority int32
	for _, policy := range w.Policies {
		if policy.Tier != t || t == Network && !policy.Isolates[d] || !w.Selects(policy.Subject, pod) {
			continue
		}
		if t == Network {
			policy.Priority = 0
		}
		for i, rule := range policy.Rules[d] {
			this := Decision{Allowed: rule.Action == Accept, Tier: t, Policy: policy.Ref, Rule: i, Name: rule.Name, Action: rule.Action}
			if !w.matches(rule, d, p) || matched && cmp.Or(cmp.Compare(policy.Priority, priority), compare(this, first)) > 0 {
				continue
			}
			first, priority, matched = this, policy.Priority, true
		}
	}
	return first, matched
}

// compare orders rules of one priority.
func compare(a, b Decision) int {
	order := [...]int{Deny: 0, Accept: 1, Pass: 2}
	return cmp.Or(cmp.Compare(a.Rule, b.Rule), cmp.Compare(order[a.Action], order[b.Action]), compareRefs(a.Policy, b.Policy))
}

func compareRefs(a, b Ref) int {
	return cmp.Or(strings.Compare(a.Kind, b.Kind), strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
}

// matches tells whether a rule speaks of a packet.
func (w *World) matches(r Rule, d Direction, p Packet) bool {
	other, to := p.From, w.podAt(p.To)
	if d == Egress {
		other = p.To
	}
	if r.AnyPeer {
		return r.hasPort(to, p)
	}
	return slices.ContainsFunc(r.Peers, func(peer Peer) bool {
		named := to
		if d == Egress && peer.Pods == nil {
			named = nil // blocks, nodes and domain names have no named ports
		}
		return w.isPeer(peer, other) && r.hasPort(named, p)
	})
}

// hasPort tells whether a rule speaks of a packet's port. Pod is the one whose named ports count, nil for none.
func (r Rule) hasPort(pod *Pod, p Packet) bool {
	return r.AnyPort || slices.ContainsFunc(r.Ports, func(port Port) bool {
		switch {
		case port.Protocol != p.Protocol:
			return false
		case port.Name != "":
			return pod != nil && slices.Contains(pod.Ports, NamedPort{Name: port.Name, Protocol: p.Protocol, Number: p.Port})
		}
		return port.First <= p.Port && p.Port <= port.Last
	})
}

// isPeer tells whether an address is one of a peer's.
func (w *World) isPeer(peer Peer, a netip.Addr) bool {
	switch {
	case peer.Pods != nil:
		pod := w.podAt(a)
		return pod != nil && w.Selects(*peer.Pods, pod)
	case peer.Nodes != nil:
		return slices.ContainsFunc(w.Nodes, func(n Node) bool { return peer.Nodes.Matches(n.Labels) && slices.Contains(n.Addrs, a) })
	case peer.Network != nil:
		return peer.Network.Contains(a)
	case peer.Domain != "":
		for name, addrs := range w.Resolved {
			if MatchesDomain(peer.Domain, name) && slices.Contains(addrs, a) {
				return true
			}
		}
	}
	return false
}

// Selects tells whether a pod is one of those selected; one that uses the host's network never is.
func (w *World) Selects(s Pods, pod *Pod) bool {
	if pod.HostNetwork || !s.Pods.Matches(pod.Labels) {
		return false
	}
	if s.Namespace != "" {
		return s.Namespace == pod.Namespace
	}
	return s.Namespaces.Matches(w.Namespaces[pod.Namespace])
}

// Contains tells whether an address is in the block and in none of its excepts.
func (b Block) Contains(a netip.Addr) bool {
	return b.CIDR.Contains(a) && !slices.ContainsFunc(b.Except, func(x netip.Prefix) bool { return x.Contains(a) })
}

// MatchesDomain tells whether a name is the one that a Peer's Domain says, or lies below it. Both are in lower case, without a dot at
// the end.
func MatchesDomain(domain, name string) bool {
	if below, ok := strings.CutPrefix(domain, "*"); ok {
		return len(name) > len(below) && strings.HasSuffix(name, below)
	}
	return domain == name
}

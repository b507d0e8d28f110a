package reach

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/berth-net/berth/internal/core/policy"
)

// Question is whether one side may open a connection to the other.
type Question struct {
	From, To End
	Protocol policy.Protocol
	Port     uint16
}

// Answer is what the policies say to a Question.
type Answer struct {
	Allowed  bool   `json:"allowed"` // over every family that both sides have
	From     string `json:"from"`
	To       string `json:"to"`
	Protocol string `json:"protocol"`
	Port     uint16 `json:"port"`
	// Paths are the packets that were judged, one a family.
	Paths []Path `json:"paths"`
	// Notes are what bears on this answer besides the policies.
	Notes []string `json:"notes,omitempty"`
	// Refs are the policies that were asked, of either side.
	Refs []policy.Ref `json:"-"`
}

// Path is one packet's verdict.
type Path struct {
	From    netip.Addr `json:"from"`
	To      netip.Addr `json:"to"`
	Allowed bool       `json:"allowed"`
	Egress  Side       `json:"egress"`  // of the source
	Ingress Side       `json:"ingress"` // of the destination
}

// Side is what was decided on one side, and by what.
type Side struct {
	Asked   bool   `json:"asked"` // whether policies are, there
	Allowed bool   `json:"allowed"`
	Why     string `json:"why"`
	Tier    string `json:"tier,omitempty"`
	// Priority is the policy's, where its tier has an order.
	Priority *int32 `json:"priority,omitempty"`
	Policy   *Ref   `json:"policy,omitempty"`
	// Field is where the rule is in the policy's resource, as spec.ingress[0]; none where no rule matches.
	Field    string `json:"field,omitempty"`
	RuleName string `json:"ruleName,omitempty"`
	Rule     string `json:"rule,omitempty"` // what it says
	// Selected are the policies that say something about the pod in this direction.
	Selected []string `json:"selected,omitempty"`
}

// Ref names a policy.
type Ref struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
}

// Packets are the packets that a question is about: one for each family that both sides have.
func Packets(w *policy.World, q Question) ([]policy.Packet, error) {
	if q.From.Pod != nil && q.From.Pod == q.To.Pod {
		return nil, fmt.Errorf("%s is both sides: what a pod sends to itself never leaves it, no policy is asked", q.From)
	}
	var packets []policy.Packet
	for _, four := range []bool{true, false} {
		is := func(a netip.Addr) bool { return a.Is4() == four }
		from, to := slices.IndexFunc(q.From.Addrs, is), slices.IndexFunc(q.To.Addrs, is)
		if from < 0 || to < 0 {
			continue
		}
		p := policy.Packet{From: q.From.Addrs[from], To: q.To.Addrs[to], Protocol: q.Protocol, Port: q.Port}
		p.FromHost = q.To.Pod != nil && q.To.Pod.Node != "" && isNode(w, q.To.Pod.Node, p.From)
		packets = append(packets, p)
	}
	if len(packets) == 0 {
		return nil, fmt.Errorf("%s has %s and %s has %s: they have no family of addresses in common", q.From, addrs(q.From.Addrs), q.To, addrs(q.To.Addrs))
	}
	return packets, nil
}

func addrs(list []netip.Addr) string {
	texts := make([]string, 0, len(list))
	for _, a := range list {
		texts = append(texts, a.String())
	}
	return strings.Join(texts, ", ")
}

// isNode tells whether an address is one of a node's.
func isNode(w *policy.World, name string, a netip.Addr) bool {
	return slices.ContainsFunc(w.Nodes, func(n policy.Node) bool { return n.Name == name && slices.Contains(n.Addrs, a) })
}

// narrow is the world of some pods and of the policies that select one of them. Verdicts between these pods, and between them and what
// is no pod's, are the same in it.
func narrow(w *policy.World, pods ...*policy.Pod) *policy.World {
	small := &policy.World{Namespaces: w.Namespaces, Nodes: w.Nodes, Resolved: w.Resolved, Strict: w.Strict}
	for _, p := range pods {
		if p != nil {
			small.Pods = append(small.Pods, *p)
		}
	}
	for _, p := range w.Policies {
		if slices.ContainsFunc(pods, func(pod *policy.Pod) bool { return pod != nil && w.Selects(p.Subject, pod) }) {
			small.Policies = append(small.Policies, p)
		}
	}
	return small
}

// Trace answers a question.
func Trace(w *policy.World, q Question) (Answer, error) {
	packets, err := Packets(w, q)
	if err != nil {
		return Answer{}, err
	}
	small := narrow(w, q.From.Pod, q.To.Pod)
	a := Answer{Allowed: true, From: q.From.String(), To: q.To.String(), Protocol: q.Protocol.String(), Port: q.Port, Notes: notes(w, small, q, packets)}
	for _, p := range small.Policies {
		a.Refs = append(a.Refs, p.Ref)
	}
	for _, p := range packets {
		v := policy.Evaluate(small, p)
		path := Path{From: p.From, To: p.To, Allowed: v.Allowed}
		path.Egress = explain(small, q, policy.Egress, p, v.Egress)
		path.Ingress = explain(small, q, policy.Ingress, p, v.Ingress)
		a.Paths, a.Allowed = append(a.Paths, path), a.Allowed && v.Allowed
	}
	return a, nil
}

// explain says what one side was decided by.
func explain(w *policy.World, q Question, d policy.Direction, p policy.Packet, v policy.Side) Side {
	end := q.To
	if d == policy.Egress {
		end = q.From
	}
	if !v.Asked {
		return Side{Allowed: true, Why: notAsked(end, p)}
	}
	s := Side{Asked: true, Allowed: v.Allowed, Tier: v.Tier.String(), Selected: selecting(w, end.Pod, d)}
	if v.Tier == policy.Default {
		s.Why = byDefault(w, d, len(s.Selected))
		return s
	}
	s.Policy = &Ref{Kind: v.Policy.Kind, Namespace: v.Policy.Namespace, Name: v.Policy.Name}
	by := w.Policies[slices.IndexFunc(w.Policies, func(p policy.Policy) bool { return p.Ref == v.Policy })]
	if by.Tier != policy.Network {
		s.Priority = &by.Priority
	}
	if v.Rule < 0 {
		s.Why = fmt.Sprintf("isolated, and no rule of a policy that selects it accepts this %s", d)
		return s
	}
	s.Field, s.RuleName = fmt.Sprintf("spec.%s[%d]", d, v.Rule), v.Name
	s.Rule = by.Rules[d][v.Rule].Text(d)
	s.Why = "a rule matches"
	return s
}

func notAsked(end End, p policy.Packet) string {
	switch {
	case p.FromHost:
		return "no policy is asked: the destination's own node sends this"
	case end.Pod == nil:
		return "no policy is asked: the address is no pod's"
	}
	return "no policy is asked: the pod uses the host's network"
}

func byDefault(w *policy.World, d policy.Direction, selected int) string {
	word := "allowed: no policy"
	if w.Strict {
		word = "denied in strict mode: no policy"
	}
	if selected > 0 {
		return fmt.Sprintf("%s that selects it decides on this %s", word, d)
	}
	return fmt.Sprintf("%s selects it for %s", word, d)
}

// selecting names the policies that say something about a pod in a direction.
func selecting(w *policy.World, pod *policy.Pod, d policy.Direction) []string {
	var names []string
	for _, p := range w.Policies {
		if speaks(p, d) && w.Selects(p.Subject, pod) {
			names = append(names, p.Ref.String())
		}
	}
	slices.Sort(names)
	return names
}

// speaks tells whether a policy says anything about a direction.
func speaks(p policy.Policy, d policy.Direction) bool {
	if p.Tier == policy.Network {
		return p.Isolates[d]
	}
	return len(p.Rules[d]) > 0
}

// notes say what bears on an answer that policies alone do not show.
func notes(w, small *policy.World, q Question, packets []policy.Packet) []string {
	var out []string
	for _, end := range []End{q.From, q.To} {
		switch {
		case end.Pod == nil:
		case end.Pod.HostNetwork:
			out = append(out, fmt.Sprintf("%s uses the host's network: no policy selects it, and others see its node's address %s", end, addrs(end.Addrs)))
		case IsPlaceholder(end.Addrs[0]) && hasBlocks(small):
			out = append(out, end.String()+" has no address yet: rules with ranges of addresses were taken not to match it, unless they hold all addresses; ask again once it has one")
		}
	}
	if packets[0].FromHost {
		out = append(out, "the source is the destination's own node: what it sends itself passes by origin. What it only forwards under its own address (a NodePort's traffic) is judged by policies like any other, and this answer is not about that")
	}
	if q.To.Pod == nil && !slices.ContainsFunc(w.Nodes, func(n policy.Node) bool { return slices.Contains(n.Addrs, packets[0].To) }) {
		out = append(out, fmt.Sprintf("%s is no pod's address: if it is a Service's, ask for a pod behind it; policies see the address and port after translation", packets[0].To))
	}
	if names := domains(small, q.From.Pod); len(names) > 0 {
		out = append(out, "policies that select "+q.From.String()+" accept names of domains ("+strings.Join(names, ", ")+"): which addresses these stand for is known to nodes only, so this answer takes them for none")
	}
	return out
}

// hasBlocks tells whether a rule depends on an address beyond its family.
func hasBlocks(w *policy.World) bool {
	return slices.ContainsFunc(w.Policies, func(p policy.Policy) bool {
		return slices.ContainsFunc(slices.Concat(p.Rules[0], p.Rules[1]), func(r policy.Rule) bool {
			return slices.ContainsFunc(r.Peers, func(peer policy.Peer) bool {
				return peer.Network != nil && (peer.Network.CIDR.Bits() > 0 || len(peer.Network.Except) > 0)
			})
		})
	})
}

// domains are the names in rules for what a pod sends.
func domains(w *policy.World, pod *policy.Pod) []string {
	var names []string
	for _, p := range w.Policies {
		if pod == nil || !w.Selects(p.Subject, pod) {
			continue
		}
		for _, r := range p.Rules[policy.Egress] {
			for _, peer := range r.Peers {
				if peer.Domain != "" {
					names = append(names, peer.Domain)
				}
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

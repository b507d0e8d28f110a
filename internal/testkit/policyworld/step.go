package policyworld

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"

	"github.com/berth-net/berth/internal/core/policy"
)

// Step is the world after one thing has changed, and what that is. The world that it is given stays as it is; both share what is the
// same. For those who follow a world change by change.
func Step(w *policy.World, r *rand.Rand, size Size) (next *policy.World, what string) {
	m := resume(w, r, size)
	steps := []struct {
		what string
		step func(*maker)
	}{
		{"a pod comes", func(m *maker) { m.Pods = append(m.Pods, m.pod(m.unusedPod())) }},
		{"a pod goes", (*maker).dropPod},
		{"a pod's address goes to another", (*maker).reuse},
		{"a pod's labels change", func(m *maker) { m.change(func(p *policy.Pod) { p.Labels = m.labels("app", "tier") }) }},
		{"a pod's addresses change", func(m *maker) { m.change(m.move) }},
		{"a pod's ports change", func(m *maker) { m.change(func(p *policy.Pod) { p.Ports = m.pod("").Ports }) }},
		{"a namespace's labels change", (*maker).relabel},
		{"a node changes", (*maker).changeNode},
		{"names resolve to something else", (*maker).resolve},
		{"a policy comes", func(m *maker) { m.Policies = append(m.Policies, m.policy(m.unusedPolicy())) }},
		{"a policy goes", (*maker).dropPolicy},
		{"a policy's rules change", (*maker).changeRules},
		{"a policy's rules change", (*maker).changeRules},
		{"a policy's subject or priority changes", (*maker).changePolicy},
		{"strict mode changes", func(m *maker) { m.Strict = !m.Strict }},
	}
	s := pick(r, steps)
	s.step(m)
	return m.World, s.what
}

// resume makes what New had when it ended, around a copy of the world.
func resume(w *policy.World, r *rand.Rand, size Size) *maker {
	next := *w
	next.Pods, next.Nodes, next.Policies = slices.Clone(w.Pods), slices.Clone(w.Nodes), slices.Clone(w.Policies)
	next.Namespaces = maps.Clone(w.Namespaces)
	m := &maker{Rand: r, World: &next, size: size, tiers: []policy.Tier{policy.Admin, policy.Network, policy.Baseline}}
	m.names = slices.Sorted(maps.Keys(w.Namespaces))
	m.addresses()
	used := make(map[netip.Addr]bool)
	for _, p := range w.Pods {
		for _, a := range p.Addrs {
			used[a] = true
		}
	}
	for _, n := range w.Nodes {
		for _, a := range n.Addrs {
			used[a] = true
		}
	}
	for f := range m.free {
		before := len(m.free[f])
		m.free[f] = slices.DeleteFunc(m.free[f], func(a netip.Addr) bool { return used[a] })
		if len(m.free[f]) < before {
			m.families = append(m.families, f)
		}
	}
	m.palette()
	for _, p := range w.Policies { // what is there already is met again more often than not
		m.selectors = append(m.selectors, p.Subject.Pods)
		for _, rule := range slices.Concat(p.Rules[0], p.Rules[1]) {
			for _, peer := range rule.Peers {
				if peer.Pods != nil {
					m.selectors = append(m.selectors, peer.Pods.Pods)
				}
			}
		}
	}
	return m
}

func (m *maker) unusedPod() string {
	for i := 0; ; i++ {
		name := fmt.Sprintf("p%d", i)
		if !slices.ContainsFunc(m.Pods, func(p policy.Pod) bool { return p.Name == name }) {
			return name
		}
	}
}

func (m *maker) unusedPolicy() int {
	for i := 0; ; i++ {
		if !slices.ContainsFunc(m.Policies, func(p policy.Policy) bool {
			return p.Name == fmt.Sprintf("p%d", i) || p.Name == fmt.Sprintf("c%d", i)
		}) {
			return i
		}
	}
}

// dropPod leaves one at least: everything else is made around pods.
func (m *maker) dropPod() {
	if i := m.IntN(len(m.Pods)); len(m.Pods) > 1 {
		m.Pods = slices.Delete(m.Pods, i, i+1)
	}
}

// change changes a pod that does not use the host's network.
func (m *maker) change(pod func(*policy.Pod)) {
	start := m.IntN(len(m.Pods))
	for i := range m.Pods {
		if p := &m.Pods[(start+i)%len(m.Pods)]; !p.HostNetwork {
			pod(p)
			return
		}
	}
}

// move gives a pod other addresses, while there are any.
func (m *maker) move(p *policy.Pod) {
	if addrs := m.take(); addrs != nil {
		p.Addrs = addrs
	}
}

// reuse puts a new pod in another's place.
func (m *maker) reuse() {
	name := m.unusedPod()
	m.change(func(p *policy.Pod) {
		addrs := p.Addrs
		*p = m.pod(name)
		p.HostNetwork, p.Addrs = false, addrs
	})
}

func (m *maker) relabel() {
	name := pick(m.Rand, m.names)
	labels := m.labels("team", "env")
	labels["kubernetes.io/metadata.name"] = name
	m.Namespaces[name] = labels
}

// changeNode changes labels, or gives the node an address more. Its pods of the host's network keep those that they have.
func (m *maker) changeNode() {
	n := &m.Nodes[m.IntN(len(m.Nodes))]
	if m.one(2) {
		n.Labels = m.labels("zone")
		return
	}
	n.Addrs = append(slices.Clone(n.Addrs), m.take()...)
}

func (m *maker) dropPolicy() {
	if len(m.Policies) > 0 {
		i := m.IntN(len(m.Policies))
		m.Policies = slices.Delete(m.Policies, i, i+1)
	}
}

// changeRules adds a rule to a policy, removes, replaces, or moves one.
func (m *maker) changeRules() {
	if len(m.Policies) == 0 {
		return
	}
	p := &m.Policies[m.IntN(len(m.Policies))]
	d := policy.Direction(m.IntN(2))
	rules := slices.Clone(p.Rules[d])
	action := policy.Accept
	if p.Tier != policy.Network {
		action = pick(m.Rand, []policy.Action{policy.Accept, policy.Deny, policy.Pass})
	}
	at := m.IntN(len(rules) + 1)
	switch rule := m.rule(d, action, p.Namespace); {
	case at == len(rules) || m.one(3):
		rules = slices.Insert(rules, at, rule)
	case m.one(3):
		rules = slices.Delete(rules, at, at+1)
	case m.one(2):
		rules[at] = rule
	default:
		rules[0], rules[at] = rules[at], rules[0]
	}
	p.Rules[d] = rules
}

func (m *maker) changePolicy() {
	if len(m.Policies) == 0 {
		return
	}
	p := &m.Policies[m.IntN(len(m.Policies))]
	switch {
	case m.one(2):
		p.Subject.Pods = m.podSelector()
	case p.Tier == policy.Network:
		d := m.IntN(2)
		p.Isolates[d] = !p.Isolates[d]
	default:
		p.Priority = pick(m.Rand, []int32{0, 10, 11, 1000})
	}
}

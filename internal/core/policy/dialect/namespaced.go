package dialect

import (
	"slices"

	"github.com/berth-net/berth/internal/core/policy"
)

// NetworkPolicy reads one of networking.k8s.io/v1. The error is about a text that is no such resource at all.
func NetworkPolicy(data []byte) (policy.Policy, []Problem, error) {
	return namespaced(data, "NetworkPolicy", false)
}

// ApplicationNetworkPolicy reads one of networking.k8s.aws/v1alpha1: a NetworkPolicy whose rules for egress may name domains.
func ApplicationNetworkPolicy(data []byte) (policy.Policy, []Problem, error) {
	return namespaced(data, "ApplicationNetworkPolicy.networking.k8s.aws", true)
}

func namespaced(data []byte, kind string, domains bool) (policy.Policy, []Problem, error) {
	spec, ref, err := open(data, kind, true)
	if err != nil {
		return policy.Policy{}, nil, err
	}
	p := policy.Policy{Ref: ref, Tier: policy.Network, Subject: policy.Pods{Namespace: ref.Namespace, Pods: policy.NewSelector()}}
	if spec.absent() {
		spec.raw = []byte("{}")
	}
	o, whole := spec.object("podSelector", "ingress", "egress", "policyTypes")
	if pods := o.get("podSelector"); !pods.absent() {
		selector, ok := pods.selector()
		p.Subject.Pods, whole = selector, whole && ok
	}
	types, ok := o.policyTypes()
	whole = whole && ok
	for d, field := range []string{"ingress", "egress"} {
		if !slices.Contains(types, policy.Direction(d)) {
			continue // it says nothing about this direction, whatever rules it has for it
		}
		p.Isolates[d] = true
		rules, ok := o.get(field).items()
		whole = whole && ok
		for _, r := range rules {
			p.Rules[d] = append(p.Rules[d], r.accept(policy.Direction(d), ref.Namespace, domains))
		}
	}
	if !whole {
		hold(&p)
	}
	return p, spec.problems, nil
}

// policyTypes are the directions that a policy isolates. When it does not say, that is ingress, and egress when it has rules for it.
func (o object) policyTypes() (types []policy.Direction, ok bool) {
	items, ok := o.get("policyTypes").items()
	if ok && len(items) == 0 {
		types = []policy.Direction{policy.Ingress}
		if rules, readable := o.get("egress").items(); !readable || len(rules) > 0 {
			types = append(types, policy.Egress)
		}
		return types, true
	}
	for _, item := range items {
		switch text, known := item.oneOf("Ingress", "Egress"); {
		case !known:
			ok = false
		case text == "Ingress":
			types = append(types, policy.Ingress)
		default:
			types = append(types, policy.Egress)
		}
	}
	return types, ok
}

// accept reads a rule.
func (n node) accept(d policy.Direction, namespace string, domains bool) policy.Rule {
	n.done = doneAccept
	defer func() { n.done = doneHold }()
	rule := policy.Rule{Action: policy.Accept}
	field := [...]string{"from", "to"}[d]
	o, whole := n.object(field, "ports")
	if !whole {
		return rule
	}
	peers, ports := everything[policy.Peer](), everything[policy.Port]()
	if list := list(o.get(field), func(peer node) reading[policy.Peer] { return peer.peer(namespace, domains && d == policy.Egress) }); list.some() {
		peers = list
	}
	if list := list(o.get("ports"), node.policyPort); list.some() {
		ports = list
	}
	fill(&rule, peers, ports, false)
	n.namedPorts(d, &rule)
	return rule
}

// some tells whether a list was there: an empty one leaves peers or ports open.
func (r reading[E]) some() bool { return r.doubt || len(r.most) > 0 }

// peer reads an element of from or to.
func (n node) peer(namespace string, domains bool) reading[policy.Peer] {
	known := []string{"podSelector", "namespaceSelector", "ipBlock"}
	if domains {
		known = append(known, "domainNames")
	}
	o, whole := n.object(known...)
	if !whole {
		return lost[policy.Peer]()
	}
	block, pods, names := o.has("ipBlock"), o.has("podSelector") || o.has("namespaceSelector"), o.has("domainNames")
	switch {
	case block && !pods && !names:
		return o.get("ipBlock").ipBlock()
	case names && !pods && !block:
		return o.get("domainNames").named(node.domain)
	case pods && !block && !names:
		return o.podPeer(namespace)
	}
	n.wrong("a peer is pods, or a block, or names of domains: exactly one of them")
	return lost[policy.Peer]()
}

// named reads a list of a peer, which must have something in it.
func (n node) named(read func(node) reading[policy.Peer]) reading[policy.Peer] {
	all := list(n, read)
	if !all.some() {
		n.wrong("this list is empty")
		return lost[policy.Peer]()
	}
	return all
}

func (o object) podPeer(namespace string) reading[policy.Peer] {
	pods, whole := policy.Pods{Pods: policy.NewSelector()}, true
	if s := o.get("podSelector"); !s.absent() {
		pods.Pods, whole = s.selector()
	}
	if s := o.get("namespaceSelector"); s.absent() {
		pods.Namespace = namespace
	} else {
		var ok bool
		pods.Namespaces, ok = s.selector()
		whole = whole && ok
	}
	if !whole {
		return wider(policy.Peer{Pods: &pods})
	}
	return certain(policy.Peer{Pods: &pods})
}

func (n node) ipBlock() reading[policy.Peer] {
	o, whole := n.object("cidr", "except")
	cidr, ok := o.get("cidr").cidr()
	if !whole || !ok {
		return lost[policy.Peer]()
	}
	block := policy.Block{CIDR: cidr}
	excepts, ok := o.get("except").items()
	for _, e := range excepts {
		except, valid := e.cidr()
		switch {
		case !valid:
			ok = false
		case except.Bits() <= cidr.Bits() || !cidr.Contains(except.Addr()):
			e.wrong("%s is no part of %s", except, cidr)
			ok = false
		default:
			block.Except = append(block.Except, except)
		}
	}
	if !ok {
		return wider(policy.Peer{Network: &policy.Block{CIDR: cidr}})
	}
	return certain(policy.Peer{Network: &block})
}

// policyPort reads an element of a NetworkPolicy's ports.
func (n node) policyPort() reading[policy.Port] {
	o, whole := n.object("protocol", "port", "endPort")
	protocol, ok := o.get("protocol").protocol()
	if !whole || !ok {
		return lost[policy.Port]()
	}
	port, end := o.get("port"), o.get("endPort")
	switch {
	case port.absent() && end.absent():
		return certain(policy.Port{Protocol: protocol, Last: 65535})
	case port.absent():
		end.wrong("a range needs its first port too")
	case port.raw[0] == '"' && !end.absent():
		end.wrong("a range needs the number of its first port, not a name")
	case port.raw[0] == '"':
		if name, ok := port.portName(); ok {
			return certain(policy.Port{Protocol: protocol, Name: name})
		}
	case end.absent():
		return one(protocol, port)
	default:
		return between(protocol, port, end)
	}
	return lost[policy.Port]()
}

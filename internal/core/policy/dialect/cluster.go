package dialect

import (
	"encoding/json"

	"github.com/berth-net/berth/internal/core/policy"
)

// grammar is how the two kinds of ClusterNetworkPolicy differ.
type grammar struct {
	kind  string
	ports string // the rule's field
	port  func(node) reading[policy.Port]
	peers [2][]string // by direction
}

// ClusterNetworkPolicy reads one of policy.networking.k8s.io/v1alpha2. The error is about a text that is no such resource at all.
func ClusterNetworkPolicy(data []byte) (policy.Policy, []Problem, error) {
	return cluster(data, grammar{
		kind: "ClusterNetworkPolicy.policy.networking.k8s.io", ports: "protocols", port: node.protocolPort,
		peers: [2][]string{{"namespaces", "pods"}, {"namespaces", "pods", "nodes", "networks", "domainNames"}},
	})
}

// AmazonClusterNetworkPolicy reads one of networking.k8s.aws/v1alpha1.
func AmazonClusterNetworkPolicy(data []byte) (policy.Policy, []Problem, error) {
	return cluster(data, grammar{
		kind: "ClusterNetworkPolicy.networking.k8s.aws", ports: "ports", port: node.kindOfPort,
		peers: [2][]string{{"namespaces", "pods"}, {"namespaces", "pods", "networks", "domainNames"}},
	})
}

func cluster(data []byte, g grammar) (policy.Policy, []Problem, error) {
	spec, ref, err := open(data, g.kind, false)
	if err != nil {
		return policy.Policy{}, nil, err
	}
	p := policy.Policy{Ref: ref}
	spec.done = doneNothing
	o, whole := spec.object("tier", "priority", "subject", "ingress", "egress")
	spec.done = doneHold
	tier, known := o.get("tier").oneOf("Admin", "Baseline")
	if tier == "Baseline" {
		p.Tier = policy.Baseline
	}
	priority, ok := o.get("priority").number(0, 1000)
	if p.Priority = int32(priority); !known || !ok {
		p.Priority, whole = -1, false // before all: what it denies must not be passed over
	}
	var kind string
	kind, subject, ok := o.get("subject").only("namespaces", "pods")
	if p.Subject = everyPod(); ok {
		p.Subject, ok = subject.pods(kind)
	}
	whole = whole && ok
	for d, field := range []string{"ingress", "egress"} {
		rules, ok := o.get(field).items()
		if !ok {
			whole = false
			p.Rules[d] = []policy.Rule{{Action: policy.Deny, AnyPeer: true, AnyPort: true}}
		}
		for _, r := range rules {
			p.Rules[d] = append(p.Rules[d], r.clusterRule(policy.Direction(d), g))
		}
	}
	if !whole {
		hold(&p)
	}
	return p, spec.problems, nil
}

func everyPod() policy.Pods {
	return policy.Pods{Namespaces: policy.NewSelector(), Pods: policy.NewSelector()}
}

// pods reads a subject or a peer: all pods of selected namespaces, or selected ones of them. When it is not whole it is wider.
func (n node) pods(kind string) (pods policy.Pods, whole bool) {
	pods = everyPod()
	if kind == "namespaces" {
		pods.Namespaces, whole = n.selector()
		return pods, whole
	}
	o, whole := n.object("namespaceSelector", "podSelector")
	if s := o.get("namespaceSelector"); !s.absent() {
		var ok bool
		pods.Namespaces, ok = s.selector()
		whole = whole && ok
	}
	selector, ok := o.get("podSelector").selector()
	pods.Pods = selector
	return pods, whole && ok
}

// clusterRule reads a rule.
func (n node) clusterRule(d policy.Direction, g grammar) policy.Rule {
	n.done = doneDeny
	defer func() { n.done = doneHold }()
	if n.accepts() {
		n.done = doneAccept
	}
	field := [...]string{"from", "to"}[d]
	o, whole := n.object("name", "action", field, g.ports)
	rule := policy.Rule{Action: policy.Deny}
	if o.fields == nil {
		rule.AnyPeer, rule.AnyPort = true, true
		return rule
	}
	action, ok := o.get("action").oneOf("Accept", "Deny", "Pass")
	switch action {
	case "Accept":
		rule.Action = policy.Accept
	case "Pass":
		rule.Action = policy.Pass
	}
	if name := o.get("name"); !name.absent() {
		var named bool
		rule.Name, named = name.text()
		whole = whole && named
	}
	peers := o.get(field).named(func(peer node) reading[policy.Peer] { return peer.clusterPeer(d, rule.Action, g) })
	ports := everything[policy.Port]()
	if list := list(o.get(g.ports), g.port); list.some() {
		ports = list
	} else if o.has(g.ports) {
		o.get(g.ports).wrong("this list is empty: leave it away for all ports")
		ports = lost[policy.Port]()
	}
	fill(&rule, peers, ports, !whole || !ok)
	n.namedPorts(d, &rule)
	return rule
}

// accepts tells what a rule says that it does, before anything else of it is read.
func (n node) accepts() bool {
	var fields map[string]json.RawMessage
	return json.Unmarshal(n.raw, &fields) == nil && quoted(fields["action"]) == "Accept"
}

// clusterPeer reads an element of from or to.
func (n node) clusterPeer(d policy.Direction, action policy.Action, g grammar) reading[policy.Peer] {
	kind, value, ok := n.only(g.peers[d]...)
	if !ok {
		return lost[policy.Peer]()
	}
	switch kind {
	case "nodes":
		selector, whole := value.selector()
		if !whole {
			return wider(policy.Peer{Nodes: selector})
		}
		return certain(policy.Peer{Nodes: selector})
	case "networks":
		return value.named(func(item node) reading[policy.Peer] {
			cidr, ok := item.cidr()
			if !ok {
				return lost[policy.Peer]()
			}
			return certain(policy.Peer{Network: &policy.Block{CIDR: cidr}})
		})
	case "domainNames":
		if action != policy.Accept {
			value.wrong("only Accept rules can name domains: what a name stands for is never all known")
			return lost[policy.Peer]()
		}
		return value.named(node.domain)
	}
	pods, whole := value.pods(kind)
	if !whole {
		return wider(policy.Peer{Pods: &pods})
	}
	return certain(policy.Peer{Pods: &pods})
}

// protocolPort reads an element of protocols.
func (n node) protocolPort() reading[policy.Port] {
	kind, value, ok := n.only("tcp", "udp", "sctp", "destinationNamedPort")
	if !ok {
		return lost[policy.Port]()
	}
	if kind == "destinationNamedPort" {
		return value.ofAnyProtocol()
	}
	protocol := map[string]policy.Protocol{"tcp": policy.TCP, "udp": policy.UDP, "sctp": policy.SCTP}[kind]
	_, port, ok := value.only("destinationPort")
	if !ok {
		return lost[policy.Port]()
	}
	switch kind, value, ok = port.only("number", "range"); {
	case !ok:
		return lost[policy.Port]()
	case kind == "number":
		return one(protocol, value)
	}
	return value.span(protocol)
}

// span reads a range of ports.
func (n node) span(protocol policy.Protocol) reading[policy.Port] {
	o, whole := n.object("start", "end")
	if !whole {
		return lost[policy.Port]()
	}
	return between(protocol, o.get("start"), o.get("end"))
}

// ofAnyProtocol reads a port's name that comes without a protocol.
func (n node) ofAnyProtocol() reading[policy.Port] {
	name, ok := n.portName()
	if !ok {
		return lost[policy.Port]()
	}
	return certain(
		policy.Port{Protocol: policy.TCP, Name: name}, policy.Port{Protocol: policy.UDP, Name: name}, policy.Port{Protocol: policy.SCTP, Name: name},
	)
}

// kindOfPort reads an element of the ports of Amazon's resource.
func (n node) kindOfPort() reading[policy.Port] {
	kind, value, ok := n.only("portNumber", "portRange", "namedPort")
	if !ok {
		return lost[policy.Port]()
	}
	if kind == "namedPort" {
		return value.ofAnyProtocol()
	}
	fields := map[string][]string{"portNumber": {"protocol", "port"}, "portRange": {"protocol", "start", "end"}}[kind]
	o, whole := value.object(fields...)
	protocol, ok := o.get("protocol").protocol()
	switch {
	case !whole || !ok:
		return lost[policy.Port]()
	case kind == "portNumber":
		return one(protocol, o.get("port"))
	}
	return between(protocol, o.get("start"), o.get("end"))
}

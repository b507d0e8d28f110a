package dialect

import (
	"net/netip"
	"strings"

	"github.com/berth-net/berth/internal/core/policy"
)

// reading is what a list of peers or ports stands for: at least and at most. They are the same but where something cannot be read.
type reading[E any] struct {
	least, most []E
	any         bool // the most is anything; the least too where nothing is in doubt
	doubt       bool
}

func certain[E any](list ...E) reading[E] { return reading[E]{least: list, most: list} }

// wider stands for a part of what the list says.
func wider[E any](list ...E) reading[E] { return reading[E]{most: list, doubt: true} }

// lost may stand for anything.
func lost[E any]() reading[E] { return reading[E]{any: true, doubt: true} }

func everything[E any]() reading[E] { return reading[E]{any: true} }

// and joins two readings of parts of a list.
func (r reading[E]) and(other reading[E]) reading[E] {
	return reading[E]{
		least: append(r.least, other.least...), most: append(r.most, other.most...),
		any: r.any || other.any, doubt: r.doubt || other.doubt,
	}
}

// list reads each element of a list.
func list[E any](n node, read func(node) reading[E]) reading[E] {
	items, ok := n.items()
	if !ok {
		return lost[E]()
	}
	var all reading[E]
	for _, item := range items {
		all = all.and(read(item))
	}
	return all
}

// What is done about a problem, by what it is in.
const (
	doneAccept  = "until it is mended the rule accepts nothing by it"
	doneDeny    = "until it is mended the rule denies all that it may stand for"
	doneHold    = "until it is mended the policy accepts nothing, and denies all that it may stand for"
	doneNothing = "until it is mended the policy accepts nothing; what this field may deny is not enforced"
)

// fill gives a rule its peers and ports. Doubt is about the rule as a whole.
func fill(rule *policy.Rule, peers reading[policy.Peer], ports reading[policy.Port], doubt bool) {
	if rule.Action == policy.Accept {
		if !doubt {
			rule.Peers, rule.AnyPeer = peers.least, peers.any && !peers.doubt
			rule.Ports, rule.AnyPort = ports.least, ports.any && !ports.doubt
		}
		return
	}
	if rule.AnyPeer = peers.any; !rule.AnyPeer {
		rule.Peers = peers.most
	}
	if rule.AnyPort = ports.any; !rule.AnyPort {
		rule.Ports = ports.most
	}
	if doubt || peers.doubt || ports.doubt {
		rule.Action = policy.Deny
	}
}

// hold keeps a policy of which no one knows whom it selects or when it is asked from opening anything.
func hold(p *policy.Policy) {
	if p.Tier == policy.Network {
		p.Isolates = [2]bool{true, true}
	}
	for d := range p.Rules {
		for i := range p.Rules[d] {
			switch rule := &p.Rules[d][i]; rule.Action {
			case policy.Accept:
				*rule = policy.Rule{Name: rule.Name, Action: policy.Accept}
			case policy.Pass:
				rule.Action = policy.Deny
			case policy.Deny:
			}
		}
	}
}

// namedPorts says that names of ports mean nothing to peers that are no pods.
func (n node) namedPorts(d policy.Direction, rule *policy.Rule) {
	names, strangers := false, false
	for _, p := range rule.Ports {
		names = names || p.Name != ""
	}
	for _, p := range rule.Peers {
		strangers = strangers || p.Pods == nil
	}
	if d != policy.Egress || !names || !strangers {
		return
	}
	n.wrong("the name of a port is of a pod: blocks, nodes and domains have none, write the number")
	if rule.Action != policy.Accept {
		rule.Action, rule.AnyPort, rule.Ports = policy.Deny, true, nil
	}
}

// cidr reads a range of addresses.
func (n node) cidr() (p netip.Prefix, ok bool) {
	text, ok := n.text()
	if !ok {
		return p, false
	}
	p, err := netip.ParsePrefix(text)
	switch {
	case err != nil:
		n.wrong("%q is no range of addresses such as 10.0.0.0/8 or fd00::/8", text)
		return p, false
	case p.Addr().Is4In6():
		n.wrong("%q is IPv4 written as IPv6: write it as IPv4", text)
		return p, false
	}
	return p.Masked(), true
}

// domain reads the name of a domain, or "*." and one.
func (n node) domain() reading[policy.Peer] {
	text, ok := n.text()
	if !ok {
		return lost[policy.Peer]()
	}
	name := strings.TrimSuffix(strings.ToLower(text), ".")
	if !made(text, "-_.*") || !isDomain(strings.TrimPrefix(name, "*.")) { // some letters of other scripts are ASCII in lower case
		n.wrong(`%q is no domain's name, nor "*." and one`, text)
		return lost[policy.Peer]()
	}
	return certain(policy.Peer{Domain: name})
}

// protocol reads one of the protocols that have ports.
func (n node) protocol() (p policy.Protocol, ok bool) {
	if n.absent() {
		return policy.TCP, true
	}
	text, ok := n.oneOf("TCP", "UDP", "SCTP")
	if !ok {
		return 0, false
	}
	return map[string]policy.Protocol{"TCP": policy.TCP, "UDP": policy.UDP, "SCTP": policy.SCTP}[text], true
}

// port reads a number.
func (n node) port() (port uint16, ok bool) {
	number, ok := n.number(1, 65535)
	return uint16(number), ok
}

// one reads a port.
func one(protocol policy.Protocol, n node) reading[policy.Port] {
	number, ok := n.port()
	if !ok {
		return lost[policy.Port]()
	}
	return certain(policy.Port{Protocol: protocol, First: number, Last: number})
}

// between reads a range of ports.
func between(protocol policy.Protocol, first, last node) reading[policy.Port] {
	from, ok := first.port()
	to, too := last.port()
	if !ok || !too {
		return lost[policy.Port]()
	}
	if from > to {
		last.wrong("the range ends at %d, before its first port %d", to, from)
		return lost[policy.Port]()
	}
	return certain(policy.Port{Protocol: protocol, First: from, Last: to})
}

// portName reads the name of a container's port: at most 15 of a-z, 0-9 and "-", with a letter.
func (n node) portName() (name string, ok bool) {
	name, ok = n.text()
	if !ok {
		return "", false
	}
	if len(name) > 15 || !made(name, "-") || name != strings.ToLower(name) || !strings.ContainsAny(name, "abcdefghijklmnopqrstuvwxyz") ||
		strings.HasPrefix(name, "-") || strings.HasSuffix(name, "-") || strings.Contains(name, "--") {
		n.wrong("no port of a container can have the name %q", name)
		return "", false
	}
	return name, true
}

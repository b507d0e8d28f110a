package dialect_test

import (
	"encoding/json"
	"testing"

	"github.com/berth-net/berth/internal/core/policy"
	"github.com/berth-net/berth/internal/core/policy/dialect"
)

// tongue writes policies as resources of one dialect. What it cannot say is taken from the policy first.
type tongue struct {
	name string
	kind string
	read func([]byte) (policy.Policy, []dialect.Problem, error)
	tier func(policy.Tier) bool
	// peer and port write an element, nothing when the dialect has none such.
	peer  func(policy.Direction, policy.Rule, policy.Peer) any
	ports string
	port  func(policy.Port) any
}

type fields = map[string]any

var tongues = []tongue{
	{
		name: "NetworkPolicy", kind: "NetworkPolicy", read: dialect.NetworkPolicy, tier: isNetwork,
		ports: "ports", port: namespacedPort, peer: namespacedPeer,
	},
	{
		name: "ApplicationNetworkPolicy", kind: "ApplicationNetworkPolicy.networking.k8s.aws", read: dialect.ApplicationNetworkPolicy, tier: isNetwork,
		ports: "ports", port: namespacedPort, peer: func(d policy.Direction, r policy.Rule, p policy.Peer) any {
			if p.Domain != "" {
				return fields{"domainNames": []string{p.Domain}}
			}
			return namespacedPeer(d, r, p)
		},
	},
	{
		name: "ClusterNetworkPolicy", kind: "ClusterNetworkPolicy.policy.networking.k8s.io", read: dialect.ClusterNetworkPolicy, tier: isCluster,
		ports: "protocols", peer: clusterPeer,
		port: func(p policy.Port) any {
			protocol := map[policy.Protocol]string{policy.TCP: "tcp", policy.UDP: "udp", policy.SCTP: "sctp"}[p.Protocol]
			switch {
			case p.Name != "":
				return nil
			case p.First == p.Last:
				return fields{protocol: fields{"destinationPort": fields{"number": p.First}}}
			}
			return fields{protocol: fields{"destinationPort": fields{"range": fields{"start": p.First, "end": p.Last}}}}
		},
	},
	{
		name: "AmazonClusterNetworkPolicy", kind: "ClusterNetworkPolicy.networking.k8s.aws", read: dialect.AmazonClusterNetworkPolicy, tier: isCluster,
		ports: "ports",
		peer: func(d policy.Direction, r policy.Rule, p policy.Peer) any {
			if p.Nodes != nil {
				return nil
			}
			return clusterPeer(d, r, p)
		},
		port: func(p policy.Port) any {
			switch {
			case p.Name != "":
				return nil
			case p.First == p.Last:
				return fields{"portNumber": fields{"protocol": upper(p.Protocol), "port": p.First}}
			}
			return fields{"portRange": fields{"protocol": upper(p.Protocol), "start": p.First, "end": p.Last}}
		},
	},
}

func isNetwork(t policy.Tier) bool { return t == policy.Network }
func isCluster(t policy.Tier) bool { return t != policy.Network }

func upper(p policy.Protocol) string {
	return map[policy.Protocol]string{policy.TCP: "TCP", policy.UDP: "UDP", policy.SCTP: "SCTP"}[p]
}

func selector(s *policy.Selector) any {
	expressions := []fields{}
	for _, r := range s.Requirements() {
		expressions = append(expressions, fields{"key": r.Key, "operator": r.Operator, "values": r.Values})
	}
	return fields{"matchExpressions": expressions}
}

func namespacedPeer(_ policy.Direction, _ policy.Rule, p policy.Peer) any {
	switch {
	case p.Pods != nil && p.Pods.Namespace != "":
		return fields{"podSelector": selector(p.Pods.Pods)}
	case p.Pods != nil:
		return fields{"podSelector": selector(p.Pods.Pods), "namespaceSelector": selector(p.Pods.Namespaces)}
	case p.Network != nil:
		return fields{"ipBlock": fields{"cidr": p.Network.CIDR, "except": p.Network.Except}}
	}
	return nil
}

func namespacedPort(p policy.Port) any {
	switch {
	case p.Name != "":
		return fields{"protocol": upper(p.Protocol), "port": p.Name}
	case p.First == 0:
		return fields{"protocol": upper(p.Protocol)}
	case p.First == p.Last:
		return fields{"protocol": upper(p.Protocol), "port": p.First}
	}
	return fields{"protocol": upper(p.Protocol), "port": p.First, "endPort": p.Last}
}

func clusterPeer(d policy.Direction, _ policy.Rule, p policy.Peer) any {
	switch {
	case p.Pods != nil:
		return fields{"pods": fields{"podSelector": selector(p.Pods.Pods), "namespaceSelector": selector(p.Pods.Namespaces)}}
	case d == policy.Ingress:
		return nil
	case p.Nodes != nil:
		return fields{"nodes": selector(p.Nodes)}
	case p.Network != nil && len(p.Network.Except) == 0:
		return fields{"networks": []any{p.Network.CIDR}}
	case p.Domain != "":
		return fields{"domainNames": []string{p.Domain}}
	}
	return nil
}

// say gives the resource of what of a policy the dialect can say, and that.
func (g tongue) say(t *testing.T, p policy.Policy) ([]byte, policy.Policy) {
	t.Helper()
	spec := fields{}
	p.Kind, p.Priority = g.kind, max(p.Priority, 0)
	if p.Tier == policy.Network {
		spec["podSelector"] = selector(p.Subject.Pods)
		types := []string{}
		for d, name := range []string{"Ingress", "Egress"} {
			if p.Isolates[d] {
				types = append(types, name)
			}
		}
		spec["policyTypes"] = types
	} else {
		spec["tier"], spec["priority"] = p.Tier.String(), p.Priority
		spec["subject"] = fields{"pods": fields{"podSelector": selector(p.Subject.Pods), "namespaceSelector": selector(p.Subject.Namespaces)}}
	}
	for d, name := range []string{"ingress", "egress"} {
		var said []policy.Rule
		var written []any
		for _, r := range p.Rules[d] {
			if rule, text, ok := g.rule(policy.Direction(d), r); ok && (p.Tier != policy.Network || p.Isolates[d]) {
				said, written = append(said, rule), append(written, text)
			}
		}
		spec[name], p.Rules[d] = written, said
	}
	data, err := json.Marshal(fields{"metadata": fields{"name": p.Name, "namespace": p.Namespace}, "spec": spec})
	if err != nil {
		t.Fatal(err)
	}
	return data, p
}

// rule writes a rule, unless the dialect cannot say it.
func (g tongue) rule(d policy.Direction, r policy.Rule) (policy.Rule, fields, bool) {
	text, kept := fields{}, r
	kept.Peers, kept.Ports = nil, nil
	var peers, ports []any
	strangers := false
	for _, p := range r.Peers {
		if peer := g.peer(d, r, p); peer != nil {
			peers, kept.Peers, strangers = append(peers, peer), append(kept.Peers, p), strangers || p.Pods == nil
		}
	}
	for _, p := range r.Ports {
		if p.Name == "" && p.First == 0 && !g.namespaced() {
			p.First = 1 // it has no other way to say all
		}
		if port := g.port(p); port != nil && (p.Name == "" || d == policy.Ingress || !strangers) {
			ports, kept.Ports = append(ports, port), append(kept.Ports, p)
		}
	}
	if peers != nil {
		text[[...]string{"from", "to"}[d]] = peers
	}
	if ports != nil {
		text[g.ports] = ports
	}
	if g.namespaced() {
		kept.Name = ""
	} else {
		text["name"], text["action"] = r.Name, map[policy.Action]string{policy.Accept: "Accept", policy.Deny: "Deny", policy.Pass: "Pass"}[r.Action]
	}
	return kept, text, (peers != nil || r.AnyPeer && g.namespaced()) && (ports != nil || r.AnyPort)
}

func (g tongue) namespaced() bool { return g.tier(policy.Network) }

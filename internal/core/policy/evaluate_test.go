package policy_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/berth-net/berth/internal/core/policy"
)

// everyone is the selector without requirements.
var everyone = policy.NewSelector()

func has(key, value string) *policy.Selector {
	return policy.NewSelector(policy.Requirement{Key: key, Operator: policy.In, Values: []string{value}})
}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func block(cidr string, except ...string) policy.Peer {
	b := policy.Block{CIDR: netip.MustParsePrefix(cidr)}
	for _, x := range except {
		b.Except = append(b.Except, netip.MustParsePrefix(x))
	}
	return policy.Peer{Network: &b}
}

func pods(namespaces, pods *policy.Selector) policy.Peer {
	return policy.Peer{Pods: &policy.Pods{Namespaces: namespaces, Pods: pods}}
}

func own(namespace string, selector *policy.Selector) policy.Peer {
	return policy.Peer{Pods: &policy.Pods{Namespace: namespace, Pods: selector}}
}

func tcp(first, last uint16) policy.Port {
	return policy.Port{Protocol: policy.TCP, First: first, Last: last}
}

func named(protocol policy.Protocol, name string) policy.Port {
	return policy.Port{Protocol: protocol, Name: name}
}

// accept, deny and pass make rules: any peer or any port where none is given.
func accept(peers []policy.Peer, ports ...policy.Port) policy.Rule {
	return policy.Rule{Action: policy.Accept, AnyPeer: peers == nil, Peers: peers, AnyPort: ports == nil, Ports: ports}
}

func deny(peers []policy.Peer, ports ...policy.Port) policy.Rule {
	r := accept(peers, ports...)
	r.Action = policy.Deny
	return r
}

func pass(peers []policy.Peer, ports ...policy.Port) policy.Rule {
	r := accept(peers, ports...)
	r.Action = policy.Pass
	return r
}

// np is a NetworkPolicy of namespace x for pods of a selector that isolates one direction.
func np(name string, selector *policy.Selector, d policy.Direction, rules ...policy.Rule) policy.Policy {
	p := policy.Policy{Ref: policy.Ref{Kind: "NetworkPolicy", Namespace: "x", Name: name}, Tier: policy.Network, Subject: policy.Pods{Namespace: "x", Pods: selector}}
	p.Isolates[d], p.Rules[d] = true, rules
	return p
}

// cnp is a ClusterNetworkPolicy for all pods, with rules of Ingress.
func cnp(name string, tier policy.Tier, priority int32, rules ...policy.Rule) policy.Policy {
	p := policy.Policy{Ref: policy.Ref{Kind: "ClusterNetworkPolicy", Name: name}, Tier: tier, Priority: priority, Subject: policy.Pods{Namespaces: everyone, Pods: everyone}}
	p.Rules[policy.Ingress] = rules
	return p
}

func outward(p policy.Policy) policy.Policy {
	p.Rules = [2][]policy.Rule{policy.Egress: p.Rules[policy.Ingress]}
	return p
}

// cluster has pods a, b and h (of the host's network) in namespace x, a in y.
func cluster(policies ...policy.Policy) *policy.World {
	return &policy.World{
		Namespaces: map[string]map[string]string{"x": {"ns": "x", "team": "red"}, "y": {"ns": "y"}},
		Pods: []policy.Pod{
			{Namespace: "x", Name: "a", Node: "one", Labels: map[string]string{"pod": "a"}, Addrs: []netip.Addr{addr("10.0.0.1"), addr("fd00::1")}, Ports: []policy.NamedPort{
				{Name: "web", Protocol: policy.TCP, Number: 80}, {Name: "dns", Protocol: policy.UDP, Number: 53},
			}},
			{Namespace: "x", Name: "b", Node: "two", Labels: map[string]string{"pod": "b"}, Addrs: []netip.Addr{addr("10.0.0.2"), addr("fd00::2")}, Ports: []policy.NamedPort{
				{Name: "web", Protocol: policy.TCP, Number: 8080},
			}},
			{Namespace: "x", Name: "h", Node: "one", Labels: map[string]string{"pod": "h"}, Addrs: []netip.Addr{addr("10.0.1.1")}, HostNetwork: true, Ports: []policy.NamedPort{
				{Name: "web", Protocol: policy.TCP, Number: 80},
			}},
			{Namespace: "y", Name: "a", Node: "two", Labels: map[string]string{"pod": "a"}, Addrs: []netip.Addr{addr("10.0.0.3"), addr("fd00::3")}},
		},
		Nodes: []policy.Node{
			{Name: "one", Labels: map[string]string{"zone": "1"}, Addrs: []netip.Addr{addr("10.0.1.1"), addr("10.0.1.11")}},
			{Name: "two", Labels: map[string]string{"zone": "2"}, Addrs: []netip.Addr{addr("10.0.1.2")}},
		},
		Resolved: map[string][]netip.Addr{"example.com": {addr("192.0.2.1")}, "www.example.com": {addr("192.0.2.2")}, "badexample.com": {addr("192.0.2.3")}},
		Policies: policies,
	}
}

// places are the ends of packets by a short name: pods x/a, x/b and y/a, the node of x/a, the outside; with 6 at the end of IPv6.
var places = map[string]string{
	"xa": "10.0.0.1", "xb": "10.0.0.2", "ya": "10.0.0.3", "n1": "10.0.1.1", "n11": "10.0.1.11", "n2": "10.0.1.2",
	"out": "192.0.2.1", "www": "192.0.2.2", "bad": "192.0.2.3", "xa6": "fd00::1", "xb6": "fd00::2", "ya6": "fd00::3", "out6": "2001:db8::1",
}

// packet reads "xb xa tcp 80"; "host n1 xa tcp 80" comes from the node itself.
func packet(t *testing.T, text string) policy.Packet {
	t.Helper()
	f := strings.Fields(text)
	var p policy.Packet
	if f[0] == "host" {
		p.FromHost, f = true, f[1:]
	}
	p.From, p.To = addr(places[f[0]]), addr(places[f[1]])
	p.Protocol = map[string]policy.Protocol{"tcp": policy.TCP, "udp": policy.UDP, "sctp": policy.SCTP, "icmp": policy.ICMP, "icmp6": policy.ICMPv6, "gre": 47}[f[2]]
	if len(f) > 3 {
		for _, digit := range f[3] {
			p.Port = p.Port*10 + uint16(digit-'0')
		}
	}
	return p
}

// expect is which packets a world allows and which it denies, a line each.
type expect struct {
	name          string
	policies      []policy.Policy
	strict        bool
	allowed, deny []string
}

func (e expect) check(t *testing.T) {
	t.Helper()
	w := cluster(e.policies...)
	w.Strict = e.strict
	for want, packets := range map[bool][]string{true: e.allowed, false: e.deny} {
		for _, text := range packets {
			if v := policy.Evaluate(w, packet(t, text)); v.Allowed != want {
				t.Errorf("%s: allowed is %v: %+v", text, v.Allowed, v)
			}
		}
	}
}

func run(t *testing.T, table []expect) {
	t.Helper()
	for _, e := range table {
		t.Run(e.name, e.check)
	}
}

var (
	in, out = policy.Ingress, policy.Egress
	podA    = has("pod", "a")
)

func only(peers ...policy.Peer) []policy.Peer { return peers }

func TestNetworkPolicy(t *testing.T) {
	run(t, []expect{
		{name: "without policies everything passes", allowed: []string{"xb xa tcp 80", "out xa tcp 80", "xa out icmp", "xa6 xb6 icmp6"}},
		{
			name: "a policy without rules isolates its pods in its direction", policies: []policy.Policy{np("p", podA, in)},
			allowed: []string{"xa xb tcp 80", "xb ya tcp 80", "xa out tcp 80", "xb xb tcp 80"}, deny: []string{"xb xa tcp 80", "ya xa udp 53", "out xa icmp", "xb6 xa6 tcp 80", "n1 xa tcp 80"},
		},
		{name: "of egress", policies: []policy.Policy{np("p", podA, out)}, allowed: []string{"xb xa tcp 80", "ya xb tcp 80"}, deny: []string{"xa xb tcp 80", "xa out tcp 80", "xa6 out6 tcp 80"}},
		{name: "a rule without peers and ports opens all", policies: []policy.Policy{np("p", everyone, in, accept(nil))}, allowed: []string{"xb xa tcp 80", "out xb icmp", "out6 xa6 gre"}},
		{name: "a rule whose peers are all gone opens nothing", policies: []policy.Policy{np("p", everyone, in, policy.Rule{Action: policy.Accept, AnyPort: true})}, deny: []string{"xb xa tcp 80", "out xa tcp 80"}},
		{name: "a rule whose ports are all gone opens nothing", policies: []policy.Policy{np("p", everyone, in, policy.Rule{Action: policy.Accept, AnyPeer: true})}, deny: []string{"xb xa tcp 80", "out xa icmp"}},
		{name: "pods of the policy's namespace", policies: []policy.Policy{np("p", podA, in, accept(only(own("x", everyone))))}, allowed: []string{"xb xa tcp 80"}, deny: []string{"ya xa tcp 80", "out xa tcp 80"}},
		{name: "pods of selected namespaces", policies: []policy.Policy{np("p", has("pod", "b"), in, accept(only(pods(has("ns", "y"), podA))))}, allowed: []string{"ya xb tcp 80"}, deny: []string{"xa xb tcp 80"}},
		{name: "peers are a union", policies: []policy.Policy{np("p", podA, in, accept(only(pods(has("ns", "y"), everyone), own("x", has("pod", "b")))))}, allowed: []string{"ya xa tcp 80", "xb xa tcp 80"}, deny: []string{"out xa tcp 80"}},
		{
			name: "policies are a union", policies: []policy.Policy{np("p", podA, in), np("q", everyone, in, accept(nil, tcp(80, 80))), np("r", podA, in, accept(nil, tcp(443, 443)))},
			allowed: []string{"xb xa tcp 80", "xb xa tcp 443", "xa xb tcp 80"}, deny: []string{"xa xb tcp 443"},
		},
		{
			name: "both sides must allow", policies: []policy.Policy{np("p", podA, out, accept(nil, tcp(80, 80))), np("q", has("pod", "b"), in, accept(nil, tcp(80, 90)))},
			allowed: []string{"xa xb tcp 80", "ya xb tcp 90"}, deny: []string{"xa xb tcp 90", "xa xb tcp 91"},
		},
		{name: "rules of a direction that is not isolated mean nothing", policies: []policy.Policy{{
			Ref: policy.Ref{Name: "p"}, Tier: policy.Network, Subject: policy.Pods{Namespace: "x", Pods: everyone},
			Isolates: [2]bool{true, false}, Rules: [2][]policy.Rule{nil, {accept(nil, tcp(80, 80))}},
		}}, allowed: []string{"xa out tcp 81"}, deny: []string{"out xa tcp 80"}},
		{
			name: "pods of the host's network are neither subject nor peer", policies: []policy.Policy{np("p", everyone, in, accept(only(own("x", everyone))))},
			allowed: []string{"xa n1 tcp 80", "xb xa tcp 80"}, deny: []string{"n1 xa tcp 80"},
		},
		{
			name: "the node itself reaches its pods, what it forwards is judged", policies: []policy.Policy{np("p", everyone, in)},
			allowed: []string{"host n1 xa tcp 80", "host n11 xa tcp 80"}, deny: []string{"n1 xa tcp 80", "n2 xa tcp 80"},
		},
		{name: "a pod reaches itself", policies: []policy.Policy{np("p", everyone, in), np("q", everyone, out)}, allowed: []string{"xa xa tcp 80", "xa6 xa6 icmp6"}, deny: []string{"xa xb tcp 80"}},
	})
}

func TestPortsAndProtocols(t *testing.T) {
	run(t, []expect{
		{name: "one port of a protocol", policies: []policy.Policy{np("p", podA, in, accept(nil, tcp(80, 80)))}, allowed: []string{"xb xa tcp 80"}, deny: []string{"xb xa udp 80", "xb xa tcp 79", "xb xa tcp 81", "xb xa sctp 80"}},
		{name: "a range has both ends", policies: []policy.Policy{np("p", podA, in, accept(nil, tcp(80, 82)))}, allowed: []string{"xb xa tcp 80", "xb xa tcp 81", "xb xa tcp 82"}, deny: []string{"xb xa tcp 79", "xb xa tcp 83"}},
		{name: "all ports of a protocol", policies: []policy.Policy{np("p", podA, in, accept(nil, policy.Port{Protocol: policy.UDP, Last: 65535}))}, allowed: []string{"xb xa udp 1", "xb xa udp 65535"}, deny: []string{"xb xa tcp 1"}},
		{
			name: "ICMP and other protocols pass by rules for any port only", policies: []policy.Policy{
				np("p", podA, in, accept(nil, tcp(0, 65535), policy.Port{Protocol: policy.UDP, Last: 65535}, policy.Port{Protocol: policy.SCTP, Last: 65535})), np("q", has("pod", "b"), in, accept(nil)),
			},
			allowed: []string{"xa xb icmp", "xa6 xb6 icmp6", "xa xb gre", "xb xa sctp 1"}, deny: []string{"xb xa icmp", "xb6 xa6 icmp6", "xb xa gre"},
		},
		{
			name: "a name in ingress is the subject's, whoever the peer is", policies: []policy.Policy{np("p", everyone, in, accept(nil, named(policy.TCP, "web")))},
			allowed: []string{"out xa tcp 80", "xa xb tcp 8080", "n1 xb tcp 8080"}, deny: []string{"out xa tcp 8080", "xa xb tcp 80", "xb xa udp 80"},
		},
		{name: "a name in ingress with a block", policies: []policy.Policy{np("p", everyone, in, accept(only(block("192.0.2.0/24")), named(policy.TCP, "web")))}, allowed: []string{"out xa tcp 80"}, deny: []string{"out xa tcp 81", "xb xa tcp 80"}},
		{
			name: "a name in egress is the destination's", policies: []policy.Policy{np("p", everyone, out, accept(nil, named(policy.TCP, "web")))},
			allowed: []string{"xa xb tcp 8080", "xb xa tcp 80"}, deny: []string{"xa xb tcp 80", "xa ya tcp 80", "xa out tcp 80", "xa n1 tcp 80"},
		},
		{name: "a name in egress meets no block, node or domain", policies: []policy.Policy{np("p", podA, out,
			accept(only(block("10.0.0.0/8"), policy.Peer{Nodes: everyone}, policy.Peer{Domain: "example.com"}), named(policy.TCP, "web")))}, deny: []string{"xa xb tcp 8080", "xa n1 tcp 80", "xa out tcp 80"}},
		{name: "a name in egress still meets the pods beside a block", policies: []policy.Policy{np("p", podA, out, accept(only(block("10.0.0.0/8"), own("x", everyone)), named(policy.TCP, "web")))}, allowed: []string{"xa xb tcp 8080"}, deny: []string{"xa xb tcp 80"}},
		{name: "a name of another protocol", policies: []policy.Policy{np("p", everyone, in, accept(nil, named(policy.TCP, "dns")))}, deny: []string{"xb xa tcp 53", "xb xa udp 53"}},
	})
}

func TestBlocksNodesAndNames(t *testing.T) {
	run(t, []expect{
		{name: "a block without some", policies: []policy.Policy{np("p", podA, in, accept(only(block("10.0.0.0/30", "10.0.0.2/32"))))}, allowed: []string{"ya xa tcp 1"}, deny: []string{"xb xa tcp 1", "out xa tcp 1", "ya6 xa6 tcp 1"}},
		{name: "an except is its own block's only", policies: []policy.Policy{np("p", podA, in, accept(only(block("10.0.0.0/8", "10.0.0.0/24"))), accept(only(block("10.0.0.2/32"))))}, allowed: []string{"xb xa tcp 1", "n1 xa tcp 1"}, deny: []string{"ya xa tcp 1"}},
		{name: "everything of a family is not everything", policies: []policy.Policy{np("p", podA, in, accept(only(block("0.0.0.0/0"))))}, allowed: []string{"out xa tcp 1", "xb xa icmp"}, deny: []string{"out6 xa6 tcp 1"}},
		{name: "IPv6", policies: []policy.Policy{np("p", podA, in, accept(only(block("fd00::/126", "fd00::2/127"))))}, deny: []string{"xb6 xa6 tcp 1", "ya6 xa6 tcp 1", "xb xa tcp 1"}},
		{name: "nodes by their labels, with all their addresses", policies: []policy.Policy{np("p", podA, out, accept(only(policy.Peer{Nodes: has("zone", "1")})))}, allowed: []string{"xa n1 tcp 1", "xa n11 tcp 1"}, deny: []string{"xa n2 tcp 1", "xa xb tcp 1"}},
		{name: "a name", policies: []policy.Policy{np("p", podA, out, accept(only(policy.Peer{Domain: "example.com"})))}, allowed: []string{"xa out tcp 1"}, deny: []string{"xa www tcp 1", "xa bad tcp 1"}},
		{name: "names below a name", policies: []policy.Policy{np("p", podA, out, accept(only(policy.Peer{Domain: "*.example.com"})))}, allowed: []string{"xa www tcp 1"}, deny: []string{"xa out tcp 1", "xa bad tcp 1"}},
		{name: "a name that nobody has asked for", policies: []policy.Policy{np("p", podA, out, accept(only(policy.Peer{Domain: "example.org"})))}, deny: []string{"xa out tcp 1"}},
	})
}

func TestTiers(t *testing.T) {
	isolated := np("p", everyone, in)
	open := np("p", everyone, in, accept(nil))
	fromB, fromA := only(pods(has("ns", "x"), has("pod", "b"))), only(pods(everyone, podA))
	run(t, []expect{
		{name: "Admin accepts before Network denies", policies: []policy.Policy{isolated, cnp("c", policy.Admin, 1, accept(fromB))}, allowed: []string{"xb xa tcp 1"}, deny: []string{"ya xa tcp 1"}},
		{name: "Admin denies before Network accepts", policies: []policy.Policy{open, cnp("c", policy.Admin, 1, deny(fromB))}, allowed: []string{"ya xa tcp 1"}, deny: []string{"xb xa tcp 1"}},
		{name: "Admin passes to Network", policies: []policy.Policy{isolated, cnp("c", policy.Admin, 1, pass(fromB), accept(nil))}, allowed: []string{"ya xa tcp 1"}, deny: []string{"xb xa tcp 1"}},
		{name: "Admin passes to Baseline", policies: []policy.Policy{cnp("c", policy.Admin, 1, pass(fromB), accept(nil)), cnp("d", policy.Baseline, 1, deny(nil))}, allowed: []string{"ya xa tcp 1"}, deny: []string{"xb xa tcp 1"}},
		{
			name: "Network's word is the last where it isolates", policies: []policy.Policy{np("p", podA, in, accept(fromB)), cnp("d", policy.Baseline, 1, deny(fromB), accept(nil))},
			allowed: []string{"xb xa tcp 1", "out xb tcp 1"}, deny: []string{"ya xa tcp 1", "xb ya tcp 1"},
		},
		{name: "Network isolates the other direction only", policies: []policy.Policy{np("p", everyone, out, accept(nil)), cnp("d", policy.Baseline, 1, deny(nil))}, deny: []string{"xb xa tcp 1"}},
		{name: "the lower number comes first", policies: []policy.Policy{cnp("c", policy.Admin, 2, accept(nil)), cnp("d", policy.Admin, 1, deny(fromB))}, allowed: []string{"ya xa tcp 1"}, deny: []string{"xb xa tcp 1"}},
		{name: "rules of a policy in their order", policies: []policy.Policy{cnp("c", policy.Admin, 1, accept(nil, tcp(80, 80)), deny(nil, tcp(1, 100)), accept(nil))}, allowed: []string{"xb xa tcp 80", "xb xa tcp 101"}, deny: []string{"xb xa tcp 81"}},
		{name: "of the same priority and place Deny before Accept", policies: []policy.Policy{cnp("c", policy.Admin, 1, accept(nil)), cnp("d", policy.Admin, 1, deny(fromB))}, allowed: []string{"ya xa tcp 1"}, deny: []string{"xb xa tcp 1"}},
		{name: "of the same priority and place Accept before Pass", policies: []policy.Policy{isolated, cnp("c", policy.Admin, 1, pass(nil)), cnp("d", policy.Admin, 1, accept(fromB))}, allowed: []string{"xb xa tcp 1"}, deny: []string{"ya xa tcp 1"}},
		{name: "of the same priority the place comes first", policies: []policy.Policy{cnp("c", policy.Admin, 1, accept(fromB), deny(nil)), cnp("d", policy.Admin, 1, accept(fromA), deny(nil))}, allowed: []string{"xb xa tcp 1", "ya xa tcp 1"}, deny: []string{"out xa tcp 1"}},
		{name: "Admin before Baseline whatever the numbers", policies: []policy.Policy{cnp("c", policy.Admin, 1000, accept(nil)), cnp("d", policy.Baseline, 0, deny(nil))}, allowed: []string{"xb xa tcp 1"}},
		{name: "of egress", policies: []policy.Policy{outward(cnp("c", policy.Admin, 1, accept(only(block("10.0.0.0/31"))), deny(only(block("10.0.0.0/8"), block("::/0")))))}, allowed: []string{"xb xa tcp 1", "xa out tcp 1"}, deny: []string{"xa xb tcp 1", "xa n1 tcp 1", "xa6 xb6 tcp 1"}},
		{name: "Pass in Baseline leaves it to the default", policies: []policy.Policy{cnp("d", policy.Baseline, 1, pass(fromB), deny(nil))}, allowed: []string{"xb xa tcp 1"}, deny: []string{"ya xa tcp 1"}},
		{
			name: "strict denies what nothing decides", strict: true, policies: []policy.Policy{outward(cnp("c", policy.Admin, 1, accept(nil))), cnp("d", policy.Baseline, 1, pass(fromB), accept(fromA))},
			allowed: []string{"ya xa tcp 1", "xa out tcp 1", "host n1 xa tcp 1", "xa xa tcp 1"}, deny: []string{"xb xa tcp 1", "out xa tcp 1"},
		},
		{name: "the node itself and a pod itself even where Admin denies", policies: []policy.Policy{cnp("c", policy.Admin, 0, deny(nil))}, allowed: []string{"host n1 xa tcp 1", "xa xa tcp 1"}},
	})
}

// TestDecisionSaysWhy: what logs and traces show of both sides.
func TestDecisionSaysWhy(t *testing.T) {
	named := accept(only(own("x", podA)), tcp(80, 80))
	named.Name = "from-a"
	w := cluster(np("z", has("pod", "b"), in, accept(nil, tcp(1, 1)), named), np("q", has("pod", "b"), in), cnp("c", policy.Admin, 7, pass(nil), deny(nil)))
	ref := func(name string) policy.Ref { return policy.Ref{Kind: "NetworkPolicy", Namespace: "x", Name: name} }
	for text, want := range map[string]policy.Verdict{
		"xa xb tcp 80": {
			Allowed: true,
			Egress:  policy.Side{Asked: true, Decision: policy.Decision{Allowed: true, Tier: policy.Default, Rule: -1}},
			Ingress: policy.Side{Asked: true, Decision: policy.Decision{Allowed: true, Tier: policy.Network, Policy: ref("z"), Rule: 1, Name: "from-a", Action: policy.Accept}},
		},
		"out xb tcp 80": {Ingress: policy.Side{Asked: true, Decision: policy.Decision{Tier: policy.Network, Policy: ref("q"), Rule: -1}}},
		"xb out tcp 80": {Allowed: true, Egress: policy.Side{Asked: true, Decision: policy.Decision{Allowed: true, Tier: policy.Default, Rule: -1}}},
		"n1 out tcp 80": {Allowed: true},
	} {
		if d := cmp.Diff(want, policy.Evaluate(w, packet(t, text))); d != "" {
			t.Errorf("%s:\n%s", text, d)
		}
	}
}

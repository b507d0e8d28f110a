package reach_test

import (
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/berth-net/berth/internal/core/policy"
	"github.com/berth-net/berth/internal/core/policy/reach"
	"github.com/berth-net/berth/internal/testkit/policyworld"
)

func app(name string) *policy.Selector {
	return policy.NewSelector(policy.Requirement{Key: "app", Operator: policy.In, Values: []string{name}})
}

func pod(name, label, addr string) policy.Pod {
	p := policy.Pod{
		Namespace: "x", Name: name, Labels: map[string]string{"app": label}, Node: "n",
		Ports: []policy.NamedPort{{Name: "http", Protocol: policy.TCP, Number: 80}, {Name: "dns", Protocol: policy.UDP, Number: 53}},
	}
	if addr != "" {
		p.Addrs = []netip.Addr{netip.MustParseAddr(addr)}
	}
	return p
}

// world has pods of a web that only friends reach at tcp 80, and of whom one has no address yet.
func world() *policy.World {
	web := policy.Policy{
		Ref: policy.Ref{Kind: "NetworkPolicy", Namespace: "x", Name: "web"}, Tier: policy.Network,
		Subject: policy.Pods{Namespace: "x", Pods: app("web")}, Isolates: [2]bool{policy.Ingress: true},
	}
	web.Rules[policy.Ingress] = []policy.Rule{
		{Action: policy.Accept, AnyPort: true, Peers: []policy.Peer{{Network: &policy.Block{CIDR: netip.MustParsePrefix("192.0.2.0/24")}}}},
		{Action: policy.Accept, Ports: []policy.Port{{Protocol: policy.TCP, First: 80, Last: 80}}, Peers: []policy.Peer{{Pods: &policy.Pods{Namespace: "x", Pods: app("friend")}}}},
	}
	first := policy.Policy{
		Ref: policy.Ref{Kind: "ClusterNetworkPolicy.policy.networking.k8s.io", Name: "quarantine"}, Tier: policy.Admin, Priority: 7,
		Subject: policy.Pods{Namespaces: policy.NewSelector(), Pods: app("bad")},
	}
	first.Rules[policy.Egress] = []policy.Rule{{Name: "nothing", Action: policy.Deny, AnyPeer: true, AnyPort: true}}
	w := &policy.World{
		Namespaces: map[string]map[string]string{"x": {}},
		Pods: []policy.Pod{
			pod("web", "web", "10.0.0.1"), pod("friend", "friend", "10.0.0.2"), pod("other", "other", "10.0.0.3"), pod("bad", "bad", "10.0.0.4"), pod("new", "friend", ""),
			{Namespace: "x", Name: "proxy", Node: "n", HostNetwork: true, Addrs: []netip.Addr{netip.MustParseAddr("10.0.1.1")}},
			{Namespace: "x", Name: "starting", Node: "n", HostNetwork: true},
		},
		Nodes:    []policy.Node{{Name: "n", Addrs: []netip.Addr{netip.MustParseAddr("10.0.1.1")}}},
		Policies: []policy.Policy{web, first},
	}
	reach.Place(w)
	return w
}

// ask traces "from to port".
func ask(w *policy.World, from, to, port string) (reach.Answer, error) {
	a, err := reach.FindEnd(w, from)
	if err != nil {
		return reach.Answer{}, err
	}
	b, err := reach.FindEnd(w, to)
	if err != nil {
		return reach.Answer{}, err
	}
	number, err := reach.FindPort(b, policy.TCP, port)
	if err != nil {
		return reach.Answer{}, err
	}
	return reach.Trace(w, reach.Question{From: a, To: b, Protocol: policy.TCP, Port: number})
}

func TestTrace(t *testing.T) {
	for name, test := range map[string]struct {
		from, to, port  string
		allowed         bool
		egress, ingress string // what decided: field of policy, or why
		note            string
	}{
		"a rule accepts":                        {"x/friend", "x/web", "80", true, "allowed: no policy selects it for egress", "NetworkPolicy x/web spec.ingress[1]", ""},
		"a port by its name":                    {"x/friend", "x/web", "http", true, "allowed: no policy selects it for egress", "NetworkPolicy x/web spec.ingress[1]", ""},
		"another port":                          {"x/friend", "x/web", "81", false, "allowed: no policy selects it for egress", "NetworkPolicy x/web isolated, and no rule of a policy that selects it accepts this ingress", ""},
		"another pod":                           {"x/other", "x/web", "80", false, "allowed: no policy selects it for egress", "NetworkPolicy x/web isolated, and no rule of a policy that selects it accepts this ingress", ""},
		"a pod by its address":                  {"10.0.0.3", "10.0.0.1", "80", false, "allowed: no policy selects it for egress", "NetworkPolicy x/web isolated, and no rule of a policy that selects it accepts this ingress", ""},
		"an address of a block":                 {"192.0.2.1", "x/web", "9", true, "no policy is asked: the address is no pod's", "NetworkPolicy x/web spec.ingress[0]", ""},
		"denied before it leaves":               {"x/bad", "x/other", "9", false, "ClusterNetworkPolicy.policy.networking.k8s.io quarantine spec.egress[0]", "allowed: no policy selects it for ingress", ""},
		"to the outside":                        {"x/other", "192.0.2.1", "9", true, "allowed: no policy selects it for egress", "no policy is asked: the address is no pod's", "if it is a Service's"},
		"the pod's own node":                    {"x/proxy", "x/web", "9", true, "no policy is asked: the destination's own node sends this", "no policy is asked: the destination's own node sends this", "passes by origin"},
		"a pod that has no address yet":         {"x/new", "x/web", "80", true, "allowed: no policy selects it for egress", "NetworkPolicy x/web spec.ingress[1]", "has no address yet"},
		"to a pod that uses the host's network": {"x/other", "x/proxy", "80", true, "allowed: no policy selects it for egress", "no policy is asked: the pod uses the host's network", "uses the host's network"},
	} {
		t.Run(name, func(t *testing.T) {
			a, err := ask(world(), test.from, test.to, test.port)
			if err != nil {
				t.Fatal(err)
			}
			got := []any{a.Allowed, decided(a.Paths[0].Egress), decided(a.Paths[0].Ingress)}
			if d := cmp.Diff([]any{test.allowed, test.egress, test.ingress}, got); d != "" {
				t.Error(d)
			}
			if all := strings.Join(a.Notes, "\n"); !strings.Contains(all, test.note) {
				t.Errorf("notes %q, want one with %q", all, test.note)
			}
		})
	}
}

func decided(s reach.Side) string {
	if s.Policy == nil {
		return s.Why
	}
	by := policy.Ref{Kind: s.Policy.Kind, Namespace: s.Policy.Namespace, Name: s.Policy.Name}.String()
	if s.Field != "" {
		return by + " " + s.Field
	}
	return by + " " + s.Why
}

func TestQuestionsThatHaveNoAnswer(t *testing.T) {
	for name, test := range map[string]struct{ from, to, port, want string }{
		"a pod that is not there":           {"x/frien", "x/web", "80", "there is no pod x/frien: namespace x has friend"},
		"a namespace without pods":          {"y/a", "x/web", "80", "namespace y has no pod that runs"},
		"no pod and no address":             {"web", "x/web", "80", "neither namespace/pod nor an address"},
		"the pod itself":                    {"x/web", "x/web", "80", "both sides"},
		"no family in common":               {"fd00::1", "x/web", "80", "no family of addresses in common"},
		"a name that the pod does not have": {"x/friend", "x/web", "https", "it has http (tcp 80), dns (udp 53)"},
		"a name of another protocol":        {"x/friend", "x/web", "dns", "no tcp port"},
		"a name at an address":              {"x/friend", "192.0.2.1", "http", "give the number"},
		"port 0":                            {"x/friend", "x/web", "0", "is no port"},
		"port 65536":                        {"x/friend", "x/web", "65536", "is no port"},
		"a pod of the host's network, new":  {"x/starting", "x/web", "80", "has no address yet"},
		"an address with a zone":            {"fe80::1%eth0", "x/web", "80", "has a zone"},
	} {
		t.Run(name, func(t *testing.T) {
			if a, err := ask(world(), test.from, test.to, test.port); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%+v %v, want %q", a, err, test.want)
			}
		})
	}
}

// TestTraceSaysWhatTheWholeWorldSays: leaving out what has no say changes no verdict.
func TestTraceSaysWhatTheWholeWorldSays(t *testing.T) {
	for seed := range uint64(150) {
		w := policyworld.New(seed, policyworld.Small())
		r := rand.New(rand.NewPCG(seed, 1))
		for _, p := range policyworld.Packets(w, r, 60) {
			from, err1 := reach.FindEnd(w, p.From.String())
			to, err2 := reach.FindEnd(w, p.To.String())
			if err1 != nil || err2 != nil {
				t.Fatal(err1, err2)
			}
			if p.From == p.To || p.From.Is4() != p.To.Is4() || from.Pod != nil && from.Pod == to.Pod {
				continue
			}
			a, err := reach.Trace(w, reach.Question{From: from, To: to, Protocol: p.Protocol, Port: p.Port})
			if err != nil {
				t.Fatal(err)
			}
			p.FromHost = a.Paths[0].Egress.Why == "no policy is asked: the destination's own node sends this"
			if want := policy.Evaluate(w, p); want.Allowed != a.Allowed || want.Egress.Asked != a.Paths[0].Egress.Asked || want.Ingress.Asked != a.Paths[0].Ingress.Asked {
				t.Fatalf("seed %d %+v: %+v, the whole world says %+v", seed, p, a, want)
			}
		}
	}
}

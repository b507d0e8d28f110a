package policy_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/berth-net/berth/internal/core/policy"
)

func TestPolicyText(t *testing.T) {
	web := accept(only(own("x", podA), pods(everyone, has("app", "web")), block("10.0.0.0/8", "10.1.0.0/16", "10.2.0.0/16"), policy.Peer{Nodes: everyone}, policy.Peer{Domain: "*.example.com"}),
		tcp(80, 80), tcp(8000, 8080), named(policy.UDP, "dns"), policy.Port{Protocol: policy.SCTP, Last: 65535})
	web.Name = "web"
	both := np("p", podA, in, accept(nil), policy.Rule{Action: policy.Accept})
	both.Isolates[out], both.Rules[out] = true, []policy.Rule{web}
	for name, test := range map[string]struct {
		policy policy.Policy
		want   string
	}{
		"a policy of namespaces": {both, `NetworkPolicy x/p: Network, for pods [pod in (a)] of namespace x, isolates ingress and egress
  ingress 0: accept any port from any
  ingress 1: accept no port from nobody
  egress 0 "web": accept tcp 80, tcp 8000-8080, udp "dns", sctp to pods [pod in (a)] of namespace x; pods [app in (web)] of namespaces []; 10.0.0.0/8 except 10.1.0.0/16, 10.2.0.0/16; nodes []; *.example.com
`},
		"a policy of the cluster": {cnp("c", policy.Admin, 10, deny(nil, tcp(1, 2)), pass(only(block("::/0")))), `ClusterNetworkPolicy c: Admin 10, for pods [] of namespaces []
  ingress 0: deny tcp 1-2 from any
  ingress 1: pass any port from ::/0
`},
		"nothing": {policy.Policy{Ref: policy.Ref{Kind: "K", Name: "n"}, Tier: policy.Network}, "K n: Network, for pods [<none>] of namespaces [<none>], isolates nothing\n"},
	} {
		t.Run(name, func(t *testing.T) {
			if d := cmp.Diff(test.want, test.policy.String()); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestDecisionText(t *testing.T) {
	ref := policy.Ref{Kind: "NetworkPolicy", Namespace: "x", Name: "p"}
	for want, d := range map[string]policy.Decision{
		"allow by default": {Allowed: true, Tier: policy.Default, Rule: -1},
		"deny by NetworkPolicy x/p: isolated, and no policy allows it": {Tier: policy.Network, Policy: ref, Rule: -1},
		`allow by NetworkPolicy x/p rule 1 "web"`:                      {Allowed: true, Tier: policy.Network, Policy: ref, Rule: 1, Name: "web", Action: policy.Accept},
		"deny by CNP c rule 0":                                         {Tier: policy.Admin, Policy: policy.Ref{Kind: "CNP", Name: "c"}, Action: policy.Deny},
	} {
		if got := d.String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

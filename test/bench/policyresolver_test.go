package bench

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/berth-net/berth/internal/core/policy"
	"github.com/berth-net/berth/internal/core/policy/compile"
)

const resolverPods = 10_000

// policyResolver is the resolver by itself, which every agent has. All pods are on its node, so that every policy is in use and each pod is
// both subject and peer: what resolving for the whole cluster in one place would be. No node has as many.
func policyResolver(t *testing.T) []row {
	var first, changed []time.Duration
	for range 5 {
		c := compile.New(compile.Options{})
		began := time.Now()
		resolverCluster(c)
		n := len(c.Flush())
		first = append(first, time.Since(began))
		t.Logf("first resolution: %d changes of maps in %s", n, first[len(first)-1])
		for i := range 200 { // a pod becomes one of another workload
			p := resolverPod(i)
			p.Labels = resolverPod(i + 100).Labels
			began := time.Now()
			c.SetPod(compile.Key(p.Name), p)
			c.Flush()
			changed = append(changed, time.Since(began))
		}
	}
	return []row{
		{"resolver: 10,000 pods and 1,000 policies, first resolution, p50 of 5", percentile(first, 50).Seconds(), "s", none, 2, false},
		{"resolver: one pod of 10,000 changed, p50", ms(percentile(changed, 50)), "ms", none, 5, false},
		{"resolver: one pod of 10,000 changed, p99", ms(percentile(changed, 99)), "ms", none, 5, false},
	}
}

func resolverCluster(c *compile.Compiler) {
	for i := range 100 {
		c.SetNamespace(fmt.Sprint("n", i), map[string]string{"team": fmt.Sprint(i % 7)})
	}
	for i := range policies {
		c.SetPolicy(resolverPolicy(i))
	}
	for i := range resolverPods {
		p := resolverPod(i)
		c.SetPod(compile.Key(p.Name), p)
		c.SetLocal(uint32(i), compile.Key(p.Name))
	}
}

// resolverPod is one of a hundred namespaces and ten workloads in each; half have a label of their own, as those of stateful sets.
func resolverPod(i int) policy.Pod {
	labels := map[string]string{"app": fmt.Sprint("a", i/100%10)}
	if i%2 == 0 {
		labels["pod-name"] = fmt.Sprint("p", i)
	}
	return policy.Pod{
		Namespace: fmt.Sprint("n", i%100), Name: fmt.Sprint("p", i), Labels: labels, Addrs: []netip.Addr{netip.AddrFrom4([4]byte{10, 16, byte(i >> 8), byte(i)})},
		Ports: []policy.NamedPort{{Name: "web", Protocol: policy.TCP, Number: 8080}},
	}
}

// resolverPolicy lets one workload be reached by another of its namespace, and by a third of all namespaces of a team.
func resolverPolicy(i int) policy.Policy {
	app := func(i int) *policy.Selector {
		return policy.NewSelector(policy.Requirement{Key: "app", Operator: policy.In, Values: []string{fmt.Sprint("a", i%10)}})
	}
	namespace := fmt.Sprint("n", i%100)
	team := policy.NewSelector(policy.Requirement{Key: "team", Operator: policy.In, Values: []string{fmt.Sprint(i % 7)}})
	p := policy.Policy{
		Ref: policy.Ref{Kind: "NetworkPolicy", Namespace: namespace, Name: fmt.Sprint("p", i)}, Tier: policy.Network,
		Subject: policy.Pods{Namespace: namespace, Pods: app(i / 100)}, Isolates: [2]bool{true, true},
	}
	near, far := policy.Pods{Namespace: namespace, Pods: app(i/100 + 1)}, policy.Pods{Namespaces: team, Pods: app(i/100 + 2)}
	block := policy.Block{CIDR: netip.PrefixFrom(netip.AddrFrom4([4]byte{172, 16, byte(i), 0}), 24)}
	ports := []policy.Port{{Protocol: policy.TCP, First: 80, Last: 80}, {Protocol: policy.TCP, Name: "web"}}
	p.Rules[policy.Ingress] = []policy.Rule{{Action: policy.Accept, Peers: []policy.Peer{{Pods: &near}, {Pods: &far}}, Ports: ports}}
	p.Rules[policy.Egress] = []policy.Rule{{Action: policy.Accept, Peers: []policy.Peer{{Pods: &near}, {Network: &block}}, AnyPort: true}}
	return p
}

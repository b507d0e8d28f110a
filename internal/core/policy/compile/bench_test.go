package compile_test

import (
	"fmt"
	"net/netip"
	"runtime"
	"testing"

	"github.com/berth-net/berth/internal/core/policy"
	"github.com/berth-net/berth/internal/core/policy/compile"
)

// cluster tells a compiler of pods in a hundred namespaces, of ten kinds each, of which half have a label of their own as those of jobs
// and stateful sets, and of policies that each let one kind reach another, of all namespaces by turns.
func cluster(c *compile.Compiler, pods, policies, locals int) {
	for i := range 100 {
		c.SetNamespace(fmt.Sprint("n", i), map[string]string{"kubernetes.io/metadata.name": fmt.Sprint("n", i), "team": fmt.Sprint(i % 7)})
	}
	for i := range pods {
		c.SetPod(compile.Key(fmt.Sprint(i)), benchPod(i))
	}
	for i := range policies {
		c.SetPolicy(benchPolicy(i, 80))
	}
	for i := range locals {
		c.SetLocal(uint32(i), compile.Key(fmt.Sprint(i)))
	}
}

func benchPod(i int) policy.Pod {
	labels := map[string]string{"app": fmt.Sprint("a", i/100%10), "pod-template-hash": fmt.Sprint(i / 100 % 10)}
	if i%2 == 0 {
		labels["pod-name"] = fmt.Sprint("p", i)
	}
	return policy.Pod{
		Namespace: fmt.Sprint("n", i%100), Name: fmt.Sprint("p", i), Labels: labels,
		Addrs: []netip.Addr{netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})},
		Ports: []policy.NamedPort{{Name: "web", Protocol: policy.TCP, Number: 8080}},
	}
}

func app(i int) *policy.Selector {
	return policy.NewSelector(policy.Requirement{Key: "app", Operator: policy.In, Values: []string{fmt.Sprint("a", i%10)}})
}

func benchPolicy(i int, port uint16) policy.Policy {
	namespace := fmt.Sprint("n", i%100)
	team := policy.NewSelector(policy.Requirement{Key: "team", Operator: policy.In, Values: []string{fmt.Sprint(i % 7)}})
	p := policy.Policy{
		Ref: policy.Ref{Kind: "NetworkPolicy", Namespace: namespace, Name: fmt.Sprint("p", i)}, Tier: policy.Network,
		Subject: policy.Pods{Namespace: namespace, Pods: app(i / 100)}, Isolates: [2]bool{true, true},
	}
	near, far := policy.Pods{Namespace: namespace, Pods: app(i/100 + 1)}, policy.Pods{Namespaces: team, Pods: app(i/100 + 2)}
	block := policy.Block{CIDR: netip.PrefixFrom(netip.AddrFrom4([4]byte{172, 16, byte(i), 0}), 24)}
	p.Rules[policy.Ingress] = []policy.Rule{{Action: policy.Accept, Peers: []policy.Peer{{Pods: &near}, {Pods: &far}}, Ports: []policy.Port{{Protocol: policy.TCP, First: port, Last: port}, {Protocol: policy.TCP, Name: "web"}}}}
	p.Rules[policy.Egress] = []policy.Rule{{Action: policy.Accept, Peers: []policy.Peer{{Pods: &near}, {Network: &block}}, AnyPort: true}}
	return p
}

// BenchmarkFirst resolves a cluster from nothing: on a node with 110 pods, and with every pod local, so that all policies are in use.
func BenchmarkFirst(b *testing.B) {
	for _, locals := range []int{110, 10_000} {
		b.Run(fmt.Sprintf("pods=10000/policies=1000/local=%d", locals), func(b *testing.B) {
			for b.Loop() {
				c := compile.New(compile.Options{})
				cluster(c, 10_000, 1000, locals)
				changes := c.Flush()
				size := c.Size()
				b.ReportMetric(float64(len(changes)), "changes")
				b.ReportMetric(float64(size.Rows), "rows")
				b.ReportMetric(float64(size.Classes), "classes")
			}
		})
	}
}

// BenchmarkChange is one change to a cluster of which all policies are in use.
func BenchmarkChange(b *testing.B) {
	for _, locals := range []int{110, 10_000} {
		c := compile.New(compile.Options{})
		cluster(c, 10_000, 1000, locals)
		c.Flush()
		name := fmt.Sprintf("/pods=10000/policies=1000/local=%d", locals)
		b.Run("pod comes and goes"+name, func(b *testing.B) {
			for b.Loop() {
				c.SetPod("new", benchPod(20_101))
				n := len(c.Flush())
				c.DeletePod("new")
				c.Flush()
				b.ReportMetric(float64(n), "changes")
			}
		})
		b.Run("policy"+name, func(b *testing.B) {
			port := uint16(100)
			for b.Loop() {
				port = 201 - port // 100 and 101 by turns
				c.SetPolicy(benchPolicy(0, port))
				b.ReportMetric(float64(len(c.Flush())), "changes")
			}
		})
	}
}

// BenchmarkMemory is what a compiler of a large cluster keeps on a node with 110 pods.
func BenchmarkMemory(b *testing.B) {
	for b.Loop() {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		c := compile.New(compile.Options{})
		cluster(c, 30_000, 1000, 110)
		c.Flush()
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/1e6, "MB")
		runtime.KeepAlive(c)
	}
}

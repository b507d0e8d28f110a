package compile_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/berth-net/berth/internal/core/policy"
	"github.com/berth-net/berth/internal/core/policy/compile"
	"github.com/berth-net/berth/internal/core/policy/tables"
)

// everywhere selects all pods of namespace n.
func everywhere() policy.Pods { return policy.Pods{Namespace: "n", Pods: policy.NewSelector()} }

// listing accepts a port from all pods of the namespace, and isolates them.
func listing(ports ...policy.Port) policy.Policy {
	subject := everywhere()
	p := policy.Policy{Ref: policy.Ref{Kind: "NetworkPolicy", Namespace: "n", Name: "p"}, Tier: policy.Network, Subject: subject, Isolates: [2]bool{true, false}}
	p.Rules[policy.Ingress] = []policy.Rule{{Action: policy.Accept, Peers: []policy.Peer{{Pods: &subject}}, Ports: ports}}
	return p
}

// podAt is the pod of a number: they have one after the other address from 10.0.0.0.
func podAt(i int) policy.Pod {
	return policy.Pod{
		Namespace: "n", Name: fmt.Sprint("p", i), Labels: map[string]string{"app": "a"},
		Addrs: []netip.Addr{netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})},
	}
}

func everyOtherPort(n int) []policy.Port {
	var ports []policy.Port
	for i := range n {
		ports = append(ports, policy.Port{Protocol: policy.TCP, First: uint16(2*i + 1), Last: uint16(2*i + 1)})
	}
	return ports
}

// compiled is what the tables hold of pods of which the first is local, under a policy.
func compiled(pods int, p policy.Policy) (*compile.Compiler, *tables.Contents) {
	c := compile.New(compile.Options{})
	for i := range pods {
		c.SetPod(compile.Key(fmt.Sprint(i)), podAt(i))
	}
	c.SetPolicy(p)
	c.SetLocal(1, "0")
	contents := &tables.Contents{}
	contents.Apply(c.Flush())
	return c, contents
}

func TestThousandPortRangesAreAllKept(t *testing.T) {
	c, contents := compiled(3, listing(everyOtherPort(1000)...))
	if problems := c.Problems(); len(problems) > 0 {
		t.Errorf("problems %v", problems)
	}
	set, other := contents.Pods[1].Ingress, podAt(1).Addrs[0]
	for port := range uint16(2100) {
		want := port < 2000 && port%2 == 1
		if v := contents.Judge(set, other, tables.Key(uint8(policy.TCP), port)); v.Allow != want {
			t.Fatalf("port %d: allowed is %v", port, v.Allow)
		}
	}
}

func TestTooManyPortRangesAreDeniedAndSaid(t *testing.T) {
	c, contents := compiled(3, listing(everyOtherPort(tables.MaxRanges+1)...))
	problems := c.Problems()
	if len(problems) != 1 || len(problems[0].Policies) != 1 || !strings.Contains(problems[0].Why, "ingress") {
		t.Errorf("problems %v", problems)
	}
	set, other := contents.Pods[1].Ingress, podAt(1).Addrs[0]
	for _, port := range []uint16{1, 3, 8191} {
		if v := contents.Judge(set, other, tables.Key(uint8(policy.TCP), port)); v.Allow {
			t.Errorf("port %d is allowed", port)
		}
	}
	p := listing(policy.Port{Protocol: policy.TCP, First: 1, Last: 1})
	c.SetPolicy(p)
	contents.Apply(c.Flush())
	if problems := c.Problems(); len(problems) > 0 {
		t.Errorf("after the policy was mended there still are problems %v", problems)
	}
}

func TestHundredThousandPodsBehindOneSelector(t *testing.T) {
	const pods = 100_000
	c, contents := compiled(pods, listing(policy.Port{Protocol: policy.TCP, First: 80, Last: 80}))
	if size := c.Size(); size.Peers != pods || size.Classes != 1 || size.Rows != 1 {
		t.Errorf("size %+v", size)
	}
	for _, i := range []int{1, 255, 65_536, pods - 1} {
		if v := contents.Judge(contents.Pods[1].Ingress, podAt(i).Addrs[0], tables.Key(uint8(policy.TCP), 80)); !v.Allow {
			t.Errorf("pod %d is denied", i)
		}
	}
	c.SetPod("new", podAt(pods))
	if changes := c.Flush(); len(changes) != 1 {
		t.Errorf("one more pod makes %d changes", len(changes))
	}
	p := listing(policy.Port{Protocol: policy.TCP, First: 81, Last: 81})
	c.SetPolicy(p)
	for _, change := range c.Flush() {
		if change.Peer != nil {
			t.Errorf("another port writes %d addresses", len(change.Peer.Addrs))
		}
	}
}

func TestUnknownLocalPodIsDenied(t *testing.T) {
	c := compile.New(compile.Options{})
	c.SetLocal(1, "0")
	var contents tables.Contents
	contents.Apply(c.Flush())
	if v := contents.Judge(contents.Pods[1].Egress, podAt(1).Addrs[0], 0); v.Allow {
		t.Error("a pod that nothing is known of may send")
	}
	c.SetPod("0", podAt(0))
	contents.Apply(c.Flush())
	if contents.Pods[1] != (tables.Pod{}) {
		t.Errorf("without policies it is judged by %+v", contents.Pods[1])
	}
}

func TestDeletedPodKeepsItsPolicyWhileItIsLocal(t *testing.T) {
	c, contents := compiled(2, listing())
	c.DeletePod("0")
	contents.Apply(c.Flush())
	if v := contents.Judge(contents.Pods[1].Ingress, podAt(1).Addrs[0], 0); v.Allow {
		t.Error("the pod is open")
	}
}

// epochs tells whether a flush asks flows to be asked again.
func epochs(c *compile.Compiler) bool {
	for _, change := range c.Flush() {
		if change.Epoch {
			return true
		}
	}
	return false
}

func TestEpochOnlyWhereAFlowMayBeRefused(t *testing.T) {
	c, _ := compiled(2, listing(policy.Port{Protocol: policy.TCP, First: 80, Last: 80}))
	c.SetPod("2", podAt(2))
	if epochs(c) {
		t.Error("a new pod that is only accepted more makes flows ask again")
	}
	other := podAt(2)
	other.Namespace = "other"
	c.SetPod("2", other)
	if !epochs(c) {
		t.Error("a pod that is accepted no more keeps its flows")
	}
	deny := policy.Policy{Ref: policy.Ref{Kind: "C", Name: "deny"}, Tier: policy.Admin, Subject: policy.Pods{Namespaces: policy.NewSelector(), Pods: policy.NewSelector()}}
	subject := policy.Pods{Namespace: "bad", Pods: policy.NewSelector()}
	deny.Rules[policy.Egress] = []policy.Rule{{Action: policy.Deny, AnyPort: true, Peers: []policy.Peer{{Pods: &subject}}}}
	c.SetPolicy(deny)
	c.Flush()
	bad := podAt(3)
	bad.Namespace = "bad"
	c.SetPod("3", bad)
	if !epochs(c) {
		t.Error("flows to an address that turns out to be denied are kept")
	}
}

// TestLongListOfBlocksTakesARowForEachSet: published lists of addresses have thousands of blocks, and other policies allow all addresses.
func TestLongListOfBlocksTakesARowForEachSet(t *testing.T) {
	c := compile.New(compile.Options{})
	const sets, blocks = 30, 5000
	to := func(name string, subject policy.Pods, blocks ...policy.Peer) policy.Policy {
		p := policy.Policy{Ref: policy.Ref{Kind: "NetworkPolicy", Namespace: "n", Name: name}, Tier: policy.Network, Subject: subject, Isolates: [2]bool{false, true}}
		p.Rules[policy.Egress] = []policy.Rule{{Action: policy.Accept, Peers: blocks, AnyPort: true}}
		return p
	}
	var list []policy.Peer
	for i := range blocks {
		a := netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)})
		list = append(list, policy.Peer{Network: &policy.Block{CIDR: netip.PrefixFrom(a, 32)}})
	}
	for i := range sets {
		p := podAt(i)
		p.Labels = map[string]string{"app": fmt.Sprint(i)}
		c.SetPod(compile.Key(fmt.Sprint(i)), p)
		c.SetLocal(uint32(i), compile.Key(fmt.Sprint(i)))
		own := policy.Pods{Namespace: "n", Pods: policy.NewSelector(policy.Requirement{Key: "app", Operator: policy.In, Values: []string{fmt.Sprint(i)}})}
		c.SetPolicy(to(fmt.Sprint("all-", i), own, policy.Peer{Network: &policy.Block{CIDR: netip.MustParsePrefix("0.0.0.0/0")}}))
	}
	c.SetPolicy(to("list", everywhere(), list...))
	contents := &tables.Contents{}
	contents.Apply(c.Flush())
	if s := c.Size(); s.Rows > 3*sets || s.Prefixes != blocks+1 {
		t.Errorf("size %+v", s)
	}
	c.SetPolicy(to("list", everywhere(), list[1:]...))
	for i := range sets {
		c.DeletePolicy(policy.Ref{Kind: "NetworkPolicy", Namespace: "n", Name: fmt.Sprint("all-", i)})
	}
	contents.Apply(c.Flush())
	for i, want := range []bool{false, true} {
		if v := contents.Judge(contents.Pods[7].Egress, list[i].Network.CIDR.Addr(), tables.Key(uint8(policy.TCP), 80)); v.Allow != want {
			t.Errorf("block %d: allowed is %v", i, v.Allow)
		}
	}
	if s := c.Size(); s.Rows > 2*sets || s.Prefixes != blocks-1 {
		t.Errorf("size at last %+v", s)
	}
}

// TestOnePolicyThatIsTooLargeHoldsUpNoOther: what it selects is denied in its direction, the others are in force and change, and it is in
// force itself once it has become smaller or others have.
func TestOnePolicyThatIsTooLargeHoldsUpNoOther(t *testing.T) {
	c := compile.New(compile.Options{Room: compile.Size{Prefixes: 100, Rows: 1000}})
	contents := &tables.Contents{}
	to := func(app string, from, blocks int) policy.Policy {
		own := policy.Pods{Namespace: "n", Pods: policy.NewSelector(policy.Requirement{Key: "app", Operator: policy.In, Values: []string{app}})}
		p := policy.Policy{Ref: policy.Ref{Kind: "NetworkPolicy", Namespace: "n", Name: app}, Tier: policy.Network, Subject: own, Isolates: [2]bool{false, true}}
		r := policy.Rule{Action: policy.Accept, AnyPort: true}
		for i := range blocks {
			a := netip.AddrFrom4([4]byte{198, 18, byte(from), byte(i)})
			r.Peers = append(r.Peers, policy.Peer{Network: &policy.Block{CIDR: netip.PrefixFrom(a, 32)}})
		}
		p.Rules[policy.Egress] = []policy.Rule{r}
		return p
	}
	for i, app := range []string{"large", "small", "other"} {
		p := podAt(i)
		p.Labels = map[string]string{"app": app}
		c.SetPod(compile.Key(app), p)
		c.SetLocal(uint32(i), compile.Key(app))
	}
	expect := func(when string, problems int, want ...bool) {
		t.Helper()
		contents.Apply(c.Flush())
		if got := c.Problems(); len(got) != problems || problems > 0 && (got[0].Policies[0].Name != "large" || !strings.Contains(got[0].Why, "of 100 that this node has room for")) {
			t.Errorf("%s: problems %v", when, got)
		}
		for i, allowed := range want {
			at := netip.AddrFrom4([4]byte{198, 18, byte(i), 0})
			if v := contents.Judge(contents.Pods[uint32(i)].Egress, at, tables.Key(uint8(policy.TCP), 80)); v.Allow != allowed {
				t.Errorf("%s: pod %d: allowed is %v", when, i, v.Allow)
			}
			if contents.Pods[uint32(i)].Ingress != 0 {
				t.Errorf("%s: pod %d: ingress is judged", when, i)
			}
		}
		if len(contents.Blocks) > 100 {
			t.Errorf("%s: %d prefixes", when, len(contents.Blocks))
		}
	}
	c.SetPolicy(to("large", 0, 150))
	c.SetPolicy(to("small", 1, 20))
	expect("at once", 1, false, true, true)
	c.SetPolicy(to("small", 9, 20))
	expect("another changes", 1, false, false, true)
	c.SetPolicy(to("other", 2, 30))
	expect("another comes", 1, false, false, true)
	c.SetPolicy(to("large", 0, 45))
	expect("it is small", 0, true, false, true)
	c.SetPolicy(to("large", 0, 150))
	expect("it grows", 1, false, false, true)
	c.DeletePolicy(to("large", 0, 150).Ref)
	expect("it is gone", 0, true, false, true)
}

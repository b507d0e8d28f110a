package bpf_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/berth-net/berth/internal/bpf"
	"github.com/berth-net/berth/internal/core/policy"
	"github.com/berth-net/berth/internal/core/policy/compile"
	"github.com/berth-net/berth/internal/core/policy/tables"
	"github.com/berth-net/berth/internal/testkit/policyworld"
)

var clusters = flag.Int("agree.clusters", 2000, "how many generated clusters the reference, the compiled tables and the program must agree on")

// TestReferenceTablesAndProgramAgree holds three against each other that share no code: policy.Evaluate, what the compiler writes, and
// the eBPF programs. One compiler and one datapath live through all clusters, as on a node; packets come in every form that the parser
// must get right, and each form is counted: one that was never met, or never with a verdict that it can have, proves nothing. P6, packets
// that are not in one piece, is TestOnTheWire's alone: kernels before 6.19 cannot make such a packet for a program that is run by hand.
func TestReferenceTablesAndProgramAgree(t *testing.T) {
	met := tally{}
	for _, strict := range []bool{false, true} {
		t.Run(map[bool]string{false: "standard", true: "strict"}[strict], func(t *testing.T) {
			n := newNode(t, strict, met)
			for seed := range uint64(*clusters / 2) {
				n.cluster(2*seed + map[bool]uint64{true: 1}[strict])
			}
		})
	}
	if !t.Failed() {
		met.check(t)
	}
}

// agreeing is a node that lives through many clusters.
type agreeing struct {
	t        *testing.T
	d        *bpf.Datapath
	c        *compile.Compiler
	contents tables.Contents
	strict   bool
	met      tally
	memory   []*ebpf.Map // of the datapath: flows and fragments

	*rand.Rand
	seed   uint64
	world  *policy.World
	slots  map[netip.Addr]uint32 // by the address of a pod
	number uint16                // of the last packet
	flows  map[string]bool       // that packets had: no two are of one
	asked  map[string]bool       // of packets without ports, which have no numbers
}

func newNode(t *testing.T, strict bool, met tally) *agreeing {
	t.Helper()
	o := options(mountBPF(t))
	o.Sizes.Rows, o.Sizes.Ranges = 1<<16, 1<<16 // these clusters are all policy
	d := open(t, o)
	t.Cleanup(func() { _ = d.Remove() })
	n := &agreeing{t: t, d: d, c: compile.New(compile.Options{Strict: strict}), strict: strict, met: met, world: &policy.World{}}
	for _, name := range []string{"flows", "frags"} {
		found, err := filepath.Glob(filepath.Join(o.Dir, "flows-v*", name))
		if err != nil || len(found) != 1 {
			t.Fatalf("pins of map %s: %v, %v", name, found, err)
		}
		m, err := ebpf.LoadPinnedMap(found[0], nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = m.Close() })
		n.memory = append(n.memory, m)
	}
	return n
}

// cluster moves the node into another cluster, and asks all three.
func (n *agreeing) cluster(seed uint64) {
	n.t.Helper()
	size := policyworld.Small()
	if seed%8 < 2 {
		size = policyworld.Large()
	}
	w := policyworld.New(seed, size)
	w.Strict = n.strict
	n.Rand, n.seed, n.number, n.asked, n.flows = rand.New(rand.NewPCG(seed, 2)), seed, 0, make(map[string]bool), make(map[string]bool)
	n.become(w)
	changes := n.c.Flush()
	n.contents.Apply(changes)
	apply(n.t, n.d, changes...)
	n.forget()
	for _, p := range policyworld.Packets(w, n.Rand, 80) {
		if p.From == p.To || p.FromHost {
			continue
		}
		if slot := n.slots[p.From]; slot != 0 {
			n.ask(question{n, slot, policy.Egress, p.From, p.To, p.Protocol, p.Port})
		}
		if slot := n.slots[p.To]; slot != 0 {
			n.ask(question{n, slot, policy.Ingress, p.To, p.From, p.Protocol, p.Port})
		}
	}
}

// become tells the compiler that all that was is gone, and of all that is. What is the same in both comes out as no change.
func (n *agreeing) become(w *policy.World) {
	for _, slot := range n.slots {
		n.c.DeleteLocal(slot)
	}
	for _, p := range n.world.Policies {
		n.c.DeletePolicy(p.Ref)
	}
	for _, p := range n.world.Pods {
		n.c.DeletePod(compile.Key(p.Name))
	}
	for _, o := range n.world.Nodes {
		n.c.DeleteNode(o.Name)
	}
	for name := range n.world.Namespaces {
		n.c.DeleteNamespace(name)
	}
	for name := range n.world.Resolved {
		n.c.SetResolved(name, nil)
	}
	for name, labels := range w.Namespaces {
		n.c.SetNamespace(name, labels)
	}
	for name, addrs := range w.Resolved {
		n.c.SetResolved(name, addrs)
	}
	for _, o := range w.Nodes {
		n.c.SetNode(o)
	}
	for _, p := range w.Policies {
		n.c.SetPolicy(p)
	}
	n.slots = make(map[netip.Addr]uint32)
	for i, p := range w.Pods {
		n.c.SetPod(compile.Key(p.Name), p)
		if p.HostNetwork {
			continue
		}
		n.c.SetLocal(uint32(i+1), compile.Key(p.Name))
		for _, a := range p.Addrs {
			n.slots[a] = uint32(i + 1)
		}
	}
	n.world = w
}

// forget empties the flows: the next cluster has the same addresses.
func (n *agreeing) forget() {
	n.t.Helper()
	for _, m := range n.memory {
		var keys [][]byte
		var key, value []byte
		all := m.Iterate()
		for all.Next(&key, &value) {
			keys = append(keys, slices.Clone(key))
		}
		if err := all.Err(); err != nil {
			n.t.Fatal(err)
		}
		for _, key := range keys {
			if err := m.Delete(key); err != nil {
				n.t.Fatal(err)
			}
		}
	}
}

// question is a first packet, seen from a pod of the node.
type question struct {
	n          *agreeing
	slot       uint32
	direction  policy.Direction
	own, other netip.Addr
	protocol   policy.Protocol
	port       uint16
}

func (q question) String() string {
	return fmt.Sprintf("seed %d: %s of %s with %s, %s port %d", q.n.seed, q.direction, q.own, q.other, q.protocol, q.port)
}

// set is by what the pod is judged; zero is nothing.
func (q question) set() tables.Set {
	pod := q.n.contents.Pods[q.slot]
	if q.direction == policy.Egress {
		return pod.Egress
	}
	return pod.Ingress
}

// verdict is what reference and tables say.
func (q question) verdict() bool {
	q.n.t.Helper()
	p := policy.Packet{From: q.other, To: q.own, Protocol: q.protocol, Port: q.port}
	var side policy.Side
	if q.direction == policy.Egress {
		p.From, p.To = q.own, q.other
		side = policy.Evaluate(q.n.world, p).Egress
	} else {
		side = policy.Evaluate(q.n.world, p).Ingress
	}
	compiled := q.n.contents.Judge(q.set(), q.other, tables.Key(uint8(q.protocol), q.port))
	if !side.Asked || side.Allowed != compiled.Allow {
		q.n.t.Fatalf("%s: the reference says %+v, the tables %+v", q, side, compiled)
	}
	return side.Allowed
}

// frame is the question as a packet of a flow of its own.
func (q question) frame() frame {
	for again := true; again; { // a number may be the port that another packet was sent to: then it looks like an answer
		q.n.number++
		from, to := q.n.number, q.port
		if q.direction == policy.Egress {
			from, to = to, from
		}
		key := fmt.Sprint(q.other, q.protocol, from, to)
		again, q.n.flows[key] = q.n.flows[key], true
	}
	f := frame{protocol: q.protocol, sport: q.n.number, dport: q.port, flags: syn, id: q.n.number}
	return f.toward(bpf.Direction(q.direction), q.own, q.other)
}

// is holds the program's verdict on a frame against what it must be.
func (q question) is(form string, f bpf.Frame, want bool) {
	q.n.t.Helper()
	f.Direction = bpf.Direction(q.direction)
	got, err := q.n.d.Judge(q.slot, f)
	if err != nil {
		q.n.t.Fatal(err)
	}
	if got != want {
		q.n.t.Fatalf("%s: as %s the program says %t, want %t", q, form, got, want)
	}
	q.n.met[sort{form, q.own.Is6(), q.direction, want}]++
	if !want {
		q.n.met[sort{"P11 dropped, not rejected", q.own.Is6(), q.direction, false}]++ // Judge knows no third verdict
	}
}

// once tells of a packet without ports whether it is the first with the other side: Judge has one interface for all pods, and flows are
// an interface's.
func (q question) once() bool {
	key := fmt.Sprint(q.other, q.protocol)
	if q.n.asked[key] {
		return false
	}
	q.n.asked[key] = true
	return true
}

// ask asks about the packet as it is, and in one of the other forms.
func (n *agreeing) ask(q question) {
	n.t.Helper()
	switch q.protocol {
	case policy.TCP, policy.UDP, policy.SCTP:
		q.is("P4 "+strings.ToUpper(q.protocol.String()), bpf.Frame{Data: q.frame().bytes()}, q.verdict())
		forms := formsOf(q)
		forms[n.IntN(len(forms))](q)
	default:
		if q.once() {
			want := q.verdict()
			f := q.frame()
			f.transport = append([]byte{3, 0, 0, 0}, make([]byte, 60)...) // to ICMP it is an error about nothing
			if q.protocol == 255 && q.own.Is6() {                         // reserved: to the program a header that nobody knows
				q.is("P5 nine, or an unknown one", bpf.Frame{Data: f.bytes()}, !q.policed())
				return
			}
			q.is("P4 without ports", bpf.Frame{Data: f.bytes()}, want)
		}
	}
	if slices.ContainsFunc(n.world.Nodes, func(o policy.Node) bool { return slices.Contains(o.Addrs, q.other) }) && q.port != 0 {
		q.is("P9 address of a node, forwarded", bpf.Frame{Data: q.frame().bytes()}, q.verdict())
	}
}

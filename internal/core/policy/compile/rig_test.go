package compile_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/berth-net/berth/internal/core/policy"
	"github.com/berth-net/berth/internal/core/policy/compile"
	"github.com/berth-net/berth/internal/core/policy/tables"
	"github.com/berth-net/berth/internal/testkit/policyworld"
)

// rig is a world, a compiler that was told of it, and what its changes have left in the tables.
type rig struct {
	t        testing.TB
	rand     *rand.Rand
	world    *policy.World
	c        *compile.Compiler
	contents tables.Contents
	slots    map[string]uint32 // of local pods, by name
	nextSlot uint32
	said     string // what was last done, for failures
}

func newRig(t testing.TB, seed uint64, strict bool) *rig {
	t.Helper()
	return &rig{
		t: t, rand: rand.New(rand.NewPCG(seed, 1)), c: compile.New(compile.Options{Strict: strict}), slots: make(map[string]uint32),
		world: &policy.World{Strict: strict, Namespaces: make(map[string]map[string]string), Resolved: make(map[string][]netip.Addr)},
	}
}

// become tells the compiler of all that differs in another world, in any order. Local says which of its pods are.
func (r *rig) become(w *policy.World, local map[string]bool) {
	var ops []func()
	add := func(op func()) { ops = append(ops, op) }
	keep := make(map[string]bool)
	for _, p := range w.Pods {
		keep["pod "+p.Name] = true
		add(func() { r.c.SetPod(compile.Key(p.Name), p) })
	}
	for _, p := range r.world.Pods {
		if !keep["pod "+p.Name] {
			add(func() { r.c.DeletePod(compile.Key(p.Name)) })
		}
	}
	for _, n := range w.Nodes {
		keep["node "+n.Name] = true
		add(func() { r.c.SetNode(n) })
	}
	for _, n := range r.world.Nodes {
		if !keep["node "+n.Name] {
			add(func() { r.c.DeleteNode(n.Name) })
		}
	}
	for _, p := range w.Policies {
		keep[p.Ref.String()] = true
		add(func() { r.c.SetPolicy(p) })
	}
	for _, p := range r.world.Policies {
		if !keep[p.Ref.String()] {
			add(func() { r.c.DeletePolicy(p.Ref) })
		}
	}
	ops = append(ops, r.mapOps(w)...)
	ops = append(ops, r.localOps(local)...)
	r.rand.Shuffle(len(ops), func(i, j int) { ops[i], ops[j] = ops[j], ops[i] })
	for _, op := range ops {
		op()
	}
	r.world = w
}

func (r *rig) mapOps(w *policy.World) (ops []func()) {
	for name, labels := range w.Namespaces {
		ops = append(ops, func() { r.c.SetNamespace(name, labels) })
	}
	for name := range r.world.Namespaces {
		if _, ok := w.Namespaces[name]; !ok {
			ops = append(ops, func() { r.c.DeleteNamespace(name) })
		}
	}
	for name, addrs := range w.Resolved {
		ops = append(ops, func() { r.c.SetResolved(name, addrs) })
	}
	for name := range r.world.Resolved {
		if _, ok := w.Resolved[name]; !ok {
			ops = append(ops, func() { r.c.SetResolved(name, nil) })
		}
	}
	return ops
}

func (r *rig) localOps(local map[string]bool) (ops []func()) {
	for name, slot := range r.slots {
		if !local[name] {
			ops = append(ops, func() { r.c.DeleteLocal(slot) })
		}
	}
	maps.DeleteFunc(r.slots, func(name string, _ uint32) bool { return !local[name] })
	for _, name := range slices.Sorted(maps.Keys(local)) {
		if _, ok := r.slots[name]; !ok {
			r.nextSlot++
			r.slots[name] = r.nextSlot
		}
		slot := r.slots[name]
		ops = append(ops, func() { r.c.SetLocal(slot, compile.Key(name)) })
	}
	return ops
}

// flush brings the tables up to date.
func (r *rig) flush() []tables.Change {
	changes := r.c.Flush()
	r.contents.Apply(changes)
	return changes
}

// question is what a local pod is asked: may it talk to another, or the other to it?
type question struct {
	pod       string
	direction policy.Direction
	other     netip.Addr
	protocol  policy.Protocol
	port      uint16
}

func (q question) String() string {
	return fmt.Sprintf("%s of %s with %s, %s port %d", q.direction, q.pod, q.other, q.protocol, q.port)
}

// questions are those that packets ask local pods.
func (r *rig) questions(w *policy.World, n int) []question {
	owner := make(map[netip.Addr]string)
	for _, p := range w.Pods {
		for _, a := range p.Addrs {
			if !p.HostNetwork {
				owner[a] = p.Name
			}
		}
	}
	var qs []question
	for _, p := range policyworld.Packets(w, r.rand, n) {
		if p.From == p.To || p.FromHost {
			continue
		}
		if pod := owner[p.From]; r.slots[pod] != 0 {
			qs = append(qs, question{pod, policy.Egress, p.To, p.Protocol, p.Port})
		}
		if pod := owner[p.To]; r.slots[pod] != 0 {
			qs = append(qs, question{pod, policy.Ingress, p.From, p.Protocol, p.Port})
		}
	}
	return qs
}

// evaluate is the reference's answer; asked is false where there is no such pod, or it has no address of the family.
func evaluate(w *policy.World, q question) (d policy.Decision, asked bool) {
	for _, pod := range w.Pods {
		if pod.Name != q.pod || pod.HostNetwork || slices.Contains(pod.Addrs, q.other) {
			continue
		}
		for _, own := range pod.Addrs {
			if own.Is4() != q.other.Is4() {
				continue
			}
			p := policy.Packet{From: own, To: q.other, Protocol: q.protocol, Port: q.port}
			if q.direction == policy.Egress {
				v := policy.Evaluate(w, p)
				return v.Egress.Decision, v.Egress.Asked
			}
			p.From, p.To = q.other, own
			v := policy.Evaluate(w, p)
			return v.Ingress.Decision, v.Ingress.Asked
		}
	}
	return policy.Decision{}, false
}

// set is what a local pod is judged by in a direction.
func (r *rig) set(q question) (tables.Set, bool) {
	pod, ok := r.contents.Pods[r.slots[q.pod]]
	if q.direction == policy.Egress {
		return pod.Egress, ok
	}
	return pod.Ingress, ok
}

func (r *rig) judge(set tables.Set, q question) tables.Verdict {
	return r.contents.Judge(set, q.other, tables.Key(uint8(q.protocol), q.port))
}

// agree asks all questions of the tables and of the reference: verdict, tier, policy and rule must be the same.
func (r *rig) agree(qs []question) {
	r.t.Helper()
	for _, q := range qs {
		want, asked := evaluate(r.world, q)
		if !asked {
			continue
		}
		set, ok := r.set(q)
		if !ok {
			r.t.Fatalf("%s: the pod is not in the tables\n%s", q, r.describe())
		}
		if got, want := r.explain(set, r.judge(set, q)), explainDecision(want); got != want {
			r.t.Fatalf("%s: the tables say %q, the reference %q\n%s", q, got, want, r.describe())
		}
	}
}

func (r *rig) explain(set tables.Set, v tables.Verdict) string {
	switch v.By { //nolint:exhaustive // the others are rules
	case tables.ByDefault:
		return fmt.Sprint(v.Allow, " default")
	case tables.ByIsolation:
		ref, _ := r.c.Isolating(set)
		return fmt.Sprint(v.Allow, " isolated by ", ref)
	}
	rule, ok := r.c.Rule(v.Rule)
	if !ok {
		return fmt.Sprint("unknown rule ", v.Rule)
	}
	return fmt.Sprint(v.Allow, " ", rule.Tier, " ", rule.Policy, " ", rule.Index, " ", rule.Name)
}

func explainDecision(d policy.Decision) string {
	switch {
	case d.Tier == policy.Default:
		return fmt.Sprint(d.Allowed, " default")
	case d.Rule < 0:
		return fmt.Sprint(d.Allowed, " isolated by ", d.Policy)
	}
	return fmt.Sprint(d.Allowed, " ", d.Tier, " ", d.Policy, " ", d.Rule, " ", d.Name)
}

// describe prints the world, for a failure.
func (r *rig) describe() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\nstrict %v, local %v\n", r.said, r.world.Strict, r.slots)
	for _, p := range r.world.Policies {
		fmt.Fprintln(&b, p)
	}
	for _, p := range r.world.Pods {
		fmt.Fprintf(&b, "pod %+v\n", p)
	}
	fmt.Fprintf(&b, "namespaces %v\nnodes %+v\nresolved %v\n", r.world.Namespaces, r.world.Nodes, r.world.Resolved)
	return b.String()
}

// everyPod makes all pods local.
func everyPod(w *policy.World) map[string]bool {
	local := make(map[string]bool)
	for _, p := range w.Pods {
		local[p.Name] = true
	}
	return local
}

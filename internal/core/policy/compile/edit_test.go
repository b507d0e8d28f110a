package compile_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/berth-net/berth/internal/core/policy"
	"github.com/berth-net/berth/internal/core/policy/compile"
	"github.com/berth-net/berth/internal/core/policy/tables"
	"github.com/berth-net/berth/internal/testkit/policyworld"
)

// blend takes one in n of what differs over from another world. Of two pods with one address the one from there stays.
func blend(r *rand.Rand, was, other *policy.World, n int) *policy.World {
	w := &policy.World{Strict: was.Strict}
	taken := func() bool { return r.IntN(n) == 0 }
	w.Pods = mix(was.Pods, other.Pods, func(p policy.Pod) string { return p.Name }, taken)
	w.Pods = withoutConflicts(w.Pods)
	w.Nodes = mix(was.Nodes, other.Nodes, func(n policy.Node) string { return n.Name }, taken)
	w.Policies = mix(was.Policies, other.Policies, func(p policy.Policy) policy.Ref { return p.Ref }, taken)
	w.Namespaces = mixMaps(was.Namespaces, other.Namespaces, taken)
	w.Resolved = mixMaps(was.Resolved, other.Resolved, taken)
	return w
}

// mix puts what is taken before what stays.
func mix[E any, K comparable](was, other []E, key func(E) K, taken func() bool) []E {
	var all []E
	decided := make(map[K]bool)
	theirs := make(map[K]bool)
	for _, e := range other {
		theirs[key(e)] = true
		if taken() {
			all = append(all, e)
			decided[key(e)] = true
		}
	}
	for _, e := range was {
		if !decided[key(e)] && (theirs[key(e)] || !taken()) {
			all = append(all, e)
		}
	}
	return all
}

func mixMaps[V any](was, other map[string]V, taken func() bool) map[string]V {
	all := maps.Clone(was)
	if all == nil {
		all = make(map[string]V)
	}
	for _, key := range slices.Sorted(maps.Keys(was)) {
		if _, ok := other[key]; !ok && taken() {
			delete(all, key)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(other)) {
		if taken() {
			all[key] = other[key]
		}
	}
	return all
}

func withoutConflicts(pods []policy.Pod) []policy.Pod {
	seen := make(map[netip.Addr]bool)
	return slices.DeleteFunc(pods, func(p policy.Pod) bool {
		if p.HostNetwork {
			return false
		}
		if slices.ContainsFunc(p.Addrs, func(a netip.Addr) bool { return seen[a] }) {
			return true
		}
		for _, a := range p.Addrs {
			seen[a] = true
		}
		return false
	})
}

// somePods are local pods: those that were stay with the odds of n-1 in n.
func somePods(r *rand.Rand, w *policy.World, was map[string]uint32, n int) map[string]bool {
	local := make(map[string]bool)
	for _, p := range w.Pods {
		_, is := was[p.Name]
		if is != (r.IntN(n) == 0) {
			local[p.Name] = true
		}
	}
	return local
}

// watch is a question with what it was and what it will be answered.
type watch struct {
	question
	allowed []bool
	slot    uint32
}

// watches are questions to pods that stay local and keep an address of the family.
func (r *rig) watches(qs []question, before *policy.World) []watch {
	var ws []watch
	for _, q := range qs {
		old, asked := evaluate(before, q)
		now, asks := evaluate(r.world, q)
		if _, told := r.set(q); !told || !asked || !asks {
			continue
		}
		w := watch{question: q, slot: r.slots[q.pod], allowed: []bool{old.Allowed, now.Allowed}}
		ws = append(ws, w)
	}
	return ws
}

// step edits the world and flushes: after each change each answer is the old or the new one.
func (r *rig) step(w *policy.World, local map[string]bool) {
	r.t.Helper()
	before := r.world
	qs := r.questions(before, 60)
	r.become(w, local)
	qs = slices.DeleteFunc(append(qs, r.questions(w, 60)...), func(q question) bool { return r.slots[q.pod] == 0 })
	ws := r.watches(qs, before)
	changes := r.c.Flush()
	r.tornReaders(changes, ws)
	for i, change := range changes {
		r.contents.Apply([]tables.Change{change})
		for _, w := range ws {
			set, _ := r.set(w.question)
			if v := r.judge(set, w.question); !slices.Contains(w.allowed, v.Allow) {
				r.t.Fatalf("%s: after change %d of %d (%s) allowed is %v, neither what it was nor what it will be\n%s",
					w, i, len(changes), changeText(change), v.Allow, r.describe())
			}
		}
	}
	r.agree(r.questions(w, 100))
	if again := r.flush(); len(again) > 0 {
		r.t.Fatalf("a flush after nothing makes %d changes\n%s", len(again), r.describe())
	}
}

// tornReaders reads as a packet does while the tables are written: its set, then the class, then the row, then the ranges, with writes
// between them, but not beyond a wait.
func (r *rig) tornReaders(changes []tables.Change, ws []watch) {
	if len(ws) == 0 || len(changes) == 0 {
		return
	}
	states := []tables.Contents{clone(r.contents)}
	waits := []int{0} // at which state the readers of a state must have ended
	for _, change := range changes {
		next := clone(states[len(states)-1])
		next.Apply([]tables.Change{change})
		states = append(states, next)
		waits = append(waits, 0)
	}
	end := len(states) - 1
	for i := end; i >= 0; i-- {
		waits[i] = end
		if i < end && changes[i].Wait {
			waits[i] = i
		} else if i < end {
			waits[i] = waits[i+1]
		}
	}
	for range 40 {
		w := ws[r.rand.IntN(len(ws))]
		var at [4]int
		at[0] = r.rand.IntN(len(states))
		for i := range at[1:] {
			at[i+1] = at[i] + r.rand.IntN(waits[at[0]]-at[i]+1)
		}
		pod, ok := states[at[0]].Pods[w.slot]
		set := pod.Ingress
		if w.direction == policy.Egress {
			set = pod.Egress
		}
		mixed := tables.Contents{Peers: states[at[1]].Peers, Blocks: states[at[1]].Blocks, Rows: states[at[2]].Rows, Ranges: states[at[3]].Ranges}
		if v := mixed.Judge(set, w.other, tables.Key(uint8(w.protocol), w.port)); ok && !slices.Contains(w.allowed, v.Allow) {
			r.t.Fatalf("%s: a reader between changes %v of %d finds allowed %v, neither what it was nor what it will be\n%s", w, at, end, v.Allow, r.describe())
		}
	}
}

func clone(c tables.Contents) tables.Contents {
	return tables.Contents{
		Peers: maps.Clone(c.Peers), Blocks: maps.Clone(c.Blocks), Rows: maps.Clone(c.Rows), Ranges: slices.Clone(c.Ranges), Pods: maps.Clone(c.Pods),
	}
}

func changeText(c tables.Change) string {
	switch {
	case c.Ranges != nil:
		return fmt.Sprintf("ranges from %d: %+v", c.Ranges.First, c.Ranges.Ranges)
	case c.Row != nil:
		return fmt.Sprintf("row %+v", *c.Row)
	case c.Peer != nil:
		return fmt.Sprintf("peer %+v", *c.Peer)
	case c.Blocks != nil:
		return fmt.Sprintf("block %+v", *c.Blocks)
	case c.Pod != nil:
		return fmt.Sprintf("pod %+v", *c.Pod)
	}
	return fmt.Sprintf("epoch %v, wait %v", c.Epoch, c.Wait)
}

// TestEditsAreMadeBeforeBroken edits clusters at random, by little and by much.
func TestEditsAreMadeBeforeBroken(t *testing.T) {
	for seed := range uint64(*clusters / 10) {
		size := policyworld.Small()
		if seed%10 == 0 {
			size = policyworld.Large()
		}
		w := policyworld.New(seed, size)
		r := newRig(t, seed, w.Strict)
		r.said = "seed " + strconv.FormatUint(seed, 10)
		r.become(w, somePods(r.rand, w, nil, 2))
		r.flush()
		for i := range 10 {
			r.said = fmt.Sprintf("seed %d step %d", seed, i)
			other := policyworld.New(seed+uint64(i)*1_000_003, size)
			next := blend(r.rand, r.world, other, 1+r.rand.IntN(8))
			r.step(next, somePods(r.rand, next, r.slots, 1+r.rand.IntN(8)))
		}
		r.likeFresh(seed)
		r.step(&policy.World{Strict: w.Strict}, nil)
		if diff := cmp.Diff(nothing(), r.c.Census()); diff != "" {
			t.Fatalf("seed %d: after everything was deleted the compiler keeps\n%s", seed, diff)
		}
		if c := r.contents; len(c.Peers)+len(c.Blocks)+len(c.Rows)+len(c.Pods) > 0 {
			t.Fatalf("seed %d: after everything was deleted the tables hold %+v", seed, c)
		}
	}
}

func nothing() map[string]int {
	census := compile.New(compile.Options{}).Census()
	for _, of := range []string{"sets of atoms", "classes of atoms", "sets of cidrs", "blocks of cidrs", "references of cidrs", "rows of lists"} {
		delete(census, of)
	}
	return census
}

// likeFresh compares with a compiler that was told only of what is there now.
func (r *rig) likeFresh(seed uint64) {
	r.t.Helper()
	local := make(map[string]bool)
	for name := range r.slots {
		local[name] = true
	}
	fresh := newRig(r.t, seed, r.world.Strict)
	fresh.slots, fresh.nextSlot = maps.Clone(r.slots), r.nextSlot
	fresh.become(r.world, local)
	fresh.flush()
	if diff := cmp.Diff(fresh.canonical(), r.canonical()); diff != "" {
		r.t.Fatalf("tables differ from those of a compiler that knows nothing else (- fresh, + edited)\n%s\n%s", diff, r.describe())
	}
	if diff := cmp.Diff(fresh.c.Census(), r.c.Census()); diff != "" {
		r.t.Fatalf("the compiler keeps more or less than one that knows nothing else (- fresh, + edited)\n%s\n%s", diff, r.describe())
	}
	if diff := cmp.Diff(fresh.c.Size(), r.c.Size()); diff != "" {
		r.t.Fatalf("sizes (- fresh, + edited)\n%s", diff)
	}
}

// canonical is what the tables hold, with names in the place of numbers: of a class its addresses, of a block its prefixes, of a set
// its interfaces.
func (r *rig) canonical() []string {
	sets, classes, blocks := make(map[tables.Set]string), map[uint32]string{0: "any"}, make(map[uint32]string)
	for _, slot := range slices.Sorted(maps.Keys(r.contents.Pods)) {
		pod := r.contents.Pods[slot]
		sets[pod.Ingress] += fmt.Sprintf(" to %d", slot)
		sets[pod.Egress] += fmt.Sprintf(" from %d", slot)
	}
	for _, addr := range slices.SortedFunc(maps.Keys(r.contents.Peers), netip.Addr.Compare) {
		classes[uint32(r.contents.Peers[addr])] += " " + addr.String()
	}
	prefixes := slices.SortedFunc(maps.Keys(r.contents.Blocks), func(a, b netip.Prefix) int { return strings.Compare(a.String(), b.String()) })
	for _, p := range prefixes {
		blocks[uint32(r.contents.Blocks[p])] += " " + p.String()
	}
	var lines []string
	for set, name := range sets {
		lines = append(lines, fmt.Sprintf("set%s: flags %x", name, uint32(set)>>29))
	}
	for id, name := range blocks {
		lines = append(lines, fmt.Sprintf("block%s: zero %v", name, id == 0))
	}
	for id, name := range classes {
		lines = append(lines, fmt.Sprintf("class%s: zero %v", name, id == 0))
	}
	for key, row := range r.contents.Rows {
		of := "class" + classes[key.ID]
		if key.OfBlock {
			of = "block" + blocks[key.ID]
		}
		line := fmt.Sprintf("row of%s for %s:", sets[key.Set], of)
		for _, x := range r.contents.Ranges[row.First : row.First+row.Count] {
			line += fmt.Sprintf(" [%x-%x %s %s %s]", x.First, x.Last, r.word(x.Admin), r.word(x.Network), r.word(x.Baseline))
		}
		lines = append(lines, line)
	}
	slices.Sort(lines)
	return lines
}

func (r *rig) word(w tables.Word) string {
	if w == (tables.Word{}) {
		return "-"
	}
	rule, _ := r.c.Rule(w.Rule)
	return fmt.Sprintf("%d/%d/%s#%d", w.Rank, w.Action, rule.Policy, rule.Index)
}

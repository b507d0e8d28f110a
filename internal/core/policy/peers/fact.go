package peers

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/berth-net/berth/internal/core/policy"
)

// namespace is a namespace that has labels or pods.
type namespace struct {
	name    string
	labels  map[string]string
	known   bool
	stale   bool   // its facts are to be matched again
	matched uint64 // the last update that has matched them
	facts   map[*Fact]struct{}
	across  []*atom // of those that select namespaces by labels, the ones that select this one
}

func (x *Index) namespace(name string) *namespace {
	ns, ok := x.namespaces[name]
	if !ok {
		ns = &namespace{name: name, facts: make(map[*Fact]struct{}), stale: true}
		x.namespaces[name] = ns
		x.dirty.spaces = append(x.dirty.spaces, ns)
	}
	return ns
}

// factKind is whose labels a fact is.
type factKind uint8

const (
	podFact factKind = iota
	nodeFact
	nameFact
)

// factKey tells a fact from others: pods that policies cannot tell apart share one.
type factKey [sha256.Size]byte

// Fact is what may be known of an address.
type Fact struct {
	id     uint32
	key    factKey
	kind   factKind
	space  *namespace // of a pod
	labels map[string]string
	ports  []policy.NamedPort
	name   string // that is resolved
	refs   int    // pods, nodes, names, and by Hold
	sig    Signature
	alone  *group   // addresses of which nothing else is known
	with   []*group // addresses of which more is known
	isNew  bool     // has no signature yet
}

// SelectedBy tells whether policies of a subject are for pods of a fact.
func (f *Fact) SelectedBy(s policy.Pods) bool {
	if s.Pods == nil || !s.Pods.Matches(f.labels) {
		return false
	}
	if s.Namespace != "" {
		return s.Namespace == f.space.name
	}
	return s.Namespaces != nil && s.Namespaces.Matches(f.space.labels)
}

// Namespace is that of the pods of a fact.
func (f *Fact) Namespace() string { return f.space.name }

// Numbers are the ports that pods of a fact call by a name, sorted, each once.
func (f *Fact) Numbers(port policy.Port) []uint16 {
	var numbers []uint16
	for _, p := range f.ports {
		if p.Name == port.Name && p.Protocol == port.Protocol {
			numbers = append(numbers, p.Number)
		}
	}
	slices.Sort(numbers)
	return slices.Compact(numbers)
}

// hash is the key of what a fact says. Each text is written with its length.
func (f *Fact) hash(space string) factKey {
	b := make([]byte, 0, 512)
	text := func(s string) {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	b = append(b, byte(f.kind))
	text(space)
	text(f.name)
	b = binary.AppendUvarint(b, uint64(len(f.labels)))
	keys := make([]string, 0, 16)
	for k := range f.labels {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		text(k)
		text(f.labels[k])
	}
	for _, p := range f.ports {
		text(p.Name)
		b = append(b, byte(p.Protocol), byte(p.Number>>8), byte(p.Number))
	}
	return sha256.Sum256(b)
}

// acquireFact is the fact that says the same as a new one, one reference more.
func (x *Index) acquireFact(f Fact, space string) *Fact {
	key := f.hash(space)
	have, ok := x.facts[key]
	if !ok {
		have = &f
		have.key, have.id, have.isNew = key, x.newID(), true
		if f.kind == podFact {
			have.space = x.namespace(space)
			have.space.facts[have] = struct{}{}
		} else {
			x.loose = append(x.loose, have)
		}
		x.facts[key] = have
		x.dirty.facts = append(x.dirty.facts, have)
	}
	have.refs++
	return have
}

// Hold keeps a fact until Release.
func (f *Fact) Hold() { f.refs++ }

// Release gives up what Hold has kept.
func (x *Index) Release(f *Fact) {
	if f == nil {
		return
	}
	if f.refs--; f.refs == 0 {
		x.dirty.unused = append(x.dirty.unused, f)
	}
}

// sweep forgets facts of nothing.
func (x *Index) sweep() {
	for _, f := range x.dirty.unused {
		if f.refs > 0 || x.facts[f.key] != f {
			continue
		}
		delete(x.facts, f.key)
		if f.space == nil {
			x.loose = slices.DeleteFunc(x.loose, func(o *Fact) bool { return o == f })
			continue
		}
		delete(f.space.facts, f)
		x.dirty.spaces = append(x.dirty.spaces, f.space)
	}
	for _, ns := range x.dirty.spaces {
		if len(ns.facts) == 0 && !ns.known {
			delete(x.namespaces, ns.name)
		}
	}
}

// pod is a pod that has addresses of its own, or uses the host's network: then it has no fact.
type pod struct {
	fact  *Fact
	addrs []netip.Addr
}

// named is a node or a domain name.
type named struct {
	fact  *Fact
	addrs []netip.Addr
}

// entry is an address of which something is known.
type entry struct {
	pod   *pod  // that came last
	more  *more // what is rare
	group *group
	index uint32 // in the group
	dirty bool
}

// more is what is known of an address besides one pod. A pod that has an address which another one still has takes it over; when it
// goes first, the other has it back.
type more struct {
	pods  []*pod // that came before, last first
	facts []*Fact
}

// facts of an address, in the order of their ids.
func (e *entry) facts(to []*Fact) []*Fact {
	if e.pod != nil {
		to = append(to, e.pod.fact)
	}
	if e.more != nil {
		to = append(to, e.more.facts...)
		slices.SortFunc(to, func(a, b *Fact) int { return cmp.Compare(a.id, b.id) })
		to = slices.Compact(to)
	}
	return to
}

func (x *Index) entry(addr netip.Addr) *entry {
	e, ok := x.entries[addr]
	if !ok {
		e = &entry{}
		x.entries[addr] = e
	}
	if !e.dirty {
		e.dirty = true
		x.dirty.addrs = append(x.dirty.addrs, addr)
	}
	return e
}

func (e *entry) addPod(p *pod) {
	if e.pod != nil {
		e.withMore().pods = slices.Insert(e.withMore().pods, 0, e.pod)
	}
	e.pod = p
}

func (e *entry) removePod(p *pod) {
	if e.pod != p {
		e.more.pods = slices.DeleteFunc(e.more.pods, func(o *pod) bool { return o == p })
	} else if e.pod = nil; e.more != nil && len(e.more.pods) > 0 {
		e.pod, e.more.pods = e.more.pods[0], e.more.pods[1:]
	}
	e.trim()
}

func (e *entry) withMore() *more {
	if e.more == nil {
		e.more = &more{}
	}
	return e.more
}

func (e *entry) addFact(f *Fact) {
	e.withMore().facts = append(e.withMore().facts, f)
}

func (e *entry) removeFact(f *Fact) {
	if i := slices.Index(e.more.facts, f); i >= 0 { // one of perhaps several: two nodes alike may say one address
		e.more.facts = slices.Delete(e.more.facts, i, i+1)
	}
	e.trim()
}

func (e *entry) trim() {
	if e.more != nil && len(e.more.pods) == 0 && len(e.more.facts) == 0 {
		e.more = nil
	}
}

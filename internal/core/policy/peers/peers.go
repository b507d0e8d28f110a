// Package peers knows which peers of policies each address of a cluster matches.
//
// What is known of an address are facts: the labels and ports of a pod, the labels of a node, a name that resolves to it. Pods that no
// policy can tell apart share a fact. An atom is a peer that somebody has acquired: a selector of pods or nodes or a domain name,
// perhaps with the name of a port. The atoms that the facts of an address match are its signature.
//
// An Index is told of facts and atoms. Update and Cells then say which addresses get another signature than they had, and Done ends
// that. One pod more or less touches what concerns its addresses, an atom the facts of the namespaces that it selects.
package peers

import (
	"maps"
	"net/netip"
	"slices"

	"github.com/berth-net/berth/internal/core/policy"
)

// Key is the caller's name of a pod, such as its UID.
type Key string

// Index is what is known. It belongs to one goroutine, and keeps the maps and slices that it is given: they must not be changed.
type Index struct {
	namespaces map[string]*namespace
	pods       map[Key]*pod
	nodes      map[string]*named
	names      map[string]*named

	facts    map[factKey]*Fact
	loose    []*Fact // of nodes and names
	entries  map[netip.Addr]*entry
	together map[string]*group // of addresses with several facts, by these

	atoms   map[string]*atom
	byID    map[uint32]*atom
	inside  map[string][]*atom // of pods of one namespace
	across  []*atom            // of pods by the labels of namespaces
	others  []*atom            // of nodes and names
	lastID  uint32
	updates uint64 // how many there were

	dirty   pending
	scratch scratch
}

// pending is what has changed since Done.
type pending struct {
	facts  []*Fact      // without signature
	unused []*Fact      // perhaps
	spaces []*namespace // whose facts are to be matched again
	addrs  []netip.Addr
	atoms  []*atom // that came or went, perhaps
	gone   []uint32

	groups []*group // whose signature may be another than the one told
	joins  []join
}

// scratch is space that is used again and again.
type scratch struct {
	features []Feature
	facts    []*Fact
	key      []byte
}

// New is an index of nothing.
func New() *Index {
	return &Index{
		namespaces: make(map[string]*namespace), pods: make(map[Key]*pod), nodes: make(map[string]*named), names: make(map[string]*named),
		facts: make(map[factKey]*Fact), entries: make(map[netip.Addr]*entry), together: make(map[string]*group),
		atoms: make(map[string]*atom), byID: make(map[uint32]*atom), inside: make(map[string][]*atom),
	}
}

// Dirty tells whether anything was told since Done that may change a signature.
func (x *Index) Dirty() bool { return x.Moving() || len(x.dirty.atoms) > 0 }

// Moving tells whether addresses may match something else since Done because of what is known of them.
func (x *Index) Moving() bool { return len(x.dirty.addrs)+len(x.dirty.spaces) > 0 }

// SetNamespace tells the labels of a namespace, and answers whether they are others than before. One of which nothing is told has none.
func (x *Index) SetNamespace(name string, labels map[string]string) bool {
	ns := x.namespace(name)
	ns.known = true
	if maps.Equal(ns.labels, labels) {
		return false
	}
	ns.labels = labels
	x.touchNamespace(ns)
	return true
}

// DeleteNamespace forgets the labels of a namespace.
func (x *Index) DeleteNamespace(name string) bool {
	ns, ok := x.namespaces[name]
	if !ok || !ns.known {
		return false
	}
	ns.known, ns.labels = false, nil
	x.touchNamespace(ns)
	return true
}

func (x *Index) touchNamespace(ns *namespace) {
	if !ns.stale {
		ns.stale = true
		x.dirty.spaces = append(x.dirty.spaces, ns)
	}
}

// Pod is the fact of a pod; none for one that uses the host's network.
func (x *Index) Pod(key Key) (f *Fact, known bool) {
	p, ok := x.pods[key]
	if !ok {
		return nil, false
	}
	return p.fact, true
}

// SetPod adds or replaces a pod. Without addresses it is nobody's peer.
func (x *Index) SetPod(key Key, p policy.Pod) {
	now := pod{}
	if !p.HostNetwork {
		now.fact = x.acquireFact(Fact{kind: podFact, labels: p.Labels, ports: p.Ports}, p.Namespace)
		now.addrs = unique(p.Addrs)
	}
	have, ok := x.pods[key]
	if !ok {
		have = &pod{}
		x.pods[key] = have
	}
	x.replacePod(have, now)
}

func (x *Index) replacePod(have *pod, now pod) {
	for _, a := range have.addrs {
		if !slices.Contains(now.addrs, a) {
			x.entry(a).removePod(have)
		} else if have.fact != now.fact {
			x.entry(a)
		}
	}
	for _, a := range now.addrs {
		if !slices.Contains(have.addrs, a) {
			x.entry(a).addPod(have)
		}
	}
	x.Release(have.fact)
	*have = now
}

// DeletePod forgets a pod.
func (x *Index) DeletePod(key Key) {
	if have, ok := x.pods[key]; ok {
		x.replacePod(have, pod{})
		delete(x.pods, key)
	}
}

// SetNode adds or replaces a node.
func (x *Index) SetNode(n policy.Node) {
	x.setNamed(x.nodes, n.Name, Fact{kind: nodeFact, labels: n.Labels}, n.Addrs)
}

// DeleteNode forgets a node.
func (x *Index) DeleteNode(name string) { x.deleteNamed(x.nodes, name) }

// SetResolved tells all addresses that a domain name stands for; none forgets it. The name is in lower case, without a dot at its end.
func (x *Index) SetResolved(domain string, addrs []netip.Addr) {
	if len(addrs) == 0 {
		x.deleteNamed(x.names, domain)
		return
	}
	x.setNamed(x.names, domain, Fact{kind: nameFact, name: domain}, addrs)
}

func (x *Index) setNamed(in map[string]*named, name string, f Fact, addrs []netip.Addr) {
	have, ok := in[name]
	if !ok {
		have = &named{}
		in[name] = have
	}
	x.replaceNamed(have, named{fact: x.acquireFact(f, ""), addrs: unique(addrs)})
}

func (x *Index) deleteNamed(in map[string]*named, name string) {
	if have, ok := in[name]; ok {
		x.replaceNamed(have, named{})
		delete(in, name)
	}
}

func (x *Index) replaceNamed(have *named, now named) {
	was, is := make(map[netip.Addr]bool, len(have.addrs)), make(map[netip.Addr]bool, len(now.addrs))
	for _, a := range have.addrs {
		was[a] = have.fact == now.fact
	}
	for _, a := range now.addrs {
		if is[a] = true; !was[a] {
			x.entry(a).addFact(now.fact)
		}
	}
	for _, a := range have.addrs {
		if have.fact != now.fact || !is[a] {
			x.entry(a).removeFact(have.fact)
		}
	}
	x.Release(have.fact)
	*have = now
}

// unique are addresses, each once, in their order.
func unique(addrs []netip.Addr) []netip.Addr {
	if len(addrs) == 0 {
		return nil
	}
	all := make([]netip.Addr, 0, len(addrs))
	for _, a := range addrs {
		if a = a.Unmap(); a.IsValid() && (len(all) == 0 || !slices.Contains(all, a)) {
			all = append(all, a)
		}
	}
	return all
}

package peers

import (
	"strings"

	"github.com/berth-net/berth/internal/core/policy"
)

// atom is a peer that somebody has acquired.
type atom struct {
	id     uint32
	key    string
	pods   *policy.Pods     // else
	nodes  *policy.Selector // else
	domain string
	port   policy.Port // with a name, it matches only pods that have it, and says their numbers
	refs   int
	linked bool // facts have been matched with it
}

func selectorKey(s *policy.Selector) string {
	if s == nil {
		return "\x01"
	}
	return s.String()
}

// atomKey is one text for peers that mean the same.
func atomKey(p policy.Peer, port policy.Port) string {
	var b strings.Builder
	switch {
	case p.Pods != nil && p.Pods.Namespace != "":
		b.WriteString("pods\x00in\x00" + p.Pods.Namespace + "\x00" + selectorKey(p.Pods.Pods))
	case p.Pods != nil:
		b.WriteString("pods\x00of\x00" + selectorKey(p.Pods.Namespaces) + "\x00" + selectorKey(p.Pods.Pods))
	case p.Nodes != nil:
		b.WriteString("nodes\x00" + selectorKey(p.Nodes))
	default:
		b.WriteString("name\x00" + p.Domain)
	}
	if port.Name != "" {
		b.WriteString("\x00" + port.Name + "\x00" + string(rune(port.Protocol)))
	}
	return b.String()
}

// Acquire is the id of the atom of a peer, of pods, of nodes or a domain, for the addresses that match it; with a port that has a name,
// for pods that have it, and which number that is. ReleaseAtom gives it up.
func (x *Index) Acquire(p policy.Peer, port policy.Port) uint32 {
	key := atomKey(p, port)
	a, ok := x.atoms[key]
	if !ok {
		a = &atom{id: x.newID(), key: key, pods: p.Pods, nodes: p.Nodes, domain: p.Domain, port: port}
		x.atoms[key], x.byID[a.id] = a, a
	}
	if a.refs++; a.refs == 1 {
		x.dirty.atoms = append(x.dirty.atoms, a)
	}
	return a.id
}

// ReleaseAtom gives up one Acquire.
func (x *Index) ReleaseAtom(id uint32) {
	a := x.byID[id]
	if a.refs--; a.refs == 0 {
		x.dirty.atoms = append(x.dirty.atoms, a)
	}
}

func (x *Index) newID() uint32 {
	x.lastID++
	return x.lastID
}

// fits tells whether pods of a namespace can match.
func (a *atom) fits(ns *namespace) bool {
	switch {
	case a.pods == nil:
		return false
	case a.pods.Namespace != "":
		return a.pods.Namespace == ns.name
	}
	return a.pods.Namespaces != nil && a.pods.Namespaces.Matches(ns.labels)
}

// appendFeatures appends what a fact of a namespace that fits has of an atom.
func (a *atom) appendFeatures(to []Feature, f *Fact) []Feature {
	switch {
	case f.kind == podFact && a.pods != nil:
		if a.pods.Pods == nil || !a.pods.Pods.Matches(f.labels) {
			return to
		}
	case f.kind == nodeFact && a.nodes != nil:
		if !a.nodes.Matches(f.labels) {
			return to
		}
	case f.kind != nameFact || a.domain == "" || !policy.MatchesDomain(a.domain, f.name):
		return to
	}
	if a.port.Name == "" {
		return append(to, NewFeature(a.id, 0))
	}
	for _, p := range f.ports {
		if p.Name == a.port.Name && p.Protocol == a.port.Protocol {
			to = append(to, NewFeature(a.id, p.Number))
		}
	}
	return to
}

package peers

import (
	"cmp"
	"encoding/binary"
	"net/netip"
	"slices"
)

// group are the addresses of which the same facts are known.
type group struct {
	facts  []*Fact
	key    string    // in Index.together, for those of several facts
	sig    Signature // of its facts
	told   Signature // of its addresses when Done was last called
	addrs  []netip.Addr
	listed bool // in pending.groups
}

// groupOf is the group of facts, made if there is none. No facts have none.
func (x *Index) groupOf(facts []*Fact) *group {
	switch len(facts) {
	case 0:
		return nil
	case 1:
		f := facts[0]
		if f.alone == nil {
			f.alone = &group{facts: []*Fact{f}}
		}
		return f.alone
	}
	key := x.scratch.key[:0]
	for _, f := range facts {
		key = binary.BigEndian.AppendUint32(key, f.id)
	}
	x.scratch.key = key
	g, ok := x.together[string(key)]
	if !ok {
		g = &group{facts: slices.Clone(facts), key: string(key)}
		for _, f := range facts {
			f.with = append(f.with, g)
		}
		x.together[g.key] = g
	}
	return g
}

// sign makes the signature of a group anew.
func (g *group) sign() {
	if len(g.facts) == 1 {
		g.sig = g.facts[0].sig
		return
	}
	var all []Feature
	for _, f := range g.facts {
		all = append(all, f.sig...)
	}
	g.sig = NewSignature(all)
}

// list notes that the signature of a group may change.
func (x *Index) list(g *group) {
	if g != nil && !g.listed {
		g.listed = true
		x.dirty.groups = append(x.dirty.groups, g)
	}
}

// detach takes an address out of its group.
func (x *Index) detach(e *entry) {
	g, last := e.group, len(e.group.addrs)-1
	moved := g.addrs[last]
	g.addrs[e.index] = moved
	x.entries[moved].index = e.index
	g.addrs = g.addrs[:last]
	e.group = nil
}

// forget drops a group without addresses.
func (x *Index) forget(g *group) {
	for _, f := range g.facts {
		if f.alone == g {
			f.alone = nil
		}
		f.with = slices.DeleteFunc(f.with, func(o *group) bool { return o == g })
	}
	if g.key != "" {
		delete(x.together, g.key)
	}
}

// join is an address that goes to another group.
type join struct {
	addr netip.Addr
	e    *entry
	told Signature
	to   *group // nil: nothing is known of it any more
}

// regroup finds the groups of addresses of which something else is known now. They join them in Done.
func (x *Index) regroup() {
	for _, addr := range x.dirty.addrs {
		e := x.entries[addr]
		e.dirty = false
		x.scratch.facts = e.facts(x.scratch.facts[:0])
		j := join{addr: addr, e: e, to: x.groupOf(x.scratch.facts)}
		if j.to == e.group {
			if j.to == nil {
				delete(x.entries, addr)
			}
			continue
		}
		x.list(j.to)
		if e.group != nil {
			j.told = e.group.told
			x.list(e.group)
			x.detach(e)
		}
		if j.to == nil {
			delete(x.entries, addr)
		}
		x.dirty.joins = append(x.dirty.joins, j)
	}
	x.dirty.addrs = x.dirty.addrs[:0]
	slices.SortFunc(x.dirty.groups, func(a, b *group) int {
		return slices.CompareFunc(a.facts, b.facts, func(x, y *Fact) int { return cmp.Compare(x.id, y.id) })
	})
	for _, g := range x.dirty.groups {
		g.sign()
	}
}

// Cell are addresses that had one signature at the last Done and have another one now.
type Cell struct {
	From, To Signature
	N        int // how many
	groups   []*group
	addrs    []netip.Addr // without those of groups
}

// Addrs are the addresses of a cell. It is of use until Done.
func (l *Cell) Addrs() []netip.Addr {
	addrs := make([]netip.Addr, 0, l.N)
	for _, g := range l.groups {
		addrs = append(addrs, g.addrs...)
	}
	return append(addrs, l.addrs...)
}

// Cells are the addresses whose signatures have changed since Done, as the last Update has found them. Their order is always the
// same for the same history.
func (x *Index) Cells() []*Cell {
	var cells []*Cell
	type fromTo struct{ from, to string }
	by := make(map[fromTo]*Cell)
	cell := func(from, to Signature) *Cell {
		key := fromTo{from.Key(), to.Key()}
		l, ok := by[key]
		if !ok {
			l = &Cell{From: from, To: to}
			by[key] = l
			cells = append(cells, l)
		}
		return l
	}
	for _, g := range x.dirty.groups {
		if len(g.addrs) > 0 && !slices.Equal(g.told, g.sig) {
			l := cell(g.told, g.sig)
			l.groups = append(l.groups, g)
			l.N += len(g.addrs)
		}
	}
	for _, j := range x.dirty.joins {
		var sig Signature
		if j.to != nil {
			sig = j.to.sig
		}
		if !slices.Equal(j.told, sig) {
			l := cell(j.told, sig)
			l.addrs = append(l.addrs, j.addr)
			l.N++
		}
	}
	return cells
}

// Done says that what Cells has answered is how it is now, and forgets what nothing uses.
func (x *Index) Done() {
	for _, j := range x.dirty.joins {
		if j.to != nil {
			j.e.group, j.e.index = j.to, uint32(len(j.to.addrs))
			j.to.addrs = append(j.to.addrs, j.addr)
		}
	}
	for _, g := range x.dirty.groups {
		g.listed, g.told = false, g.sig
		if len(g.addrs) == 0 {
			x.forget(g)
		}
	}
	for _, id := range x.dirty.gone {
		delete(x.atoms, x.byID[id].key)
		delete(x.byID, id)
	}
	x.sweep()
	x.dirty = pending{}
}

package compile

import (
	"cmp"
	"slices"

	"github.com/berth-net/berth/internal/core/policy/peers"
	"github.com/berth-net/berth/internal/core/policy/tables"
)

// class is a class of addresses in the tables.
type class struct {
	id    uint32
	sig   peers.Signature
	next  peers.Signature // while split: what new sets see
	split bool
	n     int // addresses in the tables
	cells []*cell
	owner *cell // all that is left of it
}

// view is what a set sees of the addresses of a class.
func (k *class) view(s *set) peers.Signature {
	if k.split && s.fresh {
		return k.next
	}
	return k.sig
}

// cell are addresses of one class in the tables that get one signature.
type cell struct {
	from *class // nil: they have none
	to   peers.Signature
	key  string // of to
	n    int
	what *peers.Cell
}

// use is where an atom is used.
type use struct {
	sets    map[*set]struct{}
	classes map[*class]struct{}
}

// divide lists what changes its peers.Signature, by classes.
func (f *flush) divide() {
	for _, what := range f.c.peers.Cells() {
		l := &cell{from: f.c.classes[what.From.Key()], to: what.To, key: what.To.Key(), n: what.N, what: what}
		f.cells = append(f.cells, l)
		if l.from == nil {
			continue
		}
		if len(l.from.cells) == 0 {
			f.touched = append(f.touched, l.from)
		}
		l.from.cells = append(l.from.cells, l)
	}
}

// newClass makes a class, with rows for all sets.
func (f *flush) newClass(sig, next peers.Signature, split bool) *class {
	k := &class{id: f.id(), sig: sig, next: next, split: split}
	f.c.size.Classes++
	f.index(k)
	f.writeClass(k)
	return k
}

// index enters a class with the atoms of its signatures.
func (f *flush) index(k *class) {
	for _, sig := range [...]peers.Signature{k.sig, k.next} {
		for id := range sig.IDs() {
			f.c.uses[id].classes[k] = struct{}{}
		}
	}
}

// unindex takes a class out of the atoms of a signature.
func (f *flush) unindex(k *class, sig peers.Signature) {
	for id := range sig.IDs() {
		delete(f.c.uses[id].classes, k)
	}
}

// setsOf are the sets that packets may use or will use, and that see something of a class.
func (f *flush) setsOf(k *class) []*set {
	seen := f.seen[:0]
	for _, sig := range [...]peers.Signature{k.sig, k.next} {
		for id := range sig.IDs() {
			for s := range f.c.uses[id].sets {
				if !s.deleted {
					seen = append(seen, s)
				}
			}
		}
	}
	slices.SortFunc(seen, bySet)
	f.seen = slices.Compact(seen)
	return f.seen
}

func bySet(a, b *set) int { return cmp.Compare(a.id&idMask, b.id&idMask) }

// writeClass writes the rows of a class.
func (f *flush) writeClass(k *class) {
	for _, s := range f.setsOf(k) {
		f.writeRow(s, k)
	}
}

// move gives the addresses of a cell another class; none takes them out of the tables.
func (f *flush) move(l *cell, to *class) {
	change := tables.PeerChange{Addrs: l.what.Addrs(), Delete: to == nil}
	if l.from != nil {
		l.from.n -= l.n
	} else {
		f.c.size.Peers += l.n
	}
	if to != nil {
		to.n += l.n
		change.Class = tables.Class(to.id)
	} else {
		f.c.size.Peers -= l.n
	}
	l.from = to
	f.emit(tables.Change{Peer: &change})
}

// split makes cells of which new sets see something else than of the rest of their class classes of their own. What sets in use see of
// them stays. The largest part keeps the class: what no cell has, if there is any, since the addresses of the rest are not listed.
func (f *flush) split() {
	for _, k := range f.touched {
		visible := slices.DeleteFunc(slices.Clone(k.cells), func(l *cell) bool { return !f.seesChange(l, true) })
		rest := k.n
		for _, l := range visible {
			rest -= l.n
		}
		var keeps *cell
		if rest == 0 && len(visible) > 0 {
			keeps = slices.MaxFunc(visible, func(a, b *cell) int { return cmp.Compare(a.n, b.n) })
			k.split, k.next = true, keeps.to
			f.index(k)
		}
		for _, l := range visible {
			if l != keeps {
				k.cells = slices.DeleteFunc(k.cells, func(o *cell) bool { return o == l })
				f.part(l, k.sig)
			}
		}
	}
	for _, l := range f.cells {
		if l.from == nil && f.seesChange(l, true) {
			f.part(l, nil)
		}
	}
}

// part makes a class of a cell.
func (f *flush) part(l *cell, sig peers.Signature) {
	k := f.newClass(sig, l.to, true)
	k.cells, k.owner = []*cell{l}, l
	f.parts = append(f.parts, k)
	f.move(l, k)
}

// seesChange tells whether any new set, or any set in use that stays, sees what becomes of a cell.
func (f *flush) seesChange(l *cell, fresh bool) bool {
	var sig peers.Signature
	if l.from != nil {
		sig = l.from.sig
	}
	for id := range peers.Difference(sig, l.to) {
		for s := range f.c.uses[id].sets {
			if s.fresh == fresh && !s.doomed {
				return true
			}
		}
	}
	return false
}

// settle gives cells the class of their signature. Where none has it, the class of the largest cell gets the peers.Signature, if no set in use
// sees the difference; else it is a new one.
func (f *flush) settle() {
	for _, k := range f.touched {
		rest := k.n
		for _, l := range k.cells {
			rest -= l.n
		}
		if rest == 0 && len(k.cells) > 0 {
			k.owner = slices.MaxFunc(k.cells, func(a, b *cell) int { return cmp.Compare(a.n, b.n) })
			delete(f.c.classes, string(k.sig.AppendKey(f.key[:0])))
		}
	}
	var keys []string
	byKey := make(map[string][]*cell)
	for _, l := range f.cells {
		if byKey[l.key] == nil {
			keys = append(keys, l.key)
		}
		byKey[l.key] = append(byKey[l.key], l)
	}
	for _, key := range keys {
		cells := byKey[key]
		k := f.survivor(key, cells)
		for _, l := range cells {
			if l.from != k {
				f.compare(l, k)
				f.move(l, k)
			}
		}
	}
	f.emptied()
}

// survivor is the class for a signature; none for that of nothing.
func (f *flush) survivor(key string, cells []*cell) *class {
	if k, ok := f.c.classes[key]; ok || key == "" {
		return k
	}
	var best *cell
	for _, l := range cells {
		if l.from != nil && l.from.owner == l && (best == nil || l.n > best.n) && !f.seesChange(l, false) {
			best = l
		}
	}
	var k *class
	if best == nil {
		k = f.newClass(cells[0].to, nil, false)
	} else {
		k = best.from
		f.relabel(k, best.to)
	}
	f.c.classes[key] = k
	return k
}

// relabel gives a class another signature. No row changes.
func (f *flush) relabel(k *class, sig peers.Signature) {
	f.unindex(k, k.sig)
	f.unindex(k, k.next)
	k.sig, k.next, k.split = sig, nil, false
	f.index(k)
}

// emptied ends what is left of splitting and lists the classes without addresses.
func (f *flush) emptied() {
	for _, k := range slices.Concat(f.touched, f.parts) {
		k.cells, k.owner = nil, nil
		if k.n > 0 {
			if k.split {
				f.relabel(k, k.sig)
			}
			continue
		}
		f.empty = append(f.empty, k)
	}
}

// dropClass deletes the rows of a class without addresses.
func (f *flush) dropClass(k *class) {
	for _, s := range f.setsOf(k) {
		f.deleteRow(s, tables.RowKey{Set: s.id, ID: k.id})
	}
	f.unindex(k, k.sig)
	f.unindex(k, k.next)
	f.c.size.Classes--
}

// compare asks for a new epoch if a flow that a set in use has accepted might be refused now that a cell changes its class.
func (f *flush) compare(l *cell, to *class) {
	if f.epoch {
		return
	}
	var sig peers.Signature
	if l.from != nil {
		sig = l.from.sig
	}
	for id := range peers.Difference(sig, l.to) {
		for s := range f.c.uses[id].sets {
			if !s.fresh && !s.doomed && narrower(s.says(l.from), s.says(to)) {
				f.epoch = true
				return
			}
		}
	}
}

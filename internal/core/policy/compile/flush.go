package compile

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"

	"github.com/berth-net/berth/internal/core/policy"
	"github.com/berth-net/berth/internal/core/policy/peers"
	"github.com/berth-net/berth/internal/core/policy/tables"
)

// flush is one comparison of what is with what the tables say.
type flush struct {
	c       *Compiler
	changes []tables.Change
	lists   []tables.RangesChange // to be written before rows
	rows    []tables.RowChange    // to be written before what makes packets read them
	epoch   bool

	room                 room
	fresh, doomed        []*set
	cidrs                []*cidrList
	cidrsCame, cidrsWent []*cidrList
	gone                 []uint32 // atoms

	cells   []*cell
	touched []*class // that have cells
	parts   []*class // made by split

	empty       []*class
	emptyBlocks []*block
	loose       []*list // lists that perhaps no row has
	retired     []uint32
	made        map[rowKey]*list

	// Space that is used again and again.
	part1    peers.Signature
	seen     []*set
	key      []byte
	strokes  []stroke
	bounds   []uint32
	segments []segment
	next     []uint32
}

// Flush is the changes that bring the tables up to date with all that was told since the last one, in their order. They must all be
// made.
func (c *Compiler) Flush() []tables.Change {
	if !c.dirty.any && !c.peers.Dirty() {
		return nil
	}
	f := &flush{
		c: c, made: make(map[rowKey]*list), key: make([]byte, 0, 256), room: room{prefixes: make(map[netip.Prefix]bool)},
	}
	for _, id := range c.dirty.retired {
		delete(c.rules, id)
	}
	f.assign()
	f.sortCIDRs()
	f.gone = c.peers.Update()
	f.divide()
	f.widen()
	f.swap()
	f.narrow()
	f.sweep()
	return f.changes
}

// emit appends a change, after the rows that it may make packets read.
func (f *flush) emit(change tables.Change) {
	f.writeOut()
	f.changes = append(f.changes, change)
}

func (f *flush) writeOut() {
	slices.SortFunc(f.lists, func(a, b tables.RangesChange) int { return cmp.Compare(a.First, b.First) })
	for i := 0; i < len(f.lists); {
		all := f.lists[i]
		all.Ranges = slices.Clone(all.Ranges)
		for i++; i < len(f.lists) && f.lists[i].First == all.First+uint32(len(all.Ranges)); i++ {
			all.Ranges = append(all.Ranges, f.lists[i].Ranges...)
		}
		f.changes = append(f.changes, tables.Change{Ranges: &all})
	}
	for i := range f.rows {
		row := f.rows[i]
		f.changes = append(f.changes, tables.Change{Row: &row})
	}
	f.lists, f.rows = nil, nil
}

// wait lets packets end, unless nothing has been written since the last time.
func (f *flush) wait() {
	f.writeOut()
	if last := len(f.changes) - 1; last >= 0 && !f.changes[last].Wait {
		f.changes = append(f.changes, tables.Change{Wait: true})
	}
}

// assign finds the subjects of local pods and the sets that they are judged by from now on.
func (f *flush) assign() {
	if f.c.dirty.locals {
		for _, slot := range slices.Sorted(maps.Keys(f.c.locals)) {
			f.assignLocal(f.c.locals[slot])
		}
	}
	released := make(map[*set]bool)
	f.bySize(f.c.dirty.subjects)
	for _, s := range f.c.dirty.subjects {
		s.dirty = false
		for d := range s.sets {
			var now *set
			s.refused[d] = nil
			if s.refs > 0 {
				now, s.refused[d] = f.setFor(s.fact, policy.Direction(d))
			}
			if now == s.sets[d] {
				continue
			}
			f.hold(now)
			if s.sets[d] != nil {
				s.sets[d].refs--
				released[s.sets[d]] = true
			}
			s.sets[d] = now
		}
		if s.refs == 0 {
			delete(f.c.subjects, s.fact)
			f.c.peers.Release(s.fact)
		}
	}
	f.assignDeny(released)
	f.renew(released)
	for s := range released {
		if s.refs == 0 {
			s.doomed = true
			f.doomed = append(f.doomed, s)
		}
	}
	slices.SortFunc(f.doomed, bySet)
	for _, s := range f.doomed {
		if f.c.sets[s.key] == s {
			delete(f.c.sets, s.key)
		}
		for _, h := range s.halves {
			f.releaseHalf(h)
		}
	}
}

// renew makes anew the sets in use that interfaces change to while addresses change sides: what such an interface was judged by saw the
// old side, so what it is judged by now must see the new one at once, and a set in use does so only later.
func (f *flush) renew(released map[*set]bool) {
	if !f.c.peers.Moving() || len(f.c.dirty.subjects) == 0 && !f.c.dirty.locals {
		return
	}
	for _, slot := range slices.Sorted(maps.Keys(f.c.locals)) {
		l := f.c.locals[slot]
		if !l.told || l.gone || l.subject == nil {
			continue
		}
		for d, was := range [...]tables.Set{l.pod.Ingress, l.pod.Egress} {
			s := l.subject.sets[d]
			if s == nil || s.fresh || s.denies || s.id == was {
				continue
			}
			now := f.newSet(s.key, s.halves, l.subject.fact)
			released[s] = true
			for _, other := range f.c.subjects {
				if other.sets[d] == s {
					other.sets[d] = now
					s.refs--
					now.refs++
				}
			}
		}
	}
}

func (f *flush) hold(s *set) {
	if s != nil {
		s.refs++
	}
}

// assignDeny keeps the set that denies everything for as long as an interface of an unknown pod needs it.
func (f *flush) assignDeny(released map[*set]bool) {
	c := f.c
	needed := false
	for _, l := range c.locals {
		needed = needed || !l.gone && l.subject == nil && !l.bare
	}
	switch {
	case needed && c.deny == nil:
		c.deny = f.denySet()
		f.hold(c.deny)
	case !needed && c.deny != nil:
		c.deny.refs--
		released[c.deny] = true
		c.deny = nil
	}
}

// assignLocal finds the subject of an interface. That of a pod that has been deleted stays.
func (f *flush) assignLocal(l *local) {
	var now *peers.Fact
	fact, known := f.c.peers.Pod(l.key)
	switch {
	case l.gone:
	case known:
		now, l.bare = fact, fact == nil
	case l.of == l.key && l.bare:
		return
	case l.of == l.key && l.subject != nil:
		now = l.subject.fact
	default:
		l.bare = false
	}
	l.of = l.key
	old := l.subject
	if old != nil && old.fact == now {
		return
	}
	l.subject = nil
	if now != nil {
		s, ok := f.c.subjects[now]
		if !ok {
			s = &subject{fact: now}
			now.Hold()
			f.c.subjects[now] = s
			f.c.touchSubject(s)
		}
		s.refs++
		l.subject = s
	}
	if old != nil {
		if old.refs--; old.refs == 0 {
			f.c.touchSubject(old)
		}
	}
}

// sortCIDRs tells what is used from now on from what is used no more.
func (f *flush) sortCIDRs() {
	for _, s := range f.fresh {
		for _, h := range s.halves {
			f.cidrs = append(f.cidrs, h.cidrs...)
		}
	}
	slices.SortFunc(f.cidrs, func(a, b *cidrList) int { return cmp.Compare(a.id, b.id) })
	for _, x := range slices.Compact(f.cidrs) {
		switch {
		case x.refs > 0 && !x.linked:
			x.linked = true
			f.cidrsCame = append(f.cidrsCame, x)
		case x.refs == 0:
			f.cidrsWent = append(f.cidrsWent, x)
		}
	}
}

// widen makes new sets ready. To sets in use everything says what it said.
func (f *flush) widen() {
	anyTerms := false
	for _, s := range f.fresh {
		if l := f.listOf(s, nil, s.terms, true); l != nil {
			f.putRow(s, tables.RowKey{Set: s.id}, l)
		}
		anyTerms = anyTerms || len(s.terms) > 0
	}
	f.widenBlocks()
	if anyTerms {
		f.split()
	}
	for _, s := range f.fresh {
		var classes []*class
		for id := range s.terms {
			classes = slices.AppendSeq(classes, maps.Keys(f.c.uses[id].classes))
		}
		slices.SortFunc(classes, func(a, b *class) int { return cmp.Compare(a.id, b.id) })
		for _, k := range slices.Compact(classes) {
			f.writeRow(s, k)
		}
		var blocks []*block
		for id := range s.blocks {
			blocks = slices.AppendSeq(blocks, maps.Keys(f.c.blocks.byID[id].blocks))
		}
		slices.SortFunc(blocks, func(a, b *block) int { return cmp.Compare(a.id, b.id) })
		for _, k := range slices.Compact(blocks) {
			f.writeBlockRow(s, k)
		}
	}
}

// swap tells each interface its sets.
func (f *flush) swap() {
	if len(f.fresh)+len(f.doomed)+len(f.c.dirty.subjects) == 0 && !f.c.dirty.locals {
		return
	}
	for _, slot := range slices.Sorted(maps.Keys(f.c.locals)) {
		l := f.c.locals[slot]
		if l.gone {
			f.emit(tables.Change{Pod: &tables.PodChange{Slot: slot, Delete: true}})
			delete(f.c.locals, slot)
			continue
		}
		var now tables.Pod
		switch {
		case l.subject != nil:
			now = tables.Pod{Ingress: idOf(l.subject.sets[policy.Ingress]), Egress: idOf(l.subject.sets[policy.Egress])}
		case !l.bare:
			now = tables.Pod{Ingress: f.c.deny.id, Egress: f.c.deny.id}
		}
		if !l.told || now != l.pod {
			l.told, l.pod = true, now
			f.emit(tables.Change{Pod: &tables.PodChange{Slot: slot, Pod: now}})
		}
	}
}

func idOf(s *set) tables.Set {
	if s == nil {
		return 0
	}
	return s.id
}

// narrow deletes old sets, gives addresses and prefixes what the sets that are in use now see of them, and deletes what is empty then.
func (f *flush) narrow() {
	if len(f.doomed) > 0 {
		f.wait()
	}
	for _, s := range f.doomed {
		f.dropSet(s)
	}
	f.settle()
	f.narrowBlocks()
	f.writeOut()
	if f.epoch || f.c.ids.wrapped {
		f.c.ids.wrapped = false
		f.changes = append(f.changes, tables.Change{Epoch: true})
	}
	if len(f.empty)+len(f.emptyBlocks) > 0 {
		f.wait()
	}
	for _, k := range f.empty {
		f.dropClass(k)
	}
	f.dropBlocks()
}

// dropSet deletes the rows of a set that no packet is judged by.
func (f *flush) dropSet(s *set) {
	s.deleted = true
	keys := slices.SortedFunc(maps.Keys(s.rows), func(a, b tables.RowKey) int {
		if a.OfBlock != b.OfBlock {
			return cmp.Compare(b2i(a.OfBlock), b2i(b.OfBlock))
		}
		return cmp.Compare(a.ID, b.ID)
	})
	for _, key := range keys {
		f.deleteRow(s, key)
	}
	for id := range s.terms {
		delete(f.c.uses[id].sets, s)
	}
	for id := range s.blocks {
		delete(f.c.blocks.byID[id].sets, s)
	}
	delete(f.c.setIDs, uint32(s.id&idMask))
	f.c.size.Sets--
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// sweep ends a flush: what nothing uses is forgotten.
func (f *flush) sweep() {
	c := f.c
	for _, s := range f.fresh {
		s.fresh = false
	}
	for _, id := range f.gone {
		delete(c.uses, id)
	}
	for _, x := range f.cidrsWent {
		delete(c.blocks.byID, x.id)
	}
	for _, l := range f.loose {
		if l.refs == 0 && c.ranges.lists[l.key] == l {
			c.ranges.drop(l)
		}
	}
	c.peers.Done()
	c.dirty = pending{retired: f.retired}
	for _, s := range c.subjects {
		if s.refused != [2]*refusal{} { // there may be room the next time
			c.touchSubject(s)
		}
	}
}

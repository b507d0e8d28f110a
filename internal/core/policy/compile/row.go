package compile

import (
	"cmp"
	"slices"

	"github.com/berth-net/berth/internal/core/policy"
	"github.com/berth-net/berth/internal/core/policy/peers"
	"github.com/berth-net/berth/internal/core/policy/tables"
)

// stroke is what one rule says of keys from first to last.
type stroke struct {
	span
	tier policy.Tier
	word tables.Word
}

// rowOf makes the ranges of what a set says of a signature; those of no signature are of any peer.
func (f *flush) rowOf(s *set, sig peers.Signature, terms map[uint32][]contribution, anyPeer bool) []tables.Range {
	strokes := f.strokes[:0]
	add := func(of []contribution, port uint16) {
		for _, x := range of {
			if x.byName {
				key := tables.Key(uint8(x.protocol), port)
				strokes = append(strokes, stroke{span{key, key}, x.tier, x.word})
				continue
			}
			for _, p := range x.spans {
				strokes = append(strokes, stroke{p, x.tier, x.word})
			}
		}
	}
	if anyPeer {
		add(s.any, 0)
	}
	for _, feature := range sig {
		add(terms[feature.ID()], feature.Port())
	}
	f.strokes = strokes
	return f.paint(strokes)
}

// segment is what the tiers say between two bounds.
type segment [3]tables.Word

// paint resolves strokes to sorted, disjoint ranges: of each tier the word that comes first.
func (f *flush) paint(strokes []stroke) []tables.Range {
	if len(strokes) == 0 {
		return nil
	}
	bounds := f.bounds[:0]
	for _, s := range strokes {
		bounds = append(bounds, s.first, s.last+1)
	}
	slices.Sort(bounds)
	bounds = slices.Compact(bounds)
	f.bounds = bounds

	n := len(bounds) - 1
	f.segments = append(f.segments[:0], make([]segment, n)...)
	slices.SortFunc(strokes, func(a, b stroke) int { return cmp.Compare(a.word.Rank, b.word.Rank) })
	for tier := range policy.Tier(3) {
		f.paintTier(tier, strokes)
	}
	var ranges []tables.Range
	for i, words := range f.segments {
		if words == (segment{}) {
			continue
		}
		r := tables.Range{
			First: bounds[i], Last: bounds[i+1] - 1,
			Admin: words[policy.Admin], Network: words[policy.Network], Baseline: words[policy.Baseline],
		}
		if last := len(ranges) - 1; last >= 0 && ranges[last].Last+1 == r.First && sameWords(ranges[last], r) {
			ranges[last].Last = r.Last
			continue
		}
		ranges = append(ranges, r)
	}
	return ranges
}

// paintTier gives each segment the first word of a tier. Strokes come by rank; next leads past segments that have one.
func (f *flush) paintTier(tier policy.Tier, strokes []stroke) {
	next := f.next[:0]
	for i := range len(f.segments) + 1 {
		next = append(next, uint32(i))
	}
	f.next = next
	find := func(i uint32) uint32 {
		for next[i] != i {
			next[i] = next[next[i]]
			i = next[i]
		}
		return i
	}
	for _, s := range strokes {
		if s.tier != tier {
			continue
		}
		from, _ := slices.BinarySearch(f.bounds, s.first)
		to, _ := slices.BinarySearch(f.bounds, s.last+1)
		for i := find(uint32(from)); i < uint32(to); i = find(i) {
			f.segments[i][tier] = s.word
			next[i] = i + 1
		}
	}
}

func sameWords(a, b tables.Range) bool {
	return a.Admin == b.Admin && a.Network == b.Network && a.Baseline == b.Baseline
}

// says are the ranges of a set for the addresses of a class, none's included.
func (s *set) says(k *class) []tables.Range {
	var id uint32
	if k != nil {
		id = k.id
	}
	l, ok := s.rows[tables.RowKey{Set: s.id, ID: id}]
	if !ok {
		if l, ok = s.rows[tables.RowKey{Set: s.id}]; !ok {
			return nil
		}
	}
	return l.ranges
}

// writeRow writes what a set says of a class, where that is not what it says of any peer.
func (f *flush) writeRow(s *set, k *class) {
	key := tables.RowKey{Set: s.id, ID: k.id}
	if s.rows[key] != nil {
		return
	}
	sig := f.relevant(k.view(s), s.terms)
	if len(sig) == 0 {
		return
	}
	l := f.listOf(s, sig, s.terms, true)
	if l != nil && l != s.rows[tables.RowKey{Set: s.id}] {
		f.putRow(s, key, l)
	}
}

// writeBlockRow writes what a set says of a block.
func (f *flush) writeBlockRow(s *set, k *block) {
	key := tables.RowKey{Set: s.id, OfBlock: true, ID: k.id}
	if s.rows[key] != nil {
		return
	}
	if l := f.listOf(s, f.relevant(k.sig, s.blocks), s.blocks, false); l != nil {
		f.putRow(s, key, l)
	}
}

// relevant is the part of a signature that a set speaks of.
func (f *flush) relevant(sig peers.Signature, terms map[uint32][]contribution) peers.Signature {
	part := f.part1[:0]
	for _, x := range sig {
		if len(terms[x.ID()]) > 0 {
			part = append(part, x)
		}
	}
	f.part1 = part
	return part
}

// rowKey finds rows that have been made in this flush.
type rowKey struct {
	set     *set
	ofBlock bool
	sig     string
}

// listOf is the list for a signature; nil for one that says nothing.
func (f *flush) listOf(s *set, sig peers.Signature, terms map[uint32][]contribution, anyPeer bool) *list {
	key := rowKey{set: s, ofBlock: !anyPeer, sig: string(sig.AppendKey(f.key[:0]))}
	if l, ok := f.made[key]; ok {
		return l
	}
	content := f.rowOf(s, sig, terms, anyPeer)
	if len(content) > tables.MaxRanges {
		content = deniedRow
		s.tooLong = true
	}
	var l *list
	if len(content) > 0 {
		var isNew bool
		if l, isNew = f.c.ranges.find(content); isNew {
			f.lists = append(f.lists, tables.RangesChange{First: l.first, Ranges: l.ranges})
			f.loose = append(f.loose, l)
		}
	}
	f.made[key] = l
	return l
}

// deniedRow is what a row says that would be too long: nothing of it may pass. No rule comes before it.
var deniedRow = []tables.Range{{Last: tables.AnyKey, Admin: tables.Word{Action: uint8(policy.Deny)}}}

func (f *flush) putRow(s *set, key tables.RowKey, l *list) {
	s.rows[key] = l
	l.refs++
	f.c.size.Rows++
	f.rows = append(f.rows, tables.RowChange{Key: key, Row: l.row()})
}

func (f *flush) deleteRow(s *set, key tables.RowKey) {
	l, ok := s.rows[key]
	if !ok {
		return
	}
	delete(s.rows, key)
	if l.refs--; l.refs == 0 {
		f.loose = append(f.loose, l)
	}
	f.c.size.Rows--
	f.emit(tables.Change{Row: &tables.RowChange{Key: key, Delete: true}})
}

// narrower tells whether a packet that passed by old ranges may be refused by new ones, whatever a block says besides.
func narrower(old, now []tables.Range) bool {
	for at := uint32(0); at <= tables.AnyKey; {
		a, endA := at0(&old, at)
		b, endB := at0(&now, at)
		if narrows(a.Admin, b.Admin) || narrows(a.Baseline, b.Baseline) || a.Network.Action != 0 && b.Network.Action == 0 {
			return true
		}
		at = min(endA, endB) + 1
	}
	return false
}

// at0 is what ranges say at a key, and up to which key. What ends before is skipped for good.
func at0(ranges *[]tables.Range, key uint32) (tables.Range, uint32) {
	for len(*ranges) > 0 && (*ranges)[0].Last < key {
		*ranges = (*ranges)[1:]
	}
	switch {
	case len(*ranges) == 0:
		return tables.Range{}, tables.AnyKey
	case (*ranges)[0].First > key:
		return tables.Range{}, (*ranges)[0].First - 1
	}
	return (*ranges)[0], (*ranges)[0].Last
}

// narrows tells whether a word in the place of another may refuse what passed. Another word of the same tier, of a block, may come
// between both.
func narrows(old, now tables.Word) bool {
	pass := uint8(policy.Pass)
	switch {
	case old.Action == now.Action && (old.Rank == now.Rank || old.Action == 0):
		return false
	case old.Action == pass || now.Action == pass:
		return true
	case now.Action == uint8(policy.Deny):
		return old.Action != uint8(policy.Deny) || now.Rank < old.Rank
	case now.Action == uint8(policy.Accept):
		return old.Action == uint8(policy.Accept) && now.Rank > old.Rank
	}
	return old.Action == uint8(policy.Accept) // now silent
}

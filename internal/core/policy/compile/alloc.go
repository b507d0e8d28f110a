package compile

import (
	"crypto/sha256"
	"encoding/binary"
	"math/bits"
	"slices"

	"github.com/berth-net/berth/internal/core/policy/tables"
)

// list is a list of ranges in the array. Rows that say the same share one.
type list struct {
	key    [sha256.Size]byte
	first  uint32
	ranges []tables.Range
	refs   int // rows
}

func (l *list) row() tables.Row { return tables.Row{First: l.first, Count: uint32(len(l.ranges))} }

// ranges is the array of ranges: which parts of it are in use. It is divided by halves, so that what is freed can be joined again; the
// largest part is a power of two that holds MaxRanges.
type ranges struct {
	lists map[[sha256.Size]byte]*list
	free  [maxOrder + 1]parts
	end   uint32 // of what has ever been used
}

// parts are free parts of one size. The one that came last is taken first.
type parts struct {
	in    map[uint32]struct{}
	stack []uint32 // has also what was taken out of the middle
}

func (p *parts) put(first uint32) {
	p.in[first] = struct{}{}
	p.stack = append(p.stack, first)
	if len(p.stack) > 64+2*len(p.in) {
		seen := make(map[uint32]bool)
		p.stack = slices.DeleteFunc(p.stack, func(x uint32) bool {
			_, ok := p.in[x]
			ok = ok && !seen[x]
			seen[x] = true
			return !ok
		})
	}
}

// remove takes a part out, if it is there.
func (p *parts) remove(first uint32) bool {
	_, ok := p.in[first]
	delete(p.in, first)
	return ok
}

func (p *parts) pop() (uint32, bool) {
	for len(p.stack) > 0 {
		first := p.stack[len(p.stack)-1]
		p.stack = p.stack[:len(p.stack)-1]
		if p.remove(first) {
			return first, true
		}
	}
	return 0, false
}

// maxOrder is the power of two of MaxRanges.
const maxOrder = 12

func newRanges() ranges {
	r := ranges{lists: make(map[[sha256.Size]byte]*list)}
	for i := range r.free {
		r.free[i].in = make(map[uint32]struct{})
	}
	return r
}

// find is the list that says the same as some ranges. It is new without references.
func (r *ranges) find(content []tables.Range) (l *list, isNew bool) {
	b := make([]byte, 0, 64*len(content))
	for _, x := range content {
		b = binary.BigEndian.AppendUint32(b, x.First)
		b = binary.BigEndian.AppendUint32(b, x.Last)
		for _, w := range [...]tables.Word{x.Admin, x.Network, x.Baseline} {
			b = binary.BigEndian.AppendUint32(b, w.Rank)
			b = append(b, w.Action)
			b = binary.BigEndian.AppendUint32(b, w.Rule)
		}
	}
	key := sha256.Sum256(b)
	if l, ok := r.lists[key]; ok {
		return l, false
	}
	l = &list{key: key, ranges: slices.Clone(content), first: r.take(order(len(content)))}
	r.lists[key] = l
	return l, true
}

// order is the power of two that holds n ranges.
func order(n int) int { return bits.Len(uint(max(n, 1) - 1)) }

// take reserves a part of 2^order ranges.
func (r *ranges) take(order int) uint32 {
	for o := order; o <= maxOrder; o++ {
		if first, ok := r.free[o].pop(); ok {
			return r.divide(first, o, order)
		}
	}
	first := r.end
	r.end += 1 << maxOrder
	return r.divide(first, maxOrder, order)
}

// divide halves a part until it has the order, and frees the other halves.
func (r *ranges) divide(first uint32, from, order int) uint32 {
	for o := from; o > order; {
		o--
		r.free[o].put(first + 1<<o)
	}
	return first
}

// drop frees a list that no row has and that no packet reads.
func (r *ranges) drop(l *list) {
	delete(r.lists, l.key)
	first, o := l.first, order(len(l.ranges))
	for ; o < maxOrder && r.free[o].remove(first^1<<o); o++ {
		first &^= 1 << o
	}
	r.free[o].put(first)
}

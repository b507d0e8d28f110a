package compile

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/berth-net/berth/internal/core/policy"
)

// refusal says why a direction of a subject is denied: the tables have no room for its set.
type refusal struct {
	policy policy.Ref // that needs most
	why    string
}

// reserve is the part of the rows that no new set takes: sets in use need it when pods of other labels come.
const reserve = 16

// room is what new sets of a flush take.
type room struct {
	prefixes map[netip.Prefix]bool
	of       [2]int // prefixes by family
	rows     int
}

// bySize orders subjects by what their policies need. Where not all have room it is the largest that have none, whatever came first.
func (f *flush) bySize(subjects []*subject) {
	if f.c.room == (Size{}) {
		return
	}
	needs := make(map[*subject]int, len(subjects))
	for _, s := range subjects {
		for d := range s.sets {
			for _, h := range f.c.effective(s.fact, policy.Direction(d)) {
				needs[s] += h.weight
			}
		}
	}
	slices.SortStableFunc(subjects, func(a, b *subject) int { return cmp.Compare(needs[a], needs[b]) })
}

// take reserves room for a set of some policies, or says why there is none. What packets read is there until the end of the flush, also
// when nothing will need it any more.
func (f *flush) take(halves []*half) *refusal {
	limit := f.c.room
	if limit == (Size{}) {
		return nil
	}
	rows := 1
	var largest *half
	var of [2]int
	came := make(map[netip.Prefix]bool)
	for _, h := range halves {
		rows += len(h.rules)
		if h.refs > 0 {
			continue // its prefixes are there
		}
		for p := range h.prefixes() {
			if b := f.c.blocks.boundaries[p]; came[p] || f.room.prefixes[p] || b != nil && b.told {
				continue
			}
			came[p] = true
			of[familyOf(p.Addr())]++
		}
		if largest == nil || h.weight > largest.weight {
			largest = h
		}
	}
	for family, more := range of {
		if have := f.c.blocks.told[family] + f.room.of[family]; more > 0 && have+more > limit.Prefixes {
			return &refusal{largest.ref, fmt.Sprintf("its ipBlocks have %d prefixes that no other policy has, and of %d that this node has room for %d are taken: "+
				"all %s of the pods that it selects is denied; let it name fewer and larger blocks", more, limit.Prefixes, have, largest.direction)}
		}
	}
	if have := f.c.size.Rows + f.room.rows; have+rows > limit.Rows-limit.Rows/reserve {
		h := slices.MaxFunc(halves, func(a, b *half) int { return cmp.Compare(a.weight, b.weight) })
		return &refusal{h.ref, fmt.Sprintf("of %d combinations of peers and groups of pods that this node has room for %d are taken: all %s of the pods that it selects is denied; "+
			"let fewer policies select different pods", limit.Rows, have, h.direction)}
	}
	for p := range came {
		f.room.prefixes[p] = true
	}
	for family, more := range of {
		f.room.of[family] += more
	}
	f.room.rows += rows
	return nil
}

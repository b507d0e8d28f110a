package subnet

import (
	"hash/fnv"
	"math/bits"
	"net/netip"
	"slices"
)

// How blocks and addresses are chosen.
//
// One node alone would always take the fullest broken block for single addresses, so that whole ones stay whole and those
// with few addresses in use empty, and for prefixes the whole block of the smallest aligned free run, so that large runs
// stay for reservations. But nodes do not see each other, and their maps are seconds old: if all followed that order, those
// that ask at the same moment would name the same block, and all but one would lose a call.
//
// So an order has a tolerance. A node draws, by a hash of its seed, out of what the strict order would use up next: ahead
// addresses (or prefixes) for each that is asked for, which is what so many peers would take together if they could agree.
// At most a quarter of the room is drawn from, so that in a small subnet the order stays strict; what is equally good is
// always in. The tolerance never reaches from broken blocks to whole ones: a whole block is broken only when all broken
// ones together have too little.
//
// Draws are by block, not by address: two nodes that want several addresses each then meet in the few blocks that both
// drew, and not in any of the many addresses.
const ahead = 256

// drawFrom is how much of what is there, in strict order, a draw of n is made from.
func drawFrom(n, total int) int { return max(n, min(ahead*n, total/4)) }

// levels of fullness: the number of used addresses of a broken block, and beyond that spoilt ones, which no prefix needs.
const levels = blockSize + 1

// Addresses chooses n free addresses to name: of the fullest blocks, up to the tolerance. Nodes with different seeds choose
// differently. It returns fewer when fewer are free, and does not take them.
func (s *Space) Addresses(n int, seed string) []netip.Addr {
	if n <= 0 || len(s.count) == 0 {
		return nil
	}
	d := drawing{s, hash(seed)}
	out := make([]netip.Addr, 0, n)
	for _, reserved := range []bool{false, true} { // reserved for prefixes only when nothing else is left
		out = d.broken(out, n, reserved)
		if short := n - len(out); short > 0 {
			for _, b := range d.whole((short+blockSize-1)/blockSize, reserved) {
				out = d.pick(out, n, b, reserved)
			}
		}
	}
	return out
}

// Primary chooses the address of a new interface as Addresses does. The result is not valid when none is free.
func (s *Space) Primary(seed string) netip.Addr {
	if list := s.Addresses(1, seed); len(list) == 1 {
		return list[0]
	}
	return netip.Addr{}
}

// Prefixes chooses n whole blocks to name: first those in reservations for prefixes, then those of the smallest aligned free
// runs, up to the tolerance. Nodes with different seeds choose differently. It returns fewer when fewer are whole, and does
// not take them.
func (s *Space) Prefixes(n int, seed string) []netip.Prefix {
	if n <= 0 {
		return nil
	}
	d := drawing{s, hash(seed)}
	blocks := d.whole(n, true)
	blocks = append(blocks, d.whole(n-len(blocks), false)...)
	out := make([]netip.Prefix, len(blocks))
	for i, b := range blocks {
		out[i] = s.prefix(b)
	}
	return out
}

// drawing is a choice by one seed.
type drawing struct {
	*Space
	seed uint64
}

// level is the fullness of a block, 0 for a whole one.
func (s *Space) level(b int) int {
	if s.shut[b] == spoilt {
		return levels - 1
	}
	return int(s.count[b])
}

// broken adds addresses of broken and spoilt blocks until there are n.
func (d drawing) broken(out []netip.Addr, n int, reserved bool) []netip.Addr {
	short := n - len(out)
	if short <= 0 {
		return out
	}
	var room [levels]int // free addresses by level
	total := 0
	for b := range d.count {
		if l := d.level(b); l > 0 {
			free := bits.OnesCount16(d.openIn(b, reserved))
			room[l] += free
			total += free
		}
	}
	least, sum := levels-1, room[levels-1] // the level down to which blocks are drawn from
	for want := drawFrom(short, total); sum < want && least > 1; {
		least--
		sum += room[least]
	}
	drawn := best{size: short}
	for b := range d.count {
		if d.level(b) >= least && d.openIn(b, reserved) != 0 {
			drawn.add(ranked{mix(d.seed, b), b})
		}
	}
	for _, r := range drawn.list {
		out = d.pick(out, n, r.block, reserved)
	}
	return out
}

// pick adds free addresses of a block until there are n, beginning at a place that differs by seed.
func (d drawing) pick(out []netip.Addr, n, b int, reserved bool) []netip.Addr {
	free := d.openIn(b, reserved)
	start := int(mix(d.seed, ^b) % blockSize)
	for i := range blockSize {
		if o := (start + i) % blockSize; len(out) < n && free&(1<<o) != 0 {
			out = append(out, d.addr(b*blockSize+o))
		}
	}
	return out
}

// whole draws n whole blocks of the smallest aligned free runs; several lie together where they can.
func (d drawing) whole(n int, reserved bool) []int {
	if n <= 0 || reserved && !slices.Contains(d.shut, set) {
		return nil
	}
	order := d.runs(reserved)
	var room [bits.UintSize]int // whole blocks by the run's order
	total := 0
	for _, k := range order {
		if k >= 0 {
			room[k]++
			total++
		}
	}
	most, sum := 0, room[0] // the order up to which runs are drawn from
	for want := drawFrom(min(n, total), total); sum < want; {
		most++
		sum += room[most]
	}
	together := bits.Len(uint(min(n, blockSize) - 1))
	drawn := best{size: n}
	for b, k := range order {
		if k >= 0 && int(k) <= most {
			drawn.add(ranked{mix(d.seed, b>>together), b})
		}
	}
	blocks := make([]int, len(drawn.list))
	for i, r := range drawn.list {
		blocks[i] = r.block
	}
	return blocks
}

// runs gives each whole block the order of the largest aligned run of whole blocks that it lies in (2^order blocks), others
// -1. Blocks in reservations for prefixes and those outside of reservations are told apart.
func (s *Space) runs(reserved bool) []int8 {
	kind := open
	if reserved {
		kind = set
	}
	before := make([]int32, len(s.count)+1) // whole blocks before each
	for b, used := range s.count {
		before[b+1] = before[b]
		if used == 0 && s.shut[b] == kind {
			before[b+1]++
		}
	}
	order := make([]int8, len(s.count))
	var walk func(first, k int)
	walk = func(first, k int) {
		size := 1 << k
		switch whole := int(before[first+size] - before[first]); {
		case whole != 0 && whole != size:
			walk(first, k-1)
			walk(first+size/2, k-1)
			return
		case whole == 0:
			k = -1
		}
		for b := first; b < first+size; b++ {
			order[b] = int8(k)
		}
	}
	if len(order) > 0 {
		walk(0, bits.Len(uint(len(order)))-1)
	}
	return order
}

// Reserve chooses the range of n whole blocks or more to set aside for prefixes: the emptiest aligned range of the next power
// of two that no reservation touches. Every node chooses the same, so that two never reserve twice as much. The result is
// not valid when there is no such range with a whole block in it.
func (s *Space) Reserve(n int) netip.Prefix {
	if n <= 0 || n > len(s.count) {
		return netip.Prefix{}
	}
	size := 1 << bits.Len(uint(n-1))
	var emptiest netip.Prefix
	mostWhole, leastUsed := 0, 0
	for first := 0; first+size <= len(s.count); first += size {
		whole, used, touched := 0, 0, false
		for b := first; b < first+size; b++ {
			touched = touched || s.reservedIn(b)
			used += int(s.count[b])
			if s.count[b] == 0 {
				whole++
			}
		}
		if !touched && whole > 0 && (whole > mostWhole || whole == mostWhole && used < leastUsed) {
			mostWhole, leastUsed = whole, used
			emptiest = netip.PrefixFrom(s.addr(first*blockSize), 32-bits.Len(uint(size*blockSize-1)))
		}
	}
	return emptiest
}

// reservedIn tells whether a reservation touches a block.
func (s *Space) reservedIn(b int) bool {
	w, shift := b*blockSize/64, b*blockSize%64
	return (s.aside[prefixes][w]|s.aside[explicit][w])>>shift&full != 0
}

// ranked is a block with its place in a draw.
type ranked struct {
	rank  uint64
	block int
}

// best keeps the first few of what it is given, in the order of ranks and then of blocks.
type best struct {
	size int
	list []ranked
}

func (b *best) add(r ranked) {
	if len(b.list) == b.size {
		if last := b.list[b.size-1]; last.rank < r.rank || last.rank == r.rank && last.block < r.block {
			return
		}
		b.list = b.list[:b.size-1]
	}
	i := len(b.list)
	for i > 0 && (b.list[i-1].rank > r.rank || b.list[i-1].rank == r.rank && b.list[i-1].block > r.block) {
		i--
	}
	b.list = slices.Insert(b.list, i, r)
}

func hash(seed string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(seed))
	return h.Sum64()
}

// mix gives a seed and a number an evenly spread rank (the finaliser of SplitMix64).
func mix(seed uint64, n int) uint64 {
	x := seed + uint64(n)*0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

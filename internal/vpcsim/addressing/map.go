package addressing

import (
	"cmp"
	"encoding/binary"
	"errors"
	"maps"
	"math/bits"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/berth-net/berth/internal/core/vpc"
)

// Errors of the map. Callers translate them into EC2's codes.
var (
	ErrFull       = errors.New("no free address")                    // fewer free addresses than asked for
	ErrFragmented = errors.New("no free aligned block")              // enough addresses, but no whole block
	ErrOutside    = errors.New("address is outside the subnet")      // or a prefix that is none of its blocks
	ErrReserved   = errors.New("address is reserved by EC2")         // the first four and the last
	ErrInUse      = errors.New("address is assigned already")        // to anybody
	ErrNotOwner   = errors.New("address is not assigned to owner")   // on release
	ErrOverlap    = errors.New("range overlaps another reservation") // of reservations
)

// blockBits is the length of an IPv4 prefix that EC2 delegates; blockSize the number of its addresses.
const (
	blockBits = 28
	blockSize = 1 << (32 - blockBits)
)

// Kind says what a reserved range serves.
type Kind string

// The kinds of reservations, as EC2 spells them.
const (
	KindPrefix   Kind = "prefix"   // automatic prefixes first, and only prefixes
	KindExplicit Kind = "explicit" // only what callers name
)

// Reservation is a range set aside in a subnet.
type Reservation struct {
	ID   string       `json:"id"`
	CIDR netip.Prefix `json:"cidr"`
	Kind Kind         `json:"kind"`
}

// Choice is how free addresses are chosen.
type Choice struct {
	Rand *rand.Rand
	Now  time.Time
	// Quarantine keeps a freed address from being chosen for so long. Naming it explicitly is still possible.
	Quarantine time.Duration
	// Sequential takes the lowest free address instead of a random one.
	Sequential bool
}

// Map is the state of one IPv4 subnet of /16 to /28. Owners are network interfaces. The zero value is not usable.
type Map struct {
	cidr netip.Prefix
	base uint32
	size uint32

	used     []uint64 // bit per address: assigned, in a delegated prefix, or reserved by EC2
	aside    []uint64 // bit per address: within a reservation
	cooling  []uint64 // bit per address: free, but was assigned once; chosen last
	inBlock  []uint8  // per /28: how many addresses are used
	usedSum  int
	singles  map[uint32]string // offset of an assigned address -> owner
	blocks   map[uint32]string // index of a delegated block -> owner
	reserved []Reservation

	freed map[uint32]freedEntry // the entry that counts for a cooling address
	order []freedEntry          // in the order of freeing; entries that do not count any more are skipped
	seq   uint64
}

type freedEntry struct {
	offset uint32
	seq    uint64
	at     time.Time
}

// New makes the map of an empty subnet.
func New(cidr netip.Prefix) *Map {
	cidr = cidr.Masked()
	size := uint32(1) << (32 - cidr.Bits())
	words := (size + 63) / 64
	m := &Map{
		cidr: cidr, base: number(cidr.Addr()), size: size,
		used: make([]uint64, words), aside: make([]uint64, words), cooling: make([]uint64, words),
		inBlock: make([]uint8, size/blockSize),
		singles: make(map[uint32]string), blocks: make(map[uint32]string), freed: make(map[uint32]freedEntry),
	}
	for o := range uint32(vpc.ReservedPerSubnet - 1) {
		m.mark(o)
	}
	m.mark(size - 1)
	return m
}

func number(a netip.Addr) uint32 {
	b := a.As4()
	return binary.BigEndian.Uint32(b[:])
}

func (m *Map) addr(offset uint32) netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], m.base+offset)
	return netip.AddrFrom4(b)
}

func (m *Map) prefix(block uint32) netip.Prefix {
	return netip.PrefixFrom(m.addr(block*blockSize), blockBits)
}

func has(set []uint64, o uint32) bool { return set[o/64]&(1<<(o%64)) != 0 }
func put(set []uint64, o uint32)      { set[o/64] |= 1 << (o % 64) }
func drop(set []uint64, o uint32)     { set[o/64] &^= 1 << (o % 64) }

// mark makes an address used, whatever it was; unmark makes it free.
func (m *Map) mark(o uint32) {
	put(m.used, o)
	m.inBlock[o/blockSize]++
	m.usedSum++
	if has(m.cooling, o) {
		drop(m.cooling, o)
		delete(m.freed, o)
	}
}

func (m *Map) unmark(o uint32) {
	drop(m.used, o)
	m.inBlock[o/blockSize]--
	m.usedSum--
}

// cool remembers that a free address was in use until now.
func (m *Map) cool(o uint32, at time.Time) {
	m.seq++
	e := freedEntry{offset: o, seq: m.seq, at: at}
	put(m.cooling, o)
	m.freed[o] = e
	m.order = append(m.order, e)
	if len(m.order) > 64 && len(m.order) > 4*len(m.freed) {
		m.compact()
	}
}

func (m *Map) compact() {
	kept := m.order[:0]
	for _, e := range m.order {
		if m.freed[e.offset].seq == e.seq {
			kept = append(kept, e)
		}
	}
	m.order = kept
}

// CIDR is the subnet's block.
func (m *Map) CIDR() netip.Prefix { return m.cidr }

// Free is the number of addresses that are neither assigned nor EC2's own. Reservations do not lower it.
func (m *Map) Free() int { return int(m.size) - m.usedSum }

// FreeBlocks is the number of aligned /28 blocks without any used address.
func (m *Map) FreeBlocks() int {
	n := 0
	for _, used := range m.inBlock {
		if used == 0 {
			n++
		}
	}
	return n
}

// Assigned is the number of assigned addresses, those of prefixes included.
func (m *Map) Assigned() int { return m.usedSum - min(vpc.ReservedPerSubnet, int(m.size)) }

// Owner tells to whom an address is assigned, alone or within a prefix.
func (m *Map) Owner(a netip.Addr) (string, bool) {
	if !m.cidr.Contains(a) {
		return "", false
	}
	o := number(a) - m.base
	if owner, ok := m.singles[o]; ok {
		return owner, true
	}
	owner, ok := m.blocks[o/blockSize]
	return owner, ok
}

// Single tells whether an address is assigned alone, not within a prefix.
func (m *Map) Single(a netip.Addr) bool {
	if !m.cidr.Contains(a) {
		return false
	}
	_, ok := m.singles[number(a)-m.base]
	return ok
}

// Check tells whether an address can be taken: nil, ErrOutside, ErrReserved or ErrInUse.
func (m *Map) Check(a netip.Addr) error {
	switch {
	case !m.cidr.Contains(a):
		return ErrOutside
	case vpc.Reserved(m.cidr, a):
		return ErrReserved
	case has(m.used, number(a)-m.base):
		return ErrInUse
	}
	return nil
}

// Take assigns a named address.
func (m *Map) Take(a netip.Addr, owner string) error {
	if err := m.Check(a); err != nil {
		return err
	}
	m.take(number(a)-m.base, owner)
	return nil
}

func (m *Map) take(o uint32, owner string) {
	m.mark(o)
	m.singles[o] = owner
}

// CheckPrefix tells whether a block can be taken: nil, ErrOutside, ErrReserved or ErrInUse.
func (m *Map) CheckPrefix(p netip.Prefix) error {
	if p.Bits() != blockBits || p != p.Masked() || !m.cidr.Contains(p.Addr()) {
		return ErrOutside
	}
	block := (number(p.Addr()) - m.base) / blockSize
	switch {
	case block == 0 || block == m.size/blockSize-1:
		return ErrReserved
	case m.inBlock[block] != 0:
		return ErrInUse
	}
	return nil
}

// TakePrefix assigns a named block.
func (m *Map) TakePrefix(p netip.Prefix, owner string) error {
	if err := m.CheckPrefix(p); err != nil {
		return err
	}
	m.takeBlock((number(p.Addr())-m.base)/blockSize, owner)
	return nil
}

func (m *Map) takeBlock(block uint32, owner string) {
	for o := block * blockSize; o < (block+1)*blockSize; o++ {
		m.mark(o)
	}
	m.blocks[block] = owner
}

// Release frees an address of owner.
func (m *Map) Release(a netip.Addr, owner string, now time.Time) error {
	if !m.cidr.Contains(a) {
		return ErrOutside
	}
	o := number(a) - m.base
	if m.singles[o] != owner || owner == "" {
		return ErrNotOwner
	}
	delete(m.singles, o)
	m.unmark(o)
	m.cool(o, now)
	return nil
}

// ReleasePrefix frees a block of owner.
func (m *Map) ReleasePrefix(p netip.Prefix, owner string, now time.Time) error {
	if !m.cidr.Contains(p.Addr()) {
		return ErrOutside
	}
	block := (number(p.Addr()) - m.base) / blockSize
	if owner == "" || m.blocks[block] != owner || m.prefix(block) != p {
		return ErrNotOwner
	}
	delete(m.blocks, block)
	for o := block * blockSize; o < (block+1)*blockSize; o++ {
		m.unmark(o)
		m.cool(o, now)
	}
	return nil
}

// Cancel takes an assignment back as if it had never been made: the address does not count as freed.
func (m *Map) Cancel(a netip.Addr, owner string) {
	if o := number(a) - m.base; m.cidr.Contains(a) && owner != "" && m.singles[o] == owner {
		delete(m.singles, o)
		m.unmark(o)
	}
}

// Assign chooses n free addresses for owner: all of them, or none and ErrFull.
func (m *Map) Assign(owner string, n int, c Choice) ([]netip.Addr, error) {
	if n > m.Free() {
		return nil, ErrFull
	}
	undo := make(map[uint32]freedEntry)
	out := make([]netip.Addr, 0, n)
	for range n {
		o, ok := m.choose(c)
		if !ok {
			m.undo(out, undo)
			return nil, ErrFull
		}
		if e, cooled := m.freed[o]; cooled {
			undo[o] = e
		}
		m.take(o, owner)
		out = append(out, m.addr(o))
	}
	return out, nil
}

// undo takes assignments back as if they had never been made.
func (m *Map) undo(addrs []netip.Addr, cooled map[uint32]freedEntry) {
	for _, a := range addrs {
		o := number(a) - m.base
		delete(m.singles, o)
		m.unmark(o)
		if e, ok := cooled[o]; ok {
			put(m.cooling, o)
			m.freed[o] = e
		}
	}
	if len(cooled) > 0 { // choose may have dropped their entries
		m.order = slices.SortedFunc(maps.Values(m.freed), func(a, b freedEntry) int { return cmp.Compare(a.seq, b.seq) })
	}
}

// choose finds a free address outside every reservation: any that was never assigned, else the one that has been free
// for the longest time.
func (m *Map) choose(c Choice) (uint32, bool) {
	start := uint32(0)
	if !c.Sequential {
		for range 16 { // most subnets are mostly empty: a few draws give an unbiased choice at once
			o := c.Rand.Uint32N(m.size)
			if !has(m.used, o) && !has(m.aside, o) && !has(m.cooling, o) {
				return o, true
			}
		}
		start = c.Rand.Uint32N(m.size)
	}
	if o, ok := m.scan(start); ok {
		return o, true
	}
	for len(m.order) > 0 && m.freed[m.order[0].offset].seq != m.order[0].seq {
		m.order = m.order[1:]
	}
	for _, e := range m.order {
		if m.freed[e.offset].seq != e.seq || has(m.aside, e.offset) {
			continue
		}
		if c.Now.Sub(e.at) < c.Quarantine {
			break // the ones behind it were freed later
		}
		return e.offset, true
	}
	return 0, false
}

// scan finds the first fresh free address at or after start, wrapping around.
func (m *Map) scan(start uint32) (uint32, bool) {
	words := uint32(len(m.used))
	for i := range words + 1 {
		w := (start/64 + i) % words
		open := ^(m.used[w] | m.aside[w] | m.cooling[w])
		if m.size < 64 {
			open &= 1<<m.size - 1
		}
		if i == 0 {
			open &= ^uint64(0) << (start % 64)
		}
		if open != 0 {
			return w*64 + uint32(bits.TrailingZeros64(open)), true
		}
	}
	return 0, false
}

// AssignPrefixes chooses n whole blocks for owner: all of them, or none with ErrFull when there are fewer than 16·n
// free addresses and ErrFragmented when no whole block is left among them. Blocks in reservations for prefixes come
// first; blocks without recently freed addresses come before the others.
func (m *Map) AssignPrefixes(owner string, n int, c Choice) ([]netip.Prefix, error) {
	if n*blockSize > m.Free() {
		return nil, ErrFull
	}
	chosen := make([]uint32, 0, n)
	for _, pool := range m.blockPools(c) {
		if !c.Sequential {
			c.Rand.Shuffle(len(pool), func(i, j int) { pool[i], pool[j] = pool[j], pool[i] })
		}
		chosen = append(chosen, pool[:min(len(pool), n-len(chosen))]...)
	}
	if len(chosen) < n {
		return nil, ErrFragmented
	}
	out := make([]netip.Prefix, n)
	for i, block := range chosen {
		m.takeBlock(block, owner)
		out[i] = m.prefix(block)
	}
	return out, nil
}

// blockPools sorts the whole blocks into pools in order of preference: reserved for prefixes and general, each fresh
// before freed. Blocks in quarantine or in explicit reservations are in none.
func (m *Map) blockPools(c Choice) [4][]uint32 {
	var pools [4][]uint32
	for block, used := range m.inBlock {
		if used != 0 {
			continue
		}
		p := m.prefix(uint32(block))
		pool := 2
		if kind, ok := m.kindOf(p); ok {
			if kind != KindPrefix {
				continue
			}
			pool = 0
		}
		last := m.lastFreed(uint32(block))
		if !last.IsZero() {
			if c.Now.Sub(last) < c.Quarantine {
				continue
			}
			pool++
		}
		pools[pool] = append(pools[pool], uint32(block))
	}
	return pools
}

// kindOf tells which reservation touches a block. One that only covers a part of the block keeps it from being chosen.
func (m *Map) kindOf(p netip.Prefix) (Kind, bool) {
	for _, r := range m.reserved {
		if r.CIDR.Overlaps(p) {
			if r.CIDR.Bits() > blockBits {
				return KindExplicit, true
			}
			return r.Kind, true
		}
	}
	return "", false
}

func (m *Map) lastFreed(block uint32) time.Time {
	var last time.Time
	if o := block * blockSize; m.cooling[o/64]>>(o%64)&(1<<blockSize-1) == 0 {
		return last
	}
	for o := block * blockSize; o < (block+1)*blockSize; o++ {
		if e, ok := m.freed[o]; ok && (last.IsZero() || e.at.After(last)) {
			last = e.at
		}
	}
	return last
}

// Reserve sets a range aside.
func (m *Map) Reserve(r Reservation) error {
	r.CIDR = r.CIDR.Masked()
	if r.CIDR.Bits() < m.cidr.Bits() || !m.cidr.Contains(r.CIDR.Addr()) {
		return ErrOutside
	}
	for _, other := range m.reserved {
		if other.CIDR.Overlaps(r.CIDR) {
			return ErrOverlap
		}
	}
	m.reserved = append(m.reserved, r)
	m.setAside(r.CIDR, put)
	return nil
}

// Unreserve drops a reservation.
func (m *Map) Unreserve(id string) bool {
	for i, r := range m.reserved {
		if r.ID == id {
			m.reserved = append(m.reserved[:i], m.reserved[i+1:]...)
			m.setAside(r.CIDR, drop)
			return true
		}
	}
	return false
}

func (m *Map) setAside(p netip.Prefix, change func([]uint64, uint32)) {
	first := number(p.Addr()) - m.base
	for o := first; o < first+1<<(32-p.Bits()); o++ {
		change(m.aside, o)
	}
}

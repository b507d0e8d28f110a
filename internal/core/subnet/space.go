package subnet

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
	"time"

	"github.com/berth-net/berth/internal/core/vpc"
)

// Space is the map of one subnet's IPv4 addresses: which are free, which aligned /28 are wholly free, and what part is set
// aside for what. EC2 shows none of this; it follows from the subnet's interfaces and reservations.
//
// A /28 ("block") is whole when no address of it is in use, and none is EC2's own or set aside for something else: only such
// a block can be assigned as a prefix. The first and the last of a subnet never are. A block that can never be one is
// spoilt; one that could be, if those who are in it left, is broken.
//
//	block   0                1                2                3
//	       |RRRR.x..........|................|..xxxx.....x....|..............eR|
//	        spoilt (R: EC2)   whole            broken           spoilt
//
// What may be chosen where:
//
//   - prefixes: first whole blocks in reservations for prefixes, which is what they are for and where EC2 would choose, then
//     whole blocks outside of any reservation;
//   - single addresses: outside of reservations. In those for prefixes only when nothing else is left, since a pod that
//     waits costs more than a /28 that is broken;
//   - nothing in explicit reservations: somebody set them aside for addresses that he names himself.
//
// The map is as good as what it was made of. Interfaces of other accounts are not shown in a shared subnet, and others
// assign at the same time: what it calls free may be taken, which EC2 then says (vpc.AddressTaken). See Hidden.
type Space struct {
	cidr  netip.Prefix
	base  uint32
	at    time.Time
	used  []uint64 // bit per address: assigned, alone or in a prefix, or EC2's own
	own   []uint64 // bit per address: EC2's own
	aside [2][]uint64
	count []uint8 // per block: used addresses
	shut  []shut  // per block
	hides int
}

// The kinds of reservations, as indexes of aside.
const (
	prefixes = iota
	explicit
)

// shut says what a block may serve.
type shut uint8

const (
	open   shut = iota // outside of any reservation
	set                // wholly in a reservation for prefixes
	spoilt             // never a prefix: EC2's own addresses, an explicit reservation, or a part of one
)

const (
	blockSize = vpc.PrefixSize
	full      = 1<<blockSize - 1 // a mask of a whole block
)

// NewSpace makes the map of a subnet out of its interfaces and reservations, that were asked for at askedAt. Interfaces and
// reservations of other subnets, and addresses outside of it, do not count. A subnet without an IPv4 block has no room.
func NewSpace(sn vpc.Subnet, occupants []vpc.ENI, reservations []vpc.Reservation, askedAt time.Time) *Space {
	s := &Space{cidr: sn.CIDR.Masked(), at: askedAt}
	if !s.cidr.IsValid() || !s.cidr.Addr().Is4() || s.cidr.Bits() > vpc.PrefixBits {
		s.cidr = netip.Prefix{}
		return s
	}
	s.base = number(s.cidr.Addr())
	size := 1 << (32 - s.cidr.Bits())
	words := (size + 63) / 64
	s.used, s.own = make([]uint64, words), make([]uint64, words)
	s.aside = [2][]uint64{make([]uint64, words), make([]uint64, words)}
	s.count, s.shut = make([]uint8, size/blockSize), make([]shut, size/blockSize)
	for o := range vpc.ReservedPerSubnet - 1 {
		s.keep(o)
	}
	s.keep(size - 1)
	s.setAside(reservations)
	s.occupy(sn.ID, occupants)
	if free := size - s.usedSum(); free > sn.Free {
		s.hides = free - sn.Free
	}
	return s
}

// keep marks an address as EC2's own.
func (s *Space) keep(o int) {
	s.mark(o)
	s.own[o/64] |= 1 << (o % 64)
	s.shut[o/blockSize] = spoilt
}

func (s *Space) setAside(reservations []vpc.Reservation) {
	for _, r := range reservations {
		kind := prefixes
		if r.Type != vpc.ReservedForPrefixes {
			kind = explicit // or one that is not known yet: nothing is chosen there either
		}
		first, last, ok := s.clip(r.CIDR)
		if !ok {
			continue
		}
		for o := first; o <= last; o++ {
			s.aside[kind][o/64] |= 1 << (o % 64)
		}
		for b := first / blockSize; b <= last/blockSize; b++ {
			whole := first <= b*blockSize && (b+1)*blockSize-1 <= last
			if s.shut[b] != open || !whole || kind == explicit {
				s.shut[b] = spoilt
			} else {
				s.shut[b] = set
			}
		}
	}
}

// clip gives the offsets of the part of a range that lies in the subnet.
func (s *Space) clip(p netip.Prefix) (first, last int, ok bool) {
	if !p.IsValid() || !p.Addr().Is4() || !s.cidr.Overlaps(p) {
		return 0, 0, false
	}
	if p.Bits() <= s.cidr.Bits() {
		return 0, len(s.count)*blockSize - 1, true
	}
	first = int(number(p.Masked().Addr()) - s.base)
	return first, first + 1<<(32-p.Bits()) - 1, true
}

func (s *Space) occupy(id vpc.SubnetID, occupants []vpc.ENI) {
	for i := range occupants {
		e := &occupants[i]
		if e.Subnet != id {
			continue
		}
		s.occupyOne(e.Primary)
		for _, a := range e.Secondary {
			s.occupyOne(a)
		}
		for _, p := range e.Prefixes {
			s.Take(vpc.PrefixBlock(p))
		}
	}
}

func (s *Space) occupyOne(a netip.Addr) {
	if o, ok := s.offset(a); ok {
		s.mark(o)
	}
}

// Take notes a block as in use: it is asked for, or was found taken. What is in use already stays so.
func (s *Space) Take(b vpc.Block) {
	if first, last, ok := s.clip(b.CIDR()); ok {
		for o := first; o <= last; o++ {
			s.mark(o)
		}
	}
}

// Give notes a block as free again: it was given back, or could not be had for another reason than that it is taken.
func (s *Space) Give(b vpc.Block) {
	first, last, ok := s.clip(b.CIDR())
	if !ok {
		return
	}
	for o := first; o <= last; o++ {
		if bit := uint64(1) << (o % 64); s.used[o/64]&bit != 0 && s.own[o/64]&bit == 0 {
			s.used[o/64] &^= bit
			s.count[o/blockSize]--
		}
	}
}

func (s *Space) mark(o int) {
	if bit := uint64(1) << (o % 64); s.used[o/64]&bit == 0 {
		s.used[o/64] |= bit
		s.count[o/blockSize]++
	}
}

// CIDR is the subnet's block; not valid without an IPv4 one.
func (s *Space) CIDR() netip.Prefix { return s.cidr }

// At is when EC2 was asked for what the map was made of.
func (s *Space) At() time.Time { return s.at }

// Hidden is how many addresses EC2 counted as used that the map does not show: interfaces of other accounts in a shared
// subnet, or what was assigned between the reads of the subnet and of its interfaces. It is as of the reads.
func (s *Space) Hidden() int { return s.hides }

// Exact tells whether the map shows every address that EC2 counts as used. Of one that does not, names are guesses, and it
// may be better to let EC2 choose.
func (s *Space) Exact() bool { return s.hides == 0 }

// FreeAddrs is the number of addresses that are free and may be chosen: those of explicit reservations may not.
func (s *Space) FreeAddrs() int {
	n := 0
	for i, used := range s.used {
		n += bits.OnesCount64(^(used | s.aside[explicit][i]))
	}
	return n - s.beyond()
}

// beyond is the number of bits of the last word that stand for no address.
func (s *Space) beyond() int { return len(s.used)*64 - len(s.count)*blockSize }

// FreePrefixes is the number of whole blocks.
func (s *Space) FreePrefixes() int {
	n := 0
	for b, used := range s.count {
		if used == 0 && s.shut[b] != spoilt {
			n++
		}
	}
	return n
}

// Fragmentation is the share of the free addresses that no prefix can bring: 1 - 16 × free prefixes / free addresses. It is
// 0 when every free address is in a whole block or none is free, and 1 when no prefix can be had.
func (s *Space) Fragmentation() float64 {
	free := s.FreeAddrs()
	if free == 0 {
		return 0
	}
	return 1 - float64(blockSize*s.FreePrefixes())/float64(free)
}

func (s *Space) usedSum() int {
	n := 0
	for _, used := range s.count {
		n += int(used)
	}
	return n
}

// openIn is a mask of the free addresses of a block that may be chosen: those outside of reservations, or those in
// reservations for prefixes.
func (s *Space) openIn(b int, reserved bool) uint16 {
	w, shift := b*blockSize/64, b*blockSize%64
	mask := s.aside[prefixes][w]
	if !reserved {
		mask = ^(mask | s.aside[explicit][w])
	}
	return uint16(mask &^ s.used[w] >> shift)
}

func (s *Space) offset(a netip.Addr) (int, bool) {
	if !a.Is4() || !s.cidr.Contains(a) {
		return 0, false
	}
	return int(number(a) - s.base), true
}

func (s *Space) addr(o int) netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], s.base+uint32(o))
	return netip.AddrFrom4(b)
}

func (s *Space) prefix(b int) netip.Prefix {
	return netip.PrefixFrom(s.addr(b*blockSize), vpc.PrefixBits)
}

func number(a netip.Addr) uint32 {
	b := a.As4()
	return binary.BigEndian.Uint32(b[:])
}

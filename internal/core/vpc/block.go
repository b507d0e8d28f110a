package vpc

import (
	"fmt"
	"net/netip"
)

// PrefixBits is the size of the IPv4 prefixes that EC2 assigns to interfaces, PrefixSize the number of their addresses.
// Source: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-prefix-eni.html
const (
	PrefixBits = 28
	PrefixSize = 1 << (32 - PrefixBits)
)

// Block is what EC2 assigns to an interface and takes back from it as one: a single secondary address or a prefix. Each
// takes one of the interface's slots. The zero Block is none.
type Block struct {
	cidr netip.Prefix
}

// Single is the block of one address.
func Single(a netip.Addr) Block { return Block{netip.PrefixFrom(a, a.BitLen())} }

// PrefixBlock is the block of a prefix that EC2 assigned.
func PrefixBlock(p netip.Prefix) Block { return Block{p.Masked()} }

// Blocks are the blocks of single addresses and prefixes, in that order.
func Blocks(addrs []netip.Addr, prefixes []netip.Prefix) []Block {
	blocks := make([]Block, 0, len(addrs)+len(prefixes))
	for _, a := range addrs {
		blocks = append(blocks, Single(a))
	}
	for _, p := range prefixes {
		blocks = append(blocks, PrefixBlock(p))
	}
	return blocks
}

// Split is the reverse of Blocks: single addresses apart from prefixes.
func Split(blocks []Block) (addrs []netip.Addr, prefixes []netip.Prefix) {
	for _, b := range blocks {
		if b.IsPrefix() {
			prefixes = append(prefixes, b.cidr)
		} else {
			addrs = append(addrs, b.cidr.Addr())
		}
	}
	return addrs, prefixes
}

// IsPrefix tells whether it is a prefix rather than a single address.
func (b Block) IsPrefix() bool { return !b.cidr.IsSingleIP() }

// CIDR is the block as a prefix; that of a single address has all bits.
func (b Block) CIDR() netip.Prefix { return b.cidr }

// First is the lowest address, of a single one the address itself.
func (b Block) First() netip.Addr { return b.cidr.Addr() }

// Contains tells whether an address is one of the block's.
func (b Block) Contains(a netip.Addr) bool { return b.cidr.Contains(a) }

// Size is the number of its addresses, all of which pods can have.
func (b Block) Size() int { return 1 << (b.cidr.Addr().BitLen() - b.cidr.Bits()) }

// Addrs are its addresses in numerical order.
func (b Block) Addrs() []netip.Addr {
	addrs := make([]netip.Addr, 0, b.Size())
	for a := b.First(); len(addrs) < cap(addrs); a = a.Next() {
		addrs = append(addrs, a)
	}
	return addrs
}

// Compare orders blocks by address, then the longer prefix last.
func (b Block) Compare(c Block) int { return b.cidr.Compare(c.cidr) }

// String is the address, or the prefix in CIDR notation.
func (b Block) String() string {
	if b.IsPrefix() {
		return b.cidr.String()
	}
	return b.cidr.Addr().String()
}

// MarshalText implements encoding.TextMarshaler.
func (b Block) MarshalText() ([]byte, error) { return []byte(b.String()), nil }

// UnmarshalText reads an address, or a prefix in CIDR notation.
func (b *Block) UnmarshalText(text []byte) error {
	if a, err := netip.ParseAddr(string(text)); err == nil {
		*b = Single(a)
		return nil
	}
	p, err := netip.ParsePrefix(string(text))
	if err != nil || p != p.Masked() || p.Addr().BitLen()-p.Bits() > 32-PrefixBits {
		return fmt.Errorf("parse block %q: neither an address nor a prefix that EC2 assigns", text)
	}
	*b = PrefixBlock(p)
	return nil
}

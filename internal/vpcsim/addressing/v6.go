package addressing

import (
	"encoding/binary"
	"encoding/json"
	"maps"
	"math/rand/v2"
	"net/netip"
)

// v6PrefixBits is the length of an IPv6 prefix that EC2 delegates.
const v6PrefixBits = 80

// V6 is the state of a subnet's IPv6 block, a /64. It has room for everything, so it never fills.
type V6 struct {
	cidr     netip.Prefix
	addrs    map[netip.Addr]string
	prefixes map[netip.Prefix]string
}

// NewV6 makes the map of an empty block.
func NewV6(cidr netip.Prefix) *V6 {
	return &V6{cidr: cidr.Masked(), addrs: make(map[netip.Addr]string), prefixes: make(map[netip.Prefix]string)}
}

// CIDR is the block.
func (v *V6) CIDR() netip.Prefix { return v.cidr }

// Empty tells whether nothing is assigned.
func (v *V6) Empty() bool { return len(v.addrs) == 0 && len(v.prefixes) == 0 }

// reservedV6 are the first four addresses and the last of a block.
func (v *V6) reservedV6(a netip.Addr) bool {
	b := a.As16()
	low := binary.BigEndian.Uint64(b[8:])
	return low < 4 || low == ^uint64(0)
}

// Take assigns a named address.
func (v *V6) Take(a netip.Addr, owner string) error {
	switch {
	case !v.cidr.Contains(a):
		return ErrOutside
	case v.reservedV6(a):
		return ErrReserved
	}
	if _, used := v.addrs[a]; used {
		return ErrInUse
	}
	if p, err := a.Prefix(v6PrefixBits); err == nil && v.prefixes[p] != "" {
		return ErrInUse
	}
	v.addrs[a] = owner
	return nil
}

// TakePrefix assigns a named /80.
func (v *V6) TakePrefix(p netip.Prefix, owner string) error {
	if p.Bits() != v6PrefixBits || p != p.Masked() || !v.cidr.Contains(p.Addr()) {
		return ErrOutside
	}
	if v.prefixes[p] != "" {
		return ErrInUse
	}
	if v.reservedV6(p.Addr()) {
		return ErrReserved
	}
	for a := range v.addrs {
		if p.Contains(a) {
			return ErrInUse
		}
	}
	v.prefixes[p] = owner
	return nil
}

// Assign chooses an address.
func (v *V6) Assign(owner string, rng *rand.Rand) netip.Addr {
	for {
		if a := v.random(rng.Uint64()); v.Take(a, owner) == nil {
			return a
		}
	}
}

// AssignPrefix chooses a /80.
func (v *V6) AssignPrefix(owner string, rng *rand.Rand) netip.Prefix {
	for {
		p, err := v.random(rng.Uint64()).Prefix(v6PrefixBits)
		if err == nil && v.TakePrefix(p, owner) == nil {
			return p
		}
	}
}

func (v *V6) random(low uint64) netip.Addr {
	b := v.cidr.Addr().As16()
	binary.BigEndian.PutUint64(b[8:], low)
	return netip.AddrFrom16(b)
}

// Release frees an address of owner.
func (v *V6) Release(a netip.Addr, owner string) error {
	if owner == "" || v.addrs[a] != owner {
		return ErrNotOwner
	}
	delete(v.addrs, a)
	return nil
}

// ReleasePrefix frees a /80 of owner.
func (v *V6) ReleasePrefix(p netip.Prefix, owner string) error {
	if owner == "" || v.prefixes[p] != owner {
		return ErrNotOwner
	}
	delete(v.prefixes, p)
	return nil
}

type v6JSON struct {
	CIDR     netip.Prefix            `json:"cidr"`
	Addrs    map[netip.Addr]string   `json:"addrs,omitempty"`
	Prefixes map[netip.Prefix]string `json:"prefixes,omitempty"`
}

// MarshalJSON implements json.Marshaler.
func (v *V6) MarshalJSON() ([]byte, error) {
	return json.Marshal(v6JSON{v.cidr, v.addrs, v.prefixes})
}

// UnmarshalJSON implements json.Unmarshaler.
func (v *V6) UnmarshalJSON(data []byte) error {
	var j v6JSON
	if err := json.Unmarshal(data, &j); err != nil {
		return err
	}
	*v = *NewV6(j.CIDR)
	maps.Copy(v.addrs, j.Addrs)
	maps.Copy(v.prefixes, j.Prefixes)
	return nil
}

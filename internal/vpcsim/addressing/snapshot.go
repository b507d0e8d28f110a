package addressing

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"time"
)

type mapJSON struct {
	CIDR     netip.Prefix            `json:"cidr"`
	Singles  map[netip.Addr]string   `json:"singles,omitempty"`
	Prefixes map[netip.Prefix]string `json:"prefixes,omitempty"`
	Reserved []Reservation           `json:"reserved,omitempty"`
	Freed    []freedJSON             `json:"freed,omitempty"` // in the order of freeing
}

type freedJSON struct {
	Addr netip.Addr `json:"addr"`
	At   time.Time  `json:"at"`
}

// MarshalJSON implements json.Marshaler.
func (m *Map) MarshalJSON() ([]byte, error) {
	j := mapJSON{
		CIDR: m.cidr, Reserved: m.reserved,
		Singles: make(map[netip.Addr]string), Prefixes: make(map[netip.Prefix]string),
	}
	for o, owner := range m.singles {
		j.Singles[m.addr(o)] = owner
	}
	for block, owner := range m.blocks {
		j.Prefixes[m.prefix(block)] = owner
	}
	for _, e := range m.order {
		if m.freed[e.offset].seq == e.seq {
			j.Freed = append(j.Freed, freedJSON{m.addr(e.offset), e.at})
		}
	}
	return json.Marshal(j)
}

// UnmarshalJSON implements json.Unmarshaler.
func (m *Map) UnmarshalJSON(data []byte) error {
	var j mapJSON
	if err := json.Unmarshal(data, &j); err != nil {
		return err
	}
	if !j.CIDR.Addr().Is4() || j.CIDR.Bits() < 16 || j.CIDR.Bits() > 28 {
		return fmt.Errorf("read subnet %s: not an IPv4 block of /16 to /28", j.CIDR)
	}
	*m = *New(j.CIDR)
	for a, owner := range j.Singles {
		if err := m.Take(a, owner); err != nil {
			return fmt.Errorf("read address %s of %s: %w", a, j.CIDR, err)
		}
	}
	for p, owner := range j.Prefixes {
		if err := m.TakePrefix(p, owner); err != nil {
			return fmt.Errorf("read prefix %s of %s: %w", p, j.CIDR, err)
		}
	}
	for _, r := range j.Reserved {
		if err := m.Reserve(r); err != nil {
			return fmt.Errorf("read reservation %s of %s: %w", r.ID, j.CIDR, err)
		}
	}
	for _, f := range j.Freed {
		if err := m.Check(f.Addr); err != nil {
			return fmt.Errorf("read freed address %s of %s: %w", f.Addr, j.CIDR, err)
		}
		m.cool(number(f.Addr)-m.base, f.At)
	}
	return nil
}

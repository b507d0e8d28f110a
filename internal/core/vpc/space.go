package vpc

import (
	"fmt"
	"net/netip"
	"strconv"
)

// ReservationType says what a reservation of a part of a subnet is for.
type ReservationType string

// The types. Source: https://docs.aws.amazon.com/vpc/latest/userguide/subnet-cidr-reservation.html
const (
	// ReservedForPrefixes: EC2 takes the prefixes that it chooses from there, and no single address.
	ReservedForPrefixes ReservationType = "prefix"
	// ReservedExplicit: EC2 chooses nothing there; only what a caller names is assigned.
	ReservedExplicit ReservationType = "explicit"
)

// Reservation is a part of a subnet that is set aside. It may lie over addresses in use, which stay.
type Reservation struct {
	ID          ReservationID
	Subnet      SubnetID
	CIDR        netip.Prefix
	Type        ReservationType
	Description string
	Tags        Tags
}

// SecurityGroup is a security group as one account sees it.
type SecurityGroup struct {
	ID   SecurityGroupID
	VPC  ID
	Name string
	Tags Tags
}

// Want is what is asked of EC2 for an interface: either blocks that the caller names, or how many addresses or prefixes EC2
// is to choose. Exactly one of the four is set, none for nothing: EC2 takes no two of them in one call.
type Want struct {
	Count       int            `json:"count,omitempty"`    // single addresses that EC2 chooses
	PrefixCount int            `json:"prefixes,omitempty"` // prefixes that EC2 chooses
	Addrs       []netip.Addr   `json:"addrs,omitempty"`
	Prefixes    []netip.Prefix `json:"named,omitempty"`
}

// Slots is how many of an interface's slots it takes.
func (w Want) Slots() int { return w.Count + w.PrefixCount + len(w.Addrs) + len(w.Prefixes) }

// Size is how many addresses it brings.
func (w Want) Size() int {
	return w.Count + len(w.Addrs) + PrefixSize*(w.PrefixCount+len(w.Prefixes))
}

// InPrefixes tells whether it asks for prefixes.
func (w Want) InPrefixes() bool { return w.PrefixCount+len(w.Prefixes) > 0 }

// Named tells whether the caller chose.
func (w Want) Named() bool { return len(w.Addrs)+len(w.Prefixes) > 0 }

// String says what is asked for: a number of addresses, of prefixes, or the names.
func (w Want) String() string {
	switch {
	case w.Named():
		return fmt.Sprint(Blocks(w.Addrs, w.Prefixes))
	case w.PrefixCount > 0:
		return strconv.Itoa(w.PrefixCount) + " prefixes"
	}
	return strconv.Itoa(w.Count)
}

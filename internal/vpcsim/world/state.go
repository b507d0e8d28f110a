package world

import (
	"crypto/sha256"
	"encoding/json"
	"iter"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/berth-net/berth/internal/vpcsim/addressing"
	"github.com/berth-net/berth/internal/vpcsim/ec2"
	"github.com/berth-net/berth/internal/vpcsim/groups"
	"github.com/berth-net/berth/internal/vpcsim/metadata"
	"github.com/berth-net/berth/internal/vpcsim/pacing"
	"github.com/berth-net/berth/internal/vpcsim/routing"
	"github.com/berth-net/berth/internal/vpcsim/tags"
)

// State is everything that a snapshot holds.
type State struct {
	Region, Account string
	Zones           []Zone
	Now             time.Time
	Settings        Settings
	IDs, Dice       []byte // states of the random sources; set in snapshots only

	VPCs         table[*Network]
	Subnets      table[*Subnet]
	ENIs         table[*ENI]
	Ghosts       table[*ENI] // deleted, but not for describe actions yet
	Groups       table[*groups.Group]
	Instances    table[*Instance]
	RouteTables  table[*routing.Table]
	Gateways     table[*Gateway]
	NATs         table[*NATGateway]
	Addresses    table[*Address]
	Reservations table[*Reservation]
	Trunks       table[*Trunk]
	Tags         tags.Store
	ShownTags    map[string]*history[[]ec2.Tag] `json:",omitempty"` // by account and resource, while they lag
	Policies     map[string][]string

	Events    []Event // a heap
	EventSeq  uint64
	Revision  uint64
	Buckets   pacing.Buckets
	Faults    pacing.Faults
	Calls     pacing.Log
	Tokens    map[string]*Answer
	TokenLine []string // keys of Tokens, oldest first
}

// table holds objects by id and lists them in the order of their ids.
type table[V any] struct {
	byID map[string]V
	IDs  []string
}

// Get finds an object by its id.
func (t *table[V]) Get(id string) (V, bool) {
	v, ok := t.byID[id]
	return v, ok
}

// Put adds or replaces an object.
func (t *table[V]) Put(id string, v V) {
	if t.byID == nil {
		t.byID = make(map[string]V)
	}
	if _, replaces := t.byID[id]; !replaces {
		i, _ := slices.BinarySearch(t.IDs, id)
		t.IDs = slices.Insert(t.IDs, i, id)
	}
	t.byID[id] = v
}

// Remove removes an object, if it is there.
func (t *table[V]) Remove(id string) {
	if i, ok := slices.BinarySearch(t.IDs, id); ok {
		t.IDs = slices.Delete(t.IDs, i, i+1)
		delete(t.byID, id)
	}
}

// Len is the number of objects.
func (t *table[V]) Len() int { return len(t.IDs) }

// All lists the objects; the table may not change meanwhile.
func (t *table[V]) All() iter.Seq[V] {
	return func(yield func(V) bool) {
		for _, id := range t.IDs {
			if !yield(t.byID[id]) {
				return
			}
		}
	}
}

// MarshalJSON implements json.Marshaler.
func (t table[V]) MarshalJSON() ([]byte, error) { return json.Marshal(t.byID) }

// UnmarshalJSON implements json.Unmarshaler.
func (t *table[V]) UnmarshalJSON(data []byte) error {
	t.byID = nil
	if err := json.Unmarshal(data, &t.byID); err != nil {
		return err
	}
	t.IDs = slices.Sorted(maps.Keys(t.byID))
	return nil
}

// Network is a VPC.
type Network struct {
	ID, Owner                     string
	Blocks, Blocks6               []Block // of IPv4, the first is the primary one
	DNSSupport, DNSHostnames, NAU bool
	DefaultGroup, MainTable       string
}

// Block is an address block of a VPC, with the state of its association.
type Block struct {
	ID    string
	CIDR  netip.Prefix
	State string
}

// States of a block.
const (
	Associating    = "associating"
	Associated     = "associated"
	Disassociating = "disassociating"
)

// AssociatedBlocks are the VPC's IPv4 blocks that are associated.
func (n *Network) AssociatedBlocks() []netip.Prefix {
	var out []netip.Prefix
	for _, b := range n.Blocks {
		if b.State == Associated {
			out = append(out, b.CIDR)
		}
	}
	return out
}

// Subnet is a subnet. V6 is nil without an IPv6 block.
type Subnet struct {
	ID, VPC, Owner, Zone string
	V4                   *addressing.Map
	V6                   *addressing.V6
	V6ID                 string
	SharedWith           []string
	MapPublic, AssignV6  bool
	DNS64, CustomerIP    bool
	Hostname             ec2.PrivateDnsNameOptionsOnLaunch
	VisibleAt            time.Time    // for describe actions
	Counts               history[int] // AvailableIpAddressCount
}

// Sees tells whether an account sees the subnet.
func (n *Subnet) Sees(account string) bool {
	return n.Owner == account || slices.Contains(n.SharedWith, account)
}

// Reservation is a CIDR reservation of a subnet.
type Reservation struct {
	ec2.SubnetCidrReservation
}

// ENI is a network interface.
type ENI struct {
	ID, Subnet, VPC, Owner, Zone string
	MAC, Description, Type       string
	Addresses                    []netip.Addr // the primary one first
	Prefixes                     []netip.Prefix
	Addresses6                   []netip.Addr
	Prefixes6                    []netip.Prefix
	Groups                       []string
	SourceDestCheck              bool
	Managed                      string // the service that made it, or empty
	Attachment                   *Attachment
	Branch                       string // id of the trunk association
	Tracking                     *ec2.ConnectionTracking
	Public                       map[netip.Addr]Public
	AttachableBy                 []string // accounts with permission to attach it
	Shown                        history[*ec2.NetworkInterface]
	View                         *ec2.NetworkInterface `json:"-"` // as describe actions show it while nothing lags; nil after a change
	hosts                        []string              // instances that the index lists it for
}

// Attachment ties an eni to an instance.
type Attachment struct {
	ID, Instance, Status string
	Device, Card         int
	DeleteOnTermination  bool
	Time                 time.Time
}

// Public is the public address of a private one. Allocation is empty for one that goes with the interface.
type Public struct {
	IP                      netip.Addr
	Allocation, Association string
}

// Status is the interface's state as EC2 spells it.
func (e *ENI) Status() string {
	switch {
	case e.Attachment != nil:
		return "in-use"
	case e.Branch != "":
		return "associated"
	}
	return "available"
}

// Instance is an EC2 instance.
type Instance struct {
	ID, Reservation, Owner, Image, Type, Zone string
	Key, Token, Profile, Name                 string
	Index                                     int
	State                                     ec2.InstanceState
	Launched                                  time.Time
	ENIs                                      []string // attached, attaching or detaching, the primary one first
	VPC, Subnet                               string
	Options                                   ec2.InstanceMetadataOptions
	View                                      metadata.View
}

// States of an instance.
var (
	Pending      = ec2.InstanceState{Code: 0, Name: "pending"}
	Running      = ec2.InstanceState{Code: 16, Name: "running"}
	ShuttingDown = ec2.InstanceState{Code: 32, Name: "shutting-down"}
	Terminated   = ec2.InstanceState{Code: 48, Name: "terminated"}
)

// Gateway is an internet gateway; VPC is empty while it is detached.
type Gateway struct {
	ID, Owner, VPC string
}

// NATGateway is a NAT gateway.
type NATGateway struct {
	ID, Subnet, VPC, Owner, State, Connectivity string
	ENI, Allocation, Association                string
	Private, Public                             netip.Addr
	Created                                     time.Time
	Deleted                                     *time.Time
}

// Address is an elastic address; ENI is empty while it is not associated.
type Address struct {
	ID, Owner, Association, ENI string
	IP, Private                 netip.Addr
}

// Trunk is the association of a branch interface with a trunk.
type Trunk struct {
	ec2.TrunkInterfaceAssociation
}

// history is a value as describe actions see it, some time after each change. The last entry is the true value. It is
// empty while nothing lags.
type history[T any] struct {
	Entries []entry[T] `json:",omitempty"`
}

type entry[T any] struct {
	Value T
	At    time.Time // visible from
}

// Put notes a change that becomes visible at a moment, though never before an earlier change.
func (h *history[T]) Put(v T, at, now time.Time) {
	if n := len(h.Entries); n > 0 && at.Before(h.Entries[n-1].At) {
		at = h.Entries[n-1].At
	}
	h.Entries = append(h.Entries, entry[T]{v, at})
	for len(h.Entries) > 1 && !now.Before(h.Entries[1].At) {
		h.Entries = h.Entries[1:]
	}
}

// At tells what is visible at a moment. Lags is false when the history is empty, and the true value is to be shown;
// visible is false before the first entry becomes visible.
func (h *history[T]) At(now time.Time) (v T, visible, lags bool) {
	for _, e := range slices.Backward(h.Entries) {
		if !now.Before(e.At) {
			return e.Value, true, true
		}
	}
	return v, false, len(h.Entries) > 0
}

// settled tells whether the last entry is visible.
func (h *history[T]) settled(now time.Time) bool {
	return len(h.Entries) == 0 || !now.Before(h.Entries[len(h.Entries)-1].At)
}

// Answer is what a ClientToken stands for.
type Answer struct {
	Hash  [sha256.Size]byte
	At    time.Time
	Reply json.RawMessage
}

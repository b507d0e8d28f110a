package vpcsim

import (
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

// state is everything that a snapshot holds.
type state struct {
	Region, Account string
	Zones           []Zone
	Now             time.Time
	Settings        Settings
	IDs, Dice       []byte // states of the random sources; set in snapshots only

	VPCs         table[*network]
	Subnets      table[*subnet]
	ENIs         table[*eni]
	Ghosts       table[*eni] // deleted, but not for describe actions yet
	Groups       table[*groups.Group]
	Instances    table[*instance]
	RouteTables  table[*routing.Table]
	Gateways     table[*gateway]
	NATs         table[*natGateway]
	Addresses    table[*address]
	Reservations table[*reservation]
	Trunks       table[*trunk]
	Tags         tags.Store
	Policies     map[string][]string

	Events    []event // a heap
	EventSeq  uint64
	Revision  uint64
	Buckets   pacing.Buckets
	Faults    pacing.Faults
	Tokens    map[string]*answer
	TokenLine []string // keys of Tokens, oldest first
}

// table holds objects by id and lists them in the order of their ids.
type table[V any] struct {
	byID map[string]V
	ids  []string
}

func (t *table[V]) get(id string) (V, bool) {
	v, ok := t.byID[id]
	return v, ok
}

func (t *table[V]) put(id string, v V) {
	if t.byID == nil {
		t.byID = make(map[string]V)
	}
	if _, replaces := t.byID[id]; !replaces {
		i, _ := slices.BinarySearch(t.ids, id)
		t.ids = slices.Insert(t.ids, i, id)
	}
	t.byID[id] = v
}

func (t *table[V]) remove(id string) {
	if i, ok := slices.BinarySearch(t.ids, id); ok {
		t.ids = slices.Delete(t.ids, i, i+1)
		delete(t.byID, id)
	}
}

func (t *table[V]) len() int { return len(t.ids) }

// all lists the objects; the table may not change meanwhile.
func (t *table[V]) all() iter.Seq[V] {
	return func(yield func(V) bool) {
		for _, id := range t.ids {
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
	t.ids = slices.Sorted(maps.Keys(t.byID))
	return nil
}

// network is a VPC.
type network struct {
	ID, Owner                     string
	Blocks, Blocks6               []block // of IPv4, the first is the primary one
	DNSSupport, DNSHostnames, NAU bool
	DefaultGroup, MainTable       string
}

// block is an address block of a VPC, with the state of its association.
type block struct {
	ID    string
	CIDR  netip.Prefix
	State string
}

const (
	associating    = "associating"
	associated     = "associated"
	disassociating = "disassociating"
)

// blocks are the VPC's IPv4 blocks that are associated.
func (n *network) blocks() []netip.Prefix {
	var out []netip.Prefix
	for _, b := range n.Blocks {
		if b.State == associated {
			out = append(out, b.CIDR)
		}
	}
	return out
}

// subnet is a subnet. V6 is nil without an IPv6 block.
type subnet struct {
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

// sees tells whether an account sees the subnet.
func (n *subnet) sees(account string) bool {
	return n.Owner == account || slices.Contains(n.SharedWith, account)
}

// reservation is a CIDR reservation of a subnet.
type reservation struct {
	ec2.SubnetCidrReservation
}

// eni is a network interface.
type eni struct {
	ID, Subnet, VPC, Owner, Zone string
	MAC, Description, Type       string
	Addresses                    []netip.Addr // the primary one first
	Prefixes                     []netip.Prefix
	Addresses6                   []netip.Addr
	Prefixes6                    []netip.Prefix
	Groups                       []string
	SourceDestCheck              bool
	Managed                      string // the service that made it, or empty
	Attachment                   *attachment
	Branch                       string // id of the trunk association
	Tracking                     *ec2.ConnectionTracking
	Public                       map[netip.Addr]public
	AttachableBy                 []string // accounts with permission to attach it
	Shown                        history[*ec2.NetworkInterface]
}

// attachment ties an eni to an instance.
type attachment struct {
	ID, Instance, Status string
	Device, Card         int
	DeleteOnTermination  bool
	Time                 time.Time
}

// public is the public address of a private one. Allocation is empty for one that goes with the interface.
type public struct {
	IP                      netip.Addr
	Allocation, Association string
}

// status is the interface's state as EC2 spells it.
func (e *eni) status() string {
	switch {
	case e.Attachment != nil:
		return "in-use"
	case e.Branch != "":
		return "associated"
	}
	return "available"
}

// instance is an EC2 instance.
type instance struct {
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
	pending      = ec2.InstanceState{Code: 0, Name: "pending"}
	running      = ec2.InstanceState{Code: 16, Name: "running"}
	shuttingDown = ec2.InstanceState{Code: 32, Name: "shutting-down"}
	terminated   = ec2.InstanceState{Code: 48, Name: "terminated"}
)

// gateway is an internet gateway; VPC is empty while it is detached.
type gateway struct {
	ID, Owner, VPC string
}

// natGateway is a NAT gateway.
type natGateway struct {
	ID, Subnet, VPC, Owner, State, Connectivity string
	ENI, Allocation, Association                string
	Private, Public                             netip.Addr
	Created                                     time.Time
	Deleted                                     *time.Time
}

// address is an elastic address; ENI is empty while it is not associated.
type address struct {
	ID, Owner, Association, ENI string
	IP, Private                 netip.Addr
}

// trunk is the association of a branch interface with a trunk.
type trunk struct {
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

// put notes a change that becomes visible at a moment, though never before an earlier change.
func (h *history[T]) put(v T, at, now time.Time) {
	if n := len(h.Entries); n > 0 && at.Before(h.Entries[n-1].At) {
		at = h.Entries[n-1].At
	}
	h.Entries = append(h.Entries, entry[T]{v, at})
	for len(h.Entries) > 1 && !now.Before(h.Entries[1].At) {
		h.Entries = h.Entries[1:]
	}
}

// at tells what is visible at a moment. Lags is false when the history is empty, and the true value is to be shown;
// visible is false before the first entry becomes visible.
func (h *history[T]) at(now time.Time) (v T, visible, lags bool) {
	for i := len(h.Entries) - 1; i >= 0; i-- {
		if !now.Before(h.Entries[i].At) {
			return h.Entries[i].Value, true, true
		}
	}
	return v, false, len(h.Entries) > 0
}

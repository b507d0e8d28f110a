package pool

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/berth-net/berth/internal/core/vpc"
)

// Kind is what an action does.
type Kind string

// The kinds. Reads come first; the others change EC2.
const (
	ReadENIs          Kind = "read-enis"     // all interfaces attached to the instance
	ReadENI           Kind = "read-eni"      // one interface, attached or not
	ReadSubnets       Kind = "read-subnets"  // the zone's subnets
	ReadSpace         Kind = "read-space"    // what occupies a subnet
	ReadGroups        Kind = "read-groups"   // the VPC's security groups that are tagged for interfaces
	ReadLeaked        Kind = "read-leaked"   // unattached interfaces that carry our tags
	ReadMetadata      Kind = "read-metadata" // the metadata service's view of the interfaces
	ReadVPC           Kind = "read-vpc"      // from the metadata service: the VPC's blocks and the primary interface's groups
	CreateENI         Kind = "create-eni"
	AttachENI         Kind = "attach-eni"
	KeepENI           Kind = "set-delete-on-termination"
	TagENI            Kind = "tag-eni"
	SetGroups         Kind = "set-groups"
	AssignAddresses   Kind = "assign-addresses"
	UnassignAddresses Kind = "unassign-addresses"
	DetachENI         Kind = "detach-eni"
	DeleteENI         Kind = "delete-eni"
	DeleteLeaked      Kind = "delete-leaked-eni"
	ReservePrefixes   Kind = "reserve-prefixes" // sets a part of a subnet aside
)

// Mutates tells whether the kind changes EC2.
func (k Kind) Mutates() bool { return !strings.HasPrefix(string(k), "read-") }

// Why says why an action is taken, or why a pod waits. The same words go to logs, events, metric labels and the CLI.
type Why string

// Reasons of actions.
const (
	Starting        Why = "starting"
	PodsWaiting     Why = "pods-waiting"
	WarmTarget      Why = "warm-target"
	PodsBound       Why = "pods-bound"          // pods are bound to the node and have not asked yet
	AheadOfDemand   Why = "ahead-of-demand"     // as many more as came lately
	NoneFree        Why = "none-free"           // the next pod would wait
	Fragmentation   Why = "fragmentation"       // prefixes are, or may become, scarce in the subnet
	OtherMode       Why = "other-mode"          // a single address where prefixes are asked for, or the other way round
	Unfinished      Why = "unfinished"          // finishes what was begun
	BeforeRelease   Why = "read-before-release" // nothing is given back on an old view
	AfterDoubt      Why = "outcome-unknown"
	Resync          Why = "resync"
	Excess          Why = "excess"
	InterfaceEmpty  Why = "interface-empty"
	SubnetExcluded  Why = "subnet-excluded" // by its tags, or by custom networking
	GroupsChanged   Why = "security-groups-changed"
	LeakedInterface Why = "leaked-interface"
	NoSlot          Why = "no-interface-slot"
	BlockUnknown    Why = "block-unknown" // a subnet lies outside the VPC's blocks that are known
)

// Urgent tells whether pods wait for an action, or are about to.
func (w Why) Urgent() bool { return w == PodsWaiting || w == PodsBound }

// Growth is a key in Tries that no action has: it spaces creations after one was refused for the account's quota.
const Growth = "grow"

// GrowthIn is the key that spaces creations in a subnet after one there was refused: another subnet may take them, since IAM
// and security groups can allow one and not the other.
func GrowthIn(id vpc.SubnetID) string { return Growth + "/" + string(id) }

// Grows tells whether a key in Tries is that of refused creations.
func Grows(key string) bool { return key == Growth || strings.HasPrefix(key, Growth+"/") }

// Action is one thing to do. Key is deterministic: a retry is the same action, and one key is in flight once.
type Action struct {
	Kind       Kind
	Key        string
	Why        Why
	ENI        vpc.ENIID
	Attachment vpc.AttachmentID
	Device     int
	Card       int
	Want       vpc.Want    // AssignAddresses
	Blocks     []vpc.Block // UnassignAddresses
	Tags       vpc.Tags
	Groups     []vpc.SecurityGroupID
	Create     *Pending
	Subnet     vpc.SubnetID // ReadSpace, ReservePrefixes
	CIDR       netip.Prefix // ReservePrefixes
}

// String is one line for logs and golden tests.
func (a Action) String() string {
	var b strings.Builder
	b.WriteString(string(a.Kind))
	if a.ENI != "" {
		fmt.Fprintf(&b, " %s", a.ENI)
	}
	switch a.Kind {
	case ReadSpace:
		fmt.Fprintf(&b, " %s", a.Subnet)
	case ReservePrefixes:
		fmt.Fprintf(&b, " %s in %s", a.CIDR, a.Subnet)
	case CreateENI:
		fmt.Fprintf(&b, " in %s with %s", a.Create.Subnet, a.Create.Want)
	case AttachENI:
		fmt.Fprintf(&b, " at %d", a.Device)
	case AssignAddresses:
		fmt.Fprintf(&b, " +%s", a.Want)
	case UnassignAddresses:
		fmt.Fprintf(&b, " %v", a.Blocks)
	default:
	}
	fmt.Fprintf(&b, ": %s", a.Why)
	return b.String()
}

// Result is what an action gave. Only the fields of its kind are set.
type Result struct {
	Err error
	// AskedAt is the time just before the question was sent; reads only.
	AskedAt    time.Time
	ENIs       []vpc.ENI           // reads of interfaces; ReadENI gives none when it does not exist
	Reserved   []vpc.Reservation   // ReadSpace
	Tagged     []vpc.SecurityGroup // ReadGroups
	Subnets    []vpc.Subnet
	Metadata   []vpc.MetadataENI
	CIDRs      []netip.Prefix        // ReadVPC
	Groups     []vpc.SecurityGroupID // ReadVPC
	ENI        vpc.ENI               // CreateENI
	Attachment vpc.AttachmentID
	Assigned   []vpc.Block // AssignAddresses
}

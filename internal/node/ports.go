// Package node is the loop of one node: it observes EC2, the kernel and the cluster, plans with core/ipam and acts. One
// goroutine owns the state; nothing else touches it.
package node

import (
	"context"
	"net/netip"
	"os"
	"time"

	"github.com/berth-net/berth/internal/core/hostnet"
	"github.com/berth-net/berth/internal/core/pool"
	"github.com/berth-net/berth/internal/core/vpc"
	"github.com/berth-net/berth/internal/node/checkpoint"
)

// CloudReader reads EC2. Errors are *vpc.Error.
type CloudReader interface {
	// AttachedENIs returns every interface that is attached to the instance, in one consistent answer.
	AttachedENIs(ctx context.Context, instance vpc.InstanceID) ([]vpc.ENI, error)
	// ENIs returns the named interfaces; those that do not exist are left out.
	ENIs(ctx context.Context, ids []vpc.ENIID) ([]vpc.ENI, error)
	// AvailableENIs returns the unattached interfaces of the VPC that carry vpc.TagENIInstance and, unless cluster is
	// empty, vpc.TagENICluster with that value. With an instance, only those that it created.
	AvailableENIs(ctx context.Context, id vpc.ID, cluster string, instance vpc.InstanceID) ([]vpc.ENI, error)
	// Subnets returns the VPC's subnets in the zone with the tags of the caller's account.
	Subnets(ctx context.Context, id vpc.ID, zone vpc.ZoneName) ([]vpc.Subnet, error)
	// InstanceLimits asks EC2 for the limits of a type that the published table does not know.
	InstanceLimits(ctx context.Context, instanceType string) (vpc.InstanceLimits, error)
}

// ENIWriter changes interfaces.
type ENIWriter interface {
	// CreateENI creates an interface; the same Token gives the same interface.
	CreateENI(ctx context.Context, req CreateENI) (vpc.ENI, error)
	// AttachENI attaches an interface to an instance at a device index of card 0 unless said otherwise.
	AttachENI(ctx context.Context, req AttachENI) (vpc.AttachmentID, error)
	// SetDeleteOnTermination makes an attached interface go away with its instance.
	SetDeleteOnTermination(ctx context.Context, eni vpc.ENIID, attachment vpc.AttachmentID) error
	// DetachENI starts to detach an interface; an attachment that is gone is success.
	DetachENI(ctx context.Context, eni vpc.ENIID, attachment vpc.AttachmentID) error
	// DeleteENI deletes an unattached interface; one that is gone is success.
	DeleteENI(ctx context.Context, eni vpc.ENIID) error
	// TagENI adds tags to an interface.
	TagENI(ctx context.Context, eni vpc.ENIID, tags vpc.Tags) error
}

// AddressWriter changes what is assigned to an interface.
type AddressWriter interface {
	// Assign assigns more secondary addresses or prefixes and returns which. EC2 has no token for this call: after an error
	// of unknown outcome the interface is read again before the next try. A named block that is in use is vpc.AddressTaken.
	Assign(ctx context.Context, eni vpc.ENIID, want vpc.Want) ([]vpc.Block, error)
	// Unassign gives secondary addresses and prefixes back, in a call for each kind; what is not assigned any more is success.
	Unassign(ctx context.Context, eni vpc.ENIID, blocks []vpc.Block) error
	// SetGroups sets the security groups of an interface.
	SetGroups(ctx context.Context, eni vpc.ENIID, groups []vpc.SecurityGroupID) error
}

// SubnetCloud is what EC2 tells of, and takes for, whole subnets.
type SubnetCloud interface {
	// Occupants returns every interface of the subnet that the account sees, of whatever kind and status, and the subnet's
	// IPv4 reservations. In a subnet that another account shares, those of other accounts are missing.
	Occupants(ctx context.Context, subnet vpc.SubnetID) ([]vpc.ENI, []vpc.Reservation, error)
	// ReservePrefixes sets a part of a subnet aside for prefixes, with tags. A part that overlaps another reservation is
	// vpc.AddressTaken.
	ReservePrefixes(ctx context.Context, subnet vpc.SubnetID, cidr netip.Prefix, tags vpc.Tags) (vpc.Reservation, error)
	// SecurityGroups returns the groups of the VPC that carry vpc.TagCNIRole, with the tags of the caller's account.
	SecurityGroups(ctx context.Context, id vpc.ID) ([]vpc.SecurityGroup, error)
}

// Cloud is EC2 as a node uses it. internal/aws implements it over the wire; tests run it in process on vpcsim.
type Cloud interface {
	CloudReader
	ENIWriter
	AddressWriter
	SubnetCloud
}

// CreateENI is a request for a new interface.
type CreateENI struct {
	Token       string // ClientToken
	Subnet      vpc.SubnetID
	Groups      []vpc.SecurityGroupID
	Description string
	Tags        vpc.Tags
	Primary     netip.Addr // its own address; not set when EC2 is to choose
	Want        vpc.Want   // secondary addresses or prefixes to assign at once
}

// AttachENI is a request to attach an interface.
type AttachENI struct {
	ENI         vpc.ENIID
	Instance    vpc.InstanceID
	DeviceIndex int
	NetworkCard int
}

// Metadata is the instance metadata service. It lags behind EC2: what it says is a hint.
type Metadata interface {
	// Instance reads what the node must know of itself to start.
	Instance(ctx context.Context) (vpc.Instance, error)
	// ENIs walks all interfaces; an interface that is only partly there is left out.
	ENIs(ctx context.Context) ([]vpc.MetadataENI, error)
	// Refresh reads what may change under way: the VPC's blocks and the primary interface's security groups.
	Refresh(ctx context.Context, primaryMAC string) (cidrs []netip.Prefix, groups []vpc.SecurityGroupID, err error)
}

// Network is the part of the host's network that serves all pods.
type Network interface {
	// Reconcile makes the host's network what cfg asks for: observe, compare, apply what differs. The returned lines say
	// what it had to change, in the text form of core/hostnet; none when all was in place. seen are the pod addresses that the
	// kernel knew at its last look.
	Reconcile(ctx context.Context, cfg hostnet.Config) (changed []string, seen []hostnet.Seen, err error)
	// Seen lists the pod addresses that the kernel knows.
	Seen(ctx context.Context, settings hostnet.Settings) ([]hostnet.Seen, error)
	// Links lists the host's links.
	Links(ctx context.Context) ([]hostnet.Link, error)
	// Changes signals, coalesced, that links, routes, rules or nftables changed behind our back.
	Changes() <-chan struct{}
}

// PodNetwork is the wiring of single pods.
type PodNetwork interface {
	// WirePod gives the network namespace its interface; it is idempotent and undoes itself on failure.
	WirePod(ctx context.Context, settings hostnet.Settings, pod hostnet.Pod, netns *os.File) (hostnet.Wired, error)
	// UnwirePod removes the pod's rules and route before it returns; the link may follow. What is gone is success.
	UnwirePod(ctx context.Context, settings hostnet.Settings, pod hostnet.Pod) error
	// CheckPod says what of a pod's wiring is missing, a line each; none when it is whole.
	CheckPod(ctx context.Context, settings hostnet.Settings, pod hostnet.Pod, netns *os.File) (missing []string, err error)
}

// Host is the machine's network. internal/linux implements it.
type Host interface {
	Network
	PodNetwork
}

// Cluster is the Kubernetes API as a node uses it. Every method must return at once with what is known: the API server may be away.
type Cluster interface {
	// Node returns what the Node object says; ok is false while it is not known.
	Node() (Facts, bool)
	// Event records an event on a pod, on the Node when its Node is set, and else on the agent's own pod.
	Event(e Event)
	// Condition sets a condition of the Node's status. It is written when it differs from what the Node has, soon and
	// seldom: of several in a row the last counts. It may be called in every step.
	Condition(c Condition)
	// Changes signals, coalesced, that Facts changed.
	Changes() <-chan struct{}
}

// Facts is what the Kubernetes API says that matters for addressing.
type Facts struct {
	MaxPods     int  // status.capacity.pods
	Schedulable bool // no taint node.kubernetes.io/unschedulable:NoSchedule
	// ENIConfig is the one that the Node's label or annotation names, or "default". It is empty unless custom networking is
	// asked for.
	ENIConfig ENIConfig
	// Overrides are the settings that resources with a matching node selector make, those that count first.
	Overrides []pool.Overrides
	// Bound are the pods that are bound to the node and will ask for an address: not in the host's network, not ended, and
	// without an address in their status.
	Bound []Bound
	// Refused says of resources with settings for the node what in them cannot be used and was left out, a sentence each.
	Refused []string
	// Unscheduled are the pods of the cluster that wait for a node and will ask for an address; Nodes is how many nodes may
	// get them. Zero while neither is known.
	Unscheduled, Nodes int
}

// ENIConfig is where custom networking takes interfaces from on this node.
type ENIConfig struct {
	Name string
	// Found tells that there is an object of that name. Without one no interface is made.
	Found  bool
	Subnet vpc.SubnetID          // empty: the object names none that can be used
	Groups []vpc.SecurityGroupID // none: those of the primary interface
	// From says what named it: a label or an annotation with its key, or that none did.
	From string
	// Why says why no interface can be made by it: it is missing, was not read yet, or what it says makes no sense. Empty
	// when one can.
	Why string
}

// Types of conditions of the Node. True is the good state.
const (
	// ConditionAddressing is false while the node cannot get addresses for a reason that lasts.
	ConditionAddressing = "BerthAddressing"
	// ConditionSettings is false while settings for the node contradict each other or cannot be used.
	ConditionSettings = "BerthSettings"
)

// Condition is a condition of the Node's status.
type Condition struct {
	Type    string
	Status  bool   // False is the state that somebody should look at
	Reason  string // one word, such as SubnetMissing
	Message string
}

// Bound is a pod that the scheduler put on the node.
type Bound struct {
	PodName
	UID string
	// Leaving tells that it is being deleted: its address will cool, and who replaces it asks for another one.
	Leaving bool
}

// Event is a Kubernetes event. Repeats of the same Pod and Reason are merged.
type Event struct {
	Pod     PodName
	UID     string
	Node    bool // about the Node; Pod is empty
	Warning bool
	Reason  string
	Message string
	Action  string
}

// PodName names a pod.
type PodName struct {
	Namespace, Name string
}

// Journal keeps records across restarts. internal/node/journal implements it.
type Journal interface {
	// Load returns the records of earlier runs in order. A damaged journal gives what could be read and says what was lost.
	Load() (records []pool.Record, damage string, err error)
	// Append queues records in order and returns a function that waits until they are durable.
	Append(records []pool.Record) (wait func() error)
	// Compact replaces all records so far by a snapshot, in order with Append.
	Compact(snapshot []pool.Record) (wait func() error)
	// Due tells whether the journal has grown enough to be compacted.
	Due() bool
}

// Checkpoint is the file in which the Amazon VPC CNI keeps which pod has which address. internal/node/checkpoint implements
// it.
type Checkpoint interface {
	// Load reads it. It fails while the Amazon VPC CNI runs on this node.
	Load() (checkpoint.Found, error)
	// KeepAside makes the next Save leave a copy of the present file beside it.
	KeepAside()
	// Save has the file written with these pods, soon. It never waits.
	Save(pods []pool.Allocation)
}

// Meter is told what happened, for metrics. Its methods are called from many goroutines.
type Meter interface {
	Added(elapsed time.Duration, why string) // why is empty on success
	Deleted(elapsed time.Duration, err error)
	Acted(kind pool.Kind, why pool.Why, elapsed time.Duration, err error)
	// Compared is told of each comparison of the host's network.
	Compared(err error)
	// Lost is told of interfaces with pods and of pods' addresses that EC2 does not list any more.
	Lost(enis, addrs int)
}

// Clock is the source of time of the loop; the simulation test replaces it.
type Clock interface {
	Now() time.Time
	// After sends on the returned channel once d has passed.
	After(d time.Duration) <-chan time.Time
}

package hostnet

import (
	"net/netip"

	"github.com/berth-net/berth/internal/core/vpc"
)

// Config is what a node asks of its host's network: the interfaces that it manages, the pods that are wired and the
// settings. Want turns it into links, addresses, routes, rules, sysctls and nftables.
type Config struct {
	// PrimaryMAC finds the primary link; PrimaryIP is the node's own address.
	PrimaryMAC string
	PrimaryIP  netip.Addr
	// VPCCIDRs are the blocks of the VPC: traffic to them keeps the pod's address.
	VPCCIDRs []netip.Prefix
	ENIs     []ENI
	Pods     []Pod
	Settings Settings
}

// Settings are the host-network settings of the agent, in its own terms.
type Settings struct {
	VethPrefix string // AWS_VPC_K8S_CNI_VETHPREFIX
	ENIMTU     int    // AWS_VPC_ENI_MTU, bytes
	PodMTU     int    // POD_MTU, bytes
	// SNAT translates what pods send outside the VPC to the node's address (AWS_VPC_K8S_CNI_EXTERNALSNAT=false).
	SNAT bool
	// RandomizeSNAT is how the source port is chosen.
	RandomizeSNAT RandomizeSNAT
	// NoSNATCIDRs are destinations outside the VPC that keep the pod's address too (AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS).
	NoSNATCIDRs []netip.Prefix
	// ExternalServiceCIDRs are reached by the main table from every pod (AWS_EXTERNAL_SERVICE_CIDRS).
	ExternalServiceCIDRs []netip.Prefix
	// NodePort marks connections that came in by the primary link, so that their replies leave by it.
	NodePort bool
	// ConnMark is the one bit of the packet and connection mark that is ours (AWS_VPC_K8S_CNI_CONNMARK).
	ConnMark uint32
}

// RandomizeSNAT is AWS_VPC_K8S_CNI_RANDOMIZESNAT.
type RandomizeSNAT string

// The choices of RandomizeSNAT.
const (
	RandomizePRNG RandomizeSNAT = "prng"       // fully random ports
	RandomizeHash RandomizeSNAT = "hashrandom" // random offset
	RandomizeNone RandomizeSNAT = "none"
)

// ENI is a managed interface that is attached to this host.
type ENI struct {
	ID          vpc.ENIID
	MAC         string
	DeviceIndex int
	NetworkCard int
	Primary     bool       // the instance's own interface: main table, nothing of it is reconfigured but its MTU
	Address     netip.Addr // the interface's primary address
	SubnetCIDR  netip.Prefix
}

// PodKey identifies an attachment of a pod, as the CNI specification does.
type PodKey struct {
	Network     string
	ContainerID string
	IfName      string
}

// Pod is a pod's attachment that is, or shall be, wired.
type Pod struct {
	Key       PodKey
	Namespace string
	Name      string
	UID       string       // empty when the runtime did not say
	Addrs     []netip.Addr // one per family
	// ENI, device index and card of the interface that the addresses belong to; they give the route table.
	ENI         vpc.ENIID
	DeviceIndex int
	NetworkCard int
}

// Wired is what wiring a pod gave: the facts of the CNI result.
type Wired struct {
	HostVeth string
	HostMAC  string
	PodMAC   string
	Table    int // the route table of the pod's interface
	MTU      int
}

// Seen is a pod's address as the kernel shows it: a route or rule of ours points at it. Veth is the host link, empty
// when only rules remain; Alias is its label, empty where the existing CNI made it. Live tells that the link exists: the pod
// may still use the address.
type Seen struct {
	Addr  netip.Addr
	Veth  string
	Alias string
	Table int // table of the "from" rule; 254 when there is none
	Live  bool
}

// Link is a host link. Alias is its label, see [Alias].
type Link struct {
	Index int
	Name  string
	Alias string
	MAC   string
	MTU   int
	Up    bool
}

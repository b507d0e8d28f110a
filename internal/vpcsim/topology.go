package vpcsim

import (
	"net/netip"

	"github.com/berth-net/berth/internal/core/vpc"
)

// Topology is the simulated world as packets meet it: what the fabric has to build. It is a value, complete at every
// revision, so the fabric compares it with what it has and never depends on having seen each change.
type Topology struct {
	Revision    uint64
	VPCs        []TopologyVPC
	Subnets     []TopologySubnet
	Interfaces  []TopologyInterface
	Groups      []TopologyGroup
	NATGateways []TopologyNAT
	Instances   []TopologyInstance
}

// TopologyVPC is a VPC with its associated blocks; the fabric routes between all of them.
type TopologyVPC struct {
	ID    vpc.ID
	CIDRs []netip.Prefix
}

// TopologySubnet is a subnet with the routes that apply to what its interfaces send.
type TopologySubnet struct {
	ID     vpc.SubnetID
	VPC    vpc.ID
	CIDR   netip.Prefix
	Routes []TopologyRoute
}

// RouteTarget says where a route leads.
type RouteTarget string

// Targets that the fabric builds. Anything else is a black hole.
const (
	RouteLocal    RouteTarget = "local"            // inside the VPC
	RouteInternet RouteTarget = "internet-gateway" // only interfaces with a public address get through
	RouteNAT      RouteTarget = "nat-gateway"      // Via names it
)

// TopologyRoute is one route of a subnet's route table.
type TopologyRoute struct {
	Destination netip.Prefix
	Target      RouteTarget
	Via         string // the NAT gateway's id, else empty
}

// TopologyInterface is a network interface. The fabric gives it a link inside Instance's network namespace while it is
// attached; Instance is empty otherwise.
type TopologyInterface struct {
	ID          vpc.ENIID
	VPC         vpc.ID
	Subnet      vpc.SubnetID
	MAC         string
	Instance    vpc.InstanceID
	DeviceIndex int
	NetworkCard int
	// Addresses are all assigned single addresses, the primary first; Prefixes the delegated blocks.
	Addresses []netip.Addr
	Prefixes  []netip.Prefix
	// SourceDestCheck drops packets whose source is none of the interface's addresses.
	SourceDestCheck bool
	Groups          []vpc.SecurityGroupID
	// Public maps a private address to the public one that the internet gateway shows in its place.
	Public map[netip.Addr]netip.Addr
}

// TopologyGroup is a security group.
type TopologyGroup struct {
	ID    vpc.SecurityGroupID
	VPC   vpc.ID
	Rules []GroupRule
}

// GroupRule allows traffic in one direction. Protocol is "tcp", "udp", "icmp", "icmpv6", a protocol number, or "-1" for all.
// Ports are inclusive; for ICMP, From is the type and To the code, -1 meaning any. Exactly one of CIDR and Group is set.
type GroupRule struct {
	Egress   bool
	Protocol string
	From, To int
	CIDR     netip.Prefix
	Group    vpc.SecurityGroupID
}

// TopologyNAT is a NAT gateway: traffic routed to it leaves for the internet with its public address.
type TopologyNAT struct {
	ID      string
	VPC     vpc.ID
	Subnet  vpc.SubnetID
	Private netip.Addr
	Public  netip.Addr
}

// TopologyInstance is a running instance: the fabric gives it a network namespace.
type TopologyInstance struct {
	ID   vpc.InstanceID
	Name string // the name that its namespace and files use, for example "ip-10-0-0-155"
	Zone vpc.ZoneName
}

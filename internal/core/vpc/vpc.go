package vpc

import "net/netip"

// ReservedPerSubnet is the number of addresses that EC2 keeps in each IPv4 subnet: the first four and the last.
// Source: https://docs.aws.amazon.com/vpc/latest/userguide/subnet-sizing.html
const ReservedPerSubnet = 5

// Subnet is a subnet as one account sees it: the tags are those of that account.
type Subnet struct {
	ID   SubnetID
	VPC  ID
	Zone ZoneName
	CIDR netip.Prefix
	// Free is AvailableIpAddressCount: addresses, not prefixes. It may lag behind EC2's own state.
	Free int
	// Available is false while the subnet is pending or failed.
	Available bool
	Owner     AccountID
	Tags      Tags
}

// Reserved tells whether EC2 keeps addr of an IPv4 subnet for itself: the first four addresses and the last.
func Reserved(cidr netip.Prefix, addr netip.Addr) bool {
	if !cidr.Contains(addr) {
		return false
	}
	a := cidr.Masked().Addr()
	for range ReservedPerSubnet - 1 {
		if a == addr {
			return true
		}
		a = a.Next()
	}
	return !cidr.Contains(addr.Next())
}

// AttachmentState is the state of an interface's attachment.
type AttachmentState string

// States of an attachment, as EC2 spells them; Detached stands for no attachment at all.
const (
	Attaching AttachmentState = "attaching"
	Attached  AttachmentState = "attached"
	Detaching AttachmentState = "detaching"
	Detached  AttachmentState = "detached"
)

// Attachment ties an interface to an instance.
type Attachment struct {
	ID                  AttachmentID
	Instance            InstanceID
	DeviceIndex         int
	NetworkCard         int
	State               AttachmentState
	DeleteOnTermination bool
}

// ENI is a network interface as EC2 describes it.
type ENI struct {
	ID          ENIID
	Subnet      SubnetID
	VPC         ID
	Zone        ZoneName
	MAC         string // lower case, colons
	Description string
	// Type is EC2's interfaceType: interface, trunk, branch, efa, efa-only, nat_gateway …
	Type string
	// Primary is the interface's own address; Secondary are the others, in EC2's order.
	Primary    netip.Addr
	Secondary  []netip.Addr
	Prefixes   []netip.Prefix
	Groups     []SecurityGroupID
	Tags       Tags
	Attachment *Attachment
}

// Assigned is what EC2 assigned to the interface beside its own address.
func (e ENI) Assigned() []Block { return Blocks(e.Secondary, e.Prefixes) }

// Assigned is what metadata shows beside the interface's own address.
func (m MetadataENI) Assigned() []Block {
	if len(m.Addresses) == 0 {
		return nil
	}
	return Blocks(m.Addresses[1:], m.Prefixes)
}

// ENI types that the agent tells apart.
const (
	ENITypeInterface = "interface"
	ENITypeTrunk     = "trunk"
	ENITypeBranch    = "branch"
	ENITypeEFA       = "efa"
	ENITypeEFAOnly   = "efa-only"
)

// Instance is what a node knows of itself from the instance metadata service.
type Instance struct {
	ID         InstanceID
	Type       string
	Region     string
	Zone       ZoneName
	VPC        ID
	Subnet     SubnetID // of the primary interface
	PrimaryENI ENIID
	PrimaryMAC string
	PrimaryIP  netip.Addr
	Groups     []SecurityGroupID // of the primary interface
	VPCCIDRs   []netip.Prefix
}

// MetadataENI is an interface as the instance metadata service shows it. It is a hint: metadata lags behind EC2 by
// seconds in both directions and may be partial.
type MetadataENI struct {
	ID          ENIID
	MAC         string
	DeviceIndex int
	NetworkCard int
	Subnet      SubnetID
	SubnetCIDR  netip.Prefix
	Addresses   []netip.Addr // the first is the primary
	Prefixes    []netip.Prefix
}

package ec2

import "time"

// CreateNetworkInterfaceInput asks for a network interface. At most one of the ways to ask for further IPv4 addresses
// or prefixes may be used.
type CreateNetworkInterfaceInput struct {
	SubnetId, Description, InterfaceType string
	Groups                               []string
	PrivateIpAddress                     string
	PrivateIpAddresses                   []PrivateIpAddressSpecification
	SecondaryPrivateIpAddressCount       *int
	Ipv4PrefixCount                      *int
	Ipv4Prefixes                         []Ipv4PrefixSpecification
	Ipv6AddressCount                     *int
	Ipv6Addresses                        []InstanceIpv6Address
	Ipv6PrefixCount                      *int
	Ipv6Prefixes                         []Ipv6PrefixSpecification
	ConnectionTrackingSpecification      *ConnectionTracking
	TagSpecifications                    []TagSpecification
	ClientToken                          string
	DryRun                               bool
}

// PrivateIpAddressSpecification names an IPv4 address for an interface.
type PrivateIpAddressSpecification struct {
	PrivateIpAddress string
	Primary          bool
}

// Ipv4PrefixSpecification is an IPv4 prefix of an interface.
type Ipv4PrefixSpecification struct {
	Ipv4Prefix string
}

// Ipv6PrefixSpecification is an IPv6 prefix of an interface.
type Ipv6PrefixSpecification struct {
	Ipv6Prefix string
}

// InstanceIpv6Address names an IPv6 address for an interface.
type InstanceIpv6Address struct {
	Ipv6Address   string
	IsPrimaryIpv6 bool
}

// NetworkInterfaceIpv6Address is an IPv6 address of an interface.
type NetworkInterfaceIpv6Address = InstanceIpv6Address

// ConnectionTracking holds idle timeouts in seconds; nil means EC2's default.
type ConnectionTracking struct {
	TcpEstablishedTimeout, UdpStreamTimeout, UdpTimeout *int
}

// CreateNetworkInterfaceOutput is the reply of CreateNetworkInterface.
type CreateNetworkInterfaceOutput struct {
	NetworkInterface NetworkInterface
	ClientToken      string
}

// NetworkInterface is an interface as EC2 describes it.
type NetworkInterface struct {
	NetworkInterfaceId, SubnetId, VpcId, OwnerId string
	AvailabilityZone, AvailabilityZoneId         string
	Description, InterfaceType, MacAddress       string
	PrivateDnsName, PrivateIpAddress             string
	Ipv6Address                                  string
	RequesterId                                  string
	RequesterManaged, SourceDestCheck            bool
	Status                                       string
	Association                                  *NetworkInterfaceAssociation
	Attachment                                   *NetworkInterfaceAttachment
	ConnectionTrackingConfiguration              *ConnectionTracking
	Groups                                       []GroupIdentifier
	PrivateIpAddresses                           []NetworkInterfacePrivateIpAddress
	Ipv4Prefixes                                 []Ipv4PrefixSpecification
	Ipv6Addresses                                []NetworkInterfaceIpv6Address
	Ipv6Prefixes                                 []Ipv6PrefixSpecification
	TagSet                                       []Tag
}

// NetworkInterfaceAttachment ties an interface to an instance. Status is attaching, attached or detaching.
type NetworkInterfaceAttachment struct {
	AttachmentId, InstanceId, InstanceOwnerId, Status string
	DeviceIndex, NetworkCardIndex                     int
	DeleteOnTermination                               bool
	AttachTime                                        time.Time
}

// NetworkInterfaceAssociation is the public address of a private one.
type NetworkInterfaceAssociation struct {
	AllocationId, AssociationId, IpOwnerId, PublicDnsName, PublicIp string
}

// NetworkInterfacePrivateIpAddress is an IPv4 address of an interface.
type NetworkInterfacePrivateIpAddress struct {
	PrivateIpAddress, PrivateDnsName string
	Primary                          bool
	Association                      *NetworkInterfaceAssociation
}

// GroupIdentifier names a security group.
type GroupIdentifier struct {
	GroupId, GroupName string
}

// DeleteNetworkInterfaceInput names an interface to delete.
type DeleteNetworkInterfaceInput struct {
	NetworkInterfaceId string
	DryRun             bool
}

// DescribeNetworkInterfacesInput selects interfaces.
type DescribeNetworkInterfacesInput struct {
	NetworkInterfaceIds []string
	Filters             []Filter
	DryRun              bool
}

// DescribeNetworkInterfacesOutput is the reply of DescribeNetworkInterfaces, sorted by id.
type DescribeNetworkInterfacesOutput struct {
	NetworkInterfaces []NetworkInterface
}

// AttachNetworkInterfaceInput attaches an interface to an instance.
type AttachNetworkInterfaceInput struct {
	NetworkInterfaceId, InstanceId string
	DeviceIndex                    *int
	NetworkCardIndex               *int
	DryRun                         bool
}

// AttachNetworkInterfaceOutput is the reply of AttachNetworkInterface: the attachment has begun.
type AttachNetworkInterfaceOutput struct {
	AttachmentId     string
	NetworkCardIndex int
}

// DetachNetworkInterfaceInput names an attachment to undo.
type DetachNetworkInterfaceInput struct {
	AttachmentId  string
	Force, DryRun bool
}

// ModifyNetworkInterfaceAttributeInput changes one attribute per call.
type ModifyNetworkInterfaceAttributeInput struct {
	NetworkInterfaceId              string
	Attachment                      *NetworkInterfaceAttachmentChanges
	Description                     *AttributeValue
	SourceDestCheck                 *AttributeBooleanValue
	Groups                          []string
	ConnectionTrackingSpecification *ConnectionTracking
	DryRun                          bool
}

// NetworkInterfaceAttachmentChanges sets what happens to an interface when its instance ends.
type NetworkInterfaceAttachmentChanges struct {
	AttachmentId        string
	DeleteOnTermination *bool
}

// AssignPrivateIpAddressesInput gives an interface more addresses or prefixes, in exactly one of four ways.
type AssignPrivateIpAddressesInput struct {
	NetworkInterfaceId             string
	SecondaryPrivateIpAddressCount *int
	PrivateIpAddresses             []string
	Ipv4PrefixCount                *int
	Ipv4Prefixes                   []string
	AllowReassignment              bool
}

// AssignPrivateIpAddressesOutput says what was assigned.
type AssignPrivateIpAddressesOutput struct {
	NetworkInterfaceId         string
	AssignedPrivateIpAddresses []AssignedPrivateIpAddress
	AssignedIpv4Prefixes       []Ipv4PrefixSpecification
}

// AssignedPrivateIpAddress is an address that was assigned.
type AssignedPrivateIpAddress struct {
	PrivateIpAddress string
}

// UnassignPrivateIpAddressesInput takes addresses and prefixes from an interface.
type UnassignPrivateIpAddressesInput struct {
	NetworkInterfaceId string
	PrivateIpAddresses []string
	Ipv4Prefixes       []string
}

// AssignIpv6AddressesInput gives an interface IPv6 addresses or prefixes.
type AssignIpv6AddressesInput struct {
	NetworkInterfaceId string
	Ipv6AddressCount   *int
	Ipv6Addresses      []string
	Ipv6PrefixCount    *int
	Ipv6Prefixes       []string
}

// AssignIpv6AddressesOutput says what was assigned.
type AssignIpv6AddressesOutput struct {
	NetworkInterfaceId                          string
	AssignedIpv6Addresses, AssignedIpv6Prefixes []string
}

// UnassignIpv6AddressesInput takes IPv6 addresses and prefixes from an interface.
type UnassignIpv6AddressesInput struct {
	NetworkInterfaceId          string
	Ipv6Addresses, Ipv6Prefixes []string
}

// UnassignIpv6AddressesOutput says what was unassigned.
type UnassignIpv6AddressesOutput struct {
	NetworkInterfaceId                              string
	UnassignedIpv6Addresses, UnassignedIpv6Prefixes []string
}

// CreateNetworkInterfacePermissionInput lets another account attach an interface.
type CreateNetworkInterfacePermissionInput struct {
	NetworkInterfaceId, Permission, AwsAccountId, AwsService string
	DryRun                                                   bool
}

// NetworkInterfacePermission is such a permission.
type NetworkInterfacePermission struct {
	NetworkInterfacePermissionId, NetworkInterfaceId, Permission, AwsAccountId, AwsService string
	PermissionState                                                                        NetworkInterfacePermissionState
}

// NetworkInterfacePermissionState is pending, granted, revoking or revoked.
type NetworkInterfacePermissionState struct {
	State string
}

// CreateNetworkInterfacePermissionOutput is the reply of CreateNetworkInterfacePermission.
type CreateNetworkInterfacePermissionOutput struct {
	InterfacePermission NetworkInterfacePermission
}

// AssociateTrunkInterfaceInput ties a branch interface to a trunk by a VLAN.
type AssociateTrunkInterfaceInput struct {
	BranchInterfaceId, TrunkInterfaceId string
	VlanId, GreKey                      *int
	ClientToken                         string
	DryRun                              bool
}

// TrunkInterfaceAssociation is such a tie.
type TrunkInterfaceAssociation struct {
	AssociationId, BranchInterfaceId, TrunkInterfaceId, InterfaceProtocol string
	VlanId, GreKey                                                        *int
	Tags                                                                  []Tag
}

// AssociateTrunkInterfaceOutput is the reply of AssociateTrunkInterface.
type AssociateTrunkInterfaceOutput struct {
	InterfaceAssociation TrunkInterfaceAssociation
	ClientToken          string
}

// DisassociateTrunkInterfaceInput names an association to undo.
type DisassociateTrunkInterfaceInput struct {
	AssociationId, ClientToken string
	DryRun                     bool
}

// DisassociateTrunkInterfaceOutput is the reply of DisassociateTrunkInterface.
type DisassociateTrunkInterfaceOutput struct {
	ClientToken string
	Return      bool
}

// DescribeTrunkInterfaceAssociationsInput selects associations.
type DescribeTrunkInterfaceAssociationsInput struct {
	AssociationIds []string
	Filters        []Filter
	DryRun         bool
}

// DescribeTrunkInterfaceAssociationsOutput is the reply of DescribeTrunkInterfaceAssociations.
type DescribeTrunkInterfaceAssociationsOutput struct {
	InterfaceAssociations []TrunkInterfaceAssociation
}

package ec2

// CreateVpcInput asks for a VPC with its primary block.
type CreateVpcInput struct {
	CidrBlock                   string
	AmazonProvidedIpv6CidrBlock bool
	InstanceTenancy             string
	TagSpecifications           []TagSpecification
	DryRun                      bool
}

// CreateVpcOutput is the reply of CreateVpc.
type CreateVpcOutput struct {
	Vpc Vpc
}

// Vpc is a VPC as an account sees it.
type Vpc struct {
	VpcId, CidrBlock, OwnerId, State string
	DhcpOptionsId, InstanceTenancy   string
	IsDefault                        bool
	CidrBlockAssociationSet          []VpcCidrBlockAssociation
	Ipv6CidrBlockAssociationSet      []VpcIpv6CidrBlockAssociation
	Tags                             []Tag
}

// CidrBlockState is the state of a block: associating, associated, disassociating, disassociated, failing, failed.
type CidrBlockState struct {
	State, StatusMessage string
}

// VpcCidrBlockAssociation is an IPv4 block of a VPC.
type VpcCidrBlockAssociation struct {
	AssociationId, CidrBlock string
	CidrBlockState           CidrBlockState
}

// VpcIpv6CidrBlockAssociation is an IPv6 block of a VPC.
type VpcIpv6CidrBlockAssociation struct {
	AssociationId, Ipv6CidrBlock, Ipv6Pool, NetworkBorderGroup string
	Ipv6CidrBlockState                                         CidrBlockState
}

// DeleteVpcInput names a VPC to delete.
type DeleteVpcInput struct {
	VpcId  string
	DryRun bool
}

// DescribeVpcsInput selects VPCs.
type DescribeVpcsInput struct {
	VpcIds  []string
	Filters []Filter
	DryRun  bool
}

// DescribeVpcsOutput is the reply of DescribeVpcs, sorted by id.
type DescribeVpcsOutput struct {
	Vpcs []Vpc
}

// DescribeVpcAttributeInput asks for one attribute: enableDnsSupport, enableDnsHostnames or
// enableNetworkAddressUsageMetrics.
type DescribeVpcAttributeInput struct {
	VpcId, Attribute string
	DryRun           bool
}

// DescribeVpcAttributeOutput has the attribute asked for.
type DescribeVpcAttributeOutput struct {
	VpcId                                                                  string
	EnableDnsSupport, EnableDnsHostnames, EnableNetworkAddressUsageMetrics *AttributeBooleanValue
}

// ModifyVpcAttributeInput sets one attribute.
type ModifyVpcAttributeInput struct {
	VpcId                                                                  string
	EnableDnsSupport, EnableDnsHostnames, EnableNetworkAddressUsageMetrics *AttributeBooleanValue
}

// AssociateVpcCidrBlockInput adds a block to a VPC.
type AssociateVpcCidrBlockInput struct {
	VpcId, CidrBlock            string
	AmazonProvidedIpv6CidrBlock bool
}

// AssociateVpcCidrBlockOutput is the reply of AssociateVpcCidrBlock.
type AssociateVpcCidrBlockOutput struct {
	VpcId                    string
	CidrBlockAssociation     *VpcCidrBlockAssociation
	Ipv6CidrBlockAssociation *VpcIpv6CidrBlockAssociation
}

// DisassociateVpcCidrBlockInput names a block's association.
type DisassociateVpcCidrBlockInput struct {
	AssociationId string
}

// DisassociateVpcCidrBlockOutput is the reply of DisassociateVpcCidrBlock.
type DisassociateVpcCidrBlockOutput = AssociateVpcCidrBlockOutput

// CreateSubnetInput asks for a subnet; without a zone EC2 chooses one.
type CreateSubnetInput struct {
	VpcId, CidrBlock, Ipv6CidrBlock      string
	AvailabilityZone, AvailabilityZoneId string
	Ipv6Native                           bool
	TagSpecifications                    []TagSpecification
	DryRun                               bool
}

// CreateSubnetOutput is the reply of CreateSubnet.
type CreateSubnetOutput struct {
	Subnet Subnet
}

// Subnet is a subnet as an account sees it: with that account's tags.
type Subnet struct {
	SubnetId, SubnetArn, VpcId, OwnerId, State string
	AvailabilityZone, AvailabilityZoneId       string
	CidrBlock                                  string
	AvailableIpAddressCount                    int
	DefaultForAz, MapPublicIpOnLaunch          bool
	AssignIpv6AddressOnCreation                bool
	Ipv6Native, EnableDns64                    bool
	MapCustomerOwnedIpOnLaunch                 bool
	Ipv6CidrBlockAssociationSet                []SubnetIpv6CidrBlockAssociation
	PrivateDnsNameOptionsOnLaunch              PrivateDnsNameOptionsOnLaunch
	Tags                                       []Tag
}

// SubnetIpv6CidrBlockAssociation is the IPv6 block of a subnet.
type SubnetIpv6CidrBlockAssociation struct {
	AssociationId, Ipv6CidrBlock string
	Ipv6CidrBlockState           CidrBlockState
}

// PrivateDnsNameOptionsOnLaunch says how instances in a subnet are named.
type PrivateDnsNameOptionsOnLaunch struct {
	HostnameType                                                  string
	EnableResourceNameDnsARecord, EnableResourceNameDnsAAAARecord bool
}

// DeleteSubnetInput names a subnet to delete.
type DeleteSubnetInput struct {
	SubnetId string
	DryRun   bool
}

// DescribeSubnetsInput selects subnets.
type DescribeSubnetsInput struct {
	SubnetIds []string
	Filters   []Filter
	DryRun    bool
}

// DescribeSubnetsOutput is the reply of DescribeSubnets, sorted by id.
type DescribeSubnetsOutput struct {
	Subnets []Subnet
}

// ModifySubnetAttributeInput sets one attribute per call.
type ModifySubnetAttributeInput struct {
	SubnetId                                         string
	MapPublicIpOnLaunch, AssignIpv6AddressOnCreation *AttributeBooleanValue
	EnableDns64, MapCustomerOwnedIpOnLaunch          *AttributeBooleanValue
	EnableResourceNameDnsARecordOnLaunch             *AttributeBooleanValue
	EnableResourceNameDnsAAAARecordOnLaunch          *AttributeBooleanValue
	PrivateDnsHostnameTypeOnLaunch                   string
}

// AssociateSubnetCidrBlockInput gives a subnet an IPv6 block.
type AssociateSubnetCidrBlockInput struct {
	SubnetId, Ipv6CidrBlock string
}

// AssociateSubnetCidrBlockOutput is the reply of AssociateSubnetCidrBlock.
type AssociateSubnetCidrBlockOutput struct {
	SubnetId                 string
	Ipv6CidrBlockAssociation *SubnetIpv6CidrBlockAssociation
}

// CreateSubnetCidrReservationInput sets a range of a subnet aside: ReservationType is prefix or explicit.
type CreateSubnetCidrReservationInput struct {
	SubnetId, Cidr, ReservationType, Description string
	TagSpecifications                            []TagSpecification
	DryRun                                       bool
}

// SubnetCidrReservation is a range that was set aside.
type SubnetCidrReservation struct {
	SubnetCidrReservationId, SubnetId, Cidr, ReservationType, OwnerId, Description string
	Tags                                                                           []Tag
}

// CreateSubnetCidrReservationOutput is the reply of CreateSubnetCidrReservation.
type CreateSubnetCidrReservationOutput struct {
	SubnetCidrReservation SubnetCidrReservation
}

// GetSubnetCidrReservationsInput asks for the reservations of a subnet.
type GetSubnetCidrReservationsInput struct {
	SubnetId string
	Filters  []Filter
	DryRun   bool
}

// GetSubnetCidrReservationsOutput is the reply of GetSubnetCidrReservations.
type GetSubnetCidrReservationsOutput struct {
	SubnetIpv4CidrReservations, SubnetIpv6CidrReservations []SubnetCidrReservation
}

// DeleteSubnetCidrReservationInput names a reservation.
type DeleteSubnetCidrReservationInput struct {
	SubnetCidrReservationId string
	DryRun                  bool
}

// DeleteSubnetCidrReservationOutput is the reply of DeleteSubnetCidrReservation.
type DeleteSubnetCidrReservationOutput struct {
	DeletedSubnetCidrReservation SubnetCidrReservation
}

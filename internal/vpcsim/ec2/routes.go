package ec2

import "time"

// CreateRouteTableInput asks for a route table.
type CreateRouteTableInput struct {
	VpcId             string
	TagSpecifications []TagSpecification
	DryRun            bool
}

// CreateRouteTableOutput is the reply of CreateRouteTable.
type CreateRouteTableOutput struct {
	RouteTable RouteTable
}

// RouteTable is a table with its routes and the subnets that use it.
type RouteTable struct {
	RouteTableId, VpcId, OwnerId string
	Associations                 []RouteTableAssociation
	Routes                       []Route
	Tags                         []Tag
}

// RouteTableAssociation ties a table to a subnet, or makes it the VPC's main table.
type RouteTableAssociation struct {
	RouteTableAssociationId, RouteTableId, SubnetId string
	Main                                            bool
	AssociationState                                RouteTableAssociationState
}

// RouteTableAssociationState is associated here.
type RouteTableAssociationState struct {
	State string
}

// Route leads a destination to a target. State is active or blackhole.
type Route struct {
	DestinationCidrBlock, DestinationIpv6CidrBlock          string
	GatewayId, NatGatewayId, NetworkInterfaceId, InstanceId string
	Origin, State                                           string
}

// DeleteRouteTableInput names a table to delete.
type DeleteRouteTableInput struct {
	RouteTableId string
	DryRun       bool
}

// DescribeRouteTablesInput selects route tables.
type DescribeRouteTablesInput struct {
	RouteTableIds []string
	Filters       []Filter
	DryRun        bool
}

// DescribeRouteTablesOutput is the reply of DescribeRouteTables, sorted by id.
type DescribeRouteTablesOutput struct {
	RouteTables []RouteTable
}

// CreateRouteInput adds a route. It also serves ReplaceRoute.
type CreateRouteInput struct {
	RouteTableId, DestinationCidrBlock, DestinationIpv6CidrBlock string
	GatewayId, NatGatewayId, NetworkInterfaceId, InstanceId      string
	DryRun                                                       bool
}

// CreateRouteOutput is the reply of CreateRoute.
type CreateRouteOutput struct {
	Return bool
}

// DeleteRouteInput names a route by its destination.
type DeleteRouteInput struct {
	RouteTableId, DestinationCidrBlock, DestinationIpv6CidrBlock string
	DryRun                                                       bool
}

// AssociateRouteTableInput makes a subnet use a table.
type AssociateRouteTableInput struct {
	RouteTableId, SubnetId string
	DryRun                 bool
}

// AssociateRouteTableOutput is the reply of AssociateRouteTable.
type AssociateRouteTableOutput struct {
	AssociationId    string
	AssociationState RouteTableAssociationState
}

// DisassociateRouteTableInput names an association to undo: the subnet falls back to the main table.
type DisassociateRouteTableInput struct {
	AssociationId string
	DryRun        bool
}

// CreateInternetGatewayInput asks for an internet gateway.
type CreateInternetGatewayInput struct {
	TagSpecifications []TagSpecification
	DryRun            bool
}

// CreateInternetGatewayOutput is the reply of CreateInternetGateway.
type CreateInternetGatewayOutput struct {
	InternetGateway InternetGateway
}

// InternetGateway is a VPC's way to the internet.
type InternetGateway struct {
	InternetGatewayId, OwnerId string
	Attachments                []InternetGatewayAttachment
	Tags                       []Tag
}

// InternetGatewayAttachment ties a gateway to a VPC; its State reads "available" when attached.
type InternetGatewayAttachment struct {
	VpcId, State string
}

// InternetGatewayInput names a gateway and, except for DeleteInternetGateway, a VPC. It serves AttachInternetGateway,
// DetachInternetGateway and DeleteInternetGateway.
type InternetGatewayInput struct {
	InternetGatewayId, VpcId string
	DryRun                   bool
}

// DescribeInternetGatewaysInput selects internet gateways.
type DescribeInternetGatewaysInput struct {
	InternetGatewayIds []string
	Filters            []Filter
	DryRun             bool
}

// DescribeInternetGatewaysOutput is the reply of DescribeInternetGateways, sorted by id.
type DescribeInternetGatewaysOutput struct {
	InternetGateways []InternetGateway
}

// CreateNatGatewayInput asks for a NAT gateway: public with AllocationId unless ConnectivityType is private.
type CreateNatGatewayInput struct {
	SubnetId, AllocationId, ConnectivityType, PrivateIpAddress, ClientToken string
	TagSpecifications                                                       []TagSpecification
	DryRun                                                                  bool
}

// CreateNatGatewayOutput is the reply of CreateNatGateway.
type CreateNatGatewayOutput struct {
	NatGateway  NatGateway
	ClientToken string
}

// NatGateway is a NAT gateway. State is pending, available, deleting, deleted or failed.
type NatGateway struct {
	NatGatewayId, SubnetId, VpcId, State, ConnectivityType string
	CreateTime                                             time.Time
	DeleteTime                                             *time.Time
	NatGatewayAddresses                                    []NatGatewayAddress
	Tags                                                   []Tag
}

// NatGatewayAddress is an address of a NAT gateway.
type NatGatewayAddress struct {
	AllocationId, AssociationId, NetworkInterfaceId, PrivateIp, PublicIp, Status string
	IsPrimary                                                                    bool
}

// DeleteNatGatewayInput names a NAT gateway to delete.
type DeleteNatGatewayInput struct {
	NatGatewayId string
	DryRun       bool
}

// DeleteNatGatewayOutput is the reply of DeleteNatGateway.
type DeleteNatGatewayOutput struct {
	NatGatewayId string
}

// DescribeNatGatewaysInput selects NAT gateways. Filter is the list of filters (EC2 names it so).
type DescribeNatGatewaysInput struct {
	NatGatewayIds []string
	Filter        []Filter
	DryRun        bool
}

// DescribeNatGatewaysOutput is the reply of DescribeNatGateways, sorted by id.
type DescribeNatGatewaysOutput struct {
	NatGateways []NatGateway
}

// AllocateAddressInput asks for an elastic address.
type AllocateAddressInput struct {
	Domain, Address   string
	TagSpecifications []TagSpecification
	DryRun            bool
}

// AllocateAddressOutput is the reply of AllocateAddress.
type AllocateAddressOutput struct {
	AllocationId, PublicIp, Domain, PublicIpv4Pool, NetworkBorderGroup string
}

// ReleaseAddressInput gives an elastic address back.
type ReleaseAddressInput struct {
	AllocationId, PublicIp string
	DryRun                 bool
}

// AssociateAddressInput gives a private address the public one.
type AssociateAddressInput struct {
	AllocationId, PublicIp, InstanceId, NetworkInterfaceId, PrivateIpAddress string
	AllowReassociation                                                       *bool
	DryRun                                                                   bool
}

// AssociateAddressOutput is the reply of AssociateAddress.
type AssociateAddressOutput struct {
	AssociationId string
}

// DisassociateAddressInput undoes an association.
type DisassociateAddressInput struct {
	AssociationId, PublicIp string
	DryRun                  bool
}

// DescribeAddressesInput selects elastic addresses.
type DescribeAddressesInput struct {
	AllocationIds, PublicIps []string
	Filters                  []Filter
	DryRun                   bool
}

// Address is an elastic address.
type Address struct {
	AllocationId, AssociationId, Domain, PublicIp, PublicIpv4Pool, NetworkBorderGroup string
	InstanceId, NetworkInterfaceId, NetworkInterfaceOwnerId, PrivateIpAddress         string
	Tags                                                                              []Tag
}

// DescribeAddressesOutput is the reply of DescribeAddresses, sorted by id.
type DescribeAddressesOutput struct {
	Addresses []Address
}

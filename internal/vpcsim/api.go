package vpcsim

import (
	"github.com/berth-net/berth/internal/vpcsim/ec2"
)

// APIError is an error with EC2's status, code and message. Every error that an action returns is one.
type APIError = ec2.Error

// CreateVpc creates a VPC with its main route table and default security group.
func (s *Sim) CreateVpc(c Caller, in ec2.CreateVpcInput) (ec2.CreateVpcOutput, error) {
	return do(s, c, "CreateVpc", in, s.acts.CreateVpc)
}

// DeleteVpc deletes a VPC that nothing depends on.
func (s *Sim) DeleteVpc(c Caller, in ec2.DeleteVpcInput) (ec2.Done, error) {
	return do(s, c, "DeleteVpc", in, s.acts.DeleteVpc)
}

// DescribeVpcs lists the VPCs that the account owns or is shared a subnet of.
func (s *Sim) DescribeVpcs(c Caller, in ec2.DescribeVpcsInput) (ec2.DescribeVpcsOutput, error) {
	return do(s, c, "DescribeVpcs", in, s.acts.DescribeVpcs)
}

// DescribeVpcAttribute reads one attribute of a VPC.
func (s *Sim) DescribeVpcAttribute(c Caller, in ec2.DescribeVpcAttributeInput) (ec2.DescribeVpcAttributeOutput, error) {
	return do(s, c, "DescribeVpcAttribute", in, s.acts.DescribeVpcAttribute)
}

// ModifyVpcAttribute sets one attribute of a VPC.
func (s *Sim) ModifyVpcAttribute(c Caller, in ec2.ModifyVpcAttributeInput) (ec2.Done, error) {
	return do(s, c, "ModifyVpcAttribute", in, s.acts.ModifyVpcAttribute)
}

// AssociateVpcCidrBlock adds a block, which is associated after a delay.
func (s *Sim) AssociateVpcCidrBlock(c Caller, in ec2.AssociateVpcCidrBlockInput) (ec2.AssociateVpcCidrBlockOutput, error) {
	return do(s, c, "AssociateVpcCidrBlock", in, s.acts.AssociateVpcCidrBlock)
}

// DisassociateVpcCidrBlock removes a secondary block.
func (s *Sim) DisassociateVpcCidrBlock(c Caller, in ec2.DisassociateVpcCidrBlockInput) (ec2.DisassociateVpcCidrBlockOutput, error) {
	return do(s, c, "DisassociateVpcCidrBlock", in, s.acts.DisassociateVpcCidrBlock)
}

// CreateSubnet creates a subnet in an associated block.
func (s *Sim) CreateSubnet(c Caller, in ec2.CreateSubnetInput) (ec2.CreateSubnetOutput, error) {
	return do(s, c, "CreateSubnet", in, s.acts.CreateSubnet)
}

// DeleteSubnet deletes an empty subnet.
func (s *Sim) DeleteSubnet(c Caller, in ec2.DeleteSubnetInput) (ec2.Done, error) {
	return do(s, c, "DeleteSubnet", in, s.acts.DeleteSubnet)
}

// DescribeSubnets lists the subnets that the account owns or is shared.
func (s *Sim) DescribeSubnets(c Caller, in ec2.DescribeSubnetsInput) (ec2.DescribeSubnetsOutput, error) {
	return do(s, c, "DescribeSubnets", in, s.acts.DescribeSubnets)
}

// ModifySubnetAttribute sets one attribute of a subnet.
func (s *Sim) ModifySubnetAttribute(c Caller, in ec2.ModifySubnetAttributeInput) (ec2.Done, error) {
	return do(s, c, "ModifySubnetAttribute", in, s.acts.ModifySubnetAttribute)
}

// AssociateSubnetCidrBlock gives a subnet an IPv6 block.
func (s *Sim) AssociateSubnetCidrBlock(c Caller, in ec2.AssociateSubnetCidrBlockInput) (ec2.AssociateSubnetCidrBlockOutput, error) {
	return do(s, c, "AssociateSubnetCidrBlock", in, s.acts.AssociateSubnetCidrBlock)
}

// CreateSubnetCidrReservation sets a range of a subnet aside.
func (s *Sim) CreateSubnetCidrReservation(c Caller, in ec2.CreateSubnetCidrReservationInput) (ec2.CreateSubnetCidrReservationOutput, error) {
	return do(s, c, "CreateSubnetCidrReservation", in, s.acts.CreateSubnetCidrReservation)
}

// GetSubnetCidrReservations lists the reservations of a subnet.
func (s *Sim) GetSubnetCidrReservations(c Caller, in ec2.GetSubnetCidrReservationsInput) (ec2.GetSubnetCidrReservationsOutput, error) {
	return do(s, c, "GetSubnetCidrReservations", in, s.acts.GetSubnetCidrReservations)
}

// DeleteSubnetCidrReservation drops a reservation.
func (s *Sim) DeleteSubnetCidrReservation(c Caller, in ec2.DeleteSubnetCidrReservationInput) (ec2.DeleteSubnetCidrReservationOutput, error) {
	return do(s, c, "DeleteSubnetCidrReservation", in, s.acts.DeleteSubnetCidrReservation)
}

// CreateNetworkInterface creates an interface with its addresses.
func (s *Sim) CreateNetworkInterface(c Caller, in ec2.CreateNetworkInterfaceInput) (ec2.CreateNetworkInterfaceOutput, error) {
	return do(s, c, "CreateNetworkInterface", in, s.acts.CreateNetworkInterface)
}

// DeleteNetworkInterface deletes an interface that is not attached.
func (s *Sim) DeleteNetworkInterface(c Caller, in ec2.DeleteNetworkInterfaceInput) (ec2.Done, error) {
	return do(s, c, "DeleteNetworkInterface", in, s.acts.DeleteNetworkInterface)
}

// DescribeNetworkInterfaces lists interfaces as the account sees them.
func (s *Sim) DescribeNetworkInterfaces(c Caller, in ec2.DescribeNetworkInterfacesInput) (ec2.DescribeNetworkInterfacesOutput, error) {
	return do(s, c, "DescribeNetworkInterfaces", in, s.acts.DescribeNetworkInterfaces)
}

// AttachNetworkInterface begins to attach an interface to an instance.
func (s *Sim) AttachNetworkInterface(c Caller, in ec2.AttachNetworkInterfaceInput) (ec2.AttachNetworkInterfaceOutput, error) {
	return do(s, c, "AttachNetworkInterface", in, s.acts.AttachNetworkInterface)
}

// DetachNetworkInterface begins to detach an interface.
func (s *Sim) DetachNetworkInterface(c Caller, in ec2.DetachNetworkInterfaceInput) (ec2.Done, error) {
	return do(s, c, "DetachNetworkInterface", in, s.acts.DetachNetworkInterface)
}

// ModifyNetworkInterfaceAttribute changes one attribute of an interface.
func (s *Sim) ModifyNetworkInterfaceAttribute(c Caller, in ec2.ModifyNetworkInterfaceAttributeInput) (ec2.Done, error) {
	return do(s, c, "ModifyNetworkInterfaceAttribute", in, s.acts.ModifyNetworkInterfaceAttribute)
}

// AssignPrivateIpAddresses gives an interface addresses or prefixes.
func (s *Sim) AssignPrivateIpAddresses(c Caller, in ec2.AssignPrivateIpAddressesInput) (ec2.AssignPrivateIpAddressesOutput, error) {
	return do(s, c, "AssignPrivateIpAddresses", in, s.acts.AssignPrivateIpAddresses)
}

// UnassignPrivateIpAddresses takes addresses or prefixes from an interface.
func (s *Sim) UnassignPrivateIpAddresses(c Caller, in ec2.UnassignPrivateIpAddressesInput) (ec2.Done, error) {
	return do(s, c, "UnassignPrivateIpAddresses", in, s.acts.UnassignPrivateIpAddresses)
}

// AssignIpv6Addresses gives an interface IPv6 addresses or prefixes.
func (s *Sim) AssignIpv6Addresses(c Caller, in ec2.AssignIpv6AddressesInput) (ec2.AssignIpv6AddressesOutput, error) {
	return do(s, c, "AssignIpv6Addresses", in, s.acts.AssignIpv6Addresses)
}

// UnassignIpv6Addresses takes IPv6 addresses or prefixes from an interface.
func (s *Sim) UnassignIpv6Addresses(c Caller, in ec2.UnassignIpv6AddressesInput) (ec2.UnassignIpv6AddressesOutput, error) {
	return do(s, c, "UnassignIpv6Addresses", in, s.acts.UnassignIpv6Addresses)
}

// CreateNetworkInterfacePermission lets another account attach an interface.
func (s *Sim) CreateNetworkInterfacePermission(c Caller, in ec2.CreateNetworkInterfacePermissionInput) (ec2.CreateNetworkInterfacePermissionOutput, error) {
	return do(s, c, "CreateNetworkInterfacePermission", in, s.acts.CreateNetworkInterfacePermission)
}

// AssociateTrunkInterface ties a branch interface to a trunk.
func (s *Sim) AssociateTrunkInterface(c Caller, in ec2.AssociateTrunkInterfaceInput) (ec2.AssociateTrunkInterfaceOutput, error) {
	return do(s, c, "AssociateTrunkInterface", in, s.acts.AssociateTrunkInterface)
}

// DisassociateTrunkInterface undoes such a tie.
func (s *Sim) DisassociateTrunkInterface(c Caller, in ec2.DisassociateTrunkInterfaceInput) (ec2.DisassociateTrunkInterfaceOutput, error) {
	return do(s, c, "DisassociateTrunkInterface", in, s.acts.DisassociateTrunkInterface)
}

// DescribeTrunkInterfaceAssociations lists such ties.
func (s *Sim) DescribeTrunkInterfaceAssociations(c Caller, in ec2.DescribeTrunkInterfaceAssociationsInput) (ec2.DescribeTrunkInterfaceAssociationsOutput, error) {
	return do(s, c, "DescribeTrunkInterfaceAssociations", in, s.acts.DescribeTrunkInterfaceAssociations)
}

// CreateTags tags resources in the account's own view.
func (s *Sim) CreateTags(c Caller, in ec2.CreateTagsInput) (ec2.Done, error) {
	return do(s, c, "CreateTags", in, s.acts.CreateTags)
}

// DeleteTags removes tags in the account's own view.
func (s *Sim) DeleteTags(c Caller, in ec2.DeleteTagsInput) (ec2.Done, error) {
	return do(s, c, "DeleteTags", in, s.acts.DeleteTags)
}

// DescribeTags lists the tags in the account's own view.
func (s *Sim) DescribeTags(c Caller, in ec2.DescribeTagsInput) (ec2.DescribeTagsOutput, error) {
	return do(s, c, "DescribeTags", in, s.acts.DescribeTags)
}

// CreateSecurityGroup creates a group that lets everything out and nothing in.
func (s *Sim) CreateSecurityGroup(c Caller, in ec2.CreateSecurityGroupInput) (ec2.CreateSecurityGroupOutput, error) {
	return do(s, c, "CreateSecurityGroup", in, s.acts.CreateSecurityGroup)
}

// DeleteSecurityGroup deletes a group that nothing uses.
func (s *Sim) DeleteSecurityGroup(c Caller, in ec2.DeleteSecurityGroupInput) (ec2.Done, error) {
	return do(s, c, "DeleteSecurityGroup", in, s.acts.DeleteSecurityGroup)
}

// DescribeSecurityGroups lists groups with their rules.
func (s *Sim) DescribeSecurityGroups(c Caller, in ec2.DescribeSecurityGroupsInput) (ec2.DescribeSecurityGroupsOutput, error) {
	return do(s, c, "DescribeSecurityGroups", in, s.acts.DescribeSecurityGroups)
}

// DescribeSecurityGroupRules lists rules one by one.
func (s *Sim) DescribeSecurityGroupRules(c Caller, in ec2.DescribeSecurityGroupRulesInput) (ec2.DescribeSecurityGroupRulesOutput, error) {
	return do(s, c, "DescribeSecurityGroupRules", in, s.acts.DescribeSecurityGroupRules)
}

// AuthorizeSecurityGroupIngress adds ingress rules.
func (s *Sim) AuthorizeSecurityGroupIngress(c Caller, in ec2.AuthorizeSecurityGroupInput) (ec2.AuthorizeSecurityGroupOutput, error) {
	return do(s, c, "AuthorizeSecurityGroupIngress", in, s.acts.AuthorizeSecurityGroupIngress)
}

// AuthorizeSecurityGroupEgress adds egress rules.
func (s *Sim) AuthorizeSecurityGroupEgress(c Caller, in ec2.AuthorizeSecurityGroupInput) (ec2.AuthorizeSecurityGroupOutput, error) {
	return do(s, c, "AuthorizeSecurityGroupEgress", in, s.acts.AuthorizeSecurityGroupEgress)
}

// RevokeSecurityGroupIngress removes ingress rules.
func (s *Sim) RevokeSecurityGroupIngress(c Caller, in ec2.RevokeSecurityGroupInput) (ec2.RevokeSecurityGroupOutput, error) {
	return do(s, c, "RevokeSecurityGroupIngress", in, s.acts.RevokeSecurityGroupIngress)
}

// RevokeSecurityGroupEgress removes egress rules.
func (s *Sim) RevokeSecurityGroupEgress(c Caller, in ec2.RevokeSecurityGroupInput) (ec2.RevokeSecurityGroupOutput, error) {
	return do(s, c, "RevokeSecurityGroupEgress", in, s.acts.RevokeSecurityGroupEgress)
}

// RunInstances launches instances with their interfaces.
func (s *Sim) RunInstances(c Caller, in ec2.RunInstancesInput) (ec2.RunInstancesOutput, error) {
	return do(s, c, "RunInstances", in, s.acts.RunInstances)
}

// TerminateInstances begins to end instances.
func (s *Sim) TerminateInstances(c Caller, in ec2.TerminateInstancesInput) (ec2.TerminateInstancesOutput, error) {
	return do(s, c, "TerminateInstances", in, s.acts.TerminateInstances)
}

// DescribeInstances lists instances.
func (s *Sim) DescribeInstances(c Caller, in ec2.DescribeInstancesInput) (ec2.DescribeInstancesOutput, error) {
	return do(s, c, "DescribeInstances", in, s.acts.DescribeInstances)
}

// DescribeInstanceTypes tells the limits of instance types.
func (s *Sim) DescribeInstanceTypes(c Caller, in ec2.DescribeInstanceTypesInput) (ec2.DescribeInstanceTypesOutput, error) {
	return do(s, c, "DescribeInstanceTypes", in, s.acts.DescribeInstanceTypes)
}

// ModifyInstanceMetadataOptions changes the settings of an instance's metadata service.
func (s *Sim) ModifyInstanceMetadataOptions(c Caller, in ec2.ModifyInstanceMetadataOptionsInput) (ec2.ModifyInstanceMetadataOptionsOutput, error) {
	return do(s, c, "ModifyInstanceMetadataOptions", in, s.acts.ModifyInstanceMetadataOptions)
}

// DescribeAvailabilityZones lists the region's zones.
func (s *Sim) DescribeAvailabilityZones(c Caller, in ec2.DescribeAvailabilityZonesInput) (ec2.DescribeAvailabilityZonesOutput, error) {
	return do(s, c, "DescribeAvailabilityZones", in, s.acts.DescribeAvailabilityZones)
}

// DescribeRegions lists the region.
func (s *Sim) DescribeRegions(c Caller, in ec2.DescribeRegionsInput) (ec2.DescribeRegionsOutput, error) {
	return do(s, c, "DescribeRegions", in, s.acts.DescribeRegions)
}

// CreateRouteTable creates a route table with the VPC's local routes.
func (s *Sim) CreateRouteTable(c Caller, in ec2.CreateRouteTableInput) (ec2.CreateRouteTableOutput, error) {
	return do(s, c, "CreateRouteTable", in, s.acts.CreateRouteTable)
}

// DeleteRouteTable deletes a route table that no subnet uses.
func (s *Sim) DeleteRouteTable(c Caller, in ec2.DeleteRouteTableInput) (ec2.Done, error) {
	return do(s, c, "DeleteRouteTable", in, s.acts.DeleteRouteTable)
}

// DescribeRouteTables lists route tables.
func (s *Sim) DescribeRouteTables(c Caller, in ec2.DescribeRouteTablesInput) (ec2.DescribeRouteTablesOutput, error) {
	return do(s, c, "DescribeRouteTables", in, s.acts.DescribeRouteTables)
}

// CreateRoute adds a route to a table.
func (s *Sim) CreateRoute(c Caller, in ec2.CreateRouteInput) (ec2.CreateRouteOutput, error) {
	return do(s, c, "CreateRoute", in, s.acts.CreateRoute)
}

// ReplaceRoute changes the target of a route.
func (s *Sim) ReplaceRoute(c Caller, in ec2.CreateRouteInput) (ec2.Done, error) {
	return do(s, c, "ReplaceRoute", in, s.acts.ReplaceRoute)
}

// DeleteRoute removes a route.
func (s *Sim) DeleteRoute(c Caller, in ec2.DeleteRouteInput) (ec2.Done, error) {
	return do(s, c, "DeleteRoute", in, s.acts.DeleteRoute)
}

// AssociateRouteTable makes a subnet use a table.
func (s *Sim) AssociateRouteTable(c Caller, in ec2.AssociateRouteTableInput) (ec2.AssociateRouteTableOutput, error) {
	return do(s, c, "AssociateRouteTable", in, s.acts.AssociateRouteTable)
}

// DisassociateRouteTable makes a subnet use the main table again.
func (s *Sim) DisassociateRouteTable(c Caller, in ec2.DisassociateRouteTableInput) (ec2.Done, error) {
	return do(s, c, "DisassociateRouteTable", in, s.acts.DisassociateRouteTable)
}

// CreateInternetGateway creates an internet gateway.
func (s *Sim) CreateInternetGateway(c Caller, in ec2.CreateInternetGatewayInput) (ec2.CreateInternetGatewayOutput, error) {
	return do(s, c, "CreateInternetGateway", in, s.acts.CreateInternetGateway)
}

// AttachInternetGateway attaches an internet gateway to a VPC.
func (s *Sim) AttachInternetGateway(c Caller, in ec2.InternetGatewayInput) (ec2.Done, error) {
	return do(s, c, "AttachInternetGateway", in, s.acts.AttachInternetGateway)
}

// DetachInternetGateway detaches an internet gateway.
func (s *Sim) DetachInternetGateway(c Caller, in ec2.InternetGatewayInput) (ec2.Done, error) {
	return do(s, c, "DetachInternetGateway", in, s.acts.DetachInternetGateway)
}

// DeleteInternetGateway deletes a detached internet gateway.
func (s *Sim) DeleteInternetGateway(c Caller, in ec2.InternetGatewayInput) (ec2.Done, error) {
	return do(s, c, "DeleteInternetGateway", in, s.acts.DeleteInternetGateway)
}

// DescribeInternetGateways lists internet gateways.
func (s *Sim) DescribeInternetGateways(c Caller, in ec2.DescribeInternetGatewaysInput) (ec2.DescribeInternetGatewaysOutput, error) {
	return do(s, c, "DescribeInternetGateways", in, s.acts.DescribeInternetGateways)
}

// CreateNatGateway creates a NAT gateway, which is available after a delay.
func (s *Sim) CreateNatGateway(c Caller, in ec2.CreateNatGatewayInput) (ec2.CreateNatGatewayOutput, error) {
	return do(s, c, "CreateNatGateway", in, s.acts.CreateNatGateway)
}

// DeleteNatGateway deletes a NAT gateway.
func (s *Sim) DeleteNatGateway(c Caller, in ec2.DeleteNatGatewayInput) (ec2.DeleteNatGatewayOutput, error) {
	return do(s, c, "DeleteNatGateway", in, s.acts.DeleteNatGateway)
}

// DescribeNatGateways lists NAT gateways.
func (s *Sim) DescribeNatGateways(c Caller, in ec2.DescribeNatGatewaysInput) (ec2.DescribeNatGatewaysOutput, error) {
	return do(s, c, "DescribeNatGateways", in, s.acts.DescribeNatGateways)
}

// AllocateAddress allocates an elastic address.
func (s *Sim) AllocateAddress(c Caller, in ec2.AllocateAddressInput) (ec2.AllocateAddressOutput, error) {
	return do(s, c, "AllocateAddress", in, s.acts.AllocateAddress)
}

// ReleaseAddress releases an elastic address.
func (s *Sim) ReleaseAddress(c Caller, in ec2.ReleaseAddressInput) (ec2.Done, error) {
	return do(s, c, "ReleaseAddress", in, s.acts.ReleaseAddress)
}

// AssociateAddress gives a private address a public one.
func (s *Sim) AssociateAddress(c Caller, in ec2.AssociateAddressInput) (ec2.AssociateAddressOutput, error) {
	return do(s, c, "AssociateAddress", in, s.acts.AssociateAddress)
}

// DisassociateAddress takes a public address away.
func (s *Sim) DisassociateAddress(c Caller, in ec2.DisassociateAddressInput) (ec2.Done, error) {
	return do(s, c, "DisassociateAddress", in, s.acts.DisassociateAddress)
}

// DescribeAddresses lists elastic addresses.
func (s *Sim) DescribeAddresses(c Caller, in ec2.DescribeAddressesInput) (ec2.DescribeAddressesOutput, error) {
	return do(s, c, "DescribeAddresses", in, s.acts.DescribeAddresses)
}

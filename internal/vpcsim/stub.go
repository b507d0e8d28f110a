package vpcsim

import "github.com/berth-net/berth/internal/vpcsim/ec2"

var errStub = ec2.Error{Status: 500, Code: "InternalError", Message: "An internal error has occurred"}

func (s *Sim) createVpc(Caller, ec2.CreateVpcInput) (ec2.CreateVpcOutput, error) {
	return ec2.CreateVpcOutput{}, &errStub
}
func (s *Sim) deleteVpc(Caller, ec2.DeleteVpcInput) (ec2.Done, error) { return ec2.Done{}, &errStub }
func (s *Sim) describeVpcs(Caller, ec2.DescribeVpcsInput) (ec2.DescribeVpcsOutput, error) {
	return ec2.DescribeVpcsOutput{}, &errStub
}
func (s *Sim) describeVpcAttribute(Caller, ec2.DescribeVpcAttributeInput) (ec2.DescribeVpcAttributeOutput, error) {
	return ec2.DescribeVpcAttributeOutput{}, &errStub
}
func (s *Sim) modifyVpcAttribute(Caller, ec2.ModifyVpcAttributeInput) (ec2.Done, error) {
	return ec2.Done{}, &errStub
}
func (s *Sim) associateVpcCidrBlock(Caller, ec2.AssociateVpcCidrBlockInput) (ec2.AssociateVpcCidrBlockOutput, error) {
	return ec2.AssociateVpcCidrBlockOutput{}, &errStub
}
func (s *Sim) disassociateVpcCidrBlock(Caller, ec2.DisassociateVpcCidrBlockInput) (ec2.DisassociateVpcCidrBlockOutput, error) {
	return ec2.DisassociateVpcCidrBlockOutput{}, &errStub
}
func (s *Sim) createSubnet(Caller, ec2.CreateSubnetInput) (ec2.CreateSubnetOutput, error) {
	return ec2.CreateSubnetOutput{}, &errStub
}
func (s *Sim) deleteSubnet(Caller, ec2.DeleteSubnetInput) (ec2.Done, error) {
	return ec2.Done{}, &errStub
}
func (s *Sim) describeSubnets(Caller, ec2.DescribeSubnetsInput) (ec2.DescribeSubnetsOutput, error) {
	return ec2.DescribeSubnetsOutput{}, &errStub
}
func (s *Sim) modifySubnetAttribute(Caller, ec2.ModifySubnetAttributeInput) (ec2.Done, error) {
	return ec2.Done{}, &errStub
}
func (s *Sim) associateSubnetCidrBlock(Caller, ec2.AssociateSubnetCidrBlockInput) (ec2.AssociateSubnetCidrBlockOutput, error) {
	return ec2.AssociateSubnetCidrBlockOutput{}, &errStub
}
func (s *Sim) createSubnetCidrReservation(Caller, ec2.CreateSubnetCidrReservationInput) (ec2.CreateSubnetCidrReservationOutput, error) {
	return ec2.CreateSubnetCidrReservationOutput{}, &errStub
}
func (s *Sim) getSubnetCidrReservations(Caller, ec2.GetSubnetCidrReservationsInput) (ec2.GetSubnetCidrReservationsOutput, error) {
	return ec2.GetSubnetCidrReservationsOutput{}, &errStub
}
func (s *Sim) deleteSubnetCidrReservation(Caller, ec2.DeleteSubnetCidrReservationInput) (ec2.DeleteSubnetCidrReservationOutput, error) {
	return ec2.DeleteSubnetCidrReservationOutput{}, &errStub
}
func (s *Sim) createNetworkInterface(Caller, ec2.CreateNetworkInterfaceInput) (ec2.CreateNetworkInterfaceOutput, error) {
	return ec2.CreateNetworkInterfaceOutput{}, &errStub
}
func (s *Sim) deleteNetworkInterface(Caller, ec2.DeleteNetworkInterfaceInput) (ec2.Done, error) {
	return ec2.Done{}, &errStub
}
func (s *Sim) describeNetworkInterfaces(Caller, ec2.DescribeNetworkInterfacesInput) (ec2.DescribeNetworkInterfacesOutput, error) {
	return ec2.DescribeNetworkInterfacesOutput{}, &errStub
}
func (s *Sim) attachNetworkInterface(Caller, ec2.AttachNetworkInterfaceInput) (ec2.AttachNetworkInterfaceOutput, error) {
	return ec2.AttachNetworkInterfaceOutput{}, &errStub
}
func (s *Sim) detachNetworkInterface(Caller, ec2.DetachNetworkInterfaceInput) (ec2.Done, error) {
	return ec2.Done{}, &errStub
}
func (s *Sim) modifyNetworkInterfaceAttribute(Caller, ec2.ModifyNetworkInterfaceAttributeInput) (ec2.Done, error) {
	return ec2.Done{}, &errStub
}
func (s *Sim) assignPrivateIpAddresses(Caller, ec2.AssignPrivateIpAddressesInput) (ec2.AssignPrivateIpAddressesOutput, error) {
	return ec2.AssignPrivateIpAddressesOutput{}, &errStub
}
func (s *Sim) unassignPrivateIpAddresses(Caller, ec2.UnassignPrivateIpAddressesInput) (ec2.Done, error) {
	return ec2.Done{}, &errStub
}
func (s *Sim) assignIpv6Addresses(Caller, ec2.AssignIpv6AddressesInput) (ec2.AssignIpv6AddressesOutput, error) {
	return ec2.AssignIpv6AddressesOutput{}, &errStub
}
func (s *Sim) unassignIpv6Addresses(Caller, ec2.UnassignIpv6AddressesInput) (ec2.UnassignIpv6AddressesOutput, error) {
	return ec2.UnassignIpv6AddressesOutput{}, &errStub
}
func (s *Sim) createNetworkInterfacePermission(Caller, ec2.CreateNetworkInterfacePermissionInput) (ec2.CreateNetworkInterfacePermissionOutput, error) {
	return ec2.CreateNetworkInterfacePermissionOutput{}, &errStub
}
func (s *Sim) associateTrunkInterface(Caller, ec2.AssociateTrunkInterfaceInput) (ec2.AssociateTrunkInterfaceOutput, error) {
	return ec2.AssociateTrunkInterfaceOutput{}, &errStub
}
func (s *Sim) disassociateTrunkInterface(Caller, ec2.DisassociateTrunkInterfaceInput) (ec2.DisassociateTrunkInterfaceOutput, error) {
	return ec2.DisassociateTrunkInterfaceOutput{}, &errStub
}
func (s *Sim) describeTrunkInterfaceAssociations(Caller, ec2.DescribeTrunkInterfaceAssociationsInput) (ec2.DescribeTrunkInterfaceAssociationsOutput, error) {
	return ec2.DescribeTrunkInterfaceAssociationsOutput{}, &errStub
}
func (s *Sim) createTags(Caller, ec2.CreateTagsInput) (ec2.Done, error) { return ec2.Done{}, &errStub }
func (s *Sim) deleteTags(Caller, ec2.DeleteTagsInput) (ec2.Done, error) { return ec2.Done{}, &errStub }
func (s *Sim) describeTags(Caller, ec2.DescribeTagsInput) (ec2.DescribeTagsOutput, error) {
	return ec2.DescribeTagsOutput{}, &errStub
}
func (s *Sim) createSecurityGroup(Caller, ec2.CreateSecurityGroupInput) (ec2.CreateSecurityGroupOutput, error) {
	return ec2.CreateSecurityGroupOutput{}, &errStub
}
func (s *Sim) deleteSecurityGroup(Caller, ec2.DeleteSecurityGroupInput) (ec2.Done, error) {
	return ec2.Done{}, &errStub
}
func (s *Sim) describeSecurityGroups(Caller, ec2.DescribeSecurityGroupsInput) (ec2.DescribeSecurityGroupsOutput, error) {
	return ec2.DescribeSecurityGroupsOutput{}, &errStub
}
func (s *Sim) describeSecurityGroupRules(Caller, ec2.DescribeSecurityGroupRulesInput) (ec2.DescribeSecurityGroupRulesOutput, error) {
	return ec2.DescribeSecurityGroupRulesOutput{}, &errStub
}
func (s *Sim) authorizeSecurityGroupIngress(Caller, ec2.AuthorizeSecurityGroupInput) (ec2.AuthorizeSecurityGroupOutput, error) {
	return ec2.AuthorizeSecurityGroupOutput{}, &errStub
}
func (s *Sim) authorizeSecurityGroupEgress(Caller, ec2.AuthorizeSecurityGroupInput) (ec2.AuthorizeSecurityGroupOutput, error) {
	return ec2.AuthorizeSecurityGroupOutput{}, &errStub
}
func (s *Sim) revokeSecurityGroupIngress(Caller, ec2.RevokeSecurityGroupInput) (ec2.RevokeSecurityGroupOutput, error) {
	return ec2.RevokeSecurityGroupOutput{}, &errStub
}
func (s *Sim) revokeSecurityGroupEgress(Caller, ec2.RevokeSecurityGroupInput) (ec2.RevokeSecurityGroupOutput, error) {
	return ec2.RevokeSecurityGroupOutput{}, &errStub
}
func (s *Sim) runInstances(Caller, ec2.RunInstancesInput) (ec2.RunInstancesOutput, error) {
	return ec2.RunInstancesOutput{}, &errStub
}
func (s *Sim) terminateInstances(Caller, ec2.TerminateInstancesInput) (ec2.TerminateInstancesOutput, error) {
	return ec2.TerminateInstancesOutput{}, &errStub
}
func (s *Sim) describeInstances(Caller, ec2.DescribeInstancesInput) (ec2.DescribeInstancesOutput, error) {
	return ec2.DescribeInstancesOutput{}, &errStub
}
func (s *Sim) describeInstanceTypes(Caller, ec2.DescribeInstanceTypesInput) (ec2.DescribeInstanceTypesOutput, error) {
	return ec2.DescribeInstanceTypesOutput{}, &errStub
}
func (s *Sim) modifyInstanceMetadataOptions(Caller, ec2.ModifyInstanceMetadataOptionsInput) (ec2.ModifyInstanceMetadataOptionsOutput, error) {
	return ec2.ModifyInstanceMetadataOptionsOutput{}, &errStub
}
func (s *Sim) describeAvailabilityZones(Caller, ec2.DescribeAvailabilityZonesInput) (ec2.DescribeAvailabilityZonesOutput, error) {
	return ec2.DescribeAvailabilityZonesOutput{}, &errStub
}
func (s *Sim) describeRegions(Caller, ec2.DescribeRegionsInput) (ec2.DescribeRegionsOutput, error) {
	return ec2.DescribeRegionsOutput{}, &errStub
}
func (s *Sim) createRouteTable(Caller, ec2.CreateRouteTableInput) (ec2.CreateRouteTableOutput, error) {
	return ec2.CreateRouteTableOutput{}, &errStub
}
func (s *Sim) deleteRouteTable(Caller, ec2.DeleteRouteTableInput) (ec2.Done, error) {
	return ec2.Done{}, &errStub
}
func (s *Sim) describeRouteTables(Caller, ec2.DescribeRouteTablesInput) (ec2.DescribeRouteTablesOutput, error) {
	return ec2.DescribeRouteTablesOutput{}, &errStub
}
func (s *Sim) createRoute(Caller, ec2.CreateRouteInput) (ec2.CreateRouteOutput, error) {
	return ec2.CreateRouteOutput{}, &errStub
}
func (s *Sim) replaceRoute(Caller, ec2.CreateRouteInput) (ec2.Done, error) {
	return ec2.Done{}, &errStub
}
func (s *Sim) deleteRoute(Caller, ec2.DeleteRouteInput) (ec2.Done, error) {
	return ec2.Done{}, &errStub
}
func (s *Sim) associateRouteTable(Caller, ec2.AssociateRouteTableInput) (ec2.AssociateRouteTableOutput, error) {
	return ec2.AssociateRouteTableOutput{}, &errStub
}
func (s *Sim) disassociateRouteTable(Caller, ec2.DisassociateRouteTableInput) (ec2.Done, error) {
	return ec2.Done{}, &errStub
}
func (s *Sim) createInternetGateway(Caller, ec2.CreateInternetGatewayInput) (ec2.CreateInternetGatewayOutput, error) {
	return ec2.CreateInternetGatewayOutput{}, &errStub
}
func (s *Sim) attachInternetGateway(Caller, ec2.InternetGatewayInput) (ec2.Done, error) {
	return ec2.Done{}, &errStub
}
func (s *Sim) detachInternetGateway(Caller, ec2.InternetGatewayInput) (ec2.Done, error) {
	return ec2.Done{}, &errStub
}
func (s *Sim) deleteInternetGateway(Caller, ec2.InternetGatewayInput) (ec2.Done, error) {
	return ec2.Done{}, &errStub
}
func (s *Sim) describeInternetGateways(Caller, ec2.DescribeInternetGatewaysInput) (ec2.DescribeInternetGatewaysOutput, error) {
	return ec2.DescribeInternetGatewaysOutput{}, &errStub
}
func (s *Sim) createNatGateway(Caller, ec2.CreateNatGatewayInput) (ec2.CreateNatGatewayOutput, error) {
	return ec2.CreateNatGatewayOutput{}, &errStub
}
func (s *Sim) deleteNatGateway(Caller, ec2.DeleteNatGatewayInput) (ec2.DeleteNatGatewayOutput, error) {
	return ec2.DeleteNatGatewayOutput{}, &errStub
}
func (s *Sim) describeNatGateways(Caller, ec2.DescribeNatGatewaysInput) (ec2.DescribeNatGatewaysOutput, error) {
	return ec2.DescribeNatGatewaysOutput{}, &errStub
}
func (s *Sim) allocateAddress(Caller, ec2.AllocateAddressInput) (ec2.AllocateAddressOutput, error) {
	return ec2.AllocateAddressOutput{}, &errStub
}
func (s *Sim) releaseAddress(Caller, ec2.ReleaseAddressInput) (ec2.Done, error) {
	return ec2.Done{}, &errStub
}
func (s *Sim) associateAddress(Caller, ec2.AssociateAddressInput) (ec2.AssociateAddressOutput, error) {
	return ec2.AssociateAddressOutput{}, &errStub
}
func (s *Sim) disassociateAddress(Caller, ec2.DisassociateAddressInput) (ec2.Done, error) {
	return ec2.Done{}, &errStub
}
func (s *Sim) describeAddresses(Caller, ec2.DescribeAddressesInput) (ec2.DescribeAddressesOutput, error) {
	return ec2.DescribeAddressesOutput{}, &errStub
}

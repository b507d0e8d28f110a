package wire_test

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/berth-net/berth/internal/vpcsim"
	"github.com/berth-net/berth/internal/vpcsim/wire/ec2query"
)

// TestEveryAction calls every action at least once with the SDK's client and checks that each has succeeded.
func TestEveryAction(t *testing.T) {
	w := start(t, vpcsim.Options{})
	s := &scenario{t: t, c: w.operator(), network: w.network(t)}
	s.vpcs()
	s.subnets()
	s.interfaces()
	s.addresses()
	s.trunks()
	s.groups()
	s.instances()
	s.routes()
	s.gateways()
	s.tagsAndPlaces()
	s.tearDown()

	served := make(map[string]bool)
	calls, _ := w.server.Calls("")
	for _, call := range calls {
		if call.Outcome == "ok" {
			served[call.Action] = true
		}
	}
	for _, op := range ec2query.TableOperations() {
		if !served[op] {
			t.Errorf("%s was never answered", op)
		}
	}
}

// scenario is a sequence of calls over one network; later steps use what earlier ones made.
type scenario struct {
	t *testing.T
	c *ec2.Client
	network
	second, attachment string // the second interface and its attachment
}

func (s *scenario) must(err error) {
	s.t.Helper()
	must(s.t, err)
}

func (s *scenario) equal(what string, got, want any) {
	s.t.Helper()
	if got != want {
		s.t.Errorf("%s is %v, want %v", what, got, want)
	}
}

func (s *scenario) vpcs() {
	ctx := s.t.Context()
	a, err := s.c.AssociateVpcCidrBlock(ctx, &ec2.AssociateVpcCidrBlockInput{VpcId: &s.vpc, CidrBlock: aws.String("100.64.0.0/16")})
	s.must(err)
	s.equal("associated block", *a.CidrBlockAssociation.CidrBlock, "100.64.0.0/16")
	_, err = s.c.AssociateVpcCidrBlock(ctx, &ec2.AssociateVpcCidrBlockInput{VpcId: &s.vpc, AmazonProvidedIpv6CidrBlock: aws.Bool(true)})
	s.must(err)
	_, err = s.c.DisassociateVpcCidrBlock(ctx, &ec2.DisassociateVpcCidrBlockInput{AssociationId: a.CidrBlockAssociation.AssociationId})
	s.must(err)
	_, err = s.c.ModifyVpcAttribute(ctx, &ec2.ModifyVpcAttributeInput{VpcId: &s.vpc, EnableDnsHostnames: &types.AttributeBooleanValue{Value: aws.Bool(true)}})
	s.must(err)
	attr, err := s.c.DescribeVpcAttribute(ctx, &ec2.DescribeVpcAttributeInput{VpcId: &s.vpc, Attribute: types.VpcAttributeNameEnableDnsHostnames})
	s.must(err)
	s.equal("enableDnsHostnames", *attr.EnableDnsHostnames.Value, true)
	v, err := s.c.DescribeVpcs(ctx, &ec2.DescribeVpcsInput{VpcIds: []string{s.vpc}})
	s.must(err)
	s.equal("VPCs", len(v.Vpcs), 1)
}

func (s *scenario) subnets() {
	ctx := s.t.Context()
	v, err := s.c.DescribeVpcs(ctx, &ec2.DescribeVpcsInput{VpcIds: []string{s.vpc}})
	s.must(err)
	block := *v.Vpcs[0].Ipv6CidrBlockAssociationSet[0].Ipv6CidrBlock
	_, err = s.c.AssociateSubnetCidrBlock(ctx, &ec2.AssociateSubnetCidrBlockInput{SubnetId: &s.subnet, Ipv6CidrBlock: aws.String(block[:len(block)-len("/56")] + "/64")})
	s.must(err)
	_, err = s.c.ModifySubnetAttribute(ctx, &ec2.ModifySubnetAttributeInput{SubnetId: &s.subnet, MapPublicIpOnLaunch: &types.AttributeBooleanValue{Value: aws.Bool(true)}})
	s.must(err)
	r, err := s.c.CreateSubnetCidrReservation(ctx, &ec2.CreateSubnetCidrReservationInput{
		SubnetId: &s.subnet, Cidr: aws.String("10.0.1.128/28"), ReservationType: types.SubnetCidrReservationTypePrefix,
	})
	s.must(err)
	all, err := s.c.GetSubnetCidrReservations(ctx, &ec2.GetSubnetCidrReservationsInput{SubnetId: &s.subnet})
	s.must(err)
	s.equal("reservations", len(all.SubnetIpv4CidrReservations), 1)
	_, err = s.c.DeleteSubnetCidrReservation(ctx, &ec2.DeleteSubnetCidrReservationInput{SubnetCidrReservationId: r.SubnetCidrReservation.SubnetCidrReservationId})
	s.must(err)
	d, err := s.c.DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{Filters: []types.Filter{{Name: aws.String("vpc-id"), Values: []string{s.vpc}}}})
	s.must(err)
	s.equal("MapPublicIpOnLaunch", *d.Subnets[0].MapPublicIpOnLaunch, true)
	s.equal("free addresses", *d.Subnets[0].AvailableIpAddressCount, int32(250))
}

func (s *scenario) interfaces() {
	ctx := s.t.Context()
	e, err := s.c.CreateNetworkInterface(ctx, &ec2.CreateNetworkInterfaceInput{
		SubnetId: &s.subnet, Groups: []string{s.group}, Description: aws.String("second"), SecondaryPrivateIpAddressCount: aws.Int32(2),
		TagSpecifications: []types.TagSpecification{{
			ResourceType: types.ResourceTypeNetworkInterface, Tags: []types.Tag{{Key: aws.String("k"), Value: aws.String("")}},
		}},
	})
	s.must(err)
	s.second = *e.NetworkInterface.NetworkInterfaceId
	s.equal("addresses", len(e.NetworkInterface.PrivateIpAddresses), 3)
	s.equal("empty tag value", *e.NetworkInterface.TagSet[0].Value, "")
	a, err := s.c.AttachNetworkInterface(ctx, &ec2.AttachNetworkInterfaceInput{NetworkInterfaceId: &s.second, InstanceId: &s.instance, DeviceIndex: aws.Int32(1)})
	s.must(err)
	s.attachment = *a.AttachmentId
	_, err = s.c.ModifyNetworkInterfaceAttribute(ctx, &ec2.ModifyNetworkInterfaceAttributeInput{
		NetworkInterfaceId: &s.second,
		Attachment:         &types.NetworkInterfaceAttachmentChanges{AttachmentId: &s.attachment, DeleteOnTermination: aws.Bool(true)},
	})
	s.must(err)
	_, err = s.c.CreateNetworkInterfacePermission(ctx, &ec2.CreateNetworkInterfacePermissionInput{
		NetworkInterfaceId: &s.second, AwsAccountId: aws.String("999988887777"), Permission: types.InterfacePermissionTypeInstanceAttach,
	})
	s.must(err)
	d, err := s.c.DescribeNetworkInterfaces(ctx, &ec2.DescribeNetworkInterfacesInput{NetworkInterfaceIds: []string{s.second}})
	s.must(err)
	got := d.NetworkInterfaces[0]
	s.equal("status", got.Status, types.NetworkInterfaceStatusInUse)
	s.equal("delete on termination", *got.Attachment.DeleteOnTermination, true)
	s.equal("attached to", *got.Attachment.InstanceId, s.instance)
}

func (s *scenario) addresses() {
	ctx := s.t.Context()
	a, err := s.c.AssignPrivateIpAddresses(ctx, &ec2.AssignPrivateIpAddressesInput{NetworkInterfaceId: &s.second, SecondaryPrivateIpAddressCount: aws.Int32(3)})
	s.must(err)
	s.equal("assigned", len(a.AssignedPrivateIpAddresses), 3)
	_, err = s.c.UnassignPrivateIpAddresses(ctx, &ec2.UnassignPrivateIpAddressesInput{
		NetworkInterfaceId: &s.second, PrivateIpAddresses: []string{*a.AssignedPrivateIpAddresses[0].PrivateIpAddress},
	})
	s.must(err)
	p, err := s.c.AssignPrivateIpAddresses(ctx, &ec2.AssignPrivateIpAddressesInput{NetworkInterfaceId: &s.second, Ipv4PrefixCount: aws.Int32(1)})
	s.must(err)
	s.equal("prefixes", len(p.AssignedIpv4Prefixes), 1)
	six, err := s.c.AssignIpv6Addresses(ctx, &ec2.AssignIpv6AddressesInput{NetworkInterfaceId: &s.second, Ipv6AddressCount: aws.Int32(1)})
	s.must(err)
	_, err = s.c.UnassignIpv6Addresses(ctx, &ec2.UnassignIpv6AddressesInput{NetworkInterfaceId: &s.second, Ipv6Addresses: six.AssignedIpv6Addresses})
	s.must(err)
}

func (s *scenario) trunks() {
	ctx := s.t.Context()
	create := func(kind types.NetworkInterfaceCreationType) *string {
		e, err := s.c.CreateNetworkInterface(ctx, &ec2.CreateNetworkInterfaceInput{SubnetId: &s.subnet, InterfaceType: kind})
		s.must(err)
		return e.NetworkInterface.NetworkInterfaceId
	}
	trunk, branch := create(types.NetworkInterfaceCreationTypeTrunk), create(types.NetworkInterfaceCreationTypeBranch)
	at, err := s.c.AttachNetworkInterface(ctx, &ec2.AttachNetworkInterfaceInput{NetworkInterfaceId: trunk, InstanceId: &s.instance, DeviceIndex: aws.Int32(2)})
	s.must(err)
	a, err := s.c.AssociateTrunkInterface(ctx, &ec2.AssociateTrunkInterfaceInput{BranchInterfaceId: branch, TrunkInterfaceId: trunk, VlanId: aws.Int32(7)})
	s.must(err)
	d, err := s.c.DescribeTrunkInterfaceAssociations(ctx, &ec2.DescribeTrunkInterfaceAssociationsInput{
		Filters: []types.Filter{{Name: aws.String("trunk-interface-association.trunk-interface-id"), Values: []string{*trunk}}},
	})
	s.must(err)
	s.equal("associations", len(d.InterfaceAssociations), 1)
	_, err = s.c.DisassociateTrunkInterface(ctx, &ec2.DisassociateTrunkInterfaceInput{AssociationId: a.InterfaceAssociation.AssociationId})
	s.must(err)
	_, err = s.c.DetachNetworkInterface(ctx, &ec2.DetachNetworkInterfaceInput{AttachmentId: at.AttachmentId})
	s.must(err)
	for _, id := range []*string{trunk, branch} {
		_, err = s.c.DeleteNetworkInterface(ctx, &ec2.DeleteNetworkInterfaceInput{NetworkInterfaceId: id})
		s.must(err)
	}
}

func (s *scenario) groups() {
	ctx := s.t.Context()
	permission := []types.IpPermission{{
		IpProtocol: aws.String("tcp"), FromPort: aws.Int32(80), ToPort: aws.Int32(90), IpRanges: []types.IpRange{{CidrIp: aws.String("10.0.0.0/8")}},
		UserIdGroupPairs: []types.UserIdGroupPair{{GroupId: &s.group}},
	}}
	in, err := s.c.AuthorizeSecurityGroupIngress(ctx, &ec2.AuthorizeSecurityGroupIngressInput{GroupId: &s.group, IpPermissions: permission})
	s.must(err)
	s.equal("rules", len(in.SecurityGroupRules), 2)
	_, err = s.c.AuthorizeSecurityGroupEgress(ctx, &ec2.AuthorizeSecurityGroupEgressInput{GroupId: &s.group, IpPermissions: permission})
	s.must(err)
	g, err := s.c.DescribeSecurityGroups(ctx, &ec2.DescribeSecurityGroupsInput{GroupIds: []string{s.group}})
	s.must(err)
	s.equal("peer group", *g.SecurityGroups[0].IpPermissions[0].UserIdGroupPairs[0].GroupId, s.group)
	r, err := s.c.DescribeSecurityGroupRules(ctx, &ec2.DescribeSecurityGroupRulesInput{
		Filters: []types.Filter{{Name: aws.String("group-id"), Values: []string{s.group}}},
	})
	s.must(err)
	s.equal("all rules", len(r.SecurityGroupRules), 5)
	_, err = s.c.RevokeSecurityGroupIngress(ctx, &ec2.RevokeSecurityGroupIngressInput{
		GroupId: &s.group, SecurityGroupRuleIds: []string{*in.SecurityGroupRules[0].SecurityGroupRuleId},
	})
	s.must(err)
	_, err = s.c.RevokeSecurityGroupEgress(ctx, &ec2.RevokeSecurityGroupEgressInput{GroupId: &s.group, IpPermissions: permission})
	s.must(err)
}

func (s *scenario) instances() {
	ctx := s.t.Context()
	i, err := s.c.DescribeInstances(ctx, &ec2.DescribeInstancesInput{InstanceIds: []string{s.instance}})
	s.must(err)
	s.equal("interfaces of the instance", len(i.Reservations[0].Instances[0].NetworkInterfaces), 2)
	limits, err := s.c.DescribeInstanceTypes(ctx, &ec2.DescribeInstanceTypesInput{InstanceTypes: []types.InstanceType{types.InstanceTypeM5Large}})
	s.must(err)
	s.equal("addresses per interface", *limits.InstanceTypes[0].NetworkInfo.Ipv4AddressesPerInterface, int32(10))
	m, err := s.c.ModifyInstanceMetadataOptions(ctx, &ec2.ModifyInstanceMetadataOptionsInput{InstanceId: &s.instance, HttpPutResponseHopLimit: aws.Int32(2)})
	s.must(err)
	s.equal("hop limit", *m.InstanceMetadataOptions.HttpPutResponseHopLimit, int32(2))
}

func (s *scenario) routes() {
	ctx := s.t.Context()
	t, err := s.c.CreateRouteTable(ctx, &ec2.CreateRouteTableInput{VpcId: &s.vpc})
	s.must(err)
	id := t.RouteTable.RouteTableId
	route := func(cidr string) {
		_, err := s.c.CreateRoute(ctx, &ec2.CreateRouteInput{RouteTableId: id, DestinationCidrBlock: &cidr, NetworkInterfaceId: &s.second})
		s.must(err)
	}
	route("192.0.2.0/24")
	_, err = s.c.ReplaceRoute(ctx, &ec2.ReplaceRouteInput{RouteTableId: id, DestinationCidrBlock: aws.String("192.0.2.0/24"), NetworkInterfaceId: &s.eni})
	s.must(err)
	a, err := s.c.AssociateRouteTable(ctx, &ec2.AssociateRouteTableInput{RouteTableId: id, SubnetId: &s.subnet})
	s.must(err)
	d, err := s.c.DescribeRouteTables(ctx, &ec2.DescribeRouteTablesInput{RouteTableIds: []string{*id}})
	s.must(err)
	s.equal("associated subnet", *d.RouteTables[0].Associations[0].SubnetId, s.subnet)
	_, err = s.c.DisassociateRouteTable(ctx, &ec2.DisassociateRouteTableInput{AssociationId: a.AssociationId})
	s.must(err)
	_, err = s.c.DeleteRoute(ctx, &ec2.DeleteRouteInput{RouteTableId: id, DestinationCidrBlock: aws.String("192.0.2.0/24")})
	s.must(err)
	_, err = s.c.DeleteRouteTable(ctx, &ec2.DeleteRouteTableInput{RouteTableId: id})
	s.must(err)
}

func (s *scenario) gateways() {
	ctx := s.t.Context()
	g, err := s.c.CreateInternetGateway(ctx, &ec2.CreateInternetGatewayInput{})
	s.must(err)
	igw := g.InternetGateway.InternetGatewayId
	_, err = s.c.AttachInternetGateway(ctx, &ec2.AttachInternetGatewayInput{InternetGatewayId: igw, VpcId: &s.vpc})
	s.must(err)
	eip, err := s.c.AllocateAddress(ctx, &ec2.AllocateAddressInput{Domain: types.DomainTypeVpc})
	s.must(err)
	nat, err := s.c.CreateNatGateway(ctx, &ec2.CreateNatGatewayInput{SubnetId: &s.subnet, AllocationId: eip.AllocationId})
	s.must(err)
	n, err := s.c.DescribeNatGateways(ctx, &ec2.DescribeNatGatewaysInput{Filter: []types.Filter{{Name: aws.String("vpc-id"), Values: []string{s.vpc}}}})
	s.must(err)
	s.equal("NAT gateways", len(n.NatGateways), 1)
	_, err = s.c.DeleteNatGateway(ctx, &ec2.DeleteNatGatewayInput{NatGatewayId: nat.NatGateway.NatGatewayId})
	s.must(err)
	a, err := s.c.AssociateAddress(ctx, &ec2.AssociateAddressInput{AllocationId: eip.AllocationId, NetworkInterfaceId: &s.second})
	s.must(err)
	d, err := s.c.DescribeAddresses(ctx, &ec2.DescribeAddressesInput{AllocationIds: []string{*eip.AllocationId}})
	s.must(err)
	s.equal("address of", *d.Addresses[0].NetworkInterfaceId, s.second)
	_, err = s.c.DisassociateAddress(ctx, &ec2.DisassociateAddressInput{AssociationId: a.AssociationId})
	s.must(err)
	_, err = s.c.ReleaseAddress(ctx, &ec2.ReleaseAddressInput{AllocationId: eip.AllocationId})
	s.must(err)
	i, err := s.c.DescribeInternetGateways(ctx, &ec2.DescribeInternetGatewaysInput{InternetGatewayIds: []string{*igw}})
	s.must(err)
	s.equal("gateway's VPC", *i.InternetGateways[0].Attachments[0].VpcId, s.vpc)
	_, err = s.c.DetachInternetGateway(ctx, &ec2.DetachInternetGatewayInput{InternetGatewayId: igw, VpcId: &s.vpc})
	s.must(err)
	_, err = s.c.DeleteInternetGateway(ctx, &ec2.DeleteInternetGatewayInput{InternetGatewayId: igw})
	s.must(err)
}

func (s *scenario) tagsAndPlaces() {
	ctx := s.t.Context()
	_, err := s.c.CreateTags(ctx, &ec2.CreateTagsInput{Resources: []string{s.subnet}, Tags: []types.Tag{{Key: aws.String("a"), Value: aws.String("b")}}})
	s.must(err)
	filter := []types.Filter{{Name: aws.String("resource-id"), Values: []string{s.subnet}}}
	d, err := s.c.DescribeTags(ctx, &ec2.DescribeTagsInput{Filters: filter})
	s.must(err)
	s.equal("tags", len(d.Tags), 1)
	_, err = s.c.DeleteTags(ctx, &ec2.DeleteTagsInput{Resources: []string{s.subnet}, Tags: []types.Tag{{Key: aws.String("a")}}})
	s.must(err)
	d, err = s.c.DescribeTags(ctx, &ec2.DescribeTagsInput{Filters: filter})
	s.must(err)
	s.equal("tags left", len(d.Tags), 0)
	z, err := s.c.DescribeAvailabilityZones(ctx, &ec2.DescribeAvailabilityZonesInput{})
	s.must(err)
	s.equal("zones", len(z.AvailabilityZones), 3)
	r, err := s.c.DescribeRegions(ctx, &ec2.DescribeRegionsInput{})
	s.must(err)
	s.equal("region", *r.Regions[0].RegionName, region)
}

func (s *scenario) tearDown() {
	ctx := s.t.Context()
	_, err := s.c.DetachNetworkInterface(ctx, &ec2.DetachNetworkInterfaceInput{AttachmentId: &s.attachment})
	s.must(err)
	_, err = s.c.DeleteNetworkInterface(ctx, &ec2.DeleteNetworkInterfaceInput{NetworkInterfaceId: &s.second})
	s.must(err)
	t, err := s.c.TerminateInstances(ctx, &ec2.TerminateInstancesInput{InstanceIds: []string{s.instance}})
	s.must(err)
	s.equal("state before", t.TerminatingInstances[0].PreviousState.Name, types.InstanceStateNameRunning)
	_, err = s.c.DeleteSubnet(ctx, &ec2.DeleteSubnetInput{SubnetId: &s.subnet})
	s.must(err)
	_, err = s.c.DeleteSecurityGroup(ctx, &ec2.DeleteSecurityGroupInput{GroupId: &s.group})
	s.must(err)
	_, err = s.c.DeleteVpc(ctx, &ec2.DeleteVpcInput{VpcId: &s.vpc})
	s.must(err)
}

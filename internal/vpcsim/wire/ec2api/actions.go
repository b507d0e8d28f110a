package ec2api

import (
	"context"
	"errors"
	"reflect"
	"strings"

	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"

	"github.com/berth-net/berth/internal/vpcsim"
	"github.com/berth-net/berth/internal/vpcsim/ec2"
	"github.com/berth-net/berth/internal/vpcsim/wire/ec2query"
)

// Call is a call on its way to the simulator.
type Call struct {
	Caller vpcsim.Caller
	// Made is whether the simulator has seen, and counted, the call: one that cannot be read never gets there.
	Made bool
}

type callKey struct{}

// WithCall returns a context that says who makes the call.
func WithCall(ctx context.Context, c *Call) context.Context {
	return context.WithValue(ctx, callKey{}, c)
}

// caller notes that the call is made, and tells by whom; the zero Caller when nothing is known.
func caller(ctx context.Context) vpcsim.Caller {
	c, ok := ctx.Value(callKey{}).(*Call)
	if !ok {
		return vpcsim.Caller{}
	}
	c.Made = true
	return c.Caller
}

// act serves an operation by a method of the simulator. SI and SO are the SDK's Input and Output.
func act[SI, SO, In, Out any](m *ec2query.Mux, name string, run func(vpcsim.Caller, In) (Out, error)) {
	mustMatch(reflect.TypeFor[In](), reflect.TypeFor[SI](), name+"Input")
	mustMatch(reflect.TypeFor[Out](), reflect.TypeFor[SO](), name+"Output")
	ec2query.Handle(m, name, func(ctx context.Context, in *SI) (*SO, error) {
		out, err := run(caller(ctx), request[In](in))
		if err != nil {
			return nil, wireError(err)
		}
		reply := response[SO](&out)
		answerTrue(reply, &out)
		return reply, nil
	})
}

// pages are the bounds of MaxResults.
type pages struct{ least, most int32 }

// list serves a describe operation by pages: items points to the reply's list, id is what it is sorted by.
func list[SI, SO, In, Out, Item any](m *ec2query.Mux, name string, run func(vpcsim.Caller, In) (Out, error),
	items func(*Out) *[]Item, id func(*Item) string, bounds pages,
) {
	mustMatch(reflect.TypeFor[In](), reflect.TypeFor[SI](), name+"Input")
	mustMatch(reflect.TypeFor[Out](), reflect.TypeFor[SO](), name+"Output")
	ec2query.Handle(m, name, func(ctx context.Context, in *SI) (*SO, error) {
		query := request[In](in)
		page := pageRequest(in, query)
		page.Least, page.Most = bounds.least, bounds.most
		if err := page.Check(); err != nil {
			return nil, err
		}
		out, err := run(caller(ctx), query)
		if err != nil {
			return nil, wireError(err)
		}
		all := items(&out)
		cut, next, err := ec2query.Page(*all, func(x Item) string { return id(&x) }, page)
		if err != nil {
			return nil, err
		}
		*all = cut
		reply := response[SO](&out)
		reflect.ValueOf(reply).Elem().FieldByName("NextToken").Set(reflect.ValueOf(next))
		return reply, nil
	})
}

// pageRequest reads the paging members of an SDK Input; the rest of the request is what the pages are of.
func pageRequest[In any](sdkInput any, query In) ec2query.PageRequest {
	v := reflect.ValueOf(sdkInput).Elem()
	p := ec2query.PageRequest{Query: query}
	p.MaxResults, _ = reflect.TypeAssert[*int32](v.FieldByName("MaxResults"))
	p.NextToken, _ = reflect.TypeAssert[*string](v.FieldByName("NextToken"))
	for i := range v.NumField() {
		name := v.Type().Field(i).Name
		if strings.HasSuffix(name, "Ids") && v.Field(i).Len() > 0 {
			p.HasIDs = true
		}
	}
	return p
}

func request[In any](sdkInput any) In {
	var in In
	fromSDK(reflect.ValueOf(&in).Elem(), reflect.ValueOf(sdkInput).Elem())
	return in
}

func response[SO any](out any) *SO {
	reply := new(SO)
	toSDK(reflect.ValueOf(reply).Elem(), reflect.ValueOf(out).Elem())
	return reply
}

// answerTrue sets a Return of the reply of which the simulator says nothing: it returned, so it is done.
func answerTrue(reply, out any) {
	if reflect.ValueOf(out).Elem().FieldByName("Return").IsValid() {
		return
	}
	if f := reflect.ValueOf(reply).Elem().FieldByName("Return"); f.IsValid() && f.Kind() == reflect.Pointer {
		yes := true
		f.Set(reflect.ValueOf(&yes))
	}
}

func wireError(err error) error {
	if e, ok := errors.AsType[*ec2.Error](err); ok {
		return &ec2query.Error{Status: e.Status, Code: e.Code, Message: e.Message}
	}
	return err
}

// New returns a mux that serves every action of the simulator.
func New(s *vpcsim.Sim) *ec2query.Mux {
	m := new(ec2query.Mux)
	registerVPC(m, s)
	registerInterfaces(m, s)
	registerGroups(m, s)
	registerInstances(m, s)
	registerRoutes(m, s)
	return m
}

func registerVPC(m *ec2query.Mux, s *vpcsim.Sim) {
	act[sdk.CreateVpcInput, sdk.CreateVpcOutput](m, "CreateVpc", s.CreateVpc)
	act[sdk.DeleteVpcInput, sdk.DeleteVpcOutput](m, "DeleteVpc", s.DeleteVpc)
	list[sdk.DescribeVpcsInput, sdk.DescribeVpcsOutput](m, "DescribeVpcs", s.DescribeVpcs,
		func(o *ec2.DescribeVpcsOutput) *[]ec2.Vpc { return &o.Vpcs },
		func(v *ec2.Vpc) string { return v.VpcId }, pages{})
	act[sdk.DescribeVpcAttributeInput, sdk.DescribeVpcAttributeOutput](m, "DescribeVpcAttribute", s.DescribeVpcAttribute)
	act[sdk.ModifyVpcAttributeInput, sdk.ModifyVpcAttributeOutput](m, "ModifyVpcAttribute", s.ModifyVpcAttribute)
	act[sdk.AssociateVpcCidrBlockInput, sdk.AssociateVpcCidrBlockOutput](m, "AssociateVpcCidrBlock", s.AssociateVpcCidrBlock)
	act[sdk.DisassociateVpcCidrBlockInput, sdk.DisassociateVpcCidrBlockOutput](m, "DisassociateVpcCidrBlock", s.DisassociateVpcCidrBlock)
	act[sdk.CreateSubnetInput, sdk.CreateSubnetOutput](m, "CreateSubnet", s.CreateSubnet)
	act[sdk.DeleteSubnetInput, sdk.DeleteSubnetOutput](m, "DeleteSubnet", s.DeleteSubnet)
	list[sdk.DescribeSubnetsInput, sdk.DescribeSubnetsOutput](m, "DescribeSubnets", s.DescribeSubnets,
		func(o *ec2.DescribeSubnetsOutput) *[]ec2.Subnet { return &o.Subnets },
		func(v *ec2.Subnet) string { return v.SubnetId }, pages{})
	act[sdk.ModifySubnetAttributeInput, sdk.ModifySubnetAttributeOutput](m, "ModifySubnetAttribute", s.ModifySubnetAttribute)
	act[sdk.AssociateSubnetCidrBlockInput, sdk.AssociateSubnetCidrBlockOutput](m, "AssociateSubnetCidrBlock", s.AssociateSubnetCidrBlock)
	act[sdk.CreateSubnetCidrReservationInput, sdk.CreateSubnetCidrReservationOutput](m, "CreateSubnetCidrReservation", s.CreateSubnetCidrReservation)
	list[sdk.GetSubnetCidrReservationsInput, sdk.GetSubnetCidrReservationsOutput](m, "GetSubnetCidrReservations", s.GetSubnetCidrReservations,
		func(o *ec2.GetSubnetCidrReservationsOutput) *[]ec2.SubnetCidrReservation {
			return &o.SubnetIpv4CidrReservations
		},
		func(v *ec2.SubnetCidrReservation) string { return v.SubnetCidrReservationId }, pages{})
	act[sdk.DeleteSubnetCidrReservationInput, sdk.DeleteSubnetCidrReservationOutput](m, "DeleteSubnetCidrReservation", s.DeleteSubnetCidrReservation)
	act[sdk.CreateTagsInput, sdk.CreateTagsOutput](m, "CreateTags", s.CreateTags)
	act[sdk.DeleteTagsInput, sdk.DeleteTagsOutput](m, "DeleteTags", s.DeleteTags)
	list[sdk.DescribeTagsInput, sdk.DescribeTagsOutput](m, "DescribeTags", s.DescribeTags,
		func(o *ec2.DescribeTagsOutput) *[]ec2.TagDescription { return &o.Tags },
		func(v *ec2.TagDescription) string { return v.ResourceId + "\x00" + v.Key }, pages{})
	act[sdk.DescribeAvailabilityZonesInput, sdk.DescribeAvailabilityZonesOutput](m, "DescribeAvailabilityZones", s.DescribeAvailabilityZones)
	act[sdk.DescribeRegionsInput, sdk.DescribeRegionsOutput](m, "DescribeRegions", s.DescribeRegions)
}

func registerInterfaces(m *ec2query.Mux, s *vpcsim.Sim) {
	act[sdk.CreateNetworkInterfaceInput, sdk.CreateNetworkInterfaceOutput](m, "CreateNetworkInterface", s.CreateNetworkInterface)
	act[sdk.DeleteNetworkInterfaceInput, sdk.DeleteNetworkInterfaceOutput](m, "DeleteNetworkInterface", s.DeleteNetworkInterface)
	list[sdk.DescribeNetworkInterfacesInput, sdk.DescribeNetworkInterfacesOutput](m, "DescribeNetworkInterfaces", s.DescribeNetworkInterfaces,
		func(o *ec2.DescribeNetworkInterfacesOutput) *[]ec2.NetworkInterface { return &o.NetworkInterfaces },
		func(v *ec2.NetworkInterface) string { return v.NetworkInterfaceId }, pages{})
	act[sdk.AttachNetworkInterfaceInput, sdk.AttachNetworkInterfaceOutput](m, "AttachNetworkInterface", s.AttachNetworkInterface)
	act[sdk.DetachNetworkInterfaceInput, sdk.DetachNetworkInterfaceOutput](m, "DetachNetworkInterface", s.DetachNetworkInterface)
	act[sdk.ModifyNetworkInterfaceAttributeInput, sdk.ModifyNetworkInterfaceAttributeOutput](m, "ModifyNetworkInterfaceAttribute", s.ModifyNetworkInterfaceAttribute)
	act[sdk.AssignPrivateIpAddressesInput, sdk.AssignPrivateIpAddressesOutput](m, "AssignPrivateIpAddresses", s.AssignPrivateIpAddresses)
	act[sdk.UnassignPrivateIpAddressesInput, sdk.UnassignPrivateIpAddressesOutput](m, "UnassignPrivateIpAddresses", s.UnassignPrivateIpAddresses)
	act[sdk.AssignIpv6AddressesInput, sdk.AssignIpv6AddressesOutput](m, "AssignIpv6Addresses", s.AssignIpv6Addresses)
	act[sdk.UnassignIpv6AddressesInput, sdk.UnassignIpv6AddressesOutput](m, "UnassignIpv6Addresses", s.UnassignIpv6Addresses)
	act[sdk.CreateNetworkInterfacePermissionInput, sdk.CreateNetworkInterfacePermissionOutput](m, "CreateNetworkInterfacePermission", s.CreateNetworkInterfacePermission)
	act[sdk.AssociateTrunkInterfaceInput, sdk.AssociateTrunkInterfaceOutput](m, "AssociateTrunkInterface", s.AssociateTrunkInterface)
	act[sdk.DisassociateTrunkInterfaceInput, sdk.DisassociateTrunkInterfaceOutput](m, "DisassociateTrunkInterface", s.DisassociateTrunkInterface)
	list[sdk.DescribeTrunkInterfaceAssociationsInput, sdk.DescribeTrunkInterfaceAssociationsOutput](m, "DescribeTrunkInterfaceAssociations", s.DescribeTrunkInterfaceAssociations,
		func(o *ec2.DescribeTrunkInterfaceAssociationsOutput) *[]ec2.TrunkInterfaceAssociation {
			return &o.InterfaceAssociations
		},
		func(v *ec2.TrunkInterfaceAssociation) string { return v.AssociationId }, pages{5, 255})
}

func registerGroups(m *ec2query.Mux, s *vpcsim.Sim) {
	act[sdk.CreateSecurityGroupInput, sdk.CreateSecurityGroupOutput](m, "CreateSecurityGroup", s.CreateSecurityGroup)
	act[sdk.DeleteSecurityGroupInput, sdk.DeleteSecurityGroupOutput](m, "DeleteSecurityGroup", s.DeleteSecurityGroup)
	list[sdk.DescribeSecurityGroupsInput, sdk.DescribeSecurityGroupsOutput](m, "DescribeSecurityGroups", s.DescribeSecurityGroups,
		func(o *ec2.DescribeSecurityGroupsOutput) *[]ec2.SecurityGroup { return &o.SecurityGroups },
		func(v *ec2.SecurityGroup) string { return v.GroupId }, pages{})
	list[sdk.DescribeSecurityGroupRulesInput, sdk.DescribeSecurityGroupRulesOutput](m, "DescribeSecurityGroupRules", s.DescribeSecurityGroupRules,
		func(o *ec2.DescribeSecurityGroupRulesOutput) *[]ec2.SecurityGroupRule { return &o.SecurityGroupRules },
		func(v *ec2.SecurityGroupRule) string { return v.SecurityGroupRuleId }, pages{})
	act[sdk.AuthorizeSecurityGroupIngressInput, sdk.AuthorizeSecurityGroupIngressOutput](m, "AuthorizeSecurityGroupIngress", s.AuthorizeSecurityGroupIngress)
	act[sdk.AuthorizeSecurityGroupEgressInput, sdk.AuthorizeSecurityGroupEgressOutput](m, "AuthorizeSecurityGroupEgress", s.AuthorizeSecurityGroupEgress)
	act[sdk.RevokeSecurityGroupIngressInput, sdk.RevokeSecurityGroupIngressOutput](m, "RevokeSecurityGroupIngress", s.RevokeSecurityGroupIngress)
	act[sdk.RevokeSecurityGroupEgressInput, sdk.RevokeSecurityGroupEgressOutput](m, "RevokeSecurityGroupEgress", s.RevokeSecurityGroupEgress)
}

func registerInstances(m *ec2query.Mux, s *vpcsim.Sim) {
	act[sdk.RunInstancesInput, sdk.RunInstancesOutput](m, "RunInstances", s.RunInstances)
	act[sdk.TerminateInstancesInput, sdk.TerminateInstancesOutput](m, "TerminateInstances", s.TerminateInstances)
	list[sdk.DescribeInstancesInput, sdk.DescribeInstancesOutput](m, "DescribeInstances", s.DescribeInstances,
		func(o *ec2.DescribeInstancesOutput) *[]ec2.Reservation { return &o.Reservations },
		func(v *ec2.Reservation) string { return v.ReservationId }, pages{})
	list[sdk.DescribeInstanceTypesInput, sdk.DescribeInstanceTypesOutput](m, "DescribeInstanceTypes", s.DescribeInstanceTypes,
		func(o *ec2.DescribeInstanceTypesOutput) *[]ec2.InstanceTypeInfo { return &o.InstanceTypes },
		func(v *ec2.InstanceTypeInfo) string { return v.InstanceType }, pages{5, 100})
	act[sdk.ModifyInstanceMetadataOptionsInput, sdk.ModifyInstanceMetadataOptionsOutput](m, "ModifyInstanceMetadataOptions", s.ModifyInstanceMetadataOptions)
}

func registerRoutes(m *ec2query.Mux, s *vpcsim.Sim) {
	act[sdk.CreateRouteTableInput, sdk.CreateRouteTableOutput](m, "CreateRouteTable", s.CreateRouteTable)
	act[sdk.DeleteRouteTableInput, sdk.DeleteRouteTableOutput](m, "DeleteRouteTable", s.DeleteRouteTable)
	list[sdk.DescribeRouteTablesInput, sdk.DescribeRouteTablesOutput](m, "DescribeRouteTables", s.DescribeRouteTables,
		func(o *ec2.DescribeRouteTablesOutput) *[]ec2.RouteTable { return &o.RouteTables },
		func(v *ec2.RouteTable) string { return v.RouteTableId }, pages{5, 100})
	act[sdk.CreateRouteInput, sdk.CreateRouteOutput](m, "CreateRoute", s.CreateRoute)
	act[sdk.ReplaceRouteInput, sdk.ReplaceRouteOutput](m, "ReplaceRoute", s.ReplaceRoute)
	act[sdk.DeleteRouteInput, sdk.DeleteRouteOutput](m, "DeleteRoute", s.DeleteRoute)
	act[sdk.AssociateRouteTableInput, sdk.AssociateRouteTableOutput](m, "AssociateRouteTable", s.AssociateRouteTable)
	act[sdk.DisassociateRouteTableInput, sdk.DisassociateRouteTableOutput](m, "DisassociateRouteTable", s.DisassociateRouteTable)
	act[sdk.CreateInternetGatewayInput, sdk.CreateInternetGatewayOutput](m, "CreateInternetGateway", s.CreateInternetGateway)
	act[sdk.AttachInternetGatewayInput, sdk.AttachInternetGatewayOutput](m, "AttachInternetGateway", s.AttachInternetGateway)
	act[sdk.DetachInternetGatewayInput, sdk.DetachInternetGatewayOutput](m, "DetachInternetGateway", s.DetachInternetGateway)
	act[sdk.DeleteInternetGatewayInput, sdk.DeleteInternetGatewayOutput](m, "DeleteInternetGateway", s.DeleteInternetGateway)
	list[sdk.DescribeInternetGatewaysInput, sdk.DescribeInternetGatewaysOutput](m, "DescribeInternetGateways", s.DescribeInternetGateways,
		func(o *ec2.DescribeInternetGatewaysOutput) *[]ec2.InternetGateway { return &o.InternetGateways },
		func(v *ec2.InternetGateway) string { return v.InternetGatewayId }, pages{})
	act[sdk.CreateNatGatewayInput, sdk.CreateNatGatewayOutput](m, "CreateNatGateway", s.CreateNatGateway)
	act[sdk.DeleteNatGatewayInput, sdk.DeleteNatGatewayOutput](m, "DeleteNatGateway", s.DeleteNatGateway)
	list[sdk.DescribeNatGatewaysInput, sdk.DescribeNatGatewaysOutput](m, "DescribeNatGateways", s.DescribeNatGateways,
		func(o *ec2.DescribeNatGatewaysOutput) *[]ec2.NatGateway { return &o.NatGateways },
		func(v *ec2.NatGateway) string { return v.NatGatewayId }, pages{})
	act[sdk.AllocateAddressInput, sdk.AllocateAddressOutput](m, "AllocateAddress", s.AllocateAddress)
	act[sdk.ReleaseAddressInput, sdk.ReleaseAddressOutput](m, "ReleaseAddress", s.ReleaseAddress)
	act[sdk.AssociateAddressInput, sdk.AssociateAddressOutput](m, "AssociateAddress", s.AssociateAddress)
	act[sdk.DisassociateAddressInput, sdk.DisassociateAddressOutput](m, "DisassociateAddress", s.DisassociateAddress)
	act[sdk.DescribeAddressesInput, sdk.DescribeAddressesOutput](m, "DescribeAddresses", s.DescribeAddresses)
}

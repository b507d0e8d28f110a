package simcloud

import (
	"cmp"
	"context"
	"errors"
	"net/netip"
	"slices"

	"github.com/berth-net/berth/internal/core/vpc"
	"github.com/berth-net/berth/internal/vpcsim/ec2"
)

// count is a number as EC2 takes it: absent when none.
func count(n int) *int {
	if n == 0 {
		return nil
	}
	return &n
}

// exhausted makes the error of a subnet without enough addresses for prefixes one of prefixes: single addresses may be left.
func exhausted(w vpc.Want, err error) error {
	if e, ok := errors.AsType[*vpc.Error](err); ok && e.Code == vpc.SubnetFull && w.InPrefixes() {
		e.Code = vpc.PrefixFragmented
	}
	return err
}

// Assign implements node.AddressWriter.
func (c Cloud) Assign(_ context.Context, eni vpc.ENIID, want vpc.Want) ([]vpc.Block, error) {
	in := ec2.AssignPrivateIpAddressesInput{
		NetworkInterfaceId: string(eni), SecondaryPrivateIpAddressCount: count(want.Count), Ipv4PrefixCount: count(want.PrefixCount),
	}
	for _, a := range want.Addrs {
		in.PrivateIpAddresses = append(in.PrivateIpAddresses, a.String())
	}
	for _, p := range want.Prefixes {
		in.Ipv4Prefixes = append(in.Ipv4Prefixes, p.String())
	}
	out, err := c.Sim.AssignPrivateIpAddresses(c.Caller, in)
	if err != nil {
		return nil, exhausted(want, translate("AssignPrivateIpAddresses", string(eni), err))
	}
	var blocks []vpc.Block
	for _, a := range out.AssignedPrivateIpAddresses {
		blocks = append(blocks, vpc.Single(netip.MustParseAddr(a.PrivateIpAddress)))
	}
	for _, p := range out.AssignedIpv4Prefixes {
		blocks = append(blocks, vpc.PrefixBlock(netip.MustParsePrefix(p.Ipv4Prefix)))
	}
	return blocks, nil
}

// Unassign implements node.AddressWriter.
func (c Cloud) Unassign(ctx context.Context, eni vpc.ENIID, blocks []vpc.Block) error {
	addrs, prefixes := vpc.Split(blocks)
	half := false
	for _, kind := range [][]vpc.Block{vpc.Blocks(addrs, nil), vpc.Blocks(nil, prefixes)} {
		if len(kind) == 0 {
			continue
		}
		if err := c.unassign(ctx, eni, kind); err != nil {
			if half { // however it was refused, something was given back
				return &vpc.Error{Code: vpc.Internal, Op: "UnassignPrivateIpAddresses", Subject: string(eni), Err: err}
			}
			return err
		}
		half = true
	}
	return nil
}

func (c Cloud) unassign(ctx context.Context, eni vpc.ENIID, blocks []vpc.Block) error {
	refused := gone(c.unassignOnce(eni, blocks))
	if vpc.CodeOf(refused) != vpc.Invalid {
		return refused
	}
	primary := func(e vpc.ENI) bool { return slices.Contains(blocks, vpc.Single(e.Primary)) }
	if enis, err := c.ENIs(ctx, []vpc.ENIID{eni}); err != nil || slices.ContainsFunc(enis, primary) {
		return errors.Join(refused, err)
	}
	for _, b := range blocks { // some are gone: the others one by one
		if err := c.unassignOnce(eni, []vpc.Block{b}); err != nil && vpc.CodeOf(err) != vpc.Invalid {
			return err
		}
	}
	return nil
}

func (c Cloud) unassignOnce(eni vpc.ENIID, blocks []vpc.Block) error {
	in := ec2.UnassignPrivateIpAddressesInput{NetworkInterfaceId: string(eni)}
	addrs, prefixes := vpc.Split(blocks)
	for _, a := range addrs {
		in.PrivateIpAddresses = append(in.PrivateIpAddresses, a.String())
	}
	for _, p := range prefixes {
		in.Ipv4Prefixes = append(in.Ipv4Prefixes, p.String())
	}
	_, err := c.Sim.UnassignPrivateIpAddresses(c.Caller, in)
	return translate("UnassignPrivateIpAddresses", string(eni), err)
}

// Occupants implements node.SubnetCloud.
func (c Cloud) Occupants(_ context.Context, subnet vpc.SubnetID) ([]vpc.ENI, []vpc.Reservation, error) {
	out, err := c.Sim.GetSubnetCidrReservations(c.Caller, ec2.GetSubnetCidrReservationsInput{SubnetId: string(subnet)})
	if err != nil {
		return nil, nil, translate("GetSubnetCidrReservations", string(subnet), err)
	}
	enis, err := c.describe(ec2.DescribeNetworkInterfacesInput{Filters: []ec2.Filter{{Name: "subnet-id", Values: []string{string(subnet)}}}})
	if err != nil {
		return nil, nil, err
	}
	var reservations []vpc.Reservation
	for _, r := range out.SubnetIpv4CidrReservations {
		reservations = append(reservations, reservation(r))
	}
	return enis, reservations, nil
}

// ReservePrefixes implements node.SubnetCloud.
func (c Cloud) ReservePrefixes(_ context.Context, subnet vpc.SubnetID, cidr netip.Prefix, add vpc.Tags) (vpc.Reservation, error) {
	out, err := c.Sim.CreateSubnetCidrReservation(c.Caller, ec2.CreateSubnetCidrReservationInput{
		SubnetId: string(subnet), Cidr: cidr.String(), ReservationType: string(vpc.ReservedForPrefixes),
		TagSpecifications: specify("subnet-cidr-reservation", add),
	})
	if err != nil {
		return vpc.Reservation{}, translate("CreateSubnetCidrReservation", string(subnet), err)
	}
	return reservation(out.SubnetCidrReservation), nil
}

// SecurityGroups implements node.SubnetCloud.
func (c Cloud) SecurityGroups(_ context.Context, id vpc.ID) ([]vpc.SecurityGroup, error) {
	out, err := c.Sim.DescribeSecurityGroups(c.Caller, ec2.DescribeSecurityGroupsInput{Filters: []ec2.Filter{
		{Name: "vpc-id", Values: []string{string(id)}}, {Name: "tag-key", Values: []string{vpc.TagCNIRole}},
	}})
	if err != nil {
		return nil, translate("DescribeSecurityGroups", string(id), err)
	}
	var list []vpc.SecurityGroup
	for _, g := range out.SecurityGroups {
		list = append(list, vpc.SecurityGroup{ID: vpc.SecurityGroupID(g.GroupId), VPC: vpc.ID(g.VpcId), Name: g.GroupName, Tags: tags(g.Tags)})
	}
	return list, nil
}

func reservation(r ec2.SubnetCidrReservation) vpc.Reservation {
	return vpc.Reservation{
		ID: vpc.ReservationID(r.SubnetCidrReservationId), Subnet: vpc.SubnetID(r.SubnetId), CIDR: netip.MustParsePrefix(r.Cidr),
		Type: vpc.ReservationType(r.ReservationType), Description: r.Description, Tags: tags(r.Tags),
	}
}

// specify are the tags that something of a kind is created with, in order; nil without any.
func specify(kind string, set vpc.Tags) []ec2.TagSpecification {
	if len(set) == 0 {
		return nil
	}
	spec := ec2.TagSpecification{ResourceType: kind}
	for k, v := range set {
		spec.Tags = append(spec.Tags, ec2.Tag{Key: k, Value: v})
	}
	slices.SortFunc(spec.Tags, func(a, b ec2.Tag) int { return cmp.Compare(a.Key, b.Key) })
	return []ec2.TagSpecification{spec}
}

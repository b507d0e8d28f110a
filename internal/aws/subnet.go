package aws

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/berth-net/berth/internal/core/vpc"
)

// Occupants returns every interface of the subnet that the account sees, of whatever kind and status, and the subnet's IPv4
// reservations. Interfaces without an IPv4 address occupy nothing and are left out. The reservations come first: they are
// one call, and those who may read interfaces may not always read them.
func (c *Client) Occupants(ctx context.Context, subnet vpc.SubnetID) ([]vpc.ENI, []vpc.Reservation, error) {
	reservations, err := c.reservations(ctx, subnet)
	if err != nil {
		return nil, nil, err
	}
	o := op{action: "DescribeNetworkInterfaces", subject: string(subnet)}
	found, err := c.describeENIs(ctx, o, filter("subnet-id", string(subnet)))
	if err != nil {
		return nil, nil, err
	}
	holding := found[:0]
	for _, n := range found {
		if sdk.ToString(n.PrivateIpAddress) != "" || len(n.PrivateIpAddresses) > 0 || len(n.Ipv4Prefixes) > 0 {
			holding = append(holding, n)
		}
	}
	enis, err := all(o, holding, toENI)
	if err != nil {
		return nil, nil, err
	}
	return enis, reservations, nil
}

func (c *Client) reservations(ctx context.Context, subnet vpc.SubnetID) ([]vpc.Reservation, error) {
	o := op{action: "GetSubnetCidrReservations", subject: string(subnet)}
	found, err := pages(ctx, c, o, func(ctx context.Context, token *string) ([]types.SubnetCidrReservation, *string, error) {
		out, err := c.ec2.GetSubnetCidrReservations(ctx, &ec2.GetSubnetCidrReservationsInput{
			SubnetId: sdk.String(string(subnet)), MaxResults: sdk.Int32(pageSize), NextToken: token,
		})
		if err != nil {
			return nil, nil, err
		}
		return out.SubnetIpv4CidrReservations, out.NextToken, nil
	})
	if err != nil {
		return nil, err
	}
	return all(o, found, toReservation)
}

// ReservePrefixes sets a part of a subnet aside for prefixes. EC2 has no token for this call; two reservations never
// overlap, so that a second one after an answer that was lost is refused and does no harm.
func (c *Client) ReservePrefixes(ctx context.Context, subnet vpc.SubnetID, cidr netip.Prefix, tags vpc.Tags) (vpc.Reservation, error) {
	o := op{action: "CreateSubnetCidrReservation", subject: fmt.Sprintf("%s in %s", cidr, subnet), once: true}
	in := &ec2.CreateSubnetCidrReservationInput{
		SubnetId: sdk.String(string(subnet)), Cidr: sdk.String(cidr.String()), ReservationType: types.SubnetCidrReservationTypePrefix,
	}
	if len(tags) > 0 {
		in.TagSpecifications = []types.TagSpecification{{ResourceType: types.ResourceTypeSubnetCidrReservation, Tags: fromTags(tags)}}
	}
	out, err := call(ctx, c, o, func(ctx context.Context) (*ec2.CreateSubnetCidrReservationOutput, error) {
		return c.ec2.CreateSubnetCidrReservation(ctx, in)
	})
	if err != nil {
		return vpc.Reservation{}, err
	}
	if out.SubnetCidrReservation == nil {
		return vpc.Reservation{}, garbage(o, errors.New("no reservation"))
	}
	r, err := toReservation(*out.SubnetCidrReservation)
	if err != nil {
		return vpc.Reservation{}, garbage(o, err)
	}
	return r, nil
}

// toReservation checks and translates an IPv4 reservation.
func toReservation(in types.SubnetCidrReservation) (vpc.Reservation, error) {
	id := sdk.ToString(in.SubnetCidrReservationId)
	if id == "" {
		return vpc.Reservation{}, errors.New("a reservation has no id")
	}
	cidr, err := netip.ParsePrefix(sdk.ToString(in.Cidr))
	if err != nil {
		return vpc.Reservation{}, fmt.Errorf("reservation %s: block: %w", id, err)
	}
	return vpc.Reservation{
		ID: vpc.ReservationID(id), Subnet: vpc.SubnetID(sdk.ToString(in.SubnetId)), CIDR: cidr.Masked(), Type: vpc.ReservationType(in.ReservationType),
		Description: sdk.ToString(in.Description), Tags: toTags(in.Tags),
	}, nil
}

// SecurityGroups returns the groups of the VPC that carry vpc.TagCNIRole, with the tags of the caller's account.
func (c *Client) SecurityGroups(ctx context.Context, id vpc.ID) ([]vpc.SecurityGroup, error) {
	o := op{action: "DescribeSecurityGroups", subject: string(id)}
	in := ec2.DescribeSecurityGroupsInput{
		Filters: []types.Filter{filter("vpc-id", string(id)), filter("tag-key", vpc.TagCNIRole)}, MaxResults: sdk.Int32(pageSize),
	}
	found, err := pages(ctx, c, o, func(ctx context.Context, token *string) ([]types.SecurityGroup, *string, error) {
		page := in
		page.NextToken = token
		out, err := c.ec2.DescribeSecurityGroups(ctx, &page)
		if err != nil {
			return nil, nil, err
		}
		return out.SecurityGroups, out.NextToken, nil
	})
	if err != nil {
		return nil, err
	}
	return all(o, found, toSecurityGroup)
}

func toSecurityGroup(in types.SecurityGroup) (vpc.SecurityGroup, error) {
	id := sdk.ToString(in.GroupId)
	if id == "" {
		return vpc.SecurityGroup{}, errors.New("a security group has no id")
	}
	return vpc.SecurityGroup{
		ID: vpc.SecurityGroupID(id), VPC: vpc.ID(sdk.ToString(in.VpcId)), Name: sdk.ToString(in.GroupName), Tags: toTags(in.Tags),
	}, nil
}

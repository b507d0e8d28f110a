package aws

import (
	"context"
	"fmt"
	"slices"
	"strings"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/berth-net/berth/internal/core/vpc"
)

const (
	pageSize = 1000
	// maxPages ends a listing whose next page never ends.
	maxPages = 100
)

func filter(name string, values ...string) types.Filter {
	return types.Filter{Name: &name, Values: values}
}

// pages reads a listing page by page.
func pages[T any](ctx context.Context, c *Client, o op, page func(ctx context.Context, token *string) ([]T, *string, error)) ([]T, error) {
	var listed []T
	var token *string
	for range maxPages {
		type answer struct {
			items []T
			next  *string
		}
		a, err := call(ctx, c, o, func(ctx context.Context) (answer, error) {
			items, next, err := page(ctx, token)
			return answer{items, next}, err
		})
		if err != nil {
			return nil, err
		}
		listed = append(listed, a.items...)
		if sdk.ToString(a.next) == "" {
			return listed, nil
		}
		if token != nil && *token == *a.next {
			return nil, garbage(o, fmt.Errorf("page token %q came twice", *token))
		}
		token = a.next
	}
	return nil, garbage(o, fmt.Errorf("more than %d pages", maxPages))
}

// all translates a listing. One item that cannot be understood fails the call: leaving it out would say that it is gone.
func all[A, B any](o op, found []A, translate func(A) (B, error)) ([]B, error) {
	out := make([]B, 0, len(found))
	for _, item := range found {
		v, err := translate(item)
		if err != nil {
			return nil, garbage(o, err)
		}
		out = append(out, v)
	}
	return out, nil
}

func (c *Client) describeENIs(ctx context.Context, o op, filters ...types.Filter) ([]types.NetworkInterface, error) {
	return pages(ctx, c, o, func(ctx context.Context, token *string) ([]types.NetworkInterface, *string, error) {
		out, err := c.ec2.DescribeNetworkInterfaces(ctx, &ec2.DescribeNetworkInterfacesInput{
			Filters: filters, MaxResults: sdk.Int32(pageSize), NextToken: token,
		})
		if err != nil {
			return nil, nil, err
		}
		return out.NetworkInterfaces, out.NextToken, nil
	})
}

// AttachedENIs returns every interface that is attached to the instance.
func (c *Client) AttachedENIs(ctx context.Context, instance vpc.InstanceID) ([]vpc.ENI, error) {
	o := op{action: "DescribeNetworkInterfaces", subject: string(instance)}
	found, err := c.describeENIs(ctx, o, filter("attachment.instance-id", string(instance)))
	if err != nil {
		return nil, err
	}
	enis, err := all(o, found, toENI)
	// The filter's view and the interface's differ for a moment around a detach.
	return slices.DeleteFunc(enis, func(e vpc.ENI) bool { return e.Attachment == nil || e.Attachment.Instance != instance }), err
}

// ENIs returns the named interfaces; those that do not exist are left out.
func (c *Client) ENIs(ctx context.Context, ids []vpc.ENIID) ([]vpc.ENI, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	names := make([]string, len(ids))
	for i, id := range ids {
		names[i] = string(id)
	}
	// By filter and not by id: an id that does not exist would fail the whole call.
	o := op{action: "DescribeNetworkInterfaces", subject: strings.Join(names, ",")}
	found, err := c.describeENIs(ctx, o, filter("network-interface-id", names...))
	if err != nil {
		return nil, err
	}
	return all(o, found, toENI)
}

// AvailableENIs returns the unattached interfaces of the VPC that carry vpc.TagENIInstance and, unless cluster is empty,
// vpc.TagENICluster with that value; with an instance only its own. One that cannot be understood is left out.
func (c *Client) AvailableENIs(ctx context.Context, id vpc.ID, cluster string, instance vpc.InstanceID) ([]vpc.ENI, error) {
	o := op{action: "DescribeNetworkInterfaces", subject: string(id)}
	filters := []types.Filter{filter("status", "available"), filter("vpc-id", string(id))}
	if instance != "" {
		filters = append(filters, filter("tag:"+vpc.TagENIInstance, string(instance)))
	} else {
		filters = append(filters, filter("tag-key", vpc.TagENIInstance))
	}
	if cluster != "" {
		filters = append(filters, filter("tag:"+vpc.TagENICluster, cluster))
	}
	found, err := c.describeENIs(ctx, o, filters...)
	if err != nil {
		return nil, err
	}
	out := make([]vpc.ENI, 0, len(found))
	for _, n := range found {
		if e, err := toENI(n); err == nil && n.Status == types.NetworkInterfaceStatusAvailable {
			out = append(out, e)
		}
	}
	return out, nil
}

// Subnets returns the VPC's subnets in the zone with the tags of the caller's account.
func (c *Client) Subnets(ctx context.Context, id vpc.ID, zone vpc.ZoneName) ([]vpc.Subnet, error) {
	o := op{action: "DescribeSubnets", subject: string(id) + " in " + string(zone)}
	filters := []types.Filter{filter("vpc-id", string(id)), filter("availability-zone", string(zone))}
	found, err := pages(ctx, c, o, func(ctx context.Context, token *string) ([]types.Subnet, *string, error) {
		out, err := c.ec2.DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{Filters: filters, NextToken: token})
		if err != nil {
			return nil, nil, err
		}
		return out.Subnets, out.NextToken, nil
	})
	if err != nil {
		return nil, err
	}
	return all(o, found, toSubnet)
}

// InstanceLimits asks EC2 for the limits of a type.
func (c *Client) InstanceLimits(ctx context.Context, instanceType string) (vpc.InstanceLimits, error) {
	o := op{action: "DescribeInstanceTypes", subject: instanceType}
	out, err := call(ctx, c, o, func(ctx context.Context) (*ec2.DescribeInstanceTypesOutput, error) {
		return c.ec2.DescribeInstanceTypes(ctx, &ec2.DescribeInstanceTypesInput{InstanceTypes: []types.InstanceType{types.InstanceType(instanceType)}})
	})
	if err != nil {
		return vpc.InstanceLimits{}, err
	}
	for _, info := range out.InstanceTypes {
		if string(info.InstanceType) == instanceType {
			l, err := toLimits(info)
			if err != nil {
				return vpc.InstanceLimits{}, garbage(o, err)
			}
			return l, nil
		}
	}
	return vpc.InstanceLimits{}, &vpc.Error{Code: vpc.NotFound, Op: o.action, Subject: instanceType}
}

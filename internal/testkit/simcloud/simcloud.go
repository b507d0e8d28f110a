// Package simcloud runs the node's view of EC2 and of the metadata service directly on the simulator, in process: no
// wire, no latency but what a test adds. Only tests import it.
package simcloud

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"

	"github.com/berth-net/berth/internal/core/vpc"
	"github.com/berth-net/berth/internal/node"
	"github.com/berth-net/berth/internal/vpcsim"
	"github.com/berth-net/berth/internal/vpcsim/ec2"
)

// Cloud is EC2 for one node.
type Cloud struct {
	Sim    *vpcsim.Sim
	Caller vpcsim.Caller
}

var _ node.Cloud = Cloud{}

// AttachedENIs implements node.CloudReader.
func (c Cloud) AttachedENIs(_ context.Context, instance vpc.InstanceID) ([]vpc.ENI, error) {
	return c.describe(ec2.DescribeNetworkInterfacesInput{Filters: []ec2.Filter{{Name: "attachment.instance-id", Values: []string{string(instance)}}}})
}

// ENIs implements node.CloudReader.
func (c Cloud) ENIs(_ context.Context, ids []vpc.ENIID) ([]vpc.ENI, error) {
	var in ec2.DescribeNetworkInterfacesInput
	for _, id := range ids {
		in.NetworkInterfaceIds = append(in.NetworkInterfaceIds, string(id))
	}
	list, err := c.describe(in)
	if vpc.CodeOf(err) == vpc.NotFound {
		return nil, nil
	}
	return list, err
}

// AvailableENIs implements node.CloudReader.
func (c Cloud) AvailableENIs(_ context.Context, id vpc.ID, cluster string, instance vpc.InstanceID) ([]vpc.ENI, error) {
	filters := []ec2.Filter{
		{Name: "vpc-id", Values: []string{string(id)}},
		{Name: "status", Values: []string{"available"}},
		{Name: "tag-key", Values: []string{vpc.TagENIInstance}},
	}
	if cluster != "" {
		filters = append(filters, ec2.Filter{Name: "tag:" + vpc.TagENICluster, Values: []string{cluster}})
	}
	if instance != "" {
		filters = append(filters, ec2.Filter{Name: "tag:" + vpc.TagENIInstance, Values: []string{string(instance)}})
	}
	return c.describe(ec2.DescribeNetworkInterfacesInput{Filters: filters})
}

func (c Cloud) describe(in ec2.DescribeNetworkInterfacesInput) ([]vpc.ENI, error) {
	out, err := c.Sim.DescribeNetworkInterfaces(c.Caller, in)
	if err != nil {
		return nil, translate("DescribeNetworkInterfaces", "", err)
	}
	var list []vpc.ENI
	for _, e := range out.NetworkInterfaces {
		list = append(list, fromEC2(e))
	}
	return list, nil
}

// Subnets implements node.CloudReader.
func (c Cloud) Subnets(_ context.Context, id vpc.ID, zone vpc.ZoneName) ([]vpc.Subnet, error) {
	out, err := c.Sim.DescribeSubnets(c.Caller, ec2.DescribeSubnetsInput{Filters: []ec2.Filter{
		{Name: "vpc-id", Values: []string{string(id)}}, {Name: "availability-zone", Values: []string{string(zone)}},
	}})
	if err != nil {
		return nil, translate("DescribeSubnets", string(id), err)
	}
	var list []vpc.Subnet
	for _, s := range out.Subnets {
		list = append(list, vpc.Subnet{
			ID: vpc.SubnetID(s.SubnetId), VPC: vpc.ID(s.VpcId), Zone: vpc.ZoneName(s.AvailabilityZone), CIDR: netip.MustParsePrefix(s.CidrBlock),
			Free: s.AvailableIpAddressCount, Available: s.State == "available", Owner: vpc.AccountID(s.OwnerId), Tags: tags(s.Tags),
		})
	}
	return list, nil
}

// InstanceLimits implements node.CloudReader.
func (c Cloud) InstanceLimits(_ context.Context, instanceType string) (vpc.InstanceLimits, error) {
	if l, ok := vpc.Limits(instanceType); ok {
		return l, nil
	}
	return vpc.InstanceLimits{}, &vpc.Error{Code: vpc.NotFound, Op: "DescribeInstanceTypes", Subject: instanceType}
}

// CreateENI implements node.ENIWriter.
func (c Cloud) CreateENI(_ context.Context, req node.CreateENI) (vpc.ENI, error) {
	in := ec2.CreateNetworkInterfaceInput{SubnetId: string(req.Subnet), Description: req.Description, ClientToken: req.Token}
	for _, g := range req.Groups {
		in.Groups = append(in.Groups, string(g))
	}
	if req.Primary.IsValid() {
		in.PrivateIpAddress = req.Primary.String()
	}
	in.SecondaryPrivateIpAddressCount, in.Ipv4PrefixCount = count(req.Want.Count), count(req.Want.PrefixCount)
	for _, a := range req.Want.Addrs {
		in.PrivateIpAddresses = append(in.PrivateIpAddresses, ec2.PrivateIpAddressSpecification{PrivateIpAddress: a.String()})
	}
	for _, p := range req.Want.Prefixes {
		in.Ipv4Prefixes = append(in.Ipv4Prefixes, ec2.Ipv4PrefixSpecification{Ipv4Prefix: p.String()})
	}
	in.TagSpecifications = specify("network-interface", req.Tags)
	out, err := c.Sim.CreateNetworkInterface(c.Caller, in)
	if err != nil {
		return vpc.ENI{}, exhausted(req.Want, translate("CreateNetworkInterface", string(req.Subnet), err))
	}
	return fromEC2(out.NetworkInterface), nil
}

// AttachENI implements node.ENIWriter.
func (c Cloud) AttachENI(_ context.Context, req node.AttachENI) (vpc.AttachmentID, error) {
	out, err := c.Sim.AttachNetworkInterface(c.Caller, ec2.AttachNetworkInterfaceInput{
		NetworkInterfaceId: string(req.ENI), InstanceId: string(req.Instance), DeviceIndex: &req.DeviceIndex, NetworkCardIndex: &req.NetworkCard,
	})
	return vpc.AttachmentID(out.AttachmentId), translate("AttachNetworkInterface", string(req.ENI), err)
}

// SetDeleteOnTermination implements node.ENIWriter.
func (c Cloud) SetDeleteOnTermination(_ context.Context, eni vpc.ENIID, attachment vpc.AttachmentID) error {
	yes := true
	_, err := c.Sim.ModifyNetworkInterfaceAttribute(c.Caller, ec2.ModifyNetworkInterfaceAttributeInput{
		NetworkInterfaceId: string(eni), Attachment: &ec2.NetworkInterfaceAttachmentChanges{AttachmentId: string(attachment), DeleteOnTermination: &yes},
	})
	return translate("ModifyNetworkInterfaceAttribute", string(eni), err)
}

// DetachENI implements node.ENIWriter.
func (c Cloud) DetachENI(_ context.Context, eni vpc.ENIID, attachment vpc.AttachmentID) error {
	_, err := c.Sim.DetachNetworkInterface(c.Caller, ec2.DetachNetworkInterfaceInput{AttachmentId: string(attachment)})
	return gone(translate("DetachNetworkInterface", string(eni), err))
}

// DeleteENI implements node.ENIWriter.
func (c Cloud) DeleteENI(_ context.Context, eni vpc.ENIID) error {
	_, err := c.Sim.DeleteNetworkInterface(c.Caller, ec2.DeleteNetworkInterfaceInput{NetworkInterfaceId: string(eni)})
	return gone(translate("DeleteNetworkInterface", string(eni), err))
}

// TagENI implements node.ENIWriter.
func (c Cloud) TagENI(_ context.Context, eni vpc.ENIID, add vpc.Tags) error {
	in := ec2.CreateTagsInput{Resources: []string{string(eni)}}
	for k, v := range add {
		in.Tags = append(in.Tags, ec2.Tag{Key: k, Value: v})
	}
	_, err := c.Sim.CreateTags(c.Caller, in)
	return translate("CreateTags", string(eni), err)
}

// SetGroups implements node.AddressWriter.
func (c Cloud) SetGroups(_ context.Context, eni vpc.ENIID, groups []vpc.SecurityGroupID) error {
	in := ec2.ModifyNetworkInterfaceAttributeInput{NetworkInterfaceId: string(eni)}
	for _, g := range groups {
		in.Groups = append(in.Groups, string(g))
	}
	_, err := c.Sim.ModifyNetworkInterfaceAttribute(c.Caller, in)
	return translate("ModifyNetworkInterfaceAttribute", string(eni), err)
}

func gone(err error) error {
	if vpc.CodeOf(err) == vpc.NotFound {
		return nil
	}
	return err
}

func tags(list []ec2.Tag) vpc.Tags {
	t := vpc.Tags{}
	for _, tag := range list {
		t[tag.Key] = tag.Value
	}
	return t
}

func fromEC2(e ec2.NetworkInterface) vpc.ENI {
	v := vpc.ENI{
		ID: vpc.ENIID(e.NetworkInterfaceId), Subnet: vpc.SubnetID(e.SubnetId), VPC: vpc.ID(e.VpcId), Zone: vpc.ZoneName(e.AvailabilityZone),
		MAC: e.MacAddress, Description: e.Description, Type: e.InterfaceType, Primary: netip.MustParseAddr(e.PrivateIpAddress), Tags: tags(e.TagSet),
	}
	for _, a := range e.PrivateIpAddresses {
		if !a.Primary {
			v.Secondary = append(v.Secondary, netip.MustParseAddr(a.PrivateIpAddress))
		}
	}
	for _, p := range e.Ipv4Prefixes {
		v.Prefixes = append(v.Prefixes, netip.MustParsePrefix(p.Ipv4Prefix))
	}
	for _, g := range e.Groups {
		v.Groups = append(v.Groups, vpc.SecurityGroupID(g.GroupId))
	}
	if a := e.Attachment; a != nil {
		v.Attachment = &vpc.Attachment{
			ID: vpc.AttachmentID(a.AttachmentId), Instance: vpc.InstanceID(a.InstanceId), DeviceIndex: a.DeviceIndex, NetworkCard: a.NetworkCardIndex,
			State: vpc.AttachmentState(a.Status), DeleteOnTermination: a.DeleteOnTermination,
		}
	}
	return v
}

// translate classifies an API error, independently of the wire adapter.
func translate(op, subject string, err error) error {
	if err == nil {
		return nil
	}
	code := vpc.Internal
	if e, ok := errors.AsType[*vpcsim.APIError](err); ok {
		code = classify(e)
	}
	return &vpc.Error{Code: code, Op: op, Subject: subject, Err: err}
}

// taken are the messages about a named address, prefix or range that somebody else has.
var taken = []string{"addresses that are in use", "move is not allowed", "overlaps with another CIDR reservation"}

func classify(e *vpcsim.APIError) vpc.Code {
	switch c := e.Code; {
	case c == "InvalidIPAddress.InUse", c == "InvalidParameterValue" && slices.ContainsFunc(taken, func(text string) bool { return strings.Contains(e.Message, text) }):
		return vpc.AddressTaken
	case c == "InsufficientFreeAddressesInSubnet", strings.Contains(e.Message, "aren't sufficient free"):
		return vpc.SubnetFull
	case c == "InsufficientCidrBlocks":
		return vpc.PrefixFragmented
	case c == "SecurityGroupsPerInterfaceLimitExceeded":
		return vpc.TooManyGroups
	case strings.Contains(c, "LimitExceeded") && c != "RequestLimitExceeded":
		return vpc.LimitReached
	case c == "RequestLimitExceeded":
		return vpc.Throttled
	case strings.HasSuffix(c, ".NotFound"):
		return vpc.NotFound
	case c == "InvalidNetworkInterface.InUse", strings.Contains(e.Message, "currently in use"):
		return vpc.InUse
	case c == "UnauthorizedOperation":
		return vpc.NotAuthorized
	case e.Status >= 500:
		return vpc.Internal
	}
	return vpc.Invalid
}

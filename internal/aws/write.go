package aws

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/berth-net/berth/internal/core/vpc"
)

// CreateENI is a request for a new interface.
type CreateENI struct {
	Token       string
	Subnet      vpc.SubnetID
	Groups      []vpc.SecurityGroupID
	Description string
	Tags        vpc.Tags
	Secondary   int // secondary addresses to assign at once, chosen by EC2
}

// CreateENI creates an interface; the same token gives the same interface.
func (c *Client) CreateENI(ctx context.Context, req CreateENI) (vpc.ENI, error) {
	o := op{action: "CreateNetworkInterface", subject: string(req.Subnet)}
	in := &ec2.CreateNetworkInterfaceInput{
		ClientToken: sdk.String(req.Token), SubnetId: sdk.String(string(req.Subnet)), Description: sdk.String(req.Description), Groups: groupIDs(req.Groups),
	}
	if req.Secondary > 0 {
		in.SecondaryPrivateIpAddressCount = sdk.Int32(int32(req.Secondary)) //nolint:gosec // at most an interface's slots
	}
	if len(req.Tags) > 0 {
		in.TagSpecifications = []types.TagSpecification{{ResourceType: types.ResourceTypeNetworkInterface, Tags: fromTags(req.Tags)}}
	}
	out, err := call(ctx, c, o, func(ctx context.Context) (*ec2.CreateNetworkInterfaceOutput, error) {
		return c.ec2.CreateNetworkInterface(ctx, in)
	})
	if err != nil {
		return vpc.ENI{}, err
	}
	if out.NetworkInterface == nil {
		return vpc.ENI{}, garbage(o, errors.New("no interface"))
	}
	e, err := toENI(*out.NetworkInterface)
	if err != nil {
		return vpc.ENI{}, garbage(o, err)
	}
	return e, nil
}

// AttachENI is a request to attach an interface.
type AttachENI struct {
	ENI         vpc.ENIID
	Instance    vpc.InstanceID
	DeviceIndex int
	NetworkCard int
}

// AttachENI attaches an interface to an instance. EC2 has no token for this call: it is made once.
func (c *Client) AttachENI(ctx context.Context, req AttachENI) (vpc.AttachmentID, error) {
	o := op{action: "AttachNetworkInterface", subject: string(req.ENI), once: true}
	in := &ec2.AttachNetworkInterfaceInput{
		NetworkInterfaceId: sdk.String(string(req.ENI)), InstanceId: sdk.String(string(req.Instance)),
		DeviceIndex: sdk.Int32(int32(req.DeviceIndex)), //nolint:gosec // at most an instance's slots
	}
	if req.NetworkCard > 0 {
		in.NetworkCardIndex = sdk.Int32(int32(req.NetworkCard)) //nolint:gosec // at most an instance's cards
	}
	out, err := call(ctx, c, o, func(ctx context.Context) (*ec2.AttachNetworkInterfaceOutput, error) {
		return c.ec2.AttachNetworkInterface(ctx, in)
	})
	if err != nil {
		return "", err
	}
	if sdk.ToString(out.AttachmentId) == "" {
		return "", garbage(o, errors.New("no attachment id"))
	}
	return vpc.AttachmentID(*out.AttachmentId), nil
}

// SetDeleteOnTermination makes an attached interface go away with its instance.
func (c *Client) SetDeleteOnTermination(ctx context.Context, eni vpc.ENIID, attachment vpc.AttachmentID) error {
	o := op{action: "ModifyNetworkInterfaceAttribute", subject: string(eni)}
	_, err := call(ctx, c, o, func(ctx context.Context) (*ec2.ModifyNetworkInterfaceAttributeOutput, error) {
		return c.ec2.ModifyNetworkInterfaceAttribute(ctx, &ec2.ModifyNetworkInterfaceAttributeInput{
			NetworkInterfaceId: sdk.String(string(eni)),
			Attachment:         &types.NetworkInterfaceAttachmentChanges{AttachmentId: sdk.String(string(attachment)), DeleteOnTermination: sdk.Bool(true)},
		})
	})
	return err
}

// SetGroups sets the security groups of an interface.
func (c *Client) SetGroups(ctx context.Context, eni vpc.ENIID, groups []vpc.SecurityGroupID) error {
	o := op{action: "ModifyNetworkInterfaceAttribute", subject: string(eni)}
	_, err := call(ctx, c, o, func(ctx context.Context) (*ec2.ModifyNetworkInterfaceAttributeOutput, error) {
		return c.ec2.ModifyNetworkInterfaceAttribute(ctx, &ec2.ModifyNetworkInterfaceAttributeInput{
			NetworkInterfaceId: sdk.String(string(eni)), Groups: groupIDs(groups),
		})
	})
	return err
}

// DetachENI starts to detach an interface; an attachment that is gone is success.
func (c *Client) DetachENI(ctx context.Context, eni vpc.ENIID, attachment vpc.AttachmentID) error {
	o := op{action: "DetachNetworkInterface", subject: string(eni)}
	_, err := call(ctx, c, o, func(ctx context.Context) (*ec2.DetachNetworkInterfaceOutput, error) {
		return c.ec2.DetachNetworkInterface(ctx, &ec2.DetachNetworkInterfaceInput{AttachmentId: sdk.String(string(attachment))})
	})
	return goneIsSuccess(err)
}

// DeleteENI deletes an unattached interface; one that is gone is success.
func (c *Client) DeleteENI(ctx context.Context, eni vpc.ENIID) error {
	o := op{action: "DeleteNetworkInterface", subject: string(eni)}
	_, err := call(ctx, c, o, func(ctx context.Context) (*ec2.DeleteNetworkInterfaceOutput, error) {
		return c.ec2.DeleteNetworkInterface(ctx, &ec2.DeleteNetworkInterfaceInput{NetworkInterfaceId: sdk.String(string(eni))})
	})
	return goneIsSuccess(err)
}

func goneIsSuccess(err error) error {
	if vpc.CodeOf(err) == vpc.NotFound {
		return nil
	}
	return err
}

// TagENI adds tags to an interface.
func (c *Client) TagENI(ctx context.Context, eni vpc.ENIID, tags vpc.Tags) error {
	o := op{action: "CreateTags", subject: string(eni)}
	_, err := call(ctx, c, o, func(ctx context.Context) (*ec2.CreateTagsOutput, error) {
		return c.ec2.CreateTags(ctx, &ec2.CreateTagsInput{Resources: []string{string(eni)}, Tags: fromTags(tags)})
	})
	return err
}

// AssignAddresses assigns count more secondary addresses, chosen by EC2. EC2 has no token for this call: it is made once.
func (c *Client) AssignAddresses(ctx context.Context, eni vpc.ENIID, count int) ([]netip.Addr, error) {
	o := op{action: "AssignPrivateIpAddresses", subject: string(eni), once: true}
	out, err := call(ctx, c, o, func(ctx context.Context) (*ec2.AssignPrivateIpAddressesOutput, error) {
		return c.ec2.AssignPrivateIpAddresses(ctx, &ec2.AssignPrivateIpAddressesInput{
			NetworkInterfaceId: sdk.String(string(eni)), SecondaryPrivateIpAddressCount: sdk.Int32(int32(count)), //nolint:gosec // at most an interface's slots
		})
	})
	if err != nil {
		return nil, err
	}
	addrs := make([]netip.Addr, 0, len(out.AssignedPrivateIpAddresses))
	for _, item := range out.AssignedPrivateIpAddresses {
		a, err := netip.ParseAddr(sdk.ToString(item.PrivateIpAddress))
		if err != nil {
			return nil, garbage(o, fmt.Errorf("assigned address: %w", err))
		}
		addrs = append(addrs, a)
	}
	return addrs, nil
}

// UnassignAddresses gives secondary addresses back; addresses that are not assigned any more are success. EC2 refuses the
// whole call for one such address, so what is left is read and asked for again.
func (c *Client) UnassignAddresses(ctx context.Context, eni vpc.ENIID, addrs []netip.Addr) error {
	err := c.unassign(ctx, eni, addrs)
	switch vpc.CodeOf(err) {
	case vpc.NotFound:
		return nil // with its interface
	case vpc.Invalid:
	default:
		return err
	}
	enis, readErr := c.ENIs(ctx, []vpc.ENIID{eni})
	if readErr != nil {
		return errors.Join(err, readErr)
	}
	if len(enis) == 0 {
		return nil
	}
	if slices.Contains(addrs, enis[0].Primary) {
		return err // it is assigned, and stays so as long as the interface is there
	}
	left := slices.DeleteFunc(slices.Clone(addrs), func(a netip.Addr) bool { return !slices.Contains(enis[0].Secondary, a) })
	switch len(left) {
	case 0:
		return nil
	case len(addrs):
		return err // refused for another reason
	}
	return c.unassign(ctx, eni, left)
}

func (c *Client) unassign(ctx context.Context, eni vpc.ENIID, addrs []netip.Addr) error {
	o := op{action: "UnassignPrivateIpAddresses", subject: string(eni)}
	names := make([]string, len(addrs))
	for i, a := range addrs {
		names[i] = a.String()
	}
	_, err := call(ctx, c, o, func(ctx context.Context) (*ec2.UnassignPrivateIpAddressesOutput, error) {
		return c.ec2.UnassignPrivateIpAddresses(ctx, &ec2.UnassignPrivateIpAddressesInput{
			NetworkInterfaceId: sdk.String(string(eni)), PrivateIpAddresses: names,
		})
	})
	return err
}

func groupIDs(in []vpc.SecurityGroupID) []string {
	out := make([]string, len(in))
	for i, g := range in {
		out[i] = string(g)
	}
	return out
}

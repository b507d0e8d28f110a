package aws

import (
	"context"
	"errors"
	"net/netip"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/smithy-go"

	"github.com/berth-net/berth/internal/core/vpc"
)

// CreateENI is a request for a new interface.
type CreateENI struct {
	Token       string
	Subnet      vpc.SubnetID
	Groups      []vpc.SecurityGroupID
	Description string
	Tags        vpc.Tags
	Primary     netip.Addr // its own address; not set when EC2 is to choose
	Want        vpc.Want   // secondary addresses or prefixes to assign at once
}

// CreateENI creates an interface; the same token gives the same interface.
//
// EC2 documents that named addresses, named prefixes and the two counts exclude each other, and does not say whether the
// interface's own address, a parameter of its own, counts as a named one beside prefixes. Where it is refused, the interface
// is created with the prefixes and an address that EC2 chooses: a refused request has used no token.
// Source: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateNetworkInterface.html
func (c *Client) CreateENI(ctx context.Context, req CreateENI) (vpc.ENI, error) {
	o := op{action: "CreateNetworkInterface", subject: string(req.Subnet), prefixes: req.Want.InPrefixes()}
	if err := oneWay(o, req.Want); err != nil {
		return vpc.ENI{}, err
	}
	out, err := c.createENI(ctx, o, req)
	if api, ok := errors.AsType[smithy.APIError](err); ok && api.ErrorCode() == "InvalidParameterCombination" && req.Primary.IsValid() && req.Want.InPrefixes() {
		req.Primary = netip.Addr{}
		out, err = c.createENI(ctx, o, req)
	}
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

func (c *Client) createENI(ctx context.Context, o op, req CreateENI) (*ec2.CreateNetworkInterfaceOutput, error) {
	in := &ec2.CreateNetworkInterfaceInput{
		ClientToken: sdk.String(req.Token), SubnetId: sdk.String(string(req.Subnet)), Description: sdk.String(req.Description), Groups: groupIDs(req.Groups),
		SecondaryPrivateIpAddressCount: count(req.Want.Count), Ipv4PrefixCount: count(req.Want.PrefixCount),
	}
	if req.Primary.IsValid() {
		in.PrivateIpAddress = sdk.String(req.Primary.String())
	}
	for _, a := range req.Want.Addrs {
		in.PrivateIpAddresses = append(in.PrivateIpAddresses, types.PrivateIpAddressSpecification{PrivateIpAddress: sdk.String(a.String()), Primary: sdk.Bool(false)})
	}
	for _, p := range req.Want.Prefixes {
		in.Ipv4Prefixes = append(in.Ipv4Prefixes, types.Ipv4PrefixSpecificationRequest{Ipv4Prefix: sdk.String(p.String())})
	}
	if len(req.Tags) > 0 {
		in.TagSpecifications = []types.TagSpecification{{ResourceType: types.ResourceTypeNetworkInterface, Tags: fromTags(req.Tags)}}
	}
	return call(ctx, c, o, func(ctx context.Context) (*ec2.CreateNetworkInterfaceOutput, error) {
		return c.ec2.CreateNetworkInterface(ctx, in)
	})
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

func groupIDs(in []vpc.SecurityGroupID) []string {
	out := make([]string, len(in))
	for i, g := range in {
		out[i] = string(g)
	}
	return out
}

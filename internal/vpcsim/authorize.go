package vpcsim

import (
	"fmt"
	"strings"

	"github.com/berth-net/berth/internal/vpcsim/ec2"
	"github.com/berth-net/berth/internal/vpcsim/iam"
	"github.com/berth-net/berth/internal/vpcsim/world"
)

// target is a resource that an action needs permission for.
type target struct {
	kind world.Kind
	id   string    // "*" for one that is yet to be made
	tags []ec2.Tag // that the request sets on it
}

// authorize evaluates the caller's policies, if that is turned on, for every resource of the request; an action that
// tags what it creates also needs ec2:CreateTags.
func (s *Sim) authorize(c Caller, action string, in any) error {
	if !s.acts.State.Settings.Authorize || c.Principal == "" && c.AccessKey == "" && len(s.policies[""]) == 0 {
		return nil
	}
	var policies []*iam.Policy
	policies = append(policies, s.policies[c.Principal]...)
	if c.AccessKey != c.Principal {
		policies = append(policies, s.policies[c.AccessKey]...)
	}
	list := s.targets(in)
	if len(list) == 0 {
		return s.evaluate(c, policies, iam.Request{Action: "ec2:" + action, Resource: "*", Context: map[string][]string{}})
	}
	for _, t := range list {
		if err := s.evaluate(c, policies, s.request(c, action, t)); err != nil {
			return err
		}
	}
	for _, t := range list {
		if len(t.tags) == 0 || action == "CreateTags" || action == "DeleteTags" {
			continue
		}
		r := s.request(c, "CreateTags", t)
		r.Context["ec2:createaction"] = []string{action}
		if err := s.evaluate(c, policies, r); err != nil {
			return err
		}
	}
	return nil
}

func (s *Sim) evaluate(c Caller, policies []*iam.Policy, r iam.Request) error {
	r.Context["aws:requestedregion"] = []string{s.acts.State.Region}
	r.Context["aws:principalaccount"] = []string{string(c.Account)}
	why := fmt.Sprintf("because no identity-based policy allows the %s action", r.Action)
	switch iam.Evaluate(policies, r) {
	case iam.Allowed:
		return nil
	case iam.ExplicitDeny:
		why = "with an explicit deny in an identity-based policy"
	case iam.ImplicitDeny:
	}
	who := c.Principal
	if who == "" {
		who = c.AccessKey
	}
	if !strings.HasPrefix(who, "arn:") {
		who = fmt.Sprintf("arn:aws:sts::%s:assumed-role/%s/%s", c.Account, who, strings.TrimPrefix(c.Source, "node:"))
	}
	on := ""
	if r.Resource != "*" {
		on = " on resource: " + r.Resource
	}
	return &APIError{Status: 403, Code: "UnauthorizedOperation", Message: fmt.Sprintf(
		"You are not authorized to perform this operation. User: %s is not authorized to perform: %s%s %s", who, r.Action, on, why)}
}

// request is what policies are asked about one resource. Keys are in lower case.
func (s *Sim) request(c Caller, action string, t target) iam.Request {
	r := iam.Request{
		Action: "ec2:" + action, Resource: s.acts.ARN(t.kind, s.ownerOf(c, t), t.id), Context: make(map[string][]string),
	}
	for _, tag := range s.acts.State.Tags.Of(string(c.Account), t.id) {
		r.Context["aws:resourcetag/"+strings.ToLower(tag.Key)] = []string{tag.Value}
		r.Context["ec2:resourcetag/"+strings.ToLower(tag.Key)] = []string{tag.Value}
	}
	for _, tag := range t.tags {
		r.Context["aws:requesttag/"+strings.ToLower(tag.Key)] = []string{tag.Value}
		r.Context["aws:tagkeys"] = append(r.Context["aws:tagkeys"], tag.Key)
	}
	return r
}

func (s *Sim) ownerOf(c Caller, t target) string {
	if t.kind == world.KindSubnet {
		if n, ok := s.acts.State.Subnets.Get(t.id); ok {
			return n.Owner
		}
	}
	return string(c.Account)
}

// existing are targets for ids in a request.
func existing(k world.Kind, ids ...string) []target {
	var out []target
	for _, id := range ids {
		if id != "" {
			out = append(out, target{kind: k, id: id})
		}
	}
	return out
}

// created is a target for a resource that the request makes, with the tags it asks for.
func created(k world.Kind, specs []ec2.TagSpecification) []target {
	return []target{{kind: k, id: "*", tags: world.Specified(k, specs)}}
}

// targets lists the resources of a request that policies can name; none for actions that only take "*".
func (s *Sim) targets(in any) []target {
	switch in := in.(type) {
	case ec2.CreateNetworkInterfaceInput:
		return append(append(created(world.KindENI, in.TagSpecifications), existing(world.KindSubnet, in.SubnetId)...),
			existing(world.KindGroup, in.Groups...)...)
	case ec2.DeleteNetworkInterfaceInput:
		return existing(world.KindENI, in.NetworkInterfaceId)
	case ec2.AttachNetworkInterfaceInput:
		return append(existing(world.KindENI, in.NetworkInterfaceId), existing(world.KindInstance, in.InstanceId)...)
	case ec2.DetachNetworkInterfaceInput:
		id := s.acts.Attachments[in.AttachmentId]
		out := existing(world.KindENI, id)
		if e, ok := s.acts.State.ENIs.Get(id); ok && e.Attachment != nil {
			out = append(out, existing(world.KindInstance, e.Attachment.Instance)...)
		}
		return out
	case ec2.ModifyNetworkInterfaceAttributeInput:
		out := append(existing(world.KindENI, in.NetworkInterfaceId), existing(world.KindGroup, in.Groups...)...)
		if e, ok := s.acts.State.ENIs.Get(in.NetworkInterfaceId); ok && e.Attachment != nil && in.Attachment != nil {
			out = append(out, existing(world.KindInstance, e.Attachment.Instance)...)
		}
		return out
	case ec2.AssignPrivateIpAddressesInput:
		return existing(world.KindENI, in.NetworkInterfaceId)
	case ec2.UnassignPrivateIpAddressesInput:
		return existing(world.KindENI, in.NetworkInterfaceId)
	case ec2.AssignIpv6AddressesInput:
		return existing(world.KindENI, in.NetworkInterfaceId)
	case ec2.UnassignIpv6AddressesInput:
		return existing(world.KindENI, in.NetworkInterfaceId)
	case ec2.CreateNetworkInterfacePermissionInput:
		return existing(world.KindENI, in.NetworkInterfaceId)
	case ec2.CreateTagsInput:
		return tagTargets(in.Resources, in.Tags)
	case ec2.DeleteTagsInput:
		tags := make([]ec2.Tag, len(in.Tags))
		for i, t := range in.Tags {
			tags[i].Key = t.Key
		}
		return tagTargets(in.Resources, tags)
	case ec2.CreateVpcInput:
		return created(world.KindVPC, in.TagSpecifications)
	case ec2.CreateSubnetInput:
		return append(created(world.KindSubnet, in.TagSpecifications), existing(world.KindVPC, in.VpcId)...)
	case ec2.DeleteSubnetInput:
		return existing(world.KindSubnet, in.SubnetId)
	case ec2.CreateSubnetCidrReservationInput:
		return append(created(world.KindReservation, in.TagSpecifications), existing(world.KindSubnet, in.SubnetId)...)
	case ec2.AssociateVpcCidrBlockInput:
		return existing(world.KindVPC, in.VpcId)
	case ec2.CreateSecurityGroupInput:
		return append(created(world.KindGroup, in.TagSpecifications), existing(world.KindVPC, in.VpcId)...)
	case ec2.DeleteSecurityGroupInput:
		return existing(world.KindGroup, in.GroupId)
	case ec2.AuthorizeSecurityGroupInput:
		return existing(world.KindGroup, in.GroupId)
	case ec2.RevokeSecurityGroupInput:
		return existing(world.KindGroup, in.GroupId)
	case ec2.RunInstancesInput:
		out := append(created(world.KindInstance, in.TagSpecifications), created(world.KindENI, in.TagSpecifications)...)
		return append(append(out, existing(world.KindSubnet, in.SubnetId)...), existing(world.KindGroup, in.SecurityGroupIds...)...)
	case ec2.TerminateInstancesInput:
		return existing(world.KindInstance, in.InstanceIds...)
	case ec2.ModifyInstanceMetadataOptionsInput:
		return existing(world.KindInstance, in.InstanceId)
	}
	return nil
}

func tagTargets(resources []string, tags []ec2.Tag) []target {
	var out []target
	for _, id := range resources {
		if k, ok := world.KindOf(id); ok {
			out = append(out, target{kind: k, id: id, tags: tags})
		}
	}
	return out
}

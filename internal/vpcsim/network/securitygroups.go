package network

import (
	"slices"

	"github.com/berth-net/berth/internal/vpcsim/ec2"
	"github.com/berth-net/berth/internal/vpcsim/groups"
	"github.com/berth-net/berth/internal/vpcsim/world"
)

// EveryGroup accepts any group: interfaces may have groups of other accounts of the VPC.
func EveryGroup(*groups.Group) bool { return true }

func (s Actions) newRuleID() string { return s.NewID(world.KindRule) }

// group finds a security group that the caller sees: its own, or one of a VPC of its own.
func (s Actions) group(c world.Caller, id string) (*groups.Group, error) {
	return world.Find(&s.State.Groups, world.KindGroup, id, func(g *groups.Group) bool { return s.seesGroup(c, g) })
}

func (s Actions) seesGroup(c world.Caller, g *groups.Group) bool {
	v, ok := s.State.VPCs.Get(g.VPC)
	return g.Owner == string(c.Account) || ok && v.Owner == string(c.Account)
}

// CreateSecurityGroup is EC2's action of that name.
func (s Actions) CreateSecurityGroup(c world.Caller, in ec2.CreateSecurityGroupInput) (ec2.CreateSecurityGroupOutput, error) {
	var out ec2.CreateSecurityGroupOutput
	v, err := s.vpc(c, in.VpcId)
	if err != nil {
		return out, err
	}
	if err := groups.CheckName(in.GroupName, in.Description); err != nil {
		return out, err
	}
	for g := range s.State.Groups.All() {
		if g.VPC == v.ID && g.Name == in.GroupName && g.Owner == string(c.Account) {
			return out, ec2.Errorf("InvalidGroup.Duplicate", "The security group '%s' already exists for VPC '%s'", g.Name, v.ID)
		}
	}
	if err := s.CheckTags(c, in.TagSpecifications, world.KindGroup); err != nil {
		return out, err
	}
	g := groups.New(groups.Group{
		ID: s.NewID(world.KindGroup), Name: in.GroupName, Description: in.Description, VPC: v.ID, Owner: string(c.Account),
	}, len(v.Blocks6) > 0, s.newRuleID)
	s.State.Groups.Put(g.ID, g)
	s.Tag(c, world.KindGroup, g.ID, in.TagSpecifications)
	out.GroupId, out.SecurityGroupArn, out.Tags = g.ID, s.ARN(world.KindGroup, g.Owner, g.ID), s.TagsOf(c, g.ID)
	return out, nil
}

// DeleteSecurityGroup is EC2's action of that name.
func (s Actions) DeleteSecurityGroup(c world.Caller, in ec2.DeleteSecurityGroupInput) (ec2.Done, error) {
	g, err := s.group(c, in.GroupId)
	if err != nil {
		return ec2.Done{}, err
	}
	if g.Name == groups.DefaultName {
		return ec2.Done{}, ec2.Errorf("CannotDelete", "the specified group: \"%s\" name: \"default\" cannot be deleted by a user", g.ID)
	}
	used := s.OfGroup[g.ID] > 0
	for other := range s.State.Groups.All() {
		for _, r := range other.Rules {
			used = used || r.Group == g.ID && other != g
		}
	}
	if used {
		return ec2.Done{}, ec2.Errorf("DependencyViolation", "resource %s has a dependent object", g.ID)
	}
	s.State.Groups.Remove(g.ID)
	s.State.Tags.Forget(g.ID)
	delete(s.OfGroup, g.ID)
	return ec2.Done{}, nil
}

// DescribeSecurityGroups is EC2's action of that name.
func (s Actions) DescribeSecurityGroups(c world.Caller, in ec2.DescribeSecurityGroupsInput) (ec2.DescribeSecurityGroupsOutput, error) {
	var out ec2.DescribeSecurityGroupsOutput
	all, err := world.List(&s.State.Groups, in.GroupIds, func(id string) (*groups.Group, error) { return s.group(c, id) },
		func(g *groups.Group) bool { return s.seesGroup(c, g) },
		func(g *groups.Group) ec2.SecurityGroup {
			return ec2.SecurityGroup{
				GroupId: g.ID, GroupName: g.Name, Description: g.Description, VpcId: g.VPC, OwnerId: g.Owner,
				SecurityGroupArn: s.ARN(world.KindGroup, g.Owner, g.ID),
				IpPermissions:    g.Permissions(false), IpPermissionsEgress: g.Permissions(true), Tags: s.TagsOf(c, g.ID),
			}
		})
	if err != nil {
		return out, err
	}
	if len(in.GroupNames) > 0 {
		in.Filters = append(slices.Clip(in.Filters), ec2.Filter{Name: "group-name", Values: in.GroupNames})
	}
	out.SecurityGroups, err = ec2.Select(all, in.Filters, groupFields, func(g *ec2.SecurityGroup) []ec2.Tag { return g.Tags })
	return out, err
}

// DescribeSecurityGroupRules is EC2's action of that name.
func (s Actions) DescribeSecurityGroupRules(c world.Caller, in ec2.DescribeSecurityGroupRulesInput) (ec2.DescribeSecurityGroupRulesOutput, error) {
	var out ec2.DescribeSecurityGroupRulesOutput
	named := make(map[string]bool)
	for _, id := range in.SecurityGroupRuleIds {
		if err := world.KindRule.Check(id); err != nil {
			return out, err
		}
		named[id] = true
	}
	all := []ec2.SecurityGroupRule{}
	for g := range s.State.Groups.All() {
		if !s.seesGroup(c, g) {
			continue
		}
		for _, r := range g.Rules {
			if len(in.SecurityGroupRuleIds) > 0 && !named[r.ID] {
				continue
			}
			delete(named, r.ID)
			all = append(all, s.showRule(c, g, r))
		}
	}
	for _, id := range in.SecurityGroupRuleIds {
		if named[id] {
			return out, world.KindRule.Missing(id)
		}
	}
	var err error
	out.SecurityGroupRules, err = ec2.Select(all, in.Filters, ruleFields, func(r *ec2.SecurityGroupRule) []ec2.Tag { return r.Tags })
	return out, err
}

func (s Actions) showRule(c world.Caller, g *groups.Group, r groups.Rule) ec2.SecurityGroupRule {
	out := r.Show(g)
	out.SecurityGroupRuleArn, out.Tags = s.ARN(world.KindRule, g.Owner, r.ID), s.TagsOf(c, r.ID)
	return out
}

// oneRule is the single rule that a request can give without IpPermissions.
func oneRule(permissions []ec2.IpPermission, protocol, cidr, group string, from, to *int) []ec2.IpPermission {
	if len(permissions) > 0 || protocol == "" {
		return permissions
	}
	p := ec2.IpPermission{IpProtocol: protocol, FromPort: from, ToPort: to}
	if cidr != "" {
		p.IpRanges = []ec2.IpRange{{CidrIp: cidr}}
	}
	if group != "" {
		p.UserIdGroupPairs = []ec2.UserIdGroupPair{{GroupId: group}}
	}
	return []ec2.IpPermission{p}
}

// AuthorizeSecurityGroupIngress is EC2's action of that name.
func (s Actions) AuthorizeSecurityGroupIngress(c world.Caller, in ec2.AuthorizeSecurityGroupInput) (ec2.AuthorizeSecurityGroupOutput, error) {
	return s.addRules(c, in, false)
}

// AuthorizeSecurityGroupEgress is EC2's action of that name.
func (s Actions) AuthorizeSecurityGroupEgress(c world.Caller, in ec2.AuthorizeSecurityGroupInput) (ec2.AuthorizeSecurityGroupOutput, error) {
	return s.addRules(c, in, true)
}

func (s Actions) addRules(c world.Caller, in ec2.AuthorizeSecurityGroupInput, egress bool) (ec2.AuthorizeSecurityGroupOutput, error) {
	var out ec2.AuthorizeSecurityGroupOutput
	g, err := s.group(c, in.GroupId)
	if err != nil {
		return out, err
	}
	rules, err := s.rules(g, oneRule(in.IpPermissions, in.IpProtocol, in.CidrIp, in.SourceSecurityGroupName, in.FromPort, in.ToPort), egress)
	if err != nil {
		return out, err
	}
	if len(rules) == 0 {
		return out, ec2.Errorf("MissingParameter", "The request must contain the parameter ipPermissions")
	}
	if err := s.CheckTags(c, in.TagSpecifications, world.KindRule); err != nil {
		return out, err
	}
	added, err := g.Authorize(rules, world.Quota(s.State.Settings.Quotas.RulesPerGroup, 60), s.newRuleID)
	if err != nil {
		return out, err
	}
	out.Return = true
	for _, r := range added {
		s.Tag(c, world.KindRule, r.ID, in.TagSpecifications)
		out.SecurityGroupRules = append(out.SecurityGroupRules, s.showRule(c, g, r))
	}
	return out, nil
}

// rules reads permissions; a group may be named by its name in the same VPC, and must exist.
func (s Actions) rules(g *groups.Group, permissions []ec2.IpPermission, egress bool) ([]groups.Rule, error) {
	rules, err := groups.Flatten(permissions, egress)
	if err != nil {
		return nil, err
	}
	for i := range rules {
		if rules[i].Group == "" {
			continue
		}
		peer, ok := s.State.Groups.Get(rules[i].Group)
		for other := range s.State.Groups.All() {
			if !ok && other.VPC == g.VPC && other.Name == rules[i].Group {
				peer, ok = other, true
			}
		}
		if !ok || peer.VPC != g.VPC {
			return nil, world.KindGroup.Missing(rules[i].Group)
		}
		rules[i].Group = peer.ID
	}
	return rules, nil
}

// RevokeSecurityGroupIngress is EC2's action of that name.
func (s Actions) RevokeSecurityGroupIngress(c world.Caller, in ec2.RevokeSecurityGroupInput) (ec2.RevokeSecurityGroupOutput, error) {
	return s.dropRules(c, in, false)
}

// RevokeSecurityGroupEgress is EC2's action of that name.
func (s Actions) RevokeSecurityGroupEgress(c world.Caller, in ec2.RevokeSecurityGroupInput) (ec2.RevokeSecurityGroupOutput, error) {
	return s.dropRules(c, in, true)
}

func (s Actions) dropRules(c world.Caller, in ec2.RevokeSecurityGroupInput, egress bool) (ec2.RevokeSecurityGroupOutput, error) {
	var out ec2.RevokeSecurityGroupOutput
	g, err := s.group(c, in.GroupId)
	if err != nil {
		return out, err
	}
	rules, err := s.rules(g, oneRule(in.IpPermissions, in.IpProtocol, in.CidrIp, in.SourceSecurityGroupName, in.FromPort, in.ToPort), egress)
	if err != nil {
		return out, err
	}
	if len(rules)+len(in.SecurityGroupRuleIds) == 0 {
		return out, ec2.Errorf("MissingParameter", "The request must contain the parameter ipPermissions or securityGroupRuleIds")
	}
	removed, err := g.Revoke(rules, in.SecurityGroupRuleIds, egress)
	if err != nil {
		return out, err
	}
	out.Return = true
	for _, r := range removed {
		s.State.Tags.Forget(r.ID)
		out.RevokedSecurityGroupRules = append(out.RevokedSecurityGroupRules, r.Revoked(g))
	}
	return out, nil
}

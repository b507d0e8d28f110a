package vpcsim

import (
	"strconv"

	"github.com/berth-net/berth/internal/vpcsim/ec2"
	"github.com/berth-net/berth/internal/vpcsim/groups"
)

func everyGroup(*groups.Group) bool { return true }

func (s *Sim) newRuleID() string { return s.newID(kindRule) }

// group finds a security group that the caller sees: its own, or one of a VPC of its own.
func (s *Sim) group(c Caller, id string) (*groups.Group, error) {
	return find(&s.st.Groups, kindGroup, id, func(g *groups.Group) bool { return s.seesGroup(c, g) })
}

func (s *Sim) seesGroup(c Caller, g *groups.Group) bool {
	v, ok := s.st.VPCs.get(g.VPC)
	return g.Owner == string(c.Account) || ok && v.Owner == string(c.Account)
}

func (s *Sim) createSecurityGroup(c Caller, in ec2.CreateSecurityGroupInput) (ec2.CreateSecurityGroupOutput, error) {
	var out ec2.CreateSecurityGroupOutput
	v, err := s.vpc(c, in.VpcId)
	if err != nil {
		return out, err
	}
	if err := groups.CheckName(in.GroupName, in.Description); err != nil {
		return out, err
	}
	for g := range s.st.Groups.all() {
		if g.VPC == v.ID && g.Name == in.GroupName && g.Owner == string(c.Account) {
			return out, ec2.Errorf("InvalidGroup.Duplicate", "The security group '%s' already exists for VPC '%s'", g.Name, v.ID)
		}
	}
	if err := s.checkTags(c, in.TagSpecifications, kindGroup); err != nil {
		return out, err
	}
	g := groups.New(groups.Group{
		ID: s.newID(kindGroup), Name: in.GroupName, Description: in.Description, VPC: v.ID, Owner: string(c.Account),
	}, len(v.Blocks6) > 0, s.newRuleID)
	s.st.Groups.put(g.ID, g)
	s.tag(c, kindGroup, g.ID, in.TagSpecifications)
	out.GroupId, out.SecurityGroupArn, out.Tags = g.ID, s.arn(kindGroup, g.Owner, g.ID), s.tagsOf(c, g.ID)
	return out, nil
}

func (s *Sim) deleteSecurityGroup(c Caller, in ec2.DeleteSecurityGroupInput) (ec2.Done, error) {
	g, err := s.group(c, in.GroupId)
	if err != nil {
		return ec2.Done{}, err
	}
	if g.Name == groups.DefaultName {
		return ec2.Done{}, ec2.Errorf("CannotDelete", "the specified group: \"%s\" name: \"default\" cannot be deleted by a user", g.ID)
	}
	used := s.ofGroup[g.ID] > 0
	for other := range s.st.Groups.all() {
		for _, r := range other.Rules {
			used = used || r.Group == g.ID && other != g
		}
	}
	if used {
		return ec2.Done{}, ec2.Errorf("DependencyViolation", "resource %s has a dependent object", g.ID)
	}
	s.st.Groups.remove(g.ID)
	s.st.Tags.Forget(g.ID)
	delete(s.ofGroup, g.ID)
	return ec2.Done{}, nil
}

func (s *Sim) describeSecurityGroups(c Caller, in ec2.DescribeSecurityGroupsInput) (ec2.DescribeSecurityGroupsOutput, error) {
	var out ec2.DescribeSecurityGroupsOutput
	all, err := list(&s.st.Groups, in.GroupIds, func(id string) (*groups.Group, error) { return s.group(c, id) },
		func(g *groups.Group) bool { return s.seesGroup(c, g) },
		func(g *groups.Group) ec2.SecurityGroup {
			return ec2.SecurityGroup{
				GroupId: g.ID, GroupName: g.Name, Description: g.Description, VpcId: g.VPC, OwnerId: g.Owner,
				SecurityGroupArn: s.arn(kindGroup, g.Owner, g.ID),
				IpPermissions:    g.Permissions(false), IpPermissionsEgress: g.Permissions(true), Tags: s.tagsOf(c, g.ID),
			}
		})
	if err != nil {
		return out, err
	}
	if len(in.GroupNames) > 0 {
		in.Filters = append(in.Filters[:len(in.Filters):len(in.Filters)], ec2.Filter{Name: "group-name", Values: in.GroupNames})
	}
	out.SecurityGroups, err = ec2.Select(all, in.Filters, groupFields, func(g *ec2.SecurityGroup) []ec2.Tag { return g.Tags })
	return out, err
}

// cidrs are the IPv4 peers of permissions.
func cidrs(permissions []ec2.IpPermission) []string {
	var out []string
	for _, p := range permissions {
		for _, r := range p.IpRanges {
			out = append(out, r.CidrIp)
		}
	}
	return out
}

var groupFields = ec2.Fields[ec2.SecurityGroup]{
	"group-id":                  func(g *ec2.SecurityGroup) []string { return []string{g.GroupId} },
	"group-name":                func(g *ec2.SecurityGroup) []string { return []string{g.GroupName} },
	"description":               func(g *ec2.SecurityGroup) []string { return []string{g.Description} },
	"vpc-id":                    func(g *ec2.SecurityGroup) []string { return []string{g.VpcId} },
	"owner-id":                  func(g *ec2.SecurityGroup) []string { return []string{g.OwnerId} },
	"ip-permission.cidr":        func(g *ec2.SecurityGroup) []string { return cidrs(g.IpPermissions) },
	"egress.ip-permission.cidr": func(g *ec2.SecurityGroup) []string { return cidrs(g.IpPermissionsEgress) },
	"ip-permission.protocol": func(g *ec2.SecurityGroup) []string {
		return collect(g.IpPermissions, func(p ec2.IpPermission) string { return p.IpProtocol })
	},
	"ip-permission.group-id": func(g *ec2.SecurityGroup) []string {
		var out []string
		for _, p := range g.IpPermissions {
			out = append(out, collect(p.UserIdGroupPairs, func(u ec2.UserIdGroupPair) string { return u.GroupId })...)
		}
		return out
	},
}

func (s *Sim) describeSecurityGroupRules(c Caller, in ec2.DescribeSecurityGroupRulesInput) (ec2.DescribeSecurityGroupRulesOutput, error) {
	var out ec2.DescribeSecurityGroupRulesOutput
	named := make(map[string]bool)
	for _, id := range in.SecurityGroupRuleIds {
		if err := kindRule.check(id); err != nil {
			return out, err
		}
		named[id] = true
	}
	all := []ec2.SecurityGroupRule{}
	for g := range s.st.Groups.all() {
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
			return out, kindRule.missing(id)
		}
	}
	var err error
	out.SecurityGroupRules, err = ec2.Select(all, in.Filters, ruleFields, func(r *ec2.SecurityGroupRule) []ec2.Tag { return r.Tags })
	return out, err
}

func (s *Sim) showRule(c Caller, g *groups.Group, r groups.Rule) ec2.SecurityGroupRule {
	out := r.Show(g)
	out.SecurityGroupRuleArn, out.Tags = s.arn(kindRule, g.Owner, r.ID), s.tagsOf(c, r.ID)
	return out
}

var ruleFields = ec2.Fields[ec2.SecurityGroupRule]{
	"group-id":               func(r *ec2.SecurityGroupRule) []string { return []string{r.GroupId} },
	"security-group-rule-id": func(r *ec2.SecurityGroupRule) []string { return []string{r.SecurityGroupRuleId} },
	"is-egress":              func(r *ec2.SecurityGroupRule) []string { return []string{strconv.FormatBool(r.IsEgress)} },
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

func (s *Sim) authorizeSecurityGroupIngress(c Caller, in ec2.AuthorizeSecurityGroupInput) (ec2.AuthorizeSecurityGroupOutput, error) {
	return s.addRules(c, in, false)
}

func (s *Sim) authorizeSecurityGroupEgress(c Caller, in ec2.AuthorizeSecurityGroupInput) (ec2.AuthorizeSecurityGroupOutput, error) {
	return s.addRules(c, in, true)
}

func (s *Sim) addRules(c Caller, in ec2.AuthorizeSecurityGroupInput, egress bool) (ec2.AuthorizeSecurityGroupOutput, error) {
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
	if err := s.checkTags(c, in.TagSpecifications, kindRule); err != nil {
		return out, err
	}
	added, err := g.Authorize(rules, quota(s.st.Settings.Quotas.RulesPerGroup, 60), s.newRuleID)
	if err != nil {
		return out, err
	}
	out.Return = true
	for _, r := range added {
		s.tag(c, kindRule, r.ID, in.TagSpecifications)
		out.SecurityGroupRules = append(out.SecurityGroupRules, s.showRule(c, g, r))
	}
	return out, nil
}

// rules reads permissions; a group may be named by its name in the same VPC, and must exist.
func (s *Sim) rules(g *groups.Group, permissions []ec2.IpPermission, egress bool) ([]groups.Rule, error) {
	rules, err := groups.Flatten(permissions, egress)
	if err != nil {
		return nil, err
	}
	for i := range rules {
		if rules[i].Group == "" {
			continue
		}
		peer, ok := s.st.Groups.get(rules[i].Group)
		for other := range s.st.Groups.all() {
			if !ok && other.VPC == g.VPC && other.Name == rules[i].Group {
				peer, ok = other, true
			}
		}
		if !ok || peer.VPC != g.VPC {
			return nil, kindGroup.missing(rules[i].Group)
		}
		rules[i].Group = peer.ID
	}
	return rules, nil
}

func (s *Sim) revokeSecurityGroupIngress(c Caller, in ec2.RevokeSecurityGroupInput) (ec2.RevokeSecurityGroupOutput, error) {
	return s.dropRules(c, in, false)
}

func (s *Sim) revokeSecurityGroupEgress(c Caller, in ec2.RevokeSecurityGroupInput) (ec2.RevokeSecurityGroupOutput, error) {
	return s.dropRules(c, in, true)
}

func (s *Sim) dropRules(c Caller, in ec2.RevokeSecurityGroupInput, egress bool) (ec2.RevokeSecurityGroupOutput, error) {
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
		s.st.Tags.Forget(r.ID)
		out.RevokedSecurityGroupRules = append(out.RevokedSecurityGroupRules, r.Revoked(g))
	}
	return out, nil
}

package network

import (
	"maps"
	"strconv"

	"github.com/berth-net/berth/internal/vpcsim/ec2"
	"github.com/berth-net/berth/internal/vpcsim/world"
)

var groupFields = withPermissions(ec2.Fields[ec2.SecurityGroup]{
	"group-id":    func(g *ec2.SecurityGroup) []string { return []string{g.GroupId} },
	"group-name":  func(g *ec2.SecurityGroup) []string { return []string{g.GroupName} },
	"description": func(g *ec2.SecurityGroup) []string { return []string{g.Description} },
	"vpc-id":      func(g *ec2.SecurityGroup) []string { return []string{g.VpcId} },
	"owner-id":    func(g *ec2.SecurityGroup) []string { return []string{g.OwnerId} },
})

// withPermissions adds the fields of a group's rules, of ingress and of egress.
func withPermissions(fields ec2.Fields[ec2.SecurityGroup]) ec2.Fields[ec2.SecurityGroup] {
	fields = maps.Clone(fields)
	for name, of := range permissionFields {
		fields["ip-permission."+name] = func(g *ec2.SecurityGroup) []string { return ofPermissions(g.IpPermissions, of) }
		fields["egress.ip-permission."+name] = func(g *ec2.SecurityGroup) []string { return ofPermissions(g.IpPermissionsEgress, of) }
	}
	return fields
}

func ofPermissions(list []ec2.IpPermission, of func(ec2.IpPermission) []string) []string {
	var out []string
	for _, p := range list {
		out = append(out, of(p)...)
	}
	return out
}

var permissionFields = map[string]func(ec2.IpPermission) []string{
	"protocol":  func(p ec2.IpPermission) []string { return []string{p.IpProtocol} },
	"from-port": func(p ec2.IpPermission) []string { return port(p.FromPort) },
	"to-port":   func(p ec2.IpPermission) []string { return port(p.ToPort) },
	"cidr": func(p ec2.IpPermission) []string {
		return world.Collect(p.IpRanges, func(r ec2.IpRange) string { return r.CidrIp })
	},
	"ipv6-cidr": func(p ec2.IpPermission) []string {
		return world.Collect(p.Ipv6Ranges, func(r ec2.Ipv6Range) string { return r.CidrIpv6 })
	},
	"prefix-list-id": func(p ec2.IpPermission) []string {
		return world.Collect(p.PrefixListIds, func(l ec2.PrefixListId) string { return l.PrefixListId })
	},
	"group-id": func(p ec2.IpPermission) []string {
		return world.Collect(p.UserIdGroupPairs, func(u ec2.UserIdGroupPair) string { return u.GroupId })
	},
	"user-id": func(p ec2.IpPermission) []string {
		return world.Collect(p.UserIdGroupPairs, func(u ec2.UserIdGroupPair) string { return u.UserId })
	},
}

func port(n *int) []string {
	if n == nil {
		return nil
	}
	return []string{strconv.Itoa(*n)}
}

var ruleFields = ec2.Fields[ec2.SecurityGroupRule]{
	"group-id":               func(r *ec2.SecurityGroupRule) []string { return []string{r.GroupId} },
	"security-group-rule-id": func(r *ec2.SecurityGroupRule) []string { return []string{r.SecurityGroupRuleId} },
	"is-egress":              func(r *ec2.SecurityGroupRule) []string { return []string{strconv.FormatBool(r.IsEgress)} },
}

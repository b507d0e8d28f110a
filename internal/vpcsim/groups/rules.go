// Package groups knows security groups: their rules as single values, how requests name rules, what counts as a
// duplicate, and how rules are shown as permissions. Whether an interface uses a group is not known here.
package groups

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/berth-net/berth/internal/vpcsim/ec2"
)

// Any stands for every port, ICMP type or code.
const Any = -1

// Rule allows one protocol and range of ports for one peer in one direction.
type Rule struct {
	ID       string `json:"id"`
	Egress   bool   `json:"egress,omitempty"`
	Protocol string `json:"protocol"` // tcp, udp, icmp, icmpv6, a number, or -1 for all
	// From and To are ports; ICMP's type and code; Any where the protocol has none or all are meant.
	From        int          `json:"from"`
	To          int          `json:"to"`
	CIDR        netip.Prefix `json:"cidr,omitzero"`
	Group       string       `json:"group,omitempty"` // the other kind of peer
	Description string       `json:"description,omitempty"`
}

// same tells whether two rules allow the same thing.
func (r Rule) same(o Rule) bool {
	return r.Egress == o.Egress && r.Protocol == o.Protocol && r.From == o.From && r.To == o.To &&
		r.CIDR == o.CIDR && r.Group == o.Group
}

// protocols maps what requests may say onto what EC2 answers.
var protocols = map[string]string{
	"tcp": "tcp", "6": "tcp", "udp": "udp", "17": "udp", "icmp": "icmp", "1": "icmp", "icmpv6": "icmpv6", "58": "icmpv6",
	"-1": "-1", "all": "-1",
}

// Flatten turns the permissions of a request into rules, one per peer.
func Flatten(permissions []ec2.IpPermission, egress bool) ([]Rule, error) {
	var out []Rule
	for _, p := range permissions {
		base, err := flattenPorts(p)
		if err != nil {
			return nil, err
		}
		base.Egress = egress
		rules, err := flattenPeers(p, base)
		if err != nil {
			return nil, err
		}
		if len(rules) == 0 {
			return nil, ec2.Errorf("MissingParameter",
				"The request must contain the parameter IpRanges, Ipv6Ranges, PrefixListIds or UserIdGroupPairs")
		}
		out = append(out, rules...)
	}
	return out, nil
}

func flattenPeers(p ec2.IpPermission, base Rule) ([]Rule, error) {
	var out []Rule
	add := func(cidr, description string, v4 bool) error {
		prefix, err := netip.ParsePrefix(cidr)
		if err != nil || prefix.Addr().Is4() != v4 {
			return ec2.Errorf("InvalidParameterValue", "CIDR block %s is malformed", cidr)
		}
		r := base
		r.CIDR, r.Description = prefix.Masked(), description
		out = append(out, r)
		return nil
	}
	for _, peer := range p.IpRanges {
		if err := add(peer.CidrIp, peer.Description, true); err != nil {
			return nil, err
		}
	}
	for _, peer := range p.Ipv6Ranges {
		if err := add(peer.CidrIpv6, peer.Description, false); err != nil {
			return nil, err
		}
	}
	for _, peer := range p.UserIdGroupPairs {
		if peer.GroupId == "" {
			return nil, ec2.Errorf("MissingParameter", "The request must contain the parameter groupId")
		}
		r := base
		r.Group, r.Description = peer.GroupId, peer.Description
		out = append(out, r)
	}
	if len(p.PrefixListIds) > 0 {
		return nil, ec2.Errorf("InvalidPrefixListID.NotFound", "The prefix list ID '%s' does not exist",
			p.PrefixListIds[0].PrefixListId)
	}
	return out, nil
}

func flattenPorts(p ec2.IpPermission) (Rule, error) {
	r := Rule{From: Any, To: Any}
	name, known := protocols[strings.ToLower(p.IpProtocol)]
	if !known {
		n, err := strconv.Atoi(p.IpProtocol)
		if err != nil || n < 0 || n > 255 {
			return r, ec2.Errorf("InvalidPermission.Malformed", "Invalid IP protocol '%s'", p.IpProtocol)
		}
		name = strconv.Itoa(n)
	}
	r.Protocol = name
	switch name {
	case "tcp", "udp":
		if p.FromPort == nil || p.ToPort == nil {
			return r, ec2.Errorf("InvalidParameterValue", "Invalid value 'Must specify both from and to ports with TCP/UDP.' for portRange.")
		}
		r.From, r.To = *p.FromPort, *p.ToPort
		if r.From == Any && r.To == Any {
			r.From, r.To = 0, 65535
		}
		if r.From < 0 || r.To > 65535 || r.From > r.To {
			return r, ec2.Errorf("InvalidParameterValue", "Invalid value '%d-%d' for portRange.", r.From, r.To)
		}
	case "icmp", "icmpv6":
		if p.FromPort != nil {
			r.From = *p.FromPort
		}
		if p.ToPort != nil {
			r.To = *p.ToPort
		}
		if r.From < Any || r.From > 255 || r.To < Any || r.To > 255 || r.From == Any && r.To != Any {
			return r, ec2.Errorf("InvalidParameterValue", "Invalid value '%d-%d' for ICMP type and code.", r.From, r.To)
		}
	}
	return r, nil
}

// ports turns a rule's ports into what EC2 shows: nothing for protocols without ports.
func (r Rule) ports() (from, to *int) {
	switch r.Protocol {
	case "tcp", "udp", "icmp", "icmpv6":
		return &r.From, &r.To
	}
	return nil, nil
}

// Permissions shows the rules of one direction, those with the same protocol and ports together.
func (g *Group) Permissions(egress bool) []ec2.IpPermission {
	type key struct {
		protocol string
		from, to int
	}
	byPorts := make(map[key]*ec2.IpPermission)
	var keys []key
	for _, r := range g.Rules {
		if r.Egress != egress {
			continue
		}
		k := key{r.Protocol, r.From, r.To}
		p := byPorts[k]
		if p == nil {
			p = &ec2.IpPermission{IpProtocol: r.Protocol}
			p.FromPort, p.ToPort = r.ports()
			byPorts[k] = p
			keys = append(keys, k)
		}
		switch {
		case r.Group != "":
			p.UserIdGroupPairs = append(p.UserIdGroupPairs,
				ec2.UserIdGroupPair{GroupId: r.Group, UserId: g.Owner, Description: r.Description})
		case r.CIDR.Addr().Is4():
			p.IpRanges = append(p.IpRanges, ec2.IpRange{CidrIp: r.CIDR.String(), Description: r.Description})
		default:
			p.Ipv6Ranges = append(p.Ipv6Ranges, ec2.Ipv6Range{CidrIpv6: r.CIDR.String(), Description: r.Description})
		}
	}
	slices.SortFunc(keys, func(a, b key) int {
		return cmp.Or(cmp.Compare(a.protocol, b.protocol), cmp.Compare(a.from, b.from), cmp.Compare(a.to, b.to))
	})
	out := make([]ec2.IpPermission, len(keys))
	for i, k := range keys {
		out[i] = *byPorts[k]
	}
	return out
}

// Show is a rule as EC2 describes it.
func (r Rule) Show(g *Group) ec2.SecurityGroupRule {
	out := ec2.SecurityGroupRule{
		SecurityGroupRuleId: r.ID, GroupId: g.ID, GroupOwnerId: g.Owner, IsEgress: r.Egress,
		IpProtocol: r.Protocol, Description: r.Description,
	}
	out.FromPort, out.ToPort = &r.From, &r.To
	switch {
	case r.Group != "":
		out.ReferencedGroupInfo = &ec2.ReferencedSecurityGroup{GroupId: r.Group, UserId: g.Owner, VpcId: g.VPC}
	case r.CIDR.Addr().Is4():
		out.CidrIpv4 = r.CIDR.String()
	default:
		out.CidrIpv6 = r.CIDR.String()
	}
	return out
}

// Revoked is a rule as EC2 answers its removal.
func (r Rule) Revoked(g *Group) ec2.RevokedSecurityGroupRule {
	s := r.Show(g)
	return ec2.RevokedSecurityGroupRule{
		SecurityGroupRuleId: r.ID, GroupId: g.ID, IpProtocol: r.Protocol, CidrIpv4: s.CidrIpv4, CidrIpv6: s.CidrIpv6,
		ReferencedGroupId: r.Group, Description: r.Description, FromPort: s.FromPort, ToPort: s.ToPort, IsEgress: r.Egress,
	}
}

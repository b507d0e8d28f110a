package groups

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/berth-net/berth/internal/vpcsim/ec2"
)

// Group is a security group.
type Group struct {
	ID          string `json:"id"`
	Name        string `json:"name"`
	Description string `json:"description"`
	VPC         string `json:"vpc"`
	Owner       string `json:"owner"`
	Rules       []Rule `json:"rules,omitempty"`
}

// DefaultName is the name of the group that each VPC has from the start.
const DefaultName = "default"

var (
	anyV4 = netip.MustParsePrefix("0.0.0.0/0")
	anyV6 = netip.MustParsePrefix("::/0")
)

// New makes a group as EC2 does: everything may leave; what a default group's members send may come in.
func New(g Group, v6 bool, newID func() string) *Group {
	g.Rules = []Rule{{ID: newID(), Egress: true, Protocol: "-1", From: Any, To: Any, CIDR: anyV4}}
	if v6 {
		g.Rules = append(g.Rules, Rule{ID: newID(), Egress: true, Protocol: "-1", From: Any, To: Any, CIDR: anyV6})
	}
	if g.Name == DefaultName {
		g.Rules = append(g.Rules, Rule{ID: newID(), Protocol: "-1", From: Any, To: Any, Group: g.ID})
	}
	return &g
}

// CheckName tells whether a request may use a name and description.
func CheckName(name, description string) error {
	switch {
	case name == "":
		return ec2.Errorf("MissingParameter", "The request must contain the parameter GroupName")
	case description == "":
		return ec2.Errorf("MissingParameter", "The request must contain the parameter GroupDescription")
	case name == DefaultName:
		return ec2.Errorf("InvalidParameterValue", "Cannot use reserved security group name: default")
	case strings.HasPrefix(name, "sg-"):
		return ec2.Errorf("InvalidParameterValue",
			"Value (%s) for parameter GroupName is invalid. Group names may not be in the format sg-*", name)
	case len(name) > 255 || len(description) > 255:
		return ec2.Errorf("InvalidParameterValue", "Character sets beyond ASCII and more than 255 characters are not supported.")
	}
	return nil
}

// Authorize adds rules, all or none. Limit is the quota of rules per direction and address family.
func (g *Group) Authorize(add []Rule, limit int, newID func() string) ([]Rule, error) {
	for i, r := range add {
		if slices.ContainsFunc(g.Rules, r.same) || slices.ContainsFunc(add[:i], r.same) {
			return nil, ec2.Errorf("InvalidPermission.Duplicate", "the specified rule \"%s\" already exists", r.text())
		}
	}
	for _, v6 := range []bool{false, true} {
		counts := func(r Rule) bool { return r.Egress == add[0].Egress && (r.Group != "" || r.CIDR.Addr().Is6() == v6) }
		if count(g.Rules, counts)+count(add, counts) > limit && count(add, counts) > 0 {
			return nil, ec2.Errorf("RulesPerSecurityGroupLimitExceeded",
				"The maximum number of rules per security group has been reached.")
		}
	}
	added := slices.Clone(add)
	for i := range added {
		added[i].ID = newID()
	}
	g.Rules = append(g.Rules, added...)
	return added, nil
}

func count(rules []Rule, which func(Rule) bool) int {
	n := 0
	for _, r := range rules {
		if which(r) {
			n++
		}
	}
	return n
}

// Revoke removes rules of one direction, named by value and by id, all or none.
func (g *Group) Revoke(remove []Rule, ids []string, egress bool) ([]Rule, error) {
	gone := make(map[string]bool)
	for _, r := range remove {
		i := slices.IndexFunc(g.Rules, r.same)
		if i < 0 {
			return nil, ec2.Errorf("InvalidPermission.NotFound", "The specified rule does not exist in this security group.")
		}
		gone[g.Rules[i].ID] = true
	}
	for _, id := range ids {
		if !slices.ContainsFunc(g.Rules, func(r Rule) bool { return r.ID == id && r.Egress == egress }) {
			return nil, ec2.Errorf("InvalidSecurityGroupRuleId.NotFound", "The security group rule ID '%s' does not exist", id)
		}
		gone[id] = true
	}
	var removed, kept []Rule
	for _, r := range g.Rules {
		if gone[r.ID] {
			removed = append(removed, r)
		} else {
			kept = append(kept, r)
		}
	}
	g.Rules = kept
	return removed, nil
}

// text is a rule in the words of EC2's errors.
func (r Rule) text() string {
	peer := r.Group
	if peer == "" {
		peer = r.CIDR.String()
	}
	protocol := strings.ToUpper(r.Protocol)
	if r.Protocol == "-1" {
		protocol = "ALL"
	}
	if from, to := r.ports(); from != nil {
		return fmt.Sprintf("peer: %s, %s, from port: %d, to port: %d, ALLOW", peer, protocol, *from, *to)
	}
	return "peer: " + peer + ", " + protocol + ", ALLOW"
}

package groups

import (
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/berth-net/berth/internal/vpcsim/ec2"
)

func ids() func() string {
	n := 0
	return func() string { n++; return fmt.Sprint("sgr-", n) }
}

func code(err error) string {
	if e, ok := errors.AsType[*ec2.Error](err); ok {
		return e.Code
	}
	return ""
}

func tcp(from, to int, cidrs ...string) ec2.IpPermission {
	p := ec2.IpPermission{IpProtocol: "tcp", FromPort: &from, ToPort: &to}
	for _, c := range cidrs {
		p.IpRanges = append(p.IpRanges, ec2.IpRange{CidrIp: c})
	}
	return p
}

func TestFlatten(t *testing.T) {
	tests := []struct {
		name string
		in   ec2.IpPermission
		want string // rules as text, or the error's code
	}{
		{"range of ports", tcp(80, 90, "10.0.0.5/8"), "[peer: 10.0.0.0/8, TCP, from port: 80, to port: 90, ALLOW]"},
		{
			"two peers", tcp(80, 80, "10.0.0.0/8", "0.0.0.0/0"),
			"[peer: 10.0.0.0/8, TCP, from port: 80, to port: 80, ALLOW peer: 0.0.0.0/0, TCP, from port: 80, to port: 80, ALLOW]",
		},
		{"by number", ec2.IpPermission{IpProtocol: "17", FromPort: new(53), ToPort: new(53), Ipv6Ranges: []ec2.Ipv6Range{{CidrIpv6: "::/0"}}}, "[peer: ::/0, UDP, from port: 53, to port: 53, ALLOW]"},
		{"everything", ec2.IpPermission{IpProtocol: "-1", UserIdGroupPairs: []ec2.UserIdGroupPair{{GroupId: "sg-1"}}}, "[peer: sg-1, ALL, ALLOW]"},
		{"icmp", ec2.IpPermission{IpProtocol: "icmp", FromPort: new(8), IpRanges: []ec2.IpRange{{CidrIp: "0.0.0.0/0"}}}, "[peer: 0.0.0.0/0, ICMP, from port: 8, to port: -1, ALLOW]"},
		{"no peer", tcp(1, 1), "MissingParameter"},
		{"no port", ec2.IpPermission{IpProtocol: "tcp", IpRanges: []ec2.IpRange{{CidrIp: "0.0.0.0/0"}}}, "InvalidParameterValue"},
		{"ports reversed", tcp(90, 80, "0.0.0.0/0"), "InvalidParameterValue"},
		{"port too high", tcp(90, 65536, "0.0.0.0/0"), "InvalidParameterValue"},
		{"no block", tcp(80, 80, "10.0.0.0"), "InvalidParameterValue"},
		{"wrong family", tcp(80, 80, "::/0"), "InvalidParameterValue"},
		{"protocol", ec2.IpPermission{IpProtocol: "quic", IpRanges: []ec2.IpRange{{CidrIp: "0.0.0.0/0"}}}, "InvalidPermission.Malformed"},
		{"prefix list", ec2.IpPermission{IpProtocol: "-1", PrefixListIds: []ec2.PrefixListId{{PrefixListId: "pl-1"}}}, "InvalidPrefixListID.NotFound"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rules, err := Flatten([]ec2.IpPermission{tt.in}, false)
			got := code(err)
			if err == nil {
				var text []string
				for _, r := range rules {
					text = append(text, r.text())
				}
				got = fmt.Sprint(text)
			}
			if got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func TestAuthorizeAndRevoke(t *testing.T) {
	newID := ids()
	g := New(Group{ID: "sg-1", Name: "web", VPC: "vpc-1", Owner: "1"}, true, newID)
	if len(g.Rules) != 2 || !g.Rules[0].Egress {
		t.Fatalf("a new group has %v", g.Rules)
	}
	rules, err := Flatten([]ec2.IpPermission{tcp(80, 80, "10.0.0.0/8", "10.1.0.0/16"), tcp(443, 443, "10.0.0.0/8")}, false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.Authorize(rules, 60, newID); err != nil {
		t.Fatal(err)
	}
	if _, err := g.Authorize(rules[2:], 60, newID); code(err) != "InvalidPermission.Duplicate" {
		t.Errorf("again: %v", err)
	}
	other, err := Flatten([]ec2.IpPermission{tcp(1, 1, "10.0.0.0/8", "10.1.0.0/16")}, false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.Authorize(other, 4, newID); code(err) != "RulesPerSecurityGroupLimitExceeded" {
		t.Errorf("beyond the limit: %v", err)
	}
	want := []ec2.IpPermission{tcp(80, 80, "10.0.0.0/8", "10.1.0.0/16"), tcp(443, 443, "10.0.0.0/8")}
	if diff := cmp.Diff(want, g.Permissions(false)); diff != "" {
		t.Error(diff)
	}
	if _, err := g.Revoke(other, nil, false); code(err) != "InvalidPermission.NotFound" {
		t.Errorf("revoke what is absent: %v", err)
	}
	if _, err := g.Revoke(nil, []string{"sgr-1"}, false); code(err) != "InvalidSecurityGroupRuleId.NotFound" {
		t.Errorf("revoke egress as ingress: %v", err)
	}
	gone, err := g.Revoke(rules[1:2], []string{"sgr-5"}, false)
	if err != nil || len(gone) != 2 {
		t.Errorf("revoke: %v %v", gone, err)
	}
	if diff := cmp.Diff([]ec2.IpPermission{tcp(80, 80, "10.0.0.0/8")}, g.Permissions(false)); diff != "" {
		t.Error(diff)
	}
}

func TestDefaultGroup(t *testing.T) {
	g := New(Group{ID: "sg-1", Name: DefaultName, Owner: "1", VPC: "vpc-1"}, false, ids())
	want := []ec2.IpPermission{{IpProtocol: "-1", UserIdGroupPairs: []ec2.UserIdGroupPair{{GroupId: "sg-1", UserId: "1"}}}}
	if diff := cmp.Diff(want, g.Permissions(false)); diff != "" {
		t.Error(diff)
	}
}

func TestCheckName(t *testing.T) {
	tests := []struct{ name, description, want string }{
		{"web", "the web", ""},
		{"", "d", "MissingParameter"},
		{"web", "", "MissingParameter"},
		{"default", "d", "InvalidParameterValue"},
		{"sg-web", "d", "InvalidParameterValue"},
	}
	for _, tt := range tests {
		if got := code(CheckName(tt.name, tt.description)); got != tt.want {
			t.Errorf("%q: %q, want %q", tt.name, got, tt.want)
		}
	}
}

package routing

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/berth-net/berth/internal/vpcsim/ec2"
)

func code(err error) string {
	if e, ok := errors.AsType[*ec2.Error](err); ok {
		return e.Code
	}
	return ""
}

func TestRead(t *testing.T) {
	tests := []struct {
		name string
		in   ec2.CreateRouteInput
		want string
	}{
		{"gateway", ec2.CreateRouteInput{DestinationCidrBlock: "0.0.0.0/0", GatewayId: "igw-1"}, ""},
		{"v6", ec2.CreateRouteInput{DestinationIpv6CidrBlock: "::/0", GatewayId: "igw-1"}, ""},
		{"no destination", ec2.CreateRouteInput{GatewayId: "igw-1"}, "MissingParameter"},
		{"two destinations", ec2.CreateRouteInput{DestinationCidrBlock: "0.0.0.0/0", DestinationIpv6CidrBlock: "::/0", GatewayId: "igw-1"}, "InvalidParameterCombination"},
		{"wrong family", ec2.CreateRouteInput{DestinationCidrBlock: "::/0", GatewayId: "igw-1"}, "InvalidParameterValue"},
		{"no block", ec2.CreateRouteInput{DestinationCidrBlock: "10.0.0.0", GatewayId: "igw-1"}, "InvalidParameterValue"},
		{"no target", ec2.CreateRouteInput{DestinationCidrBlock: "0.0.0.0/0"}, "InvalidParameterCombination"},
		{"two targets", ec2.CreateRouteInput{DestinationCidrBlock: "0.0.0.0/0", GatewayId: "igw-1", NatGatewayId: "nat-1"}, "InvalidParameterCombination"},
	}
	for _, tt := range tests {
		if _, err := Read(tt.in); code(err) != tt.want {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
}

func TestTable(t *testing.T) {
	blocks := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/16")}
	table := &Table{ID: "rtb-1"}
	route := func(to, gateway string) ec2.Route {
		r, err := Read(ec2.CreateRouteInput{DestinationCidrBlock: to, GatewayId: gateway})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	steps := []struct{ name, got, want string }{
		{"add", code(table.Add(route("0.0.0.0/0", "igw-1"), blocks)), ""},
		{"add again", code(table.Add(route("0.0.0.0/0", "igw-2"), blocks)), "RouteAlreadyExists"},
		{"add the local one", code(table.Add(route("10.0.0.0/16", "igw-2"), blocks)), "RouteAlreadyExists"},
		{"add within the VPC", code(table.Add(route("10.0.1.0/24", "igw-2"), blocks)), "InvalidParameterValue"},
		{"replace", code(table.Replace(route("0.0.0.0/0", "igw-3"))), ""},
		{"replace what is absent", code(table.Replace(route("192.0.2.0/24", "igw-3"))), "InvalidParameterValue"},
		{"remove what is absent", code(table.Remove(netip.MustParsePrefix("192.0.2.0/24"))), "InvalidRoute.NotFound"},
	}
	for _, s := range steps {
		if s.got != s.want {
			t.Errorf("%s: %q, want %q", s.name, s.got, s.want)
		}
	}
	want := []ec2.Route{
		{DestinationCidrBlock: "10.0.0.0/16", GatewayId: "local", Origin: "CreateRouteTable", State: "active"},
		{DestinationCidrBlock: "0.0.0.0/0", GatewayId: "igw-3", Origin: "CreateRoute", State: "active"},
	}
	if diff := cmp.Diff(want, table.All(blocks)); diff != "" {
		t.Error(diff)
	}
	table.Associate("rtbassoc-1", "")
	table.Associate("rtbassoc-2", "subnet-1")
	table.Drop("subnet-1")
	if !table.Main() || table.Serves("subnet-1") {
		t.Errorf("associations: %v", table.Associations)
	}
}

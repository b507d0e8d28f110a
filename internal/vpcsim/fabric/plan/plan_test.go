package plan

import (
	"flag"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/berth-net/berth/internal/core/vpc"
	"github.com/berth-net/berth/internal/vpcsim"
)

var update = flag.Bool("update", false, "rewrite golden files")

// small has one of each: a public and a private instance, a delegated block, a group reference, both gateways.
func small() vpcsim.Topology {
	p, a := netip.MustParsePrefix, netip.MustParseAddr
	local := vpcsim.TopologyRoute{Destination: p("10.0.0.0/24"), Target: vpcsim.RouteLocal}
	return vpcsim.Topology{
		VPCs: []vpcsim.TopologyVPC{{ID: "vpc-1", CIDRs: []netip.Prefix{p("10.0.0.0/24")}}},
		Subnets: []vpcsim.TopologySubnet{
			{ID: "subnet-a", VPC: "vpc-1", CIDR: p("10.0.0.0/27"), Routes: []vpcsim.TopologyRoute{local, {Destination: p("0.0.0.0/0"), Target: vpcsim.RouteInternet}}},
			{ID: "subnet-b", VPC: "vpc-1", CIDR: p("10.0.0.32/27"), Routes: []vpcsim.TopologyRoute{
				local, {Destination: p("0.0.0.0/0"), Target: vpcsim.RouteNAT, Via: "nat-1"}, {Destination: p("192.0.2.0/24"), Target: "vpc-peering"},
			}},
		},
		Interfaces: []vpcsim.TopologyInterface{
			{
				ID: "eni-a", VPC: "vpc-1", Subnet: "subnet-a", MAC: "02:00:00:00:00:0A", Instance: "i-a", SourceDestCheck: true,
				Addresses: []netip.Addr{a("10.0.0.5"), a("10.0.0.6")}, Groups: []vpc.SecurityGroupID{"sg-a"},
				Public: map[netip.Addr]netip.Addr{a("10.0.0.5"): a("198.51.100.5")},
			},
			{
				ID: "eni-b", VPC: "vpc-1", Subnet: "subnet-b", MAC: "02:00:00:00:00:0b", Instance: "i-b",
				Addresses: []netip.Addr{a("10.0.0.40"), a("2001:db8::1")}, Prefixes: []netip.Prefix{p("10.0.0.48/28")}, Groups: []vpc.SecurityGroupID{"sg-b"},
			},
			{ID: "eni-free", VPC: "vpc-1", Subnet: "subnet-b", MAC: "02:00:00:00:00:0c", Addresses: []netip.Addr{a("10.0.0.41")}, Groups: []vpc.SecurityGroupID{"sg-a"}},
		},
		Groups: []vpcsim.TopologyGroup{
			{ID: "sg-a", VPC: "vpc-1", Rules: []vpcsim.GroupRule{{Egress: true, Protocol: "-1", CIDR: p("0.0.0.0/0")}}},
			{ID: "sg-b", VPC: "vpc-1", Rules: []vpcsim.GroupRule{
				{Protocol: "tcp", From: 80, To: 443, Group: "sg-a"},
				{Protocol: "icmp", From: 8, To: -1, CIDR: p("10.0.0.0/24")},
				{Protocol: "-1", CIDR: netip.MustParsePrefix("::/0")},
			}},
		},
		NATGateways: []vpcsim.TopologyNAT{{ID: "nat-1", VPC: "vpc-1", Subnet: "subnet-a", Private: a("10.0.0.30"), Public: a("198.51.100.30")}},
		Instances:   []vpcsim.TopologyInstance{{ID: "i-a", Name: "ip-10-0-0-5"}, {ID: "i-b", Name: "ip-10-0-0-40"}},
	}
}

// describe prints a world as a screenful per namespace.
func describe(w *World) string {
	var b strings.Builder
	var keys []Key
	for k := range w.Spaces {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(x, y Key) int { return strings.Compare(string(x.Kind)+x.ID, string(y.Kind)+y.ID) })
	for _, k := range keys {
		s := w.Spaces[k]
		fmt.Fprintf(&b, "namespace %s (%s %s)\n", s.Name, k.Kind, k.ID)
		var lines []string
		for a := range s.Addrs {
			lines = append(lines, fmt.Sprintf("  address %s", a))
		}
		for name, l := range s.Links {
			boot := ""
			if l.Boot.IsValid() {
				boot = " boots with " + l.Boot.String() + " by " + l.BootGateway.String()
			}
			lines = append(lines, fmt.Sprintf("  link %s to %s %s %s mtu %d%s", name, l.Peer.Kind, l.Peer.ID, l.PeerName, l.MTU, boot))
		}
		for k, r := range s.Routes {
			dev := "to " + r.Dev
			if r.Dev == "" {
				dev = "blackhole"
			}
			lines = append(lines, fmt.Sprintf("  route table %d %s %s", k.Table, k.Dst, dev))
		}
		for r := range s.Rules {
			match := "iif " + r.IIF
			if r.Src.IsValid() {
				match = "from " + r.Src.String()
			} else if r.Mark != 0 {
				match = fmt.Sprintf("mark %#x", r.Mark)
			}
			lines = append(lines, fmt.Sprintf("  rule %03d %s table %d", r.Priority, match, r.Table))
		}
		slices.Sort(lines)
		b.WriteString(strings.Join(lines, "\n"))
		if s.NFT != nil {
			b.WriteString("\n" + Diff(nil, s.NFT(map[string]int{"enia": 6, "enib": 7})))
		}
		b.WriteString("\n")
	}
	return b.String()
}

func TestPlan(t *testing.T) {
	w, err := New(small(), []netip.Addr{netip.MustParseAddr("203.0.113.10")})
	if err != nil {
		t.Fatal(err)
	}
	got := describe(w)
	const golden = "testdata/small.golden"
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
		t.Errorf("plan (-want +got; -update rewrites it after you can explain it):\n%s", diff)
	}
}

func TestNothingToDo(t *testing.T) {
	w, err := New(small(), []netip.Addr{netip.MustParseAddr("203.0.113.10")})
	if err != nil {
		t.Fatal(err)
	}
	again, err := New(small(), []netip.Addr{netip.MustParseAddr("203.0.113.10")})
	if err != nil {
		t.Fatal(err)
	}
	for key, s := range w.Spaces {
		if s.NFT == nil {
			continue
		}
		if text := Diff(s.NFT(nil), again.Spaces[key].NFT(nil)); text != "" {
			t.Errorf("equal rulesets of %v differ:\n%s", key, text)
		}
	}
}

package cluster_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/berth-net/berth/internal/vpcsim"
	"github.com/berth-net/berth/internal/vpcsim/ec2"
	"github.com/berth-net/berth/lab/internal/cluster"
)

var operator = vpcsim.Caller{Account: "111122223333", Source: "eksctl"}

func build(t *testing.T) (*vpcsim.Sim, cluster.Built) {
	t.Helper()
	p, err := cluster.NewPlan(parse(t, story))
	if err != nil {
		t.Fatal(err)
	}
	sim := vpcsim.New(vpcsim.Options{Region: "us-west-2", Account: "111122223333", Seed: 1})
	built, err := cluster.Build(sim, operator, p)
	if err != nil {
		t.Fatal(err)
	}
	return sim, built
}

func TestBuild(t *testing.T) {
	sim, built := build(t)
	var got strings.Builder
	out, err := sim.DescribeSubnets(operator, ec2.DescribeSubnetsInput{
		Filters: []ec2.Filter{{Name: "tag:Name", Values: []string{"eksctl-eks-enhsubsel-demo-cluster/SubnetPrivate*"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	free := map[string]int{}
	for _, s := range out.Subnets {
		free[s.CidrBlock] = s.AvailableIpAddressCount
	}
	for _, block := range []string{"10.0.0.96/27", "10.0.0.128/27", "10.0.0.160/27"} {
		fmt.Fprintf(&got, "%s has %d addresses free\n", block, free[block])
	}
	for _, n := range built.Nodes {
		want := "ip-" + strings.ReplaceAll(n.Address.String(), ".", "-") + ".us-west-2.compute.internal"
		if n.Name != want || !n.Subnet.Contains(n.Address) || n.MAC == "" {
			t.Errorf("%+v", n)
		}
		fmt.Fprintf(&got, "node in %s, %s, %d pods\n", n.Zone, n.Type, n.MaxPods)
	}
	want := `10.0.0.96/27 has 26 addresses free
10.0.0.128/27 has 25 addresses free
10.0.0.160/27 has 26 addresses free
node in us-west-2a, m6a.large, 29 pods
node in us-west-2b, m6a.large, 29 pods
`
	if diff := cmp.Diff(want, got.String()); diff != "" {
		t.Error(diff)
	}
}

func TestBuiltNetwork(t *testing.T) {
	sim, built := build(t)
	top := sim.Topology()
	if len(top.VPCs) != 1 || len(top.Subnets) != 6 || len(top.NATGateways) != 1 || len(top.Instances) != 4 {
		t.Fatalf("%d VPCs, %d subnets, %d NAT gateways, %d instances", len(top.VPCs), len(top.Subnets), len(top.NATGateways), len(top.Instances))
	}
	for _, s := range top.Subnets {
		targets := map[vpcsim.RouteTarget]int{}
		for _, r := range s.Routes {
			targets[r.Target]++
		}
		public := false
		for _, b := range built.Subnets {
			public = public || b.ID == s.ID && b.Public
		}
		want := map[vpcsim.RouteTarget]int{vpcsim.RouteLocal: 1, vpcsim.RouteNAT: 1}
		if public {
			want = map[vpcsim.RouteTarget]int{vpcsim.RouteLocal: 1, vpcsim.RouteInternet: 1}
		}
		if diff := cmp.Diff(want, targets); diff != "" {
			t.Errorf("routes of %s: %s", s.CIDR, diff)
		}
	}
	for _, i := range top.Interfaces {
		if i.Instance != "" && len(i.Groups) == 0 {
			t.Errorf("interface %s has no security group", i.ID)
		}
	}
}

func TestLaunchAndTerminate(t *testing.T) {
	sim, built := build(t)
	i, err := cluster.Launch(sim, operator, cluster.Request{Subnet: built.Subnets[3], Type: "t3.medium", Tags: map[string]string{"Name": "x"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := cluster.Terminate(sim, operator, i.ID); err != nil {
		t.Fatal(err)
	}
	if err := cluster.Terminate(sim, operator, "i-0123456789abcdef0"); err == nil {
		t.Error("an instance that is not there can be terminated")
	}
}

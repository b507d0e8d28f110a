package cluster_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/berth-net/berth/lab/internal/cluster"
)

const story = `
apiVersion: eksctl.io/v1alpha5
kind: ClusterConfig
metadata:
  name: eks-enhsubsel-demo
  region: us-west-2
  version: "1.29"
vpc:
  cidr: 10.0.0.0/24
addons:
- name: vpc-cni
  version: 1.18.0
- name: coredns
- name: kube-proxy
managedNodeGroups:
- name: eks-enhsubsel-demo-mng
  instanceType: m6a.large
  privateNetworking: true
  minSize: 2
  desiredCapacity: 2
  maxSize: 5
`

func parse(t *testing.T, text string) cluster.Config {
	t.Helper()
	c, warnings, err := cluster.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if len(warnings) > 0 {
		t.Fatal(warnings)
	}
	return c
}

func TestPlanOfTheStory(t *testing.T) {
	p, err := cluster.NewPlan(parse(t, story))
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	for _, s := range p.Subnets {
		fmt.Fprintf(&got, "%s %s %s\n", s.Name, s.CIDR, s.Zone)
	}
	for _, n := range p.Nodes {
		fmt.Fprintf(&got, "node in %s, %d pods\n", p.Subnets[n.Subnet].Name, n.MaxPods)
	}
	for _, i := range p.ControlPlane {
		fmt.Fprintf(&got, "control plane in %s\n", p.Subnets[i].Name)
	}
	want := `SubnetPublicUSWEST2A 10.0.0.0/27 us-west-2a
SubnetPublicUSWEST2B 10.0.0.32/27 us-west-2b
SubnetPublicUSWEST2C 10.0.0.64/27 us-west-2c
SubnetPrivateUSWEST2A 10.0.0.96/27 us-west-2a
SubnetPrivateUSWEST2B 10.0.0.128/27 us-west-2b
SubnetPrivateUSWEST2C 10.0.0.160/27 us-west-2c
node in SubnetPrivateUSWEST2A, 29 pods
node in SubnetPrivateUSWEST2B, 29 pods
control plane in SubnetPrivateUSWEST2C
control plane in SubnetPrivateUSWEST2B
`
	if diff := cmp.Diff(want, got.String()); diff != "" {
		t.Error(diff)
	}
}

func TestParse(t *testing.T) {
	for _, test := range []struct {
		name, old, new string
		want           []string // in the error
		warn           string
	}{
		{name: "unknown field warns", old: "vpc:\n", new: "vpc:\n  publicAccessCIDRs: []\n", warn: "vpc.publicAccessCIDRs: the lab does not know this field and goes on without it"},
		{name: "unknown top field warns", old: "vpc:\n", new: "cloudWatch: {}\nvpc:\n", warn: "cloudWatch: the lab does not know"},
		{name: "wrong kind", old: "kind: ClusterConfig", new: "kind: Cluster", want: []string{`kind: want ClusterConfig, got "Cluster"`}},
		{name: "no region", old: "us-west-2", new: "west", want: []string{"metadata.region: want a region"}},
		{name: "not a block", old: "10.0.0.0/24", new: "10.0.0.0", want: []string{`vpc.cidr: want an IPv4 block such as 10.0.0.0/16, got "10.0.0.0"`}},
		{name: "too small", old: "10.0.0.0/24", new: "10.0.0.0/26", want: []string{"vpc.cidr: want a block from /16 to /24, got 10.0.0.0/26"}},
		{name: "text for a number", old: "desiredCapacity: 2", new: "desiredCapacity: two", want: []string{`managedNodeGroups[0].desiredCapacity: want a whole number, got the text "two"`}},
		{name: "half a node", old: "desiredCapacity: 2", new: "desiredCapacity: 2.5", want: []string{"want a whole number, got 2.5"}},
		{name: "sizes", old: "maxSize: 5", new: "maxSize: 1", want: []string{"managedNodeGroups[0].desiredCapacity: want minSize <= desiredCapacity <= maxSize, got 2 <= 2 <= 1"}},
		{name: "unknown instance type", old: "m6a.large", new: "m6a.lrge", want: []string{`managedNodeGroups[0].instanceType: no instance type that the lab knows the limits of: "m6a.lrge"`}},
		{name: "all errors at once", old: "cidr: 10.0.0.0/24", new: "cidr: [1]\n  nat: {gateway: Two}", want: []string{"vpc.cidr: want text, got a list", `vpc.nat.gateway: want Single`}},
		{name: "an existing VPC", old: "cidr: 10.0.0.0/24", new: "id: vpc-1", want: []string{"vpc: the lab makes a VPC of its own"}},
		{name: "addon without a name", old: "- name: coredns", new: "- version: x", want: []string{"addons[1].name: is missing"}},
		{name: "zones elsewhere", old: "vpc:\n", new: "availabilityZones: [eu-west-1a, us-west-2b]\nvpc:\n", want: []string{`availabilityZones: want zones of us-west-2 such as us-west-2a, got "eu-west-1a"`}},
	} {
		t.Run(test.name, func(t *testing.T) {
			text := strings.Replace(story, test.old, test.new, 1)
			if text == story {
				t.Fatal("the case changes nothing")
			}
			_, warnings, err := cluster.Parse([]byte(text))
			if test.warn != "" && !strings.Contains(strings.Join(warnings, "\n"), test.warn) {
				t.Errorf("warnings %q, want %q", warnings, test.warn)
			}
			if len(test.want) == 0 {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			for _, want := range test.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("error %v, want %q in it", err, want)
				}
			}
		})
	}
}

func TestPlanRefusesMoreNodesThanAddresses(t *testing.T) {
	c := parse(t, strings.NewReplacer("desiredCapacity: 2", "desiredCapacity: 12", "maxSize: 5", "maxSize: 12").Replace(story))
	c.NodeGroups = append(c.NodeGroups, c.NodeGroups...)
	c.NodeGroups = append(c.NodeGroups, c.NodeGroups...)
	c.NodeGroups = append(c.NodeGroups, c.NodeGroups...) // 96 nodes in three subnets of 27
	if _, err := cluster.NewPlan(c); err == nil || !strings.Contains(err.Error(), "choose a larger vpc.cidr") {
		t.Errorf("error %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(story))
	f.Add([]byte("a: [1]\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, _, err := cluster.Parse(data)
		if err != nil {
			return
		}
		if _, err := cluster.NewPlan(c); err != nil {
			t.Skip(err)
		}
	})
}

package subnet_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/berth-net/berth/internal/core/subnet"
	"github.com/berth-net/berth/internal/core/vpc"
)

func TestGroups(t *testing.T) {
	const (
		forB = vpc.TagGroupSubnetPrefix + "subnet-b"
		forC = vpc.TagGroupSubnetPrefix + "subnet-c"
		demo = vpc.TagCNIClusterPrefix + "demo"
		prod = vpc.TagCNIClusterPrefix + "prod"
	)
	role := func(value string, more ...string) vpc.Tags {
		tags := vpc.Tags{vpc.TagCNIRole: value}
		for _, k := range more {
			tags[k] = "1"
		}
		return tags
	}
	tests := []struct {
		name   string
		subnet vpc.SubnetID
		tags   map[vpc.SecurityGroupID]vpc.Tags
		change func(*subnet.Rules)
		want   string
		why    subnet.Why
	}{
		{"no groups", "subnet-b", nil, nil, "[sg-primary]", subnet.Primary},
		{"one for all subnets", "subnet-b", map[vpc.SecurityGroupID]vpc.Tags{"sg-1": role("1")}, nil, "[sg-1]", subnet.Tagged},
		{"in order", "subnet-b", map[vpc.SecurityGroupID]vpc.Tags{"sg-2": role("yes"), "sg-1": role("1")}, nil, "[sg-1 sg-2]", subnet.Tagged},
		{"excluded, empty and untagged", "subnet-b", map[vpc.SecurityGroupID]vpc.Tags{"sg-1": role("0"), "sg-2": role(""), "sg-3": nil}, nil, "[sg-primary]", subnet.Primary},
		{"excluded though named for the subnet", "subnet-b", map[vpc.SecurityGroupID]vpc.Tags{"sg-1": role("0", forB)}, nil, "[sg-primary]", subnet.Primary},
		{"for this subnet", "subnet-b", map[vpc.SecurityGroupID]vpc.Tags{"sg-1": role("1", forB), "sg-2": role("1", forC), "sg-3": role("1", forB, forC)}, nil, "[sg-1 sg-3]", subnet.Tagged},
		{"for another subnet only", "subnet-b", map[vpc.SecurityGroupID]vpc.Tags{"sg-2": role("1", forC)}, nil, "[sg-primary]", subnet.Primary},
		{"for this cluster", "subnet-b", map[vpc.SecurityGroupID]vpc.Tags{"sg-1": role("1", demo), "sg-2": role("1", prod), "sg-3": role("1", demo, prod)}, nil, "[sg-1 sg-3]", subnet.Tagged},
		{"for another cluster, for this subnet", "subnet-b", map[vpc.SecurityGroupID]vpc.Tags{"sg-1": role("1", prod, forB)}, nil, "[sg-primary]", subnet.Primary},
		{"the cluster has no name", "subnet-b", map[vpc.SecurityGroupID]vpc.Tags{"sg-1": role("1", prod)}, func(r *subnet.Rules) { r.Cluster = "" }, "[sg-1]", subnet.Tagged},
		{"the node's own subnet", "subnet-a", map[vpc.SecurityGroupID]vpc.Tags{"sg-1": role("1")}, nil, "[sg-primary]", subnet.Primary},
		{"the node's own subnet, named", "subnet-a", map[vpc.SecurityGroupID]vpc.Tags{"sg-1": role("1", vpc.TagGroupSubnetPrefix+"subnet-a")}, nil, "[sg-primary]", subnet.Primary},
		{"discovery is off", "subnet-b", map[vpc.SecurityGroupID]vpc.Tags{"sg-1": role("1")}, func(r *subnet.Rules) { r.Discovery = false }, "[sg-primary]", subnet.Primary},
		{"custom networking has its own", "subnet-b", map[vpc.SecurityGroupID]vpc.Tags{"sg-1": role("1")}, func(r *subnet.Rules) { r.Custom = true }, "[sg-primary]", subnet.Primary},
		{"of another VPC", "subnet-b", map[vpc.SecurityGroupID]vpc.Tags{"sg-1": role("1")}, func(r *subnet.Rules) { r.VPC = "vpc-2" }, "[sg-primary]", subnet.Primary},
		{
			"five are allowed", "subnet-b",
			map[vpc.SecurityGroupID]vpc.Tags{"sg-1": role("1"), "sg-2": role("1"), "sg-3": role("1"), "sg-4": role("1"), "sg-5": role("1")},
			nil, "[sg-1 sg-2 sg-3 sg-4 sg-5]", subnet.Tagged,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := subnet.Rules{VPC: "vpc-1", Primary: "subnet-a", Cluster: "demo", Discovery: true}
			if tt.change != nil {
				tt.change(&r)
			}
			var groups []vpc.SecurityGroup
			for id, tags := range tt.tags { // in any order
				groups = append(groups, vpc.SecurityGroup{ID: id, VPC: "vpc-1", Tags: tags})
			}
			got, why, err := subnet.Groups(r, tt.subnet, groups, []vpc.SecurityGroupID{"sg-primary"}, 5)
			if diff := cmp.Diff(tt.want, fmt.Sprint(got)); diff != "" || err != nil || why != tt.why {
				t.Errorf("%s, %v\n%s", why, err, diff)
			}
		})
	}
}

func TestTooManyGroupsAreNotCutShort(t *testing.T) {
	var groups []vpc.SecurityGroup
	for i := range 6 {
		groups = append(groups, vpc.SecurityGroup{ID: vpc.SecurityGroupID(fmt.Sprint("sg-", i)), VPC: "vpc-1", Tags: vpc.Tags{vpc.TagCNIRole: "1"}})
	}
	r := subnet.Rules{VPC: "vpc-1", Primary: "subnet-a", Discovery: true}
	got, _, err := subnet.Groups(r, "subnet-b", groups, nil, 5)
	many, ok := errors.AsType[*subnet.TooManyGroupsError](err)
	if !ok || len(many.Groups) != 6 || got != nil || !strings.Contains(err.Error(), "subnet-b") {
		t.Fatalf("%v, %v", got, err)
	}
	slices.Reverse(groups)
	if _, _, again := subnet.Groups(r, "subnet-b", groups, nil, 5); again == nil || again.Error() != err.Error() {
		t.Errorf("in another order: %v", again)
	}
	if got, _, err := subnet.Groups(r, "subnet-b", groups, nil, subnet.MostGroupsPerENI); err != nil || len(got) != 6 {
		t.Errorf("with the quota raised: %v, %v", got, err)
	}
}

package subnet_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/berth-net/berth/internal/core/subnet"
	"github.com/berth-net/berth/internal/core/vpc"
)

var rules = subnet.Rules{VPC: "vpc-1", Zone: "us-west-2a", Primary: "subnet-primary", Cluster: "demo", Discovery: true}

func in(id vpc.SubnetID, tags vpc.Tags) vpc.Subnet {
	return vpc.Subnet{ID: id, VPC: "vpc-1", Zone: "us-west-2a", Available: true, Free: 100, Tags: tags}
}

func TestJudge(t *testing.T) {
	const cluster = vpc.TagCNIClusterPrefix
	off := rules
	off.Discovery = false
	nameless := rules
	nameless.Cluster = ""
	elsewhere := in("subnet-2", vpc.Tags{vpc.TagCNIRole: "1"})
	elsewhere.Zone = "us-west-2b"
	pending := in("subnet-2", vpc.Tags{vpc.TagCNIRole: "1"})
	pending.Available = false

	tests := []struct {
		name   string
		rules  subnet.Rules
		subnet vpc.Subnet
		usable bool
		why    subnet.Why
		barred bool
	}{
		{"primary without a tag", rules, in("subnet-primary", nil), true, subnet.Primary, false},
		{"primary with an empty tag", rules, in("subnet-primary", vpc.Tags{vpc.TagCNIRole: ""}), true, subnet.Primary, false},
		{"primary excluded", rules, in("subnet-primary", vpc.Tags{vpc.TagCNIRole: "0"}), false, subnet.Excluded, true},
		{"primary untagged, cluster tag of another", rules, in("subnet-primary", vpc.Tags{cluster + "other": "x"}), true, subnet.Primary, false},
		{"other untagged", rules, in("subnet-2", nil), false, subnet.Untagged, false},
		{"other tagged", rules, in("subnet-2", vpc.Tags{vpc.TagCNIRole: "1"}), true, subnet.Tagged, false},
		{"any non-zero value includes", rules, in("subnet-2", vpc.Tags{vpc.TagCNIRole: "shared"}), true, subnet.Tagged, false},
		{"tagged for us", rules, in("subnet-2", vpc.Tags{vpc.TagCNIRole: "1", cluster + "demo": "shared"}), true, subnet.Tagged, false},
		{"tagged for us and another", rules, in("subnet-2", vpc.Tags{vpc.TagCNIRole: "1", cluster + "demo": "", cluster + "b": ""}), true, subnet.Tagged, false},
		{"tagged for another", rules, in("subnet-2", vpc.Tags{vpc.TagCNIRole: "1", cluster + "b": ""}), false, subnet.OtherCluster, true},
		{"cluster name unset ignores cluster tags", nameless, in("subnet-2", vpc.Tags{vpc.TagCNIRole: "1", cluster + "b": ""}), true, subnet.Tagged, false},
		{"another zone", rules, elsewhere, false, subnet.Elsewhere, false},
		{"pending", rules, pending, false, subnet.Unavailable, false},
		{"discovery off, tagged", off, in("subnet-2", vpc.Tags{vpc.TagCNIRole: "1"}), false, subnet.DiscoveryOff, false},
		{"discovery off, primary excluded", off, in("subnet-primary", vpc.Tags{vpc.TagCNIRole: "0"}), true, subnet.Primary, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			usable, why := subnet.Judge(tt.rules, tt.subnet)
			if usable != tt.usable || why != tt.why {
				t.Errorf("Judge = %t %s, want %t %s", usable, why, tt.usable, tt.why)
			}
			if barred := subnet.Barred(tt.rules, tt.subnet); barred != tt.barred {
				t.Errorf("Barred = %t, want %t", barred, tt.barred)
			}
		})
	}
}

func TestOrder(t *testing.T) {
	small, large, tie := in("subnet-b", vpc.Tags{vpc.TagCNIRole: "1"}), in("subnet-c", vpc.Tags{vpc.TagCNIRole: "1"}), in("subnet-a", vpc.Tags{vpc.TagCNIRole: "1"})
	small.Free, large.Free, tie.Free = 7, 8187, 7
	var ids []vpc.SubnetID
	for _, s := range subnet.Order(rules, []vpc.Subnet{small, in("subnet-x", nil), large, tie}) {
		ids = append(ids, s.ID)
	}
	if diff := cmp.Diff([]vpc.SubnetID{"subnet-c", "subnet-a", "subnet-b"}, ids); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
}

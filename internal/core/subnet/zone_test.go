package subnet_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/berth-net/berth/internal/core/subnet"
	"github.com/berth-net/berth/internal/core/vpc"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// stock is the zone of a node in subnet-a, with subnet-b tagged beside it and subnet-c excluded.
func stock(t *testing.T, freeA, freeB int) (*subnet.Zone, []vpc.Subnet) {
	t.Helper()
	z := subnet.NewZone(subnet.Rules{VPC: "vpc-1", Zone: "us-west-2a", Primary: "subnet-a", Discovery: true})
	one := func(id vpc.SubnetID, cidr string, free int, role string) vpc.Subnet {
		return vpc.Subnet{ID: id, VPC: "vpc-1", Zone: "us-west-2a", CIDR: netip.MustParsePrefix(cidr), Free: free, Available: true, Tags: vpc.Tags{vpc.TagCNIRole: role}}
	}
	list := []vpc.Subnet{one("subnet-a", "10.0.0.0/24", freeA, ""), one("subnet-b", "10.0.1.0/24", freeB, "1"), one("subnet-c", "10.0.2.0/24", 9, "0")}
	if !z.Read(list, noon, map[vpc.SubnetID]int{}) {
		t.Error("the first answer is no news")
	}
	return z, list
}

func TestZone(t *testing.T) {
	read := func(z *subnet.Zone, list []vpc.Subnet, after time.Duration) {
		z.Read(list, noon.Add(after), map[vpc.SubnetID]int{})
	}
	tests := []struct {
		name   string
		change func(*subnet.Zone, []vpc.Subnet)
		want   string
		order  []vpc.SubnetID
	}{
		{
			"as read", func(*subnet.Zone, []vpc.Subnet) {},
			"subnet-a 10.0.0.0/24 has 20 free, subnet-b 10.0.1.0/24 has 10 free, subnet-c 10.0.2.0/24 is not used (excluded)",
			[]vpc.SubnetID{"subnet-a", "subnet-b"},
		},
		{
			"what was taken counts", func(z *subnet.Zone, _ []vpc.Subnet) { z.Take("subnet-a", 15) },
			"subnet-a 10.0.0.0/24 has 5 free, subnet-b 10.0.1.0/24 has 10 free, subnet-c 10.0.2.0/24 is not used (excluded)",
			[]vpc.SubnetID{"subnet-b", "subnet-a"},
		},
		{
			"EC2's word outweighs the count", func(z *subnet.Zone, list []vpc.Subnet) { z.Refused("subnet-a", noon); read(z, list, 5*time.Second) },
			"subnet-a 10.0.0.0/24 has no free address, subnet-b 10.0.1.0/24 has 10 free, subnet-c 10.0.2.0/24 is not used (excluded)",
			[]vpc.SubnetID{"subnet-b"},
		},
		{
			"until the count had time", func(z *subnet.Zone, list []vpc.Subnet) { z.Refused("subnet-a", noon); read(z, list, 31*time.Second) },
			"subnet-a 10.0.0.0/24 has 20 free, subnet-b 10.0.1.0/24 has 10 free, subnet-c 10.0.2.0/24 is not used (excluded)",
			[]vpc.SubnetID{"subnet-a", "subnet-b"},
		},
		{
			"or moved up", func(z *subnet.Zone, list []vpc.Subnet) {
				z.Refused("subnet-a", noon)
				list[0].Free++
				read(z, list, 5*time.Second)
			},
			"subnet-a 10.0.0.0/24 has 21 free, subnet-b 10.0.1.0/24 has 10 free, subnet-c 10.0.2.0/24 is not used (excluded)",
			[]vpc.SubnetID{"subnet-a", "subnet-b"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			z, list := stock(t, 20, 10)
			again := append([]vpc.Subnet{}, list...)
			tt.change(z, again)
			if diff := cmp.Diff(tt.want, z.String()); diff != "" {
				t.Errorf("subnets (-want +got):\n%s", diff)
			}
			var order []vpc.SubnetID
			for _, sn := range z.Candidates(noon.Add(40 * time.Second)) {
				order = append(order, sn.ID)
			}
			if diff := cmp.Diff(tt.order, order); diff != "" {
				t.Errorf("candidates (-want +got):\n%s", diff)
			}
		})
	}
}

func TestZoneThatMayNotBeReadIsTheNodesOwnSubnet(t *testing.T) {
	z := subnet.NewZone(subnet.Rules{VPC: "vpc-1", Zone: "us-west-2a", Primary: "subnet-a", Discovery: true})
	if got := z.Candidates(noon); len(got) != 0 || z.Told() {
		t.Errorf("before the answer: %v", got)
	}
	z.Deny(true)
	if got := z.Candidates(noon); len(got) != 1 || got[0].Free != subnet.Unknown {
		t.Errorf("denied: %v", got)
	}
	z.Refused("subnet-a", noon)
	if got := z.Candidates(noon.Add(time.Second)); len(got) != 0 {
		t.Errorf("after EC2 called it full: %v", got)
	}
	if got := z.Candidates(noon.Add(time.Minute)); len(got) != 1 {
		t.Errorf("a minute later: %v", got)
	}
}

package vpcsim_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/berth-net/berth/internal/vpcsim"
	"github.com/berth-net/berth/internal/vpcsim/ec2"
	"github.com/berth-net/berth/internal/vpcsim/pacing"
)

// fleet is a region with many instances, each with a primary and two more interfaces of four addresses.
type fleet struct {
	*vpcsim.Sim
	vpc       string
	subnets   []string
	instances []string
	enis      []string // of the instances, without the primary ones
}

// frozen is a clock that stands unless it is moved.
type frozen struct{ now time.Time }

func (f *frozen) Now() time.Time { return f.now }

func newFleet(tb testing.TB, size int, settings vpcsim.Settings) *fleet {
	tb.Helper()
	settings.Quotas.Interfaces, settings.Quotas.Instances = 100_000, 100_000
	clock := &frozen{time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	f := &fleet{Sim: vpcsim.New(vpcsim.Options{Seed: 1, Clock: clock, Settings: settings})}
	must := func(err error) {
		if err != nil {
			tb.Helper()
			tb.Fatal(err)
		}
	}
	v, err := f.CreateVpc(operator, ec2.CreateVpcInput{CidrBlock: "10.0.0.0/16"})
	must(err)
	f.vpc = v.Vpc.VpcId
	for i := range 4 {
		n, err := f.CreateSubnet(operator, ec2.CreateSubnetInput{VpcId: f.vpc, CidrBlock: fmt.Sprintf("10.0.%d.0/18", 64*i), AvailabilityZone: "us-west-2a"})
		must(err)
		f.subnets = append(f.subnets, n.Subnet.SubnetId)
	}
	one, three := 1, 3
	for i := range size {
		subnet := f.subnets[i%4]
		out, err := f.RunInstances(operator, ec2.RunInstancesInput{ImageId: "ami-0123456789abcdef0", InstanceType: "m5.large", SubnetId: subnet, MinCount: &one, MaxCount: &one})
		must(err)
		id := out.Instances[0].InstanceId
		f.instances = append(f.instances, id)
		for device := 1; device <= 2; device++ {
			e, err := f.CreateNetworkInterface(operator, ec2.CreateNetworkInterfaceInput{
				SubnetId: subnet, SecondaryPrivateIpAddressCount: &three, ClientToken: fmt.Sprint(id, device),
				TagSpecifications: []ec2.TagSpecification{{ResourceType: "network-interface", Tags: []ec2.Tag{{Key: "node.k8s.amazonaws.com/instance_id", Value: id}, {Key: "cluster.k8s.amazonaws.com/name", Value: "demo"}}}},
			})
			must(err)
			f.enis = append(f.enis, e.NetworkInterface.NetworkInterfaceId)
			_, err = f.AttachNetworkInterface(operator, ec2.AttachNetworkInterfaceInput{NetworkInterfaceId: e.NetworkInterface.NetworkInterfaceId, InstanceId: id, DeviceIndex: &device})
			must(err)
		}
	}
	clock.now = clock.now.Add(time.Hour) // all that lags has arrived
	return f
}

// queries are the ways in which nodes ask for interfaces, and how many of them each answer has.
func (f *fleet) queries() []struct {
	name string
	in   ec2.DescribeNetworkInterfacesInput
	want int
} {
	by := func(pairs ...string) ec2.DescribeNetworkInterfacesInput {
		var in ec2.DescribeNetworkInterfacesInput
		for i := 0; i < len(pairs); i += 2 {
			in.Filters = append(in.Filters, ec2.Filter{Name: pairs[i], Values: []string{pairs[i+1]}})
		}
		return in
	}
	const tag = "node.k8s.amazonaws.com/instance_id"
	n := len(f.instances)
	return []struct {
		name string
		in   ec2.DescribeNetworkInterfacesInput
		want int
	}{
		{"of an instance", by("attachment.instance-id", f.instances[n/2]), 3},
		{"by id", by("network-interface-id", f.enis[n/2]), 1},
		{"available", by("vpc-id", f.vpc, "status", "available", "tag-key", tag), 0},
		{"available of an instance", by("vpc-id", f.vpc, "status", "available", "tag:"+tag, f.instances[n/3]), 0},
		{"of a subnet", by("subnet-id", f.subnets[1]), 3 * n / 4},
	}
}

// lags are the delays of a region at work.
func lags() vpcsim.Settings {
	second := pacing.Fixed(time.Second)
	return vpcsim.Settings{DescribeLag: second, FreeCountLag: second, TagLag: second, MetadataAdd: second, MetadataRemove: second}
}

func BenchmarkFleet(b *testing.B) {
	for _, way := range []struct {
		name     string
		settings vpcsim.Settings
	}{{"at once", vpcsim.Settings{}}, {"lagging", lags()}} {
		f := newFleet(b, 5000, way.settings)
		for _, q := range f.queries() {
			b.Run(way.name+"/"+q.name, func(b *testing.B) {
				for b.Loop() {
					out, err := f.DescribeNetworkInterfaces(operator, q.in)
					if err != nil || len(out.NetworkInterfaces) != q.want {
						b.Fatalf("%d interfaces, %v; want %d", len(out.NetworkInterfaces), err, q.want)
					}
				}
			})
		}
		b.Run(way.name+"/subnets", func(b *testing.B) {
			for b.Loop() {
				if _, err := f.DescribeSubnets(operator, ec2.DescribeSubnetsInput{}); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(way.name+"/assign and unassign", func(b *testing.B) {
			one := 1
			for b.Loop() {
				out, err := f.AssignPrivateIpAddresses(operator, ec2.AssignPrivateIpAddressesInput{NetworkInterfaceId: f.enis[7], SecondaryPrivateIpAddressCount: &one})
				if err == nil {
					_, err = f.UnassignPrivateIpAddresses(operator, ec2.UnassignPrivateIpAddressesInput{NetworkInterfaceId: f.enis[7], PrivateIpAddresses: []string{out.AssignedPrivateIpAddresses[0].PrivateIpAddress}})
				}
				if err != nil {
					b.Fatal(err)
				}
			}
		})
		wide := f.wide(b)
		b.Run(way.name+"/prefix", func(b *testing.B) {
			one := 1
			for b.Loop() {
				out, err := f.AssignPrivateIpAddresses(operator, ec2.AssignPrivateIpAddressesInput{NetworkInterfaceId: wide, Ipv4PrefixCount: &one})
				if err == nil {
					_, err = f.UnassignPrivateIpAddresses(operator, ec2.UnassignPrivateIpAddressesInput{NetworkInterfaceId: wide, Ipv4Prefixes: []string{out.AssignedIpv4Prefixes[0].Ipv4Prefix}})
				}
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// wide makes an interface in a /16 of a second block.
func (f *fleet) wide(tb testing.TB) string {
	tb.Helper()
	_, err := f.AssociateVpcCidrBlock(operator, ec2.AssociateVpcCidrBlockInput{VpcId: f.vpc, CidrBlock: "100.64.0.0/16"})
	if err != nil {
		tb.Fatal(err)
	}
	n, err := f.CreateSubnet(operator, ec2.CreateSubnetInput{VpcId: f.vpc, CidrBlock: "100.64.0.0/16", AvailabilityZone: "us-west-2b"})
	if err != nil {
		tb.Fatal(err)
	}
	e, err := f.CreateNetworkInterface(operator, ec2.CreateNetworkInterfaceInput{SubnetId: n.Subnet.SubnetId})
	if err != nil {
		tb.Fatal(err)
	}
	return e.NetworkInterface.NetworkInterfaceId
}

// What a node asks for costs the same in a large region as in a small one.
func TestQueriesDoNotGrowWithTheRegion(t *testing.T) {
	for _, way := range []struct {
		name     string
		settings vpcsim.Settings
	}{{"at once", vpcsim.Settings{}}, {"lagging", lags()}} {
		small, large := newFleet(t, 8, way.settings), newFleet(t, 160, way.settings)
		for i, q := range large.queries() {
			cost := func(f *fleet) float64 {
				in := f.queries()[i].in
				return testing.AllocsPerRun(5, func() {
					if _, err := f.DescribeNetworkInterfaces(operator, in); err != nil {
						t.Fatal(err)
					}
				})
			}
			if a, b := cost(small), cost(large); q.want < 10 && b > a+5 {
				t.Errorf("%s, %s: %.0f allocations among 8 instances, %.0f among 160", way.name, q.name, a, b)
			}
		}
	}
}

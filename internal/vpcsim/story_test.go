package vpcsim_test

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/berth-net/berth/internal/core/vpc"
	"github.com/berth-net/berth/internal/vpcsim"
	"github.com/berth-net/berth/internal/vpcsim/ec2"
	"github.com/berth-net/berth/internal/vpcsim/pacing"
)

// clock is a clock that a test moves by hand.
type clock struct{ now time.Time }

func (c *clock) Now() time.Time { return c.now }

func (c *clock) add(d time.Duration) { c.now = c.now.Add(d) }

var operator = vpcsim.Caller{Source: "operator"}

// world is a region with what most tests need: a VPC of 10.0.0.0/16, a subnet of 10.0.0.0/24 and an m6a.large.
type world struct {
	*vpcsim.Sim
	clock             *clock
	vpc, subnet, node string
}

func newWorld(t testing.TB, o vpcsim.Options) *world {
	t.Helper()
	w := &world{clock: &clock{now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}}
	o.Clock = w.clock
	if o.Seed == 0 {
		o.Seed = 1
	}
	w.Sim = vpcsim.New(o)
	v, err := w.CreateVpc(operator, ec2.CreateVpcInput{CidrBlock: "10.0.0.0/16"})
	must(t, err)
	w.vpc = v.Vpc.VpcId
	w.subnet = w.newSubnet(t, "10.0.0.0/24")
	w.node = w.launch(t, "m6a.large")
	return w
}

func (w *world) newSubnet(t testing.TB, cidr string) string {
	t.Helper()
	out, err := w.CreateSubnet(operator, ec2.CreateSubnetInput{VpcId: w.vpc, CidrBlock: cidr})
	must(t, err)
	return out.Subnet.SubnetId
}

func (w *world) launch(t testing.TB, instanceType string) string {
	t.Helper()
	out, err := w.RunInstances(operator, ec2.RunInstancesInput{
		ImageId: "ami-1", InstanceType: instanceType, SubnetId: w.subnet, MinCount: new(1), MaxCount: new(1),
	})
	must(t, err)
	return out.Instances[0].InstanceId
}

func (w *world) newENI(t testing.TB, in ec2.CreateNetworkInterfaceInput) ec2.NetworkInterface {
	t.Helper()
	if in.SubnetId == "" {
		in.SubnetId = w.subnet
	}
	out, err := w.CreateNetworkInterface(operator, in)
	must(t, err)
	return out.NetworkInterface
}

func (w *world) attach(t testing.TB, eni string, device int) string {
	t.Helper()
	out, err := w.AttachNetworkInterface(operator, ec2.AttachNetworkInterfaceInput{
		NetworkInterfaceId: eni, InstanceId: w.node, DeviceIndex: &device,
	})
	must(t, err)
	return out.AttachmentId
}

// primary is the node's own interface.
func (w *world) primary(t testing.TB) ec2.NetworkInterface {
	t.Helper()
	out, err := w.DescribeNetworkInterfaces(operator, ec2.DescribeNetworkInterfacesInput{Filters: []ec2.Filter{
		{Name: "attachment.instance-id", Values: []string{w.node}}, {Name: "attachment.device-index", Values: []string{"0"}},
	}})
	must(t, err)
	return out.NetworkInterfaces[0]
}

func (w *world) describe(t testing.TB, eni string) ec2.NetworkInterface {
	t.Helper()
	out, err := w.DescribeNetworkInterfaces(operator, ec2.DescribeNetworkInterfacesInput{NetworkInterfaceIds: []string{eni}})
	must(t, err)
	return out.NetworkInterfaces[0]
}

func (w *world) free(t testing.TB, subnet string) int {
	t.Helper()
	out, err := w.DescribeSubnets(operator, ec2.DescribeSubnetsInput{SubnetIds: []string{subnet}})
	must(t, err)
	return out.Subnets[0].AvailableIpAddressCount
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func code(err error) string {
	if e, ok := errors.AsType[*vpcsim.APIError](err); ok {
		return e.Code
	}
	if err != nil {
		return err.Error()
	}
	return ""
}

// TestWalkthrough is the story of subnets that run out: fill, add a block, tag subnets, attach from them.
func TestWalkthrough(t *testing.T) {
	w := newWorld(t, vpcsim.Options{Settings: vpcsim.Settings{AssociateBlock: pacing.Fixed(2 * time.Second)}})
	small := w.newSubnet(t, "10.0.1.0/27")
	if got := w.free(t, small); got != 27 {
		t.Fatalf("%d free in a /27", got)
	}
	eni := w.newENI(t, ec2.CreateNetworkInterfaceInput{SubnetId: small, SecondaryPrivateIpAddressCount: new(26)})
	if got := w.free(t, small); got != 0 {
		t.Fatalf("%d free after 27 addresses", got)
	}
	_, err := w.CreateNetworkInterface(operator, ec2.CreateNetworkInterfaceInput{SubnetId: small})
	if code(err) != "InsufficientFreeAddressesInSubnet" {
		t.Fatalf("full subnet: %v", err)
	}
	_, err = w.DeleteNetworkInterface(operator, ec2.DeleteNetworkInterfaceInput{NetworkInterfaceId: eni.NetworkInterfaceId})
	must(t, err)

	a, err := w.AssociateVpcCidrBlock(operator, ec2.AssociateVpcCidrBlockInput{VpcId: w.vpc, CidrBlock: "10.1.0.0/16"})
	must(t, err)
	if got := a.CidrBlockAssociation.CidrBlockState.State; got != "associating" {
		t.Errorf("new block is %s", got)
	}
	create := ec2.CreateSubnetInput{
		VpcId: w.vpc, CidrBlock: "10.1.0.5/19", AvailabilityZone: "us-west-2a",
		TagSpecifications: []ec2.TagSpecification{{ResourceType: "subnet", Tags: []ec2.Tag{{Key: vpc.TagCNIRole, Value: "1"}}}},
	}
	if _, err := w.CreateSubnet(operator, create); code(err) != "InvalidSubnet.Range" {
		t.Errorf("subnet in a block that is still associating: %v", err)
	}
	w.clock.add(2 * time.Second)
	sub, err := w.CreateSubnet(operator, create)
	must(t, err)
	if sub.Subnet.CidrBlock != "10.1.0.0/19" || sub.Subnet.AvailableIpAddressCount != 8187 {
		t.Errorf("new subnet: %+v", sub.Subnet)
	}
	found, err := w.DescribeSubnets(operator, ec2.DescribeSubnetsInput{Filters: []ec2.Filter{{Name: "tag-key", Values: []string{vpc.TagCNIRole}}}})
	must(t, err)
	if len(found.Subnets) != 1 || found.Subnets[0].SubnetId != sub.Subnet.SubnetId {
		t.Fatalf("tagged subnets: %+v", found.Subnets)
	}
	e := w.newENI(t, ec2.CreateNetworkInterfaceInput{SubnetId: sub.Subnet.SubnetId, SecondaryPrivateIpAddressCount: new(9)})
	w.attach(t, e.NetworkInterfaceId, 1)
	got := w.describe(t, e.NetworkInterfaceId)
	if got.Status != "in-use" || got.Attachment.Status != "attached" || len(got.PrivateIpAddresses) != 10 {
		t.Errorf("attached interface: %+v", got)
	}
	for _, a := range got.PrivateIpAddresses {
		if !netip.MustParsePrefix("10.1.0.0/19").Contains(netip.MustParseAddr(a.PrivateIpAddress)) {
			t.Errorf("address %s", a.PrivateIpAddress)
		}
	}
	m, ok := w.Metadata(vpc.InstanceID(w.node))
	dir := "network/interfaces/macs/" + got.MacAddress
	if !ok || m.Values[dir+"/interface-id"] != e.NetworkInterfaceId || m.Values[dir+"/vpc-ipv4-cidr-blocks"] != "10.0.0.0/16\n10.1.0.0/16" {
		t.Errorf("metadata: %v", m.Values)
	}
}

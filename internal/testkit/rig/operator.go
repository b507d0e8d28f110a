package rig

import (
	"net/netip"
	"time"

	"github.com/berth-net/berth/internal/core/vpc"
	"github.com/berth-net/berth/internal/vpcsim"
	"github.com/berth-net/berth/internal/vpcsim/ec2"
)

// operator is who makes the calls that a person of the instance's account would make by hand.
var operator = vpcsim.Caller{Source: "operator"}

// account is the instance's.
const account vpc.AccountID = "111122223333"

// SubnetOptions say what subnet an operator creates.
type SubnetOptions struct {
	CIDR  string
	Block string // added to the VPC first, unless empty
	Zone  string // default us-west-2a, the instance's
	Tags  map[string]string
}

// NewSubnet creates a subnet as the VPC's owner, and shares it with the instance's account when that is another one.
func (r *Rig) NewSubnet(o SubnetOptions) string {
	r.TB.Helper()
	if o.Block != "" {
		_, err := r.Sim.AssociateVpcCidrBlock(r.owner, ec2.AssociateVpcCidrBlockInput{VpcId: r.VPC, CidrBlock: o.Block})
		r.must("associate block", err)
	}
	in := ec2.CreateSubnetInput{VpcId: r.VPC, CidrBlock: o.CIDR, AvailabilityZone: or(o.Zone, "us-west-2a")}
	if len(o.Tags) > 0 {
		in.TagSpecifications = []ec2.TagSpecification{{ResourceType: "subnet", Tags: tagList(o.Tags)}}
	}
	sn, err := r.Sim.CreateSubnet(r.owner, in)
	r.must("create subnet", err)
	if r.owner.Account != "" {
		r.must("share subnet", r.Sim.ShareSubnet(vpc.SubnetID(sn.Subnet.SubnetId), account))
	}
	return sn.Subnet.SubnetId
}

func tagList(tags map[string]string) []ec2.Tag {
	var list []ec2.Tag
	for k, v := range tags {
		list = append(list, ec2.Tag{Key: k, Value: v})
	}
	return list
}

// Tag sets a tag of a resource, as the instance's account sees it.
func (r *Rig) Tag(id, key, value string) {
	r.TB.Helper()
	r.tag(operator, id, key, value)
}

// TagByOwner sets a tag as the account that owns the VPC sees it.
func (r *Rig) TagByOwner(id, key, value string) {
	r.TB.Helper()
	r.tag(r.owner, id, key, value)
}

func (r *Rig) tag(c vpcsim.Caller, id, key, value string) {
	r.TB.Helper()
	_, err := r.Sim.CreateTags(c, ec2.CreateTagsInput{Resources: []string{id}, Tags: []ec2.Tag{{Key: key, Value: value}}})
	r.must("tag "+id, err)
}

// Untag removes a tag of a resource.
func (r *Rig) Untag(id, key string) {
	r.TB.Helper()
	_, err := r.Sim.DeleteTags(operator, ec2.DeleteTagsInput{Resources: []string{id}, Tags: []ec2.TagToDelete{{Key: key}}})
	r.must("untag "+id, err)
}

// Internet gives the VPC, as its owner, an internet gateway, and the instance's primary address a public one, which it returns.
func (r *Rig) Internet() netip.Addr {
	r.TB.Helper()
	igw, err := r.Sim.CreateInternetGateway(r.owner, ec2.CreateInternetGatewayInput{})
	r.must("create internet gateway", err)
	id := igw.InternetGateway.InternetGatewayId
	_, err = r.Sim.AttachInternetGateway(r.owner, ec2.InternetGatewayInput{InternetGatewayId: id, VpcId: r.VPC})
	r.must("attach internet gateway", err)
	main, err := r.Sim.DescribeRouteTables(r.owner, ec2.DescribeRouteTablesInput{Filters: []ec2.Filter{
		{Name: "vpc-id", Values: []string{r.VPC}}, {Name: "association.main", Values: []string{"true"}},
	}})
	r.must("describe main route table", err)
	_, err = r.Sim.CreateRoute(r.owner, ec2.CreateRouteInput{RouteTableId: main.RouteTables[0].RouteTableId, DestinationCidrBlock: "0.0.0.0/0", GatewayId: id})
	r.must("create route", err)
	return r.Public()
}

// Public gives the instance's primary address a public one in a VPC that has an internet gateway.
func (r *Rig) Public() netip.Addr {
	r.TB.Helper()
	allocation, public := r.allocate(operator)
	_, err := r.Sim.AssociateAddress(operator, ec2.AssociateAddressInput{AllocationId: allocation, NetworkInterfaceId: r.Primary(r.Instance).NetworkInterfaceId})
	r.must("associate address", err)
	return public
}

func (r *Rig) allocate(c vpcsim.Caller) (allocation string, public netip.Addr) {
	r.TB.Helper()
	out, err := r.Sim.AllocateAddress(c, ec2.AllocateAddressInput{Domain: "vpc"})
	r.must("allocate address", err)
	return out.AllocationId, netip.MustParseAddr(out.PublicIp)
}

// NAT puts a NAT gateway into a public subnet, sends other subnets' traffic to it and returns its public address.
func (r *Rig) NAT(public string, private ...string) netip.Addr {
	r.TB.Helper()
	allocation, addr := r.allocate(r.owner)
	nat, err := r.Sim.CreateNatGateway(r.owner, ec2.CreateNatGatewayInput{SubnetId: public, AllocationId: allocation})
	r.must("create NAT gateway", err)
	rt, err := r.Sim.CreateRouteTable(r.owner, ec2.CreateRouteTableInput{VpcId: r.VPC})
	r.must("create route table", err)
	table := rt.RouteTable.RouteTableId
	_, err = r.Sim.CreateRoute(r.owner, ec2.CreateRouteInput{RouteTableId: table, DestinationCidrBlock: "0.0.0.0/0", NatGatewayId: nat.NatGateway.NatGatewayId})
	r.must("create route", err)
	for _, subnet := range private {
		_, err = r.Sim.AssociateRouteTable(r.owner, ec2.AssociateRouteTableInput{RouteTableId: table, SubnetId: subnet})
		r.must("associate route table", err)
	}
	return addr
}

// CreateInterface creates an interface in the instance's subnet as somebody else would, and returns its id.
func (r *Rig) CreateInterface(secondary int, description string, tags map[string]string) string {
	r.TB.Helper()
	in := ec2.CreateNetworkInterfaceInput{SubnetId: r.Subnet, Description: description, SecondaryPrivateIpAddressCount: &secondary}
	if len(tags) > 0 {
		in.TagSpecifications = []ec2.TagSpecification{{ResourceType: "network-interface", Tags: tagList(tags)}}
	}
	out, err := r.Sim.CreateNetworkInterface(operator, in)
	r.must("create interface", err)
	return out.NetworkInterface.NetworkInterfaceId
}

// Attach attaches an interface to the instance.
func (r *Rig) Attach(id string, device int) {
	r.TB.Helper()
	_, err := r.Sim.AttachNetworkInterface(operator, ec2.AttachNetworkInterfaceInput{NetworkInterfaceId: id, InstanceId: string(r.Instance), DeviceIndex: &device})
	r.must("attach interface", err)
}

// Detach begins to detach an interface.
func (r *Rig) Detach(e ec2.NetworkInterface) {
	r.TB.Helper()
	_, err := r.Sim.DetachNetworkInterface(operator, ec2.DetachNetworkInterfaceInput{AttachmentId: e.Attachment.AttachmentId})
	r.must("detach interface", err)
}

// Delete deletes an unattached interface.
func (r *Rig) Delete(id string) {
	r.TB.Helper()
	_, err := r.Sim.DeleteNetworkInterface(operator, ec2.DeleteNetworkInterfaceInput{NetworkInterfaceId: id})
	r.must("delete interface", err)
}

// Assign gives an interface more addresses: count of EC2's choice, or those that are named.
func (r *Rig) Assign(id string, count int, addrs ...string) {
	r.TB.Helper()
	in := ec2.AssignPrivateIpAddressesInput{NetworkInterfaceId: id, PrivateIpAddresses: addrs}
	if len(addrs) == 0 {
		in.SecondaryPrivateIpAddressCount = &count
	}
	_, err := r.Sim.AssignPrivateIpAddresses(operator, in)
	r.must("assign addresses", err)
}

// Unassign takes addresses from an interface.
func (r *Rig) Unassign(id string, addrs ...string) {
	r.TB.Helper()
	_, err := r.Sim.UnassignPrivateIpAddresses(operator, ec2.UnassignPrivateIpAddressesInput{NetworkInterfaceId: id, PrivateIpAddresses: addrs})
	r.must("unassign addresses", err)
}

// Interfaces are all interfaces of the VPC as EC2 describes them.
func (r *Rig) Interfaces() []ec2.NetworkInterface {
	r.TB.Helper()
	out, err := r.Sim.DescribeNetworkInterfaces(operator, ec2.DescribeNetworkInterfacesInput{})
	r.must("describe interfaces", err)
	return out.NetworkInterfaces
}

// Primary is an instance's primary interface.
func (r *Rig) Primary(instance vpc.InstanceID) ec2.NetworkInterface {
	r.TB.Helper()
	for _, e := range r.Interfaces() {
		if e.Attachment != nil && e.Attachment.InstanceId == string(instance) && e.Attachment.DeviceIndex == 0 {
			return e
		}
	}
	r.TB.Fatalf("no primary interface of %s", instance)
	return ec2.NetworkInterface{}
}

// LaunchOutside runs an instance that is no node: nothing runs on it, and its kernel answers for its address. It returns
// the instance and its address.
func (r *Rig) LaunchOutside(subnet string) (vpc.InstanceID, netip.Addr) {
	r.TB.Helper()
	id := r.Launch("t3.medium", subnet)
	r.waitNamespace(id)
	return id, netip.MustParseAddr(r.Primary(id).PrivateIpAddress)
}

func (r *Rig) waitNamespace(id vpc.InstanceID) {
	r.TB.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(30 * time.Second); r.Fabric.Namespace(id) == ""; <-tick.C {
		if time.Now().After(end) {
			r.TB.Fatalf("no namespace of %s after 30 s", id)
		}
	}
}

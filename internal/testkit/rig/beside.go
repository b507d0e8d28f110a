package rig

import (
	"context"
	"net/netip"

	"github.com/berth-net/berth/internal/core/vpc"
	"github.com/berth-net/berth/internal/vpcsim"
	"github.com/berth-net/berth/internal/vpcsim/ec2"
)

// Beside is another node in the same VPC: an instance of a type in a subnet, with an agent and pods of its own.
func (r *Rig) Beside(name, kind, subnet string) *Rig {
	r.TB.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r.TB.Cleanup(cancel)
	b := &Rig{TB: r.TB, Sim: r.Sim, Server: r.Server, Fabric: r.Fabric, VPC: r.VPC, Subnet: subnet, Node: name, Bin: r.Bin, cancel: cancel, owner: r.owner}
	b.makeDir()
	b.Instance = r.Launch(or(kind, "m5.large"), subnet)
	b.waitNamespace(b.Instance)
	b.answer(ctx)
	return b
}

// NewGroup creates a security group of the VPC that lets everything out, pings in, and connections to the ports; to all ports
// when none is named.
func (r *Rig) NewGroup(name string, tags map[string]string, ports ...int) string {
	r.TB.Helper()
	in := ec2.CreateSecurityGroupInput{GroupName: name, Description: name, VpcId: r.VPC}
	if len(tags) > 0 {
		in.TagSpecifications = []ec2.TagSpecification{{ResourceType: "security-group", Tags: tagList(tags)}}
	}
	out, err := r.Sim.CreateSecurityGroup(operator, in)
	r.must("create security group", err)
	anywhere, all := []ec2.IpRange{{CidrIp: "0.0.0.0/0"}}, -1
	rules := []ec2.IpPermission{{IpProtocol: "icmp", FromPort: &all, ToPort: &all, IpRanges: anywhere}}
	for _, port := range ports {
		rules = append(rules, ec2.IpPermission{IpProtocol: "tcp", FromPort: &port, ToPort: &port, IpRanges: anywhere})
	}
	if len(ports) == 0 {
		rules = []ec2.IpPermission{{IpProtocol: "-1", IpRanges: anywhere}}
	}
	_, err = r.Sim.AuthorizeSecurityGroupIngress(operator, ec2.AuthorizeSecurityGroupInput{GroupId: out.GroupId, IpPermissions: rules})
	r.must("open security group", err)
	return out.GroupId
}

// Scatter takes one address in each block of sixteen of a range, for an interface that is attached to nothing, and returns its
// id. Blocks that have none free are left out.
func (r *Rig) Scatter(subnet string, of netip.Prefix) string {
	r.TB.Helper()
	var addrs []string
	const nth = 9 // in its block
	for a := of.Masked().Addr(); of.Contains(a); {
		for range nth {
			a = a.Next()
		}
		addrs = append(addrs, a.String())
		for range vpc.PrefixSize - nth {
			a = a.Next()
		}
	}
	out, err := r.Sim.CreateNetworkInterface(operator, ec2.CreateNetworkInterfaceInput{SubnetId: subnet, Description: "somebody else's", PrivateIpAddress: addrs[0]})
	r.must("create interface", err)
	id := out.NetworkInterface.NetworkInterfaceId
	for _, a := range addrs[1:] { // one by one: what is taken already stays whose it is
		_, _ = r.Sim.AssignPrivateIpAddresses(operator, ec2.AssignPrivateIpAddressesInput{NetworkInterfaceId: id, PrivateIpAddresses: []string{a}})
	}
	return id
}

// ForeignSubnet creates another VPC with a subnet in a zone, and returns the subnet.
func (r *Rig) ForeignSubnet(cidr, zone string) string {
	r.TB.Helper()
	v, err := r.Sim.CreateVpc(vpcsim.Caller{Source: operator.Source}, ec2.CreateVpcInput{CidrBlock: cidr})
	r.must("create vpc", err)
	sn, err := r.Sim.CreateSubnet(operator, ec2.CreateSubnetInput{VpcId: v.Vpc.VpcId, CidrBlock: cidr, AvailabilityZone: zone})
	r.must("create subnet", err)
	return sn.Subnet.SubnetId
}

package vpcsim_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/berth-net/berth/internal/vpcsim"
	"github.com/berth-net/berth/internal/vpcsim/ec2"
)

const absent = "0123456789abcdef0"

// refusal is a call that must fail with a code.
type refusal struct {
	name string
	want string
	call func(t *testing.T, w *world) error
}

func runRefusals(t *testing.T, tests []refusal) {
	t.Helper()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, vpcsim.Options{})
			err := tt.call(t, w)
			if code(err) != tt.want {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

// result drops a reply: only the error matters.
func result[T any](_ T, err error) error { return err }

func TestVPCRefusals(t *testing.T) {
	associate := func(w *world, cidr string) error {
		return result(w.AssociateVpcCidrBlock(operator, ec2.AssociateVpcCidrBlockInput{VpcId: w.vpc, CidrBlock: cidr}))
	}
	runRefusals(t, []refusal{
		{"create vpc, too large", "InvalidVpc.Range", func(_ *testing.T, w *world) error {
			return result(w.CreateVpc(operator, ec2.CreateVpcInput{CidrBlock: "10.0.0.0/8"}))
		}},
		{"create vpc, no block", "InvalidParameterValue", func(_ *testing.T, w *world) error {
			return result(w.CreateVpc(operator, ec2.CreateVpcInput{CidrBlock: "ten"}))
		}},
		{"create vpc, tag of another kind", "InvalidParameterValue", func(_ *testing.T, w *world) error {
			return result(w.CreateVpc(operator, ec2.CreateVpcInput{CidrBlock: "10.0.0.0/16", TagSpecifications: []ec2.TagSpecification{{ResourceType: "subnet"}}}))
		}},
		{"describe vpc, absent", "InvalidVpcID.NotFound", func(_ *testing.T, w *world) error {
			return result(w.DescribeVpcs(operator, ec2.DescribeVpcsInput{VpcIds: []string{"vpc-" + absent}}))
		}},
		{"describe vpc, malformed", "InvalidVpcID.Malformed", func(_ *testing.T, w *world) error {
			return result(w.DescribeVpcs(operator, ec2.DescribeVpcsInput{VpcIds: []string{"demo"}}))
		}},
		{"describe vpc, unknown filter", "InvalidParameterValue", func(_ *testing.T, w *world) error {
			return result(w.DescribeVpcs(operator, ec2.DescribeVpcsInput{Filters: []ec2.Filter{{Name: "vpc"}}}))
		}},
		{"describe attribute, unknown", "InvalidParameterValue", func(_ *testing.T, w *world) error {
			return result(w.DescribeVpcAttribute(operator, ec2.DescribeVpcAttributeInput{VpcId: w.vpc, Attribute: "x"}))
		}},
		{"modify attribute, none", "MissingParameter", func(_ *testing.T, w *world) error {
			return result(w.ModifyVpcAttribute(operator, ec2.ModifyVpcAttributeInput{VpcId: w.vpc}))
		}},
		{"modify attribute, two", "InvalidParameterCombination", func(_ *testing.T, w *world) error {
			on := &ec2.AttributeBooleanValue{Value: true}
			return result(w.ModifyVpcAttribute(operator, ec2.ModifyVpcAttributeInput{VpcId: w.vpc, EnableDnsHostnames: on, EnableDnsSupport: on}))
		}},
		{"delete vpc in use", "DependencyViolation", func(_ *testing.T, w *world) error {
			return result(w.DeleteVpc(operator, ec2.DeleteVpcInput{VpcId: w.vpc}))
		}},
		{"associate, restricted", "InvalidVpc.Range", func(_ *testing.T, w *world) error { return associate(w, "172.16.0.0/16") }},
		{"associate, overlapping", "CidrConflict", func(_ *testing.T, w *world) error { return associate(w, "10.0.128.0/17") }},
		{"associate, five blocks already", "CidrLimitExceeded", func(t *testing.T, w *world) error {
			for _, cidr := range []string{"10.1.0.0/16", "10.2.0.0/16", "10.3.0.0/16", "10.4.0.0/16"} {
				must(t, associate(w, cidr))
			}
			return associate(w, "10.5.0.0/16")
		}},
		{"disassociate the primary block", "OperationNotPermitted", func(t *testing.T, w *world) error {
			out, err := w.DescribeVpcs(operator, ec2.DescribeVpcsInput{VpcIds: []string{w.vpc}})
			must(t, err)
			return result(w.DisassociateVpcCidrBlock(operator, ec2.DisassociateVpcCidrBlockInput{
				AssociationId: out.Vpcs[0].CidrBlockAssociationSet[0].AssociationId,
			}))
		}},
		{"disassociate a block in use", "InvalidCidr.InUse", func(t *testing.T, w *world) error {
			out, err := w.AssociateVpcCidrBlock(operator, ec2.AssociateVpcCidrBlockInput{VpcId: w.vpc, CidrBlock: "10.1.0.0/16"})
			must(t, err)
			w.newSubnet(t, "10.1.0.0/24")
			return result(w.DisassociateVpcCidrBlock(operator, ec2.DisassociateVpcCidrBlockInput{AssociationId: out.CidrBlockAssociation.AssociationId}))
		}},
		{"disassociate, absent", "InvalidVpcCidrBlockAssociationID.NotFound", func(_ *testing.T, w *world) error {
			return result(w.DisassociateVpcCidrBlock(operator, ec2.DisassociateVpcCidrBlockInput{AssociationId: "vpc-cidr-assoc-" + absent}))
		}},
	})
}

func TestSubnetRefusals(t *testing.T) {
	create := func(w *world, cidr, zone string) error {
		return result(w.CreateSubnet(operator, ec2.CreateSubnetInput{VpcId: w.vpc, CidrBlock: cidr, AvailabilityZone: zone}))
	}
	reserve := func(w *world, cidr, kind string) error {
		return result(w.CreateSubnetCidrReservation(operator, ec2.CreateSubnetCidrReservationInput{SubnetId: w.subnet, Cidr: cidr, ReservationType: kind}))
	}
	runRefusals(t, []refusal{
		{"create, outside", "InvalidSubnet.Range", func(_ *testing.T, w *world) error { return create(w, "10.9.0.0/24", "") }},
		{"create, too small", "InvalidSubnet.Range", func(_ *testing.T, w *world) error { return create(w, "10.0.9.0/29", "") }},
		{"create, overlapping", "InvalidSubnet.Conflict", func(_ *testing.T, w *world) error { return create(w, "10.0.0.128/25", "") }},
		{"create, no block", "InvalidParameterValue", func(_ *testing.T, w *world) error { return create(w, "10.0.0", "") }},
		{"create, unknown zone", "InvalidParameterValue", func(_ *testing.T, w *world) error { return create(w, "10.0.9.0/24", "us-west-2z") }},
		{"create, quota", "SubnetLimitExceeded", func(_ *testing.T, w *world) error {
			set := w.Settings()
			set.Quotas.SubnetsPerVPC = 1
			w.SetSettings(set)
			return create(w, "10.0.9.0/24", "")
		}},
		{"delete in use", "DependencyViolation", func(_ *testing.T, w *world) error {
			return result(w.DeleteSubnet(operator, ec2.DeleteSubnetInput{SubnetId: w.subnet}))
		}},
		{"describe, absent", "InvalidSubnetID.NotFound", func(_ *testing.T, w *world) error {
			return result(w.DescribeSubnets(operator, ec2.DescribeSubnetsInput{SubnetIds: []string{"subnet-" + absent}}))
		}},
		{"describe by another account", "InvalidSubnetID.NotFound", func(_ *testing.T, w *world) error {
			return result(w.DescribeSubnets(vpcsim.Caller{Account: "999999999999"}, ec2.DescribeSubnetsInput{SubnetIds: []string{w.subnet}}))
		}},
		{"modify, none", "MissingParameter", func(_ *testing.T, w *world) error {
			return result(w.ModifySubnetAttribute(operator, ec2.ModifySubnetAttributeInput{SubnetId: w.subnet}))
		}},
		{"modify, IPv6 without a block", "InvalidParameterValue", func(_ *testing.T, w *world) error {
			on := &ec2.AttributeBooleanValue{Value: true}
			return result(w.ModifySubnetAttribute(operator, ec2.ModifySubnetAttributeInput{SubnetId: w.subnet, AssignIpv6AddressOnCreation: on}))
		}},
		{"reserve, unknown type", "InvalidParameterValue", func(_ *testing.T, w *world) error { return reserve(w, "10.0.0.64/28", "x") }},
		{"reserve, outside", "InvalidParameterValue", func(_ *testing.T, w *world) error { return reserve(w, "10.0.1.0/28", "prefix") }},
		{"reserve, overlapping", "InvalidParameterValue", func(t *testing.T, w *world) error {
			must(t, reserve(w, "10.0.0.64/27", "prefix"))
			return reserve(w, "10.0.0.80/28", "explicit")
		}},
		{"drop a reservation, absent", "InvalidSubnetCidrReservation.NotFound", func(_ *testing.T, w *world) error {
			return result(w.DeleteSubnetCidrReservation(operator, ec2.DeleteSubnetCidrReservationInput{SubnetCidrReservationId: "scr-" + absent}))
		}},
	})
}

func TestInterfaceRefusals(t *testing.T) {
	create := func(w *world, change func(*ec2.CreateNetworkInterfaceInput)) error {
		in := ec2.CreateNetworkInterfaceInput{SubnetId: w.subnet}
		change(&in)
		return result(w.CreateNetworkInterface(operator, in))
	}
	runRefusals(t, []refusal{
		{"create, no subnet", "MissingParameter", func(_ *testing.T, w *world) error {
			return create(w, func(in *ec2.CreateNetworkInterfaceInput) { in.SubnetId = "" })
		}},
		{"create, absent subnet", "InvalidSubnetID.NotFound", func(_ *testing.T, w *world) error {
			return create(w, func(in *ec2.CreateNetworkInterfaceInput) { in.SubnetId = "subnet-" + absent })
		}},
		{"create, absent group", "InvalidGroup.NotFound", func(_ *testing.T, w *world) error {
			return create(w, func(in *ec2.CreateNetworkInterfaceInput) { in.Groups = []string{"sg-" + absent} })
		}},
		{"create, group of another VPC", "InvalidParameter", func(t *testing.T, w *world) error {
			v, err := w.CreateVpc(operator, ec2.CreateVpcInput{CidrBlock: "10.0.0.0/16"})
			must(t, err)
			g, err := w.CreateSecurityGroup(operator, ec2.CreateSecurityGroupInput{GroupName: "x", Description: "x", VpcId: v.Vpc.VpcId})
			must(t, err)
			return create(w, func(in *ec2.CreateNetworkInterfaceInput) { in.Groups = []string{g.GroupId} })
		}},
		{"create, too many addresses", "InsufficientFreeAddressesInSubnet", func(_ *testing.T, w *world) error {
			return create(w, func(in *ec2.CreateNetworkInterfaceInput) { in.SecondaryPrivateIpAddressCount = new(250) })
		}},
		{"create, too many prefixes", "InvalidParameterValue", func(_ *testing.T, w *world) error {
			return create(w, func(in *ec2.CreateNetworkInterfaceInput) { in.Ipv4PrefixCount = new(15) })
		}},
		{"create, count and prefixes", "InvalidParameterCombination", func(_ *testing.T, w *world) error {
			return create(w, func(in *ec2.CreateNetworkInterfaceInput) {
				in.SecondaryPrivateIpAddressCount, in.Ipv4PrefixCount = new(1), new(1)
			})
		}},
		{"create, reserved address", "InvalidParameterValue", func(_ *testing.T, w *world) error {
			return create(w, func(in *ec2.CreateNetworkInterfaceInput) { in.PrivateIpAddress = "10.0.0.3" })
		}},
		{"create, address outside", "InvalidParameterValue", func(_ *testing.T, w *world) error {
			return create(w, func(in *ec2.CreateNetworkInterfaceInput) { in.PrivateIpAddress = "10.0.1.9" })
		}},
		{"create, address in use", "InvalidIPAddress.InUse", func(t *testing.T, w *world) error {
			taken := w.primary(t).PrivateIpAddress
			return create(w, func(in *ec2.CreateNetworkInterfaceInput) { in.PrivateIpAddress = taken })
		}},
		{"create, unknown type", "InvalidParameterValue", func(_ *testing.T, w *world) error {
			return create(w, func(in *ec2.CreateNetworkInterfaceInput) { in.InterfaceType = "bridge" })
		}},
		{"create, IPv6 without a block", "InvalidParameterValue", func(_ *testing.T, w *world) error {
			return create(w, func(in *ec2.CreateNetworkInterfaceInput) { in.Ipv6AddressCount = new(1) })
		}},
		{"create, quota", "NetworkInterfaceLimitExceeded", func(_ *testing.T, w *world) error {
			set := w.Settings()
			set.Quotas.Interfaces = 1
			w.SetSettings(set)
			return create(w, func(*ec2.CreateNetworkInterfaceInput) {})
		}},
		{"create, reserved tag", "InvalidParameterValue", func(_ *testing.T, w *world) error {
			return create(w, func(in *ec2.CreateNetworkInterfaceInput) {
				in.TagSpecifications = []ec2.TagSpecification{{ResourceType: "network-interface", Tags: []ec2.Tag{{Key: "aws:x"}}}}
			})
		}},
		{"delete, absent", "InvalidNetworkInterfaceID.NotFound", func(_ *testing.T, w *world) error {
			return result(w.DeleteNetworkInterface(operator, ec2.DeleteNetworkInterfaceInput{NetworkInterfaceId: "eni-" + absent}))
		}},
		{"delete, attached", "InvalidParameterValue", func(t *testing.T, w *world) error {
			return result(w.DeleteNetworkInterface(operator, ec2.DeleteNetworkInterfaceInput{NetworkInterfaceId: w.primary(t).NetworkInterfaceId}))
		}},
		{"describe, malformed", "InvalidNetworkInterfaceID.Malformed", func(_ *testing.T, w *world) error {
			return result(w.DescribeNetworkInterfaces(operator, ec2.DescribeNetworkInterfacesInput{NetworkInterfaceIds: []string{"eni-x"}}))
		}},
		{"detach the primary", "OperationNotPermitted", func(t *testing.T, w *world) error {
			return result(w.DetachNetworkInterface(operator, ec2.DetachNetworkInterfaceInput{AttachmentId: w.primary(t).Attachment.AttachmentId}))
		}},
		{"detach, absent", "InvalidAttachmentID.NotFound", func(_ *testing.T, w *world) error {
			return result(w.DetachNetworkInterface(operator, ec2.DetachNetworkInterfaceInput{AttachmentId: "eni-attach-" + absent}))
		}},
		{"modify, none", "MissingParameter", func(t *testing.T, w *world) error {
			return result(w.ModifyNetworkInterfaceAttribute(operator, ec2.ModifyNetworkInterfaceAttributeInput{NetworkInterfaceId: w.primary(t).NetworkInterfaceId}))
		}},
		{"modify, two", "InvalidParameterCombination", func(t *testing.T, w *world) error {
			return result(w.ModifyNetworkInterfaceAttribute(operator, ec2.ModifyNetworkInterfaceAttributeInput{
				NetworkInterfaceId: w.primary(t).NetworkInterfaceId,
				Description:        &ec2.AttributeValue{}, SourceDestCheck: &ec2.AttributeBooleanValue{},
			}))
		}},
		{"modify, other attachment", "InvalidAttachmentID.NotFound", func(t *testing.T, w *world) error {
			return result(w.ModifyNetworkInterfaceAttribute(operator, ec2.ModifyNetworkInterfaceAttributeInput{
				NetworkInterfaceId: w.primary(t).NetworkInterfaceId,
				Attachment:         &ec2.NetworkInterfaceAttachmentChanges{AttachmentId: "eni-attach-" + absent, DeleteOnTermination: new(true)},
			}))
		}},
		{"modify, six groups", "SecurityGroupsPerInterfaceLimitExceeded", func(t *testing.T, w *world) error {
			var ids []string
			for name := range strings.FieldsSeq("a b c d e f") {
				g, err := w.CreateSecurityGroup(operator, ec2.CreateSecurityGroupInput{GroupName: name, Description: "x", VpcId: w.vpc})
				must(t, err)
				ids = append(ids, g.GroupId)
			}
			return result(w.ModifyNetworkInterfaceAttribute(operator, ec2.ModifyNetworkInterfaceAttributeInput{
				NetworkInterfaceId: w.primary(t).NetworkInterfaceId, Groups: ids,
			}))
		}},
	})
}

func TestAttachRefusals(t *testing.T) {
	attach := func(w *world, eni, instance string, device, card int) error {
		return result(w.AttachNetworkInterface(operator, ec2.AttachNetworkInterfaceInput{
			NetworkInterfaceId: eni, InstanceId: instance, DeviceIndex: &device, NetworkCardIndex: &card,
		}))
	}
	fresh := func(t *testing.T, w *world) string {
		return w.newENI(t, ec2.CreateNetworkInterfaceInput{}).NetworkInterfaceId
	}
	runRefusals(t, []refusal{
		{"absent interface", "InvalidNetworkInterfaceID.NotFound", func(_ *testing.T, w *world) error { return attach(w, "eni-"+absent, w.node, 1, 0) }},
		{"absent instance", "InvalidInstanceID.NotFound", func(t *testing.T, w *world) error { return attach(w, fresh(t, w), "i-"+absent, 1, 0) }},
		{"no device index", "MissingParameter", func(t *testing.T, w *world) error {
			return result(w.AttachNetworkInterface(operator, ec2.AttachNetworkInterfaceInput{NetworkInterfaceId: fresh(t, w), InstanceId: w.node}))
		}},
		{"device index taken", "InvalidParameterValue", func(t *testing.T, w *world) error { return attach(w, fresh(t, w), w.node, 0, 0) }},
		{"no such card", "InvalidParameterValue", func(t *testing.T, w *world) error { return attach(w, fresh(t, w), w.node, 1, 1) }},
		{"interface in use", "InvalidNetworkInterface.InUse", func(t *testing.T, w *world) error {
			e := fresh(t, w)
			w.attach(t, e, 1)
			return attach(w, e, w.node, 2, 0)
		}},
		{"fourth of an m6a.large", "AttachmentLimitExceeded", func(t *testing.T, w *world) error {
			w.attach(t, fresh(t, w), 1)
			w.attach(t, fresh(t, w), 2)
			return attach(w, fresh(t, w), w.node, 3, 0)
		}},
		{"third on one card of a p5.48xlarge", "AttachmentLimitExceeded", func(t *testing.T, w *world) error {
			node := w.launch(t, "p5.48xlarge")
			must(t, attach(w, fresh(t, w), node, 1, 0))
			must(t, attach(w, fresh(t, w), node, 1, 1))
			return attach(w, fresh(t, w), node, 2, 0)
		}},
		{"more addresses than the type allows", "PrivateIpAddressLimitExceeded", func(t *testing.T, w *world) error {
			e := w.newENI(t, ec2.CreateNetworkInterfaceInput{SecondaryPrivateIpAddressCount: new(10)})
			return attach(w, e.NetworkInterfaceId, w.node, 1, 0)
		}},
		{"prefix on a Xen instance", "UnsupportedOperation", func(t *testing.T, w *world) error {
			e := w.newENI(t, ec2.CreateNetworkInterfaceInput{Ipv4PrefixCount: new(1)})
			return attach(w, e.NetworkInterfaceId, w.launch(t, "m4.large"), 1, 0)
		}},
		{"other zone", "InvalidParameterCombination", func(t *testing.T, w *world) error {
			out, err := w.CreateSubnet(operator, ec2.CreateSubnetInput{VpcId: w.vpc, CidrBlock: "10.0.7.0/24", AvailabilityZone: "us-west-2b"})
			must(t, err)
			e := w.newENI(t, ec2.CreateNetworkInterfaceInput{SubnetId: out.Subnet.SubnetId})
			return attach(w, e.NetworkInterfaceId, w.node, 1, 0)
		}},
		{"terminated instance", "IncorrectInstanceState", func(t *testing.T, w *world) error {
			must(t, result(w.TerminateInstances(operator, ec2.TerminateInstancesInput{InstanceIds: []string{w.node}})))
			return attach(w, fresh(t, w), w.node, 1, 0)
		}},
		{"branch", "InvalidParameterValue", func(t *testing.T, w *world) error {
			e := w.newENI(t, ec2.CreateNetworkInterfaceInput{InterfaceType: "branch"})
			return attach(w, e.NetworkInterfaceId, w.node, 1, 0)
		}},
	})
}

func TestAssignRefusals(t *testing.T) {
	assign := func(t *testing.T, w *world, change func(*ec2.AssignPrivateIpAddressesInput)) error {
		in := ec2.AssignPrivateIpAddressesInput{NetworkInterfaceId: w.primary(t).NetworkInterfaceId}
		change(&in)
		return result(w.AssignPrivateIpAddresses(operator, in))
	}
	type in = *ec2.AssignPrivateIpAddressesInput
	runRefusals(t, []refusal{
		{"nothing", "MissingParameter", func(t *testing.T, w *world) error { return assign(t, w, func(in) {}) }},
		{"two ways", "InvalidParameterCombination", func(t *testing.T, w *world) error {
			return assign(t, w, func(a in) { a.SecondaryPrivateIpAddressCount, a.Ipv4PrefixCount = new(1), new(1) })
		}},
		{"zero", "InvalidParameterValue", func(t *testing.T, w *world) error {
			return assign(t, w, func(a in) { a.SecondaryPrivateIpAddressCount = new(0) })
		}},
		{"ten beside the primary", "PrivateIpAddressLimitExceeded", func(t *testing.T, w *world) error {
			return assign(t, w, func(a in) { a.SecondaryPrivateIpAddressCount = new(10) })
		}},
		{"ten prefixes", "PrivateIpAddressLimitExceeded", func(t *testing.T, w *world) error {
			return assign(t, w, func(a in) { a.Ipv4PrefixCount = new(10) })
		}},
		{"full", "InsufficientFreeAddressesInSubnet", func(t *testing.T, w *world) error {
			w.newENI(t, ec2.CreateNetworkInterfaceInput{SecondaryPrivateIpAddressCount: new(249)})
			return assign(t, w, func(a in) { a.SecondaryPrivateIpAddressCount = new(1) })
		}},
		{"full, prefix", "InsufficientFreeAddressesInSubnet", func(t *testing.T, w *world) error {
			w.newENI(t, ec2.CreateNetworkInterfaceInput{SecondaryPrivateIpAddressCount: new(240)})
			return assign(t, w, func(a in) { a.Ipv4PrefixCount = new(1) })
		}},
		{"fragmented", "InsufficientCidrBlocks", func(t *testing.T, w *world) error {
			var list []ec2.PrivateIpAddressSpecification
			for a := netip.MustParseAddr("10.0.0.17"); len(list) < 14; {
				list = append(list, ec2.PrivateIpAddressSpecification{PrivateIpAddress: a.String()})
				for range 16 {
					a = a.Next()
				}
			}
			taken := w.primary(t).PrivateIpAddress
			for i := range list {
				if list[i].PrivateIpAddress == taken { // the node has broken this block already
					list = append(list[:i], list[i+1:]...)
					break
				}
			}
			w.newENI(t, ec2.CreateNetworkInterfaceInput{PrivateIpAddresses: list})
			return assign(t, w, func(a in) { a.Ipv4PrefixCount = new(1) })
		}},
		{"outside", "InvalidParameterValue", func(t *testing.T, w *world) error {
			return assign(t, w, func(a in) { a.PrivateIpAddresses = []string{"10.0.5.9"} })
		}},
		{"reserved", "InvalidParameterValue", func(t *testing.T, w *world) error {
			return assign(t, w, func(a in) { a.PrivateIpAddresses = []string{"10.0.0.255"} })
		}},
		{"in use", "InvalidParameterValue", func(t *testing.T, w *world) error {
			e := w.newENI(t, ec2.CreateNetworkInterfaceInput{})
			return assign(t, w, func(a in) { a.PrivateIpAddresses = []string{e.PrivateIpAddress} })
		}},
		{"another's primary, with reassignment", "InvalidIPAddress.InUse", func(t *testing.T, w *world) error {
			e := w.newENI(t, ec2.CreateNetworkInterfaceInput{})
			return assign(t, w, func(a in) { a.PrivateIpAddresses, a.AllowReassignment = []string{e.PrivateIpAddress}, true })
		}},
		{"unaligned prefix", "InvalidParameterValue", func(t *testing.T, w *world) error {
			return assign(t, w, func(a in) { a.Ipv4Prefixes = []string{"10.0.0.40/28"} })
		}},
		{"prefix on a Xen instance", "UnsupportedOperation", func(t *testing.T, w *world) error {
			w.node = w.launch(t, "m4.large")
			return assign(t, w, func(a in) { a.Ipv4PrefixCount = new(1) })
		}},
		{"unassign the primary", "InvalidParameterValue", func(t *testing.T, w *world) error {
			p := w.primary(t)
			return result(w.UnassignPrivateIpAddresses(operator, ec2.UnassignPrivateIpAddressesInput{
				NetworkInterfaceId: p.NetworkInterfaceId, PrivateIpAddresses: []string{p.PrivateIpAddress},
			}))
		}},
		{"unassign what is not there", "InvalidParameterValue", func(t *testing.T, w *world) error {
			return result(w.UnassignPrivateIpAddresses(operator, ec2.UnassignPrivateIpAddressesInput{
				NetworkInterfaceId: w.primary(t).NetworkInterfaceId, Ipv4Prefixes: []string{"10.0.0.32/28"},
			}))
		}},
		{"unassign nothing", "MissingParameter", func(t *testing.T, w *world) error {
			return result(w.UnassignPrivateIpAddresses(operator, ec2.UnassignPrivateIpAddressesInput{NetworkInterfaceId: w.primary(t).NetworkInterfaceId}))
		}},
	})
}

func TestOtherRefusals(t *testing.T) {
	run := func(w *world, change func(*ec2.RunInstancesInput)) error {
		in := ec2.RunInstancesInput{ImageId: "ami-1", InstanceType: "m6a.large", SubnetId: w.subnet, MinCount: new(1), MaxCount: new(1)}
		change(&in)
		return result(w.RunInstances(operator, in))
	}
	type in = *ec2.RunInstancesInput
	runRefusals(t, []refusal{
		{"run, no counts", "MissingParameter", func(_ *testing.T, w *world) error { return run(w, func(r in) { r.MinCount = nil }) }},
		{"run, no image", "MissingParameter", func(_ *testing.T, w *world) error { return run(w, func(r in) { r.ImageId = "" }) }},
		{"run, unknown type", "InvalidParameterValue", func(_ *testing.T, w *world) error { return run(w, func(r in) { r.InstanceType = "m6a.huge" }) }},
		{"run, subnet twice", "InvalidParameterCombination", func(_ *testing.T, w *world) error {
			return run(w, func(r in) { r.NetworkInterfaces = []ec2.InstanceNetworkInterfaceSpecification{{DeviceIndex: new(0)}} })
		}},
		{"run, no room", "InsufficientFreeAddressesInSubnet", func(t *testing.T, w *world) error {
			w.newENI(t, ec2.CreateNetworkInterfaceInput{SecondaryPrivateIpAddressCount: new(249)})
			return run(w, func(in) {})
		}},
		{"run, quota", "InstanceLimitExceeded", func(_ *testing.T, w *world) error {
			set := w.Settings()
			set.Quotas.Instances = 1
			w.SetSettings(set)
			return run(w, func(in) {})
		}},
		{"terminate, absent", "InvalidInstanceID.NotFound", func(_ *testing.T, w *world) error {
			return result(w.TerminateInstances(operator, ec2.TerminateInstancesInput{InstanceIds: []string{"i-" + absent}}))
		}},
		{"instance type, absent", "InvalidInstanceType", func(_ *testing.T, w *world) error {
			return result(w.DescribeInstanceTypes(operator, ec2.DescribeInstanceTypesInput{InstanceTypes: []string{"x"}}))
		}},
		{"hop limit", "InvalidParameterValue", func(_ *testing.T, w *world) error {
			return result(w.ModifyInstanceMetadataOptions(operator, ec2.ModifyInstanceMetadataOptionsInput{InstanceId: w.node, HttpPutResponseHopLimit: new(65)}))
		}},
		{"metadata options, tokens neither optional nor required", "InvalidParameterValue", func(_ *testing.T, w *world) error {
			return result(w.ModifyInstanceMetadataOptions(operator, ec2.ModifyInstanceMetadataOptionsInput{InstanceId: w.node, HttpTokens: "yes"}))
		}},
		{"metadata options of an instance that has ended", "IncorrectInstanceState", func(t *testing.T, w *world) error {
			must(t, result(w.TerminateInstances(operator, ec2.TerminateInstancesInput{InstanceIds: []string{w.node}})))
			return result(w.ModifyInstanceMetadataOptions(operator, ec2.ModifyInstanceMetadataOptionsInput{InstanceId: w.node, HttpTokens: "required"}))
		}},
		{"run with impossible metadata options", "InvalidParameterValue", func(_ *testing.T, w *world) error {
			return result(w.RunInstances(operator, ec2.RunInstancesInput{
				ImageId: "ami-" + absent, InstanceType: "m5.large", MinCount: new(1), MaxCount: new(1), SubnetId: w.subnet,
				MetadataOptions: &ec2.InstanceMetadataOptions{HttpPutResponseHopLimit: new(0)},
			}))
		}},
		{"tags, no such kind", "InvalidID", func(_ *testing.T, w *world) error {
			return result(w.CreateTags(operator, ec2.CreateTagsInput{Resources: []string{"foo"}, Tags: []ec2.Tag{{Key: "k"}}}))
		}},
		{"tags, absent", "InvalidSubnetID.NotFound", func(_ *testing.T, w *world) error {
			return result(w.CreateTags(operator, ec2.CreateTagsInput{Resources: []string{"subnet-" + absent}, Tags: []ec2.Tag{{Key: "k"}}}))
		}},
		{"dry run", "DryRunOperation", func(_ *testing.T, w *world) error {
			return result(w.CreateNetworkInterface(operator, ec2.CreateNetworkInterfaceInput{SubnetId: w.subnet, DryRun: true}))
		}},
		{"group, same name", "InvalidGroup.Duplicate", func(t *testing.T, w *world) error {
			in := ec2.CreateSecurityGroupInput{GroupName: "x", Description: "x", VpcId: w.vpc}
			must(t, result(w.CreateSecurityGroup(operator, in)))
			return result(w.CreateSecurityGroup(operator, in))
		}},
		{"delete the default group", "CannotDelete", func(t *testing.T, w *world) error {
			return result(w.DeleteSecurityGroup(operator, ec2.DeleteSecurityGroupInput{GroupId: w.primary(t).Groups[0].GroupId}))
		}},
		{"delete a group in use", "DependencyViolation", func(t *testing.T, w *world) error {
			g, err := w.CreateSecurityGroup(operator, ec2.CreateSecurityGroupInput{GroupName: "x", Description: "x", VpcId: w.vpc})
			must(t, err)
			w.newENI(t, ec2.CreateNetworkInterfaceInput{Groups: []string{g.GroupId}})
			return result(w.DeleteSecurityGroup(operator, ec2.DeleteSecurityGroupInput{GroupId: g.GroupId}))
		}},
		{"rule for an absent group", "InvalidGroup.NotFound", func(t *testing.T, w *world) error {
			return result(w.AuthorizeSecurityGroupIngress(operator, ec2.AuthorizeSecurityGroupInput{
				GroupId: w.primary(t).Groups[0].GroupId, IpProtocol: "-1", SourceSecurityGroupName: "sg-" + absent,
			}))
		}},
		{"route to an absent gateway", "InvalidInternetGatewayID.NotFound", func(t *testing.T, w *world) error {
			tables, err := w.DescribeRouteTables(operator, ec2.DescribeRouteTablesInput{})
			must(t, err)
			return result(w.CreateRoute(operator, ec2.CreateRouteInput{
				RouteTableId: tables.RouteTables[0].RouteTableId, DestinationCidrBlock: "0.0.0.0/0", GatewayId: "igw-" + absent,
			}))
		}},
		{"nat gateway, absent", "NatGatewayNotFound", func(_ *testing.T, w *world) error {
			return result(w.DeleteNatGateway(operator, ec2.DeleteNatGatewayInput{NatGatewayId: "nat-" + absent}))
		}},
		{"address, absent", "InvalidAllocationID.NotFound", func(_ *testing.T, w *world) error {
			return result(w.ReleaseAddress(operator, ec2.ReleaseAddressInput{AllocationId: "eipalloc-" + absent}))
		}},
		{"trunk, not one", "InvalidParameterValue", func(t *testing.T, w *world) error {
			branch := w.newENI(t, ec2.CreateNetworkInterfaceInput{InterfaceType: "branch"})
			return result(w.AssociateTrunkInterface(operator, ec2.AssociateTrunkInterfaceInput{
				BranchInterfaceId: branch.NetworkInterfaceId, TrunkInterfaceId: w.primary(t).NetworkInterfaceId, VlanId: new(1),
			}))
		}},
	})
}

// TestNotFoundNamesTheInterface holds what clients parse out of the message.
func TestNotFoundNamesTheInterface(t *testing.T) {
	w := newWorld(t, vpcsim.Options{})
	id := "eni-" + absent
	_, err := w.DescribeNetworkInterfaces(operator, ec2.DescribeNetworkInterfacesInput{NetworkInterfaceIds: []string{id}})
	if err == nil || err.Error() != "InvalidNetworkInterfaceID.NotFound: The networkInterface ID '"+id+"' does not exist" {
		t.Errorf("got %v", err)
	}
}

// A parameter that is missing is named as EC2's API names it, so that who reads the message finds it.
func TestMissingParametersAreNamed(t *testing.T) {
	w := newWorld(t, vpcsim.Options{})
	for want, err := range map[string]error{
		"subnetId":           result(w.CreateNetworkInterface(operator, ec2.CreateNetworkInterfaceInput{})),
		"vpcId":              result(w.CreateSubnet(operator, ec2.CreateSubnetInput{CidrBlock: "10.0.1.0/24"})),
		"cidrBlock":          result(w.CreateSubnet(operator, ec2.CreateSubnetInput{VpcId: w.vpc})),
		"networkInterfaceId": result(w.AssignPrivateIpAddresses(operator, ec2.AssignPrivateIpAddressesInput{})),
		"attachmentId":       result(w.DetachNetworkInterface(operator, ec2.DetachNetworkInterfaceInput{})),
		"deviceIndex": result(w.AttachNetworkInterface(operator, ec2.AttachNetworkInterfaceInput{
			NetworkInterfaceId: w.newENI(t, ec2.CreateNetworkInterfaceInput{}).NetworkInterfaceId, InstanceId: w.node,
		})),
	} {
		if text := "MissingParameter: The request must contain the parameter " + want; err == nil || err.Error() != text {
			t.Errorf("got %v, want %s", err, text)
		}
	}
}

// A route by another VPC's gateway is refused, whether it is new or replaces one.
func TestRouteByAnotherNetworksGateway(t *testing.T) {
	w := newWorld(t, vpcsim.Options{})
	tables, err := w.DescribeRouteTables(operator, ec2.DescribeRouteTablesInput{})
	must(t, err)
	table := tables.RouteTables[0].RouteTableId
	v, err := w.CreateVpc(operator, ec2.CreateVpcInput{CidrBlock: "10.9.0.0/16"})
	must(t, err)
	gateway := func(vpcID string) string {
		g, err := w.CreateInternetGateway(operator, ec2.CreateInternetGatewayInput{})
		must(t, err)
		id := g.InternetGateway.InternetGatewayId
		must(t, result(w.AttachInternetGateway(operator, ec2.InternetGatewayInput{InternetGatewayId: id, VpcId: vpcID})))
		return id
	}
	own, foreign := gateway(w.vpc), gateway(v.Vpc.VpcId)
	sub, err := w.CreateSubnet(operator, ec2.CreateSubnetInput{VpcId: v.Vpc.VpcId, CidrBlock: "10.9.0.0/24"})
	must(t, err)
	nat, err := w.CreateNatGateway(operator, ec2.CreateNatGatewayInput{SubnetId: sub.Subnet.SubnetId, ConnectivityType: "private"})
	must(t, err)
	route := ec2.CreateRouteInput{RouteTableId: table, DestinationCidrBlock: "0.0.0.0/0", GatewayId: own}
	must(t, result(w.CreateRoute(operator, route)))
	for name, change := range map[string]func(ec2.CreateRouteInput) error{
		"create": func(in ec2.CreateRouteInput) error {
			in.DestinationCidrBlock = "192.0.2.0/24"
			return result(w.CreateRoute(operator, in))
		},
		"replace": func(in ec2.CreateRouteInput) error { return result(w.ReplaceRoute(operator, in)) },
	} {
		for _, in := range []ec2.CreateRouteInput{
			{RouteTableId: table, DestinationCidrBlock: "0.0.0.0/0", GatewayId: foreign},
			{RouteTableId: table, DestinationCidrBlock: "0.0.0.0/0", NatGatewayId: nat.NatGateway.NatGatewayId},
		} {
			if err := change(in); code(err) != "InvalidParameterValue" {
				t.Errorf("%s by %s%s: %v", name, in.GatewayId, in.NatGatewayId, err)
			}
		}
	}
	must(t, result(w.ReplaceRoute(operator, route)))
}

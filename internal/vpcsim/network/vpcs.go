package network

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/berth-net/berth/internal/vpcsim/blocks"
	"github.com/berth-net/berth/internal/vpcsim/ec2"
	"github.com/berth-net/berth/internal/vpcsim/groups"
	"github.com/berth-net/berth/internal/vpcsim/routing"
	"github.com/berth-net/berth/internal/vpcsim/world"
)

// seesVPC tells whether an account sees a VPC: its own, or one of which a subnet is shared with it.
func (s Actions) seesVPC(c world.Caller, n *world.Network) bool {
	if n.Owner == string(c.Account) {
		return true
	}
	for sub := range s.State.Subnets.All() {
		if sub.VPC == n.ID && sub.Sees(string(c.Account)) {
			return true
		}
	}
	return false
}

// vpc finds a VPC that the caller sees.
func (s Actions) vpc(c world.Caller, id string) (*world.Network, error) {
	return world.Find(&s.State.VPCs, world.KindVPC, id, func(n *world.Network) bool { return s.seesVPC(c, n) })
}

// OwnVPC finds a VPC that the caller owns.
func (s Actions) OwnVPC(c world.Caller, id string) (*world.Network, error) {
	n, err := s.vpc(c, id)
	if err == nil && n.Owner != string(c.Account) {
		err = &ec2.Error{Status: 403, Code: "UnauthorizedOperation", Message: "You are not authorized to perform this operation. The VPC is owned by another account."}
	}
	return n, err
}

// CreateVpc is EC2's action of that name.
func (s Actions) CreateVpc(c world.Caller, in ec2.CreateVpcInput) (ec2.CreateVpcOutput, error) {
	var out ec2.CreateVpcOutput
	cidr, err := blocks.Parse(in.CidrBlock)
	if err != nil {
		return out, err
	}
	if err := blocks.CheckVPC(cidr); err != nil {
		return out, err
	}
	if err := s.CheckTags(c, in.TagSpecifications, world.KindVPC); err != nil {
		return out, err
	}
	n := &world.Network{ID: s.NewID(world.KindVPC), Owner: string(c.Account), DNSSupport: true}
	n.Blocks = []world.Block{{ID: s.NewID(world.KindBlock), CIDR: cidr, State: world.Associated}}
	if in.AmazonProvidedIpv6CidrBlock {
		n.Blocks6 = []world.Block{{ID: s.NewID(world.KindBlock), CIDR: s.block6(), State: world.Associated}}
	}
	s.State.VPCs.Put(n.ID, n)
	g := groups.New(groups.Group{
		ID: s.NewID(world.KindGroup), Name: groups.DefaultName, Description: "default VPC security group", VPC: n.ID, Owner: n.Owner,
	}, len(n.Blocks6) > 0, s.newRuleID)
	n.DefaultGroup = g.ID
	s.State.Groups.Put(g.ID, g)
	n.MainTable = s.NewRouteTable(n, true).ID
	s.Tag(c, world.KindVPC, n.ID, in.TagSpecifications)
	out.Vpc = s.showVPC(c, n)
	out.Vpc.State = "pending" // as EC2 answers; it is available at the next look
	return out, nil
}

// block6 is an unused /56, as Amazon would provide.
func (s Actions) block6() netip.Prefix {
	for {
		n := s.IDs.Uint32()
		a := netip.AddrFrom16([16]byte{0x26, 0x00, 0x1f, 0x14, byte(n >> 16), byte(n >> 8), byte(n)})
		p := netip.PrefixFrom(a, 56)
		used := false
		for v := range s.State.VPCs.All() {
			used = used || slices.ContainsFunc(v.Blocks6, func(b world.Block) bool { return b.CIDR.Overlaps(p) })
		}
		if !used {
			return p
		}
	}
}

func (s Actions) showVPC(c world.Caller, n *world.Network) ec2.Vpc {
	v := ec2.Vpc{
		VpcId: n.ID, OwnerId: n.Owner, State: "available", CidrBlock: n.Blocks[0].CIDR.String(),
		DhcpOptionsId: "dopt-" + n.ID[len(n.ID)-17:], InstanceTenancy: "default", Tags: s.TagsOf(c, n.ID),
	}
	for i := range n.Blocks {
		v.CidrBlockAssociationSet = append(v.CidrBlockAssociationSet, *show(&n.Blocks[i]))
	}
	for i := range n.Blocks6 {
		v.Ipv6CidrBlockAssociationSet = append(v.Ipv6CidrBlockAssociationSet, *show6(&n.Blocks6[i], s.State.Region))
	}
	return v
}

func show(b *world.Block) *ec2.VpcCidrBlockAssociation {
	return &ec2.VpcCidrBlockAssociation{
		AssociationId: b.ID, CidrBlock: b.CIDR.String(), CidrBlockState: ec2.CidrBlockState{State: b.State},
	}
}

func show6(b *world.Block, region string) *ec2.VpcIpv6CidrBlockAssociation {
	return &ec2.VpcIpv6CidrBlockAssociation{
		AssociationId: b.ID, Ipv6CidrBlock: b.CIDR.String(), Ipv6CidrBlockState: ec2.CidrBlockState{State: b.State},
		Ipv6Pool: "Amazon", NetworkBorderGroup: region,
	}
}

// DeleteVpc is EC2's action of that name.
func (s Actions) DeleteVpc(c world.Caller, in ec2.DeleteVpcInput) (ec2.Done, error) {
	n, err := s.OwnVPC(c, in.VpcId)
	if err != nil {
		return ec2.Done{}, err
	}
	if s.vpcInUse(n) {
		return ec2.Done{}, ec2.Errorf("DependencyViolation", "The vpc '%s' has dependencies and cannot be deleted.", n.ID)
	}
	for _, id := range []string{n.ID, n.DefaultGroup, n.MainTable} {
		s.State.Tags.Forget(id)
	}
	s.State.Groups.Remove(n.DefaultGroup)
	s.State.RouteTables.Remove(n.MainTable)
	s.State.VPCs.Remove(n.ID)
	return ec2.Done{}, nil
}

func (s Actions) vpcInUse(n *world.Network) bool {
	for sub := range s.State.Subnets.All() {
		if sub.VPC == n.ID {
			return true
		}
	}
	for g := range s.State.Groups.All() {
		if g.VPC == n.ID && g.ID != n.DefaultGroup {
			return true
		}
	}
	for t := range s.State.RouteTables.All() {
		if t.VPC == n.ID && t.ID != n.MainTable {
			return true
		}
	}
	for g := range s.State.Gateways.All() {
		if g.VPC == n.ID {
			return true
		}
	}
	return false
}

var vpcFields = ec2.Fields[ec2.Vpc]{
	"vpc-id":     func(v *ec2.Vpc) []string { return []string{v.VpcId} },
	"cidr":       func(v *ec2.Vpc) []string { return []string{v.CidrBlock} },
	"owner-id":   func(v *ec2.Vpc) []string { return []string{v.OwnerId} },
	"state":      func(v *ec2.Vpc) []string { return []string{v.State} },
	"is-default": func(v *ec2.Vpc) []string { return []string{fmt.Sprint(v.IsDefault)} },
	"isDefault":  func(v *ec2.Vpc) []string { return []string{fmt.Sprint(v.IsDefault)} },
	"cidr-block-association.cidr-block": func(v *ec2.Vpc) []string {
		return world.Collect(v.CidrBlockAssociationSet, func(a ec2.VpcCidrBlockAssociation) string { return a.CidrBlock })
	},
	"cidr-block-association.association-id": func(v *ec2.Vpc) []string {
		return world.Collect(v.CidrBlockAssociationSet, func(a ec2.VpcCidrBlockAssociation) string { return a.AssociationId })
	},
	"cidr-block-association.state": func(v *ec2.Vpc) []string {
		return world.Collect(v.CidrBlockAssociationSet, func(a ec2.VpcCidrBlockAssociation) string { return a.CidrBlockState.State })
	},
	"dhcp-options-id": func(v *ec2.Vpc) []string { return []string{v.DhcpOptionsId} },
	"ipv6-cidr-block-association.ipv6-cidr-block": func(v *ec2.Vpc) []string {
		return world.Collect(v.Ipv6CidrBlockAssociationSet, func(a ec2.VpcIpv6CidrBlockAssociation) string { return a.Ipv6CidrBlock })
	},
	"ipv6-cidr-block-association.association-id": func(v *ec2.Vpc) []string {
		return world.Collect(v.Ipv6CidrBlockAssociationSet, func(a ec2.VpcIpv6CidrBlockAssociation) string { return a.AssociationId })
	},
	"ipv6-cidr-block-association.state": func(v *ec2.Vpc) []string {
		return world.Collect(v.Ipv6CidrBlockAssociationSet, func(a ec2.VpcIpv6CidrBlockAssociation) string { return a.Ipv6CidrBlockState.State })
	},
	"ipv6-cidr-block-association.ipv6-pool": func(v *ec2.Vpc) []string {
		return world.Collect(v.Ipv6CidrBlockAssociationSet, func(a ec2.VpcIpv6CidrBlockAssociation) string { return a.Ipv6Pool })
	},
}

// DescribeVpcs is EC2's action of that name.
func (s Actions) DescribeVpcs(c world.Caller, in ec2.DescribeVpcsInput) (ec2.DescribeVpcsOutput, error) {
	var out ec2.DescribeVpcsOutput
	all, err := world.List(&s.State.VPCs, in.VpcIds, func(id string) (*world.Network, error) { return s.vpc(c, id) },
		func(n *world.Network) bool { return s.seesVPC(c, n) }, func(n *world.Network) ec2.Vpc { return s.showVPC(c, n) })
	if err != nil {
		return out, err
	}
	out.Vpcs, err = ec2.Select(all, in.Filters, vpcFields, func(v *ec2.Vpc) []ec2.Tag { return v.Tags })
	return out, err
}

// DescribeVpcAttribute is EC2's action of that name.
func (s Actions) DescribeVpcAttribute(c world.Caller, in ec2.DescribeVpcAttributeInput) (ec2.DescribeVpcAttributeOutput, error) {
	out := ec2.DescribeVpcAttributeOutput{VpcId: in.VpcId}
	n, err := s.vpc(c, in.VpcId)
	if err != nil {
		return out, err
	}
	switch in.Attribute {
	case "enableDnsSupport":
		out.EnableDnsSupport = &ec2.AttributeBooleanValue{Value: n.DNSSupport}
	case "enableDnsHostnames":
		out.EnableDnsHostnames = &ec2.AttributeBooleanValue{Value: n.DNSHostnames}
	case "enableNetworkAddressUsageMetrics":
		out.EnableNetworkAddressUsageMetrics = &ec2.AttributeBooleanValue{Value: n.NAU}
	default:
		return out, ec2.Errorf("InvalidParameterValue", "Value (%s) for parameter attribute is invalid.", in.Attribute)
	}
	return out, nil
}

// ModifyVpcAttribute is EC2's action of that name.
func (s Actions) ModifyVpcAttribute(c world.Caller, in ec2.ModifyVpcAttributeInput) (ec2.Done, error) {
	n, err := s.OwnVPC(c, in.VpcId)
	if err != nil {
		return ec2.Done{}, err
	}
	given := map[*bool]*ec2.AttributeBooleanValue{
		&n.DNSSupport: in.EnableDnsSupport, &n.DNSHostnames: in.EnableDnsHostnames, &n.NAU: in.EnableNetworkAddressUsageMetrics,
	}
	return ec2.Done{}, world.SetOne(given)
}

// AssociateVpcCidrBlock is EC2's action of that name.
func (s Actions) AssociateVpcCidrBlock(c world.Caller, in ec2.AssociateVpcCidrBlockInput) (ec2.AssociateVpcCidrBlockOutput, error) {
	out := ec2.AssociateVpcCidrBlockOutput{VpcId: in.VpcId}
	n, err := s.OwnVPC(c, in.VpcId)
	if err != nil {
		return out, err
	}
	limit := world.Quota(s.State.Settings.Quotas.BlocksPerVPC, 5)
	b := world.Block{State: world.Associating}
	if in.AmazonProvidedIpv6CidrBlock {
		if len(n.Blocks6) >= limit {
			return out, tooManyBlocks(n, limit)
		}
		b.ID, b.CIDR = s.NewID(world.KindBlock), s.block6()
		n.Blocks6 = append(n.Blocks6, b)
		out.Ipv6CidrBlockAssociation = show6(&b, s.State.Region)
	} else {
		cidr, err := blocks.Parse(in.CidrBlock)
		if err != nil {
			return out, err
		}
		have := make([]netip.Prefix, len(n.Blocks))
		for i := range n.Blocks {
			have[i] = n.Blocks[i].CIDR
		}
		if err := blocks.CheckSecondary(have, cidr, s.State.Settings.LaxBlocks); err != nil {
			return out, err
		}
		if len(n.Blocks) >= limit {
			return out, tooManyBlocks(n, limit)
		}
		b.ID, b.CIDR = s.NewID(world.KindBlock), cidr
		n.Blocks = append(n.Blocks, b)
		out.CidrBlockAssociation = show(&b)
	}
	s.Schedule(s.After(s.State.Settings.AssociateBlock), world.EvBlock, n.ID, b.ID)
	return out, nil
}

func tooManyBlocks(n *world.Network, limit int) error {
	return ec2.Errorf("CidrLimitExceeded",
		"This network '%s' has met its maximum number of allowed CIDRs: %d", n.ID, limit)
}

// DisassociateVpcCidrBlock is EC2's action of that name.
func (s Actions) DisassociateVpcCidrBlock(c world.Caller, in ec2.DisassociateVpcCidrBlockInput) (ec2.DisassociateVpcCidrBlockOutput, error) {
	var out ec2.DisassociateVpcCidrBlockOutput
	if err := world.KindBlock.Check(in.AssociationId); err != nil {
		return out, err
	}
	n, b, primary := s.blockByID(in.AssociationId)
	if n == nil || n.Owner != string(c.Account) {
		return out, world.KindBlock.Missing(in.AssociationId)
	}
	if primary {
		return out, ec2.Errorf("OperationNotPermitted",
			"The vpc CIDR block with association ID %s may not be disassociated. It is the primary IPv4 CIDR block of the VPC", b.ID)
	}
	for sub := range s.State.Subnets.All() {
		if sub.VPC == n.ID && (b.CIDR.Overlaps(sub.V4.CIDR()) || sub.V6 != nil && b.CIDR.Overlaps(sub.V6.CIDR())) {
			return out, ec2.Errorf("InvalidCidr.InUse", "The vpc %s currently has a subnet within CIDR block %s", n.ID, b.CIDR)
		}
	}
	b.State = world.Disassociating
	out.VpcId = n.ID
	if b.CIDR.Addr().Is4() {
		out.CidrBlockAssociation = show(b)
	} else {
		out.Ipv6CidrBlockAssociation = show6(b, s.State.Region)
	}
	s.Schedule(s.After(s.State.Settings.AssociateBlock), world.EvBlock, n.ID, b.ID)
	return out, nil
}

func (s Actions) blockByID(id string) (n *world.Network, b *world.Block, primary bool) {
	for n := range s.State.VPCs.All() {
		for i := range n.Blocks {
			if n.Blocks[i].ID == id {
				return n, &n.Blocks[i], i == 0
			}
		}
		for i := range n.Blocks6 {
			if n.Blocks6[i].ID == id {
				return n, &n.Blocks6[i], false
			}
		}
	}
	return nil, nil, false
}

// BlockDone completes the association or disassociation of a block.
func (s Actions) BlockDone(vpcID, id string) {
	n, b, _ := s.blockByID(id)
	if n == nil || n.ID != vpcID {
		return
	}
	switch b.State {
	case world.Associating:
		b.State = world.Associated
	case world.Disassociating:
		gone := func(b world.Block) bool { return b.ID == id }
		n.Blocks, n.Blocks6 = slices.DeleteFunc(n.Blocks, gone), slices.DeleteFunc(n.Blocks6, gone)
	}
}

// NewRouteTable makes a table of a VPC.
func (s Actions) NewRouteTable(n *world.Network, main bool) *routing.Table {
	t := &routing.Table{ID: s.NewID(world.KindTable), VPC: n.ID, Owner: n.Owner}
	if main {
		t.Associate(s.NewID(world.KindTableAssoc), "")
	}
	s.State.RouteTables.Put(t.ID, t)
	return t
}

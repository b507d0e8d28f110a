package vpcsim

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/berth-net/berth/internal/vpcsim/blocks"
	"github.com/berth-net/berth/internal/vpcsim/ec2"
	"github.com/berth-net/berth/internal/vpcsim/groups"
)

// seesVPC tells whether an account sees a VPC: its own, or one of which a subnet is shared with it.
func (s *Sim) seesVPC(c Caller, n *network) bool {
	if n.Owner == string(c.Account) {
		return true
	}
	for sub := range s.st.Subnets.all() {
		if sub.VPC == n.ID && sub.sees(string(c.Account)) {
			return true
		}
	}
	return false
}

// vpc finds a VPC that the caller sees; ownVPC one that it owns.
func (s *Sim) vpc(c Caller, id string) (*network, error) {
	return find(&s.st.VPCs, kindVPC, id, func(n *network) bool { return s.seesVPC(c, n) })
}

func (s *Sim) ownVPC(c Caller, id string) (*network, error) {
	n, err := s.vpc(c, id)
	if err == nil && n.Owner != string(c.Account) {
		err = &APIError{Status: 403, Code: "UnauthorizedOperation", Message: "You are not authorized to perform this operation. The VPC is owned by another account."}
	}
	return n, err
}

func (s *Sim) createVpc(c Caller, in ec2.CreateVpcInput) (ec2.CreateVpcOutput, error) {
	var out ec2.CreateVpcOutput
	cidr, err := blocks.Parse(in.CidrBlock)
	if err != nil {
		return out, err
	}
	if err := blocks.CheckVPC(cidr); err != nil {
		return out, err
	}
	if err := s.checkTags(c, in.TagSpecifications, kindVPC); err != nil {
		return out, err
	}
	n := &network{ID: s.newID(kindVPC), Owner: string(c.Account), DNSSupport: true}
	n.Blocks = []block{{ID: s.newID(kindBlock), CIDR: cidr, State: associated}}
	if in.AmazonProvidedIpv6CidrBlock {
		n.Blocks6 = []block{{ID: s.newID(kindBlock), CIDR: s.block6(), State: associated}}
	}
	s.st.VPCs.put(n.ID, n)
	g := groups.New(groups.Group{
		ID: s.newID(kindGroup), Name: groups.DefaultName, Description: "default VPC security group", VPC: n.ID, Owner: n.Owner,
	}, len(n.Blocks6) > 0, s.newRuleID)
	n.DefaultGroup = g.ID
	s.st.Groups.put(g.ID, g)
	n.MainTable = s.newRouteTable(n, true).ID
	s.tag(c, kindVPC, n.ID, in.TagSpecifications)
	out.Vpc = s.showVPC(c, n)
	out.Vpc.State = "pending" // as EC2 answers; it is available at the next look
	return out, nil
}

// block6 is an unused /56, as Amazon would provide.
func (s *Sim) block6() netip.Prefix {
	for {
		n := s.ids.Uint32()
		a := netip.AddrFrom16([16]byte{0x26, 0x00, 0x1f, 0x14, byte(n >> 16), byte(n >> 8), byte(n)})
		p := netip.PrefixFrom(a, 56)
		used := false
		for v := range s.st.VPCs.all() {
			used = used || slices.ContainsFunc(v.Blocks6, func(b block) bool { return b.CIDR.Overlaps(p) })
		}
		if !used {
			return p
		}
	}
}

func (s *Sim) showVPC(c Caller, n *network) ec2.Vpc {
	v := ec2.Vpc{
		VpcId: n.ID, OwnerId: n.Owner, State: "available", CidrBlock: n.Blocks[0].CIDR.String(),
		DhcpOptionsId: "dopt-" + n.ID[len(n.ID)-17:], InstanceTenancy: "default", Tags: s.tagsOf(c, n.ID),
	}
	for i := range n.Blocks {
		v.CidrBlockAssociationSet = append(v.CidrBlockAssociationSet, *n.Blocks[i].show())
	}
	for i := range n.Blocks6 {
		v.Ipv6CidrBlockAssociationSet = append(v.Ipv6CidrBlockAssociationSet, *n.Blocks6[i].show6(s.st.Region))
	}
	return v
}

func (b *block) show() *ec2.VpcCidrBlockAssociation {
	return &ec2.VpcCidrBlockAssociation{
		AssociationId: b.ID, CidrBlock: b.CIDR.String(), CidrBlockState: ec2.CidrBlockState{State: b.State},
	}
}

func (b *block) show6(region string) *ec2.VpcIpv6CidrBlockAssociation {
	return &ec2.VpcIpv6CidrBlockAssociation{
		AssociationId: b.ID, Ipv6CidrBlock: b.CIDR.String(), Ipv6CidrBlockState: ec2.CidrBlockState{State: b.State},
		Ipv6Pool: "Amazon", NetworkBorderGroup: region,
	}
}

func (s *Sim) deleteVpc(c Caller, in ec2.DeleteVpcInput) (ec2.Done, error) {
	n, err := s.ownVPC(c, in.VpcId)
	if err != nil {
		return ec2.Done{}, err
	}
	if s.vpcInUse(n) {
		return ec2.Done{}, ec2.Errorf("DependencyViolation", "The vpc '%s' has dependencies and cannot be deleted.", n.ID)
	}
	for _, id := range []string{n.ID, n.DefaultGroup, n.MainTable} {
		s.st.Tags.Forget(id)
	}
	s.st.Groups.remove(n.DefaultGroup)
	s.st.RouteTables.remove(n.MainTable)
	s.st.VPCs.remove(n.ID)
	return ec2.Done{}, nil
}

func (s *Sim) vpcInUse(n *network) bool {
	for sub := range s.st.Subnets.all() {
		if sub.VPC == n.ID {
			return true
		}
	}
	for g := range s.st.Groups.all() {
		if g.VPC == n.ID && g.ID != n.DefaultGroup {
			return true
		}
	}
	for t := range s.st.RouteTables.all() {
		if t.VPC == n.ID && t.ID != n.MainTable {
			return true
		}
	}
	for g := range s.st.Gateways.all() {
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
		return collect(v.CidrBlockAssociationSet, func(a ec2.VpcCidrBlockAssociation) string { return a.CidrBlock })
	},
	"cidr-block-association.association-id": func(v *ec2.Vpc) []string {
		return collect(v.CidrBlockAssociationSet, func(a ec2.VpcCidrBlockAssociation) string { return a.AssociationId })
	},
	"cidr-block-association.state": func(v *ec2.Vpc) []string {
		return collect(v.CidrBlockAssociationSet, func(a ec2.VpcCidrBlockAssociation) string { return a.CidrBlockState.State })
	},
}

// collect is a string of each element.
func collect[T any](list []T, of func(T) string) []string {
	out := make([]string, len(list))
	for i, v := range list {
		out[i] = of(v)
	}
	return out
}

func (s *Sim) describeVpcs(c Caller, in ec2.DescribeVpcsInput) (ec2.DescribeVpcsOutput, error) {
	var out ec2.DescribeVpcsOutput
	all, err := list(&s.st.VPCs, in.VpcIds, func(id string) (*network, error) { return s.vpc(c, id) },
		func(n *network) bool { return s.seesVPC(c, n) }, func(n *network) ec2.Vpc { return s.showVPC(c, n) })
	if err != nil {
		return out, err
	}
	out.Vpcs, err = ec2.Select(all, in.Filters, vpcFields, func(v *ec2.Vpc) []ec2.Tag { return v.Tags })
	return out, err
}

// list shows the named objects, or all that are visible.
func list[V, S any](t *table[V], ids []string, get func(string) (V, error), visible func(V) bool, show func(V) S) ([]S, error) {
	out := []S{}
	if len(ids) > 0 {
		for _, id := range slices.Compact(slices.Sorted(slices.Values(ids))) {
			v, err := get(id)
			if err != nil {
				return nil, err
			}
			out = append(out, show(v))
		}
		return out, nil
	}
	for v := range t.all() {
		if visible(v) {
			out = append(out, show(v))
		}
	}
	return out, nil
}

func (s *Sim) describeVpcAttribute(c Caller, in ec2.DescribeVpcAttributeInput) (ec2.DescribeVpcAttributeOutput, error) {
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

func (s *Sim) modifyVpcAttribute(c Caller, in ec2.ModifyVpcAttributeInput) (ec2.Done, error) {
	n, err := s.ownVPC(c, in.VpcId)
	if err != nil {
		return ec2.Done{}, err
	}
	given := map[*bool]*ec2.AttributeBooleanValue{
		&n.DNSSupport: in.EnableDnsSupport, &n.DNSHostnames: in.EnableDnsHostnames, &n.NAU: in.EnableNetworkAddressUsageMetrics,
	}
	return ec2.Done{}, setOne(given)
}

// setOne sets the one attribute that a request gives.
func setOne(given map[*bool]*ec2.AttributeBooleanValue) error {
	maps.DeleteFunc(given, func(_ *bool, v *ec2.AttributeBooleanValue) bool { return v == nil })
	switch len(given) {
	case 0:
		return ec2.Errorf("MissingParameter", "The request must contain an attribute to modify")
	case 1:
	default:
		return ec2.Errorf("InvalidParameterCombination", "Fields for multiple attributes specified")
	}
	for into, v := range given {
		*into = v.Value
	}
	return nil
}

func (s *Sim) associateVpcCidrBlock(c Caller, in ec2.AssociateVpcCidrBlockInput) (ec2.AssociateVpcCidrBlockOutput, error) {
	out := ec2.AssociateVpcCidrBlockOutput{VpcId: in.VpcId}
	n, err := s.ownVPC(c, in.VpcId)
	if err != nil {
		return out, err
	}
	limit := quota(s.st.Settings.Quotas.BlocksPerVPC, 5)
	b := block{State: associating}
	if in.AmazonProvidedIpv6CidrBlock {
		if len(n.Blocks6) >= limit {
			return out, tooManyBlocks(n, limit)
		}
		b.ID, b.CIDR = s.newID(kindBlock), s.block6()
		n.Blocks6 = append(n.Blocks6, b)
		out.Ipv6CidrBlockAssociation = b.show6(s.st.Region)
	} else {
		cidr, err := blocks.Parse(in.CidrBlock)
		if err != nil {
			return out, err
		}
		have := make([]netip.Prefix, len(n.Blocks))
		for i := range n.Blocks {
			have[i] = n.Blocks[i].CIDR
		}
		if err := blocks.CheckSecondary(have, cidr, s.st.Settings.LaxBlocks); err != nil {
			return out, err
		}
		if len(n.Blocks) >= limit {
			return out, tooManyBlocks(n, limit)
		}
		b.ID, b.CIDR = s.newID(kindBlock), cidr
		n.Blocks = append(n.Blocks, b)
		out.CidrBlockAssociation = b.show()
	}
	s.schedule(s.after(s.st.Settings.AssociateBlock), evBlock, n.ID, b.ID)
	return out, nil
}

func tooManyBlocks(n *network, limit int) error {
	return ec2.Errorf("CidrLimitExceeded",
		"This network '%s' has met its maximum number of allowed CIDRs: %d", n.ID, limit)
}

func (s *Sim) disassociateVpcCidrBlock(c Caller, in ec2.DisassociateVpcCidrBlockInput) (ec2.DisassociateVpcCidrBlockOutput, error) {
	var out ec2.DisassociateVpcCidrBlockOutput
	if err := kindBlock.check(in.AssociationId); err != nil {
		return out, err
	}
	n, b, primary := s.blockByID(in.AssociationId)
	if n == nil || n.Owner != string(c.Account) {
		return out, kindBlock.missing(in.AssociationId)
	}
	if primary {
		return out, ec2.Errorf("OperationNotPermitted",
			"The vpc CIDR block with association ID %s may not be disassociated. It is the primary IPv4 CIDR block of the VPC", b.ID)
	}
	for sub := range s.st.Subnets.all() {
		if sub.VPC == n.ID && (b.CIDR.Overlaps(sub.V4.CIDR()) || sub.V6 != nil && b.CIDR.Overlaps(sub.V6.CIDR())) {
			return out, ec2.Errorf("InvalidCidr.InUse", "The vpc %s currently has a subnet within CIDR block %s", n.ID, b.CIDR)
		}
	}
	b.State = disassociating
	out.VpcId = n.ID
	if b.CIDR.Addr().Is4() {
		out.CidrBlockAssociation = b.show()
	} else {
		out.Ipv6CidrBlockAssociation = b.show6(s.st.Region)
	}
	s.schedule(s.after(s.st.Settings.AssociateBlock), evBlock, n.ID, b.ID)
	return out, nil
}

func (s *Sim) blockByID(id string) (n *network, b *block, primary bool) {
	for n := range s.st.VPCs.all() {
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

// blockDone completes the association or disassociation of a block.
func (s *Sim) blockDone(vpcID, id string) {
	n, b, _ := s.blockByID(id)
	if n == nil || n.ID != vpcID {
		return
	}
	switch b.State {
	case associating:
		b.State = associated
	case disassociating:
		gone := func(b block) bool { return b.ID == id }
		n.Blocks, n.Blocks6 = slices.DeleteFunc(n.Blocks, gone), slices.DeleteFunc(n.Blocks6, gone)
	}
	for i := range s.st.Instances.all() {
		if i.VPC == n.ID {
			s.syncMetadata(i)
		}
	}
}

package gateways

import (
	"net/netip"
	"slices"
	"time"

	"github.com/berth-net/berth/internal/core/vpc"
	"github.com/berth-net/berth/internal/vpcsim/ec2"
	"github.com/berth-net/berth/internal/vpcsim/interfaces"
	"github.com/berth-net/berth/internal/vpcsim/world"
)

func (s Actions) gateway(c world.Caller, id string) (*world.Gateway, error) {
	return world.Find(&s.State.Gateways, world.KindGateway, id, func(g *world.Gateway) bool { return g.Owner == string(c.Account) })
}

func (s Actions) showGateway(c world.Caller, g *world.Gateway) ec2.InternetGateway {
	out := ec2.InternetGateway{InternetGatewayId: g.ID, OwnerId: g.Owner, Tags: s.TagsOf(c, g.ID)}
	if g.VPC != "" {
		out.Attachments = []ec2.InternetGatewayAttachment{{VpcId: g.VPC, State: "available"}}
	}
	return out
}

// CreateInternetGateway is EC2's action of that name.
func (s Actions) CreateInternetGateway(c world.Caller, in ec2.CreateInternetGatewayInput) (ec2.CreateInternetGatewayOutput, error) {
	if err := s.CheckTags(c, in.TagSpecifications, world.KindGateway); err != nil {
		return ec2.CreateInternetGatewayOutput{}, err
	}
	g := &world.Gateway{ID: s.NewID(world.KindGateway), Owner: string(c.Account)}
	s.State.Gateways.Put(g.ID, g)
	s.Tag(c, world.KindGateway, g.ID, in.TagSpecifications)
	return ec2.CreateInternetGatewayOutput{InternetGateway: s.showGateway(c, g)}, nil
}

// AttachInternetGateway is EC2's action of that name.
func (s Actions) AttachInternetGateway(c world.Caller, in ec2.InternetGatewayInput) (ec2.Done, error) {
	g, err := s.gateway(c, in.InternetGatewayId)
	if err != nil {
		return ec2.Done{}, err
	}
	n, err := s.OwnVPC(c, in.VpcId)
	if err != nil {
		return ec2.Done{}, err
	}
	for other := range s.State.Gateways.All() {
		if other.VPC == n.ID || other == g && g.VPC != "" {
			return ec2.Done{}, ec2.Errorf("Resource.AlreadyAssociated", "resource %s is already attached to network %s", other.ID, other.VPC)
		}
	}
	g.VPC = n.ID
	return ec2.Done{}, nil
}

// DetachInternetGateway is EC2's action of that name.
func (s Actions) DetachInternetGateway(c world.Caller, in ec2.InternetGatewayInput) (ec2.Done, error) {
	g, err := s.gateway(c, in.InternetGatewayId)
	if err != nil {
		return ec2.Done{}, err
	}
	if g.VPC != in.VpcId || g.VPC == "" {
		return ec2.Done{}, ec2.Errorf("Gateway.NotAttached", "resource %s is not attached to network %s", g.ID, in.VpcId)
	}
	for e := range s.State.ENIs.All() {
		if e.VPC == g.VPC && len(e.Public) > 0 {
			return ec2.Done{}, ec2.Errorf("DependencyViolation",
				"Network %s has some mapped public address(es). Please unmap those public address(es) before detaching the gateway.", g.VPC)
		}
	}
	g.VPC = ""
	return ec2.Done{}, nil
}

// DeleteInternetGateway is EC2's action of that name.
func (s Actions) DeleteInternetGateway(c world.Caller, in ec2.InternetGatewayInput) (ec2.Done, error) {
	g, err := s.gateway(c, in.InternetGatewayId)
	if err != nil {
		return ec2.Done{}, err
	}
	if g.VPC != "" {
		return ec2.Done{}, ec2.Errorf("DependencyViolation", "The internetGateway '%s' has dependencies and cannot be deleted.", g.ID)
	}
	s.State.Gateways.Remove(g.ID)
	s.State.Tags.Forget(g.ID)
	return ec2.Done{}, nil
}

// DescribeInternetGateways is EC2's action of that name.
func (s Actions) DescribeInternetGateways(c world.Caller, in ec2.DescribeInternetGatewaysInput) (ec2.DescribeInternetGatewaysOutput, error) {
	var out ec2.DescribeInternetGatewaysOutput
	all, err := world.List(&s.State.Gateways, in.InternetGatewayIds, func(id string) (*world.Gateway, error) { return s.gateway(c, id) },
		func(g *world.Gateway) bool { return g.Owner == string(c.Account) },
		func(g *world.Gateway) ec2.InternetGateway { return s.showGateway(c, g) })
	if err != nil {
		return out, err
	}
	out.InternetGateways, err = ec2.Select(all, in.Filters, gatewayFields, func(g *ec2.InternetGateway) []ec2.Tag { return g.Tags })
	return out, err
}

var gatewayFields = ec2.Fields[ec2.InternetGateway]{
	"internet-gateway-id": func(g *ec2.InternetGateway) []string { return []string{g.InternetGatewayId} },
	"owner-id":            func(g *ec2.InternetGateway) []string { return []string{g.OwnerId} },
	"attachment.vpc-id": func(g *ec2.InternetGateway) []string {
		return world.Collect(g.Attachments, func(a ec2.InternetGatewayAttachment) string { return a.VpcId })
	},
	"attachment.state": func(g *ec2.InternetGateway) []string {
		return world.Collect(g.Attachments, func(a ec2.InternetGatewayAttachment) string { return a.State })
	},
}

// States of a NAT gateway.
const (
	natPending   = "pending"
	NatAvailable = "available"
	natDeleting  = "deleting"
	natDeleted   = "deleted"
)

func (s Actions) nat(c world.Caller, id string) (*world.NATGateway, error) {
	return world.Find(&s.State.NATs, world.KindNAT, id, func(n *world.NATGateway) bool { return n.Owner == string(c.Account) })
}

// CreateNatGateway is EC2's action of that name.
func (s Actions) CreateNatGateway(c world.Caller, in ec2.CreateNatGatewayInput) (ec2.CreateNatGatewayOutput, error) {
	out := ec2.CreateNatGatewayOutput{ClientToken: in.ClientToken}
	sub, err := s.Subnet(c, in.SubnetId)
	if err != nil {
		return out, err
	}
	n := &world.NATGateway{Subnet: sub.ID, VPC: sub.VPC, Owner: string(c.Account), State: natPending, Connectivity: in.ConnectivityType, Created: s.State.Now}
	if n.Connectivity == "" {
		n.Connectivity = "public"
	}
	var a *world.Address
	switch {
	case n.Connectivity != "public" && n.Connectivity != "private":
		return out, ec2.Errorf("InvalidParameterValue", "Value (%s) for parameter connectivityType is invalid.", in.ConnectivityType)
	case n.Connectivity == "private" && in.AllocationId != "":
		return out, ec2.Errorf("InvalidParameterCombination", "A private NAT gateway cannot have an Elastic IP address.")
	case n.Connectivity == "public":
		if a, err = s.address(c, in.AllocationId, ""); err != nil {
			return out, err
		}
		if a.ENI != "" {
			return out, ec2.Errorf("Resource.AlreadyAssociated", "resource %s is already associated with associate-id %s", a.ID, a.Association)
		}
	}
	if err := s.CheckTags(c, in.TagSpecifications, world.KindNAT); err != nil {
		return out, err
	}
	n.ID = s.NewID(world.KindNAT)
	e, err := s.NewENI(interfaces.Wanted{
		Subnet: sub, Owner: n.Owner, Description: "Interface for NAT Gateway " + n.ID, Type: "nat_gateway",
		Managed: "amazon-nat", Primary: in.PrivateIpAddress,
	})
	if err != nil {
		return out, err
	}
	n.ENI, n.Private = e.ID, e.Addresses[0]
	e.SourceDestCheck = false
	if a != nil {
		s.Associate(a, e, n.Private)
		n.Allocation, n.Association, n.Public = a.ID, a.Association, a.IP
	}
	s.State.NATs.Put(n.ID, n)
	s.Tag(c, world.KindNAT, n.ID, in.TagSpecifications)
	s.Schedule(s.After(s.State.Settings.CreateNATGateway), world.EvNAT, n.ID, "")
	out.NatGateway = s.showNAT(c, n)
	return out, nil
}

func (s Actions) showNAT(c world.Caller, n *world.NATGateway) ec2.NatGateway {
	status := "succeeded"
	if n.State == natPending {
		status = "associating"
	}
	a := ec2.NatGatewayAddress{
		AllocationId: n.Allocation, AssociationId: n.Association, NetworkInterfaceId: n.ENI, PrivateIp: n.Private.String(),
		IsPrimary: true, Status: status,
	}
	if n.Public.IsValid() {
		a.PublicIp = n.Public.String()
	}
	return ec2.NatGateway{
		NatGatewayId: n.ID, SubnetId: n.Subnet, VpcId: n.VPC, State: n.State, ConnectivityType: n.Connectivity,
		CreateTime: n.Created, DeleteTime: n.Deleted, NatGatewayAddresses: []ec2.NatGatewayAddress{a}, Tags: s.TagsOf(c, n.ID),
	}
}

// DeleteNatGateway is EC2's action of that name.
func (s Actions) DeleteNatGateway(c world.Caller, in ec2.DeleteNatGatewayInput) (ec2.DeleteNatGatewayOutput, error) {
	n, err := s.nat(c, in.NatGatewayId)
	if err != nil {
		return ec2.DeleteNatGatewayOutput{}, err
	}
	if n.State == natPending || n.State == NatAvailable {
		n.State = natDeleting
		s.Schedule(s.After(s.State.Settings.CreateNATGateway), world.EvNAT, n.ID, "")
	}
	return ec2.DeleteNatGatewayOutput{NatGatewayId: n.ID}, nil
}

// NatDone completes the creation or deletion of a NAT gateway.
func (s Actions) NatDone(id string) {
	n, ok := s.State.NATs.Get(id)
	if !ok {
		return
	}
	switch n.State {
	case natPending:
		n.State = NatAvailable
	case natDeleting:
		n.State = natDeleted
		deleted := s.State.Now
		n.Deleted = &deleted
		if e, ok := s.State.ENIs.Get(n.ENI); ok {
			s.RemoveENI(e)
		}
		s.Schedule(time.Hour, world.EvForget, n.ID, "")
	}
}

// DescribeNatGateways is EC2's action of that name.
func (s Actions) DescribeNatGateways(c world.Caller, in ec2.DescribeNatGatewaysInput) (ec2.DescribeNatGatewaysOutput, error) {
	var out ec2.DescribeNatGatewaysOutput
	all, err := world.List(&s.State.NATs, in.NatGatewayIds, func(id string) (*world.NATGateway, error) { return s.nat(c, id) },
		func(n *world.NATGateway) bool { return n.Owner == string(c.Account) },
		func(n *world.NATGateway) ec2.NatGateway { return s.showNAT(c, n) })
	if err != nil {
		return out, err
	}
	out.NatGateways, err = ec2.Select(all, in.Filter, natFields, func(n *ec2.NatGateway) []ec2.Tag { return n.Tags })
	return out, err
}

var natFields = ec2.Fields[ec2.NatGateway]{
	"nat-gateway-id": func(n *ec2.NatGateway) []string { return []string{n.NatGatewayId} },
	"state":          func(n *ec2.NatGateway) []string { return []string{n.State} },
	"subnet-id":      func(n *ec2.NatGateway) []string { return []string{n.SubnetId} },
	"vpc-id":         func(n *ec2.NatGateway) []string { return []string{n.VpcId} },
}

// address finds an elastic address by its allocation or by itself.
func (s Actions) address(c world.Caller, id, ip string) (*world.Address, error) {
	if id == "" && ip != "" {
		for a := range s.State.Addresses.All() {
			if a.IP.String() == ip && a.Owner == string(c.Account) {
				return a, nil
			}
		}
		return nil, ec2.Errorf("InvalidAddress.NotFound", "Address '%s' not found.", ip)
	}
	return world.Find(&s.State.Addresses, world.KindAllocation, id, func(a *world.Address) bool { return a.Owner == string(c.Account) })
}

// AllocateAddress is EC2's action of that name.
func (s Actions) AllocateAddress(c world.Caller, in ec2.AllocateAddressInput) (ec2.AllocateAddressOutput, error) {
	var out ec2.AllocateAddressOutput
	if err := s.CheckTags(c, in.TagSpecifications, world.KindAllocation); err != nil {
		return out, err
	}
	ip, err := s.NewPublic()
	if err != nil {
		return out, err
	}
	a := &world.Address{ID: s.NewID(world.KindAllocation), Owner: string(c.Account), IP: ip}
	s.State.Addresses.Put(a.ID, a)
	s.Tag(c, world.KindAllocation, a.ID, in.TagSpecifications)
	return ec2.AllocateAddressOutput{
		AllocationId: a.ID, PublicIp: ip.String(), Domain: "vpc", PublicIpv4Pool: "amazon", NetworkBorderGroup: s.State.Region,
	}, nil
}

// ReleaseAddress is EC2's action of that name.
func (s Actions) ReleaseAddress(c world.Caller, in ec2.ReleaseAddressInput) (ec2.Done, error) {
	a, err := s.address(c, in.AllocationId, in.PublicIp)
	if err != nil {
		return ec2.Done{}, err
	}
	if a.ENI != "" {
		return ec2.Done{}, ec2.Errorf("InvalidIPAddress.InUse", "Address %s is in use.", a.IP)
	}
	s.State.Addresses.Remove(a.ID)
	s.State.Tags.Forget(a.ID)
	delete(s.Publics, a.IP)
	return ec2.Done{}, nil
}

// AssociateAddress is EC2's action of that name.
func (s Actions) AssociateAddress(c world.Caller, in ec2.AssociateAddressInput) (ec2.AssociateAddressOutput, error) {
	var out ec2.AssociateAddressOutput
	a, err := s.address(c, in.AllocationId, in.PublicIp)
	if err != nil {
		return out, err
	}
	id := in.NetworkInterfaceId
	if id == "" {
		i, err := s.OwnInstance(c, in.InstanceId)
		if err != nil {
			return out, err
		}
		if len(i.ENIs) == 0 {
			return out, ec2.Errorf("InvalidInstanceID", "The instance '%s' has no network interface", i.ID)
		}
		id = i.ENIs[0]
	}
	e, err := s.OwnENI(c, id)
	if err != nil {
		return out, err
	}
	private := e.Addresses[0]
	if in.PrivateIpAddress != "" {
		if private, err = netip.ParseAddr(in.PrivateIpAddress); err != nil || !slices.Contains(e.Addresses, private) {
			return out, ec2.Errorf("InvalidParameterValue", "Private IP address %s is not assigned to interface %s", in.PrivateIpAddress, e.ID)
		}
	}
	if a.ENI != "" && in.AllowReassociation != nil && !*in.AllowReassociation {
		return out, ec2.Errorf("Resource.AlreadyAssociated", "resource %s is already associated with associate-id %s", a.ID, a.Association)
	}
	s.dissociate(a)
	s.DropPublic(e, private)
	s.Associate(a, e, private)
	out.AssociationId = a.Association
	s.Touch(e)
	return out, nil
}

// dissociate takes an elastic address from its interface, if it has one.
func (s Actions) dissociate(a *world.Address) {
	if e, ok := s.State.ENIs.Get(a.ENI); ok {
		delete(e.Public, a.Private)
		s.Touch(e)
	}
	a.ENI, a.Private, a.Association = "", netip.Addr{}, ""
}

// DisassociateAddress is EC2's action of that name.
func (s Actions) DisassociateAddress(c world.Caller, in ec2.DisassociateAddressInput) (ec2.Done, error) {
	if in.AssociationId == "" {
		a, err := s.address(c, "", in.PublicIp)
		if err == nil {
			s.dissociate(a)
		}
		return ec2.Done{}, err
	}
	for a := range s.State.Addresses.All() {
		if a.Association == in.AssociationId && a.Owner == string(c.Account) {
			s.dissociate(a)
			return ec2.Done{}, nil
		}
	}
	return ec2.Done{}, world.KindAssociation.Missing(in.AssociationId)
}

// DescribeAddresses is EC2's action of that name.
func (s Actions) DescribeAddresses(c world.Caller, in ec2.DescribeAddressesInput) (ec2.DescribeAddressesOutput, error) {
	var out ec2.DescribeAddressesOutput
	all, err := world.List(&s.State.Addresses, in.AllocationIds, func(id string) (*world.Address, error) { return s.address(c, id, "") },
		func(a *world.Address) bool { return a.Owner == string(c.Account) },
		func(a *world.Address) ec2.Address { return s.showAddress(c, a) })
	if err != nil {
		return out, err
	}
	if len(in.PublicIps) > 0 {
		in.Filters = append(slices.Clip(in.Filters), ec2.Filter{Name: "public-ip", Values: in.PublicIps})
	}
	out.Addresses, err = ec2.Select(all, in.Filters, addressFields, func(a *ec2.Address) []ec2.Tag { return a.Tags })
	return out, err
}

func (s Actions) showAddress(c world.Caller, a *world.Address) ec2.Address {
	out := ec2.Address{
		AllocationId: a.ID, AssociationId: a.Association, Domain: "vpc", PublicIp: a.IP.String(), PublicIpv4Pool: "amazon",
		NetworkBorderGroup: s.State.Region, NetworkInterfaceId: a.ENI, Tags: s.TagsOf(c, a.ID),
	}
	if e, ok := s.State.ENIs.Get(a.ENI); ok {
		out.NetworkInterfaceOwnerId, out.PrivateIpAddress = e.Owner, a.Private.String()
		if e.Attachment != nil && e.Attachment.Status != string(vpc.Detaching) {
			out.InstanceId = e.Attachment.Instance
		}
	}
	return out
}

var addressFields = ec2.Fields[ec2.Address]{
	"allocation-id":        func(a *ec2.Address) []string { return []string{a.AllocationId} },
	"association-id":       func(a *ec2.Address) []string { return []string{a.AssociationId} },
	"domain":               func(a *ec2.Address) []string { return []string{a.Domain} },
	"public-ip":            func(a *ec2.Address) []string { return []string{a.PublicIp} },
	"instance-id":          func(a *ec2.Address) []string { return []string{a.InstanceId} },
	"network-interface-id": func(a *ec2.Address) []string { return []string{a.NetworkInterfaceId} },
	"private-ip-address":   func(a *ec2.Address) []string { return []string{a.PrivateIpAddress} },
}

package vpcsim

import (
	"net/netip"
	"slices"
	"time"

	"github.com/berth-net/berth/internal/core/vpc"
	"github.com/berth-net/berth/internal/vpcsim/ec2"
)

func (s *Sim) gateway(c Caller, id string) (*gateway, error) {
	return find(&s.st.Gateways, kindGateway, id, func(g *gateway) bool { return g.Owner == string(c.Account) })
}

func (s *Sim) showGateway(c Caller, g *gateway) ec2.InternetGateway {
	out := ec2.InternetGateway{InternetGatewayId: g.ID, OwnerId: g.Owner, Tags: s.tagsOf(c, g.ID)}
	if g.VPC != "" {
		out.Attachments = []ec2.InternetGatewayAttachment{{VpcId: g.VPC, State: "available"}}
	}
	return out
}

func (s *Sim) createInternetGateway(c Caller, in ec2.CreateInternetGatewayInput) (ec2.CreateInternetGatewayOutput, error) {
	if err := s.checkTags(c, in.TagSpecifications, kindGateway); err != nil {
		return ec2.CreateInternetGatewayOutput{}, err
	}
	g := &gateway{ID: s.newID(kindGateway), Owner: string(c.Account)}
	s.st.Gateways.put(g.ID, g)
	s.tag(c, kindGateway, g.ID, in.TagSpecifications)
	return ec2.CreateInternetGatewayOutput{InternetGateway: s.showGateway(c, g)}, nil
}

func (s *Sim) attachInternetGateway(c Caller, in ec2.InternetGatewayInput) (ec2.Done, error) {
	g, err := s.gateway(c, in.InternetGatewayId)
	if err != nil {
		return ec2.Done{}, err
	}
	n, err := s.ownVPC(c, in.VpcId)
	if err != nil {
		return ec2.Done{}, err
	}
	for other := range s.st.Gateways.all() {
		if other.VPC == n.ID || other == g && g.VPC != "" {
			return ec2.Done{}, ec2.Errorf("Resource.AlreadyAssociated", "resource %s is already attached to network %s", other.ID, other.VPC)
		}
	}
	g.VPC = n.ID
	return ec2.Done{}, nil
}

func (s *Sim) detachInternetGateway(c Caller, in ec2.InternetGatewayInput) (ec2.Done, error) {
	g, err := s.gateway(c, in.InternetGatewayId)
	if err != nil {
		return ec2.Done{}, err
	}
	if g.VPC != in.VpcId || g.VPC == "" {
		return ec2.Done{}, ec2.Errorf("Gateway.NotAttached", "resource %s is not attached to network %s", g.ID, in.VpcId)
	}
	for e := range s.st.ENIs.all() {
		if e.VPC == g.VPC && len(e.Public) > 0 {
			return ec2.Done{}, ec2.Errorf("DependencyViolation",
				"Network %s has some mapped public address(es). Please unmap those public address(es) before detaching the gateway.", g.VPC)
		}
	}
	g.VPC = ""
	return ec2.Done{}, nil
}

func (s *Sim) deleteInternetGateway(c Caller, in ec2.InternetGatewayInput) (ec2.Done, error) {
	g, err := s.gateway(c, in.InternetGatewayId)
	if err != nil {
		return ec2.Done{}, err
	}
	if g.VPC != "" {
		return ec2.Done{}, ec2.Errorf("DependencyViolation", "The internetGateway '%s' has dependencies and cannot be deleted.", g.ID)
	}
	s.st.Gateways.remove(g.ID)
	s.st.Tags.Forget(g.ID)
	return ec2.Done{}, nil
}

func (s *Sim) describeInternetGateways(c Caller, in ec2.DescribeInternetGatewaysInput) (ec2.DescribeInternetGatewaysOutput, error) {
	var out ec2.DescribeInternetGatewaysOutput
	all, err := list(&s.st.Gateways, in.InternetGatewayIds, func(id string) (*gateway, error) { return s.gateway(c, id) },
		func(g *gateway) bool { return g.Owner == string(c.Account) },
		func(g *gateway) ec2.InternetGateway { return s.showGateway(c, g) })
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
		return collect(g.Attachments, func(a ec2.InternetGatewayAttachment) string { return a.VpcId })
	},
	"attachment.state": func(g *ec2.InternetGateway) []string {
		return collect(g.Attachments, func(a ec2.InternetGatewayAttachment) string { return a.State })
	},
}

// States of a NAT gateway.
const (
	natPending   = "pending"
	natAvailable = "available"
	natDeleting  = "deleting"
	natDeleted   = "deleted"
)

func (s *Sim) nat(c Caller, id string) (*natGateway, error) {
	return find(&s.st.NATs, kindNAT, id, func(n *natGateway) bool { return n.Owner == string(c.Account) })
}

func (s *Sim) createNatGateway(c Caller, in ec2.CreateNatGatewayInput) (ec2.CreateNatGatewayOutput, error) {
	out := ec2.CreateNatGatewayOutput{ClientToken: in.ClientToken}
	sub, err := s.subnet(c, in.SubnetId)
	if err != nil {
		return out, err
	}
	n := &natGateway{Subnet: sub.ID, VPC: sub.VPC, Owner: string(c.Account), State: natPending, Connectivity: in.ConnectivityType, Created: s.st.Now}
	if n.Connectivity == "" {
		n.Connectivity = "public"
	}
	var a *address
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
	if err := s.checkTags(c, in.TagSpecifications, kindNAT); err != nil {
		return out, err
	}
	n.ID = s.newID(kindNAT)
	e, err := s.newENI(wanted{
		subnet: sub, owner: n.Owner, description: "Interface for NAT Gateway " + n.ID, typ: "nat_gateway",
		managed: "amazon-nat", primary: in.PrivateIpAddress,
	})
	if err != nil {
		return out, err
	}
	n.ENI, n.Private = e.ID, e.Addresses[0]
	e.SourceDestCheck = false
	if a != nil {
		s.associate(a, e, n.Private)
		n.Allocation, n.Association, n.Public = a.ID, a.Association, a.IP
	}
	s.st.NATs.put(n.ID, n)
	s.tag(c, kindNAT, n.ID, in.TagSpecifications)
	s.schedule(s.after(s.st.Settings.CreateNATGateway), evNAT, n.ID, "")
	out.NatGateway = s.showNAT(c, n)
	return out, nil
}

func (s *Sim) showNAT(c Caller, n *natGateway) ec2.NatGateway {
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
		CreateTime: n.Created, DeleteTime: n.Deleted, NatGatewayAddresses: []ec2.NatGatewayAddress{a}, Tags: s.tagsOf(c, n.ID),
	}
}

func (s *Sim) deleteNatGateway(c Caller, in ec2.DeleteNatGatewayInput) (ec2.DeleteNatGatewayOutput, error) {
	n, err := s.nat(c, in.NatGatewayId)
	if err != nil {
		return ec2.DeleteNatGatewayOutput{}, err
	}
	if n.State == natPending || n.State == natAvailable {
		n.State = natDeleting
		s.schedule(s.after(s.st.Settings.CreateNATGateway), evNAT, n.ID, "")
	}
	return ec2.DeleteNatGatewayOutput{NatGatewayId: n.ID}, nil
}

// natDone completes the creation or deletion of a NAT gateway.
func (s *Sim) natDone(id string) {
	n, ok := s.st.NATs.get(id)
	if !ok {
		return
	}
	switch n.State {
	case natPending:
		n.State = natAvailable
	case natDeleting:
		n.State = natDeleted
		deleted := s.st.Now
		n.Deleted = &deleted
		if e, ok := s.st.ENIs.get(n.ENI); ok {
			s.removeENI(e)
		}
		s.schedule(time.Hour, evForget, n.ID, "")
	}
}

func (s *Sim) describeNatGateways(c Caller, in ec2.DescribeNatGatewaysInput) (ec2.DescribeNatGatewaysOutput, error) {
	var out ec2.DescribeNatGatewaysOutput
	all, err := list(&s.st.NATs, in.NatGatewayIds, func(id string) (*natGateway, error) { return s.nat(c, id) },
		func(n *natGateway) bool { return n.Owner == string(c.Account) },
		func(n *natGateway) ec2.NatGateway { return s.showNAT(c, n) })
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
func (s *Sim) address(c Caller, id, ip string) (*address, error) {
	if id == "" && ip != "" {
		for a := range s.st.Addresses.all() {
			if a.IP.String() == ip && a.Owner == string(c.Account) {
				return a, nil
			}
		}
		return nil, ec2.Errorf("InvalidAddress.NotFound", "Address '%s' not found.", ip)
	}
	return find(&s.st.Addresses, kindAllocation, id, func(a *address) bool { return a.Owner == string(c.Account) })
}

func (s *Sim) allocateAddress(c Caller, in ec2.AllocateAddressInput) (ec2.AllocateAddressOutput, error) {
	var out ec2.AllocateAddressOutput
	if err := s.checkTags(c, in.TagSpecifications, kindAllocation); err != nil {
		return out, err
	}
	ip, err := s.newPublic()
	if err != nil {
		return out, err
	}
	a := &address{ID: s.newID(kindAllocation), Owner: string(c.Account), IP: ip}
	s.st.Addresses.put(a.ID, a)
	s.tag(c, kindAllocation, a.ID, in.TagSpecifications)
	return ec2.AllocateAddressOutput{
		AllocationId: a.ID, PublicIp: ip.String(), Domain: "vpc", PublicIpv4Pool: "amazon", NetworkBorderGroup: s.st.Region,
	}, nil
}

func (s *Sim) releaseAddress(c Caller, in ec2.ReleaseAddressInput) (ec2.Done, error) {
	a, err := s.address(c, in.AllocationId, in.PublicIp)
	if err != nil {
		return ec2.Done{}, err
	}
	if a.ENI != "" {
		return ec2.Done{}, ec2.Errorf("InvalidIPAddress.InUse", "Address %s is in use.", a.IP)
	}
	s.st.Addresses.remove(a.ID)
	s.st.Tags.Forget(a.ID)
	delete(s.publics, a.IP)
	return ec2.Done{}, nil
}

func (s *Sim) associateAddress(c Caller, in ec2.AssociateAddressInput) (ec2.AssociateAddressOutput, error) {
	var out ec2.AssociateAddressOutput
	a, err := s.address(c, in.AllocationId, in.PublicIp)
	if err != nil {
		return out, err
	}
	id := in.NetworkInterfaceId
	if id == "" {
		i, err := s.ownInstance(c, in.InstanceId)
		if err != nil {
			return out, err
		}
		if len(i.ENIs) == 0 {
			return out, ec2.Errorf("InvalidInstanceID", "The instance '%s' has no network interface", i.ID)
		}
		id = i.ENIs[0]
	}
	e, err := s.ownENI(c, id)
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
	s.dropPublic(e, private)
	s.associate(a, e, private)
	out.AssociationId = a.Association
	s.touch(e)
	return out, nil
}

func (s *Sim) associate(a *address, e *eni, private netip.Addr) {
	a.ENI, a.Private, a.Association = e.ID, private, s.newID(kindAssociation)
	if e.Public == nil {
		e.Public = make(map[netip.Addr]public)
	}
	e.Public[private] = public{IP: a.IP, Allocation: a.ID, Association: a.Association}
}

// dissociate takes an elastic address from its interface, if it has one.
func (s *Sim) dissociate(a *address) {
	if e, ok := s.st.ENIs.get(a.ENI); ok {
		delete(e.Public, a.Private)
		s.touch(e)
	}
	a.ENI, a.Private, a.Association = "", netip.Addr{}, ""
}

// dropPublic takes the public address of a private one away: an elastic one remains allocated, another is gone.
func (s *Sim) dropPublic(e *eni, private netip.Addr) {
	p, ok := e.Public[private]
	if !ok {
		return
	}
	delete(e.Public, private)
	if a, elastic := s.st.Addresses.get(p.Allocation); elastic {
		a.ENI, a.Private, a.Association = "", netip.Addr{}, ""
	} else {
		delete(s.publics, p.IP)
	}
}

// givePublic gives an interface's primary address a public one that goes with the interface.
func (s *Sim) givePublic(e *eni) error {
	ip, err := s.newPublic()
	if err != nil {
		return err
	}
	e.Public = map[netip.Addr]public{e.Addresses[0]: {IP: ip}}
	return nil
}

func (s *Sim) disassociateAddress(c Caller, in ec2.DisassociateAddressInput) (ec2.Done, error) {
	if in.AssociationId == "" {
		a, err := s.address(c, "", in.PublicIp)
		if err == nil {
			s.dissociate(a)
		}
		return ec2.Done{}, err
	}
	for a := range s.st.Addresses.all() {
		if a.Association == in.AssociationId && a.Owner == string(c.Account) {
			s.dissociate(a)
			return ec2.Done{}, nil
		}
	}
	return ec2.Done{}, kindAssociation.missing(in.AssociationId)
}

func (s *Sim) describeAddresses(c Caller, in ec2.DescribeAddressesInput) (ec2.DescribeAddressesOutput, error) {
	var out ec2.DescribeAddressesOutput
	all, err := list(&s.st.Addresses, in.AllocationIds, func(id string) (*address, error) { return s.address(c, id, "") },
		func(a *address) bool { return a.Owner == string(c.Account) },
		func(a *address) ec2.Address { return s.showAddress(c, a) })
	if err != nil {
		return out, err
	}
	if len(in.PublicIps) > 0 {
		in.Filters = append(in.Filters[:len(in.Filters):len(in.Filters)], ec2.Filter{Name: "public-ip", Values: in.PublicIps})
	}
	out.Addresses, err = ec2.Select(all, in.Filters, addressFields, func(a *ec2.Address) []ec2.Tag { return a.Tags })
	return out, err
}

func (s *Sim) showAddress(c Caller, a *address) ec2.Address {
	out := ec2.Address{
		AllocationId: a.ID, AssociationId: a.Association, Domain: "vpc", PublicIp: a.IP.String(), PublicIpv4Pool: "amazon",
		NetworkBorderGroup: s.st.Region, NetworkInterfaceId: a.ENI, Tags: s.tagsOf(c, a.ID),
	}
	if e, ok := s.st.ENIs.get(a.ENI); ok {
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

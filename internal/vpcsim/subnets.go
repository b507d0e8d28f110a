package vpcsim

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/berth-net/berth/internal/vpcsim/addressing"
	"github.com/berth-net/berth/internal/vpcsim/blocks"
	"github.com/berth-net/berth/internal/vpcsim/ec2"
)

// subnet finds a subnet that the caller sees; ownSubnet one that it owns.
func (s *Sim) subnet(c Caller, id string) (*subnet, error) {
	return find(&s.st.Subnets, kindSubnet, id, func(n *subnet) bool { return n.sees(string(c.Account)) })
}

func (s *Sim) ownSubnet(c Caller, id string) (*subnet, error) {
	n, err := s.subnet(c, id)
	if err == nil && n.Owner != string(c.Account) {
		err = &APIError{Status: 403, Code: "UnauthorizedOperation", Message: "You are not authorized to perform this operation. The subnet is owned by another account."}
	}
	return n, err
}

func (s *Sim) createSubnet(c Caller, in ec2.CreateSubnetInput) (ec2.CreateSubnetOutput, error) {
	var out ec2.CreateSubnetOutput
	v, err := s.ownVPC(c, in.VpcId)
	if err != nil {
		return out, err
	}
	cidr, err := blocks.Parse(in.CidrBlock)
	if err != nil {
		return out, err
	}
	zone, err := s.zone(in.AvailabilityZone, in.AvailabilityZoneId)
	if err != nil {
		return out, err
	}
	if err := s.checkSubnet(v, cidr); err != nil {
		return out, err
	}
	var cidr6 netip.Prefix
	if in.Ipv6CidrBlock != "" {
		if cidr6, err = s.subnetBlock6(v, in.Ipv6CidrBlock); err != nil {
			return out, err
		}
	}
	if err := s.checkTags(c, in.TagSpecifications, kindSubnet); err != nil {
		return out, err
	}
	n := &subnet{
		ID: s.newID(kindSubnet), VPC: v.ID, Owner: v.Owner, Zone: string(zone.Name), V4: addressing.New(cidr),
		Hostname: ec2.PrivateDnsNameOptionsOnLaunch{HostnameType: "ip-name"},
	}
	if cidr6.IsValid() {
		n.V6, n.V6ID = addressing.NewV6(cidr6), s.rawID("subnet-cidr-assoc")
	}
	n.VisibleAt = s.st.Now.Add(s.after(s.st.Settings.DescribeLag))
	if !s.st.Settings.FreeCountLag.Zero() {
		n.Counts.put(n.V4.Free(), s.st.Now, s.st.Now)
	}
	s.st.Subnets.put(n.ID, n)
	s.tag(c, kindSubnet, n.ID, in.TagSpecifications)
	out.Subnet = s.showSubnet(c, n)
	return out, nil
}

func (s *Sim) checkSubnet(v *network, cidr netip.Prefix) error {
	inside := func(b netip.Prefix) bool { return b.Bits() <= cidr.Bits() && b.Contains(cidr.Addr()) }
	if cidr.Bits() < 16 || cidr.Bits() > 28 || !slices.ContainsFunc(v.blocks(), inside) {
		return ec2.Errorf("InvalidSubnet.Range", "The CIDR '%s' is invalid.", cidr)
	}
	count := 0
	for n := range s.st.Subnets.all() {
		if n.VPC != v.ID {
			continue
		}
		count++
		if n.V4.CIDR().Overlaps(cidr) {
			return ec2.Errorf("InvalidSubnet.Conflict", "The CIDR '%s' conflicts with another subnet", cidr)
		}
	}
	if count >= quota(s.st.Settings.Quotas.SubnetsPerVPC, 200) {
		return ec2.Errorf("SubnetLimitExceeded", "The maximum number of subnets has been reached.")
	}
	return nil
}

// subnetBlock6 checks a /64 for a subnet.
func (s *Sim) subnetBlock6(v *network, text string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(text)
	if err != nil || !p.Addr().Is6() {
		return p, ec2.Errorf("InvalidParameterValue", "Value (%s) for parameter ipv6CidrBlock is invalid. This is not a valid CIDR block.", text)
	}
	p = p.Masked()
	inside := func(b block) bool { return b.State == associated && b.CIDR.Contains(p.Addr()) }
	if p.Bits() != 64 || !slices.ContainsFunc(v.Blocks6, inside) {
		return p, ec2.Errorf("InvalidSubnet.Range", "The CIDR '%s' is invalid.", p)
	}
	for n := range s.st.Subnets.all() {
		if n.VPC == v.ID && n.V6 != nil && n.V6.CIDR().Overlaps(p) {
			return p, ec2.Errorf("InvalidSubnet.Conflict", "The CIDR '%s' conflicts with another subnet", p)
		}
	}
	return p, nil
}

// zone finds a zone by name or id; without either it is the first.
func (s *Sim) zone(name, id string) (Zone, error) {
	var names []string
	for _, z := range s.st.Zones {
		names = append(names, string(z.Name))
		if (name == "" || name == string(z.Name)) && (id == "" || id == z.ID) {
			return z, nil
		}
	}
	if name == "" {
		name = id
	}
	return Zone{}, ec2.Errorf("InvalidParameterValue", "Value (%s) for parameter availabilityZone is invalid. "+
		"Subnets can currently only be created in the following availability zones: %s.", name, strings.Join(names, ", "))
}

func (s *Sim) zoneID(name string) string {
	for _, z := range s.st.Zones {
		if string(z.Name) == name {
			return z.ID
		}
	}
	return ""
}

func (s *Sim) showSubnet(c Caller, n *subnet) ec2.Subnet {
	free := n.V4.Free()
	if shown, visible, lags := n.Counts.at(s.st.Now); lags && visible {
		free = shown
	}
	out := ec2.Subnet{
		SubnetId: n.ID, SubnetArn: s.arn(kindSubnet, n.Owner, n.ID), VpcId: n.VPC, OwnerId: n.Owner, State: "available",
		AvailabilityZone: n.Zone, AvailabilityZoneId: s.zoneID(n.Zone), CidrBlock: n.V4.CIDR().String(),
		AvailableIpAddressCount: free, MapPublicIpOnLaunch: n.MapPublic, AssignIpv6AddressOnCreation: n.AssignV6,
		EnableDns64: n.DNS64, MapCustomerOwnedIpOnLaunch: n.CustomerIP, PrivateDnsNameOptionsOnLaunch: n.Hostname,
		Tags: s.tagsOf(c, n.ID),
	}
	if n.V6 != nil {
		out.Ipv6CidrBlockAssociationSet = append(out.Ipv6CidrBlockAssociationSet, n.show6())
	}
	return out
}

func (n *subnet) show6() ec2.SubnetIpv6CidrBlockAssociation {
	return ec2.SubnetIpv6CidrBlockAssociation{
		AssociationId: n.V6ID, Ipv6CidrBlock: n.V6.CIDR().String(), Ipv6CidrBlockState: ec2.CidrBlockState{State: associated},
	}
}

func (s *Sim) deleteSubnet(c Caller, in ec2.DeleteSubnetInput) (ec2.Done, error) {
	n, err := s.ownSubnet(c, in.SubnetId)
	if err != nil {
		return ec2.Done{}, err
	}
	if s.ofSubnet[n.ID] > 0 {
		return ec2.Done{}, ec2.Errorf("DependencyViolation", "The subnet '%s' has dependencies and cannot be deleted.", n.ID)
	}
	for t := range s.st.RouteTables.all() {
		t.Drop(n.ID)
	}
	for _, id := range slices.Clone(s.st.Reservations.ids) {
		if r, _ := s.st.Reservations.get(id); r.SubnetId == n.ID {
			s.st.Reservations.remove(id)
		}
	}
	s.st.Subnets.remove(n.ID)
	s.st.Tags.Forget(n.ID)
	delete(s.ofSubnet, n.ID)
	return ec2.Done{}, nil
}

var subnetFields = ec2.Fields[ec2.Subnet]{
	"subnet-id":                  func(n *ec2.Subnet) []string { return []string{n.SubnetId} },
	"subnet-arn":                 func(n *ec2.Subnet) []string { return []string{n.SubnetArn} },
	"vpc-id":                     func(n *ec2.Subnet) []string { return []string{n.VpcId} },
	"owner-id":                   func(n *ec2.Subnet) []string { return []string{n.OwnerId} },
	"state":                      func(n *ec2.Subnet) []string { return []string{n.State} },
	"availability-zone":          func(n *ec2.Subnet) []string { return []string{n.AvailabilityZone} },
	"availabilityZone":           func(n *ec2.Subnet) []string { return []string{n.AvailabilityZone} },
	"availability-zone-id":       func(n *ec2.Subnet) []string { return []string{n.AvailabilityZoneId} },
	"availabilityZoneId":         func(n *ec2.Subnet) []string { return []string{n.AvailabilityZoneId} },
	"cidr-block":                 func(n *ec2.Subnet) []string { return []string{n.CidrBlock} },
	"cidrBlock":                  func(n *ec2.Subnet) []string { return []string{n.CidrBlock} },
	"cidr":                       func(n *ec2.Subnet) []string { return []string{n.CidrBlock} },
	"available-ip-address-count": func(n *ec2.Subnet) []string { return []string{strconv.Itoa(n.AvailableIpAddressCount)} },
	"default-for-az":             func(n *ec2.Subnet) []string { return []string{fmt.Sprint(n.DefaultForAz)} },
	"map-public-ip-on-launch":    func(n *ec2.Subnet) []string { return []string{fmt.Sprint(n.MapPublicIpOnLaunch)} },
	"ipv6-native":                func(n *ec2.Subnet) []string { return []string{fmt.Sprint(n.Ipv6Native)} },
	"ipv6-cidr-block-association.ipv6-cidr-block": func(n *ec2.Subnet) []string {
		return collect(n.Ipv6CidrBlockAssociationSet, func(a ec2.SubnetIpv6CidrBlockAssociation) string { return a.Ipv6CidrBlock })
	},
}

func (s *Sim) describeSubnets(c Caller, in ec2.DescribeSubnetsInput) (ec2.DescribeSubnetsOutput, error) {
	var out ec2.DescribeSubnetsOutput
	visible := func(n *subnet) bool { return n.sees(string(c.Account)) && !s.st.Now.Before(n.VisibleAt) }
	all, err := list(&s.st.Subnets, in.SubnetIds,
		func(id string) (*subnet, error) { return find(&s.st.Subnets, kindSubnet, id, visible) },
		visible, func(n *subnet) ec2.Subnet { return s.showSubnet(c, n) })
	if err != nil {
		return out, err
	}
	out.Subnets, err = ec2.Select(all, in.Filters, subnetFields, func(n *ec2.Subnet) []ec2.Tag { return n.Tags })
	return out, err
}

func (s *Sim) modifySubnetAttribute(c Caller, in ec2.ModifySubnetAttributeInput) (ec2.Done, error) {
	n, err := s.ownSubnet(c, in.SubnetId)
	if err != nil {
		return ec2.Done{}, err
	}
	if in.AssignIpv6AddressOnCreation != nil && in.AssignIpv6AddressOnCreation.Value && n.V6 == nil {
		return ec2.Done{}, ec2.Errorf("InvalidParameterValue", "Invalid value 'true' for assignIpv6AddressOnCreation. Subnet does not have an IPv6 CIDR block.")
	}
	if t := in.PrivateDnsHostnameTypeOnLaunch; t != "" {
		if t != "ip-name" && t != "resource-name" {
			return ec2.Done{}, ec2.Errorf("InvalidParameterValue", "Value (%s) for parameter privateDnsHostnameTypeOnLaunch is invalid.", t)
		}
		n.Hostname.HostnameType = t
		return ec2.Done{}, nil
	}
	return ec2.Done{}, setOne(map[*bool]*ec2.AttributeBooleanValue{
		&n.MapPublic: in.MapPublicIpOnLaunch, &n.AssignV6: in.AssignIpv6AddressOnCreation, &n.DNS64: in.EnableDns64,
		&n.CustomerIP:                               in.MapCustomerOwnedIpOnLaunch,
		&n.Hostname.EnableResourceNameDnsARecord:    in.EnableResourceNameDnsARecordOnLaunch,
		&n.Hostname.EnableResourceNameDnsAAAARecord: in.EnableResourceNameDnsAAAARecordOnLaunch,
	})
}

func (s *Sim) associateSubnetCidrBlock(c Caller, in ec2.AssociateSubnetCidrBlockInput) (ec2.AssociateSubnetCidrBlockOutput, error) {
	out := ec2.AssociateSubnetCidrBlockOutput{SubnetId: in.SubnetId}
	n, err := s.ownSubnet(c, in.SubnetId)
	if err != nil {
		return out, err
	}
	if n.V6 != nil {
		return out, ec2.Errorf("InvalidParameterCombination", "The subnet '%s' already has an IPv6 CIDR block", n.ID)
	}
	v, _ := s.st.VPCs.get(n.VPC)
	p, err := s.subnetBlock6(v, in.Ipv6CidrBlock)
	if err != nil {
		return out, err
	}
	n.V6, n.V6ID = addressing.NewV6(p), s.rawID("subnet-cidr-assoc")
	a := n.show6()
	out.Ipv6CidrBlockAssociation = &a
	return out, nil
}

func (s *Sim) createSubnetCidrReservation(c Caller, in ec2.CreateSubnetCidrReservationInput) (ec2.CreateSubnetCidrReservationOutput, error) {
	var out ec2.CreateSubnetCidrReservationOutput
	n, err := s.ownSubnet(c, in.SubnetId)
	if err != nil {
		return out, err
	}
	kind := addressing.Kind(in.ReservationType)
	if kind != addressing.KindPrefix && kind != addressing.KindExplicit {
		return out, ec2.Errorf("InvalidParameterValue", "Value (%s) for parameter reservationType is invalid.", in.ReservationType)
	}
	cidr, err := netip.ParsePrefix(in.Cidr)
	if err != nil || !cidr.Addr().Is4() {
		return out, ec2.Errorf("InvalidParameterValue", "Value (%s) for parameter cidr is invalid. This is not a valid CIDR block.", in.Cidr)
	}
	if err := s.checkTags(c, in.TagSpecifications, kindReservation); err != nil {
		return out, err
	}
	r := &reservation{ec2.SubnetCidrReservation{
		SubnetCidrReservationId: s.newID(kindReservation), SubnetId: n.ID, Cidr: cidr.Masked().String(),
		ReservationType: in.ReservationType, OwnerId: n.Owner, Description: in.Description,
	}}
	err = n.V4.Reserve(addressing.Reservation{ID: r.SubnetCidrReservationId, CIDR: cidr, Kind: kind})
	switch {
	case errors.Is(err, addressing.ErrOverlap):
		return out, ec2.Errorf("InvalidParameterValue", "The CIDR '%s' overlaps with another CIDR reservation of the subnet.", cidr)
	case err != nil:
		return out, ec2.Errorf("InvalidParameterValue", "The CIDR '%s' is not within the CIDR of the subnet.", cidr)
	}
	s.st.Reservations.put(r.SubnetCidrReservationId, r)
	s.tag(c, kindReservation, r.SubnetCidrReservationId, in.TagSpecifications)
	out.SubnetCidrReservation = s.showReservation(c, r)
	return out, nil
}

func (s *Sim) showReservation(c Caller, r *reservation) ec2.SubnetCidrReservation {
	out := r.SubnetCidrReservation
	out.Tags = s.tagsOf(c, r.SubnetCidrReservationId)
	return out
}

var reservationFields = ec2.Fields[ec2.SubnetCidrReservation]{
	"reservationType": func(r *ec2.SubnetCidrReservation) []string { return []string{r.ReservationType} },
	"subnet-id":       func(r *ec2.SubnetCidrReservation) []string { return []string{r.SubnetId} },
}

func (s *Sim) getSubnetCidrReservations(c Caller, in ec2.GetSubnetCidrReservationsInput) (ec2.GetSubnetCidrReservationsOutput, error) {
	var out ec2.GetSubnetCidrReservationsOutput
	n, err := s.subnet(c, in.SubnetId)
	if err != nil {
		return out, err
	}
	all := []ec2.SubnetCidrReservation{}
	for r := range s.st.Reservations.all() {
		if r.SubnetId == n.ID {
			all = append(all, s.showReservation(c, r))
		}
	}
	out.SubnetIpv4CidrReservations, err = ec2.Select(all, in.Filters, reservationFields,
		func(r *ec2.SubnetCidrReservation) []ec2.Tag { return r.Tags })
	return out, err
}

func (s *Sim) deleteSubnetCidrReservation(c Caller, in ec2.DeleteSubnetCidrReservationInput) (ec2.DeleteSubnetCidrReservationOutput, error) {
	var out ec2.DeleteSubnetCidrReservationOutput
	r, err := find(&s.st.Reservations, kindReservation, in.SubnetCidrReservationId,
		func(r *reservation) bool { return r.OwnerId == string(c.Account) })
	if err != nil {
		return out, err
	}
	if n, ok := s.st.Subnets.get(r.SubnetId); ok {
		n.V4.Unreserve(r.SubnetCidrReservationId)
	}
	out.DeletedSubnetCidrReservation = s.showReservation(c, r)
	s.st.Reservations.remove(r.SubnetCidrReservationId)
	s.st.Tags.Forget(r.SubnetCidrReservationId)
	return out, nil
}

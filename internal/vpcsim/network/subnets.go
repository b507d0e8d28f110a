package network

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
	"github.com/berth-net/berth/internal/vpcsim/world"
)

// Subnet finds a subnet that the caller sees.
func (s Actions) Subnet(c world.Caller, id string) (*world.Subnet, error) {
	return world.Find(&s.State.Subnets, world.KindSubnet, id, func(n *world.Subnet) bool { return n.Sees(string(c.Account)) })
}

// OwnSubnet finds a subnet that the caller owns.
func (s Actions) OwnSubnet(c world.Caller, id string) (*world.Subnet, error) {
	n, err := s.Subnet(c, id)
	if err == nil && n.Owner != string(c.Account) {
		err = &ec2.Error{Status: 403, Code: "UnauthorizedOperation", Message: "You are not authorized to perform this operation. The subnet is owned by another account."}
	}
	return n, err
}

// CreateSubnet is EC2's action of that name.
func (s Actions) CreateSubnet(c world.Caller, in ec2.CreateSubnetInput) (ec2.CreateSubnetOutput, error) {
	var out ec2.CreateSubnetOutput
	v, err := s.OwnVPC(c, in.VpcId)
	if err != nil {
		return out, err
	}
	cidr, err := blocks.Parse(in.CidrBlock)
	if err != nil {
		return out, err
	}
	zone, err := s.Zone(in.AvailabilityZone, in.AvailabilityZoneId)
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
	if err := s.CheckTags(c, in.TagSpecifications, world.KindSubnet); err != nil {
		return out, err
	}
	n := &world.Subnet{
		ID: s.NewID(world.KindSubnet), VPC: v.ID, Owner: v.Owner, Zone: string(zone.Name), V4: addressing.New(cidr),
		Hostname: ec2.PrivateDnsNameOptionsOnLaunch{HostnameType: "ip-name"},
	}
	if cidr6.IsValid() {
		n.V6, n.V6ID = addressing.NewV6(cidr6), s.RawID("subnet-cidr-assoc")
	}
	n.VisibleAt = s.State.Now.Add(s.After(s.State.Settings.DescribeLag))
	if !s.State.Settings.FreeCountLag.Zero() {
		n.Counts.Put(n.V4.Free(), s.State.Now, s.State.Now)
	}
	s.State.Subnets.Put(n.ID, n)
	s.Tag(c, world.KindSubnet, n.ID, in.TagSpecifications)
	out.Subnet = s.showSubnet(c, n)
	return out, nil
}

func (s Actions) checkSubnet(v *world.Network, cidr netip.Prefix) error {
	inside := func(b netip.Prefix) bool { return b.Bits() <= cidr.Bits() && b.Contains(cidr.Addr()) }
	if cidr.Bits() < 16 || cidr.Bits() > 28 || !slices.ContainsFunc(v.AssociatedBlocks(), inside) {
		return ec2.Errorf("InvalidSubnet.Range", "The CIDR '%s' is invalid.", cidr)
	}
	count := 0
	for n := range s.State.Subnets.All() {
		if n.VPC != v.ID {
			continue
		}
		count++
		if n.V4.CIDR().Overlaps(cidr) {
			return ec2.Errorf("InvalidSubnet.Conflict", "The CIDR '%s' conflicts with another subnet", cidr)
		}
	}
	if count >= world.Quota(s.State.Settings.Quotas.SubnetsPerVPC, 200) {
		return ec2.Errorf("SubnetLimitExceeded", "The maximum number of subnets has been reached.")
	}
	return nil
}

// subnetBlock6 checks a /64 for a subnet.
func (s Actions) subnetBlock6(v *world.Network, text string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(text)
	if err != nil || !p.Addr().Is6() {
		return p, ec2.Errorf("InvalidParameterValue", "Value (%s) for parameter ipv6CidrBlock is invalid. This is not a valid CIDR block.", text)
	}
	p = p.Masked()
	inside := func(b world.Block) bool { return b.State == world.Associated && b.CIDR.Contains(p.Addr()) }
	if p.Bits() != 64 || !slices.ContainsFunc(v.Blocks6, inside) {
		return p, ec2.Errorf("InvalidSubnet.Range", "The CIDR '%s' is invalid.", p)
	}
	for n := range s.State.Subnets.All() {
		if n.VPC == v.ID && n.V6 != nil && n.V6.CIDR().Overlaps(p) {
			return p, ec2.Errorf("InvalidSubnet.Conflict", "The CIDR '%s' conflicts with another subnet", p)
		}
	}
	return p, nil
}

// Zone finds a zone by name or id; without either it is the first.
func (s Actions) Zone(name, id string) (world.Zone, error) {
	var names []string
	for _, z := range s.State.Zones {
		names = append(names, string(z.Name))
		if (name == "" || name == string(z.Name)) && (id == "" || id == z.ID) {
			return z, nil
		}
	}
	if name == "" {
		name = id
	}
	return world.Zone{}, ec2.Errorf("InvalidParameterValue", "Value (%s) for parameter availabilityZone is invalid. "+
		"Subnets can currently only be created in the following availability zones: %s.", name, strings.Join(names, ", "))
}

// ZoneID is the id of a zone.
func (s Actions) ZoneID(name string) string {
	for _, z := range s.State.Zones {
		if string(z.Name) == name {
			return z.ID
		}
	}
	return ""
}

func (s Actions) showSubnet(c world.Caller, n *world.Subnet) ec2.Subnet {
	free := n.V4.Free()
	if shown, visible, lags := n.Counts.At(s.State.Now); lags && visible {
		free = shown
	}
	out := ec2.Subnet{
		SubnetId: n.ID, SubnetArn: s.ARN(world.KindSubnet, n.Owner, n.ID), VpcId: n.VPC, OwnerId: n.Owner, State: "available",
		AvailabilityZone: n.Zone, AvailabilityZoneId: s.ZoneID(n.Zone), CidrBlock: n.V4.CIDR().String(),
		AvailableIpAddressCount: free, MapPublicIpOnLaunch: n.MapPublic, AssignIpv6AddressOnCreation: n.AssignV6,
		EnableDns64: n.DNS64, MapCustomerOwnedIpOnLaunch: n.CustomerIP, PrivateDnsNameOptionsOnLaunch: n.Hostname,
		Tags: s.TagsOf(c, n.ID),
	}
	if n.V6 != nil {
		out.Ipv6CidrBlockAssociationSet = append(out.Ipv6CidrBlockAssociationSet, showBlock6(n))
	}
	return out
}

func showBlock6(n *world.Subnet) ec2.SubnetIpv6CidrBlockAssociation {
	return ec2.SubnetIpv6CidrBlockAssociation{
		AssociationId: n.V6ID, Ipv6CidrBlock: n.V6.CIDR().String(), Ipv6CidrBlockState: ec2.CidrBlockState{State: world.Associated},
	}
}

// DeleteSubnet is EC2's action of that name.
func (s Actions) DeleteSubnet(c world.Caller, in ec2.DeleteSubnetInput) (ec2.Done, error) {
	n, err := s.OwnSubnet(c, in.SubnetId)
	if err != nil {
		return ec2.Done{}, err
	}
	if len(s.OfSubnet(n.ID)) > 0 {
		return ec2.Done{}, ec2.Errorf("DependencyViolation", "The subnet '%s' has dependencies and cannot be deleted.", n.ID)
	}
	for t := range s.State.RouteTables.All() {
		t.Drop(n.ID)
	}
	for _, id := range slices.Clone(s.State.Reservations.IDs) {
		if r, _ := s.State.Reservations.Get(id); r.SubnetId == n.ID {
			s.State.Reservations.Remove(id)
		}
	}
	s.State.Subnets.Remove(n.ID)
	s.State.Tags.Forget(n.ID)
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
		return world.Collect(n.Ipv6CidrBlockAssociationSet, func(a ec2.SubnetIpv6CidrBlockAssociation) string { return a.Ipv6CidrBlock })
	},
	"ipv6-cidr-block-association.association-id": func(n *ec2.Subnet) []string {
		return world.Collect(n.Ipv6CidrBlockAssociationSet, func(a ec2.SubnetIpv6CidrBlockAssociation) string { return a.AssociationId })
	},
	"ipv6-cidr-block-association.state": func(n *ec2.Subnet) []string {
		return world.Collect(n.Ipv6CidrBlockAssociationSet, func(a ec2.SubnetIpv6CidrBlockAssociation) string { return a.Ipv6CidrBlockState.State })
	},
	"defaultForAz":                    func(n *ec2.Subnet) []string { return []string{fmt.Sprint(n.DefaultForAz)} },
	"enable-dns64":                    func(n *ec2.Subnet) []string { return []string{fmt.Sprint(n.EnableDns64)} },
	"map-customer-owned-ip-on-launch": func(n *ec2.Subnet) []string { return []string{fmt.Sprint(n.MapCustomerOwnedIpOnLaunch)} },
	"private-dns-name-options-on-launch.hostname-type": func(n *ec2.Subnet) []string {
		return []string{n.PrivateDnsNameOptionsOnLaunch.HostnameType}
	},
	"private-dns-name-options-on-launch.enable-resource-name-dns-a-record": func(n *ec2.Subnet) []string {
		return []string{fmt.Sprint(n.PrivateDnsNameOptionsOnLaunch.EnableResourceNameDnsARecord)}
	},
	"private-dns-name-options-on-launch.enable-resource-name-dns-aaaa-record": func(n *ec2.Subnet) []string {
		return []string{fmt.Sprint(n.PrivateDnsNameOptionsOnLaunch.EnableResourceNameDnsAAAARecord)}
	},
}

// DescribeSubnets is EC2's action of that name.
func (s Actions) DescribeSubnets(c world.Caller, in ec2.DescribeSubnetsInput) (ec2.DescribeSubnetsOutput, error) {
	var out ec2.DescribeSubnetsOutput
	visible := func(n *world.Subnet) bool { return n.Sees(string(c.Account)) && !s.State.Now.Before(n.VisibleAt) }
	all, err := world.List(&s.State.Subnets, in.SubnetIds,
		func(id string) (*world.Subnet, error) {
			return world.Find(&s.State.Subnets, world.KindSubnet, id, visible)
		},
		visible, func(n *world.Subnet) ec2.Subnet { return s.showSubnet(c, n) })
	if err != nil {
		return out, err
	}
	out.Subnets, err = ec2.Select(all, in.Filters, subnetFields, func(n *ec2.Subnet) []ec2.Tag { return n.Tags })
	return out, err
}

// ModifySubnetAttribute is EC2's action of that name.
func (s Actions) ModifySubnetAttribute(c world.Caller, in ec2.ModifySubnetAttributeInput) (ec2.Done, error) {
	n, err := s.OwnSubnet(c, in.SubnetId)
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
	return ec2.Done{}, world.SetOne(map[*bool]*ec2.AttributeBooleanValue{
		&n.MapPublic: in.MapPublicIpOnLaunch, &n.AssignV6: in.AssignIpv6AddressOnCreation, &n.DNS64: in.EnableDns64,
		&n.CustomerIP:                               in.MapCustomerOwnedIpOnLaunch,
		&n.Hostname.EnableResourceNameDnsARecord:    in.EnableResourceNameDnsARecordOnLaunch,
		&n.Hostname.EnableResourceNameDnsAAAARecord: in.EnableResourceNameDnsAAAARecordOnLaunch,
	})
}

// AssociateSubnetCidrBlock is EC2's action of that name.
func (s Actions) AssociateSubnetCidrBlock(c world.Caller, in ec2.AssociateSubnetCidrBlockInput) (ec2.AssociateSubnetCidrBlockOutput, error) {
	out := ec2.AssociateSubnetCidrBlockOutput{SubnetId: in.SubnetId}
	n, err := s.OwnSubnet(c, in.SubnetId)
	if err != nil {
		return out, err
	}
	if n.V6 != nil {
		return out, ec2.Errorf("InvalidParameterCombination", "The subnet '%s' already has an IPv6 CIDR block", n.ID)
	}
	v, _ := s.State.VPCs.Get(n.VPC)
	p, err := s.subnetBlock6(v, in.Ipv6CidrBlock)
	if err != nil {
		return out, err
	}
	n.V6, n.V6ID = addressing.NewV6(p), s.RawID("subnet-cidr-assoc")
	a := showBlock6(n)
	out.Ipv6CidrBlockAssociation = &a
	return out, nil
}

// CreateSubnetCidrReservation is EC2's action of that name.
func (s Actions) CreateSubnetCidrReservation(c world.Caller, in ec2.CreateSubnetCidrReservationInput) (ec2.CreateSubnetCidrReservationOutput, error) {
	var out ec2.CreateSubnetCidrReservationOutput
	n, err := s.OwnSubnet(c, in.SubnetId)
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
	if err := s.CheckTags(c, in.TagSpecifications, world.KindReservation); err != nil {
		return out, err
	}
	r := &world.Reservation{SubnetCidrReservation: ec2.SubnetCidrReservation{
		SubnetCidrReservationId: s.NewID(world.KindReservation), SubnetId: n.ID, Cidr: cidr.Masked().String(),
		ReservationType: in.ReservationType, OwnerId: n.Owner, Description: in.Description,
	}}
	err = n.V4.Reserve(addressing.Reservation{ID: r.SubnetCidrReservationId, CIDR: cidr, Kind: kind})
	switch {
	case errors.Is(err, addressing.ErrOverlap):
		return out, ec2.Errorf("InvalidParameterValue", "The CIDR '%s' overlaps with another CIDR reservation of the subnet.", cidr)
	case err != nil:
		return out, ec2.Errorf("InvalidParameterValue", "The CIDR '%s' is not within the CIDR of the subnet.", cidr)
	}
	s.State.Reservations.Put(r.SubnetCidrReservationId, r)
	s.Tag(c, world.KindReservation, r.SubnetCidrReservationId, in.TagSpecifications)
	out.SubnetCidrReservation = s.showReservation(c, r)
	return out, nil
}

func (s Actions) showReservation(c world.Caller, r *world.Reservation) ec2.SubnetCidrReservation {
	out := r.SubnetCidrReservation
	out.Tags = s.TagsOf(c, r.SubnetCidrReservationId)
	return out
}

var reservationFields = ec2.Fields[ec2.SubnetCidrReservation]{
	"reservationType": func(r *ec2.SubnetCidrReservation) []string { return []string{r.ReservationType} },
	"subnet-id":       func(r *ec2.SubnetCidrReservation) []string { return []string{r.SubnetId} },
}

// GetSubnetCidrReservations is EC2's action of that name.
func (s Actions) GetSubnetCidrReservations(c world.Caller, in ec2.GetSubnetCidrReservationsInput) (ec2.GetSubnetCidrReservationsOutput, error) {
	var out ec2.GetSubnetCidrReservationsOutput
	n, err := s.Subnet(c, in.SubnetId)
	if err != nil {
		return out, err
	}
	all := []ec2.SubnetCidrReservation{}
	for r := range s.State.Reservations.All() {
		if r.SubnetId == n.ID {
			all = append(all, s.showReservation(c, r))
		}
	}
	out.SubnetIpv4CidrReservations, err = ec2.Select(all, in.Filters, reservationFields,
		func(r *ec2.SubnetCidrReservation) []ec2.Tag { return r.Tags })
	return out, err
}

// DeleteSubnetCidrReservation is EC2's action of that name.
func (s Actions) DeleteSubnetCidrReservation(c world.Caller, in ec2.DeleteSubnetCidrReservationInput) (ec2.DeleteSubnetCidrReservationOutput, error) {
	var out ec2.DeleteSubnetCidrReservationOutput
	r, err := world.Find(&s.State.Reservations, world.KindReservation, in.SubnetCidrReservationId,
		func(r *world.Reservation) bool { return r.OwnerId == string(c.Account) })
	if err != nil {
		return out, err
	}
	if n, ok := s.State.Subnets.Get(r.SubnetId); ok {
		n.V4.Unreserve(r.SubnetCidrReservationId)
	}
	out.DeletedSubnetCidrReservation = s.showReservation(c, r)
	s.State.Reservations.Remove(r.SubnetCidrReservationId)
	s.State.Tags.Forget(r.SubnetCidrReservationId)
	return out, nil
}

package interfaces

import (
	"errors"
	"net/netip"
	"slices"

	"github.com/berth-net/berth/internal/vpcsim/addressing"
	"github.com/berth-net/berth/internal/vpcsim/ec2"
	"github.com/berth-net/berth/internal/vpcsim/network"
	"github.com/berth-net/berth/internal/vpcsim/world"
)

// OwnENI finds an interface that the caller owns.
func (s Actions) OwnENI(c world.Caller, id string) (*world.ENI, error) {
	return world.Find(&s.State.ENIs, world.KindENI, id, func(e *world.ENI) bool { return e.Owner == string(c.Account) })
}

// Wanted is an interface to be made. Counts and names exclude each other, which compare has checked.
type Wanted struct {
	Subnet              *world.Subnet
	Owner               string
	Description, Type   string
	Managed             string
	Groups              []string
	Primary             string
	secondary           []string
	SecondaryCount      int
	Prefixes, prefixes6 []string
	PrefixCount         int
	addresses6          []string
	Count6, Prefix6     int
	tracking            *ec2.ConnectionTracking
}

// CreateNetworkInterface is EC2's action of that name.
func (s Actions) CreateNetworkInterface(c world.Caller, in ec2.CreateNetworkInterfaceInput) (ec2.CreateNetworkInterfaceOutput, error) {
	out := ec2.CreateNetworkInterfaceOutput{ClientToken: in.ClientToken}
	n, err := s.Subnet(c, in.SubnetId)
	if err != nil {
		return out, err
	}
	switch in.InterfaceType {
	case "", "interface", "efa", "efa-only", "trunk", "branch":
	default:
		return out, ec2.Errorf("InvalidParameterValue", "Value (%s) for parameter interfaceType is invalid.", in.InterfaceType)
	}
	w := Wanted{
		Subnet: n, Owner: string(c.Account), Description: in.Description, Type: in.InterfaceType, Groups: in.Groups,
		Primary: in.PrivateIpAddress, SecondaryCount: world.Number(in.SecondaryPrivateIpAddressCount),
		PrefixCount: world.Number(in.Ipv4PrefixCount), Count6: world.Number(in.Ipv6AddressCount), Prefix6: world.Number(in.Ipv6PrefixCount),
		Prefixes:   world.Collect(in.Ipv4Prefixes, func(p ec2.Ipv4PrefixSpecification) string { return p.Ipv4Prefix }),
		prefixes6:  world.Collect(in.Ipv6Prefixes, func(p ec2.Ipv6PrefixSpecification) string { return p.Ipv6Prefix }),
		addresses6: world.Collect(in.Ipv6Addresses, func(a ec2.InstanceIpv6Address) string { return a.Ipv6Address }),
		tracking:   in.ConnectionTrackingSpecification,
	}
	if err := w.Name(in.PrivateIpAddresses); err != nil {
		return out, err
	}
	if err := s.CheckTags(c, in.TagSpecifications, world.KindENI); err != nil {
		return out, err
	}
	e, err := s.NewENI(w)
	if err != nil {
		return out, err
	}
	s.Tag(c, world.KindENI, e.ID, in.TagSpecifications)
	out.NetworkInterface = s.showAs(c, s.View(e))
	out.NetworkInterface.Status = "pending" // as EC2 answers; it is available at the next look
	return out, nil
}

// Name takes over addresses that are named one by one, of which one may be the primary one.
func (w *Wanted) Name(list []ec2.PrivateIpAddressSpecification) error {
	for _, a := range list {
		switch {
		case !a.Primary:
			w.secondary = append(w.secondary, a.PrivateIpAddress)
		case w.Primary != "" && w.Primary != a.PrivateIpAddress:
			return ec2.Errorf("InvalidParameterCombination", "Only one primary private IP address can be specified.")
		default:
			w.Primary = a.PrivateIpAddress
		}
	}
	return nil
}

// compare refuses requests that ask for addresses in several ways at once.
func (w *Wanted) compare() error {
	ways := 0
	for _, used := range []bool{w.SecondaryCount != 0, len(w.secondary) > 0, w.PrefixCount != 0, len(w.Prefixes) > 0} {
		if used {
			ways++
		}
	}
	if ways > 1 || w.Count6 != 0 && len(w.addresses6) > 0 || w.Prefix6 != 0 && len(w.prefixes6) > 0 {
		return ec2.Errorf("InvalidParameterCombination",
			"The parameters for private addresses and prefixes cannot be specified together; use one of them.")
	}
	if w.SecondaryCount < 0 || w.PrefixCount < 0 || w.Count6 < 0 || w.Prefix6 < 0 {
		return ec2.Errorf("InvalidParameterValue", "A count of addresses or prefixes must not be negative.")
	}
	return nil
}

// NewENI makes an interface, or nothing at all.
func (s Actions) NewENI(w Wanted) (*world.ENI, error) {
	if err := w.compare(); err != nil {
		return nil, err
	}
	v, _ := s.State.VPCs.Get(w.Subnet.VPC)
	if len(w.Groups) == 0 {
		w.Groups = []string{v.DefaultGroup}
	}
	if err := s.checkGroups(v.ID, w.Groups); err != nil {
		return nil, err
	}
	if s.State.ENIs.Len() >= world.Quota(s.State.Settings.Quotas.Interfaces, 5000) {
		return nil, ec2.Errorf("NetworkInterfaceLimitExceeded", "The maximum number of network interfaces has been reached.")
	}
	if w.Type == "" {
		w.Type = "interface"
	}
	e := &world.ENI{
		ID: s.NewID(world.KindENI), Subnet: w.Subnet.ID, VPC: v.ID, Owner: w.Owner, Zone: w.Subnet.Zone,
		Description: w.Description, Type: w.Type, Groups: slices.Clone(w.Groups), SourceDestCheck: true,
		Managed: w.Managed, Tracking: w.tracking,
	}
	if w.Subnet.AssignV6 && w.Count6 == 0 && len(w.addresses6) == 0 {
		w.Count6 = 1
	}
	if err := s.fill(e, w); err != nil {
		s.drain(e, w.Subnet)
		return nil, err
	}
	e.MAC = s.NewMAC()
	s.State.ENIs.Put(e.ID, e)
	s.IndexENI(e, 1)
	s.Touch(e)
	return e, nil
}

// fill gives a new interface its addresses. On an error it may be filled in part.
func (s Actions) fill(e *world.ENI, w Wanted) error {
	n := w.Subnet
	if w.Primary != "" {
		if err := take(n, e, w.Primary); err != nil {
			return err
		}
	} else if err := s.pick(n, e, 1); err != nil {
		return err
	}
	for _, a := range w.secondary {
		if err := take(n, e, a); err != nil {
			return err
		}
	}
	if err := s.pick(n, e, w.SecondaryCount); err != nil {
		return err
	}
	for _, p := range w.Prefixes {
		if err := takePrefix(n, e, p); err != nil {
			return err
		}
	}
	if w.PrefixCount > 0 {
		ps, err := n.V4.AssignPrefixes(e.ID, w.PrefixCount, s.Choice())
		if err != nil {
			return ec2.Errorf("InvalidParameterValue", "There aren't sufficient free Ipv4 addresses or prefixes")
		}
		e.Prefixes = append(e.Prefixes, ps...)
	}
	_, _, err := s.fill6(e, n, w.addresses6, w.prefixes6, w.Count6, w.Prefix6)
	return err
}

// drain takes back what a failed creation assigned.
func (s Actions) drain(e *world.ENI, n *world.Subnet) {
	for _, a := range e.Addresses {
		n.V4.Cancel(a, e.ID)
	}
	s.releaseRest(e, n)
}

func (s Actions) releaseRest(e *world.ENI, n *world.Subnet) {
	for _, p := range e.Prefixes {
		world.Must(n.V4.ReleasePrefix(p, e.ID, s.State.Now))
	}
	for _, a := range e.Addresses6 {
		world.Must(n.V6.Release(a, e.ID))
	}
	for _, p := range e.Prefixes6 {
		world.Must(n.V6.ReleasePrefix(p, e.ID))
	}
}

// pick gives an interface so many addresses that EC2 chooses.
func (s Actions) pick(n *world.Subnet, e *world.ENI, count int) error {
	if count == 0 {
		return nil
	}
	addrs, err := n.V4.Assign(e.ID, count, s.Choice())
	if err != nil {
		return ec2.Errorf("InsufficientFreeAddressesInSubnet", "The specified subnet does not have enough free addresses to satisfy the request.")
	}
	e.Addresses = append(e.Addresses, addrs...)
	return nil
}

// take gives an interface an address that the request names.
func take(n *world.Subnet, e *world.ENI, text string) error {
	a, err := netip.ParseAddr(text)
	if err != nil || !a.Is4() {
		return ec2.Errorf("InvalidParameterValue", "Invalid IPv4 address: %s", text)
	}
	switch err := n.V4.Take(a, e.ID); {
	case errors.Is(err, addressing.ErrOutside):
		return ec2.Errorf("InvalidParameterValue", "Address %s does not fall within the subnet's address range", a)
	case errors.Is(err, addressing.ErrReserved):
		return ec2.Errorf("InvalidParameterValue", "Address %s is in subnet's reserved address range", a)
	case err != nil:
		return ec2.Errorf("InvalidIPAddress.InUse", "Address %s is in use.", a)
	}
	e.Addresses = append(e.Addresses, a)
	return nil
}

func takePrefix(n *world.Subnet, e *world.ENI, text string) error {
	p, err := netip.ParsePrefix(text)
	if err != nil || !p.Addr().Is4() {
		return ec2.Errorf("InvalidParameterValue", "Invalid IPv4 prefix: %s", text)
	}
	switch err := n.V4.TakePrefix(p, e.ID); {
	case errors.Is(err, addressing.ErrOutside):
		return ec2.Errorf("InvalidParameterValue", "Prefix %s is not a /28 within the subnet's address range", p)
	case errors.Is(err, addressing.ErrReserved):
		return ec2.Errorf("InvalidParameterValue", "Prefix %s contains addresses of the subnet's reserved address range", p)
	case err != nil:
		return ec2.Errorf("InvalidParameterValue", "Prefix %s contains addresses that are in use", p)
	}
	e.Prefixes = append(e.Prefixes, p)
	return nil
}

// checkGroups tells whether an interface in a VPC may have the groups.
func (s Actions) checkGroups(vpcID string, ids []string) error {
	for _, id := range ids {
		g, err := world.Find(&s.State.Groups, world.KindGroup, id, network.EveryGroup)
		if err != nil {
			return err
		}
		if g.VPC != vpcID {
			return ec2.Errorf("InvalidParameter", "You have specified two resources that belong to different networks.")
		}
	}
	if len(ids) > world.Quota(s.State.Settings.Quotas.GroupsPerInterface, 5) {
		return ec2.Errorf("SecurityGroupsPerInterfaceLimitExceeded", "You have exceeded the number of security groups allowed per interface.")
	}
	return nil
}

// DeleteNetworkInterface is EC2's action of that name.
func (s Actions) DeleteNetworkInterface(c world.Caller, in ec2.DeleteNetworkInterfaceInput) (ec2.Done, error) {
	e, err := s.OwnENI(c, in.NetworkInterfaceId)
	if err != nil {
		return ec2.Done{}, err
	}
	switch {
	case e.Managed != "":
		return ec2.Done{}, ec2.Errorf("OperationNotPermitted", "The network interface '%s' is managed by %s.", e.ID, e.Managed)
	case e.Attachment != nil || e.Branch != "" || s.carries(e.ID):
		return ec2.Done{}, ec2.Errorf("InvalidParameterValue", "Network interface '%s' is currently in use.", e.ID)
	}
	s.RemoveENI(e)
	return ec2.Done{}, nil
}

// RemoveENI deletes an interface and frees its addresses.
func (s Actions) RemoveENI(e *world.ENI) {
	n, ok := s.State.Subnets.Get(e.Subnet)
	if ok {
		for _, a := range e.Addresses {
			world.Must(n.V4.Release(a, e.ID, s.State.Now))
		}
		s.releaseRest(e, n)
	}
	for a := range e.Public {
		s.DropPublic(e, a)
	}
	s.State.ENIs.Remove(e.ID)
	s.IndexENI(e, -1)
	s.recount(n)
	lag := s.After(s.State.Settings.DescribeLag)
	if lag <= 0 {
		s.State.Tags.Forget(e.ID)
		return
	}
	s.State.Ghosts.Put(e.ID, e)
	s.Schedule(lag, world.EvVanish, e.ID, "")
}

// Touch follows a change of an interface: what describe actions, the free count and the metadata service will show.
func (s Actions) Touch(e *world.ENI) {
	e.View = nil
	if !s.State.Settings.DescribeLag.Zero() {
		s.showENI(e)
	} else {
		e.Shown.Entries = nil
	}
	s.Reindex(e)
	if n, ok := s.State.Subnets.Get(e.Subnet); ok {
		s.recount(n)
	}
	if e.Attachment != nil {
		if i, ok := s.State.Instances.Get(e.Attachment.Instance); ok {
			s.SyncMetadata(i)
		}
	}
}

// showENI makes describe actions show an interface as it is now, once the change has got through.
func (s Actions) showENI(e *world.ENI) {
	v := s.View(e)
	e.Shown.Put(&v, s.State.Now.Add(s.After(s.State.Settings.DescribeLag)), s.State.Now)
}

// recount makes AvailableIpAddressCount follow a subnet's free addresses.
func (s Actions) recount(n *world.Subnet) {
	if s.State.Settings.FreeCountLag.Zero() {
		n.Counts.Entries = nil
		return
	}
	n.Counts.Put(n.V4.Free(), s.State.Now.Add(s.After(s.State.Settings.FreeCountLag)), s.State.Now)
}

// ModifyNetworkInterfaceAttribute is EC2's action of that name.
func (s Actions) ModifyNetworkInterfaceAttribute(c world.Caller, in ec2.ModifyNetworkInterfaceAttributeInput) (ec2.Done, error) {
	e, err := s.OwnENI(c, in.NetworkInterfaceId)
	if err != nil {
		return ec2.Done{}, err
	}
	given := 0
	for _, is := range []bool{
		in.Attachment != nil, in.Description != nil, in.SourceDestCheck != nil, len(in.Groups) > 0,
		in.ConnectionTrackingSpecification != nil,
	} {
		if is {
			given++
		}
	}
	switch {
	case given == 0:
		return ec2.Done{}, ec2.Errorf("MissingParameter", "The request must contain an attribute to modify")
	case given > 1:
		return ec2.Done{}, ec2.Errorf("InvalidParameterCombination", "Fields for multiple attributes specified")
	case in.Attachment != nil:
		err = modifyAttachment(e, in.Attachment)
	case in.Description != nil:
		e.Description = in.Description.Value
	case in.SourceDestCheck != nil:
		e.SourceDestCheck = in.SourceDestCheck.Value
	case len(in.Groups) > 0:
		if err = s.checkGroups(e.VPC, in.Groups); err == nil {
			s.IndexENI(e, -1)
			e.Groups = slices.Clone(in.Groups)
			s.IndexENI(e, 1)
		}
	default:
		e.Tracking = in.ConnectionTrackingSpecification
	}
	if err == nil {
		s.Touch(e)
	}
	return ec2.Done{}, err
}

func modifyAttachment(e *world.ENI, change *ec2.NetworkInterfaceAttachmentChanges) error {
	if err := world.KindAttachment.Check(change.AttachmentId); err != nil {
		return err
	}
	if e.Attachment == nil || e.Attachment.ID != change.AttachmentId {
		return world.KindAttachment.Missing(change.AttachmentId)
	}
	if change.DeleteOnTermination == nil {
		return ec2.Errorf("MissingParameter", "The request must contain the parameter deleteOnTermination")
	}
	e.Attachment.DeleteOnTermination = *change.DeleteOnTermination
	return nil
}

// View is an interface as EC2 describes it, without tags.
func (s Actions) View(e *world.ENI) ec2.NetworkInterface {
	v := ec2.NetworkInterface{
		NetworkInterfaceId: e.ID, SubnetId: e.Subnet, VpcId: e.VPC, OwnerId: e.Owner,
		AvailabilityZone: e.Zone, AvailabilityZoneId: s.ZoneID(e.Zone), Description: e.Description, InterfaceType: e.Type,
		MacAddress: e.MAC, RequesterManaged: e.Managed != "", RequesterId: e.Managed, SourceDestCheck: e.SourceDestCheck,
		Status: e.Status(), ConnectionTrackingConfiguration: e.Tracking,
		Groups: s.GroupNames(e.Groups), PrivateIpAddresses: s.privateAddresses(e),
	}
	if len(v.PrivateIpAddresses) > 0 {
		first := v.PrivateIpAddresses[0]
		v.PrivateIpAddress, v.PrivateDnsName, v.Association = first.PrivateIpAddress, first.PrivateDnsName, first.Association
	}
	for _, p := range e.Prefixes {
		v.Ipv4Prefixes = append(v.Ipv4Prefixes, ec2.Ipv4PrefixSpecification{Ipv4Prefix: p.String()})
	}
	for _, a := range e.Addresses6 {
		v.Ipv6Addresses = append(v.Ipv6Addresses, ec2.NetworkInterfaceIpv6Address{Ipv6Address: a.String()})
	}
	if len(v.Ipv6Addresses) > 0 {
		v.Ipv6Address = v.Ipv6Addresses[0].Ipv6Address
	}
	for _, p := range e.Prefixes6 {
		v.Ipv6Prefixes = append(v.Ipv6Prefixes, ec2.Ipv6PrefixSpecification{Ipv6Prefix: p.String()})
	}
	if a := e.Attachment; a != nil {
		v.Attachment = &ec2.NetworkInterfaceAttachment{
			AttachmentId: a.ID, InstanceId: a.Instance, InstanceOwnerId: e.Owner, Status: a.Status, DeviceIndex: a.Device,
			NetworkCardIndex: a.Card, DeleteOnTermination: a.DeleteOnTermination, AttachTime: a.Time,
		}
	}
	return v
}

func (s Actions) privateAddresses(e *world.ENI) []ec2.NetworkInterfacePrivateIpAddress {
	out := make([]ec2.NetworkInterfacePrivateIpAddress, len(e.Addresses))
	for i, a := range e.Addresses {
		out[i] = ec2.NetworkInterfacePrivateIpAddress{
			PrivateIpAddress: a.String(), PrivateDnsName: s.Hostname(a), Primary: i == 0,
		}
		if p, ok := e.Public[a]; ok {
			out[i].Association = &ec2.NetworkInterfaceAssociation{
				AllocationId: p.Allocation, AssociationId: p.Association, IpOwnerId: e.Owner, PublicIp: p.IP.String(),
			}
			if p.Allocation == "" {
				out[i].Association.IpOwnerId = "amazon"
			}
		}
	}
	return out
}

// GroupNames gives groups by id and name.
func (s Actions) GroupNames(ids []string) []ec2.GroupIdentifier {
	out := make([]ec2.GroupIdentifier, 0, len(ids))
	for _, id := range ids {
		if g, ok := s.State.Groups.Get(id); ok {
			out = append(out, ec2.GroupIdentifier{GroupId: id, GroupName: g.Name})
		}
	}
	return out
}

// showAs adds the tags that the caller sees.
func (s Actions) showAs(c world.Caller, v ec2.NetworkInterface) ec2.NetworkInterface {
	v.TagSet = s.TagsOf(c, v.NetworkInterfaceId)
	return v
}

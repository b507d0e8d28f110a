package vpcsim

import (
	"errors"
	"net/netip"
	"slices"
	"strconv"

	"github.com/berth-net/berth/internal/vpcsim/addressing"
	"github.com/berth-net/berth/internal/vpcsim/ec2"
)

// ownENI finds an interface that the caller owns.
func (s *Sim) ownENI(c Caller, id string) (*eni, error) {
	return find(&s.st.ENIs, kindENI, id, func(e *eni) bool { return e.Owner == string(c.Account) })
}

// wanted is an interface to be made. Counts and names exclude each other, which compare has checked.
type wanted struct {
	subnet              *subnet
	owner               string
	description, typ    string
	managed             string
	groups              []string
	primary             string
	secondary           []string
	secondaryCount      int
	prefixes, prefixes6 []string
	prefixCount         int
	addresses6          []string
	count6, prefix6     int
	tracking            *ec2.ConnectionTracking
}

func number(n *int) int {
	if n == nil {
		return 0
	}
	return *n
}

func (s *Sim) createNetworkInterface(c Caller, in ec2.CreateNetworkInterfaceInput) (ec2.CreateNetworkInterfaceOutput, error) {
	out := ec2.CreateNetworkInterfaceOutput{ClientToken: in.ClientToken}
	n, err := s.subnet(c, in.SubnetId)
	if err != nil {
		return out, err
	}
	switch in.InterfaceType {
	case "", "interface", "efa", "efa-only", "trunk", "branch":
	default:
		return out, ec2.Errorf("InvalidParameterValue", "Value (%s) for parameter interfaceType is invalid.", in.InterfaceType)
	}
	w := wanted{
		subnet: n, owner: string(c.Account), description: in.Description, typ: in.InterfaceType, groups: in.Groups,
		primary: in.PrivateIpAddress, secondaryCount: number(in.SecondaryPrivateIpAddressCount),
		prefixCount: number(in.Ipv4PrefixCount), count6: number(in.Ipv6AddressCount), prefix6: number(in.Ipv6PrefixCount),
		prefixes:   collect(in.Ipv4Prefixes, func(p ec2.Ipv4PrefixSpecification) string { return p.Ipv4Prefix }),
		prefixes6:  collect(in.Ipv6Prefixes, func(p ec2.Ipv6PrefixSpecification) string { return p.Ipv6Prefix }),
		addresses6: collect(in.Ipv6Addresses, func(a ec2.InstanceIpv6Address) string { return a.Ipv6Address }),
		tracking:   in.ConnectionTrackingSpecification,
	}
	if err := w.name(in.PrivateIpAddresses); err != nil {
		return out, err
	}
	if err := s.checkTags(c, in.TagSpecifications, kindENI); err != nil {
		return out, err
	}
	e, err := s.newENI(w)
	if err != nil {
		return out, err
	}
	s.tag(c, kindENI, e.ID, in.TagSpecifications)
	out.NetworkInterface = s.showAs(c, s.view(e))
	out.NetworkInterface.Status = "pending" // as EC2 answers; it is available at the next look
	return out, nil
}

// name takes over addresses that are named one by one, of which one may be the primary one.
func (w *wanted) name(list []ec2.PrivateIpAddressSpecification) error {
	for _, a := range list {
		switch {
		case !a.Primary:
			w.secondary = append(w.secondary, a.PrivateIpAddress)
		case w.primary != "" && w.primary != a.PrivateIpAddress:
			return ec2.Errorf("InvalidParameterCombination", "Only one primary private IP address can be specified.")
		default:
			w.primary = a.PrivateIpAddress
		}
	}
	return nil
}

// compare refuses requests that ask for addresses in several ways at once.
func (w *wanted) compare() error {
	ways := 0
	for _, used := range []bool{w.secondaryCount != 0, len(w.secondary) > 0, w.prefixCount != 0, len(w.prefixes) > 0} {
		if used {
			ways++
		}
	}
	if ways > 1 || w.count6 != 0 && len(w.addresses6) > 0 || w.prefix6 != 0 && len(w.prefixes6) > 0 {
		return ec2.Errorf("InvalidParameterCombination",
			"The parameters for private addresses and prefixes cannot be specified together; use one of them.")
	}
	if w.secondaryCount < 0 || w.prefixCount < 0 || w.count6 < 0 || w.prefix6 < 0 {
		return ec2.Errorf("InvalidParameterValue", "A count of addresses or prefixes must not be negative.")
	}
	return nil
}

// newENI makes an interface, or nothing at all.
func (s *Sim) newENI(w wanted) (*eni, error) {
	if err := w.compare(); err != nil {
		return nil, err
	}
	v, _ := s.st.VPCs.get(w.subnet.VPC)
	if len(w.groups) == 0 {
		w.groups = []string{v.DefaultGroup}
	}
	if err := s.checkGroups(v.ID, w.groups); err != nil {
		return nil, err
	}
	if s.st.ENIs.len() >= quota(s.st.Settings.Quotas.Interfaces, 5000) {
		return nil, ec2.Errorf("NetworkInterfaceLimitExceeded", "The maximum number of network interfaces has been reached.")
	}
	if w.typ == "" {
		w.typ = "interface"
	}
	e := &eni{
		ID: s.newID(kindENI), Subnet: w.subnet.ID, VPC: v.ID, Owner: w.owner, Zone: w.subnet.Zone,
		Description: w.description, Type: w.typ, Groups: slices.Clone(w.groups), SourceDestCheck: true,
		Managed: w.managed, Tracking: w.tracking,
	}
	if w.subnet.AssignV6 && w.count6 == 0 && len(w.addresses6) == 0 {
		w.count6 = 1
	}
	if err := s.fill(e, w); err != nil {
		s.drain(e, w.subnet)
		return nil, err
	}
	e.MAC = s.newMAC()
	s.st.ENIs.put(e.ID, e)
	s.indexENI(e, 1)
	s.touch(e)
	return e, nil
}

// fill gives a new interface its addresses. On an error it may be filled in part.
func (s *Sim) fill(e *eni, w wanted) error {
	n := w.subnet
	if w.primary != "" {
		if err := take(n, e, w.primary); err != nil {
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
	if err := s.pick(n, e, w.secondaryCount); err != nil {
		return err
	}
	for _, p := range w.prefixes {
		if _, err := takePrefix(n, e, p); err != nil {
			return err
		}
	}
	if w.prefixCount > 0 {
		ps, err := n.V4.AssignPrefixes(e.ID, w.prefixCount, s.choice())
		if err != nil {
			return ec2.Errorf("InvalidParameterValue", "There aren't sufficient free Ipv4 addresses or prefixes")
		}
		e.Prefixes = append(e.Prefixes, ps...)
	}
	_, _, err := s.fill6(e, n, w.addresses6, w.prefixes6, w.count6, w.prefix6)
	return err
}

// drain takes back what a failed creation assigned.
func (s *Sim) drain(e *eni, n *subnet) {
	for _, a := range e.Addresses {
		n.V4.Cancel(a, e.ID)
	}
	s.releaseRest(e, n)
}

func (s *Sim) releaseRest(e *eni, n *subnet) {
	for _, p := range e.Prefixes {
		must(n.V4.ReleasePrefix(p, e.ID, s.st.Now))
	}
	for _, a := range e.Addresses6 {
		must(n.V6.Release(a, e.ID))
	}
	for _, p := range e.Prefixes6 {
		must(n.V6.ReleasePrefix(p, e.ID))
	}
}

// must holds an invariant: an interface's addresses are its own in its subnet's map.
func must(err error) {
	if err != nil {
		panic("vpcsim: interface and subnet disagree: " + err.Error())
	}
}

// pick gives an interface so many addresses that EC2 chooses.
func (s *Sim) pick(n *subnet, e *eni, count int) error {
	if count == 0 {
		return nil
	}
	addrs, err := n.V4.Assign(e.ID, count, s.choice())
	if err != nil {
		return ec2.Errorf("InsufficientFreeAddressesInSubnet", "The specified subnet does not have enough free addresses to satisfy the request.")
	}
	e.Addresses = append(e.Addresses, addrs...)
	return nil
}

// take gives an interface an address that the request names.
func take(n *subnet, e *eni, text string) error {
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

func takePrefix(n *subnet, e *eni, text string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(text)
	if err != nil || !p.Addr().Is4() {
		return p, ec2.Errorf("InvalidParameterValue", "Invalid IPv4 prefix: %s", text)
	}
	switch err := n.V4.TakePrefix(p, e.ID); {
	case errors.Is(err, addressing.ErrOutside):
		return p, ec2.Errorf("InvalidParameterValue", "Prefix %s is not a /28 within the subnet's address range", p)
	case errors.Is(err, addressing.ErrReserved):
		return p, ec2.Errorf("InvalidParameterValue", "Prefix %s contains addresses of the subnet's reserved address range", p)
	case err != nil:
		return p, ec2.Errorf("InvalidParameterValue", "Prefix %s contains addresses that are in use", p)
	}
	e.Prefixes = append(e.Prefixes, p)
	return p, nil
}

// checkGroups tells whether an interface in a VPC may have the groups.
func (s *Sim) checkGroups(vpcID string, ids []string) error {
	for _, id := range ids {
		g, err := find(&s.st.Groups, kindGroup, id, everyGroup)
		if err != nil {
			return err
		}
		if g.VPC != vpcID {
			return ec2.Errorf("InvalidParameter", "You have specified two resources that belong to different networks.")
		}
	}
	if len(ids) > quota(s.st.Settings.Quotas.GroupsPerInterface, 5) {
		return ec2.Errorf("SecurityGroupsPerInterfaceLimitExceeded", "You have exceeded the number of security groups allowed per interface.")
	}
	return nil
}

func (s *Sim) deleteNetworkInterface(c Caller, in ec2.DeleteNetworkInterfaceInput) (ec2.Done, error) {
	e, err := s.ownENI(c, in.NetworkInterfaceId)
	if err != nil {
		return ec2.Done{}, err
	}
	switch {
	case e.Managed != "":
		return ec2.Done{}, ec2.Errorf("OperationNotPermitted", "The network interface '%s' is managed by %s.", e.ID, e.Managed)
	case e.Attachment != nil || e.Branch != "":
		return ec2.Done{}, ec2.Errorf("InvalidParameterValue", "Network interface '%s' is currently in use.", e.ID)
	}
	s.removeENI(e)
	return ec2.Done{}, nil
}

// removeENI deletes an interface and frees its addresses.
func (s *Sim) removeENI(e *eni) {
	n, ok := s.st.Subnets.get(e.Subnet)
	if ok {
		for _, a := range e.Addresses {
			must(n.V4.Release(a, e.ID, s.st.Now))
		}
		s.releaseRest(e, n)
	}
	for a := range e.Public {
		s.dropPublic(e, a)
	}
	s.st.ENIs.remove(e.ID)
	s.indexENI(e, -1)
	s.recount(n)
	lag := s.after(s.st.Settings.DescribeLag)
	if lag <= 0 {
		s.st.Tags.Forget(e.ID)
		return
	}
	s.st.Ghosts.put(e.ID, e)
	s.schedule(lag, evVanish, e.ID, "")
}

// touch follows a change of an interface: what describe actions, the free count and the metadata service will show.
func (s *Sim) touch(e *eni) {
	if !s.st.Settings.DescribeLag.Zero() {
		s.showENI(e)
	} else {
		e.Shown.Entries = nil
	}
	if n, ok := s.st.Subnets.get(e.Subnet); ok {
		s.recount(n)
	}
	if e.Attachment != nil {
		if i, ok := s.st.Instances.get(e.Attachment.Instance); ok {
			s.syncMetadata(i)
		}
	}
}

// showENI makes describe actions show an interface as it is now, once the change has got through.
func (s *Sim) showENI(e *eni) {
	v := s.view(e)
	e.Shown.put(&v, s.st.Now.Add(s.after(s.st.Settings.DescribeLag)), s.st.Now)
}

// recount makes AvailableIpAddressCount follow a subnet's free addresses.
func (s *Sim) recount(n *subnet) {
	if s.st.Settings.FreeCountLag.Zero() {
		n.Counts.Entries = nil
		return
	}
	n.Counts.put(n.V4.Free(), s.st.Now.Add(s.after(s.st.Settings.FreeCountLag)), s.st.Now)
}

func (s *Sim) modifyNetworkInterfaceAttribute(c Caller, in ec2.ModifyNetworkInterfaceAttributeInput) (ec2.Done, error) {
	e, err := s.ownENI(c, in.NetworkInterfaceId)
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
			s.indexENI(e, -1)
			e.Groups = slices.Clone(in.Groups)
			s.indexENI(e, 1)
		}
	default:
		e.Tracking = in.ConnectionTrackingSpecification
	}
	if err == nil {
		s.touch(e)
	}
	return ec2.Done{}, err
}

func modifyAttachment(e *eni, change *ec2.NetworkInterfaceAttachmentChanges) error {
	if err := kindAttachment.check(change.AttachmentId); err != nil {
		return err
	}
	if e.Attachment == nil || e.Attachment.ID != change.AttachmentId {
		return kindAttachment.missing(change.AttachmentId)
	}
	if change.DeleteOnTermination == nil {
		return ec2.Errorf("MissingParameter", "The request must contain the parameter deleteOnTermination")
	}
	e.Attachment.DeleteOnTermination = *change.DeleteOnTermination
	return nil
}

// view is an interface as EC2 describes it, without tags.
func (s *Sim) view(e *eni) ec2.NetworkInterface {
	v := ec2.NetworkInterface{
		NetworkInterfaceId: e.ID, SubnetId: e.Subnet, VpcId: e.VPC, OwnerId: e.Owner,
		AvailabilityZone: e.Zone, AvailabilityZoneId: s.zoneID(e.Zone), Description: e.Description, InterfaceType: e.Type,
		MacAddress: e.MAC, RequesterManaged: e.Managed != "", RequesterId: e.Managed, SourceDestCheck: e.SourceDestCheck,
		Status: e.status(), ConnectionTrackingConfiguration: e.Tracking,
		Groups: s.groupNames(e.Groups), PrivateIpAddresses: s.privateAddresses(e),
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

func (s *Sim) privateAddresses(e *eni) []ec2.NetworkInterfacePrivateIpAddress {
	out := make([]ec2.NetworkInterfacePrivateIpAddress, len(e.Addresses))
	for i, a := range e.Addresses {
		out[i] = ec2.NetworkInterfacePrivateIpAddress{
			PrivateIpAddress: a.String(), PrivateDnsName: s.hostname(a), Primary: i == 0,
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

func (s *Sim) groupNames(ids []string) []ec2.GroupIdentifier {
	out := make([]ec2.GroupIdentifier, 0, len(ids))
	for _, id := range ids {
		if g, ok := s.st.Groups.get(id); ok {
			out = append(out, ec2.GroupIdentifier{GroupId: id, GroupName: g.Name})
		}
	}
	return out
}

// showAs adds the tags that the caller sees.
func (s *Sim) showAs(c Caller, v ec2.NetworkInterface) ec2.NetworkInterface {
	v.TagSet = s.tagsOf(c, v.NetworkInterfaceId)
	return v
}

// described is an interface as describe actions show it to the caller now, or false.
func (s *Sim) described(c Caller, id string) (ec2.NetworkInterface, bool) {
	e, ok := s.st.ENIs.get(id)
	if !ok {
		e, ok = s.st.Ghosts.get(id)
	}
	if !ok || !s.seesENI(c, e) {
		return ec2.NetworkInterface{}, false
	}
	if v, visible, lags := e.Shown.at(s.st.Now); lags {
		if !visible {
			return ec2.NetworkInterface{}, false
		}
		return s.showAs(c, *v), true
	}
	return s.showAs(c, s.view(e)), true
}

// seesENI tells whether an account sees an interface: its own, or one in a subnet of its own.
func (s *Sim) seesENI(c Caller, e *eni) bool {
	if e.Owner == string(c.Account) {
		return true
	}
	n, ok := s.st.Subnets.get(e.Subnet)
	return ok && n.Owner == string(c.Account)
}

func (s *Sim) describeNetworkInterfaces(c Caller, in ec2.DescribeNetworkInterfacesInput) (ec2.DescribeNetworkInterfacesOutput, error) {
	out := ec2.DescribeNetworkInterfacesOutput{}
	all := []ec2.NetworkInterface{}
	for _, id := range in.NetworkInterfaceIds {
		if err := kindENI.check(id); err != nil {
			return out, err
		}
		if _, ok := s.described(c, id); !ok {
			return out, kindENI.missing(id)
		}
	}
	for _, id := range s.candidates(in) {
		if v, ok := s.described(c, id); ok {
			all = append(all, v)
		}
	}
	var err error
	out.NetworkInterfaces, err = ec2.Select(all, in.Filters, eniFields, func(v *ec2.NetworkInterface) []ec2.Tag { return v.TagSet })
	return out, err
}

// candidates are the ids that a describe may match, in order: the named ones, those of an instance when a filter asks
// for it, or all.
func (s *Sim) candidates(in ec2.DescribeNetworkInterfacesInput) []string {
	if len(in.NetworkInterfaceIds) > 0 {
		return slices.Compact(slices.Sorted(slices.Values(in.NetworkInterfaceIds)))
	}
	if s.st.Settings.DescribeLag.Zero() {
		for _, f := range in.Filters {
			if f.Name != "attachment.instance-id" || len(f.Values) != 1 || kindInstance.check(f.Values[0]) != nil {
				continue
			}
			if i, ok := s.st.Instances.get(f.Values[0]); ok {
				return slices.Sorted(slices.Values(i.ENIs))
			}
			return nil
		}
	}
	if s.st.Ghosts.len() == 0 {
		return s.st.ENIs.ids
	}
	return slices.Sorted(slices.Values(slices.Concat(s.st.ENIs.ids, s.st.Ghosts.ids)))
}

// ofAttachment makes a filter field out of one about the attachment.
func ofAttachment(of func(*ec2.NetworkInterfaceAttachment) string) func(*ec2.NetworkInterface) []string {
	return func(v *ec2.NetworkInterface) []string {
		if v.Attachment == nil {
			return nil
		}
		return []string{of(v.Attachment)}
	}
}

var eniFields = ec2.Fields[ec2.NetworkInterface]{
	"network-interface-id": func(v *ec2.NetworkInterface) []string { return []string{v.NetworkInterfaceId} },
	"subnet-id":            func(v *ec2.NetworkInterface) []string { return []string{v.SubnetId} },
	"vpc-id":               func(v *ec2.NetworkInterface) []string { return []string{v.VpcId} },
	"owner-id":             func(v *ec2.NetworkInterface) []string { return []string{v.OwnerId} },
	"status":               func(v *ec2.NetworkInterface) []string { return []string{v.Status} },
	"availability-zone":    func(v *ec2.NetworkInterface) []string { return []string{v.AvailabilityZone} },
	"availability-zone-id": func(v *ec2.NetworkInterface) []string { return []string{v.AvailabilityZoneId} },
	"description":          func(v *ec2.NetworkInterface) []string { return []string{v.Description} },
	"interface-type":       func(v *ec2.NetworkInterface) []string { return []string{v.InterfaceType} },
	"mac-address":          func(v *ec2.NetworkInterface) []string { return []string{v.MacAddress} },
	"private-ip-address":   func(v *ec2.NetworkInterface) []string { return []string{v.PrivateIpAddress} },
	"private-dns-name":     func(v *ec2.NetworkInterface) []string { return []string{v.PrivateDnsName} },
	"requester-id":         func(v *ec2.NetworkInterface) []string { return []string{v.RequesterId} },
	"requester-managed":    func(v *ec2.NetworkInterface) []string { return []string{strconv.FormatBool(v.RequesterManaged)} },
	"source-dest-check":    func(v *ec2.NetworkInterface) []string { return []string{strconv.FormatBool(v.SourceDestCheck)} },
	"addresses.private-ip-address": func(v *ec2.NetworkInterface) []string {
		return collect(v.PrivateIpAddresses, func(a ec2.NetworkInterfacePrivateIpAddress) string { return a.PrivateIpAddress })
	},
	"ipv6-addresses.ipv6-address": func(v *ec2.NetworkInterface) []string {
		return collect(v.Ipv6Addresses, func(a ec2.NetworkInterfaceIpv6Address) string { return a.Ipv6Address })
	},
	"group-id": func(v *ec2.NetworkInterface) []string {
		return collect(v.Groups, func(g ec2.GroupIdentifier) string { return g.GroupId })
	},
	"group-name": func(v *ec2.NetworkInterface) []string {
		return collect(v.Groups, func(g ec2.GroupIdentifier) string { return g.GroupName })
	},
	"association.public-ip": func(v *ec2.NetworkInterface) []string {
		if v.Association == nil {
			return nil
		}
		return []string{v.Association.PublicIp}
	},
	"attachment.attachment-id": ofAttachment(func(a *ec2.NetworkInterfaceAttachment) string { return a.AttachmentId }),
	"attachment.instance-id":   ofAttachment(func(a *ec2.NetworkInterfaceAttachment) string { return a.InstanceId }),
	"attachment.status":        ofAttachment(func(a *ec2.NetworkInterfaceAttachment) string { return a.Status }),
	"attachment.device-index":  ofAttachment(func(a *ec2.NetworkInterfaceAttachment) string { return strconv.Itoa(a.DeviceIndex) }),
	"attachment.network-card-index": ofAttachment(func(a *ec2.NetworkInterfaceAttachment) string {
		return strconv.Itoa(a.NetworkCardIndex)
	}),
	"attachment.instance-owner-id": ofAttachment(func(a *ec2.NetworkInterfaceAttachment) string { return a.InstanceOwnerId }),
	"attachment.delete-on-termination": ofAttachment(func(a *ec2.NetworkInterfaceAttachment) string {
		return strconv.FormatBool(a.DeleteOnTermination)
	}),
}

package interfaces

import (
	"errors"
	"net/netip"
	"slices"

	"github.com/berth-net/berth/internal/core/vpc"
	"github.com/berth-net/berth/internal/vpcsim/addressing"
	"github.com/berth-net/berth/internal/vpcsim/ec2"
	"github.com/berth-net/berth/internal/vpcsim/world"
)

// AssignPrivateIpAddresses is EC2's action of that name.
func (s Actions) AssignPrivateIpAddresses(c world.Caller, in ec2.AssignPrivateIpAddressesInput) (ec2.AssignPrivateIpAddressesOutput, error) {
	out := ec2.AssignPrivateIpAddressesOutput{NetworkInterfaceId: in.NetworkInterfaceId}
	e, err := s.OwnENI(c, in.NetworkInterfaceId)
	if err != nil {
		return out, err
	}
	slots, err := assignSlots(in)
	if err != nil {
		return out, err
	}
	if err := s.checkSlots(e, slots, in.Ipv4PrefixCount != nil || len(in.Ipv4Prefixes) > 0); err != nil {
		return out, err
	}
	n, _ := s.State.Subnets.Get(e.Subnet)
	addrs, prefixes := len(e.Addresses), len(e.Prefixes)
	switch {
	case in.SecondaryPrivateIpAddressCount != nil:
		err = s.pick(n, e, *in.SecondaryPrivateIpAddressCount)
	case in.Ipv4PrefixCount != nil:
		err = s.pickPrefixes(n, e, *in.Ipv4PrefixCount)
	case len(in.PrivateIpAddresses) > 0:
		err = s.assignNamed(n, e, in.PrivateIpAddresses, in.AllowReassignment)
	default:
		err = s.assignPrefixes(n, e, in.Ipv4Prefixes)
	}
	if err != nil {
		return out, err
	}
	for _, a := range e.Addresses[addrs:] {
		out.AssignedPrivateIpAddresses = append(out.AssignedPrivateIpAddresses, ec2.AssignedPrivateIpAddress{PrivateIpAddress: a.String()})
	}
	for _, p := range e.Prefixes[prefixes:] {
		out.AssignedIpv4Prefixes = append(out.AssignedIpv4Prefixes, ec2.Ipv4PrefixSpecification{Ipv4Prefix: p.String()})
	}
	s.Touch(e)
	return out, nil
}

// assignSlots tells how many slots a request takes, and refuses any that does not ask in exactly one way.
func assignSlots(in ec2.AssignPrivateIpAddressesInput) (int, error) {
	ways, slots := 0, 0
	for _, n := range []*int{in.SecondaryPrivateIpAddressCount, in.Ipv4PrefixCount} {
		if n == nil {
			continue
		}
		if *n < 1 {
			return 0, ec2.Errorf("InvalidParameterValue", "Value (%d) for parameter count is invalid. It must be at least 1.", *n)
		}
		ways, slots = ways+1, *n
	}
	for _, names := range [][]string{in.PrivateIpAddresses, in.Ipv4Prefixes} {
		if len(names) > 0 {
			ways, slots = ways+1, len(names)
		}
	}
	switch ways {
	case 0:
		return 0, ec2.Errorf("MissingParameter", "The request must contain the parameter secondaryPrivateIpAddressCount, "+
			"privateIpAddress, ipv4PrefixCount or ipv4Prefix")
	case 1:
		return slots, nil
	}
	return 0, ec2.Errorf("InvalidParameterCombination",
		"The parameters for private addresses and prefixes cannot be specified together; use one of them.")
}

// checkSlots holds more addresses or prefixes against the limits of the type of instance that an interface is attached to.
func (s Actions) checkSlots(e *world.ENI, more int, prefixes bool) error {
	if e.Managed != "" {
		return ec2.Errorf("OperationNotPermitted", "The network interface '%s' is managed by %s.", e.ID, e.Managed)
	}
	if e.Attachment == nil {
		return nil
	}
	i, ok := s.State.Instances.Get(e.Attachment.Instance)
	if !ok {
		return nil
	}
	limits, _ := vpc.Limits(i.Type)
	if prefixes && !limits.Nitro() {
		return noPrefixes(i.Type)
	}
	if len(e.Addresses)+len(e.Prefixes)+more > limits.IPv4PerENI {
		return ec2.Errorf("PrivateIpAddressLimitExceeded", "Number of private addresses will exceed limit.")
	}
	return nil
}

func (s Actions) pickPrefixes(n *world.Subnet, e *world.ENI, count int) error {
	ps, err := n.V4.AssignPrefixes(e.ID, count, s.Choice())
	switch {
	case errors.Is(err, addressing.ErrFull):
		return ec2.Errorf("InsufficientFreeAddressesInSubnet", "The specified subnet does not have enough free addresses to satisfy the request.")
	case err != nil:
		return ec2.Errorf("InsufficientCidrBlocks", "The specified subnet does not have enough free cidr blocks to satisfy the request.")
	}
	e.Prefixes = append(e.Prefixes, ps...)
	return nil
}

// assignNamed gives an interface the named addresses, all or none. With reassign they may come from other interfaces of
// the subnet, as their secondary addresses.
func (s Actions) assignNamed(n *world.Subnet, e *world.ENI, names []string, reassign bool) error {
	before := len(e.Addresses)
	var moved []netip.Addr
	for _, text := range names {
		a, err := netip.ParseAddr(text)
		switch {
		case err == nil && reassign && n.V4.Single(a):
			if slices.Contains(moved, a) || slices.Contains(e.Addresses, a) {
				continue
			}
			if err = s.movable(n, a); err == nil {
				moved = append(moved, a)
				continue
			}
		case err == nil && !reassign && errors.Is(n.V4.Check(a), addressing.ErrInUse):
			err = ec2.Errorf("InvalidParameterValue", "[%s] assigned, but move is not allowed.", a) // CreateNetworkInterface says it otherwise
		default:
			err = take(n, e, text)
		}
		if err != nil {
			for _, a := range e.Addresses[before:] {
				n.V4.Cancel(a, e.ID)
			}
			e.Addresses = e.Addresses[:before]
			return err
		}
	}
	for _, a := range moved {
		owner, _ := n.V4.Owner(a)
		from, _ := s.State.ENIs.Get(owner)
		if from.Public != nil {
			s.DropPublic(from, a)
		}
		n.V4.Cancel(a, from.ID)
		from.Addresses = slices.DeleteFunc(from.Addresses, func(x netip.Addr) bool { return x == a })
		world.Must(n.V4.Take(a, e.ID))
		e.Addresses = append(e.Addresses, a)
		s.Touch(from)
	}
	return nil
}

// movable tells whether an assigned address may go to another interface.
func (s Actions) movable(n *world.Subnet, a netip.Addr) error {
	owner, _ := n.V4.Owner(a)
	from, ok := s.State.ENIs.Get(owner)
	if !ok || from.Addresses[0] == a {
		return ec2.Errorf("InvalidIPAddress.InUse", "Address %s is in use.", a)
	}
	return nil
}

func (s Actions) assignPrefixes(n *world.Subnet, e *world.ENI, names []string) error {
	before := len(e.Prefixes)
	for _, text := range names {
		if err := takePrefix(n, e, text); err != nil {
			for _, p := range e.Prefixes[before:] {
				world.Must(n.V4.ReleasePrefix(p, e.ID, s.State.Now))
			}
			e.Prefixes = e.Prefixes[:before]
			return err
		}
	}
	return nil
}

// UnassignPrivateIpAddresses is EC2's action of that name.
func (s Actions) UnassignPrivateIpAddresses(c world.Caller, in ec2.UnassignPrivateIpAddressesInput) (ec2.Done, error) {
	e, err := s.OwnENI(c, in.NetworkInterfaceId)
	if err != nil {
		return ec2.Done{}, err
	}
	if len(in.PrivateIpAddresses) == 0 && len(in.Ipv4Prefixes) == 0 {
		return ec2.Done{}, ec2.Errorf("MissingParameter", "The request must contain the parameter privateIpAddress or ipv4Prefix")
	}
	addrs, err := heldAddresses(e, in.PrivateIpAddresses)
	if err != nil {
		return ec2.Done{}, err
	}
	prefixes, err := heldPrefixes(in.Ipv4Prefixes, e.Prefixes)
	if err != nil {
		return ec2.Done{}, err
	}
	n, _ := s.State.Subnets.Get(e.Subnet)
	for _, a := range addrs {
		world.Must(n.V4.Release(a, e.ID, s.State.Now))
	}
	for _, p := range prefixes {
		world.Must(n.V4.ReleasePrefix(p, e.ID, s.State.Now))
	}
	e.Addresses = slices.DeleteFunc(e.Addresses, func(a netip.Addr) bool { return slices.Contains(addrs, a) })
	e.Prefixes = slices.DeleteFunc(e.Prefixes, func(p netip.Prefix) bool { return slices.Contains(prefixes, p) })
	s.Touch(e)
	return ec2.Done{}, nil
}

// heldAddresses reads the named addresses, each of which must be a secondary one of the interface.
func heldAddresses(e *world.ENI, names []string) ([]netip.Addr, error) {
	var out []netip.Addr
	for _, text := range names {
		a, err := netip.ParseAddr(text)
		i := slices.Index(e.Addresses, a)
		switch {
		case err != nil || i < 0:
			return nil, ec2.Errorf("InvalidParameterValue", "Some of the specified addresses are not assigned to interface %s", e.ID)
		case i == 0:
			return nil, ec2.Errorf("InvalidParameterValue", "The primary address %s of interface %s cannot be unassigned", a, e.ID)
		case e.Public[a].Allocation != "":
			return nil, ec2.Errorf("InvalidParameterValue", "The address %s of interface %s has an Elastic IP address associated", a, e.ID)
		case !slices.Contains(out, a):
			out = append(out, a)
		}
	}
	return out, nil
}

func heldPrefixes(names []string, have []netip.Prefix) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, text := range names {
		p, err := netip.ParsePrefix(text)
		if err != nil || !slices.Contains(have, p) {
			return nil, ec2.Errorf("InvalidParameterValue", "The prefix %s is not assigned to the network interface", text)
		}
		if !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	return out, nil
}

// fill6 gives an interface IPv6 addresses and prefixes, all or none, and tells which.
func (s Actions) fill6(e *world.ENI, n *world.Subnet, names, prefixNames []string, count, prefixCount int) ([]string, []string, error) {
	if len(names)+len(prefixNames)+count+prefixCount == 0 {
		return nil, nil, nil
	}
	if n.V6 == nil {
		return nil, nil, ec2.Errorf("InvalidParameterValue", "The specified subnet does not have an IPv6 CIDR block.")
	}
	addrs, prefixes, err := take6(n.V6, e.ID, names, prefixNames)
	if err != nil {
		for _, a := range addrs {
			world.Must(n.V6.Release(a, e.ID))
		}
		for _, p := range prefixes {
			world.Must(n.V6.ReleasePrefix(p, e.ID))
		}
		return nil, nil, err
	}
	for range count {
		addrs = append(addrs, n.V6.Assign(e.ID, s.IDs))
	}
	for range prefixCount {
		prefixes = append(prefixes, n.V6.AssignPrefix(e.ID, s.IDs))
	}
	e.Addresses6, e.Prefixes6 = append(e.Addresses6, addrs...), append(e.Prefixes6, prefixes...)
	return world.Collect(addrs, netip.Addr.String), world.Collect(prefixes, netip.Prefix.String), nil
}

// take6 takes named addresses and prefixes; on an error it tells what it has taken.
func take6(v *addressing.V6, owner string, names, prefixNames []string) (addrs []netip.Addr, prefixes []netip.Prefix, err error) {
	for _, text := range names {
		a, err := netip.ParseAddr(text)
		if err != nil || v.Take(a, owner) != nil {
			return addrs, prefixes, ec2.Errorf("InvalidParameterValue", "The IPv6 address %s is invalid, outside the subnet or in use", text)
		}
		addrs = append(addrs, a)
	}
	for _, text := range prefixNames {
		p, err := netip.ParsePrefix(text)
		if err != nil || v.TakePrefix(p, owner) != nil {
			return addrs, prefixes, ec2.Errorf("InvalidParameterValue", "The IPv6 prefix %s is invalid, outside the subnet or in use", text)
		}
		prefixes = append(prefixes, p)
	}
	return addrs, prefixes, nil
}

// AssignIpv6Addresses is EC2's action of that name.
func (s Actions) AssignIpv6Addresses(c world.Caller, in ec2.AssignIpv6AddressesInput) (ec2.AssignIpv6AddressesOutput, error) {
	out := ec2.AssignIpv6AddressesOutput{NetworkInterfaceId: in.NetworkInterfaceId}
	e, err := s.OwnENI(c, in.NetworkInterfaceId)
	if err != nil {
		return out, err
	}
	w := Wanted{
		Count6: world.Number(in.Ipv6AddressCount), addresses6: in.Ipv6Addresses,
		Prefix6: world.Number(in.Ipv6PrefixCount), prefixes6: in.Ipv6Prefixes,
	}
	if err := w.compare(); err != nil {
		return out, err
	}
	more := w.Count6 + len(w.addresses6) + w.Prefix6 + len(w.prefixes6)
	if more == 0 {
		return out, ec2.Errorf("MissingParameter", "The request must contain the parameter ipv6Addresses, ipv6AddressCount, "+
			"ipv6Prefixes or ipv6PrefixCount")
	}
	if err := s.checkSlots6(e, more, w.Prefix6+len(w.prefixes6) > 0); err != nil {
		return out, err
	}
	n, _ := s.State.Subnets.Get(e.Subnet)
	out.AssignedIpv6Addresses, out.AssignedIpv6Prefixes, err = s.fill6(e, n, w.addresses6, w.prefixes6, w.Count6, w.Prefix6)
	if err == nil {
		s.Touch(e)
	}
	return out, err
}

// checkSlots6 is checkSlots for IPv6, which has as many slots as IPv4 and a count of its own.
func (s Actions) checkSlots6(e *world.ENI, more int, prefixes bool) error {
	if e.Attachment == nil {
		return nil
	}
	i, ok := s.State.Instances.Get(e.Attachment.Instance)
	if !ok {
		return nil
	}
	limits, _ := vpc.Limits(i.Type)
	if prefixes && !limits.Nitro() {
		return noPrefixes(i.Type)
	}
	if len(e.Addresses6)+len(e.Prefixes6)+more > limits.IPv4PerENI {
		return ec2.Errorf("PrivateIpAddressLimitExceeded", "Number of private addresses will exceed limit.")
	}
	return nil
}

// UnassignIpv6Addresses is EC2's action of that name.
func (s Actions) UnassignIpv6Addresses(c world.Caller, in ec2.UnassignIpv6AddressesInput) (ec2.UnassignIpv6AddressesOutput, error) {
	out := ec2.UnassignIpv6AddressesOutput{NetworkInterfaceId: in.NetworkInterfaceId}
	e, err := s.OwnENI(c, in.NetworkInterfaceId)
	if err != nil {
		return out, err
	}
	var addrs []netip.Addr
	for _, text := range in.Ipv6Addresses {
		a, err := netip.ParseAddr(text)
		if err != nil || !slices.Contains(e.Addresses6, a) {
			return out, ec2.Errorf("InvalidParameterValue", "Some of the specified addresses are not assigned to interface %s", e.ID)
		}
		addrs = append(addrs, a)
	}
	prefixes, err := heldPrefixes(in.Ipv6Prefixes, e.Prefixes6)
	if err != nil {
		return out, err
	}
	n, _ := s.State.Subnets.Get(e.Subnet)
	for _, a := range slices.Compact(slices.SortedFunc(slices.Values(addrs), netip.Addr.Compare)) {
		world.Must(n.V6.Release(a, e.ID))
	}
	for _, p := range prefixes {
		world.Must(n.V6.ReleasePrefix(p, e.ID))
	}
	e.Addresses6 = slices.DeleteFunc(e.Addresses6, func(a netip.Addr) bool { return slices.Contains(addrs, a) })
	e.Prefixes6 = slices.DeleteFunc(e.Prefixes6, func(p netip.Prefix) bool { return slices.Contains(prefixes, p) })
	s.Touch(e)
	out.UnassignedIpv6Addresses, out.UnassignedIpv6Prefixes = in.Ipv6Addresses, in.Ipv6Prefixes
	return out, nil
}

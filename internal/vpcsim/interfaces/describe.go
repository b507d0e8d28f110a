package interfaces

import (
	"slices"
	"strings"

	"github.com/berth-net/berth/internal/vpcsim/ec2"
	"github.com/berth-net/berth/internal/vpcsim/world"
)

// described is an interface as describe actions show it to the caller now, without tags, or false. The value is shared: it is
// not to be changed.
func (s Actions) described(c world.Caller, id string) (*ec2.NetworkInterface, bool) {
	e, ok := s.State.ENIs.Get(id)
	if !ok {
		e, ok = s.State.Ghosts.Get(id)
	}
	if !ok || !s.seesENI(c, e) {
		return nil, false
	}
	if v, visible, lags := e.Shown.At(s.State.Now); lags {
		return v, visible
	}
	if e.View == nil {
		v := s.View(e)
		e.View = &v
	}
	return e.View, true
}

// seesENI tells whether an account sees an interface: its own, or one in a subnet of its own.
func (s Actions) seesENI(c world.Caller, e *world.ENI) bool {
	if e.Owner == string(c.Account) {
		return true
	}
	n, ok := s.State.Subnets.Get(e.Subnet)
	return ok && n.Owner == string(c.Account)
}

func tagSet(v *ec2.NetworkInterface) []ec2.Tag { return v.TagSet }

// DescribeNetworkInterfaces is EC2's action of that name.
func (s Actions) DescribeNetworkInterfaces(c world.Caller, in ec2.DescribeNetworkInterfacesInput) (ec2.DescribeNetworkInterfacesOutput, error) {
	out := ec2.DescribeNetworkInterfacesOutput{}
	for _, id := range in.NetworkInterfaceIds {
		if err := world.KindENI.Check(id); err != nil {
			return out, err
		}
		if _, ok := s.described(c, id); !ok {
			return out, world.KindENI.Missing(id)
		}
	}
	if _, err := ec2.Select(nil, in.Filters, eniFields, tagSet); err != nil {
		return out, err
	}
	var plain, tagged []ec2.Filter
	for _, f := range in.Filters {
		if strings.HasPrefix(f.Name, "tag") {
			tagged = append(tagged, f)
		} else {
			plain = append(plain, f)
		}
	}
	candidates, most := s.candidates(in), 0
	if len(tagged) == 0 {
		most = len(candidates) // most of which will be in the answer
	}
	out.NetworkInterfaces = make([]ec2.NetworkInterface, 0, most)
	for _, id := range candidates {
		shared, ok := s.described(c, id)
		if !ok || !ec2.Matches(shared, plain, eniFields, nil) {
			continue
		}
		if v := s.showAs(c, *shared); ec2.Matches(&v, tagged, eniFields, tagSet) {
			out.NetworkInterfaces = append(out.NetworkInterfaces, v)
		}
	}
	return out, nil
}

// candidates are the ids that a describe may match, in order: the named ones, those that the index finds for a filter, or
// all.
func (s Actions) candidates(in ec2.DescribeNetworkInterfacesInput) []string {
	if len(in.NetworkInterfaceIds) > 0 {
		return slices.Compact(slices.Sorted(slices.Values(in.NetworkInterfaceIds)))
	}
	found, fewest := s.State.ENIs.IDs, false
	for _, f := range in.Filters {
		if list, ok := s.found(f); ok && (!fewest || len(list) < len(found)) {
			found, fewest = list, true
		}
	}
	return world.Merge(found, s.State.Ghosts.IDs)
}

// found are the interfaces that a filter can match, or false when the index does not know.
func (s Actions) found(f ec2.Filter) ([]string, bool) {
	if slices.ContainsFunc(f.Values, func(v string) bool { return strings.ContainsAny(v, `*?\`) }) {
		return nil, false
	}
	of := func(list func(string) []string) []string {
		var all []string
		for _, v := range f.Values {
			all = world.Merge(all, list(v))
		}
		return all
	}
	switch f.Name {
	case "network-interface-id":
		return slices.Compact(slices.Sorted(slices.Values(f.Values))), true
	case "attachment.instance-id":
		return of(s.OfInstance), true
	case "subnet-id":
		return of(s.OfSubnet), true
	case "status":
		return s.Available(), slices.Equal(f.Values, []string{"available"})
	}
	return nil, false
}

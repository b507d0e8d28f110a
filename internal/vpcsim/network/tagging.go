package network

import (
	"slices"
	"strings"

	"github.com/berth-net/berth/internal/vpcsim/ec2"
	"github.com/berth-net/berth/internal/vpcsim/world"
)

// exists tells whether the caller sees a resource that can be tagged.
func (s Actions) exists(c world.Caller, id string) error {
	k, ok := world.KindOf(id)
	if !ok {
		return ec2.Errorf("InvalidID", "The ID '%s' is not valid", id)
	}
	found := false
	switch k {
	case world.KindVPC:
		n, ok := s.State.VPCs.Get(id)
		found = ok && s.seesVPC(c, n)
	case world.KindSubnet:
		n, ok := s.State.Subnets.Get(id)
		found = ok && n.Sees(string(c.Account))
	case world.KindENI:
		e, ok := s.State.ENIs.Get(id)
		found = ok && e.Owner == string(c.Account)
	case world.KindInstance:
		i, ok := s.State.Instances.Get(id)
		found = ok && i.Owner == string(c.Account)
	case world.KindGroup:
		g, ok := s.State.Groups.Get(id)
		found = ok && g.Owner == string(c.Account)
	case world.KindTable:
		_, found = s.State.RouteTables.Get(id)
	case world.KindGateway:
		_, found = s.State.Gateways.Get(id)
	case world.KindNAT:
		_, found = s.State.NATs.Get(id)
	case world.KindAllocation:
		_, found = s.State.Addresses.Get(id)
	case world.KindReservation:
		_, found = s.State.Reservations.Get(id)
	case world.KindRule:
		found = s.hasRule(id)
	}
	if !found {
		return k.Missing(id)
	}
	return nil
}

func (s Actions) hasRule(id string) bool {
	for g := range s.State.Groups.All() {
		for _, r := range g.Rules {
			if r.ID == id {
				return true
			}
		}
	}
	return false
}

// CreateTags is EC2's action of that name.
func (s Actions) CreateTags(c world.Caller, in ec2.CreateTagsInput) (ec2.Done, error) {
	if len(in.Resources) == 0 || len(in.Tags) == 0 {
		return ec2.Done{}, ec2.Errorf("MissingParameter", "The request must contain the parameters resourceIdSet and tagSet")
	}
	for _, id := range in.Resources {
		if err := s.exists(c, id); err != nil {
			return ec2.Done{}, err
		}
		if err := s.State.Tags.Check(string(c.Account), id, in.Tags); err != nil {
			return ec2.Done{}, err
		}
	}
	for _, id := range in.Resources {
		s.ChangeTags(c, id, func(account, id string) { s.State.Tags.Set(account, id, in.Tags) })
	}
	return ec2.Done{}, nil
}

// DeleteTags is EC2's action of that name.
func (s Actions) DeleteTags(c world.Caller, in ec2.DeleteTagsInput) (ec2.Done, error) {
	if len(in.Resources) == 0 {
		return ec2.Done{}, ec2.Errorf("MissingParameter", "The request must contain the parameter resourceIdSet")
	}
	for _, id := range in.Resources {
		if _, ok := world.KindOf(id); !ok {
			return ec2.Done{}, ec2.Errorf("InvalidID", "The ID '%s' is not valid", id)
		}
	}
	for _, id := range in.Resources { // removing what is absent is success
		s.ChangeTags(c, id, func(account, id string) { s.State.Tags.Remove(account, id, in.Tags) })
	}
	return ec2.Done{}, nil
}

var tagFields = ec2.Fields[ec2.TagDescription]{
	"key":           func(t *ec2.TagDescription) []string { return []string{t.Key} },
	"value":         func(t *ec2.TagDescription) []string { return []string{t.Value} },
	"resource-id":   func(t *ec2.TagDescription) []string { return []string{t.ResourceId} },
	"resource-type": func(t *ec2.TagDescription) []string { return []string{t.ResourceType} },
}

// tagged lists what has tags, or is still shown with some.
func (s Actions) tagged(c world.Caller) []string {
	out := s.State.Tags.Resources(string(c.Account))
	for key := range s.State.ShownTags {
		if id, mine := strings.CutPrefix(key, string(c.Account)+" "); mine {
			out = append(out, id)
		}
	}
	return slices.Compact(slices.Sorted(slices.Values(out)))
}

// DescribeTags is EC2's action of that name.
func (s Actions) DescribeTags(c world.Caller, in ec2.DescribeTagsInput) (ec2.DescribeTagsOutput, error) {
	var all []ec2.TagDescription
	for _, id := range s.tagged(c) {
		k, _ := world.KindOf(id)
		for _, t := range s.TagsOf(c, id) {
			all = append(all, ec2.TagDescription{ResourceId: id, ResourceType: k.Resource, Key: t.Key, Value: t.Value})
		}
	}
	tags := func(t *ec2.TagDescription) []ec2.Tag { return []ec2.Tag{{Key: t.Key, Value: t.Value}} }
	out, err := ec2.Select(all, in.Filters, tagFields, tags)
	return ec2.DescribeTagsOutput{Tags: out}, err
}

package vpcsim

import (
	"slices"

	"github.com/berth-net/berth/internal/vpcsim/ec2"
)

// specified are the tags that a request asks for on a kind of resource.
func specified(k kind, specs []ec2.TagSpecification) []ec2.Tag {
	var out []ec2.Tag
	for _, spec := range specs {
		if spec.ResourceType == k.resource {
			out = append(out, spec.Tags...)
		}
	}
	return out
}

// checkTags tells whether a request may tag what it creates, all of which is of the given kinds.
func (s *Sim) checkTags(c Caller, specs []ec2.TagSpecification, allowed ...kind) error {
	for _, spec := range specs {
		if !slices.ContainsFunc(allowed, func(k kind) bool { return k.resource == spec.ResourceType }) {
			return ec2.Errorf("InvalidParameterValue", "'%s' is not a valid taggable resource type for this operation.", spec.ResourceType)
		}
	}
	for _, k := range allowed {
		if err := s.st.Tags.Check(string(c.Account), "", specified(k, specs)); err != nil {
			return err
		}
	}
	return nil
}

// tag sets the tags that a request asked for on what it created.
func (s *Sim) tag(c Caller, k kind, id string, specs []ec2.TagSpecification) {
	s.st.Tags.Set(string(c.Account), id, specified(k, specs))
}

func (s *Sim) tagsOf(c Caller, id string) []ec2.Tag { return s.st.Tags.Of(string(c.Account), id) }

// exists tells whether the caller sees a resource that can be tagged.
func (s *Sim) exists(c Caller, id string) error {
	k, ok := kindOf(id)
	if !ok {
		return ec2.Errorf("InvalidID", "The ID '%s' is not valid", id)
	}
	found := false
	switch k {
	case kindVPC:
		n, ok := s.st.VPCs.get(id)
		found = ok && s.seesVPC(c, n)
	case kindSubnet:
		n, ok := s.st.Subnets.get(id)
		found = ok && n.sees(string(c.Account))
	case kindENI:
		e, ok := s.st.ENIs.get(id)
		found = ok && e.Owner == string(c.Account)
	case kindInstance:
		i, ok := s.st.Instances.get(id)
		found = ok && i.Owner == string(c.Account)
	case kindGroup:
		g, ok := s.st.Groups.get(id)
		found = ok && g.Owner == string(c.Account)
	case kindTable:
		_, found = s.st.RouteTables.get(id)
	case kindGateway:
		_, found = s.st.Gateways.get(id)
	case kindNAT:
		_, found = s.st.NATs.get(id)
	case kindAllocation:
		_, found = s.st.Addresses.get(id)
	case kindReservation:
		_, found = s.st.Reservations.get(id)
	case kindRule:
		found = s.hasRule(id)
	}
	if !found {
		return k.missing(id)
	}
	return nil
}

func (s *Sim) hasRule(id string) bool {
	for g := range s.st.Groups.all() {
		for _, r := range g.Rules {
			if r.ID == id {
				return true
			}
		}
	}
	return false
}

func (s *Sim) createTags(c Caller, in ec2.CreateTagsInput) (ec2.Done, error) {
	if len(in.Resources) == 0 || len(in.Tags) == 0 {
		return ec2.Done{}, ec2.Errorf("MissingParameter", "The request must contain the parameters resourceIdSet and tagSet")
	}
	for _, id := range in.Resources {
		if err := s.exists(c, id); err != nil {
			return ec2.Done{}, err
		}
		if err := s.st.Tags.Check(string(c.Account), id, in.Tags); err != nil {
			return ec2.Done{}, err
		}
	}
	for _, id := range in.Resources {
		s.st.Tags.Set(string(c.Account), id, in.Tags)
	}
	return ec2.Done{}, nil
}

func (s *Sim) deleteTags(c Caller, in ec2.DeleteTagsInput) (ec2.Done, error) {
	if len(in.Resources) == 0 {
		return ec2.Done{}, ec2.Errorf("MissingParameter", "The request must contain the parameter resourceIdSet")
	}
	for _, id := range in.Resources {
		if _, ok := kindOf(id); !ok {
			return ec2.Done{}, ec2.Errorf("InvalidID", "The ID '%s' is not valid", id)
		}
	}
	for _, id := range in.Resources { // removing what is absent is success
		s.st.Tags.Remove(string(c.Account), id, in.Tags)
	}
	return ec2.Done{}, nil
}

var tagFields = ec2.Fields[ec2.TagDescription]{
	"key":           func(t *ec2.TagDescription) []string { return []string{t.Key} },
	"value":         func(t *ec2.TagDescription) []string { return []string{t.Value} },
	"resource-id":   func(t *ec2.TagDescription) []string { return []string{t.ResourceId} },
	"resource-type": func(t *ec2.TagDescription) []string { return []string{t.ResourceType} },
}

func (s *Sim) describeTags(c Caller, in ec2.DescribeTagsInput) (ec2.DescribeTagsOutput, error) {
	var all []ec2.TagDescription
	for _, id := range s.st.Tags.Resources(string(c.Account)) {
		k, _ := kindOf(id)
		for _, t := range s.tagsOf(c, id) {
			all = append(all, ec2.TagDescription{ResourceId: id, ResourceType: k.resource, Key: t.Key, Value: t.Value})
		}
	}
	tags := func(t *ec2.TagDescription) []ec2.Tag { return []ec2.Tag{{Key: t.Key, Value: t.Value}} }
	out, err := ec2.Select(all, in.Filters, tagFields, tags)
	return ec2.DescribeTagsOutput{Tags: out}, err
}

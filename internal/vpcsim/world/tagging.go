package world

import (
	"maps"
	"slices"

	"github.com/berth-net/berth/internal/vpcsim/ec2"
)

// Specified are the tags that a request asks for on a kind of resource.
func Specified(k Kind, specs []ec2.TagSpecification) []ec2.Tag {
	var out []ec2.Tag
	for _, spec := range specs {
		if spec.ResourceType == k.Resource {
			out = append(out, spec.Tags...)
		}
	}
	return out
}

// CheckTags tells whether a request may tag what it creates, all of which is of the given kinds.
func (s *World) CheckTags(c Caller, specs []ec2.TagSpecification, allowed ...Kind) error {
	for _, spec := range specs {
		if !slices.ContainsFunc(allowed, func(k Kind) bool { return k.Resource == spec.ResourceType }) {
			return ec2.Errorf("InvalidParameterValue", "'%s' is not a valid taggable resource type for this operation.", spec.ResourceType)
		}
	}
	for _, k := range allowed {
		if err := s.State.Tags.Check(string(c.Account), "", Specified(k, specs)); err != nil {
			return err
		}
	}
	return nil
}

// Tag sets the tags that a request asked for on what it created.
func (s *World) Tag(c Caller, k Kind, id string, specs []ec2.TagSpecification) {
	s.State.Tags.Set(string(c.Account), id, Specified(k, specs))
}

// ChangeTags changes what the caller sees of a resource's tags, which describe actions show later.
func (s *World) ChangeTags(c Caller, id string, change func(account, id string)) {
	account := string(c.Account)
	before := s.State.Tags.Of(account, id)
	change(account, id)
	if s.State.Settings.TagLag.Zero() {
		return
	}
	if s.State.ShownTags == nil {
		s.State.ShownTags = make(map[string]*history[[]ec2.Tag])
	}
	maps.DeleteFunc(s.State.ShownTags, func(_ string, h *history[[]ec2.Tag]) bool { return h.settled(s.State.Now) })
	h := s.State.ShownTags[account+" "+id]
	if h == nil {
		h = new(history[[]ec2.Tag])
		h.Put(before, s.State.Now, s.State.Now)
		s.State.ShownTags[account+" "+id] = h
	}
	h.Put(s.State.Tags.Of(account, id), s.State.Now.Add(s.After(s.State.Settings.TagLag)), s.State.Now)
}

// TagsOf lists the tags of a resource that describe actions show the caller.
func (s *World) TagsOf(c Caller, id string) []ec2.Tag {
	if h := s.State.ShownTags[string(c.Account)+" "+id]; h != nil && !h.settled(s.State.Now) {
		shown, _, _ := h.At(s.State.Now)
		return shown
	}
	return s.State.Tags.Of(string(c.Account), id)
}

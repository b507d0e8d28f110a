package world

import (
	"net/netip"
	"slices"
)

// index is what is derived from the state, to find things without looking at all of them. Describe actions show changes
// late, so what it finds are candidates: each interface that may match, perhaps more, in the order of their ids.
type index struct {
	macs        map[string]bool
	Publics     map[netip.Addr]bool
	Attachments map[string]string // attachment id -> interface id
	OfGroup     map[string]int    // security group id -> interfaces that have it
	ofSubnet    map[string][]string
	ofInstance  map[string][]string // those that are or were attached to it
	available   []string            // attached to nothing
	changing    map[string]bool     // those of which describe actions may still show an earlier state
}

// Index rebuilds what is derived from the state.
func (s *World) Index() {
	s.index = index{
		macs: make(map[string]bool), Publics: make(map[netip.Addr]bool), Attachments: make(map[string]string), OfGroup: make(map[string]int),
		ofSubnet: make(map[string][]string), ofInstance: make(map[string][]string), changing: make(map[string]bool),
	}
	for e := range s.State.ENIs.All() {
		s.IndexENI(e, 1)
		s.Reindex(e)
		for _, v := range e.Shown.Entries {
			if v.Value != nil && v.Value.Attachment != nil {
				s.indexInstance(e, v.Value.Attachment.InstanceId)
			}
		}
		for _, p := range e.Public {
			s.Publics[p.IP] = true
		}
	}
	for a := range s.State.Addresses.All() {
		s.Publics[a.IP] = true
	}
}

// IndexENI counts an interface in (1) or out (-1).
func (s *World) IndexENI(e *ENI, n int) {
	for _, g := range e.Groups {
		s.OfGroup[g] += n
	}
	if n > 0 {
		s.macs[e.MAC] = true
		s.ofSubnet[e.Subnet] = with(s.ofSubnet[e.Subnet], e.ID)
		return
	}
	delete(s.macs, e.MAC)
	delete(s.changing, e.ID)
	s.available = without(s.available, e.ID)
	drop(s.ofSubnet, e.Subnet, e.ID)
	for _, instance := range e.hosts {
		drop(s.ofInstance, instance, e.ID)
	}
	e.hosts = nil
}

// Reindex follows a change of an interface's attachment or of what describe actions show of it.
func (s *World) Reindex(e *ENI) {
	if e.Attachment != nil {
		s.Attachments[e.Attachment.ID] = e.ID
		s.indexInstance(e, e.Attachment.Instance)
	}
	if e.Status() == "available" {
		s.available = with(s.available, e.ID)
	} else {
		s.available = without(s.available, e.ID)
	}
	if !e.Shown.settled(s.State.Now) {
		s.changing[e.ID] = true
	}
}

func (s *World) indexInstance(e *ENI, instance string) {
	if !slices.Contains(e.hosts, instance) {
		e.hosts = append(e.hosts, instance)
		s.ofInstance[instance] = with(s.ofInstance[instance], e.ID)
	}
}

// OfSubnet lists the interfaces in a subnet. The caller must not change the list.
func (s *World) OfSubnet(id string) []string { return s.ofSubnet[id] }

// OfInstance lists the interfaces that describe actions may show as attached to an instance. The caller must not change the
// list.
func (s *World) OfInstance(id string) []string { return s.ofInstance[id] }

// Available lists the interfaces that describe actions may show as available.
func (s *World) Available() []string {
	var changing []string
	for id := range s.changing {
		e, ok := s.State.ENIs.Get(id)
		if !ok || e.Shown.settled(s.State.Now) {
			delete(s.changing, id)
		} else {
			changing = append(changing, id)
		}
	}
	slices.Sort(changing)
	return Merge(s.available, changing)
}

// Merge is the union of two lists in order.
func Merge(a, b []string) []string {
	if len(b) == 0 {
		return a
	}
	out := make([]string, 0, len(a)+len(b))
	for len(a) > 0 && len(b) > 0 {
		switch {
		case a[0] < b[0]:
			out, a = append(out, a[0]), a[1:]
		case a[0] > b[0]:
			out, b = append(out, b[0]), b[1:]
		default:
			out, a, b = append(out, a[0]), a[1:], b[1:]
		}
	}
	return append(append(out, a...), b...)
}

func with(list []string, id string) []string {
	if i, ok := slices.BinarySearch(list, id); !ok {
		return slices.Insert(list, i, id)
	}
	return list
}

func without(list []string, id string) []string {
	if i, ok := slices.BinarySearch(list, id); ok {
		return slices.Delete(list, i, i+1)
	}
	return list
}

func drop(m map[string][]string, key, id string) {
	if m[key] = without(m[key], id); len(m[key]) == 0 {
		delete(m, key)
	}
}

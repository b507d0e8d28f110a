// Package metadata is what an instance's metadata service shows of its interfaces, and when: each item appears and
// disappears on its own, later than in EC2. So an interface may be listed before its details are there, an address that
// was just assigned may be missing, and one that is long gone may still be shown.
//
//	wanted by EC2   |--- wanted ------------------|
//	shown                  |------------------------------|
//	                 add delay               remove delay
package metadata

import (
	"slices"
	"time"
)

// Interface is what the service knows of an attached interface.
type Interface struct {
	MAC, ID, Owner, Subnet, VPC, Hostname string
	Device, Card                          int
	Cards                                 bool // the instance has several network cards
	Groups, GroupIDs                      []string
	SubnetBlock                           string
	SubnetBlocks6, VPCBlocks, VPCBlocks6  []string
	Addresses, Prefixes                   []string // the primary address first
	Addresses6, Prefixes6                 []string
	Public                                map[string]string // private address -> public address
}

// View is what the service shows of an instance's interfaces.
type View struct {
	Shown []*Shown `json:"shown,omitempty"`
}

// Shown is one interface in a view.
type Shown struct {
	Interface
	Listed Span              `json:"listed"` // the directory of its MAC
	Keys   Span              `json:"keys"`   // what is in it
	Items  map[string][]Item `json:"items"`  // by the Interface's list
}

// Span is when something is shown: from From, until Until where that is set.
type Span struct {
	From  time.Time `json:"from"`
	Until time.Time `json:"until,omitzero"`
}

// Item is an address or prefix.
type Item struct {
	Value string `json:"value"`
	Span
}

func (s Span) at(now time.Time) bool {
	return !now.Before(s.From) && (s.Until.IsZero() || now.Before(s.Until))
}

func (s Span) over(now time.Time) bool { return !s.Until.IsZero() && !now.Before(s.Until) }

// Delays are how long the service takes to show or drop an item; each call may give another answer.
type Delays struct {
	Add, Remove func() time.Duration
}

// The lists of an interface whose items appear one by one.
const (
	listAddresses  = "local-ipv4s"
	listPrefixes   = "ipv4-prefix"
	listAddresses6 = "ipv6s"
	listPrefixes6  = "ipv6-prefix"
)

// Sync tells the view what EC2 has now.
func (v *View) Sync(now time.Time, want []Interface, d Delays) {
	for _, s := range v.Shown {
		if !slices.ContainsFunc(want, func(w Interface) bool { return w.ID == s.ID && w.MAC == s.MAC }) {
			s.end(now, d)
		}
	}
	for _, w := range want {
		v.show(w, now, d)
	}
	v.Shown = slices.DeleteFunc(v.Shown, func(s *Shown) bool { return s.Listed.over(now) })
}

func (s *Shown) end(now time.Time, d Delays) {
	if !s.Listed.Until.IsZero() {
		return
	}
	s.Keys.Until = now.Add(d.Remove())
	s.Listed.Until = s.Keys.Until.Add(d.Remove())
}

func (v *View) show(w Interface, now time.Time, d Delays) {
	i := slices.IndexFunc(v.Shown, func(s *Shown) bool { return s.ID == w.ID && s.MAC == w.MAC && s.Listed.Until.IsZero() })
	if i < 0 {
		s := &Shown{Items: make(map[string][]Item)}
		s.Listed.From = now.Add(d.Add())
		s.Keys.From = s.Listed.From.Add(d.Add())
		i = len(v.Shown)
		v.Shown = append(v.Shown, s)
	}
	s := v.Shown[i]
	s.Interface = w
	s.sync(listAddresses, w.Addresses, now, d)
	s.sync(listPrefixes, w.Prefixes, now, d)
	s.sync(listAddresses6, w.Addresses6, now, d)
	s.sync(listPrefixes6, w.Prefixes6, now, d)
}

func (s *Shown) sync(list string, want []string, now time.Time, d Delays) {
	items := slices.DeleteFunc(s.Items[list], func(i Item) bool { return i.over(now) })
	for i := range items {
		wanted := slices.Contains(want, items[i].Value)
		switch {
		case wanted:
			items[i].Until = time.Time{}
		case items[i].Until.IsZero():
			items[i].Until = now.Add(d.Remove())
		}
	}
	for n, value := range want {
		if slices.ContainsFunc(items, func(i Item) bool { return i.Value == value }) {
			continue
		}
		item := Item{Value: value, Span: Span{From: now.Add(d.Add())}}
		if list == listAddresses && n == 0 {
			item.From = s.Keys.From // an interface is never shown without its primary address
		}
		items = append(items, item)
	}
	if len(items) > 0 {
		s.Items[list] = items
	} else {
		delete(s.Items, list)
	}
}

// visible lists the values of a list that are shown now.
func (s *Shown) visible(list string, now time.Time) []string {
	var out []string
	for _, i := range s.Items[list] {
		if i.at(now) {
			out = append(out, i.Value)
		}
	}
	return out
}

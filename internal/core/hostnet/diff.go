package hostnet

import (
	"net/netip"
	"reflect"
)

// Diff returns the operations that turn have into want, in an order that makes before it breaks: links, settings,
// addresses, routes, rules and nftables are added first; then rules, routes and addresses are removed. What is not ours
// stays (see ours and the rules below).
func Diff(have, want Machine) []Op {
	have.Sort()
	want.Sort()
	var ops []Op
	ops = append(ops, diffLinks(have, want)...)
	ops = append(ops, diffSysctls(have, want)...)
	addAddrs, delAddrs := diffAddrs(have, want)
	addRoutes, delRoutes := diffRoutes(have, want)
	addRules, delRules := diffRules(have, want)
	ops = append(ops, addAddrs...)
	ops = append(ops, addRoutes...)
	ops = append(ops, addRules...)
	ops = append(ops, diffTable(have.NFT, want.NFT)...)
	ops = append(ops, delRules...)
	ops = append(ops, delRoutes...)
	return append(ops, delAddrs...)
}

func setOf[K comparable](in []K) map[K]bool {
	m := make(map[K]bool, len(in))
	for _, k := range in {
		m[k] = true
	}
	return m
}

func diffLinks(have, want Machine) []Op {
	seen := map[string]LinkState{}
	for _, l := range have.Links {
		seen[l.Name] = l
	}
	var ops []Op
	for _, l := range want.Links {
		h, ok := seen[l.Name]
		if !ok {
			continue // it went away since Want named it: the next look will tell
		}
		if l.MTU > 0 && h.MTU != l.MTU {
			ops = append(ops, SetMTU{l.Name, l.MTU})
		}
		if l.Up && !h.Up {
			ops = append(ops, SetUp{l.Name})
		}
	}
	return ops
}

func diffSysctls(have, want Machine) []Op {
	seen := setOf(have.Sysctls)
	var ops []Op
	for _, s := range want.Sysctls {
		if !seen[s] {
			ops = append(ops, SetSysctl{s})
		}
	}
	return ops
}

// diffAddrs: a secondary interface has its own address and no other. One of a pod, added there by a well-meaning daemon,
// would make the host answer in the pod's place.
func diffAddrs(have, want Machine) (add, del []Op) {
	wanted, seen, ours := setOf(want.Addrs), setOf(have.Addrs), map[string]bool{}
	for _, a := range want.Addrs {
		ours[a.Link] = true
		if !seen[a] {
			add = append(add, AddAddr{a})
		}
	}
	for _, a := range have.Addrs {
		if ours[a.Link] && !wanted[a] {
			del = append(del, DeleteAddr{a})
		}
	}
	return add, del
}

// diffRoutes: the only routes that are removed are those that connect a secondary interface's subnet in the main table:
// they would send the node's own traffic to that subnet by the wrong interface.
func diffRoutes(have, want Machine) (add, del []Op) {
	seen := setOf(have.Routes)
	for _, r := range want.Routes {
		if !seen[r] {
			add = append(add, ReplaceRoute{r})
		}
	}
	connected := map[Address]bool{}
	for _, a := range want.Addrs {
		connected[Address{a.Link, a.Prefix.Masked()}] = true
	}
	wanted := setOf(want.Routes)
	for _, r := range have.Routes {
		if r.Table == TableMain && !r.Via.IsValid() && connected[Address{r.Link, r.Dst}] && !wanted[r] {
			del = append(del, DeleteRoute{r})
		}
	}
	return add, del
}

func diffRules(have, want Machine) (add, del []Op) {
	seen, wanted := setOf(have.Rules), setOf(want.Rules)
	for _, r := range want.Rules {
		if !seen[r] {
			add = append(add, AddRule{r})
		}
	}
	o := newOurs(have, want)
	for _, r := range have.Rules {
		if !wanted[r] && o.rule(r) {
			del = append(del, DeleteRule{r})
		}
	}
	return add, del
}

func diffTable(have, want *Table) []Op {
	switch {
	case want == nil && have == nil:
		return nil
	case want == nil:
		return []Op{DeleteTable{}}
	case have != nil && reflect.DeepEqual(*have, *want):
		return nil
	default:
		return []Op{ReplaceTable{want}}
	}
}

// ours tells which rules may be removed when they are not wanted.
type ours struct {
	pods  map[netip.Addr]bool // addresses of wanted pods: all their rules are ours to judge
	enis  map[netip.Addr]bool // addresses of wanted interfaces
	alive map[netip.Addr]bool // addresses of live pods, known to the caller or not
	local map[netip.Addr]bool // addresses of the host's links
}

func newOurs(have, want Machine) ours {
	o := ours{map[netip.Addr]bool{}, map[netip.Addr]bool{}, setOf(have.Alive), map[netip.Addr]bool{}}
	for _, r := range want.Rules {
		switch r.Priority {
		case PriorityToPod:
			o.pods[r.To.Addr()] = true
		case PriorityFromENI:
			o.enis[r.From.Addr()] = true
		}
	}
	wanted, managed := setOf(want.Addrs), map[string]bool{}
	for _, a := range want.Addrs {
		managed[a.Link] = true
	}
	for _, a := range have.Addrs {
		if wanted[a] || !managed[a.Link] { // the others are about to go
			o.local[a.Prefix.Addr()] = true
		}
	}
	return o
}

// rule knows our rules by priority and shape. Those of a pod that is alive but not known to the caller are left alone, and so
// are those of an interface that is attached but not managed.
func (o ours) rule(r Rule) bool {
	from, to, mark := r.From.IsValid(), r.To.IsValid(), r.Mark != 0 || r.Mask != 0
	switch {
	case r.Other != "":
		return false
	case r.Priority == PriorityToPod:
		return r.To.IsSingleIP() && !from && !mark && r.Table == TableMain && !o.alive[r.To.Addr()]
	case r.Priority == PriorityFromPod:
		a := r.From.Addr()
		return r.From.IsSingleIP() && !to && !mark && isENITable(r.Table) && (o.pods[a] || !o.alive[a])
	case r.Priority == PriorityMark:
		return !from && !to && r.Mark == r.Mask && r.Mark&(r.Mark-1) == 0 && mark && r.Table == TableMain
	case r.Priority == PriorityExternalService:
		return to && !from && !mark && r.Table == TableMain
	case r.Priority == PriorityFromENI:
		a := r.From.Addr()
		return r.From.IsSingleIP() && !to && !mark && isENITable(r.Table) && (o.enis[a] || !o.local[a])
	default:
		return false
	}
}

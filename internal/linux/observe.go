package linux

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/internal/core/hostnet"
)

// observation is what the kernel has: the machine without settings and nftables, and who uses which address.
type observation struct {
	machine hostnet.Machine
	links   []hostnet.Link
	index   map[string]int
	seen    map[netip.Addr]*hostnet.Seen
}

// observe reads the kernel. Rules and routes are read before links: a pod that is being wired gets its link first, so a rule
// without a link is never one that is about to have it.
func (h *Host) observe(prefix string) (*observation, error) {
	rules, err := listRules(h.lists)
	if err != nil {
		return nil, err
	}
	routes, err := listRoutes(h.lists)
	if err != nil {
		return nil, err
	}
	addrs, err := listAddresses(h.lists)
	if err != nil {
		return nil, err
	}
	links, err := listLinks(h.lists)
	if err != nil {
		return nil, err
	}
	o := &observation{index: map[string]int{}, seen: map[netip.Addr]*hostnet.Seen{}}
	names := map[int]string{}
	pods := map[int]netlink.Link{}
	for _, l := range links {
		hl := hostLink(l)
		o.links = append(o.links, hl)
		o.index[hl.Name], names[hl.Index] = hl.Index, hl.Name
		o.machine.Links = append(o.machine.Links, hostnet.LinkState{Name: hl.Name, MTU: hl.MTU, Up: hl.Up})
		if l.Type() == "veth" {
			pods[hl.Index] = l
		}
	}
	for _, a := range addrs {
		if name, ok := names[a.LinkIndex]; ok {
			o.machine.Addrs = append(o.machine.Addrs, hostnet.Address{Link: name, Prefix: prefixOf(a.IPNet)})
		}
	}
	routed := o.addRoutes(routes, names, pods)
	for i, l := range pods {
		if a := l.Attrs(); !routed[i] && (strings.HasPrefix(a.Name, prefix) || a.Alias != "") {
			h.askPod(o, l)
		}
	}
	o.addRules(rules)
	for a, s := range o.seen {
		if s.Live {
			o.machine.Alive = append(o.machine.Alive, a)
		}
	}
	return o, nil
}

// addRoutes notes routes, and which pod links have one.
func (o *observation) addRoutes(routes []netlink.Route, names map[int]string, pods map[int]netlink.Link) map[int]bool {
	routed := map[int]bool{}
	for _, r := range routes {
		if r.Table == unix.RT_TABLE_LOCAL {
			continue
		}
		hr := routeOf(r, names)
		o.machine.Routes = append(o.machine.Routes, hr)
		if l, ok := pods[r.LinkIndex]; ok && hr.Table == hostnet.TableMain && hr.Dst.IsSingleIP() && !hr.Via.IsValid() {
			routed[r.LinkIndex] = true
			s := o.pod(hr.Dst.Addr())
			s.Veth, s.Alias, s.Live = hr.Link, l.Attrs().Alias, true
		}
	}
	return routed
}

// askPod reads the addresses of a pod whose routes are gone from the pod itself: whatever happened to our routes, an address
// that a running pod has is in use.
func (h *Host) askPod(o *observation, l netlink.Link) {
	a := l.Attrs()
	if a.NetNsID < 0 || a.Group == doomed {
		return
	}
	addrs, err := listPeerAddresses(h.route, a.NetNsID, a.ParentIndex)
	if err != nil {
		return // its namespace is going away
	}
	for _, addr := range addrs {
		s := o.pod(addr)
		s.Veth, s.Alias, s.Live = a.Name, a.Alias, true
	}
}

func (o *observation) addRules(rules []netlink.Rule) {
	for _, r := range rules {
		hr := ruleOf(r)
		o.machine.Rules = append(o.machine.Rules, hr)
		if hr.Other != "" {
			continue
		}
		switch {
		case hr.Priority == hostnet.PriorityToPod && hr.To.IsSingleIP():
			o.pod(hr.To.Addr())
		case hr.Priority == hostnet.PriorityFromPod && hr.From.IsSingleIP():
			o.pod(hr.From.Addr()).Table = hr.Table
		}
	}
}

func (o *observation) pod(a netip.Addr) *hostnet.Seen {
	s := o.seen[a]
	if s == nil {
		s = &hostnet.Seen{Addr: a, Table: hostnet.TableMain}
		o.seen[a] = s
	}
	return s
}

// Seen lists the pod addresses that the kernel knows, from rules, routes, links and, where those are gone, the pods
// themselves. Pods that the existing CNI wired look the same.
func (h *Host) Seen(_ context.Context, settings hostnet.Settings) ([]hostnet.Seen, error) {
	h.remember(settings)
	o, err := h.observe(settings.VethPrefix)
	if err != nil {
		return nil, fmt.Errorf("observe pods: %w", err)
	}
	return sortedSeen(o.seen), nil
}

func routeOf(r netlink.Route, names map[int]string) hostnet.Route {
	hr := hostnet.Route{Table: r.Table, Dst: netip.PrefixFrom(netip.IPv4Unspecified(), 0), Link: names[r.LinkIndex], Metric: r.Priority}
	if r.Dst != nil {
		hr.Dst = prefixOf(r.Dst)
	}
	if via, ok := netip.AddrFromSlice(r.Gw); ok {
		hr.Via = via.Unmap()
	}
	if r.Type != unix.RTN_UNICAST || len(r.MultiPath) > 0 {
		hr.Link = "?" // blackholes and the like compare unequal to all that is wanted
	}
	return hr
}

func ruleOf(r netlink.Rule) hostnet.Rule {
	hr := hostnet.Rule{Priority: r.Priority, Table: r.Table, From: selector(r.Src), To: selector(r.Dst), Mark: r.Mark}
	if r.Mask != nil {
		hr.Mask = *r.Mask
	}
	var other []string
	note := func(is bool, text string) {
		if is {
			other = append(other, text)
		}
	}
	note(r.Invert, "not")
	note(r.IifName != "", "iif "+r.IifName)
	note(r.OifName != "", "oif "+r.OifName)
	note(r.Goto > 0, fmt.Sprint("goto ", r.Goto))
	note(r.Tos != 0, fmt.Sprint("tos ", r.Tos))
	note(r.IPProto != 0, fmt.Sprint("ipproto ", r.IPProto))
	note(r.Sport != nil, "sport")
	note(r.Dport != nil, "dport")
	note(r.UIDRange != nil, "uidrange")
	note(r.TunID != 0, "tun_id")
	note(r.SuppressPrefixlen >= 0, "suppress_prefixlength")
	note(r.SuppressIfgroup >= 0, "suppress_ifgroup")
	note(r.Type != 0 && r.Type != unix.RTN_UNICAST, "not a lookup")
	hr.Other = strings.Join(other, " ")
	return hr
}

// selector is a rule's source or destination; the zero value is any.
func selector(n *net.IPNet) netip.Prefix {
	if n == nil {
		return netip.Prefix{}
	}
	p := prefixOf(n)
	if p.Bits() == 0 {
		return netip.Prefix{}
	}
	return p
}

func prefixOf(n *net.IPNet) netip.Prefix {
	a, ok := netip.AddrFromSlice(n.IP)
	if !ok {
		return netip.Prefix{}
	}
	ones, _ := n.Mask.Size()
	return netip.PrefixFrom(a.Unmap(), ones)
}

package fabric

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/internal/vpcsim/fabric/plan"
)

// hop is the next hop of every route. No interface has it: a permanent neighbour entry per link says which MAC it means.
var hop = netip.MustParseAddr("169.254.0.1")

// routeProtocol marks the fabric's routes in dumps.
const routeProtocol = 190

// fill brings a namespace's rules and routes to what is wanted. The filter comes before the routes, and routes before
// the addresses that they no longer need, so that no packet takes a way that is not wanted.
func (f *Fabric) fill(ctx context.Context, s *live, w *plan.Space) error {
	index := map[string]int{}
	for name, l := range s.links {
		index[name] = l.index
	}
	if err := f.fillNFT(ctx, s, w.NFT(index)); err != nil {
		return err
	}
	lo := &netlink.GenericLink{LinkAttrs: netlink.LinkAttrs{Name: "lo", Index: 1}}
	for a := range w.Addrs {
		if s.addrs[a] {
			continue
		}
		if err := s.h.AddrReplace(lo, &netlink.Addr{IPNet: ipNet(netip.PrefixFrom(a, 32))}); err != nil {
			return fmt.Errorf("add address %s: %w", a, err)
		}
		s.addrs[a] = true
	}
	if err := s.fillRoutes(w.Routes, index); err != nil {
		return err
	}
	if err := s.fillRules(w.Rules); err != nil {
		return err
	}
	for a := range s.addrs {
		if w.Addrs[a] {
			continue
		}
		err := s.h.AddrDel(lo, &netlink.Addr{IPNet: ipNet(netip.PrefixFrom(a, 32))})
		if err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
			return fmt.Errorf("delete address %s: %w", a, err)
		}
		delete(s.addrs, a)
	}
	return nil
}

// fillNFT applies one transaction. Where something else has changed the tables it fails, and they are replaced whole.
func (f *Fabric) fillNFT(ctx context.Context, s *live, want plan.Ruleset) error {
	text := plan.Diff(s.nft, want)
	if text == "" {
		return nil
	}
	_, err := runNFT(ctx, f.nft, s.ns, text, "-f", "-")
	if err != nil && s.nft != nil {
		f.log.Warn("rules replaced", "id", s.key.ID, "why", "a change did not apply", "err", err)
		_, err = runNFT(ctx, f.nft, s.ns, plan.Diff(nil, want), "-f", "-")
	}
	if err != nil {
		return err
	}
	s.nft = want
	return nil
}

func (s *live) fillRoutes(want map[plan.RouteKey]plan.Route, index map[string]int) error {
	for k, r := range want {
		if have, ok := s.routes[k]; ok && have == r {
			continue
		}
		kr, err := kernelRoute(k, r, index)
		if err != nil {
			return err
		}
		if err := s.h.RouteReplace(kr); err != nil {
			return fmt.Errorf("set route to %s by %q in table %d: %w", k.Dst, r.Dev, k.Table, err)
		}
		s.routes[k] = r
	}
	for k, r := range s.routes {
		if _, ok := want[k]; ok {
			continue
		}
		kr, err := kernelRoute(k, r, index)
		if err == nil {
			err = s.h.RouteDel(kr)
		}
		if err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("delete route to %s by %q in table %d: %w", k.Dst, r.Dev, k.Table, err)
		}
		delete(s.routes, k)
	}
	return nil
}

func kernelRoute(k plan.RouteKey, r plan.Route, index map[string]int) (*netlink.Route, error) {
	kr := &netlink.Route{Table: k.Table, Dst: ipNet(k.Dst), Protocol: routeProtocol, Family: netlink.FAMILY_V4}
	if r.Dev == "" {
		kr.Type = unix.RTN_BLACKHOLE
		return kr, nil
	}
	i, ok := index[r.Dev]
	if !ok {
		return nil, fmt.Errorf("route to %s in table %d: there is no link %q", k.Dst, k.Table, r.Dev)
	}
	kr.LinkIndex, kr.Gw, kr.Flags = i, hop.AsSlice(), int(netlink.FLAG_ONLINK)
	if r.Src.IsValid() {
		kr.Src = r.Src.AsSlice()
	}
	return kr, nil
}

func (s *live) fillRules(want map[plan.Rule]bool) error {
	for r := range want {
		if s.rules[r] {
			continue
		}
		if err := s.h.RuleAdd(kernelRule(r)); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("add rule %+v: %w", r, err)
		}
		s.rules[r] = true
	}
	for r := range s.rules {
		if want[r] {
			continue
		}
		if err := s.h.RuleDel(kernelRule(r)); err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("delete rule %+v: %w", r, err)
		}
		delete(s.rules, r)
	}
	return nil
}

func kernelRule(r plan.Rule) *netlink.Rule {
	kr := netlink.NewRule()
	kr.Family, kr.Priority, kr.Table, kr.IifName, kr.Mark = netlink.FAMILY_V4, r.Priority, r.Table, r.IIF, r.Mark
	if r.Src.IsValid() {
		kr.Src = ipNet(r.Src)
	}
	return kr
}

func observeAddresses(h *netlink.Handle, lo netlink.Link) (map[netip.Addr]bool, error) {
	addrs, err := dumpAddresses(h, lo)
	if err != nil {
		return nil, err
	}
	out := map[netip.Addr]bool{}
	for _, a := range addrs {
		if addr, ok := netip.AddrFromSlice(a.IP.To4()); ok && !addr.IsLoopback() {
			out[addr] = true
		}
	}
	return out, nil
}

func observeRoutes(h *netlink.Handle, names map[int]string) (map[plan.RouteKey]plan.Route, error) {
	routes, err := dumpRoutes(h)
	if err != nil {
		return nil, err
	}
	out := map[plan.RouteKey]plan.Route{}
	for _, r := range routes {
		k := plan.RouteKey{Table: r.Table, Dst: everywhere}
		if r.Dst != nil {
			k.Dst = prefixOf(r.Dst)
		}
		v := plan.Route{}
		if r.Type != unix.RTN_BLACKHOLE {
			v.Dev = names[r.LinkIndex]
		}
		if src, ok := netip.AddrFromSlice(r.Src.To4()); ok {
			v.Src = src
		}
		out[k] = v
	}
	return out, nil
}

// observeRules leaves the kernel's own three out.
func observeRules(h *netlink.Handle) (map[plan.Rule]bool, error) {
	rules, err := dumpRules(h)
	if err != nil {
		return nil, err
	}
	out := map[plan.Rule]bool{}
	for _, r := range rules {
		if r.Priority <= 0 || r.Priority >= 32766 {
			continue
		}
		v := plan.Rule{Priority: r.Priority, Mark: r.Mark, IIF: r.IifName, Table: r.Table}
		if r.Src != nil {
			v.Src = prefixOf(r.Src)
		}
		out[v] = true
	}
	return out, nil
}

// everywhere is a default route's destination.
var everywhere = netip.PrefixFrom(netip.IPv4Unspecified(), 0)

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

func prefixOf(n *net.IPNet) netip.Prefix {
	bits, _ := n.Mask.Size()
	addr, _ := netip.AddrFromSlice(n.IP)
	return netip.PrefixFrom(addr.Unmap(), bits)
}

package fabric

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// fill brings a namespace's rules and routes to what is wanted. The filter comes before the routes, and routes before
// the addresses that they no longer need, so that no packet takes a way that is not wanted.
func (f *Fabric) fill(ctx context.Context, s *live, w *space) error {
	index := map[string]int{}
	for name, l := range s.links {
		index[name] = l.index
	}
	if err := f.fillNFT(ctx, s, w.nft(index)); err != nil {
		return err
	}
	lo := &netlink.GenericLink{LinkAttrs: netlink.LinkAttrs{Name: "lo", Index: 1}}
	for a := range w.addrs {
		if s.addrs[a] {
			continue
		}
		if err := s.h.AddrReplace(lo, &netlink.Addr{IPNet: ipNet(single(a))}); err != nil {
			return fmt.Errorf("add address %s: %w", a, err)
		}
		s.addrs[a] = true
	}
	if err := s.fillRoutes(w.routes, index); err != nil {
		return err
	}
	if err := s.fillRules(w.rules); err != nil {
		return err
	}
	for a := range s.addrs {
		if w.addrs[a] {
			continue
		}
		err := s.h.AddrDel(lo, &netlink.Addr{IPNet: ipNet(single(a))})
		if err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
			return fmt.Errorf("delete address %s: %w", a, err)
		}
		delete(s.addrs, a)
	}
	return nil
}

// fillNFT applies one transaction. Where something else has changed the tables it fails, and they are replaced whole.
func (f *Fabric) fillNFT(ctx context.Context, s *live, want ruleset) error {
	text := diffRulesets(s.nft, want)
	if text == "" {
		return nil
	}
	_, err := runNFT(ctx, f.nft, s.ns, text, "-f", "-")
	if err != nil && s.nft != nil {
		f.log.Warn("rules replaced", "id", s.key.id, "why", "a change did not apply", "err", err)
		_, err = runNFT(ctx, f.nft, s.ns, diffRulesets(nil, want), "-f", "-")
	}
	if err != nil {
		return err
	}
	s.nft = want
	return nil
}

func (s *live) fillRoutes(want map[routeKey]route, index map[string]int) error {
	for k, r := range want {
		if have, ok := s.routes[k]; ok && have == r {
			continue
		}
		kr, err := kernelRoute(k, r, index)
		if err != nil {
			return err
		}
		if err := s.h.RouteReplace(kr); err != nil {
			return fmt.Errorf("set route to %s by %q in table %d: %w", k.dst, r.dev, k.table, err)
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
			return fmt.Errorf("delete route to %s by %q in table %d: %w", k.dst, r.dev, k.table, err)
		}
		delete(s.routes, k)
	}
	return nil
}

func kernelRoute(k routeKey, r route, index map[string]int) (*netlink.Route, error) {
	kr := &netlink.Route{Table: k.table, Dst: ipNet(k.dst), Protocol: routeProtocol, Family: netlink.FAMILY_V4}
	if r.dev == "" {
		kr.Type = unix.RTN_BLACKHOLE
		return kr, nil
	}
	i, ok := index[r.dev]
	if !ok {
		return nil, fmt.Errorf("route to %s in table %d: there is no link %q", k.dst, k.table, r.dev)
	}
	kr.LinkIndex, kr.Gw, kr.Flags = i, hop.AsSlice(), int(netlink.FLAG_ONLINK)
	if r.src.IsValid() {
		kr.Src = r.src.AsSlice()
	}
	return kr, nil
}

func (s *live) fillRules(want map[rule]bool) error {
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

func kernelRule(r rule) *netlink.Rule {
	kr := netlink.NewRule()
	kr.Family, kr.Priority, kr.Table, kr.IifName, kr.Mark = netlink.FAMILY_V4, r.priority, r.table, r.iif, r.mark
	if r.src.IsValid() {
		kr.Src = ipNet(r.src)
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

func observeRoutes(h *netlink.Handle, names map[int]string) (map[routeKey]route, error) {
	routes, err := dumpRoutes(h)
	if err != nil {
		return nil, err
	}
	out := map[routeKey]route{}
	for _, r := range routes {
		k := routeKey{table: r.Table, dst: allIPv4}
		if r.Dst != nil {
			k.dst = prefixOf(r.Dst)
		}
		v := route{}
		if r.Type != unix.RTN_BLACKHOLE {
			v.dev = names[r.LinkIndex]
		}
		if src, ok := netip.AddrFromSlice(r.Src.To4()); ok {
			v.src = src
		}
		out[k] = v
	}
	return out, nil
}

// observeRules leaves the kernel's own three out.
func observeRules(h *netlink.Handle) (map[rule]bool, error) {
	rules, err := dumpRules(h)
	if err != nil {
		return nil, err
	}
	out := map[rule]bool{}
	for _, r := range rules {
		if r.Priority <= 0 || r.Priority >= 32766 {
			continue
		}
		v := rule{priority: r.Priority, mark: r.Mark, iif: r.IifName, table: r.Table}
		if r.Src != nil {
			v.src = prefixOf(r.Src)
		}
		out[v] = true
	}
	return out, nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

func prefixOf(n *net.IPNet) netip.Prefix {
	bits, _ := n.Mask.Size()
	addr, _ := netip.AddrFromSlice(n.IP)
	return netip.PrefixFrom(addr.Unmap(), bits)
}

package hostnet

import (
	"fmt"
	"net/netip"
	"strings"

	"go4.org/netipx"
)

// Want computes the host's network that cfg asks for. links are the host's links as seen: they give interfaces and pods
// their names. What has no link yet is left out and named in Pending; the rest does not wait for it.
func Want(cfg Config, links []Link) Machine {
	w := wanted{cfg: cfg, byMAC: map[string]Link{}, byName: map[string]Link{}, byAlias: map[string]Link{}}
	for _, l := range links {
		w.byName[l.Name] = l
		w.byAlias[l.Alias] = l
		if !strings.HasPrefix(l.Name, cfg.Settings.VethPrefix) || cfg.Settings.VethPrefix == "" {
			// Bridges and VLANs on top of an interface have its address too: the interface was there first.
			mac := strings.ToLower(l.MAC)
			if first, ok := w.byMAC[mac]; !ok || l.Index < first.Index {
				w.byMAC[mac] = l
			}
		}
	}
	w.m.Sysctls = append(w.m.Sysctls, Sysctl{"net/ipv4/ip_forward", "1"})
	primary := w.primary()
	for _, e := range cfg.ENIs {
		if !e.Primary {
			w.secondary(e)
		}
	}
	for _, p := range cfg.Pods {
		w.pod(p)
	}
	s := cfg.Settings
	if s.SNAT || s.NodePort {
		w.m.Rules = append(w.m.Rules, Rule{Priority: PriorityMark, Mark: s.ConnMark, Mask: s.ConnMark, Table: TableMain})
	}
	for _, c := range s.ExternalServiceCIDRs {
		w.m.Rules = append(w.m.Rules, Rule{Priority: PriorityExternalService, To: c.Masked(), Table: TableMain})
	}
	w.m.NFT = table(cfg, primary)
	w.m.Sort()
	return w.m
}

type wanted struct {
	cfg     Config
	byMAC   map[string]Link
	byName  map[string]Link
	byAlias map[string]Link
	m       Machine
}

func (w *wanted) pending(format string, args ...any) {
	w.m.Pending = append(w.m.Pending, fmt.Sprintf(format, args...))
}

// primary returns the primary link's name, empty when there is none.
func (w *wanted) primary() string {
	l, ok := w.byMAC[strings.ToLower(w.cfg.PrimaryMAC)]
	if !ok {
		w.pending("primary interface: no link has the address %s", w.cfg.PrimaryMAC)
		return ""
	}
	w.m.Links = append(w.m.Links, LinkState{Name: l.Name, MTU: w.cfg.Settings.ENIMTU})
	w.looseReversePath(l.Name)
	return l.Name
}

// looseReversePath accepts packets that came by another interface than the reply would leave by: node-port traffic to pods
// of secondary interfaces is such, whatever the distribution's default.
func (w *wanted) looseReversePath(link string) {
	w.m.Sysctls = append(w.m.Sysctls, Sysctl{"net/ipv4/conf/" + link + "/rp_filter", "2"})
}

func (w *wanted) secondary(e ENI) {
	l, ok := w.byMAC[strings.ToLower(e.MAC)]
	if !ok {
		w.pending("interface %s: no link has the address %s", e.ID, e.MAC)
		return
	}
	if !e.Address.IsValid() || !e.SubnetCIDR.IsValid() {
		w.pending("interface %s: its address or subnet is not known", e.ID)
		return
	}
	n := TableNumber(e.DeviceIndex, e.NetworkCard)
	gw := Gateway(e.SubnetCIDR)
	everywhere := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	w.m.Links = append(w.m.Links, LinkState{Name: l.Name, MTU: w.cfg.Settings.ENIMTU, Up: true})
	w.looseReversePath(l.Name)
	w.m.Addrs = append(w.m.Addrs, Address{Link: l.Name, Prefix: netip.PrefixFrom(e.Address, e.SubnetCIDR.Bits())})
	w.m.Routes = append(w.m.Routes,
		Route{Table: n, Dst: host(gw), Link: l.Name},
		Route{Table: n, Dst: everywhere, Via: gw, Link: l.Name})
	w.m.Rules = append(w.m.Rules, Rule{Priority: PriorityFromENI, From: host(e.Address), Table: n})
}

func (w *wanted) pod(p Pod) {
	veth := VethName(w.cfg.Settings.VethPrefix, p.Namespace, p.Name)
	_, linked := w.byName[veth]
	if l, ok := w.byAlias[Alias(p.Key)]; ok && !linked {
		veth, linked = l.Name, true // it was wired under another prefix
	}
	if !linked {
		w.pending("pod %s/%s: its link %s is gone", p.Namespace, p.Name, veth)
	}
	w.m.Rules = append(w.m.Rules, PodRules(p)...)
	for _, a := range p.Addrs {
		if linked {
			w.m.Routes = append(w.m.Routes, Route{Table: TableMain, Dst: host(a), Link: veth})
		}
	}
}

// PodRules are the rules of a pod: its addresses are reached by the main table, and it sends by its interface's table.
func PodRules(p Pod) []Rule {
	n := TableNumber(p.DeviceIndex, p.NetworkCard)
	var rules []Rule
	for _, a := range p.Addrs {
		rules = append(rules, Rule{Priority: PriorityToPod, To: host(a), Table: TableMain})
		if n != TableMain {
			rules = append(rules, Rule{Priority: PriorityFromPod, From: host(a), Table: n})
		}
	}
	return rules
}

// PodLinkSysctls are the settings of the host's end of a pod's link.
func PodLinkSysctls(veth string) []Sysctl {
	conf := "net/ipv6/conf/" + veth + "/"
	return []Sysctl{{conf + "accept_ra", "0"}, {conf + "accept_redirects", "1"}, {conf + "forwarding", "0"}}
}

// merged returns the smallest list of disjoint IPv4 blocks that covers prefixes: nftables refuses intervals that overlap.
func merged(prefixes []netip.Prefix) []netip.Prefix {
	var b netipx.IPSetBuilder
	for _, p := range prefixes {
		if p.IsValid() && p.Addr().Is4() {
			b.AddPrefix(p.Masked())
		}
	}
	set, err := b.IPSet()
	if err != nil {
		return nil // only invalid prefixes make an error, and none was added
	}
	return set.Prefixes()
}

// PodRoutes are the routes inside a pod whose interface has the given name.
func PodRoutes(link string) []Route {
	return []Route{
		{Table: TableMain, Dst: host(PodGateway()), Link: link},
		{Table: TableMain, Dst: netip.PrefixFrom(netip.IPv4Unspecified(), 0), Via: PodGateway(), Link: link},
	}
}

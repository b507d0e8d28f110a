package plan

import (
	"fmt"
	"iter"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"go4.org/netipx"

	"github.com/berth-net/berth/internal/core/vpc"
	"github.com/berth-net/berth/internal/vpcsim"
)

// Families and name of the fabric's tables.
const (
	inetTable = "inet fabric"
	arpTable  = "arp fabric"
)

// builder holds one VPC's share of a topology, indexed.
type builder struct {
	vpc        vpcsim.TopologyVPC
	subnets    map[vpc.SubnetID]vpcsim.TopologySubnet
	interfaces []vpcsim.TopologyInterface // the attached ones, primaries first
	members    map[vpc.SecurityGroupID][]vpcsim.TopologyInterface
	groups     map[vpc.SecurityGroupID]vpcsim.TopologyGroup
	nats       map[string]vpcsim.TopologyNAT
	public     []publicPair
	services   map[netip.Addr]bool
	addresses  int // how many single ones are attached
}

// publicPair is a private address and the public one that stands for it on the internet; eni is empty for a NAT gateway.
type publicPair struct {
	private, public netip.Addr
	eni             vpc.ENIID
}

func newBuilder(t vpcsim.Topology, v vpcsim.TopologyVPC) *builder {
	b := &builder{
		vpc:      v,
		subnets:  map[vpc.SubnetID]vpcsim.TopologySubnet{},
		members:  map[vpc.SecurityGroupID][]vpcsim.TopologyInterface{},
		groups:   map[vpc.SecurityGroupID]vpcsim.TopologyGroup{},
		nats:     map[string]vpcsim.TopologyNAT{},
		services: map[netip.Addr]bool{MetadataAddr: true, ResolverAddr: true},
	}
	for _, s := range t.Subnets {
		if s.VPC == v.ID && s.CIDR.Addr().Is4() {
			b.subnets[s.ID] = s
			b.services[s.CIDR.Masked().Addr().Next()] = true
		}
	}
	if len(v.CIDRs) > 0 {
		b.services[v.CIDRs[0].Masked().Addr().Next().Next()] = true
	}
	for _, g := range t.Groups {
		if g.VPC == v.ID {
			b.groups[g.ID] = g
		}
	}
	for _, n := range t.NATGateways {
		if n.VPC == v.ID && n.Private.Is4() {
			b.nats[n.ID] = n
			if n.Public.Is4() {
				b.public = append(b.public, publicPair{private: n.Private, public: n.Public})
			}
		}
	}
	for _, e := range t.Interfaces {
		if e.VPC == v.ID {
			b.addInterface(e)
		}
	}
	return b
}

func (b *builder) addInterface(e vpcsim.TopologyInterface) {
	for _, g := range e.Groups {
		b.members[g] = append(b.members[g], e)
	}
	if e.Instance == "" {
		return
	}
	b.interfaces = append(b.interfaces, e)
	b.addresses += len(e.Addresses)
	for private, public := range e.Public {
		if slices.Contains(e.Addresses, private) && public.Is4() {
			b.public = append(b.public, publicPair{private: private, public: public, eni: e.ID})
		}
	}
}

// routesOf yields a subnet's routes, with the VPC's own blocks always local and a missing NAT gateway a black hole.
func (b *builder) routesOf(sub vpcsim.TopologySubnet) iter.Seq2[netip.Prefix, vpcsim.TopologyRoute] {
	return func(yield func(netip.Prefix, vpcsim.TopologyRoute) bool) {
		for _, r := range sub.Routes {
			if !r.Destination.Addr().Is4() || slices.Contains(b.vpc.CIDRs, r.Destination) {
				continue
			}
			if _, exists := b.nats[r.Via]; r.Target == vpcsim.RouteNAT && !exists {
				r.Target = "blackhole"
			}
			if !yield(r.Destination.Masked(), r) {
				return
			}
		}
		for _, c := range b.vpc.CIDRs {
			if c.Addr().Is4() && !yield(c.Masked(), vpcsim.TopologyRoute{Destination: c, Target: vpcsim.RouteLocal}) {
				return
			}
		}
	}
}

// ruleset builds the VPC's tables; index gives the links' indexes, which serve as conntrack zones: a link that comes
// again has a new index, and with it no old state.
func (b *builder) ruleset(index map[string]int) Ruleset {
	t := newTable()
	b.declare(t)
	// The large ones get their room at once: they are built for every change.
	for _, name := range []string{"own", "assigned", "zone-single"} {
		t.setOf(b.addresses, name, t.sets[name].decl)
	}
	for _, e := range b.interfaces {
		b.interfaceRules(t, e, zoneOf(index[linkName(e.ID)]))
	}
	for _, p := range b.public {
		t.sets["mapped"].add(p.private.String())
		t.sets["public-out"].put(p.private.String(), p.public.String())
		t.sets["public-in"].put(p.public.String(), p.private.String())
		if p.eni != "" {
			t.sets["zone-public"].put(p.public.String(), strconv.Itoa(zoneOf(index[linkName(p.eni)])))
		}
	}
	for _, id := range sortedKeys(b.subnets) {
		t.chain("routes-"+string(id), "", b.routeRules(b.subnets[id])...)
	}
	b.groupRules(t)
	for a := range b.services {
		t.sets["services"].add(a.String())
	}
	for _, n := range sortedKeys(b.nats) {
		t.sets["uplinks"].add(quoted(shortName("nat", n)))
		t.sets["nats"].add(quoted(shortName("nat", n)))
	}
	for _, l := range []string{LoopFar, inetLink} {
		t.sets["uplinks"].add(quoted(l))
	}
	return Ruleset{inetTable: t, arpTable: b.arpRules()}
}

// zoneOf keeps a zone within 16 bits, and apart from zone 0.
func zoneOf(index int) int { return index%0xffff + 1 }

// declare adds the sets, maps and base chains that every VPC has.
func (b *builder) declare(t *table) {
	for name, decl := range map[string]string{
		"own":         "set typeof iifname . ip saddr", // which source may come in by which link
		"links":       "set typeof iifname",
		"uplinks":     "set typeof iifname",
		"nats":        "set typeof iifname",
		"services":    "set typeof ip daddr",
		"assigned":    "set typeof ip daddr",
		"mapped":      "set typeof ip saddr", // private addresses that have a public one
		"admit":       "map typeof iifname : verdict",
		"check":       "map typeof iifname : verdict",
		"from-links":  "map typeof iifname : verdict",
		"to-links":    "map typeof oifname : verdict",
		"no-route":    "map type ifname : counter",
		"zone-single": "map typeof ip daddr : ct zone",
		"zone-public": "map typeof ip daddr : ct zone",
		"zone-prefix": "map typeof ip daddr : ct zone ; flags interval",
		"prefixes":    "set typeof ip daddr ; flags interval",
		"public-out":  "map typeof ip saddr : ip saddr",
		"public-in":   "map typeof ip daddr : ip daddr",
	} {
		t.set(name, decl)
	}
	t.chain("prerouting", "type filter hook prerouting priority raw ; policy accept",
		"meta nfproto ipv6 drop",
		"iifname @uplinks goto inbound",
		"iifname . ip saddr @own iifname vmap @admit",
		"iifname vmap @check",
		"drop")
	t.chain("inbound", "",
		`iifname "inet" ct zone set ip daddr map @zone-public`,
		`iifname "inet" accept`,
		"ct zone set ip daddr map @zone-single",
		"ct zone set ip daddr map @zone-prefix")
	t.chain("input", "type filter hook input priority filter ; policy drop",
		"iifname @links ip daddr @services accept")
	t.chain("forward", "type filter hook forward priority filter ; policy drop",
		"iifname vmap @from-links",
		"oifname vmap @to-links",
		`iifname @nats oifname `+quoted(LoopNear)+` accept`, // an error that was translated back; a group sees it next
		`iifname @nats oifname "inet" ip saddr @mapped accept`,
		`iifname "inet" oifname @nats accept`)
	t.chain("destination-nat", "type nat hook prerouting priority dstnat ; policy accept",
		`iifname "inet" dnat ip to ip daddr map @public-in`)
	t.chain("source-nat", "type nat hook postrouting priority srcnat ; policy accept",
		`oifname "inet" snat ip to ip saddr map @public-out`)
}

// CounterNames are the counters of an interface: of packets with a source that it does not have, of those that its groups let
// neither out nor in, and of those without a route.
func CounterNames(e vpc.ENIID) [4]string {
	id := string(e)
	return [4]string{"antispoof-" + id, "sg-egress-" + id, "sg-ingress-" + id, "no-route-" + id}
}

// interfaceRules adds one interface's source check, its two group chains and its elements.
func (b *builder) interfaceRules(t *table, e vpcsim.TopologyInterface, zone int) {
	id, dev := string(e.ID), quoted(linkName(e.ID))
	names := CounterNames(e.ID)
	for _, c := range names {
		t.counters[c] = true
	}
	for _, a := range e.Addresses {
		t.sets["own"].add(dev + " . " + a.String())
		t.sets["assigned"].add(a.String())
		t.sets["zone-single"].put(a.String(), strconv.Itoa(zone))
	}
	check := []string{"ip saddr 0.0.0.0 drop"} // a DHCP client's question: nobody answers, nobody counts it
	for _, p := range e.Prefixes {
		t.sets["prefixes"].add(p.Masked().String())
		t.sets["zone-prefix"].put(p.Masked().String(), strconv.Itoa(zone))
		check = append(check, "ip saddr "+p.Masked().String()+" goto admit-"+id)
	}
	admit := []string{"ip daddr @services notrack accept"}
	if !e.SourceDestCheck {
		check = append(check, "ip daddr != @services goto admit-"+id)
		admit = append(admit, fmt.Sprintf("meta mark set %d", tableOf(b.subnets[e.Subnet].CIDR)))
	}
	t.chain("admit-"+id, "", append(admit, fmt.Sprintf("ct zone set %d accept", zone))...)
	t.chain("check-"+id, "", append(check, "counter name "+names[0]+" drop")...)
	egress := []string{"jump routes-" + string(e.Subnet), "ct state established,related accept"}
	ingress := []string{"ct state established,related accept"}
	for _, g := range slices.Sorted(slices.Values(e.Groups)) {
		if _, known := b.groups[g]; known {
			egress = append(egress, "jump out-"+string(g))
			ingress = append(ingress, "jump in-"+string(g))
		}
	}
	t.chain("egress-"+id, "", append(egress, "counter name "+names[1]+" drop")...)
	t.chain("ingress-"+id, "", append(ingress, "counter name "+names[2]+" drop")...)
	t.sets["links"].add(dev)
	t.sets["admit"].put(dev, "goto admit-"+id)
	t.sets["check"].put(dev, "goto check-"+id)
	t.sets["from-links"].put(dev, "goto egress-"+id)
	t.sets["to-links"].put(dev, "goto ingress-"+id)
	t.sets["no-route"].put(dev, quoted(names[3]))
}

// routeRules says which destinations a subnet's table leads to; what it does not is counted where it leaves the
// instance, where the interface is still known. The kernel's routes choose the way.
func (b *builder) routeRules(sub vpcsim.TopologySubnet) []string {
	local, internet, nat := b.reachable(sub)
	var rules []string
	if in := ranges(local); in != "" {
		rules = append(rules, "ip daddr "+in+" ip daddr @assigned return", "ip daddr "+in+" ip daddr @prefixes return")
	}
	if in := ranges(nat); in != "" {
		rules = append(rules, "ip daddr "+in+" return")
	}
	if in := ranges(internet); in != "" {
		rules = append(rules, "ip daddr "+in+" ip saddr @mapped return")
	}
	return append(rules, "counter name iifname map @no-route drop")
}

// reachable splits the address space by where the longest match of a subnet's routes leads.
func (b *builder) reachable(sub vpcsim.TopologySubnet) (local, internet, nat *netipx.IPSet) {
	type entry struct {
		dst    netip.Prefix
		target vpcsim.RouteTarget
	}
	var all []entry
	for dst, r := range b.routesOf(sub) {
		all = append(all, entry{dst, r.Target})
	}
	slices.SortStableFunc(all, func(x, y entry) int { return x.dst.Bits() - y.dst.Bits() })
	builders := map[vpcsim.RouteTarget]*netipx.IPSetBuilder{vpcsim.RouteLocal: {}, vpcsim.RouteInternet: {}, vpcsim.RouteNAT: {}}
	for _, e := range all {
		for target, set := range builders {
			if target == e.target {
				set.AddPrefix(e.dst)
			} else {
				set.RemovePrefix(e.dst)
			}
		}
	}
	build := func(target vpcsim.RouteTarget) *netipx.IPSet {
		s, _ := builders[target].IPSet() // its error is about invalid prefixes, which routesOf leaves out
		return s
	}
	return build(vpcsim.RouteLocal), build(vpcsim.RouteInternet), build(vpcsim.RouteNAT)
}

func ranges(s *netipx.IPSet) string {
	parts := make([]string, 0, len(s.Ranges()))
	for _, r := range s.Ranges() {
		if r.From() == r.To() {
			parts = append(parts, r.From().String())
		} else {
			parts = append(parts, r.From().String()+"-"+r.To().String())
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return "{ " + strings.Join(parts, ", ") + " }"
}

// arpRules lets the kernel's proxy answer for the VPC's blocks and the services, but never for an interface's own
// addresses, so that an instance that looks for a duplicate finds none.
func (b *builder) arpRules() *table {
	t := newTable()
	own := t.setOf(b.addresses, "own", "set typeof iifname . arp daddr ip")
	rules := []string{"iifname . arp daddr ip @own drop"}
	for _, e := range b.interfaces {
		dev := quoted(linkName(e.ID))
		for _, a := range e.Addresses {
			own.add(dev + " . " + a.String())
		}
		for _, p := range e.Prefixes {
			rules = append(rules, "iifname "+dev+" arp daddr ip "+p.Masked().String()+" drop")
		}
	}
	rules = append(rules, "arp operation request arp daddr ip { "+MetadataAddr.String()+", "+ResolverAddr.String()+" } accept")
	for _, c := range b.vpc.CIDRs {
		if c.Addr().Is4() {
			rules = append(rules, "arp operation request arp daddr ip "+c.Masked().String()+" accept")
		}
	}
	t.chain("input", "type filter hook input priority filter ; policy drop", rules...)
	return t
}

// natRuleset gives everything that a NAT gateway sends its own address.
func natRuleset(private netip.Addr) Ruleset {
	t := newTable()
	t.chain("source-nat", "type nat hook postrouting priority srcnat ; policy accept",
		"ip saddr != "+private.String()+" snat ip to "+private.String())
	t.chain("input", "type filter hook input priority filter ; policy drop")
	return Ruleset{inetTable: t}
}

func quoted(s string) string { return `"` + s + `"` }

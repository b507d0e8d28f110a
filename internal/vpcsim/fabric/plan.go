package fabric

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"github.com/berth-net/berth/internal/core/vpc"
	"github.com/berth-net/berth/internal/vpcsim"
)

// Link-local services, reachable from every interface whatever the routes say.
var (
	// MetadataAddr is where an instance finds its metadata service.
	MetadataAddr = netip.MustParseAddr("169.254.169.254")
	// ResolverAddr is the VPC's DNS resolver, which also answers at the VPC's base address plus two.
	ResolverAddr = netip.MustParseAddr("169.254.169.253")
)

// hop is the next hop of every route. No interface has it: a permanent neighbour entry per link says which MAC it means.
var hop = netip.MustParseAddr("169.254.0.1")

const (
	jumboMTU    = 9001
	internetMTU = 1500 // what EC2 allows through an internet gateway

	mainTable     = 254
	routeProtocol = 190 // marks the fabric's routes and rules in dumps

	loopNear, loopFar = "loop0", "loop1"
	inetLink          = "inet"
	natPeer           = "vpc" // a NAT gateway's only link
)

type kind string

const (
	kindVPC      kind = "vpc"
	kindInstance kind = "instance"
	kindNAT      kind = "nat"
	kindInternet kind = "internet"
)

// spaceKey identifies a namespace of the fabric.
type spaceKey struct {
	kind kind
	id   string
}

var internetKey = spaceKey{kindInternet, "internet"}

func vpcKey(id vpc.ID) spaceKey              { return spaceKey{kindVPC, string(id)} }
func instanceKey(id vpc.InstanceID) spaceKey { return spaceKey{kindInstance, string(id)} }
func natKey(id string) spaceKey              { return spaceKey{kindNAT, id} }

// space is the wanted content of a namespace. Links are listed in the VPC's namespace, which holds the near end of all.
type space struct {
	name   string // its file's name, without the prefix
	addrs  map[netip.Addr]bool
	links  map[string]link
	routes map[routeKey]route
	rules  map[rule]bool
	// nft gives the ruleset; links have been built by then, so it knows their indexes.
	nft func(index map[string]int) ruleset
}

// link is a veth with its near end in the VPC's namespace. It has only comparable fields: a link that differs is
// replaced.
type link struct {
	eni      vpc.ENIID // empty for the fabric's own links
	mac      string    // of the near end
	peer     spaceKey
	peerName string // empty: the next free ethN
	peerMAC  string
	mtu      int
	order    int // instances' links come up in this order
	// boot is what an instance's DHCP client would set on its primary interface.
	boot        netip.Prefix
	bootGateway netip.Addr
}

// ident is what the link's alias says: enough to tell whether it is the wanted one.
func (l link) ident() string {
	return strings.Join([]string{string(l.eni), string(l.peer.kind), l.peer.id, l.mac, l.peerMAC}, " ")
}

type routeKey struct {
	table int
	dst   netip.Prefix
}

// route leads by hop out of dev, or nowhere when dev is empty.
type route struct {
	dev string
	src netip.Addr
}

type rule struct {
	priority int
	src      netip.Prefix
	mark     uint32
	iif      string
	table    int
}

// world is everything that should exist.
type world struct {
	spaces map[spaceKey]*space
	owners map[vpc.ID]*owners
	// where says in which VPC's namespace, and under which name, an interface's far end is.
	where map[vpc.ENIID]place
	vpcOf map[vpc.InstanceID]vpc.ID
}

type place struct {
	vpc  vpc.ID
	link string
}

// owners finds the instance that an address is assigned to.
type owners struct {
	addrs    map[netip.Addr]vpc.InstanceID
	prefixes map[netip.Prefix]vpc.InstanceID
}

func (o *owners) of(addr netip.Addr) (vpc.InstanceID, bool) {
	if id, ok := o.addrs[addr]; ok {
		return id, true
	}
	for p, id := range o.prefixes {
		if p.Contains(addr) {
			return id, true
		}
	}
	return "", false
}

var (
	idPattern   = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9-]{0,62}$`)
	namePattern = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9.-]{0,200}$`)
)

// plan says what should exist for a topology. It is a pure function; extra are the internet's further addresses.
func plan(t vpcsim.Topology, extra []netip.Addr) (*world, error) {
	t = attachedOnly(t)
	if err := validate(t); err != nil {
		return nil, err
	}
	w := &world{
		spaces: map[spaceKey]*space{},
		owners: map[vpc.ID]*owners{},
		where:  map[vpc.ENIID]place{},
		vpcOf:  map[vpc.InstanceID]vpc.ID{},
	}
	for _, i := range t.Instances {
		w.spaces[instanceKey(i.ID)] = &space{name: cmp.Or(i.Name, string(i.ID))}
	}
	internet := newSpace("internet")
	internet.addrs[EchoAddr] = true
	for _, a := range extra {
		internet.addrs[a] = true
	}
	internet.routes[routeKey{mainTable, allIPv4}] = route{}
	w.spaces[internetKey] = internet
	for _, v := range t.VPCs {
		w.planVPC(t, v, internet)
	}
	names := map[string]spaceKey{}
	for key, s := range w.spaces {
		if other, taken := names[s.name]; taken {
			return nil, fmt.Errorf("plan topology: %s %s and %s %s have the same name %q", key.kind, key.id, other.kind, other.id, s.name)
		}
		names[s.name] = key
	}
	return w, nil
}

func newSpace(name string) *space {
	return &space{
		name:   name,
		addrs:  map[netip.Addr]bool{},
		links:  map[string]link{},
		routes: map[routeKey]route{},
		rules:  map[rule]bool{},
		nft:    func(map[string]int) ruleset { return ruleset{} },
	}
}

// attachedOnly drops what has no place among packets: IPv6 for now, and attachments to instances and subnets that
// are gone.
func attachedOnly(t vpcsim.Topology) vpcsim.Topology {
	running := map[vpc.InstanceID]bool{}
	for _, i := range t.Instances {
		running[i.ID] = true
	}
	subnets := map[vpc.SubnetID]vpc.ID{}
	for _, s := range t.Subnets {
		if s.CIDR.Addr().Is4() {
			subnets[s.ID] = s.VPC
		}
	}
	interfaces := make([]vpcsim.TopologyInterface, 0, len(t.Interfaces))
	for _, e := range t.Interfaces {
		if !running[e.Instance] || subnets[e.Subnet] != e.VPC {
			e.Instance = ""
		}
		e.Addresses = slices.DeleteFunc(slices.Clone(e.Addresses), func(a netip.Addr) bool { return !a.Is4() })
		e.Prefixes = slices.DeleteFunc(slices.Clone(e.Prefixes), func(p netip.Prefix) bool { return !p.Addr().Is4() })
		interfaces = append(interfaces, e)
	}
	slices.SortFunc(interfaces, func(a, b vpcsim.TopologyInterface) int {
		return cmp.Or(cmp.Compare(a.NetworkCard, b.NetworkCard), cmp.Compare(a.DeviceIndex, b.DeviceIndex), cmp.Compare(a.ID, b.ID))
	})
	t.Interfaces = interfaces
	return t
}

// validate refuses what cannot become a name in the kernel; all else that is odd is built as far as it makes sense.
func validate(t vpcsim.Topology) error {
	check := func(pattern *regexp.Regexp, what, id string) error {
		if !pattern.MatchString(id) {
			return fmt.Errorf("plan topology: %s %q cannot be a name in the kernel", what, id)
		}
		return nil
	}
	for _, v := range t.VPCs {
		if err := check(idPattern, "vpc", string(v.ID)); err != nil {
			return err
		}
	}
	for _, s := range t.Subnets {
		if err := check(idPattern, "subnet", string(s.ID)); err != nil {
			return err
		}
	}
	for _, e := range t.Interfaces {
		if err := check(idPattern, "interface", string(e.ID)); err != nil {
			return err
		}
	}
	for _, g := range t.Groups {
		if err := check(idPattern, "security group", string(g.ID)); err != nil {
			return err
		}
	}
	for _, n := range t.NATGateways {
		if err := check(idPattern, "nat gateway", n.ID); err != nil {
			return err
		}
	}
	for _, i := range t.Instances {
		if err := check(namePattern, "instance", cmp.Or(i.Name, string(i.ID))); err != nil {
			return err
		}
	}
	return nil
}

// planVPC adds a VPC's namespace, its NAT gateways, and its link to the internet.
func (w *world) planVPC(t vpcsim.Topology, v vpcsim.TopologyVPC, internet *space) {
	b := newBuilder(t, v)
	s := newSpace(string(v.ID))
	w.spaces[vpcKey(v.ID)] = s
	w.owners[v.ID] = &owners{addrs: map[netip.Addr]vpc.InstanceID{}, prefixes: map[netip.Prefix]vpc.InstanceID{}}
	for a := range b.services {
		s.addrs[a] = true
	}
	s.links[loopNear] = link{mac: macFor(v.ID, loopNear), peer: vpcKey(v.ID), peerName: loopFar, peerMAC: macFor(v.ID, loopFar), mtu: jumboMTU}
	peerName := shortName("vpc", string(v.ID))
	s.links[inetLink] = link{mac: macFor(v.ID, inetLink), peer: internetKey, peerName: peerName, peerMAC: macFor(v.ID, "internet"), mtu: internetMTU}
	s.routes[routeKey{mainTable, allIPv4}] = route{}
	s.rules[rule{priority: 50, iif: "lo", table: mainTable}] = true
	s.rules[rule{priority: 100, iif: loopFar, table: mainTable}] = true
	for _, n := range b.nats {
		w.planNAT(b, s, n)
	}
	for _, sub := range b.subnets {
		b.planSubnet(s, sub)
	}
	for _, e := range b.interfaces {
		w.planInterface(b, s, e)
	}
	for _, pair := range b.public {
		internet.routes[routeKey{mainTable, single(pair.public)}] = route{dev: peerName}
	}
	s.nft = b.ruleset
}

// planNAT gives a NAT gateway a namespace that sends all it gets back with its own source address.
func (w *world) planNAT(b *builder, s *space, n vpcsim.TopologyNAT) {
	name := shortName("nat", n.ID)
	s.links[name] = link{mac: macFor(n.ID, "near"), peer: natKey(n.ID), peerName: natPeer, peerMAC: macFor(n.ID, "far"), mtu: jumboMTU}
	to := route{dev: name}
	if sub, ok := b.subnets[n.Subnet]; ok {
		to.src = sub.CIDR.Masked().Addr().Next()
	}
	s.routes[routeKey{mainTable, single(n.Private)}] = to
	nat := newSpace(n.ID)
	nat.addrs[n.Private] = true
	nat.routes[routeKey{mainTable, allIPv4}] = route{dev: natPeer}
	nat.nft = func(map[string]int) ruleset { return natRuleset(n.Private) }
	w.spaces[natKey(n.ID)] = nat
}

// planSubnet turns a subnet's route table into a routing table. The longest match is the kernel's own business; what
// has no route must not fall through to main.
func (b *builder) planSubnet(s *space, sub vpcsim.TopologySubnet) {
	number := tableOf(sub.CIDR)
	s.rules[rule{priority: 150, mark: uint32(number), table: number}] = true
	s.rules[rule{priority: 200, src: sub.CIDR.Masked(), table: number}] = true
	s.routes[routeKey{number, allIPv4}] = route{}
	for dst, target := range b.routesOf(sub) {
		switch target.Target {
		case vpcsim.RouteLocal:
			s.routes[routeKey{number, dst}] = route{dev: loopNear}
		case vpcsim.RouteInternet:
			s.routes[routeKey{number, dst}] = route{dev: inetLink}
		case vpcsim.RouteNAT:
			s.routes[routeKey{number, dst}] = route{dev: shortName("nat", target.Via)}
		default:
			s.routes[routeKey{number, dst}] = route{}
		}
	}
}

// planInterface adds an attached interface's link and the routes to its addresses.
func (w *world) planInterface(b *builder, s *space, e vpcsim.TopologyInterface) {
	sub := b.subnets[e.Subnet]
	gateway := sub.CIDR.Masked().Addr().Next()
	name := linkName(e.ID)
	l := link{eni: e.ID, mac: macFor(e.Subnet, "gateway"), peer: instanceKey(e.Instance), peerMAC: strings.ToLower(e.MAC), mtu: jumboMTU, order: 1 + e.NetworkCard<<16 + e.DeviceIndex}
	if e.DeviceIndex == 0 && e.NetworkCard == 0 {
		l.peerName = "eth0"
		if len(e.Addresses) > 0 {
			l.boot, l.bootGateway = netip.PrefixFrom(e.Addresses[0], sub.CIDR.Bits()), gateway
		}
	}
	s.links[name] = l
	w.where[e.ID] = place{vpc: e.VPC, link: name}
	w.vpcOf[e.Instance] = e.VPC
	own := w.owners[e.VPC]
	for _, a := range e.Addresses {
		s.routes[routeKey{mainTable, single(a)}] = route{dev: name, src: gateway}
		own.addrs[a] = e.Instance
	}
	for _, p := range e.Prefixes {
		s.routes[routeKey{mainTable, p.Masked()}] = route{dev: name, src: gateway}
		own.prefixes[p.Masked()] = e.Instance
	}
}

var allIPv4 = netip.MustParsePrefix("0.0.0.0/0")

func single(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

// tableOf numbers a subnet's routing table by its block, so that a new process finds the same one. No block is smaller
// than a /28.
func tableOf(cidr netip.Prefix) int {
	b := cidr.Masked().Addr().As4()
	return 1<<28 | int(binary.BigEndian.Uint32(b[:])>>4)
}

// macFor derives the MAC of one of the fabric's own link ends.
func macFor[T ~string](id T, end string) string {
	sum := sha256.Sum256([]byte(string(id) + " " + end))
	return fmt.Sprintf("0e:%02x:%02x:%02x:%02x:%02x", sum[0], sum[1], sum[2], sum[3], sum[4])
}

// linkName is the name of an interface's far end.
func linkName(id vpc.ENIID) string { return shortName("eni", string(id)) }

// shortName fits an identifier into the 15 characters of a link's name: its last twelve are random in real ones.
func shortName(kind, id string) string {
	tail := id[strings.IndexByte(id, '-')+1:]
	if len(tail) > 12 {
		tail = tail[len(tail)-12:]
	}
	return kind + tail
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

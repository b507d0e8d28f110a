package plan

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

const (
	jumboMTU    = 9001
	internetMTU = 1500 // what EC2 allows through an internet gateway

	mainTable = 254

	inetLink = "inet"
	natPeer  = "vpc" // a NAT gateway's only link
)

// The ends of the link that brings a VPC's namespace its packets for their second pass.
const (
	LoopNear = "loop0"
	LoopFar  = "loop1"
)

// Kind is what a namespace is for.
type Kind string

// Kinds of namespaces.
const (
	KindVPC      Kind = "vpc"
	KindInstance Kind = "instance"
	KindNAT      Kind = "nat"
	KindInternet Kind = "internet"
)

// Key identifies a namespace of the fabric.
type Key struct {
	Kind Kind
	ID   string
}

// InternetKey is the only namespace of its kind.
var InternetKey = Key{KindInternet, "internet"}

// VPCKey is the namespace of a VPC.
func VPCKey(id vpc.ID) Key { return Key{KindVPC, string(id)} }

// InstanceKey is the namespace of an instance.
func InstanceKey(id vpc.InstanceID) Key { return Key{KindInstance, string(id)} }

func natKey(id string) Key { return Key{KindNAT, id} }

// Space is the wanted content of a namespace. Links are listed in the VPC's namespace, which holds the near end of all.
type Space struct {
	Name   string // its file's name, without the prefix
	Addrs  map[netip.Addr]bool
	Links  map[string]Link
	Routes map[RouteKey]Route
	Rules  map[Rule]bool
	// NFT gives the ruleset; links have been built by then, so it knows their indexes.
	NFT func(index map[string]int) Ruleset
}

// Link is a veth with its near end in the VPC's namespace. It has only comparable fields: a link that differs is
// replaced.
type Link struct {
	ENI      vpc.ENIID // empty for the fabric's own links
	MAC      string    // of the near end
	Peer     Key
	PeerName string // empty: the next free ethN
	PeerMAC  string
	MTU      int
	Order    int // instances' links come up in this order
	// Boot is what an instance's DHCP client would set on its primary interface.
	Boot        netip.Prefix
	BootGateway netip.Addr
}

// Ident is what the link's alias says: enough to tell whether it is the wanted one.
func (l Link) Ident() string {
	return strings.Join([]string{string(l.ENI), string(l.Peer.Kind), l.Peer.ID, l.MAC, l.PeerMAC}, " ")
}

// RouteKey is what a namespace has one route for.
type RouteKey struct {
	Table int
	Dst   netip.Prefix
}

// Route leads by the next hop out of Dev, or nowhere when Dev is empty.
type Route struct {
	Dev string
	Src netip.Addr
}

// Rule is a routing rule; a field that is empty does not match.
type Rule struct {
	Priority int
	Src      netip.Prefix
	Mark     uint32
	IIF      string
	Table    int
}

// World is everything that should exist.
type World struct {
	Spaces map[Key]*Space
	Owners map[vpc.ID]*Owners
	// Where says in which VPC's namespace, and under which name, an interface's far end is.
	Where map[vpc.ENIID]Place
	VPCOf map[vpc.InstanceID]vpc.ID
}

// Place is where an interface's far end is.
type Place struct {
	VPC  vpc.ID
	Link string
}

// Owners finds the instance that an address is assigned to.
type Owners struct {
	addrs    map[netip.Addr]vpc.InstanceID
	prefixes map[netip.Prefix]vpc.InstanceID
}

// Of is the instance that an address, or the block that it is in, is assigned to.
func (o *Owners) Of(addr netip.Addr) (vpc.InstanceID, bool) {
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

// New says what should exist for a topology. It is a pure function; public are the addresses of the internet's own services.
func New(t vpcsim.Topology, public []netip.Addr) (*World, error) {
	t = attachedOnly(t)
	if err := validate(t); err != nil {
		return nil, err
	}
	w := &World{
		Spaces: map[Key]*Space{},
		Owners: map[vpc.ID]*Owners{},
		Where:  map[vpc.ENIID]Place{},
		VPCOf:  map[vpc.InstanceID]vpc.ID{},
	}
	for _, i := range t.Instances {
		w.Spaces[InstanceKey(i.ID)] = &Space{Name: cmp.Or(i.Name, string(i.ID))}
	}
	internet := newSpace("internet")
	for _, a := range public {
		internet.Addrs[a] = true
	}
	internet.Routes[RouteKey{mainTable, allIPv4}] = Route{}
	w.Spaces[InternetKey] = internet
	for _, v := range t.VPCs {
		w.planVPC(t, v, internet)
	}
	names := map[string]Key{}
	for key, s := range w.Spaces {
		if other, taken := names[s.Name]; taken {
			return nil, fmt.Errorf("plan topology: %s %s and %s %s have the same name %q", key.Kind, key.ID, other.Kind, other.ID, s.Name)
		}
		names[s.Name] = key
	}
	return w, nil
}

func newSpace(name string) *Space {
	return &Space{
		Name:   name,
		Addrs:  map[netip.Addr]bool{},
		Links:  map[string]Link{},
		Routes: map[RouteKey]Route{},
		Rules:  map[Rule]bool{},
		NFT:    func(map[string]int) Ruleset { return Ruleset{} },
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

// ValidName tells whether a string can be the name of a namespace's file.
func ValidName(s string) bool { return namePattern.MatchString(s) }

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
func (w *World) planVPC(t vpcsim.Topology, v vpcsim.TopologyVPC, internet *Space) {
	b := newBuilder(t, v)
	s := newSpace(string(v.ID))
	w.Spaces[VPCKey(v.ID)] = s
	w.Owners[v.ID] = &Owners{addrs: map[netip.Addr]vpc.InstanceID{}, prefixes: map[netip.Prefix]vpc.InstanceID{}}
	for a := range b.services {
		s.Addrs[a] = true
	}
	s.Links[LoopNear] = Link{MAC: macFor(v.ID, LoopNear), Peer: VPCKey(v.ID), PeerName: LoopFar, PeerMAC: macFor(v.ID, LoopFar), MTU: jumboMTU}
	peerName := shortName("vpc", string(v.ID))
	s.Links[inetLink] = Link{MAC: macFor(v.ID, inetLink), Peer: InternetKey, PeerName: peerName, PeerMAC: macFor(v.ID, "internet"), MTU: internetMTU}
	s.Routes[RouteKey{mainTable, allIPv4}] = Route{}
	s.Rules[Rule{Priority: 50, IIF: "lo", Table: mainTable}] = true
	s.Rules[Rule{Priority: 100, IIF: LoopFar, Table: mainTable}] = true
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
		internet.Routes[RouteKey{mainTable, single(pair.public)}] = Route{Dev: peerName}
	}
	s.NFT = b.ruleset
}

// planNAT gives a NAT gateway a namespace that sends all it gets back with its own source address.
func (w *World) planNAT(b *builder, s *Space, n vpcsim.TopologyNAT) {
	name := shortName("nat", n.ID)
	s.Links[name] = Link{MAC: macFor(n.ID, "near"), Peer: natKey(n.ID), PeerName: natPeer, PeerMAC: macFor(n.ID, "far"), MTU: jumboMTU}
	to := Route{Dev: name}
	if sub, ok := b.subnets[n.Subnet]; ok {
		to.Src = sub.CIDR.Masked().Addr().Next()
	}
	s.Routes[RouteKey{mainTable, single(n.Private)}] = to
	nat := newSpace(n.ID)
	nat.Addrs[n.Private] = true
	nat.Routes[RouteKey{mainTable, allIPv4}] = Route{Dev: natPeer}
	nat.NFT = func(map[string]int) Ruleset { return natRuleset(n.Private) }
	w.Spaces[natKey(n.ID)] = nat
}

// planSubnet turns a subnet's route table into a routing table. The longest match is the kernel's own business; what
// has no route must not fall through to main.
func (b *builder) planSubnet(s *Space, sub vpcsim.TopologySubnet) {
	number := tableOf(sub.CIDR)
	s.Rules[Rule{Priority: 150, Mark: uint32(number), Table: number}] = true
	s.Rules[Rule{Priority: 200, Src: sub.CIDR.Masked(), Table: number}] = true
	s.Routes[RouteKey{number, allIPv4}] = Route{}
	for dst, target := range b.routesOf(sub) {
		switch target.Target {
		case vpcsim.RouteLocal:
			s.Routes[RouteKey{number, dst}] = Route{Dev: LoopNear}
		case vpcsim.RouteInternet:
			s.Routes[RouteKey{number, dst}] = Route{Dev: inetLink}
		case vpcsim.RouteNAT:
			s.Routes[RouteKey{number, dst}] = Route{Dev: shortName("nat", target.Via)}
		default:
			s.Routes[RouteKey{number, dst}] = Route{}
		}
	}
}

// planInterface adds an attached interface's link and the routes to its addresses.
func (w *World) planInterface(b *builder, s *Space, e vpcsim.TopologyInterface) {
	sub := b.subnets[e.Subnet]
	gateway := sub.CIDR.Masked().Addr().Next()
	name := linkName(e.ID)
	l := Link{ENI: e.ID, MAC: macFor(e.Subnet, "gateway"), Peer: InstanceKey(e.Instance), PeerMAC: strings.ToLower(e.MAC), MTU: jumboMTU, Order: 1 + e.NetworkCard<<16 + e.DeviceIndex}
	if e.DeviceIndex == 0 && e.NetworkCard == 0 {
		l.PeerName = "eth0"
		if len(e.Addresses) > 0 {
			l.Boot, l.BootGateway = netip.PrefixFrom(e.Addresses[0], sub.CIDR.Bits()), gateway
		}
	}
	s.Links[name] = l
	w.Where[e.ID] = Place{VPC: e.VPC, Link: name}
	w.VPCOf[e.Instance] = e.VPC
	own := w.Owners[e.VPC]
	for _, a := range e.Addresses {
		s.Routes[RouteKey{mainTable, single(a)}] = Route{Dev: name, Src: gateway}
		own.addrs[a] = e.Instance
	}
	for _, p := range e.Prefixes {
		s.Routes[RouteKey{mainTable, p.Masked()}] = Route{Dev: name, Src: gateway}
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

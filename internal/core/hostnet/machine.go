package hostnet

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Machine is a host's network as values: what Want asks for, or what an adapter saw.
type Machine struct {
	Links   []LinkState
	Addrs   []Address
	Routes  []Route
	Rules   []Rule
	Sysctls []Sysctl
	// NFT is our nftables table; nil when there is none. One that exists but is not as we left it compares unequal.
	NFT *Table
	// Alive are the pod addresses that a live link of this host carries, whoever wired it. Only observations have them.
	Alive []netip.Addr
	// Pending names what is wanted but cannot be made yet, such as an interface whose link has not appeared. Only Want fills it.
	Pending []string
}

// LinkState is the state of one link.
type LinkState struct {
	Name string
	MTU  int  // 0: whatever it is
	Up   bool // wanted: false means whatever it is
}

// Address is an address of a link.
type Address struct {
	Link   string
	Prefix netip.Prefix
}

// Route is a route. Without Via it is a link-scope route.
type Route struct {
	Table  int
	Dst    netip.Prefix
	Via    netip.Addr
	Link   string
	Metric int
}

// Rule is a policy-routing rule.
type Rule struct {
	Priority int
	From, To netip.Prefix // the zero value: any
	Mark     uint32
	Mask     uint32
	Table    int
	// Other holds whatever else the rule selects or does, as text. Such a rule is never ours.
	Other string
}

// Sysctl is a kernel setting; Key is its path under /proc/sys.
type Sysctl struct {
	Key   string
	Value string
}

// String prints the link in the language of ip.
func (l LinkState) String() string {
	s := "ip link set dev " + l.Name
	if l.MTU > 0 {
		s += " mtu " + strconv.Itoa(l.MTU)
	}
	if l.Up {
		s += " up"
	}
	return s
}

// String prints the address in the language of ip.
func (a Address) String() string { return fmt.Sprintf("%s dev %s", a.Prefix, a.Link) }

// String prints the route in the language of ip.
func (r Route) String() string {
	var b strings.Builder
	switch {
	case r.Dst.Bits() == 0:
		b.WriteString("default")
	case r.Dst.IsSingleIP():
		b.WriteString(r.Dst.Addr().String())
	default:
		b.WriteString(r.Dst.String())
	}
	if r.Via.IsValid() {
		b.WriteString(" via " + r.Via.String())
	}
	b.WriteString(" dev " + r.Link)
	if !r.Via.IsValid() {
		b.WriteString(" scope link")
	}
	if r.Metric != 0 {
		b.WriteString(" metric " + strconv.Itoa(r.Metric))
	}
	b.WriteString(" table " + tableName(r.Table))
	return b.String()
}

// String prints the rule in the language of ip.
func (r Rule) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "priority %d", r.Priority)
	if r.From.IsValid() {
		b.WriteString(" from " + trimHost(r.From))
	}
	if r.To.IsValid() {
		b.WriteString(" to " + trimHost(r.To))
	}
	if r.Mark != 0 || r.Mask != 0 {
		fmt.Fprintf(&b, " fwmark %#x/%#x", r.Mark, r.Mask)
	}
	if r.Other != "" {
		b.WriteString(" " + r.Other)
	}
	b.WriteString(" lookup " + tableName(r.Table))
	return b.String()
}

// String prints the setting in the language of sysctl.
func (s Sysctl) String() string { return fmt.Sprintf("sysctl -w %s=%s", s.Key, s.Value) }

// String prints the machine as the commands that would make it, and its nftables table.
func (m Machine) String() string {
	m.Sort()
	var b strings.Builder
	for _, l := range m.Links {
		fmt.Fprintln(&b, l)
	}
	for _, s := range m.Sysctls {
		fmt.Fprintln(&b, s)
	}
	for _, a := range m.Addrs {
		fmt.Fprintln(&b, AddAddr{a})
	}
	for _, r := range m.Routes {
		fmt.Fprintln(&b, ReplaceRoute{r})
	}
	for _, r := range m.Rules {
		fmt.Fprintln(&b, AddRule{r})
	}
	if m.NFT != nil {
		b.WriteString(m.NFT.String())
	}
	for _, p := range m.Pending {
		fmt.Fprintln(&b, "# pending:", p)
	}
	return b.String()
}

// Sort puts the machine's parts into their canonical order. The slices are replaced, not sorted in place.
func (m *Machine) Sort() {
	m.Links = sorted(m.Links, func(a, b LinkState) int { return cmp.Compare(a.Name, b.Name) })
	m.Addrs = sorted(m.Addrs, compareAddrs)
	m.Routes = sorted(m.Routes, compareRoutes)
	m.Rules = sorted(m.Rules, compareRules)
	m.Sysctls = sorted(m.Sysctls, func(a, b Sysctl) int { return cmp.Compare(a.Key, b.Key) })
	m.Alive = sorted(m.Alive, netip.Addr.Compare)
	m.Pending = sorted(m.Pending, cmp.Compare[string])
}

func sorted[T comparable](in []T, compare func(a, b T) int) []T {
	out := slices.Clone(in)
	slices.SortFunc(out, compare)
	return slices.Compact(out)
}

func compareAddrs(a, b Address) int {
	return cmp.Or(cmp.Compare(a.Link, b.Link), a.Prefix.Compare(b.Prefix))
}

// compareRoutes puts a table's link-scope routes before those that need them to reach their gateway, and main, whose routes
// make pods reachable, after the tables that the pods answer by.
func compareRoutes(a, b Route) int {
	main := func(r Route) int { return boolInt(r.Table == TableMain) }
	return cmp.Or(
		main(a)-main(b),
		cmp.Compare(a.Table, b.Table),
		boolInt(a.Via.IsValid())-boolInt(b.Via.IsValid()),
		a.Dst.Compare(b.Dst),
		cmp.Compare(a.Link, b.Link),
		a.Via.Compare(b.Via),
		cmp.Compare(a.Metric, b.Metric),
	)
}

func compareRules(a, b Rule) int {
	return cmp.Or(
		cmp.Compare(a.Priority, b.Priority),
		a.From.Compare(b.From),
		a.To.Compare(b.To),
		cmp.Compare(a.Mark, b.Mark),
		cmp.Compare(a.Mask, b.Mask),
		cmp.Compare(a.Table, b.Table),
		cmp.Compare(a.Other, b.Other),
	)
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

func tableName(table int) string {
	if table == TableMain {
		return "main"
	}
	return strconv.Itoa(table)
}

func trimHost(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}

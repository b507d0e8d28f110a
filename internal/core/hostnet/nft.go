package hostnet

import (
	"fmt"
	"net/netip"
	"strings"
)

// TableName is the name of our nftables table, in family ip.
const TableName = "berth"

// Table is our nftables table. It is replaced as a whole, in one transaction.
type Table struct {
	Name   string
	Sets   []Set
	Chains []Chain
}

// Set is a set of IPv4 blocks that do not overlap.
type Set struct {
	Name     string
	Comment  string
	Prefixes []netip.Prefix
}

// Chain is a chain; Type, Hook and Priority are empty when it is only jumped to.
type Chain struct {
	Name     string
	Type     string
	Hook     string
	Priority string
	Rules    []string // in the language of nft
}

// Names of sets and chains.
const (
	setVPC  = "vpc"
	setKeep = "keep-address"
	setNode = "node-addresses"

	chainNodePort = "mark-node-port"
	chainPods     = "route-pods"
	chainOutbound = "mark-outbound"
)

// ChainTranslate is the chain of our table that translates addresses; it is there unless somebody else does that.
const ChainTranslate = "translate"

// table is the nftables table that cfg asks for, nil when it asks for nothing. primary is the primary link's name.
func table(cfg Config, primary string) *Table {
	s := cfg.Settings
	if !s.SNAT && !s.NodePort {
		return nil
	}
	t := &Table{Name: TableName}
	if s.NodePort && primary != "" {
		t.Chains = append(t.Chains, Chain{
			Name: chainNodePort, Type: "filter", Hook: "prerouting", Priority: "mangle",
			Rules: []string{fmt.Sprintf("iifname %q ct direction original fib daddr . iif type local ct mark set ct mark or %#x",
				primary, s.ConnMark)},
		})
	}
	pods := Chain{
		// After the destination was translated (dstnat is -100): a service's address must not be taken for one outside the VPC.
		Name: chainPods, Type: "filter", Hook: "prerouting", Priority: "dstnat+10",
		Rules: []string{
			fmt.Sprintf("iifname != %q return", s.VethPrefix+"*"),
			fmt.Sprintf("ct mark and %#x == %#x meta mark set meta mark or %#x return", s.ConnMark, s.ConnMark, s.ConnMark),
		},
	}
	if !s.SNAT {
		t.Chains = append(t.Chains, pods)
		return t
	}
	t.Sets = sets(cfg)
	// New connections only: replies to whoever reached a pod directly leave by the pod's own interface.
	pods.Rules = append(pods.Rules, "ct state new jump "+chainOutbound)
	outbound := Chain{Name: chainOutbound, Rules: append(keepAddress(),
		fmt.Sprintf("ct mark set ct mark or %#x", s.ConnMark),
		fmt.Sprintf("meta mark set meta mark or %#x", s.ConnMark))}
	t.Chains = append(t.Chains, outbound, pods, translate(cfg))
	return t
}

// sets are the blocks that decide who is translated. The subnets of the interfaces are in the VPC by definition: they are
// added so that a block that was associated a moment ago is not treated as foreign until the list of blocks is read again.
func sets(cfg Config) []Set {
	vpc := append([]netip.Prefix(nil), cfg.VPCCIDRs...)
	node := []netip.Prefix{}
	if cfg.PrimaryIP.IsValid() {
		node = append(node, host(cfg.PrimaryIP))
	}
	for _, e := range cfg.ENIs {
		vpc = append(vpc, e.SubnetCIDR)
		if e.Address.IsValid() {
			node = append(node, host(e.Address))
		}
	}
	return []Set{
		{Name: setVPC, Comment: "blocks of the VPC", Prefixes: merged(vpc)},
		{Name: setKeep, Comment: "outside the VPC, reached with the pod's address", Prefixes: merged(cfg.Settings.NoSNATCIDRs)},
		{Name: setNode, Comment: "the node's own addresses", Prefixes: merged(node)},
	}
}

// keepAddress are the rules that both chains share: who is returned here keeps its address and its interface.
func keepAddress() []string {
	return []string{
		"fib daddr type local return",
		"ip daddr @" + setVPC + " return",
		"ip daddr @" + setKeep + " return",
	}
}

// translate gives what leaves the VPC the node's address. What the host itself sends has a right address already, and is
// left alone so that its source ports stay in the range that the host chose them from.
func translate(cfg Config) Chain {
	snat := "snat to " + cfg.PrimaryIP.String()
	switch cfg.Settings.RandomizeSNAT {
	case RandomizePRNG:
		snat += " fully-random"
	case RandomizeHash:
		snat += " random"
	case RandomizeNone:
	}
	rules := []string{
		fmt.Sprintf("oifname %q return", cfg.Settings.VethPrefix+"*"),
		`oifname "vlan*" return`, // branch interfaces
		"ip saddr @" + setNode + " return",
	}
	rules = append(rules, keepAddress()...)
	return Chain{Name: ChainTranslate, Type: "nat", Hook: "postrouting", Priority: "srcnat", Rules: append(rules, snat)}
}

// String prints the table in the language of nft.
func (t *Table) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "table ip %s {\n", t.Name)
	for _, s := range t.Sets {
		fmt.Fprintf(&b, "\tset %s { # %s\n\t\ttype ipv4_addr\n\t\tflags interval\n", s.Name, s.Comment)
		if len(s.Prefixes) > 0 {
			texts := make([]string, len(s.Prefixes))
			for i, p := range s.Prefixes {
				texts[i] = trimHost(p)
			}
			fmt.Fprintf(&b, "\t\telements = { %s }\n", strings.Join(texts, ", "))
		}
		b.WriteString("\t}\n")
	}
	for _, c := range t.Chains {
		fmt.Fprintf(&b, "\tchain %s {\n", c.Name)
		if c.Hook != "" {
			fmt.Fprintf(&b, "\t\ttype %s hook %s priority %s; policy accept;\n", c.Type, c.Hook,
				strings.ReplaceAll(c.Priority, "+", " + "))
		}
		for _, r := range c.Rules {
			fmt.Fprintf(&b, "\t\t%s\n", r)
		}
		b.WriteString("\t}\n")
	}
	b.WriteString("}\n")
	return b.String()
}

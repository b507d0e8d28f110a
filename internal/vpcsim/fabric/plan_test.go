package fabric

import (
	"flag"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/berth-net/berth/internal/core/vpc"
	"github.com/berth-net/berth/internal/vpcsim"
)

var update = flag.Bool("update", false, "rewrite golden files")

// small has one of each: a public and a private instance, a delegated block, a group reference, both gateways.
func small() vpcsim.Topology {
	p, a := netip.MustParsePrefix, netip.MustParseAddr
	local := vpcsim.TopologyRoute{Destination: p("10.0.0.0/24"), Target: vpcsim.RouteLocal}
	return vpcsim.Topology{
		VPCs: []vpcsim.TopologyVPC{{ID: "vpc-1", CIDRs: []netip.Prefix{p("10.0.0.0/24")}}},
		Subnets: []vpcsim.TopologySubnet{
			{ID: "subnet-a", VPC: "vpc-1", CIDR: p("10.0.0.0/27"), Routes: []vpcsim.TopologyRoute{local, {Destination: p("0.0.0.0/0"), Target: vpcsim.RouteInternet}}},
			{ID: "subnet-b", VPC: "vpc-1", CIDR: p("10.0.0.32/27"), Routes: []vpcsim.TopologyRoute{
				local, {Destination: p("0.0.0.0/0"), Target: vpcsim.RouteNAT, Via: "nat-1"}, {Destination: p("192.0.2.0/24"), Target: "vpc-peering"},
			}},
		},
		Interfaces: []vpcsim.TopologyInterface{
			{
				ID: "eni-a", VPC: "vpc-1", Subnet: "subnet-a", MAC: "02:00:00:00:00:0A", Instance: "i-a", SourceDestCheck: true,
				Addresses: []netip.Addr{a("10.0.0.5"), a("10.0.0.6")}, Groups: []vpc.SecurityGroupID{"sg-a"},
				Public: map[netip.Addr]netip.Addr{a("10.0.0.5"): a("198.51.100.5")},
			},
			{
				ID: "eni-b", VPC: "vpc-1", Subnet: "subnet-b", MAC: "02:00:00:00:00:0b", Instance: "i-b",
				Addresses: []netip.Addr{a("10.0.0.40"), a("2001:db8::1")}, Prefixes: []netip.Prefix{p("10.0.0.48/28")}, Groups: []vpc.SecurityGroupID{"sg-b"},
			},
			{ID: "eni-free", VPC: "vpc-1", Subnet: "subnet-b", MAC: "02:00:00:00:00:0c", Addresses: []netip.Addr{a("10.0.0.41")}, Groups: []vpc.SecurityGroupID{"sg-a"}},
		},
		Groups: []vpcsim.TopologyGroup{
			{ID: "sg-a", VPC: "vpc-1", Rules: []vpcsim.GroupRule{{Egress: true, Protocol: "-1", CIDR: p("0.0.0.0/0")}}},
			{ID: "sg-b", VPC: "vpc-1", Rules: []vpcsim.GroupRule{
				{Protocol: "tcp", From: 80, To: 443, Group: "sg-a"},
				{Protocol: "icmp", From: 8, To: -1, CIDR: p("10.0.0.0/24")},
				{Protocol: "-1", CIDR: netip.MustParsePrefix("::/0")},
			}},
		},
		NATGateways: []vpcsim.TopologyNAT{{ID: "nat-1", VPC: "vpc-1", Subnet: "subnet-a", Private: a("10.0.0.30"), Public: a("198.51.100.30")}},
		Instances:   []vpcsim.TopologyInstance{{ID: "i-a", Name: "ip-10-0-0-5"}, {ID: "i-b", Name: "ip-10-0-0-40"}},
	}
}

// describe prints a world as a screenful per namespace.
func describe(w *world) string {
	var b strings.Builder
	var keys []spaceKey
	for k := range w.spaces {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(x, y spaceKey) int { return strings.Compare(string(x.kind)+x.id, string(y.kind)+y.id) })
	for _, k := range keys {
		s := w.spaces[k]
		fmt.Fprintf(&b, "namespace %s (%s %s)\n", s.name, k.kind, k.id)
		var lines []string
		for a := range s.addrs {
			lines = append(lines, fmt.Sprintf("  address %s", a))
		}
		for name, l := range s.links {
			boot := ""
			if l.boot.IsValid() {
				boot = " boots with " + l.boot.String() + " by " + l.bootGateway.String()
			}
			lines = append(lines, fmt.Sprintf("  link %s to %s %s %s mtu %d%s", name, l.peer.kind, l.peer.id, l.peerName, l.mtu, boot))
		}
		for k, r := range s.routes {
			dev := "to " + r.dev
			if r.dev == "" {
				dev = "blackhole"
			}
			lines = append(lines, fmt.Sprintf("  route table %d %s %s", k.table, k.dst, dev))
		}
		for r := range s.rules {
			match := "iif " + r.iif
			if r.src.IsValid() {
				match = "from " + r.src.String()
			} else if r.mark != 0 {
				match = fmt.Sprintf("mark %#x", r.mark)
			}
			lines = append(lines, fmt.Sprintf("  rule %03d %s table %d", r.priority, match, r.table))
		}
		slices.Sort(lines)
		b.WriteString(strings.Join(lines, "\n"))
		if s.nft != nil {
			b.WriteString("\n" + diffRulesets(nil, s.nft(map[string]int{"enia": 6, "enib": 7})))
		}
		b.WriteString("\n")
	}
	return b.String()
}

func TestPlan(t *testing.T) {
	w, err := plan(small(), nil)
	if err != nil {
		t.Fatal(err)
	}
	got := describe(w)
	const golden = "testdata/small.golden"
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
		t.Errorf("plan (-want +got; -update rewrites it after you can explain it):\n%s", diff)
	}
}

func TestNothingToDo(t *testing.T) {
	w, err := plan(small(), nil)
	if err != nil {
		t.Fatal(err)
	}
	again, err := plan(small(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for key, s := range w.spaces {
		if s.nft == nil {
			continue
		}
		if text := diffRulesets(s.nft(nil), again.spaces[key].nft(nil)); text != "" {
			t.Errorf("equal rulesets of %v differ:\n%s", key, text)
		}
	}
}

// What a transaction says, done by an interpreter, turns the one ruleset into the other, and never refers to what is not
// there or removes what is referred to.
func TestDiffRulesets(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		have, want := drawRuleset(t), drawRuleset(t)
		got := interpret(t, have, diffRulesets(have, want))
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(table{}, set{}, chain{})); diff != "" {
			t.Fatalf("after the transaction (-want +got):\n%s\n%s", diff, diffRulesets(have, want))
		}
	})
}

func drawRuleset(t *rapid.T) ruleset {
	out := ruleset{}
	for _, name := range []string{"inet fabric", "arp fabric"} {
		if !rapid.Bool().Draw(t, name) {
			continue
		}
		tab := newTable()
		for _, c := range []string{"c1", "c2"} {
			if rapid.Bool().Draw(t, c) {
				tab.counters[c] = true
			}
		}
		chains := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"x", "y", "z"}), 0, 3, rapid.ID).Draw(t, "chains")
		sets := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"s", "t"}), 0, 2, rapid.ID).Draw(t, "sets")
		for _, s := range sets {
			m := tab.set(s, "map typeof iifname : verdict")
			for _, c := range chains {
				if rapid.Bool().Draw(t, "element") {
					m.put(rapid.SampledFrom([]string{`"a"`, `"b"`, `"c"`}).Draw(t, "key"), "goto "+c)
				}
			}
		}
		for i, c := range chains {
			var rules []string
			for _, other := range chains[i+1:] {
				if rapid.Bool().Draw(t, "jump") {
					rules = append(rules, "jump "+other)
				}
			}
			for _, s := range sets {
				if rapid.Bool().Draw(t, "lookup") {
					rules = append(rules, "iifname vmap @"+s)
				}
			}
			for _, n := range sortedKeys(tab.counters) {
				rules = append(rules, "counter name "+n)
			}
			tab.chain(c, "", rules...)
		}
		out[name] = tab
	}
	return out
}

// interpret is a small nft: it knows what diffRulesets writes, and checks references as the kernel does.
func interpret(t *rapid.T, have ruleset, text string) ruleset {
	out := ruleset{}
	for name, tab := range have {
		c := newTable()
		for n := range tab.counters {
			c.counters[n] = true
		}
		for n, s := range tab.sets {
			x := c.set(n, s.decl)
			for k, v := range s.elements {
				x.put(k, v)
			}
		}
		for n, ch := range tab.chains {
			c.chain(n, ch.hook, slices.Clone(ch.rules)...)
		}
		out[name] = c
	}
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		name := f[2] + " " + f[3]
		tab := out[name]
		rest := strings.Join(f[min(len(f), 5):], " ")
		inner := strings.Trim(rest, "{ ;}")
		switch f[0] + " " + f[1] {
		case "add table":
			if tab == nil {
				out[name] = newTable()
			}
		case "delete table":
			delete(out, name)
		case "add counter":
			tab.counters[f[4]] = true
		case "delete counter":
			unreferenced(t, tab, "counter name "+f[4])
			delete(tab.counters, f[4])
		case "add map", "add set":
			tab.set(f[4], f[1]+" "+inner)
		case "delete map", "delete set":
			unreferenced(t, tab, "@"+f[4])
			delete(tab.sets, f[4])
		case "add chain":
			tab.chain(f[4], inner)
		case "flush chain":
			tab.chain(f[4], tab.chains[f[4]].hook)
		case "delete chain":
			unreferenced(t, tab, "jump "+f[4])
			unreferenced(t, tab, "goto "+f[4])
			if len(tab.chains[f[4]].rules) > 0 {
				t.Fatalf("chain %s is deleted with its rules", f[4])
			}
			delete(tab.chains, f[4])
		case "add rule":
			references(t, tab, rest)
			c := tab.chains[f[4]]
			tab.chain(f[4], c.hook, append(c.rules, rest)...)
		case "add element", "delete element":
			for e := range strings.SplitSeq(inner, ", ") {
				k, v, _ := strings.Cut(e, " : ")
				if had, ok := tab.sets[f[4]].elements[k]; f[0] == "add" && ok {
					t.Fatalf("%s: it has %s", line, had)
				} else if f[0] == "delete" && !ok {
					t.Fatalf("%s: it has no %s", line, k)
				}
				if f[0] == "delete" {
					delete(tab.sets[f[4]].elements, k)
				} else {
					references(t, tab, v)
					tab.sets[f[4]].put(k, v)
				}
			}
		default:
			t.Fatalf("the interpreter does not know %s", line)
		}
	}
	return out
}

// references fails when a rule or an element names what is not there.
func references(t *rapid.T, tab *table, text string) {
	word := text[strings.LastIndexByte(text, ' ')+1:]
	_, isChain := tab.chains[word]
	if strings.HasPrefix(text, "jump ") || strings.HasPrefix(text, "goto ") {
		if !isChain {
			t.Fatalf("%q: there is no chain", text)
		}
	} else if strings.HasPrefix(word, "@") && tab.sets[word[1:]] == nil {
		t.Fatalf("%q: there is no set", text)
	} else if strings.HasPrefix(text, "counter name ") && !tab.counters[word] {
		t.Fatalf("%q: there is no counter", text)
	}
}

// unreferenced fails when something still names what goes.
func unreferenced(t *rapid.T, tab *table, text string) {
	for n, c := range tab.chains {
		for _, r := range c.rules {
			if strings.HasSuffix(r, text) {
				t.Fatalf("chain %s still has %q", n, r)
			}
		}
	}
	for n, s := range tab.sets {
		for k, v := range s.elements {
			if v == text {
				t.Fatalf("set %s still has %s : %s", n, k, v)
			}
		}
	}
}

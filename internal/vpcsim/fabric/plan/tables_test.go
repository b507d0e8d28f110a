package plan

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// What a transaction says, done by an interpreter, turns the one ruleset into the other, and never refers to what is not
// there or removes what is referred to.
func TestDiffRulesets(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		have, want := drawRuleset(t), drawRuleset(t)
		got := interpret(t, have, Diff(have, want))
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(table{}, set{}, chain{})); diff != "" {
			t.Fatalf("after the transaction (-want +got):\n%s\n%s", diff, Diff(have, want))
		}
	})
}

func drawRuleset(t *rapid.T) Ruleset {
	out := Ruleset{}
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
func interpret(t *rapid.T, have Ruleset, text string) Ruleset {
	out := Ruleset{}
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

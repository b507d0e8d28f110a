package plan

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Ruleset is the nftables content of a namespace, as values; keys of the map are family and name ("inet fabric").
type Ruleset map[string]*table

// table is one nftables table.
type table struct {
	counters map[string]bool
	sets     map[string]*set
	chains   map[string]chain
}

// set is a set or a map: decl is its declaration without the name, elements map key text to value text (empty in a set).
type set struct {
	decl     string
	elements map[string]string
}

// chain has a hook declaration when it is a base chain.
type chain struct {
	hook  string
	rules []string
}

func newTable() *table {
	return &table{counters: map[string]bool{}, sets: map[string]*set{}, chains: map[string]chain{}}
}

// set declares a set or map and returns it; decl is "set" or "map" with its type.
func (t *table) set(name, decl string) *set { return t.setOf(0, name, decl) }

// setOf is set with room for a number of elements.
func (t *table) setOf(size int, name, decl string) *set {
	s := &set{decl: decl, elements: make(map[string]string, size)}
	t.sets[name] = s
	return s
}

func (t *table) chain(name, hook string, rules ...string) {
	t.chains[name] = chain{hook: hook, rules: rules}
}

func (s *set) add(key string)        { s.elements[key] = "" }
func (s *set) put(key, value string) { s.elements[key] = value }

// Diff returns the transaction that turns have into want; empty when they are equal. The kernel applies it as a
// whole, so that no packet meets a mixture. Counters keep counting unless their interface goes.
func Diff(have, want Ruleset) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(have)) {
		if want[name] == nil {
			fmt.Fprintf(&b, "delete table %s\n", name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		old := have[name]
		if old == nil {
			old = newTable()
			// Whatever a former process left goes in the same transaction.
			fmt.Fprintf(&b, "add table %s\ndelete table %s\nadd table %s\n", name, name, name)
		}
		diffTable(&b, name, old, want[name])
	}
	return b.String()
}

// diffTable writes in the order that references allow: what is referred to comes first and goes last.
func diffTable(b *strings.Builder, name string, have, want *table) {
	for _, c := range missing(want.counters, have.counters) {
		fmt.Fprintf(b, "add counter %s %s\n", name, c)
	}
	for _, s := range missing(want.sets, have.sets) {
		kind, decl, _ := strings.Cut(want.sets[s].decl, " ")
		fmt.Fprintf(b, "add %s %s %s { %s ; }\n", kind, name, s, decl)
	}
	for _, c := range missing(want.chains, have.chains) {
		if hook := want.chains[c].hook; hook != "" {
			fmt.Fprintf(b, "add chain %s %s { %s ; }\n", name, c, hook)
		} else {
			fmt.Fprintf(b, "add chain %s %s\n", name, c)
		}
	}
	changed := changedChains(have, want)
	for _, c := range changed {
		if len(have.chains[c].rules) > 0 {
			fmt.Fprintf(b, "flush chain %s %s\n", name, c)
		}
	}
	diffElements(b, name, have, want)
	for _, c := range changed {
		for _, r := range want.chains[c].rules {
			fmt.Fprintf(b, "add rule %s %s %s\n", name, c, r)
		}
	}
	for _, c := range missing(have.chains, want.chains) {
		fmt.Fprintf(b, "delete chain %s %s\n", name, c)
	}
	for _, s := range missing(have.sets, want.sets) {
		fmt.Fprintf(b, "delete %s %s %s\n", firstWord(have.sets[s].decl), name, s)
	}
	for _, c := range missing(have.counters, want.counters) {
		fmt.Fprintf(b, "delete counter %s %s\n", name, c)
	}
}

// changedChains are the chains whose rules differ, those that go included: their rules may refer to what goes with them.
func changedChains(have, want *table) []string {
	var out []string
	for c, w := range want.chains {
		if !slices.Equal(have.chains[c].rules, w.rules) {
			out = append(out, c)
		}
	}
	out = append(out, missing(have.chains, want.chains)...)
	slices.Sort(out)
	return out
}

func diffElements(b *strings.Builder, name string, have, want *table) {
	for _, s := range slices.Sorted(maps.Keys(have.sets)) {
		wanted := want.sets[s]
		var gone []string
		for k, v := range have.sets[s].elements {
			if wanted != nil {
				if w, ok := wanted.elements[k]; ok && w == v {
					continue
				}
			}
			gone = append(gone, element(k, v))
		}
		writeElements(b, "delete", name, s, gone)
	}
	for _, s := range slices.Sorted(maps.Keys(want.sets)) {
		var had map[string]string
		if have.sets[s] != nil {
			had = have.sets[s].elements
		}
		var fresh []string
		for k, v := range want.sets[s].elements {
			if h, ok := had[k]; !ok || h != v {
				fresh = append(fresh, element(k, v))
			}
		}
		writeElements(b, "add", name, s, fresh)
	}
}

// elementsPerLine keeps a line within what nft's parser likes.
const elementsPerLine = 200

func writeElements(b *strings.Builder, verb, table, set string, elements []string) {
	slices.Sort(elements)
	for part := range slices.Chunk(elements, elementsPerLine) {
		fmt.Fprintf(b, "%s element %s %s { %s }\n", verb, table, set, strings.Join(part, ", "))
	}
}

func element(key, value string) string {
	if value == "" {
		return key
	}
	return key + " : " + value
}

func missing[V, W any](from map[string]V, of map[string]W) []string {
	var out []string
	for k := range from {
		if _, ok := of[k]; !ok {
			out = append(out, k)
		}
	}
	slices.Sort(out)
	return out
}

func firstWord(s string) string {
	w, _, _ := strings.Cut(s, " ")
	return w
}

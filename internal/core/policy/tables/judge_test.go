package tables_test

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/berth-net/berth/internal/core/policy"
	"github.com/berth-net/berth/internal/core/policy/tables"
)

const (
	set   = tables.Set(1)
	https = 443
)

var key = tables.Key(uint8(policy.TCP), https)

// world has a peer of class 7 within block 3, and one row for each way to find one.
func world(set tables.Set, class, anyPeer, block *tables.Range) *tables.Contents {
	var c tables.Contents
	changes := []tables.Change{
		{Peer: &tables.PeerChange{Addrs: []netip.Addr{netip.MustParseAddr("10.0.0.7")}, Class: 7}},
		{Blocks: &tables.BlockChange{Prefix: netip.MustParsePrefix("10.0.0.0/8"), Block: 2}},
		{Blocks: &tables.BlockChange{Prefix: netip.MustParsePrefix("10.0.0.0/24"), Block: 3}},
	}
	for i, row := range []struct {
		key tables.RowKey
		is  *tables.Range
	}{{tables.RowKey{Set: set, ID: 7}, class}, {tables.RowKey{Set: set}, anyPeer}, {tables.RowKey{Set: set, OfBlock: true, ID: 3}, block}} {
		if row.is != nil {
			changes = append(changes, tables.Change{Ranges: &tables.RangesChange{First: uint32(i), Ranges: []tables.Range{*row.is}}},
				tables.Change{Row: &tables.RowChange{Key: row.key, Row: tables.Row{First: uint32(i), Count: 1}}})
		}
	}
	c.Apply(changes)
	return &c
}

func word(rank uint32, action policy.Action, rule uint32) tables.Word {
	return tables.Word{Rank: rank, Action: uint8(action), Rule: rule}
}

func all(admin, network, baseline tables.Word) *tables.Range {
	return &tables.Range{Last: tables.AnyKey, Admin: admin, Network: network, Baseline: baseline}
}

func TestJudge(t *testing.T) {
	silent := tables.Word{}
	allow := all(silent, word(0, policy.Accept, 5), silent)
	for _, tt := range []struct {
		name                  string
		set                   tables.Set
		class, anyPeer, block *tables.Range
		from                  string
		want                  tables.Verdict
	}{
		{"without a set", 0, nil, nil, nil, "10.0.0.7", tables.Verdict{Allow: true}},
		{"no row", set, nil, nil, nil, "10.0.0.7", tables.Verdict{Allow: true}},
		{"no row, isolated", set | tables.Isolates, nil, nil, nil, "10.0.0.7", tables.Verdict{By: tables.ByIsolation}},
		{"no row, strict", set | tables.Strict, nil, nil, nil, "10.0.0.7", tables.Verdict{}},
		{"the class allows", set | tables.Isolates, allow, nil, nil, "10.0.0.7", tables.Verdict{Allow: true, By: tables.ByNetwork, Rule: 5}},
		{"another class", set | tables.Isolates, allow, nil, nil, "10.0.0.8", tables.Verdict{By: tables.ByIsolation}},
		{"any peer", set | tables.Isolates, nil, allow, nil, "10.0.0.8", tables.Verdict{Allow: true, By: tables.ByNetwork, Rule: 5}},
		{"the row of the class hides that of any peer", set | tables.Isolates, all(silent, silent, silent), allow, nil, "10.0.0.7", tables.Verdict{By: tables.ByIsolation}},
		{"another port", set | tables.Isolates, &tables.Range{First: key + 1, Last: tables.AnyKey, Network: word(0, policy.Accept, 5)}, nil, nil, "10.0.0.7", tables.Verdict{By: tables.ByIsolation}},
		{"blocks are not looked at", set | tables.Isolates, nil, nil, allow, "10.0.0.7", tables.Verdict{By: tables.ByIsolation}},
		{"the longest block", set | tables.Isolates | tables.HasBlocks, nil, nil, allow, "10.0.0.7", tables.Verdict{Allow: true, By: tables.ByNetwork, Rule: 5}},
		{"a shorter block has no row", set | tables.Isolates | tables.HasBlocks, nil, nil, allow, "10.0.1.7", tables.Verdict{By: tables.ByIsolation}},
		{"admin denies", set, all(word(3, policy.Deny, 9), word(0, policy.Accept, 5), silent), nil, nil, "10.0.0.7", tables.Verdict{By: tables.ByAdmin, Rule: 9}},
		{"admin accepts what is isolated", set | tables.Isolates, all(word(3, policy.Accept, 9), silent, silent), nil, nil, "10.0.0.7", tables.Verdict{Allow: true, By: tables.ByAdmin, Rule: 9}},
		{"admin passes to isolation", set | tables.Isolates, all(word(3, policy.Pass, 9), silent, word(0, policy.Accept, 1)), nil, nil, "10.0.0.7", tables.Verdict{By: tables.ByIsolation}},
		{"the block's admin comes first", set | tables.HasBlocks, all(word(3, policy.Deny, 9), silent, silent), nil, all(word(2, policy.Pass, 8), silent, silent), "10.0.0.7", tables.Verdict{Allow: true}},
		{"the class's admin comes first", set | tables.HasBlocks, all(word(2, policy.Deny, 9), silent, silent), nil, all(word(3, policy.Pass, 8), silent, silent), "10.0.0.7", tables.Verdict{By: tables.ByAdmin, Rule: 9}},
		{"baseline denies", set, all(silent, silent, word(1, policy.Deny, 4)), nil, nil, "10.0.0.7", tables.Verdict{By: tables.ByBaseline, Rule: 4}},
		{"baseline accepts what strict denies", set | tables.Strict, all(silent, silent, word(1, policy.Accept, 4)), nil, nil, "10.0.0.7", tables.Verdict{Allow: true, By: tables.ByBaseline, Rule: 4}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := world(tt.set, tt.class, tt.anyPeer, tt.block).Judge(tt.set, netip.MustParseAddr(tt.from), key)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

package bpf_test

import (
	"net/netip"
	"testing"

	"github.com/berth-net/berth/internal/bpf"
	"github.com/berth-net/berth/internal/core/policy"
	"github.com/berth-net/berth/internal/core/policy/tables"
)

// TestMapsAreReadAsTheyAreJudged: what Ask reads is what the same contents say as values, also after somebody has taken a row away.
func TestMapsAreReadAsTheyAreJudged(t *testing.T) {
	d := newDatapath(t)
	set := tables.Set(9) | tables.Isolates | tables.HasBlocks
	tcp := func(port uint16) uint32 { return tables.Key(uint8(policy.TCP), port) }
	denied := tables.Range{First: tcp(90), Last: tcp(95), Admin: word(policy.Deny, 4, 12), Network: word(policy.Accept, 0, 13)}
	changes := []tables.Change{
		{Ranges: &tables.RangesChange{First: 7, Ranges: []tables.Range{allowing(tcp(80), tcp(85)), denied, allowing(tcp(1), tcp(79)), allowing(0, tables.AnyKey)}}},
		{Row: &tables.RowChange{Key: tables.RowKey{Set: set, ID: 1}, Row: tables.Row{First: 7, Count: 2}}},
		{Row: &tables.RowChange{Key: tables.RowKey{Set: set}, Row: tables.Row{First: 9, Count: 1}}},
		{Row: &tables.RowChange{Key: tables.RowKey{Set: set, OfBlock: true, ID: 5}, Row: tables.Row{First: 10, Count: 1}}},
		{Blocks: &tables.BlockChange{Prefix: netip.MustParsePrefix("192.0.2.0/24"), Block: 5}},
		{Blocks: &tables.BlockChange{Prefix: netip.MustParsePrefix("2001:db8::/32"), Block: 5}},
		peer("10.0.0.1", 1), peer("fd00::1", 1),
		{Pod: &tables.PodChange{Slot: slot, Pod: tables.Pod{Ingress: set}}},
	}
	var want tables.Contents
	same := func() (allowed int) {
		t.Helper()
		for _, addr := range []string{"10.0.0.1", "10.0.0.2", "192.0.2.7", "fd00::1", "fd00::2", "2001:db8::7"} {
			for _, port := range []uint16{1, 79, 80, 85, 86, 90, 95, 96} {
				a := netip.MustParseAddr(addr)
				got, err := d.Ask(slot, bpf.Ingress, a, tcp(port))
				if err != nil {
					t.Fatal(err)
				}
				if w := want.Judge(want.Pods[slot].Ingress, a, tcp(port)); got != w {
					t.Errorf("%s port %d: %+v, want %+v", addr, port, got, w)
				}
				if got.Allow {
					allowed++
				}
			}
		}
		return allowed
	}
	apply(t, d, changes...)
	want.Apply(changes)
	before := same()
	if v, err := d.Ask(slot, bpf.Egress, netip.MustParseAddr("10.0.0.9"), tcp(1)); err != nil || !v.Allow {
		t.Errorf("without a set: %+v %v", v, err)
	}
	tampered := []tables.Change{{Row: &tables.RowChange{Key: tables.RowKey{Set: set, OfBlock: true, ID: 5}, Delete: true}}}
	apply(t, d, tampered...)
	want.Apply(tampered)
	if after := same(); after >= before || after == 0 {
		t.Errorf("%d allowed before, %d after", before, after)
	}
}

package bpf_test

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/berth-net/berth/internal/bpf"
	"github.com/berth-net/berth/internal/core/policy"
	"github.com/berth-net/berth/internal/core/policy/tables"
)

// The program is held against Judge of core/policy/tables: random contents, random packets, the same verdict by the same rule.

var (
	somePrefixes = []string{
		"0.0.0.0/0", "10.0.0.0/8", "10.0.0.0/30", "10.0.0.2/32", "::/0", "fd00::/8", "fd00::/126", "fd00::2/128", "::ffff:0:0/1",
	}
	someAddrs = []string{"10.0.0.1", "10.0.0.2", "10.0.0.5", "11.0.0.1", "fd00::1", "fd00::2", "fd00::5", "2001:db8::1"}
	somePorts = []uint16{0, 1, 79, 80, 81, 443, 8080, 65534, 65535}
)

// someProtocols has those with ports and some without.
var someProtocols = []policy.Protocol{policy.TCP, policy.UDP, policy.SCTP, 47, 50, 4}

func drawWord(t *rapid.T, actions ...policy.Action) tables.Word {
	action := rapid.SampledFrom(append(actions, 0)).Draw(t, "action")
	if action == 0 {
		return tables.Word{}
	}
	return word(action, rapid.SampledFrom([]uint32{0, 1, 2, 3, tables.MaxRank}).Draw(t, "rank"), rapid.Uint32Range(1, 9).Draw(t, "rule"))
}

// drawRow draws sorted, disjoint ranges whose ends are near the packets' keys.
func drawRow(t *rapid.T) []tables.Range {
	var edges []uint32
	for _, protocol := range someProtocols {
		for _, port := range somePorts {
			edges = append(edges, tables.Key(uint8(protocol), port))
		}
	}
	edges = append(edges, tables.AnyKey)
	var row []tables.Range
	at := uint32(0)
	for range rapid.IntRange(0, 8).Draw(t, "ranges") {
		first, last := rapid.SampledFrom(edges).Draw(t, "first"), rapid.SampledFrom(edges).Draw(t, "last")
		if rapid.Bool().Draw(t, "wide") {
			first = at
		}
		if first < at || last < first {
			continue
		}
		row = append(row, tables.Range{
			First: first, Last: last,
			Admin:    drawWord(t, policy.Accept, policy.Deny, policy.Pass),
			Network:  drawWord(t, policy.Accept),
			Baseline: drawWord(t, policy.Accept, policy.Deny),
		})
		if last == tables.AnyKey {
			break
		}
		at = last + 1
	}
	return row
}

// drawTables draws what two sets say, as changes.
func drawTables(t *rapid.T, sets [2]tables.Set) []tables.Change {
	var changes []tables.Change
	for _, a := range someAddrs {
		change := peer(a, tables.Class(rapid.Uint32Range(1, 3).Draw(t, "class")))
		change.Peer.Delete = rapid.Bool().Draw(t, "unknown")
		changes = append(changes, change)
	}
	for _, p := range somePrefixes {
		changes = append(changes, tables.Change{Blocks: &tables.BlockChange{
			Prefix: netip.MustParsePrefix(p), Block: tables.Block(rapid.Uint32Range(1, 3).Draw(t, "block")), Delete: rapid.Bool().Draw(t, "absent"),
		}})
	}
	first := uint32(0)
	for _, set := range sets {
		for _, key := range []tables.RowKey{
			{ID: 0}, {ID: 1}, {ID: 2}, {ID: 3}, {ID: 1, OfBlock: true}, {ID: 2, OfBlock: true}, {ID: 3, OfBlock: true},
		} {
			if set == 0 || rapid.Bool().Draw(t, "no row") {
				continue
			}
			key.Set = set
			row := drawRow(t)
			changes = append(changes, tables.Change{Ranges: &tables.RangesChange{First: first, Ranges: row}},
				tables.Change{Row: &tables.RowChange{Key: key, Row: tables.Row{First: first, Count: uint32(len(row))}}})
			first += uint32(len(row))
		}
	}
	return append(changes, pod(sets[0], sets[1]))
}

// drawSet draws a set that was never used, or none.
func drawSet(t *rapid.T, number *uint32) tables.Set {
	*number++
	if rapid.IntRange(0, 7).Draw(t, "none") == 0 {
		return 0
	}
	set := tables.Set(*number)
	for _, flag := range []tables.Set{tables.Isolates, tables.HasBlocks, tables.Strict} {
		if rapid.Bool().Draw(t, "flag") {
			set |= flag
		}
	}
	return set
}

func TestProgramAgreesWithJudge(t *testing.T) {
	o := options(mountBPF(t))
	o.Settings.LogAllowed, o.Settings.LogDenied = true, true
	d := open(t, o)
	t.Cleanup(func() { _ = d.Remove() })
	log, err := d.Events()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = log.Close() })
	var number, packets uint32
	rapid.Check(t, func(t *rapid.T) {
		var contents tables.Contents
		sets := [2]tables.Set{drawSet(t, &number), drawSet(t, &number)}
		write := func(changes []tables.Change) {
			contents.Apply(changes)
			if err := d.Apply(t.Context(), changes); err != nil {
				t.Fatal(err)
			}
		}
		write(drawTables(t, sets))
		for range 40 {
			if packets++; packets > 65000 {
				return // each packet is the first of its flow, by its source port
			}
			direction := bpf.Direction(rapid.IntRange(0, 1).Draw(t, "direction"))
			f, other := drawFrame(t, direction, uint16(packets), write)
			key := tables.Key(uint8(f.protocol), f.dport)
			compare(t, d, log, direction, f, contents.Judge(sets[direction], other, key))
		}
		var gone []tables.Change
		for key := range contents.Rows {
			gone = append(gone, tables.Change{Row: &tables.RowChange{Key: key, Delete: true}})
		}
		write(gone)
	})
	t.Logf("%d packets", packets)
}

// drawFrame draws a packet of a new flow, and who the other side is. Without ports an address makes the flow new.
func drawFrame(t *rapid.T, direction bpf.Direction, number uint16, write func([]tables.Change)) (frame, netip.Addr) {
	f := frame{protocol: rapid.SampledFrom(someProtocols).Draw(t, "protocol"), sport: number, flags: syn}
	other := addr(rapid.SampledFrom(someAddrs).Draw(t, "other"))
	switch f.protocol {
	case policy.TCP, policy.UDP, policy.SCTP:
		f.dport = rapid.SampledFrom(somePorts).Draw(t, "port")
	default:
		b := other.AsSlice()
		b[len(b)-2], b[len(b)-3] = byte(number>>8), byte(number)
		other, _ = netip.AddrFromSlice(b)
		write([]tables.Change{peer(other.String(), tables.Class(rapid.Uint32Range(1, 3).Draw(t, "class")))})
	}
	own := families[0].pod
	if other.Is6() {
		own = families[1].pod
	}
	return f.toward(direction, own, other), other
}

// compare judges a frame, and compares the verdict and who decided it.
func compare(t *rapid.T, d *bpf.Datapath, log *bpf.Events, direction bpf.Direction, f frame, want tables.Verdict) {
	t.Helper()
	allowed, err := d.Judge(slot, bpf.Frame{Direction: direction, Data: f.bytes()})
	if err != nil {
		t.Fatal(err)
	}
	if allowed != want.Allow {
		t.Fatalf("%s: allowed %t, want %+v", text(f), allowed, want)
	}
	event, err := log.Read()
	if err != nil {
		t.Fatal(err)
	}
	got := tables.Verdict{Allow: event.Allowed, By: event.By, Rule: event.Rule}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("%s: -want +got:\n%s", text(f), diff)
	}
}

func text(f frame) string {
	return f.from.String() + " to " + f.to.String()
}

// TestRowsOfAnyLength: the search finds the first, the last and the middle range, and nothing between them.
func TestRowsOfAnyLength(t *testing.T) {
	d := newDatapath(t)
	apply(t, d, peers()...)
	f := families[0]
	sport := uint16(1)
	for i, count := range []uint32{1, 2, 3, 4, 5, 7, 8, 9, 1000, 4095, 4096} {
		set := tables.Set(i+1) | tables.Isolates
		row := make([]tables.Range, count)
		for j := range row { // every other port
			row[j] = onPort(policy.TCP, uint16(2*j+2))
		}
		key := tables.RowKey{Set: set, ID: uint32(classAllowed)}
		apply(t, d, tables.Change{Ranges: &tables.RangesChange{First: uint32(i), Ranges: row}},
			tables.Change{Row: &tables.RowChange{Key: key, Row: tables.Row{First: uint32(i), Count: count}}}, pod(set, 0))
		for _, j := range []uint32{0, 1, 2, count / 2, count - 2, count - 1, count} {
			for between := range uint16(2) {
				sport++
				port := uint16(2*j+2) + between
				packet := frame{protocol: policy.TCP, sport: sport, dport: port, flags: syn}.toward(bpf.Ingress, f.pod, f.allowed)
				expect(t, d, bpf.Ingress, packet, between == 0 && j < count, fmt.Sprintf("port %d of %d ranges", port, count))
			}
		}
	}
}

func TestWhatCannotBeWrittenIsRefused(t *testing.T) {
	d := newDatapath(t)
	for _, tt := range []struct {
		name   string
		change tables.Change
		full   bool
	}{
		{"a row with too many ranges", tables.Change{Row: &tables.RowChange{Row: tables.Row{Count: tables.MaxRanges + 1}}}, false},
		{"a row beyond the ranges", tables.Change{Row: &tables.RowChange{Row: tables.Row{First: 1 << 20, Count: 1}}}, true},
		{"ranges beyond the map", tables.Change{Ranges: &tables.RangesChange{First: 1 << 20, Ranges: make([]tables.Range, 1)}}, true},
		{"a rank that is too high", tables.Change{Ranges: &tables.RangesChange{Ranges: []tables.Range{
			{Admin: word(policy.Deny, tables.MaxRank+1, 1)},
		}}}, false},
		{"a slot beyond the map", tables.Change{Pod: &tables.PodChange{Slot: 1 << 20}}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := d.Apply(t.Context(), []tables.Change{peer("10.0.0.9", 1), tt.change})
			if err == nil {
				t.Fatal("no error")
			}
			if _, full := errors.AsType[*bpf.FullError](err); full != tt.full {
				t.Errorf("%v: a full map %t, want %t", err, full, tt.full)
			}
		})
	}
}

// TestFullMapIsToldAndDenies: what does not fit is an error, what did not get in is an unknown peer, and what was there stays.
func TestFullMapIsToldAndDenies(t *testing.T) {
	o := options(mountBPF(t))
	o.Sizes.Peers = 64
	d := open(t, o)
	t.Cleanup(func() { _ = d.Remove() })
	police(t, d, bpf.Ingress)
	change := peer("10.1.0.0", classAllowed)
	for i := range byte(100) {
		change.Peer.Addrs = append(change.Peer.Addrs, netip.AddrFrom4([4]byte{10, 1, 1, i}))
	}
	err := d.Apply(t.Context(), []tables.Change{change})
	full, ok := errors.AsType[*bpf.FullError](err)
	if !ok || full.Map != "peers" || full.Size != 64 {
		t.Fatalf("error %v, want one of a full map of 64 peers", err)
	}
	f := families[0]
	packet := frame{protocol: policy.TCP, sport: 1, dport: port, flags: syn}
	expect(t, d, bpf.Ingress, packet.toward(bpf.Ingress, f.pod, f.allowed), true, "a peer that was there")
	expect(t, d, bpf.Ingress, packet.toward(bpf.Ingress, f.pod, addr("10.1.1.99")), false, "a peer that did not get in")
	change.Peer.Delete = true
	apply(t, d, change, peer("10.1.1.99", classAllowed))
	expect(t, d, bpf.Ingress, packet.toward(bpf.Ingress, f.pod, addr("10.1.1.99")), true, "a peer when there is room again")
}

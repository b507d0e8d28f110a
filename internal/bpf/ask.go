package bpf

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/cilium/ebpf"

	"github.com/berth-net/berth/internal/core/policy/tables"
)

// Ask reads what the maps say of the first packet between a slot's pod and another address. Unlike Judge it changes nothing: it makes
// no flow and counts nothing, so it may be asked of maps in use. What it reads while Apply writes may be from before and after.
func (d *Datapath) Ask(slot uint32, direction Direction, other netip.Addr, key uint32) (tables.Verdict, error) {
	pod, err := d.Pod(slot)
	if err != nil {
		return tables.Verdict{}, err
	}
	set := pod.Ingress
	if direction == Egress {
		set = pod.Egress
	}
	var class uint64 // and a tag above it
	if _, err := readEntry(d.objects.Peers, "peers", addrOf(other), &class); err != nil {
		return tables.Verdict{}, err
	}
	whole := netip.PrefixFrom(other, other.BitLen())
	m, name, prefix := blockOf(&d.objects, whole)
	var block uint32
	if _, err := readEntry(m, name, prefix, &block); err != nil {
		return tables.Verdict{}, err
	}
	c := tables.Contents{
		Peers: map[netip.Addr]tables.Class{other: tables.Class(uint32(class))}, Rows: make(map[tables.RowKey]tables.Row),
		Blocks: map[netip.Prefix]tables.Block{whole: tables.Block(block)},
	}
	for _, key := range []tables.RowKey{{Set: set, ID: uint32(class)}, {Set: set}, {Set: set, OfBlock: true, ID: block}} {
		if err := d.readRow(&c, key); err != nil {
			return tables.Verdict{}, err
		}
	}
	return c.Judge(set, other, key), nil
}

// readRow adds a row and its ranges, when there is one.
func (d *Datapath) readRow(c *tables.Contents, key tables.RowKey) error {
	var row policyRow
	if found, err := readEntry(d.objects.Rows, "rows", rowKey(key), &row); err != nil || !found {
		return err
	}
	if row.Count > tables.MaxRanges {
		return fmt.Errorf("row of set %d has %d ranges: the map of rows is damaged", key.Set, row.Count)
	}
	first := uint32(len(c.Ranges))
	for i := range row.Count {
		var r policyRange
		found, err := readEntry(d.objects.Ranges, "ranges", row.First+i, &r)
		if err == nil && !found {
			err = fmt.Errorf("row of set %d points outside of the ranges, to %d: the map of rows is damaged", key.Set, row.First+i)
		}
		if err != nil {
			return err
		}
		c.Ranges = append(c.Ranges, tables.Range{First: r.First, Last: r.Last, Admin: wordOf(r.Word[0]), Network: wordOf(r.Word[1]), Baseline: wordOf(r.Word[2])})
	}
	c.Rows[key] = tables.Row{First: first, Count: row.Count}
	return nil
}

// wordOf undoes what writeRanges does.
func wordOf(w policyWord) tables.Word {
	return tables.Word{Rank: w.Rank >> 2, Action: uint8(w.Rank & 3), Rule: w.Rule}
}

func readEntry(m *ebpf.Map, name string, key, value any) (found bool, err error) {
	switch err := m.Lookup(key, value); {
	case errors.Is(err, ebpf.ErrKeyNotExist):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("read eBPF map %s: %w", name, err)
	}
	return true, nil
}

package bpf

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/internal/core/policy/tables"
)

// FullError says that a map has no room. What was written before stays, and denies what it does not allow.
type FullError struct {
	Map  string
	Size uint32 // entries
}

// Error says which map, and what helps.
func (e *FullError) Error() string {
	return fmt.Sprintf("eBPF map %s is full with %d entries: the node needs more memory, or fewer rules", e.Map, e.Size)
}

// Apply makes changes in order. Where one fails those before it are in force, which no packet takes for half a policy, and those
// after it are not. What cannot be written at all is refused before the first. It is not called twice at a time.
func (d *Datapath) Apply(ctx context.Context, changes []tables.Change) error {
	for i, change := range changes {
		if err := d.check(change); err != nil {
			return fmt.Errorf("change %d of %d: %w", i+1, len(changes), err)
		}
	}
	for done := 0; done < len(changes); {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("after %d of %d changes: %w", done, len(changes), err)
		}
		n, err := d.step(changes[done:])
		if err != nil {
			return fmt.Errorf("after %d of %d changes: %w", done, len(changes), err)
		}
		done += n
	}
	return nil
}

// check refuses what the maps cannot hold.
func (d *Datapath) check(c tables.Change) error {
	size := d.objects.Ranges.MaxEntries()
	switch {
	case c.Ranges != nil:
		if uint64(c.Ranges.First)+uint64(len(c.Ranges.Ranges)) > uint64(size) {
			return &FullError{Map: "ranges", Size: size}
		}
		for _, r := range c.Ranges.Ranges {
			if max(r.Admin.Rank, r.Network.Rank, r.Baseline.Rank) > tables.MaxRank {
				return fmt.Errorf("a rank of range %d to %d is above %d", r.First, r.Last, tables.MaxRank)
			}
		}
	case c.Row != nil && !c.Row.Delete:
		if c.Row.Row.Count > tables.MaxRanges {
			return fmt.Errorf("row of set %#x has %d ranges, at most %d", uint32(c.Row.Key.Set), c.Row.Row.Count, tables.MaxRanges)
		}
		if uint64(c.Row.Row.First)+uint64(c.Row.Row.Count) > uint64(size) {
			return &FullError{Map: "ranges", Size: size}
		}
	case c.Pod != nil:
		if slots := d.objects.Pods.MaxEntries(); c.Pod.Slot >= slots {
			return &FullError{Map: "pods", Size: slots}
		}
	}
	return nil
}

// step makes the first change, with those after it that fit into the same call, and says how many.
func (d *Datapath) step(changes []tables.Change) (int, error) {
	switch c := changes[0]; {
	case c.Ranges != nil:
		return 1, d.writeRanges(*c.Ranges)
	case c.Row != nil:
		return d.writeRows(changes)
	case c.Peer != nil:
		return d.writePeers(changes)
	case c.Blocks != nil:
		return 1, d.writeBlock(*c.Blocks)
	case c.Pod != nil:
		return 1, d.writePod(*c.Pod)
	case c.Services != nil:
		return 1, d.writeServices(*c.Services)
	case c.Epoch:
		return 1, d.advanceEpoch()
	case c.Wait:
		return 1, d.barrier.wait()
	}
	return 1, nil
}

func (d *Datapath) writeRanges(c tables.RangesChange) error {
	const size = 8 + 3*8
	b := make([]byte, 0, size*len(c.Ranges))
	for _, r := range c.Ranges {
		b = binary.NativeEndian.AppendUint32(b, r.First)
		b = binary.NativeEndian.AppendUint32(b, r.Last)
		for _, w := range []tables.Word{r.Admin, r.Network, r.Baseline} {
			rank := w.Rank<<2 | uint32(w.Action)
			if w.Action == 0 {
				rank = 0
			}
			b = binary.NativeEndian.AppendUint32(b, rank)
			b = binary.NativeEndian.AppendUint32(b, w.Rule)
		}
	}
	if len(b) == 0 {
		return nil
	}
	if _, err := d.ranges.WriteAt(b, int64(c.First)*size); err != nil {
		return fmt.Errorf("write ranges from %d: %w", c.First, err)
	}
	return nil
}

func (d *Datapath) writeRows(changes []tables.Change) (int, error) {
	var (
		keys   []policyRowKey
		values []policyRow
		remove = changes[0].Row.Delete
		n      int
	)
	for ; n < len(changes) && changes[n].Row != nil && changes[n].Row.Delete == remove; n++ {
		row := changes[n].Row
		keys = append(keys, rowKey(row.Key))
		values = append(values, policyRow{First: row.Row.First, Count: row.Row.Count})
	}
	if remove {
		return n, deleteAll(d.objects.Rows, "rows", keys)
	}
	return n, updateAll(d.objects.Rows, "rows", keys, values)
}

func rowKey(k tables.RowKey) policyRowKey {
	key := policyRowKey{Set: uint32(k.Set), Id: k.ID}
	if k.OfBlock {
		key.OfBlock = 1
	}
	return key
}

func (d *Datapath) writePeers(changes []tables.Change) (int, error) {
	var (
		keys   []policyAddr
		values []uint64
		remove = changes[0].Peer.Delete
		n      int
	)
	for ; n < len(changes) && changes[n].Peer != nil && changes[n].Peer.Delete == remove; n++ {
		for _, addr := range changes[n].Peer.Addrs {
			key := addrOf(addr)
			keys = append(keys, key)
			values = append(values, uint64(changes[n].Peer.Class)|uint64(tagOf(key))<<32)
		}
	}
	if remove {
		return n, deleteAll(d.objects.Peers, "peers", keys)
	}
	return n, updateAll(d.objects.Peers, "peers", keys, values)
}

func (d *Datapath) writeBlock(c tables.BlockChange) error {
	m, name, key := blockOf(&d.objects, c.Prefix)
	var err error
	if c.Delete {
		if err = m.Delete(key); errors.Is(err, ebpf.ErrKeyNotExist) {
			err = nil
		}
	} else {
		err = m.Put(key, uint32(c.Block))
	}
	if full(err) {
		return &FullError{Map: name, Size: m.MaxEntries()}
	}
	if err != nil {
		return fmt.Errorf("write block %s: %w", c.Prefix, err)
	}
	return nil
}

func blockOf(o *policyObjects, p netip.Prefix) (m *ebpf.Map, name string, key any) {
	p = p.Masked()
	if p.Addr().Is4() {
		return o.Blocks4, "blocks4", policyPrefix4{Bits: uint32(p.Bits()), Addr: addrOf(p.Addr()).Word[3]}
	}
	return o.Blocks6, "blocks6", policyPrefix6{Bits: uint32(p.Bits()), Addr: addrOf(p.Addr())}
}

// writePod stores both sets as one word.
func (d *Datapath) writePod(c tables.PodChange) error {
	pod := uint64(c.Pod.Ingress) | uint64(c.Pod.Egress)<<32
	if c.Delete {
		pod = 0
	}
	if _, err := d.pods.WriteAt(binary.NativeEndian.AppendUint64(nil, pod), int64(c.Slot)*8); err != nil {
		return fmt.Errorf("write policy of slot %d: %w", c.Slot, err)
	}
	return nil
}

// What addresses of the map of services are, as in bpf/maps.h.
const (
	ofService = 1
	ofNode    = 2
)

func (d *Datapath) writeServices(c tables.ServicesChange) error {
	keys, values := make([]policyAddr, 0, len(c.Addrs)), make([]uint32, len(c.Addrs))
	for i, addr := range c.Addrs {
		keys = append(keys, addrOf(addr))
		if values[i] = ofService; c.Node {
			values[i] = ofNode
		}
	}
	if c.Delete {
		return deleteAll(d.objects.Services, "services", keys)
	}
	return updateAll(d.objects.Services, "services", keys, values)
}

// addrOf is an address as the programs compare it.
func addrOf(addr netip.Addr) policyAddr {
	b := addr.As16()
	var a policyAddr
	for i := range a.Word {
		a.Word[i] = binary.NativeEndian.Uint32(b[4*i:])
	}
	return a
}

// tagOf is tag_of of bpf/verdict.h.
func tagOf(a policyAddr) uint32 {
	return a.Word[0]*3 ^ a.Word[1]*5 ^ a.Word[2]*7 ^ a.Word[3]
}

// Full tells that another start with less to say may do: the maps of each start are empty.
func (e *FullError) Full() bool { return true }

// full tells whether an error means that a map has no room.
func full(err error) bool { return errors.Is(err, unix.E2BIG) || errors.Is(err, unix.ENOSPC) }

func updateAll[K, V any](m *ebpf.Map, name string, keys []K, values []V) error {
	if len(keys) == 0 {
		return nil
	}
	_, err := m.BatchUpdate(keys, values, nil)
	if full(err) {
		return &FullError{Map: name, Size: m.MaxEntries()}
	}
	if err != nil {
		return fmt.Errorf("write %d entries of eBPF map %s: %w", len(keys), name, err)
	}
	return nil
}

// deleteAll deletes keys; those that are not there are deleted already.
func deleteAll[K any](m *ebpf.Map, name string, keys []K) error {
	for len(keys) > 0 {
		n, err := m.BatchDelete(keys, nil)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, ebpf.ErrKeyNotExist):
			keys = keys[min(n+1, len(keys)):]
		default:
			return fmt.Errorf("delete %d entries of eBPF map %s: %w", len(keys), name, err)
		}
	}
	return nil
}

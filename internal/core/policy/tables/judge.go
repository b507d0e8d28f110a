package tables

import (
	"cmp"
	"net/netip"
	"slices"
)

// Contents is what the maps hold, as values: changes applied to it leave what they leave in the maps.
type Contents struct {
	Peers  map[netip.Addr]Class
	Blocks map[netip.Prefix]Block
	Rows   map[RowKey]Row
	Ranges []Range
	Pods   map[uint32]Pod // by slot
	Epoch  uint32
}

// Apply makes changes in order.
func (c *Contents) Apply(changes []Change) {
	for _, change := range changes {
		switch {
		case change.Ranges != nil:
			c.applyRanges(*change.Ranges)
		case change.Row != nil:
			c.Rows = put(c.Rows, change.Row.Key, change.Row.Row, change.Row.Delete)
		case change.Peer != nil:
			for _, addr := range change.Peer.Addrs {
				c.Peers = put(c.Peers, addr, change.Peer.Class, change.Peer.Delete)
			}
		case change.Blocks != nil:
			c.Blocks = put(c.Blocks, change.Blocks.Prefix.Masked(), change.Blocks.Block, change.Blocks.Delete)
		case change.Pod != nil:
			c.Pods = put(c.Pods, change.Pod.Slot, change.Pod.Pod, change.Pod.Delete)
		case change.Epoch:
			c.Epoch++
		}
	}
}

func put[K comparable, V any](m map[K]V, key K, value V, remove bool) map[K]V {
	if m == nil {
		m = make(map[K]V)
	}
	if remove {
		delete(m, key)
	} else {
		m[key] = value
	}
	return m
}

func (c *Contents) applyRanges(change RangesChange) {
	if missing := int(change.First) + len(change.Ranges) - len(c.Ranges); missing > 0 {
		c.Ranges = append(c.Ranges, make([]Range, missing)...)
	}
	copy(c.Ranges[change.First:], change.Ranges)
}

// By says who has decided a packet's verdict.
type By uint8

// Who decides. The first is for a pod without policy in a direction, or with Strict alone for what no policy speaks of.
const (
	ByDefault By = iota
	ByAdmin
	ByNetwork
	ByIsolation // Network policies isolate the pod, and none allows the packet
	ByBaseline
)

// Verdict is the answer for the first packet of a flow.
type Verdict struct {
	Allow bool
	By    By
	Rule  uint32 // that has decided; zero by default and by isolation
}

// Judge is the verdict of a set on the first packet from or to another address: what the eBPF program answers for the same
// contents.
func (c *Contents) Judge(set Set, other netip.Addr, key uint32) Verdict {
	if set == 0 {
		return Verdict{Allow: true}
	}
	var speak []Range
	if row, ok := c.rowOfPeer(set, c.Peers[other]); ok {
		speak = c.find(speak, row, key)
	}
	if set&HasBlocks != 0 {
		if block := c.blockOf(other); block != 0 {
			speak = c.find(speak, c.Rows[RowKey{Set: set, OfBlock: true, ID: uint32(block)}], key)
		}
	}
	return decide(set, speak)
}

func decide(set Set, speak []Range) Verdict {
	switch w := first(speak, func(r Range) Word { return r.Admin }); w.Action {
	case accept, deny:
		return Verdict{Allow: w.Action == accept, By: ByAdmin, Rule: w.Rule}
	}
	if w := first(speak, func(r Range) Word { return r.Network }); w.Action == accept {
		return Verdict{Allow: true, By: ByNetwork, Rule: w.Rule}
	}
	if set&Isolates != 0 {
		return Verdict{By: ByIsolation}
	}
	switch w := first(speak, func(r Range) Word { return r.Baseline }); w.Action {
	case accept, deny:
		return Verdict{Allow: w.Action == accept, By: ByBaseline, Rule: w.Rule}
	}
	return Verdict{Allow: set&Strict == 0}
}

// Actions of policy.Action that a verdict depends on.
const (
	accept = 1
	deny   = 2
)

// rowOfPeer is the row of a class, else that of any peer.
func (c *Contents) rowOfPeer(set Set, class Class) (Row, bool) {
	if row, ok := c.Rows[RowKey{Set: set, ID: uint32(class)}]; ok {
		return row, true
	}
	row, ok := c.Rows[RowKey{Set: set}]
	return row, ok
}

// blockOf looks for the longest prefix. It is naive on purpose: the kernel's trie is held against it.
func (c *Contents) blockOf(addr netip.Addr) Block {
	for bits := addr.BitLen(); bits >= 0; bits-- {
		if block, ok := c.Blocks[netip.PrefixFrom(addr, bits).Masked()]; ok {
			return block
		}
	}
	return 0
}

// find appends the range of a row that holds a key.
func (c *Contents) find(speak []Range, row Row, key uint32) []Range {
	for _, r := range c.Ranges[row.First : row.First+row.Count] {
		if r.First <= key && key <= r.Last {
			return append(speak, r)
		}
	}
	return speak
}

// first is the word of lowest rank among those that say anything; of two with one rank, that of the row of the peer.
func first(speak []Range, word func(Range) Word) Word {
	words := make([]Word, 0, len(speak))
	for _, r := range speak {
		if w := word(r); w.Action != 0 {
			words = append(words, w)
		}
	}
	if len(words) == 0 {
		return Word{}
	}
	return slices.MinFunc(words, func(a, b Word) int { return cmp.Compare(a.Rank, b.Rank) })
}

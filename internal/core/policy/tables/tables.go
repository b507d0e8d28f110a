// Package tables is what the compiler of policies tells the datapath: the contents of its maps, as values.
//
// The verdict on the first packet of a flow, seen from a pod that it leaves or enters:
//
//	set    := pods[interface].Set(direction)        zero: nothing decides, the packet passes
//	class  := peers[other address]                  zero when unknown
//	block  := blocks[longest prefix of it]          only when the set has HasBlocks; zero: none
//	a      := row(set, class), else row(set, 0)     zero is what any peer may do
//	b      := row(set, block)                       only when block is not zero
//	pa, pb := the ranges of a and of b that hold Key(protocol, port)
//
// Of each tier the range with the lower rank speaks. Admin accepts, denies or passes; then one of both allows as Network, or the set
// Isolates and the packet is denied; then Baseline; then the set's Strict denies.
//
// Ids are never used twice while the datapath lives, so a flow that remembers the set under which it was accepted knows by
// comparison whether to ask again.
package tables

import "net/netip"

// Class is a set of addresses that every rule of this node treats alike. Zero holds what no class holds.
type Class uint32

// Block is a class of addresses by the ipBlocks that they are in. Zero is in none.
type Block uint32

// Set is the effective policy of a direction of some pods, with its flags.
type Set uint32

// Flags of a Set.
const (
	Isolates  Set = 1 << 31 // what Network does not allow is denied
	HasBlocks Set = 1 << 30 // addresses are also looked up among the blocks
	Strict    Set = 1 << 29 // what nothing decides is denied
)

// Pod is how packets of an interface are judged: one value that is replaced at once.
type Pod struct {
	Ingress, Egress Set
}

// RowKey names a row: what a set says to a class (OfBlock false) or a block.
type RowKey struct {
	Set     Set
	OfBlock bool
	ID      uint32
}

// Row is where the ranges of a set and class are in the array of ranges. They are sorted and disjoint. At most MaxRanges.
type Row struct {
	First, Count uint32
}

// MaxRanges bounds the ranges of a row.
const MaxRanges = 4096

// Range says what the tiers have to say about keys from First to Last, both included.
type Range struct {
	First, Last uint32 // of Key
	Admin       Word
	Network     Word // Action is Accept or zero; the rank says nothing
	Baseline    Word
}

// Word is a tier's word: the rule that comes first.
type Word struct {
	Rank   uint32 // lower is first; at most MaxRank
	Action uint8  // of policy.Action; zero: the tier is silent
	Rule   uint32 // names the rule, for logs and counters
}

// MaxRank bounds ranks: the datapath keeps rank and action in one number.
const MaxRank = 1<<30 - 1

// Key is a protocol and a port as one number: ranges of any protocol, or of all ports of one, are ranges of it. Protocols without
// ports have port 0.
func Key(protocol uint8, port uint16) uint32 { return uint32(protocol)<<16 | uint32(port) }

// AnyKey is the greatest Key.
const AnyKey = 1<<24 - 1

// Change is one write to the maps. Exactly one field is set. A list of them is applied in order: after each one every packet's
// verdict is either what it was before the list or what it is after it.
type Change struct {
	Ranges *RangesChange
	Row    *RowChange
	Peer   *PeerChange
	Blocks *BlockChange
	Pod    *PodChange
	// Services changes which addresses the node translates. An Epoch follows it.
	Services *ServicesChange
	// Epoch makes every flow ask again: an address has changed its class.
	Epoch bool
	// Wait lets packets end that began before it; what they may have read is deleted after it.
	Wait bool
}

// RangesChange writes ranges from an index on.
type RangesChange struct {
	First  uint32
	Ranges []Range
}

// RowChange writes a row, or deletes it.
type RowChange struct {
	Key    RowKey
	Row    Row
	Delete bool
}

// PeerChange gives addresses a class, or none.
type PeerChange struct {
	Addrs  []netip.Addr
	Class  Class
	Delete bool
}

// BlockChange gives a prefix a block, or deletes it.
type BlockChange struct {
	Prefix netip.Prefix
	Block  Block
	Delete bool
}

// PodChange swaps how packets of an interface are judged. Slot names the interface to the datapath's owner.
type PodChange struct {
	Slot   uint32
	Pod    Pod
	Delete bool
}

// ServicesChange adds addresses that the node translates or has itself, or takes them away. What a pod sends to one of them is judged by
// the address that it has where it leaves the node.
type ServicesChange struct {
	Addrs  []netip.Addr
	Node   bool // they are the node's own
	Delete bool
}

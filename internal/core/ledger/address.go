package ledger

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"github.com/berth-net/berth/internal/core/vpc"
)

// Key identifies a pod's attachment as the CNI specification does.
type Key struct {
	Network     string `json:"network,omitempty"`
	ContainerID string `json:"container"`
	IfName      string `json:"ifname"`
}

// Pod is a pod's attachment.
type Pod struct {
	Key       Key    `json:"key"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name,omitempty"`
	UID       string `json:"uid,omitempty"`
}

// ID is the pod's UID, or its name where that is not known, or else its container's. Sandboxes of one pod have one ID.
func (p Pod) ID() string {
	switch {
	case p.UID != "":
		return p.UID
	case p.Name != "":
		return p.Namespace + "/" + p.Name
	}
	return p.Key.ContainerID
}

// Allocation is an address given to a pod.
type Allocation struct {
	Pod  Pod
	Addr netip.Addr
	ENI  vpc.ENIID
	At   time.Time
	// Releasing is set while the pod's wiring is being removed.
	Releasing bool
}

// Phase is the phase of an address.
type Phase string

// Phases of an address; see the package comment.
const (
	Free    Phase = "free"
	InUse   Phase = "in-use"
	Cooling Phase = "cooling"
	Held    Phase = "held"
	Leaving Phase = "leaving"
)

// Doubt says why EC2's word does not vouch for a block, empty when it does.
type Doubt string

// The doubts.
const (
	// NotListed: EC2 left it out of a read newer than our last write.
	NotListed Doubt = "not-listed"
	// MaybeGone: the journal was lost, and a lagging read would show it also if it was given back just before.
	MaybeGone Doubt = "maybe-gone"
)

// Block is a block that EC2 assigned to an interface.
type Block struct {
	vpc.Block
	Doubt        Doubt
	MissingSince time.Time // when EC2 first left it out, while it does
	gained       time.Time // when our own call brought it, zero when a read did
	addrs        []*Address
}

// Address is an address of a block.
type Address struct {
	IP    netip.Addr
	Phase Phase
	Owner Key       // while in use
	Until time.Time // end of cooling
	// FreedAt is when a pod last gave it back; zero when none had it.
	FreedAt time.Time
	Block   *Block
}

// Usable tells whether an address may be given to a pod.
func (a *Address) Usable() bool { return a.Phase == Free && a.Block.Doubt == "" }

// Count returns how many of the block's addresses are in one of the phases.
func (b *Block) Count(phases ...Phase) int {
	n := 0
	for _, a := range b.addrs {
		if slices.Contains(phases, a.Phase) {
			n++
		}
	}
	return n
}

// Addresses are the block's, in numerical order.
func (b *Block) Addresses() []*Address { return b.addrs }

// Idle tells whether the block may be given back: nothing of it is in use, held or cooling, and nothing is in doubt.
func (b *Block) Idle() bool { return b.Doubt == "" && b.Count(Free) == len(b.addrs) }

func (a *Address) cool(now, until time.Time) {
	a.Phase, a.Owner, a.Until, a.FreedAt = Cooling, Key{}, until, now
}

// Interface holds the blocks of one interface. They may be read, and only the ledger changes them.
type Interface struct {
	Blocks    map[vpc.Block]*Block
	Addresses map[netip.Addr]*Address // of all blocks
	sorted    []*Block
	// WroteAt is the start or end of our last write to the interface: what EC2 shows of it was read before, or counts.
	WroteAt time.Time
	id      vpc.ENIID
}

// Sorted returns the blocks in numerical order. The caller must not change the list.
func (i *Interface) Sorted() []*Block { return i.sorted }

// Count returns how many addresses are in one of the phases.
func (i *Interface) Count(phases ...Phase) int {
	n := 0
	for _, b := range i.sorted {
		n += b.Count(phases...)
	}
	return n
}

// Doubted returns how many addresses would be free but for a doubt.
func (i *Interface) Doubted(why Doubt) int {
	n := 0
	for _, b := range i.sorted {
		if b.Doubt == why {
			n += b.Count(Free)
		}
	}
	return n
}

// Cooling are the addresses that cool, in numerical order.
func (i *Interface) Cooling() []*Address {
	var list []*Address
	for _, b := range i.sorted {
		for _, a := range b.addrs {
			if a.Phase == Cooling {
				list = append(list, a)
			}
		}
	}
	return list
}

// Best is the address to give next, nil when none is usable: of the preferred blocks if they have any; there of the block
// that pods use most, so that others empty; there the one that was given back longest ago, the never used ones first.
func (i *Interface) Best(preferred func(*Block) bool) *Address {
	var best *Address
	rank := func(a *Address) (second bool, used int) { return !preferred(a.Block), a.Block.Count(InUse, Held) }
	var bestSecond bool
	var bestUsed int
	for _, a := range i.Addresses {
		if !a.Usable() {
			continue
		}
		second, used := rank(a)
		switch {
		case best == nil, bestSecond && !second:
		case second != bestSecond:
			continue
		case cmp.Or(cmp.Compare(bestUsed, used), a.FreedAt.Compare(best.FreedAt), a.IP.Compare(best.IP)) >= 0:
			continue
		}
		best, bestSecond, bestUsed = a, second, used
	}
	return best
}

// Idle are the blocks that may be given back to EC2: the highest first, so that what stays is the low end.
func (i *Interface) Idle() []*Block {
	var list []*Block
	for _, b := range slices.Backward(i.sorted) {
		if b.Idle() {
			list = append(list, b)
		}
	}
	return list
}

// Leaving are the blocks that are being given back.
func (i *Interface) Leaving() []vpc.Block {
	var list []vpc.Block
	for _, b := range i.sorted {
		if b.Count(Leaving) > 0 {
			list = append(list, b.Block)
		}
	}
	return list
}

// Leave marks blocks as being given back, of which pods have nothing.
func (i *Interface) Leave(blocks []vpc.Block) {
	for _, id := range blocks {
		b := i.Blocks[id]
		if b == nil || b.Count(Free) < len(b.addrs) {
			continue
		}
		for _, a := range b.addrs {
			a.Phase = Leaving
		}
	}
}

// add adds a block whose addresses are new.
func (i *Interface) add(id vpc.Block) *Block {
	b := &Block{Block: id}
	for _, ip := range id.Addrs() {
		a := &Address{IP: ip, Phase: Free, Block: b}
		b.addrs = append(b.addrs, a)
		i.Addresses[ip] = a
	}
	i.Blocks[id] = b
	at, _ := slices.BinarySearchFunc(i.sorted, id, func(b *Block, id vpc.Block) int { return b.Compare(id) })
	i.sorted = slices.Insert(i.sorted, at, b)
	return b
}

// drop forgets the block with an address, if there is one.
func (i *Interface) drop(ip netip.Addr) {
	a := i.Addresses[ip]
	if a == nil {
		return
	}
	delete(i.Blocks, a.Block.Block)
	i.sorted = slices.DeleteFunc(i.sorted, func(b *Block) bool { return b == a.Block })
	for _, other := range a.Block.addrs {
		delete(i.Addresses, other.IP)
	}
}

// overlaps tells whether an interface has something of a block.
func (i *Interface) overlaps(id vpc.Block) bool {
	if i.Blocks[id] != nil {
		return true
	}
	return slices.ContainsFunc(id.Addrs(), func(ip netip.Addr) bool { return i.Addresses[ip] != nil })
}

// dropOverlaps forgets what an interface has of a block.
func (i *Interface) dropOverlaps(id vpc.Block) {
	for _, ip := range id.Addrs() {
		i.drop(ip)
	}
}

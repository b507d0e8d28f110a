package ipam

import (
	"cmp"
	"slices"

	"github.com/berth-net/berth/internal/core/ledger"
	"github.com/berth-net/berth/internal/core/pool"
	"github.com/berth-net/berth/internal/core/vpc"
)

// shrink gives back what the mode and the targets do not ask for: blocks of the other kind, blocks above the targets, and
// interfaces that are empty. Never while a pod waits or addresses are coming, never on a read older than our last write, never what cools.
func (p *planner) shrink() {
	if p.holdsGrowth() {
		return
	}
	if p.tally.Waiting > 0 {
		if p.FreeSlots() <= 0 { // what is barred helps no pod, and takes the slot of what would
			p.freeENI(func(e *pool.ENI) bool { return e.Barred })
		}
		return
	}
	if p.freeENI(func(*pool.ENI) bool { return true }) {
		return
	}
	if p.releaseBarred() {
		return
	}
	if p.releaseOthers() {
		return
	}
	t := p.tally
	t.Idle = t.Free // in addresses: where single ones stand in for prefixes, blocks of both sizes are idle
	over := p.warm.Excess(t) * max(p.warm.Unit, 1)
	every := shrinkEvery
	if p.warm.Follows() && !p.Scarce() {
		every = aheadEvery + p.tries.Spread(aheadEvery/4)
	}
	if over <= 0 || p.tally.Coming > 0 || p.now.Sub(p.at.Shrunk) < every {
		return
	}
	list, idle := p.emptiestFirst(), make(map[*pool.ENI][]*ledger.Block)
	for _, prefixes := range []bool{false, true} { // what stands in goes first: a prefix would come back at once
		for _, e := range list {
			for _, b := range e.Idle() {
				if b.IsPrefix() == prefixes && p.Suits(e, b) && b.Size() <= over {
					idle[e], over = append(idle[e], b), over-b.Size()
				}
			}
		}
	}
	for _, e := range list {
		p.release(e, idle[e], len(idle[e]), pool.Excess)
	}
}

// releaseBarred gives back the free addresses of interfaces whose subnet was excluded.
func (p *planner) releaseBarred() bool {
	for _, e := range p.ENIs() {
		if e.Managed && e.Barred && e.Phase == pool.Attached && e.MissingSince.IsZero() && p.release(e, e.Idle(), len(e.Blocks), pool.SubnetExcluded) > 0 {
			return true
		}
	}
	return false
}

// others are the idle blocks of an interface that are not of the mode's kind.
func (p *planner) others(e *pool.ENI) []*ledger.Block {
	return slices.DeleteFunc(e.Idle(), func(b *ledger.Block) bool { return p.Suits(e, b) })
}

// releaseOthers gives back what an earlier mode, or a time without prefixes, left: all that is idle once the targets hold
// without it, and before that as much as the targets need slots for.
func (p *planner) releaseOthers() bool {
	if p.tally.Other == 0 {
		return false
	}
	room := 0
	for _, e := range p.ENIs() {
		room += p.roomOn(e)
	}
	for _, e := range p.ENIs() {
		if !e.Serves() {
			continue
		}
		others := p.others(e)
		n := len(others)
		if p.short.Count > 0 {
			n = min(n, (p.short.Count-room+p.Unit()-1)/p.Unit())
		}
		if n > 0 && p.release(e, others, n, pool.OtherMode) > 0 {
			return true
		}
	}
	return false
}

// release unassigns up to n idle blocks of an interface and returns how many it counts as released.
func (p *planner) release(e *pool.ENI, idle []*ledger.Block, n int, why pool.Why) int {
	var blocks []vpc.Block
	for _, b := range idle[:min(n, len(idle))] {
		blocks = append(blocks, b.Block)
	}
	if len(blocks) == 0 {
		return 0
	}
	if !p.freshFor(e) {
		return len(blocks)
	}
	slices.SortFunc(blocks, vpc.Block.Compare)
	p.do(pool.Action{Kind: pool.UnassignAddresses, Key: "unassign/" + string(e.ID), Why: why, ENI: e.ID, Blocks: blocks})
	return len(blocks)
}

// freshFor tells whether EC2 was read after our last write to the interface, and asks for that read if not.
func (p *planner) freshFor(e *pool.ENI) bool {
	if e.ReadAt.After(e.WroteAt) && !e.Dirty {
		return true
	}
	p.needRead = pool.BeforeRelease
	return false
}

// emptiestFirst orders interfaces for giving back: those with the fewest pods first, the primary last.
func (p *planner) emptiestFirst() []*pool.ENI {
	var list []*pool.ENI
	for _, e := range p.ENIs() {
		if e.Serves() {
			list = append(list, e)
		}
	}
	slices.SortStableFunc(list, func(a, b *pool.ENI) int {
		if a.IsPrimary() != b.IsPrimary() {
			if a.IsPrimary() {
				return 1
			}
			return -1
		}
		return cmp.Compare(a.Count(ledger.InUse, ledger.Held, ledger.Cooling), b.Count(ledger.InUse, ledger.Held, ledger.Cooling))
	})
	return list
}

// freeENI detaches one interface among some that nothing needs. It reports whether one is being freed, so that it stays one at
// a time.
func (p *planner) freeENI(among func(*pool.ENI) bool) bool {
	for _, e := range p.ENIs() {
		if e.Managed && (e.Phase == pool.Detaching || e.Phase == pool.Detached) {
			return true
		}
	}
	if p.tally.Coming > 0 {
		return false
	}
	for _, e := range slices.Backward(p.ENIs()) {
		why, ok := p.freeable(e)
		if !ok || !among(e) {
			continue
		}
		if p.Stray(e) { // it may be on this one
			p.lookFor()
			continue
		}
		if p.freshFor(e) && e.Attachment != nil {
			p.do(pool.Action{Kind: pool.DetachENI, Key: "detach/" + string(e.ID), Why: why, ENI: e.ID, Attachment: e.Attachment.ID})
		}
		return true
	}
	return false
}

// lookFor asks for a read that may show where a live pod's address belongs, now and then: it may be on none of ours.
func (p *planner) lookFor() {
	if p.now.Sub(p.at.ENIs) >= ledger.Settle {
		p.needRead = pool.AfterDoubt
	}
}

func (p *planner) freeable(e *pool.ENI) (pool.Why, bool) {
	if !e.Managed || e.IsPrimary() || e.Phase != pool.Attached || !e.MissingSince.IsZero() || p.now.Sub(e.SeenAt) < minENIAge {
		return "", false
	}
	if e.Type != vpc.ENITypeInterface && e.Type != "" { // trunk and EFA interfaces stay
		return "", false
	}
	if e.Count(ledger.InUse, ledger.Held, ledger.Cooling, ledger.Leaving) > 0 || p.busy(e) {
		return "", false
	}
	if e.Barred {
		return pool.SubnetExcluded, true
	}
	free := 0
	for _, a := range e.Addresses {
		if a.Usable() && p.Suits(e, a.Block) {
			free++
		}
	}
	return pool.InterfaceEmpty, p.warm.Spare(p.tally, free, p.roomOn(e), p.PerENI())
}

// busy tells whether an action on the interface is in flight.
func (p *planner) busy(e *pool.ENI) bool {
	for _, a := range p.acting {
		if a.ENI == e.ID && a.Kind.Mutates() {
			return true
		}
	}
	return false
}

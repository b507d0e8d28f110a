package ledger

import (
	"net/netip"
	"slices"
	"time"

	"github.com/berth-net/berth/internal/core/vpc"
)

// What follows replays a journal into a new ledger. Records bear repetition, and the last one about an object wins.

// RestoreInterface replays what an interface had: all its blocks, of which some were leaving or in doubt.
func (l *Ledger) RestoreInterface(id vpc.ENIID, blocks, leaving, doubted []vpc.Block, wroteAt time.Time) *Interface {
	old := l.interfaces[id]
	i := l.Add(id, wroteAt)
	for _, block := range blocks {
		delete(l.removed, place{id, block})
		for _, other := range l.interfaces { // it has moved since the other's record
			other.dropOverlaps(block)
		}
		b := i.add(block)
		for _, a := range b.addrs {
			if old != nil && old.Addresses[a.IP] != nil && old.Addresses[a.IP].Phase != Leaving {
				was := old.Addresses[a.IP]
				a.Phase, a.Owner, a.Until, a.FreedAt = was.Phase, was.Owner, was.Until, was.FreedAt
			}
		}
		l.cool(b)
		if slices.Contains(leaving, block) {
			for _, a := range b.addrs {
				*a = Address{IP: a.IP, Phase: Leaving, Block: b}
			}
		}
		if slices.Contains(doubted, block) {
			b.Doubt = MaybeGone
		}
	}
	for k, p := range l.pods { // their records may have come before the interface's
		if a := i.Addresses[p.Addr]; a != nil {
			l.own(a, k)
			p.ENI = id
		}
	}
	return i
}

// own replays that a pod has an address: nothing of its block leaves.
func (l *Ledger) own(a *Address, k Key) {
	l.stay(a.Block)
	*a = Address{IP: a.IP, Phase: InUse, Owner: k, Block: a.Block}
}

// RestorePod replays that a pod was given an address.
func (l *Ledger) RestorePod(p Allocation) {
	k := p.Pod.Key
	if old, ok := l.pods[k]; ok && old.Addr != p.Addr {
		if a := l.Find(old.Addr); a != nil && a.Phase == InUse {
			a.cool(old.At, old.At.Add(l.cooldown))
		}
	}
	for other, q := range l.pods { // its release was not recorded any more; the later word counts
		if q.Addr == p.Addr && other != k {
			delete(l.pods, other)
		}
	}
	l.pods[k] = &p
	if a := l.Find(p.Addr); a != nil {
		l.own(a, k)
	}
}

// RestoreReleased replays that an attachment gave an address back, which cools until then.
func (l *Ledger) RestoreReleased(k Key, ip netip.Addr, at, until time.Time) {
	if p, ok := l.pods[k]; ok && p.Addr == ip {
		delete(l.pods, k)
	}
	a := l.Find(ip)
	if a == nil {
		l.released[ip] = release{at, until}
	}
	if a != nil && (a.Phase != InUse || a.Owner == k) && a.Phase != Leaving {
		a.cool(at, until)
	}
}

// RestoreRemoved replays that blocks were given back to EC2.
func (l *Ledger) RestoreRemoved(eni vpc.ENIID, blocks []vpc.Block, at time.Time) {
	for _, id := range blocks {
		l.removed[place{eni, id}] = at
		if i := l.interfaces[eni]; i != nil && i.Blocks[id] != nil && i.Blocks[id].Count(InUse) == 0 {
			i.drop(id.First())
		}
	}
}

// RestoreDoubt replays that an earlier journal was lost: until then, what is known of blocks so far is in doubt.
func (l *Ledger) RestoreDoubt(until, now time.Time) {
	l.doubtUntil = until
	if now.Before(until) {
		l.doubtAll()
	}
}

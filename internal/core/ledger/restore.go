package ledger

import (
	"net/netip"
	"slices"
	"time"

	"github.com/berth-net/berth/internal/core/vpc"
)

// What follows replays a journal into a new ledger. Records bear repetition, and the last one about an object wins.

// RestoreInterface replays what an interface had: all its addresses, of which some were leaving or in doubt.
func (l *Ledger) RestoreInterface(id vpc.ENIID, addrs, leaving, doubted []netip.Addr, wroteAt time.Time) *Interface {
	old := l.interfaces[id]
	i := l.Add(id, wroteAt)
	for _, ip := range addrs {
		a := &Address{IP: ip, Phase: Free}
		switch {
		case slices.Contains(leaving, ip):
			a.Phase = Leaving
		case old != nil && old.Addresses[ip] != nil && old.Addresses[ip].Phase != Leaving:
			a = old.Addresses[ip]
		}
		a.Doubt = ""
		if slices.Contains(doubted, ip) {
			a.Doubt = MaybeGone
		}
		for _, other := range l.interfaces { // it has moved since the other's record
			delete(other.Addresses, ip)
		}
		i.Addresses[ip] = a
	}
	for k, p := range l.pods { // their records may have come before the interface's
		if a := i.Addresses[p.Addr]; a != nil {
			*a = Address{IP: p.Addr, Phase: InUse, Owner: k}
			p.ENI = id
		}
	}
	return i
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
		*a = Address{IP: p.Addr, Phase: InUse, Owner: k}
	}
}

// RestoreReleased replays that an attachment gave an address back, which cools until then.
func (l *Ledger) RestoreReleased(k Key, ip netip.Addr, at, until time.Time) {
	if p, ok := l.pods[k]; ok && p.Addr == ip {
		delete(l.pods, k)
	}
	if a := l.Find(ip); a != nil && (a.Phase != InUse || a.Owner == k) && a.Phase != Leaving {
		a.cool(at, until)
	}
}

// RestoreRemoved replays that addresses were given back to EC2.
func (l *Ledger) RestoreRemoved(eni vpc.ENIID, addrs []netip.Addr, at time.Time) {
	for _, ip := range addrs {
		l.removed[place{eni, ip}] = at
		if i := l.interfaces[eni]; i != nil && i.Addresses[ip] != nil && i.Addresses[ip].Phase != InUse {
			delete(i.Addresses, ip)
		}
	}
}

// RestoreDoubt replays that an earlier journal was lost: until then, what is known of addresses so far is in doubt.
func (l *Ledger) RestoreDoubt(until, now time.Time) {
	l.doubtUntil = until
	if now.Before(until) {
		l.doubtAll()
	}
}

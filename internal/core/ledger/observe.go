package ledger

import (
	"net/netip"
	"slices"
	"time"

	"github.com/berth-net/berth/internal/core/vpc"
)

// Observe folds the secondary addresses that a read of EC2, asked at askedAt, shows of an interface. It tells whether the
// interface's record changed.
func (l *Ledger) Observe(i *Interface, secondary []netip.Addr, askedAt time.Time) (changed bool) {
	for _, ip := range secondary {
		if a := i.Addresses[ip]; a != nil {
			changed = l.listed(a, askedAt) || changed
			continue
		}
		if at, ok := l.removed[place{i.id, ip}]; ok && askedAt.Before(at.Add(Settle)) {
			continue
		}
		if l.elsewhere(i, ip, askedAt) {
			continue
		}
		l.take(i, ip, askedAt)
		changed = true
	}
	if !askedAt.After(i.WroteAt) {
		return changed
	}
	for ip, a := range i.Addresses {
		if !slices.Contains(secondary, ip) && l.omitted(a, askedAt) {
			delete(i.Addresses, ip)
			changed = true
		}
	}
	return changed
}

// listed ends the doubt about an address that EC2 lists, if the read is late enough to tell.
func (l *Ledger) listed(a *Address, askedAt time.Time) (changed bool) {
	before := a.Doubt
	a.MissingSince = time.Time{}
	if a.Doubt != "" {
		a.Doubt = l.doubt(a, askedAt)
	}
	return before == MaybeGone && a.Doubt == ""
}

// doubt is what is to be thought of an address that a read shows and that nobody vouches for.
func (l *Ledger) doubt(a *Address, askedAt time.Time) Doubt {
	if askedAt.Before(l.doubtUntil) && a.Phase != InUse {
		return MaybeGone
	}
	return ""
}

// omitted notes that EC2 leaves an address out, and tells whether it is believed gone: after two reads far enough apart,
// and never while a pod may live on it.
func (l *Ledger) omitted(a *Address, askedAt time.Time) (gone bool) {
	if a.Doubt != NotListed {
		a.Doubt, a.MissingSince = NotListed, askedAt
	}
	return a.Phase != InUse && a.Phase != Held && askedAt.Sub(a.MissingSince) >= MissingFor
}

// elsewhere tells whether an address lies on another interface of ours by a word that is younger than what this read may
// show. That the same read leaves it out there proves as little.
func (l *Ledger) elsewhere(i *Interface, ip netip.Addr, askedAt time.Time) bool {
	for _, other := range l.interfaces {
		if other != i && other.Addresses[ip] != nil && askedAt.Before(other.WroteAt.Add(Settle)) {
			return true
		}
	}
	return false
}

// Gain adds addresses that EC2 has just assigned to an interface.
func (l *Ledger) Gain(i *Interface, addrs []netip.Addr) {
	for _, ip := range addrs {
		if i.Addresses[ip] == nil {
			l.take(i, ip, l.doubtUntil) // our own call vouches for them
		}
	}
}

// take adds an address that EC2 shows and the ledger did not know there.
func (l *Ledger) take(i *Interface, ip netip.Addr, askedAt time.Time) {
	delete(l.removed, place{i.id, ip})
	for _, other := range l.interfaces { // EC2 moved it between our interfaces
		delete(other.Addresses, ip)
	}
	a := &Address{IP: ip}
	l.idle(a)
	i.Addresses[ip] = a
	for k, p := range l.pods {
		if p.Addr == ip {
			a.Phase, a.Owner, p.ENI = InUse, k, i.id
		}
	}
	a.Doubt = l.doubt(a, askedAt)
}

// Confirm doubts what pods do not have of an interface and a hint does not show either, while EC2 itself cannot be asked.
func (i *Interface) Confirm(hint []netip.Addr, since time.Time) {
	for ip, a := range i.Addresses {
		if (a.Phase == Free || a.Phase == Cooling) && !slices.Contains(hint, ip) {
			a.Doubt, a.MissingSince = NotListed, since
		}
	}
}

// Left ends what Leave began: EC2 has the addresses back.
func (l *Ledger) Left(i *Interface, addrs []netip.Addr, now time.Time) {
	for _, ip := range addrs {
		if a := i.Addresses[ip]; a != nil && a.Phase == Leaving {
			delete(i.Addresses, ip)
			l.removed[place{i.id, ip}] = now
		}
	}
}

// Keep takes back what Leave began and EC2 refused: the addresses serve pods again.
func (l *Ledger) Keep(i *Interface) {
	for _, a := range i.Addresses {
		if a.Phase == Leaving {
			l.idle(a)
		}
	}
}

// Removed tells whether an address was given back a while ago.
func (l *Ledger) Removed(eni vpc.ENIID, ip netip.Addr) bool {
	_, ok := l.removed[place{eni, ip}]
	return ok
}

// EachRemoved calls f with the addresses that were given back a while ago.
func (l *Ledger) EachRemoved(f func(eni vpc.ENIID, ip netip.Addr, at time.Time)) {
	for p, at := range l.removed {
		f(p.eni, p.ip, at)
	}
}

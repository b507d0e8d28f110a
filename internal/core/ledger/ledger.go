package ledger

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/berth-net/berth/internal/core/vpc"
)

// Times that are not settings.
const (
	// Settle is how long a describe may lag behind a write of ours: within it an absence or reappearance proves nothing.
	// EC2 promises no bound; users saw metadata lag for up to a minute after a restart.
	Settle = 60 * time.Second
	// MissingFor is how long EC2 must leave an address out, in two reads, before it is believed gone.
	MissingFor = 30 * time.Second
)

// Ledger is the addresses of a node's interfaces and the pods that have them. One goroutine owns it.
type Ledger struct {
	cooldown   time.Duration
	interfaces map[vpc.ENIID]*Interface
	pods       map[Key]*Allocation
	// removed are the blocks that we gave back: a read asked within Settle of that may still show them.
	removed map[place]time.Time
	// live are the addresses that the kernel shows on a live link. None of them is free.
	live map[netip.Addr]bool
	// released are addresses that pods gave back while no interface was known to have them: they cool once one is.
	released   map[netip.Addr]release
	doubtUntil time.Time // blocks that reads from before then bring are in doubt
}

// release is when an address was given back, and until when it cools.
type release struct{ at, until time.Time }

// place is a block on an interface: EC2 may have given it to another one meanwhile.
type place struct {
	eni   vpc.ENIID
	block vpc.Block
}

// SetCooldown sets how long addresses cool that pods give back from now on.
func (l *Ledger) SetCooldown(d time.Duration) { l.cooldown = d }

// New returns an empty ledger whose addresses cool down for so long.
func New(cooldown time.Duration) *Ledger {
	return &Ledger{
		cooldown: cooldown, interfaces: make(map[vpc.ENIID]*Interface), pods: make(map[Key]*Allocation),
		removed: make(map[place]time.Time), live: make(map[netip.Addr]bool),
		released: make(map[netip.Addr]release),
	}
}

// Add returns a new interface without addresses.
func (l *Ledger) Add(id vpc.ENIID, wroteAt time.Time) *Interface {
	i := &Interface{id: id, WroteAt: wroteAt, Blocks: make(map[vpc.Block]*Block), Addresses: make(map[netip.Addr]*Address)}
	l.interfaces[id] = i
	return i
}

// Drop forgets an interface that is no more. What pods have of it stays theirs.
func (l *Ledger) Drop(id vpc.ENIID) { delete(l.interfaces, id) }

// Find returns an address of any interface, nil when unknown.
func (l *Ledger) Find(ip netip.Addr) *Address {
	for _, i := range l.interfaces {
		if a := i.Addresses[ip]; a != nil {
			return a
		}
	}
	return nil
}

// Allocation returns the address of an attachment.
func (l *Ledger) Allocation(k Key) (Allocation, bool) {
	if a, ok := l.pods[k]; ok {
		return *a, true
	}
	return Allocation{}, false
}

// Allocations returns all addresses of pods, by address.
func (l *Ledger) Allocations() []Allocation {
	all := make([]Allocation, 0, len(l.pods))
	for _, a := range l.pods {
		all = append(all, *a)
	}
	slices.SortFunc(all, func(a, b Allocation) int { return a.Addr.Compare(b.Addr) })
	return all
}

// Running is the number of pods that have an address.
func (l *Ledger) Running() int { return len(l.pods) }

// Give gives a usable address of an interface to a pod.
func (l *Ledger) Give(i *Interface, a *Address, pod Pod, now time.Time) Allocation {
	a.Phase, a.Owner, a.Until = InUse, pod.Key, time.Time{}
	p := &Allocation{Pod: pod, Addr: a.IP, ENI: i.id, At: now}
	l.pods[pod.Key] = p
	return *p
}

// Releasing marks an attachment whose wiring is being removed, or is not removed after all.
func (l *Ledger) Releasing(k Key, yes bool) (Allocation, bool) {
	a, ok := l.pods[k]
	if !ok {
		return Allocation{}, false
	}
	a.Releasing = yes
	return *a, true
}

// Release ends an attachment whose wiring is gone: its address cools until the time returned.
func (l *Ledger) Release(k Key, now time.Time) (ip netip.Addr, until time.Time, ok bool) {
	p, ok := l.pods[k]
	if !ok {
		return netip.Addr{}, time.Time{}, false
	}
	delete(l.pods, k)
	delete(l.live, p.Addr)
	until = now.Add(l.cooldown)
	switch a := l.Find(p.Addr); {
	case a == nil:
		l.released[p.Addr] = release{now, until}
	case a.Owner == k && a.Phase == InUse:
		a.cool(now, until)
	}
	return p.Addr, until, true
}

// ReleaseHeld ends the hold on an address whose wiring was removed: it cools until the time returned.
func (l *Ledger) ReleaseHeld(ip netip.Addr, now time.Time) (until time.Time, ok bool) {
	delete(l.live, ip)
	a := l.Find(ip)
	if a == nil || a.Phase != Held {
		return time.Time{}, false
	}
	a.cool(now, now.Add(l.cooldown))
	return a.Until, true
}

// Thaw ends cooling periods that are over.
func (l *Ledger) Thaw(now time.Time) {
	for _, i := range l.interfaces {
		for _, b := range i.sorted {
			for _, a := range b.addrs {
				if a.Phase == Cooling && !a.Until.After(now) {
					a.Until = time.Time{}
					l.idle(a)
				}
			}
		}
	}
}

// idle puts an address that no record names into its phase.
func (l *Ledger) idle(a *Address) {
	a.Phase = Free
	if l.live[a.IP] {
		a.Phase = Held
	}
}

// SetLive tells which pod addresses the kernel shows on a live link. One among them that no record names is held: the
// record of its pod was lost. So is one that was about to leave. A held one that the kernel shows no more cools down.
func (l *Ledger) SetLive(live []netip.Addr, now time.Time) {
	l.live = make(map[netip.Addr]bool, len(live))
	for _, ip := range live {
		l.live[ip] = true
	}
	for _, i := range l.interfaces {
		for _, a := range i.Addresses {
			switch {
			case l.live[a.IP] && a.Phase != InUse:
				l.stay(a.Block)
				a.Phase, a.Until = Held, time.Time{}
			case !l.live[a.IP] && a.Phase == Held:
				a.cool(now, now.Add(l.cooldown))
			}
		}
	}
}

// Stray tells whether the kernel shows a live link whose address lies in a range, any if it is invalid, and on no interface
// that is known to have it: some interface has it, and a read that lags left it out.
func (l *Ledger) Stray(within netip.Prefix) bool {
	for ip := range l.live {
		if (!within.IsValid() || within.Contains(ip)) && l.Find(ip) == nil {
			return true
		}
	}
	return false
}

// stay ends the leaving of a block of which a pod turned out to have something.
func (l *Ledger) stay(b *Block) {
	for _, a := range b.addrs {
		if a.Phase == Leaving {
			l.idle(a)
		}
	}
}

// Stale returns attachments whose records name an address that the kernel shows nowhere. Only meaningful right after
// SetLive at the start, before anything is wired: their pods are gone.
func (l *Ledger) Stale() []Allocation {
	return slices.DeleteFunc(l.Allocations(), func(a Allocation) bool { return l.live[a.Addr] || a.Releasing })
}

// Doubt tells that an earlier run on this host left no journal, or a damaged one: it may have given addresses back a
// moment ago, and a lagging read still shows them. They are in doubt until a read that is late enough to tell.
func (l *Ledger) Doubt(now time.Time) (until time.Time) {
	l.doubtUntil = now.Add(Settle)
	l.doubtAll()
	return l.doubtUntil
}

// doubtAll doubts the blocks of which records do not give everything to pods. What is held is among it: it may have moved to
// another interface. A prefix of which pods have something is not gone, but what else of it cools down, or is being given to
// a pod, nobody knows any more.
func (l *Ledger) doubtAll() {
	for _, i := range l.interfaces {
		for _, b := range i.Blocks {
			if b.Count(InUse) < len(b.addrs) {
				b.Doubt = MaybeGone
			}
		}
	}
}

// DoubtUntil is until when reads bring blocks that are in doubt, zero when the journal was never lost.
func (l *Ledger) DoubtUntil() time.Time { return l.doubtUntil }

// Forget drops what was given back before a time: an agent lives for months, and each record of its journal counts.
func (l *Ledger) Forget(before time.Time) {
	maps.DeleteFunc(l.removed, func(_ place, at time.Time) bool { return at.Before(before) })
	maps.DeleteFunc(l.released, func(_ netip.Addr, r release) bool { return r.until.Before(before) })
}

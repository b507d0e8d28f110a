package pool

import (
	"net/netip"
	"slices"
	"time"

	"github.com/berth-net/berth/internal/core/ledger"
)

// Granted is an address given to a pod, with the record that must be durable before the pod is wired.
type Granted struct {
	Allocation Allocation
	Record     Record
	// Repeat is set when the attachment already had the address.
	Repeat bool
}

// Demand is a pod that waits for an address.
type Demand struct {
	Pod   Pod
	Since time.Time
}

// Add asks for an address. Without a free one the pod becomes a demand, which Satisfy or Withdraw ends.
func (s *State) Add(pod Pod, now time.Time) (Granted, bool) {
	if a, ok := s.book.Allocation(pod.Key); ok {
		return Granted{Allocation: a, Repeat: true, Record: podRecord(a)}, !a.Releasing
	}
	s.book.Thaw(now)
	if !s.waits(pod.Key) {
		s.demand.Came(pod.ID(), now)
		if len(s.waiting) == 0 {
			if g, ok := s.grant(pod, now); ok {
				return g, true
			}
			if now.Sub(s.waitedAt) >= searchPause {
				s.at.Searched = now
			}
		}
		s.waiting, s.waitedAt = append(s.waiting, Demand{Pod: pod, Since: now}), now
	}
	return Granted{}, false
}

// Satisfy gives free addresses to waiting pods, first come first served.
func (s *State) Satisfy(now time.Time) []Granted {
	s.book.Thaw(now)
	var granted []Granted
	for len(s.waiting) > 0 {
		g, ok := s.grant(s.waiting[0].Pod, now)
		if !ok {
			break
		}
		s.waiting = s.waiting[1:]
		granted = append(granted, g)
	}
	return granted
}

// Withdraw ends a demand whose pod gave up.
func (s *State) Withdraw(k Key) {
	s.waiting = slices.DeleteFunc(s.waiting, func(d Demand) bool { return d.Pod.Key == k })
}

func (s *State) waits(k Key) bool {
	return slices.ContainsFunc(s.waiting, func(d Demand) bool { return d.Pod.Key == k })
}

// Waiting returns the pods that wait, in order of arrival.
func (s *State) Waiting() []Demand { return slices.Clone(s.waiting) }

// grant takes the best free address: of a block that suits the mode, on the interface with most addresses in use, so that
// the others empty.
func (s *State) grant(pod Pod, now time.Time) (Granted, bool) {
	if !s.Ready() {
		return Granted{}, false
	}
	var best *ledger.Address
	var from *ENI
	most, suiting := -1, false
	for _, e := range s.order {
		if !e.Serves() {
			continue
		}
		a := e.Best(func(b *ledger.Block) bool { return s.Suits(e, b) })
		if a == nil {
			continue
		}
		suits, used := s.Suits(e, a.Block), e.Count(InUse, Held)
		if suits && !suiting || suits == suiting && used > most {
			best, from, most, suiting = a, e, used, suits
		}
	}
	if best == nil {
		return Granted{}, false
	}
	a := s.book.Give(from.Interface, best, pod, now)
	return Granted{Allocation: a, Record: podRecord(a)}, true
}

// BeginRelease marks an attachment whose wiring is about to be removed; its address is given to nobody meanwhile.
func (s *State) BeginRelease(k Key) (Allocation, bool) {
	s.Withdraw(k)
	return s.book.Releasing(k, true)
}

// AbortRelease takes BeginRelease back after the wiring could not be removed: the address stays with its pod.
func (s *State) AbortRelease(k Key) { s.book.Releasing(k, false) }

// Release ends an attachment whose wiring is gone: the address cools down.
func (s *State) Release(k Key, now time.Time) (Record, bool) {
	ip, until, ok := s.book.Release(k, now)
	return Record{Freed: &FreedRecord{Key: k, Addr: ip, At: now, Until: until}}, ok
}

// ReleaseHeld ends the hold on an address whose wiring was removed; it cools down, also across a restart.
func (s *State) ReleaseHeld(ip netip.Addr, now time.Time) (Record, bool) {
	until, ok := s.book.ReleaseHeld(ip, now)
	return Record{Freed: &FreedRecord{Addr: ip, At: now, Until: until}}, ok
}

// Stray tells whether a live pod's address in the interface's subnet is on no interface that is known to have it.
func (s *State) Stray(e *ENI) bool { return s.book.Stray(e.SubnetCIDR) }

// SetLive tells which pod addresses the kernel shows on a live link; see ledger.Ledger.
func (s *State) SetLive(live []netip.Addr, now time.Time) { s.book.SetLive(live, now) }

// Stale returns attachments whose pods are gone; see ledger.Ledger.
func (s *State) Stale() []Allocation { return s.book.Stale() }

// Doubt tells that the journal of an earlier run was lost or damaged; see ledger.Ledger.
func (s *State) Doubt(now time.Time) Record {
	until := s.book.Doubt(now)
	return Record{Doubt: &until}
}

// Allocation returns the address of an attachment.
func (s *State) Allocation(k Key) (Allocation, bool) { return s.book.Allocation(k) }

// Allocations returns all addresses of pods, by address.
func (s *State) Allocations() []Allocation { return s.book.Allocations() }

// Lost returns the addresses of pods that EC2 left out of two reads far enough apart, alone or with their interface, or never listed.
func (s *State) Lost() []Allocation {
	gone := func(since time.Time) bool { return !since.IsZero() && s.at.ENIs.Sub(since) >= missingFor }
	var lost []Allocation
	for _, al := range s.Allocations() {
		if e, b := s.enis[al.ENI], s.book.Block(al.Addr); (b != nil && gone(b.MissingSince)) || (e != nil && gone(e.MissingSince)) || (al.ENI == "" && gone(s.at.Started)) {
			lost = append(lost, al)
		}
	}
	return lost
}

package ipam

import (
	"cmp"
	"net/netip"
	"slices"
	"time"
)

// Granted is an address given to a pod, with the record that must be durable before the pod is wired.
type Granted struct {
	Allocation Allocation
	Record     Record
	// Repeat is set when the attachment already had the address.
	Repeat bool
}

// Add asks for an address. Without a free one the pod becomes a demand, which Satisfy or Withdraw ends.
func (s *State) Add(pod Pod, now time.Time) (Granted, bool) {
	if a, ok := s.pods[pod.Key]; ok {
		return Granted{Allocation: *a, Repeat: true, Record: Record{Pod: &PodRecord{Pod: a.Pod, Addr: a.Addr, ENI: a.ENI, At: a.At}}}, !a.Releasing
	}
	s.thaw(now)
	if !s.waits(pod.Key) {
		if len(s.waiting) == 0 {
			if g, ok := s.grant(pod, now); ok {
				return g, true
			}
		}
		if len(s.waiting) == 0 && now.Sub(s.waitedAt) >= searchPause {
			s.searchedFrom = now
		}
		s.waiting, s.waitedAt = append(s.waiting, Demand{Pod: pod, Since: now}), now
	}
	return Granted{}, false
}

// Satisfy gives free addresses to waiting pods, first come first served.
func (s *State) Satisfy(now time.Time) []Granted {
	s.thaw(now)
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

// grant takes the best free address: on the interface with most addresses in use, so that the others empty; there the
// one that was given back longest ago, the never used ones first.
func (s *State) grant(pod Pod, now time.Time) (Granted, bool) {
	if !s.Ready() {
		return Granted{}, false
	}
	var best *Address
	var bestENI *ENI
	most := -1
	for _, e := range s.order {
		if !e.serves() {
			continue
		}
		if used := e.count(InUse, Held); used > most {
			if a := e.pick(s); a != nil {
				best, bestENI, most = a, e, used
			}
		}
	}
	if best == nil {
		return Granted{}, false
	}
	best.Phase, best.Owner, best.Until = InUse, pod.Key, time.Time{}
	a := &Allocation{Pod: pod, Addr: best.IP, ENI: bestENI.ID, At: now}
	s.pods[pod.Key] = a
	return Granted{Allocation: *a, Record: Record{Pod: &PodRecord{Pod: pod, Addr: a.Addr, ENI: a.ENI, At: now}}}, true
}

func (e *ENI) pick(s *State) *Address {
	var best *Address
	for _, a := range e.Addresses {
		if !a.usable() || s.live[a.IP] {
			continue
		}
		if best == nil || cmp.Or(a.FreedAt.Compare(best.FreedAt), a.IP.Compare(best.IP)) < 0 {
			best = a
		}
	}
	return best
}

// BeginRelease marks an attachment whose wiring is about to be removed; its address is given to nobody meanwhile.
func (s *State) BeginRelease(k Key) (Allocation, bool) {
	s.Withdraw(k)
	a, ok := s.pods[k]
	if !ok {
		return Allocation{}, false
	}
	a.Releasing = true
	return *a, true
}

// AbortRelease takes BeginRelease back after the wiring could not be removed: the address stays with its pod.
func (s *State) AbortRelease(k Key) {
	if a, ok := s.pods[k]; ok {
		a.Releasing = false
	}
}

// Release ends an attachment whose wiring is gone: the address cools down.
func (s *State) Release(k Key, now time.Time) (Record, bool) {
	p, ok := s.pods[k]
	if !ok {
		return Record{}, false
	}
	delete(s.pods, k)
	delete(s.live, p.Addr)
	until := now.Add(s.Config.Cooldown)
	if a := s.address(p.Addr); a != nil && a.Owner == k && a.Phase == InUse {
		*a = Address{IP: a.IP, Phase: Cooling, Until: until, FreedAt: now, MissingSince: a.MissingSince}
	}
	return Record{Freed: &FreedRecord{Key: k, Addr: p.Addr, At: now, Until: until}}, true
}

// thaw ends cooling periods that are over.
func (s *State) thaw(now time.Time) {
	for _, e := range s.order {
		for _, a := range e.Addresses {
			if a.Phase == Cooling && !a.Until.After(now) {
				a.Phase, a.Until = Free, time.Time{}
			}
		}
	}
}

// SetLive tells which pod addresses the kernel shows on a live link. A free or cooling address among them is held: a
// record of its pod was lost. A held one that the kernel shows no more cools down.
func (s *State) SetLive(live []netip.Addr, now time.Time) {
	s.live = make(map[netip.Addr]bool, len(live))
	for _, ip := range live {
		s.live[ip] = true
	}
	for _, e := range s.order {
		for _, a := range e.Addresses {
			switch {
			case s.live[a.IP] && (a.Phase == Free || a.Phase == Cooling):
				a.Phase, a.Until = Held, time.Time{}
			case !s.live[a.IP] && a.Phase == Held:
				a.Phase, a.Until, a.FreedAt = Cooling, now.Add(s.Config.Cooldown), now
			}
		}
	}
}

// ReleaseHeld ends the hold on an address whose wiring was removed; it cools down, also across a restart.
func (s *State) ReleaseHeld(ip netip.Addr, now time.Time) (Record, bool) {
	delete(s.live, ip)
	a := s.address(ip)
	if a == nil || a.Phase != Held {
		return Record{}, false
	}
	a.Phase, a.Until, a.FreedAt = Cooling, now.Add(s.Config.Cooldown), now
	return Record{Freed: &FreedRecord{Addr: ip, At: now, Until: a.Until}}, true
}

// Doubt tells that an earlier run on this host left no journal, or a damaged one: it may have given addresses back a
// moment ago, and a lagging read still shows them. They are held until a read that is late enough to tell.
func (s *State) Doubt(now time.Time) Record {
	until := now.Add(settle)
	s.doubtUntil = until
	for _, e := range s.order {
		for _, a := range e.Addresses {
			a.Doubtful = a.Phase == Free || a.Phase == Cooling
		}
	}
	return Record{Doubt: &until}
}

// Stale returns attachments whose records name an address that the kernel shows nowhere. Only meaningful right after
// SetLive at the start, before anything is wired: their pods are gone.
func (s *State) Stale() []Allocation {
	var stale []Allocation
	for _, a := range s.Allocations() {
		if !s.live[a.Addr] && !a.Releasing {
			stale = append(stale, a)
		}
	}
	return stale
}

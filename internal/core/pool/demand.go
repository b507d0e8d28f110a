package pool

import (
	"time"

	"github.com/berth-net/berth/internal/core/subnet"
)

// Guesses of lead times before the first measurement: an assignment answers within a second; an interface's link mostly
// appears within ten, and was seen after forty.
const (
	assignGuess = 2 * time.Second
	attachGuess = 20 * time.Second
)

// Addresses are scarce when the usable subnets have less than one in scarcePart left, and until they have twice as much; tight
// when they have less than one in tightPart left.
const (
	scarcePart = 16
	tightPart  = 3
)

// Bound is a pod that is bound to the node.
type Bound struct {
	Namespace, Name, UID string
	// Leaving: it is being deleted. Its address will cool, and who replaces it may come here.
	Leaving bool
}

// Expect tells which pods are bound to the node and how many more of the cluster's may come.
func (s *State) Expect(bound []Bound, unscheduled int) { s.bound, s.unscheduled = bound, unscheduled }

// Expected is how many pods will ask for an address that have not done so yet.
func (s *State) Expected() int {
	n := s.unscheduled
	if len(s.bound) == 0 {
		return n
	}
	here := make(map[string]bool)
	for _, a := range s.book.Allocations() {
		here[a.Pod.UID] = true
		here[a.Pod.Namespace+"/"+a.Pod.Name] = true
	}
	for _, d := range s.waiting {
		here[d.Pod.UID] = true
		here[d.Pod.Namespace+"/"+d.Pod.Name] = true
	}
	for _, b := range s.bound {
		if b.Leaving || !here[b.UID] && !here[b.Namespace+"/"+b.Name] {
			n++
		}
	}
	return n
}

// Peaks are how many pods came at most, lately, within the time that an assignment takes (near), and within that of a new
// interface until it serves (far).
func (s *State) Peaks(now time.Time) (near, far int) {
	return s.demand.Peak(s.assignLead.Time(assignGuess), now), s.demand.Peak(s.attachLead.Time(attachGuess), now)
}

// measure notes how long interfaces took that have begun to serve.
func (s *State) measure(now time.Time) {
	for _, e := range s.order {
		if e.Configured && !e.begunAt.IsZero() {
			s.attachLead.Took(now.Sub(e.begunAt))
			e.begunAt = time.Time{}
		}
	}
}

// Running is the number of pods that have an address.
func (s *State) Running() int { return s.book.Running() }

// Scarce tells whether addresses are scarce in the subnets that the node may use: nothing should be kept then that no pod
// needs.
func (s *State) Scarce() bool { return s.scarce }

// Tight tells whether so much of the subnets is used that others may soon need what this node keeps.
func (s *State) Tight() bool { return s.tight }

func (s *State) findScarce() {
	free, size := 0, 0
	for _, sn := range s.zone.Subnets() {
		if usable, _ := subnet.Judge(s.zone.Rules(), sn); usable {
			free += s.zone.Left(sn)
			size += 1 << (sn.CIDR.Addr().BitLen() - sn.CIDR.Bits())
		}
	}
	part := scarcePart
	if s.scarce {
		part /= 2
	}
	s.scarce, s.tight = free*part < size, free*tightPart < size
}

package ipam

import (
	"time"

	"github.com/berth-net/berth/internal/core/target"
)

// Guesses of lead times before the first measurement: an assignment answers within a second; an interface's link mostly
// appears within ten, and was seen after forty.
const (
	assignGuess = 2 * time.Second
	attachGuess = 20 * time.Second
)

// What is kept free without any sign of demand: a tenth of what the kubelet allows, and aheadLeast in any case.
const (
	aheadLeast = 2
	aheadPart  = 10
	// aheadFirst is how long a run gives nothing back: it does not know yet what comes.
	aheadFirst = 15 * time.Minute
)

// Bound is a pod that is bound to the node.
type Bound struct {
	Namespace, Name, UID string
	// Leaving: it is being deleted. Its address will cool, and who replaces it may come here.
	Leaving bool
}

// Expect tells which pods are bound to the node and how many more of the cluster's may come.
func (s *State) Expect(bound []Bound, unscheduled int) { s.bound, s.unscheduled = bound, unscheduled }

// ahead is the target that follows the demand: for pods that are bound to the node and have not asked yet, and for as many
// more as came at most, lately, within the time that it takes to get more addresses.
//
// This is a base stock with a lead time; as in Autopilot (EuroSys 2020) it takes the peak of a window in place of a quantile
// of a fitted distribution, since pods come in batches.
func (s *State) ahead(now time.Time) target.Ahead {
	floor := max(aheadLeast, s.maxPods()/aheadPart)
	known := s.expected()
	near := s.demand.Peak(s.assignLead.Time(assignGuess), now)
	far := s.demand.Peak(s.attachLead.Time(attachGuess), now)
	a := target.Ahead{Free: max(known, near) + floor, Reach: max(known, far) + floor, Slack: max(floor, 2*aheadLeast)}
	if now.Sub(s.startedAt) < aheadFirst {
		a.Slack = s.maxPods()
	}
	return a
}

// expected is how many pods will ask for an address that have not done so yet.
func (s *State) expected() int {
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

// measure notes how long interfaces took that have begun to serve.
func (s *State) measure(now time.Time) {
	for _, e := range s.order {
		if e.Configured && !e.begunAt.IsZero() {
			s.attachLead.Took(now.Sub(e.begunAt))
			e.begunAt = time.Time{}
		}
	}
}

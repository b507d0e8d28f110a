package vpcsim

import (
	"container/heap"
	"context"
	"time"
)

// event is a transition that is due at an instant. Events at one instant happen in the order of their scheduling.
type event struct {
	At      time.Time
	Seq     uint64
	Kind    string
	Subject string // id of the object
	Ref     string // id of the attachment or association that it is about
}

// Kinds of events.
const (
	evBlock      = "block"      // a VPC's block is associated or gone
	evAttached   = "attached"   // an interface's attachment is complete
	evDetached   = "detached"   // an interface's detachment is complete
	evRunning    = "running"    // an instance runs
	evTerminated = "terminated" // an instance has ended
	evForget     = "forget"     // a terminated instance or deleted NAT gateway is not described any more
	evVanish     = "vanish"     // a deleted interface is not described any more
	evNAT        = "nat"        // a NAT gateway is available or deleted
)

// eventHeap orders events by time and sequence.
type eventHeap struct{ list *[]event }

func (h eventHeap) Len() int { return len(*h.list) }

func (h eventHeap) Less(i, j int) bool {
	a, b := (*h.list)[i], (*h.list)[j]
	if !a.At.Equal(b.At) {
		return a.At.Before(b.At)
	}
	return a.Seq < b.Seq
}

func (h eventHeap) Swap(i, j int) { (*h.list)[i], (*h.list)[j] = (*h.list)[j], (*h.list)[i] }

func (h eventHeap) Push(x any) {
	if e, ok := x.(event); ok {
		*h.list = append(*h.list, e)
	}
}

func (h eventHeap) Pop() any {
	last := len(*h.list) - 1
	e := (*h.list)[last]
	*h.list = (*h.list)[:last]
	return e
}

// schedule makes an event due after a delay.
func (s *Sim) schedule(delay time.Duration, kind, subject, ref string) {
	s.st.EventSeq++
	heap.Push(eventHeap{&s.st.Events}, event{
		At: s.st.Now.Add(delay), Seq: s.st.EventSeq, Kind: kind, Subject: subject, Ref: ref,
	})
	notify(s.wake)
}

// notify puts a value into a channel that holds one, unless it is full.
func notify(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// advance applies what is due by now, each event at its own instant.
func (s *Sim) advance() {
	now := s.clock.Now().Add(s.skew)
	for len(s.st.Events) > 0 && !s.st.Events[0].At.After(now) {
		e, ok := heap.Pop(eventHeap{&s.st.Events}).(event)
		if !ok {
			return
		}
		s.setNow(e.At)
		s.apply(e)
		s.touchTopology()
	}
	s.setNow(now)
}

func (s *Sim) setNow(t time.Time) {
	if t.After(s.st.Now) {
		s.st.Now = t
	}
}

// apply makes a transition. An event whose object is gone, or has moved on, does nothing.
func (s *Sim) apply(e event) {
	switch e.Kind {
	case evBlock:
		s.blockDone(e.Subject, e.Ref)
	case evAttached:
		s.attachDone(e.Subject, e.Ref)
	case evDetached:
		s.detachDone(e.Subject, e.Ref)
	case evRunning:
		if i, ok := s.st.Instances.get(e.Subject); ok && i.State == pending {
			i.State = running
		}
	case evTerminated:
		s.terminateDone(e.Subject)
	case evForget:
		s.st.Instances.remove(e.Subject)
		s.st.NATs.remove(e.Subject)
		s.st.Tags.Forget(e.Subject)
	case evVanish:
		s.st.Ghosts.remove(e.Subject)
		s.st.Tags.Forget(e.Subject)
	case evNAT:
		s.natDone(e.Subject)
	}
}

// touchTopology tells the fabric that something has changed.
func (s *Sim) touchTopology() {
	s.st.Revision++
	notify(s.changed)
}

// Now is the Sim's time: its clock's, but never going back.
func (s *Sim) Now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.advance()
	return s.st.Now
}

// NextEvent tells when the next transition is due, if any is: a discrete-event simulation adds it to its own queue.
func (s *Sim) NextEvent() (time.Time, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.st.Events) == 0 {
		return time.Time{}, false
	}
	return s.st.Events[0].At.Add(-s.skew), true
}

// Advance applies what is due.
func (s *Sim) Advance() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.advance()
}

// Run applies transitions when they are due until ctx ends, so that Changed fires without anybody calling. It uses
// timers of package time: real time, or the virtual time of testing/synctest.
func (s *Sim) Run(ctx context.Context) error {
	for {
		s.Advance()
		timer := time.NewTimer(time.Hour)
		if at, ok := s.NextEvent(); ok {
			timer.Reset(max(at.Sub(s.clock.Now()), 0))
		}
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		case <-s.wake:
			timer.Stop()
		}
	}
}

// Changed receives a value after the topology has changed; several changes may become one.
func (s *Sim) Changed() <-chan struct{} { return s.changed }

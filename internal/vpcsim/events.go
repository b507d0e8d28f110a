package vpcsim

import (
	"context"
	"time"

	"github.com/berth-net/berth/internal/vpcsim/world"
)

// advance applies what is due by now, each event at its own instant.
func (s *Sim) advance() {
	now := s.clock.Now().Add(s.skew)
	for e, ok := s.acts.Due(now); ok; e, ok = s.acts.Due(now) {
		s.acts.SetNow(e.At)
		s.apply(e)
		s.touchTopology()
	}
	s.acts.SetNow(now)
}

// apply makes a transition. An event whose object is gone, or has moved on, does nothing.
func (s *Sim) apply(e world.Event) {
	switch e.Kind {
	case world.EvBlock:
		s.acts.BlockDone(e.Subject, e.Ref)
		s.acts.SyncVPC(e.Subject)
	case world.EvAttached:
		s.acts.AttachDone(e.Subject, e.Ref)
	case world.EvDetached:
		s.acts.DetachDone(e.Subject, e.Ref)
	case world.EvRunning:
		if i, ok := s.acts.State.Instances.Get(e.Subject); ok && i.State == world.Pending {
			i.State = world.Running
		}
	case world.EvTerminated:
		s.acts.TerminateDone(e.Subject)
	case world.EvForget:
		s.acts.State.Instances.Remove(e.Subject)
		s.acts.State.NATs.Remove(e.Subject)
		s.acts.State.Tags.Forget(e.Subject)
	case world.EvVanish:
		s.acts.State.Ghosts.Remove(e.Subject)
		s.acts.State.Tags.Forget(e.Subject)
	case world.EvNAT:
		s.acts.NatDone(e.Subject)
	}
}

// touchTopology tells the fabric that something has changed.
func (s *Sim) touchTopology() {
	s.acts.State.Revision++
	world.Notify(s.changed)
}

// Now is the Sim's time: its clock's, but never going back.
func (s *Sim) Now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.advance()
	return s.acts.State.Now
}

// NextEvent tells when the next transition is due, if any is: a discrete-event simulation adds it to its own queue.
func (s *Sim) NextEvent() (time.Time, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.acts.State.Events) == 0 {
		return time.Time{}, false
	}
	return s.acts.State.Events[0].At.Add(-s.skew), true
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
		case <-s.acts.Wake:
			timer.Stop()
		}
	}
}

// Changed receives a value after the topology has changed, or anything else that a snapshot holds apart from counts;
// several changes may become one.
func (s *Sim) Changed() <-chan struct{} { return s.changed }

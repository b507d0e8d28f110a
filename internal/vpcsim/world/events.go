package world

import (
	"container/heap"
	"time"
)

// Event is a transition that is due at an instant. Events at one instant happen in the order of their scheduling.
type Event struct {
	At      time.Time
	Seq     uint64
	Kind    string
	Subject string // id of the object
	Ref     string // id of the attachment or association that it is about
}

// Kinds of events.
const (
	EvBlock      = "block"      // a VPC's block is associated or gone
	EvAttached   = "attached"   // an interface's attachment is complete
	EvDetached   = "detached"   // an interface's detachment is complete
	EvRunning    = "running"    // an instance runs
	EvTerminated = "terminated" // an instance has ended
	EvForget     = "forget"     // a terminated instance or deleted NAT gateway is not described any more
	EvVanish     = "vanish"     // a deleted interface is not described any more
	EvNAT        = "nat"        // a NAT gateway is available or deleted
)

// eventHeap orders events by time and sequence.
type eventHeap struct{ list *[]Event }

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
	if e, ok := x.(Event); ok {
		*h.list = append(*h.list, e)
	}
}

func (h eventHeap) Pop() any {
	last := len(*h.list) - 1
	e := (*h.list)[last]
	*h.list = (*h.list)[:last]
	return e
}

// Schedule makes an event due after a delay.
func (s *World) Schedule(delay time.Duration, kind, subject, ref string) {
	s.State.EventSeq++
	heap.Push(eventHeap{&s.State.Events}, Event{
		At: s.State.Now.Add(delay), Seq: s.State.EventSeq, Kind: kind, Subject: subject, Ref: ref,
	})
	Notify(s.Wake)
}

// Notify puts a value into a channel that holds one, unless it is full.
func Notify(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// Due takes the first transition that is due at a moment, if any is.
func (s *World) Due(now time.Time) (Event, bool) {
	if len(s.State.Events) == 0 || s.State.Events[0].At.After(now) {
		return Event{}, false
	}
	e, ok := heap.Pop(eventHeap{&s.State.Events}).(Event)
	return e, ok
}

// SetNow moves the time on; it never goes back.
func (s *World) SetNow(t time.Time) {
	if t.After(s.State.Now) {
		s.State.Now = t
	}
}

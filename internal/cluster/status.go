package cluster

import (
	"sync"

	"github.com/berth-net/berth/internal/core/budget"
)

// Status is what the controller does and knows.
type Status struct {
	Leading  bool
	Nodes    int
	Hungry   int
	Division budget.Division // as published last
	Words    int             // that were published by this process
	Failures int             // to publish one
}

// state is the status, read by others than those who write it.
type state struct {
	mu sync.Mutex
	s  Status
}

func newState() *state { return &state{} }

func (s *state) get() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.s
}

// lead notes whether this replica leads; one that does not knows nothing.
func (s *state) lead(leading bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.s = Status{Leading: leading, Words: s.s.Words, Failures: s.s.Failures}
}

func (s *state) count(nodes, hungry int, d budget.Division) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.s.Nodes, s.s.Hungry, s.s.Division = nodes, hungry, d
}

func (s *state) said(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.s.Failures++
	} else {
		s.s.Words++
	}
}

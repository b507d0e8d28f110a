package cluster

import (
	"cmp"
	"errors"
	"sync"
	"time"

	"github.com/berth-net/berth/internal/core/budget"
)

// Status is what the controller does and knows.
type Status struct {
	Leading bool
	// Leader is who has the lease as this replica saw it last, empty before that and while nobody has it.
	Leader string
	// Trouble says why this replica does not do its work, be it to lead or to stand by; nil while it does.
	Trouble  error
	Nodes    int
	Hungry   int
	Division budget.Division // as published last
	Words    int             // that were published by this process
	Failures int             // to publish one
}

// state is the status, read by others than those who write it.
type state struct {
	mu      sync.Mutex
	s       Status
	publish error // why the last word was not published
}

func newState() *state { return &state{s: Status{Trouble: errors.New("the lease was not read yet")}} }

// see notes what a replica that does not lead knows.
func (s *state) see(leader string, trouble error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.s.Leader, s.s.Trouble = leader, trouble
}

func (s *state) get() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.s
}

// lead notes whether this replica leads; one that does not knows nothing.
func (s *state) lead(leading bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.s = Status{Leading: leading, Leader: s.s.Leader, Words: s.s.Words, Failures: s.s.Failures}
	s.publish = nil
}

// count notes what the leader knows, and what hinders it from knowing more.
func (s *state) count(nodes, hungry int, d budget.Division, trouble error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.s.Nodes, s.s.Hungry, s.s.Division, s.s.Trouble = nodes, hungry, d, cmp.Or(s.publish, trouble)
}

// quiet notes that nothing is to be said.
func (s *state) quiet() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.publish = nil
}

func (s *state) said(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.publish = err
	if err != nil {
		s.s.Failures++
	} else {
		s.s.Words++
	}
}

// repeatAfter is how long a line that says the same is left out.
const repeatAfter = time.Minute

// repeats leaves out what was said just before: what is tried every two seconds may fail for days.
type repeats struct {
	text string
	at   time.Time
}

// again tells whether to say it, and notes that it is said.
func (r *repeats) again(err error) bool {
	now := time.Now()
	if err.Error() == r.text && now.Sub(r.at) < repeatAfter {
		return false
	}
	r.text, r.at = err.Error(), now
	return true
}

package enforce

import (
	"time"

	"github.com/berth-net/berth/internal/run"
)

// settling is which interfaces the datapath has attached in haste.
type settling struct {
	ifindexes []int
	timer     *time.Timer
	running   bool
	last      time.Time // when a pod came
}

// add has an interface settled, once no pod has come for a while.
func (s *settling) add(ifindex int) {
	s.ifindexes, s.last = append(s.ifindexes, ifindex), time.Now()
	s.after(settleAfter)
}

func (s *settling) after(d time.Duration) {
	if s.timer == nil {
		s.timer = time.NewTimer(d)
	} else {
		s.timer.Reset(d)
	}
}

// due is when the next should be settled; never while one is.
func (s *settling) due() <-chan time.Time {
	if s.timer == nil || s.running || len(s.ifindexes) == 0 {
		return nil
	}
	return s.timer.C
}

// settleNext settles the first, beside the loop: it takes the kernel tens of milliseconds.
func (e *Enforcer) settleNext() {
	ifindex := e.settle.ifindexes[0]
	e.settle.ifindexes, e.settle.running = e.settle.ifindexes[1:], true
	go func() {
		err := e.ports.Datapath.Settle(ifindex)
		e.tell(func() {
			e.settle.running = false
			e.settle.after(max(settleAfter-time.Since(e.settle.last), settleAfter/100))
			if err != nil { // what is attached judges
				e.log.Warn("settle policy of an interface", "ifindex", ifindex, run.KeyErr, err)
			}
		})
	}()
}

package fleet

import (
	"container/heap"
	"iter"
	"time"
)

// start is when the virtual time of each region begins.
var start = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// Clock is virtual time with what is due in it. It implements vpcsim.Clock.
type Clock struct {
	now   time.Duration
	queue timers
	seq   uint64
}

// Now implements vpcsim.Clock.
func (c *Clock) Now() time.Time { return start.Add(c.now) }

// Elapsed is how much virtual time has passed.
func (c *Clock) Elapsed() time.Duration { return c.now }

// After makes f run once d has passed.
func (c *Clock) After(d time.Duration, f func()) { c.at(c.now+d, f) }

// at makes f run at a moment, or at once when that is over.
func (c *Clock) at(when time.Duration, f func()) {
	c.seq++
	heap.Push(&c.queue, timer{at: max(when, c.now), seq: c.seq, do: f})
}

// next is when something is due, false when nothing is.
func (c *Clock) next() (at time.Duration, ok bool) {
	if ok = len(c.queue) > 0; ok {
		at = c.queue[0].at
	}
	return at, ok
}

// pop takes what is due first.
func (c *Clock) pop() timer { return heap.Pop(&c.queue).(timer) } //nolint:forcetypeassert // the heap holds nothing else

type timer struct {
	at  time.Duration
	seq uint64
	do  func()
}

// timers is a heap: what is due first, and at one moment what was put in first.
type timers []timer

func (t timers) Len() int { return len(t) }

func (t timers) Less(i, j int) bool {
	if t[i].at != t[j].at {
		return t[i].at < t[j].at
	}
	return t[i].seq < t[j].seq
}

func (t timers) Swap(i, j int) { t[i], t[j] = t[j], t[i] }
func (t *timers) Push(x any)   { *t = append(*t, x.(timer)) } //nolint:forcetypeassert // the heap holds nothing else

func (t *timers) Pop() any {
	old := *t
	last := old[len(old)-1]
	old[len(old)-1] = timer{}
	*t = old[:len(old)-1]
	return last
}

// process is a program whose steps take virtual time: a coroutine of the region's goroutine.
type process struct {
	clock *Clock
	yield func(time.Duration) bool
	stop  func()
}

// stopped unwinds a process that was stopped.
type stopped struct{}

// newProcess starts a program once d has passed. Stop ends it at its next step.
func newProcess(c *Clock, d time.Duration, run func(*process)) *process {
	p := &process{clock: c}
	next, stop := iter.Pull(func(yield func(time.Duration) bool) {
		defer func() {
			if r := recover(); r != nil {
				if _, ok := r.(stopped); !ok {
					panic(r)
				}
			}
		}()
		p.yield = yield
		run(p)
	})
	p.stop = stop
	var resume func()
	resume = func() {
		if d, more := next(); more {
			c.After(d, resume)
		}
	}
	c.After(d, resume)
	return p
}

// sleep lets virtual time pass.
func (p *process) sleep(d time.Duration) {
	if !p.yield(d) {
		panic(stopped{})
	}
}

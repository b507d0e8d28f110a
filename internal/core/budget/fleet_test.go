package budget_test

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/berth-net/berth/internal/core/budget"
)

var start = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// latency is EC2's, from the call to its answer; throttled calls are answered no sooner.
const latency = 300 * time.Millisecond

// bucket is the account's, for one action.
type bucket struct {
	tokens, size, refill float64
	at                   time.Time
}

func (b *bucket) take(now time.Time) bool {
	b.tokens, b.at = min(b.size, b.tokens+now.Sub(b.at).Seconds()*b.refill), now
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}

// event is something that happens.
type event struct {
	at  time.Time
	seq int
	do  func(now time.Time)
}

type agenda struct {
	list []event
	seq  int
}

func (a *agenda) Len() int { return len(a.list) }
func (a *agenda) Less(i, j int) bool {
	if !a.list[i].at.Equal(a.list[j].at) {
		return a.list[i].at.Before(a.list[j].at)
	}
	return a.list[i].seq < a.list[j].seq
}
func (a *agenda) Swap(i, j int) { a.list[i], a.list[j] = a.list[j], a.list[i] }
func (a *agenda) Push(x any)    { a.list = append(a.list, x.(event)) }
func (a *agenda) Pop() any {
	last := a.list[len(a.list)-1]
	a.list = a.list[:len(a.list)-1]
	return last
}

// fleet is nodes with independent budgets against one bucket of the account.
type fleet struct {
	action  string
	account bucket
	agenda  agenda
	now     time.Time
	rng     *rand.Rand
	dies    time.Time // when the controller does; never when zero
}

// member is a node. Each of its calls is repeated until it succeeds.
type member struct {
	fleet    *fleet
	budget   *budget.Budget
	wanted   map[*budget.Call]wish
	wake     time.Time
	attempts int
	refused  int
	waits    []time.Duration // of each call, from its wish until the attempt that succeeded left
	done     time.Time       // of the last call
}

// wish is a call that must succeed.
type wish struct {
	lane budget.Lane
	at   time.Time
	then func(now time.Time)
}

func newFleet(action string, size, refill float64, seed uint64) *fleet {
	return &fleet{action: action, account: bucket{tokens: size, size: size, refill: refill, at: start}, now: start, rng: rand.New(rand.NewPCG(seed, 1))}
}

func (f *fleet) join(name string, peers int) *member {
	m := &member{fleet: f, budget: budget.New(name), wanted: make(map[*budget.Call]wish)}
	m.budget.SetPeers(peers)
	return m
}

func (f *fleet) at(t time.Time, do func(now time.Time)) {
	f.agenda.seq++
	heap.Push(&f.agenda, event{at: t, seq: f.agenda.seq, do: do})
}

// run lets everything happen until a time.
func (f *fleet) run(until time.Time) {
	for f.agenda.Len() > 0 {
		e := heap.Pop(&f.agenda).(event)
		if e.at.After(until) {
			return
		}
		f.now = e.at
		e.do(e.at)
	}
}

func (m *member) want(w wish, now time.Time) {
	c := m.budget.Enter(m.fleet.action, w.lane, now)
	m.wanted[c] = w
	m.look(now)
}

// look sends what may leave, and comes again when more may.
func (m *member) look(now time.Time) {
	for _, c := range m.budget.Due(now) {
		m.attempts++
		ok := m.fleet.account.take(now)
		w := m.wanted[c]
		delete(m.wanted, c)
		if ok {
			m.waits = append(m.waits, now.Sub(w.at))
		} else {
			m.refused++
		}
		m.fleet.at(now.Add(latency), func(now time.Time) {
			if !ok {
				m.budget.Done(c, budget.Throttled, now)
				m.want(w, now)
				return
			}
			m.budget.Done(c, budget.Succeeded, now)
			m.done = now
			if w.then != nil {
				w.then(now)
			}
			m.look(now)
		})
	}
	if next, ok := m.budget.Next(now); ok && (!m.wake.After(now) || next.Before(m.wake)) {
		m.wake = next
		m.fleet.at(next, func(now time.Time) { m.look(now) })
	}
}

// burst makes n nodes want calls at once, one after the other on each node.
func (f *fleet) burst(n, calls, peers int, lane budget.Lane) []*member {
	var list []*member
	for i := range n {
		m := f.join(fmt.Sprintf("burst-%d", i), peers)
		list = append(list, m)
		left := calls
		var more func(now time.Time)
		more = func(now time.Time) {
			if left--; left >= 0 {
				m.want(wish{lane: lane, at: now, then: more}, now)
			}
		}
		f.at(start, more)
	}
	return list
}

// trickle makes n nodes want a call in lane Waiting about once a minute each.
func (f *fleet) trickle(n int, during time.Duration) []*member {
	var list []*member
	pause := func() time.Duration { return time.Duration(f.rng.ExpFloat64() * float64(time.Minute)) }
	for i := range n {
		m := f.join(fmt.Sprintf("trickle-%d", i), 0)
		list = append(list, m)
		var again func(now time.Time)
		again = func(now time.Time) {
			if now.Sub(start) < during {
				m.want(wish{lane: budget.Waiting, at: now}, now)
				f.at(now.Add(pause()), again)
			}
		}
		f.at(start.Add(pause()), again)
	}
	return list
}

type outcome struct {
	took              time.Duration
	attempts, refused float64 // per node
	worst             int     // attempts of a node
}

func outcomeOf(list []*member) (o outcome) {
	for _, m := range list {
		o.took = max(o.took, m.done.Sub(start))
		o.attempts += float64(m.attempts) / float64(len(list))
		o.refused += float64(m.refused) / float64(len(list))
		o.worst = max(o.worst, m.attempts)
	}
	return o
}

func quantile(list []time.Duration, q float64) time.Duration {
	if len(list) == 0 {
		return 0
	}
	slices.Sort(list)
	return list[min(int(q*float64(len(list))), len(list)-1)]
}

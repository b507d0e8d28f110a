package aws

import (
	"context"
	"sync"
	"time"

	"github.com/berth-net/berth/internal/core/budget"
)

// patience is how long a call waits here for its turn while EC2 throttles its action. Beyond that the caller is told, which
// may have learnt meanwhile that the call is more urgent, or that something else helps.
const (
	patience    = 10 * time.Second // of calls that pods wait for
	lowPatience = 2 * time.Second  // of others
)

// limits lets calls wait for the node's budget, from any goroutine.
type limits struct {
	mu     sync.Mutex
	budget *budget.Budget
	queue  map[*budget.Call]place
	timer  *time.Timer
}

// place is where a call waits.
type place struct {
	action string
	turn   chan error // one word: nil when the call may leave
}

func newLimits(node string) *limits {
	return &limits{budget: budget.New(node), queue: make(map[*budget.Call]place)}
}

// wait returns when the action may be asked for, with the call that must be done afterwards; or with an error: a
// *budget.HeldError, or the context's when it ends before.
func (l *limits) wait(ctx context.Context, action string) (*budget.Call, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	p := place{action: action, turn: make(chan error, 1)}
	l.mu.Lock()
	call := l.budget.Enter(action, budget.From(ctx), time.Now())
	l.queue[call] = p
	l.pump()
	l.mu.Unlock()
	select {
	case err := <-p.turn:
		return call, err
	case <-ctx.Done():
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.queue, call)
	l.budget.Cancel(call)
	l.pump()
	return nil, ctx.Err()
}

// done ends a call that left.
func (l *limits) done(call *budget.Call, answer budget.Answer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.budget.Done(call, answer, time.Now())
	l.pump()
}

// pump sends what may leave, sends back what should not wait, and sees to it that it is called again. The lock is held.
func (l *limits) pump() {
	now := time.Now()
	for _, call := range l.budget.Due(now) {
		l.queue[call].turn <- nil
		delete(l.queue, call)
	}
	for call, p := range l.queue {
		if err := l.held(p.action, call.Lane(), now); err != nil {
			p.turn <- err
			delete(l.queue, call)
			l.budget.Cancel(call)
		}
	}
	if l.timer != nil {
		l.timer.Stop()
	}
	if next, ok := l.budget.Next(now); ok {
		l.timer = time.AfterFunc(next.Sub(now), func() {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.pump()
		})
	}
}

// held says that an action that is throttled, or bounded by a share, is too far off for a lane.
func (l *limits) held(action string, lane budget.Lane, now time.Time) error {
	shared := l.budget.Bounded(action, lane, now)
	if _, throttled := l.budget.Throttled(action); !throttled && !shared {
		return nil
	}
	most := lowPatience
	if lane == budget.Waiting {
		most = patience
	}
	if at := l.budget.When(action, lane, now); at.Sub(now) > most {
		return &budget.HeldError{Action: action, Until: at, Shared: shared}
	}
	return nil
}

// next is when a call of a lane may leave if nothing waits before it.
func (l *limits) next(action string, lane budget.Lane) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.budget.When(action, lane, time.Now())
}

// throttled tells whether EC2's last answer to the action was that it is throttled.
func (l *limits) throttled(action string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, ok := l.budget.Throttled(action)
	return ok
}

// Budgets is the state of the budget of each action that was ever asked for, by name.
func (c *Client) Budgets() []budget.Status {
	c.limits.mu.Lock()
	defer c.limits.mu.Unlock()
	return c.limits.budget.Status(time.Now())
}

// SetPeers says how many nodes are likely to make the same calls at about the same time: see budget.Budget.SetPeers.
func (c *Client) SetPeers(n int) {
	c.limits.mu.Lock()
	defer c.limits.mu.Unlock()
	c.limits.budget.SetPeers(n)
}

// Divide makes the node follow a division of the account's buckets until a moment: see budget.Budget.Divide.
func (c *Client) Divide(d budget.Division, hungry bool, until time.Time) {
	c.limits.mu.Lock()
	defer c.limits.mu.Unlock()
	c.limits.budget.Divide(d, hungry, until, time.Now())
	c.limits.pump()
}

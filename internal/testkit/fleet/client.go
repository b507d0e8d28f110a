package fleet

import (
	"slices"
	"time"

	"github.com/berth-net/berth/internal/core/budget"
	"github.com/berth-net/berth/internal/core/vpc"
	"github.com/berth-net/berth/internal/vpcsim"
)

// What internal/aws and internal/node wait for at most.
const (
	patience     = 10 * time.Second // of a call that pods wait for, until its turn comes while its action is throttled
	lowPatience  = 2 * time.Second  // of another one
	callTimeout  = 30 * time.Second // of a call with all its attempts
	maxThrottled = 3                // attempts that EC2 may throttle before the planner is told
)

// client makes a node's calls to EC2: it lets them wait for the node's budget as internal/aws does, in virtual time.
type client struct {
	r      *Region
	source string
	budget *budget.Budget
	queue  []*attempt // in the order of their coming
	timer  time.Duration
}

// attempt is one try of a call.
type attempt struct {
	call      *budget.Call
	action    string
	lane      budget.Lane
	throttled int           // tries before this one
	until     time.Duration // when the call is given up
	effect    func() vpc.Code
	done      func(error) // told once: nil when the effect has been had
}

// chain makes calls one after the other; effect is that of the last one.
func (c *client) chain(actions []string, lane budget.Lane, effect func() vpc.Code, done func(error)) {
	if len(actions) == 1 {
		c.do(actions[0], lane, effect, done)
		return
	}
	c.do(actions[0], lane, func() vpc.Code { return "" }, func(err error) {
		if err != nil {
			done(err)
			return
		}
		c.chain(actions[1:], lane, effect, done)
	})
}

// do makes a call: effect when EC2 carries it out, done when its answer is there.
func (c *client) do(action string, lane budget.Lane, effect func() vpc.Code, done func(error)) {
	c.enter(&attempt{action: action, lane: lane, until: c.r.now + callTimeout, effect: effect, done: done})
	c.pump()
}

func (c *client) enter(a *attempt) {
	a.call = c.budget.Enter(a.action, a.lane, c.r.Now())
	c.queue = append(c.queue, a)
}

// pump lets leave what may, sends back what should not wait, and sees to it that it is called again.
func (c *client) pump() {
	now := c.r.Now()
	for _, call := range c.budget.Due(now) {
		i := slices.IndexFunc(c.queue, func(a *attempt) bool { return a.call == call })
		a := c.queue[i]
		c.queue = slices.Delete(c.queue, i, i+1)
		c.leave(a)
	}
	for _, a := range slices.Clone(c.queue) {
		if c.r.now >= a.until || c.held(a, now) {
			c.queue = slices.DeleteFunc(c.queue, func(b *attempt) bool { return a == b })
			c.budget.Cancel(a.call)
			c.r.After(0, func() { a.done(c.throttledError(a)) })
		}
	}
	if next, ok := c.budget.Next(now); ok {
		at := max(next.Sub(start), c.r.now+time.Millisecond)
		if c.timer <= c.r.now || at < c.timer {
			c.timer = at
			c.r.at(at, c.pump)
		}
	}
}

func (c *client) throttledError(a *attempt) error {
	return &vpc.Error{Code: vpc.Throttled, Op: a.action, Until: c.budget.When(a.action, a.lane, c.r.Now())}
}

// held tells whether a throttled action is too far off for its lane.
func (c *client) held(a *attempt, now time.Time) bool {
	if _, throttled := c.budget.Throttled(a.action); !throttled {
		return false
	}
	most := lowPatience
	if a.lane == budget.Waiting {
		most = patience
	}
	return c.budget.When(a.action, a.lane, now).Sub(now) > most
}

// leave makes an attempt.
func (c *client) leave(a *attempt) {
	adm := c.r.Sim.Admit(vpcsim.Caller{Source: c.source}, vpcsim.Request{Action: a.action})
	c.r.After(adm.Before, func() {
		if adm.Err != nil {
			c.refused(a)
			return
		}
		code := a.effect()
		c.r.After(adm.After, func() {
			answer := budget.Unknown
			if code == "" {
				answer = budget.Succeeded
			}
			c.budget.Done(a.call, answer, c.r.Now())
			a.done(nil)
			c.pump()
		})
	})
}

// refused is an attempt that EC2 throttled.
func (c *client) refused(a *attempt) {
	c.budget.Done(a.call, budget.Throttled, c.r.Now())
	a.throttled++
	if a.throttled >= maxThrottled {
		a.done(c.throttledError(a))
	} else {
		c.enter(a)
	}
	c.pump()
}

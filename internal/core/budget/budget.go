// Package budget says when a node's calls to EC2 may leave. EC2 has a bucket of requests for each action, per account and
// region, which thousands of nodes drain without knowing of each other; a call that finds it empty is throttled.
//
//	            Enter                        Due                       Done
//	caller ──────────────► waiting, by lane ──────► in flight ──────────────────► gone
//	                         ▲    │ Cancel              │ Throttled: the lane pauses, and the lanes below it
//	                         │    ▼                     │ Succeeded: the pauses halve, more may be in flight
//	                      Next: when to ask Due again   ▼
//
// It guarantees, for each action by itself:
//   - no more calls leave than the node's own bucket has tokens: its burst, and its rate from then on;
//   - of the calls that wait the one in the highest lane leaves first, in a lane the one that came first;
//   - a throttled answer holds back its own lane and those below, never one above; the top of the bucket is all that the
//     lower lanes may take, so that a waiting pod's call finds a token;
//   - the rate halves with a throttled answer and grows by an eighth of what it was at first with a success;
//   - every call leaves at last when those above it have: pauses are bounded.
//
// Across nodes there is no word but the answers of EC2. Pauses grow with each throttled answer, so attempts per node grow
// with the logarithm of the wait, and are shortest for waiting pods. Who knows how many nodes compete (SetPeers) spares
// even those: the nodes then spread themselves over the time that the account's bucket needs for all of them. A share
// that somebody with a view of all nodes hands out (Share) replaces guessing while it is fresh.
//
// The package reads no clock and needs no randomness: what spreads the nodes comes from their names. A Budget is for one
// goroutine at a time.
package budget

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// Answer is how a call ended.
type Answer int

// Answers.
const (
	// Unknown is any end that tells nothing of the account's bucket: a refusal for another reason, no answer, no attempt.
	Unknown Answer = iota
	Succeeded
	Throttled
)

// Call is one attempt of a call, from Enter until Done or Cancel.
type Call struct {
	action *action
	lane   Lane
	left   time.Time // zero while it waits
	round  int       // throttled answers of the lane that counted before it left
}

// Lane is the lane in which the call waits.
func (c *Call) Lane() Lane { return c.lane }

// Budget is the request budget of one node.
type Budget struct {
	spread    uint64 // of the node's name
	peers     int
	told      int // peers by a division, which count until then
	toldUntil time.Time
	actions   []*action // few; in the order of their first call
}

// New returns the budget of a node. The name spreads the nodes' attempts: give each node another one.
func New(node string) *Budget { return &Budget{spread: hash(node)} }

// SetPeers says how many nodes, this one included, are likely to make the same calls at about the same time: on a node
// that has just started, the nodes that start with it. It is what the node believes now, not the size of the cluster: a
// number that is too high makes a throttled node wait longer than it had to, by as much as the account's bucket needs for
// those that are not there; one that is too low costs attempts. Zero or less is: nothing is known.
func (b *Budget) SetPeers(n int) { b.peers = max(n, 0) }

func (b *Budget) peersAt(now time.Time) int {
	if b.told > 0 && now.Before(b.toldUntil) {
		return b.told
	}
	return b.peers
}

// Share bounds the rate of an action, in calls per second, and its burst until a moment, in all lanes and whether EC2
// throttles or not, and gives all of it at once: no pause from before holds. After a throttled answer it is not guessed at
// either: pauses stay short, since the shares of all nodes together bound their attempts. A share of nothing leaves a call
// in twenty minutes: no mistake elsewhere stops a node. It is believed in for ten minutes at most. Values that are no
// numbers are ignored. A newer share replaces it.
func (b *Budget) Share(action string, rate, burst float64, until, now time.Time) {
	if math.IsNaN(rate) || math.IsInf(rate, 0) || math.IsNaN(burst) || math.IsInf(burst, 0) || rate < 0 || !until.After(now) {
		return
	}
	b.of(action, now).grant(quota{limit: limit{rate: rate, burst: max(burst, 0)}, until: until}, now)
}

// Enter makes a call wait for its turn.
func (b *Budget) Enter(action string, lane Lane, now time.Time) *Call {
	c := &Call{action: b.of(action, now), lane: min(max(lane, Waiting), Cleaning)}
	a := c.action
	at, _ := slices.BinarySearchFunc(a.waiting, c.lane+1, func(w *Call, l Lane) int { return int(w.lane) - int(l) })
	a.waiting = slices.Insert(a.waiting, at, c)
	return c
}

// Due returns the calls that may leave now, and counts them as left: each needs a Done. Ask after every other call of the
// budget, and when Next says.
func (b *Budget) Due(now time.Time) []*Call {
	var out []*Call
	for _, a := range b.actions {
		for len(a.waiting) > 0 && !a.due(now).After(now) {
			out = append(out, a.leave(now))
		}
	}
	return out
}

// Next is when the next of the calls that wait may leave if nothing else happens, and whether one waits at all.
func (b *Budget) Next(now time.Time) (time.Time, bool) {
	var next time.Time
	for _, a := range b.actions {
		if len(a.waiting) == 0 {
			continue
		}
		if at := a.due(now); next.IsZero() || at.Before(next) {
			next = at
		}
	}
	return next, !next.IsZero()
}

// When is the earliest moment at which a call of a lane may leave when it is the first to wait.
func (b *Budget) When(action string, lane Lane, now time.Time) time.Time {
	return b.of(action, now).dueIn(min(max(lane, Waiting), Cleaning), now)
}

// Done ends a call that has left. A second one for the same call is ignored.
func (b *Budget) Done(c *Call, answer Answer, now time.Time) {
	if c == nil || c.left.IsZero() || !c.action.land(c) {
		return
	}
	switch answer {
	case Succeeded:
		c.action.succeeded(c.lane, now)
	case Throttled:
		c.action.throttled(c, b.peersAt(now), now)
	default:
	}
}

// Cancel ends a call that nobody wants any more, whether it waits or has left.
func (b *Budget) Cancel(c *Call) {
	if c == nil {
		return
	}
	c.action.waiting = slices.DeleteFunc(c.action.waiting, func(w *Call) bool { return w == c })
	c.action.land(c)
}

// Throttled tells since when EC2 throttles an action on this node: the first throttled answer after the last success.
func (b *Budget) Throttled(action string) (since time.Time, ok bool) {
	for _, a := range b.actions {
		if a.name == action {
			return a.since, !a.since.IsZero()
		}
	}
	return time.Time{}, false
}

// Status is what an operator may want to know of one action.
type Status struct {
	Action  string
	Rate    float64        // calls per second that may leave now
	Full    float64        // and that may when nothing is throttled
	Since   time.Time      // of the first throttled answer after the last success; zero when there is none
	Shared  bool           // the rate is bounded by a share that was handed out
	Waiting [laneCount]int // calls that wait, by lane
	Next    time.Time      // when the first of them may leave; zero when none waits
}

// Status returns the state of each action that was ever asked for, by name.
func (b *Budget) Status(now time.Time) []Status {
	list := make([]Status, 0, len(b.actions))
	for _, a := range b.actions {
		s := Status{Action: a.name, Rate: a.rate, Full: a.seed.rate, Since: a.since, Shared: now.Before(a.quota.until)}
		if s.Shared {
			s.Rate = min(s.Rate, a.quota.rate)
		}
		for _, c := range a.waiting {
			s.Waiting[c.lane]++
		}
		if len(a.waiting) > 0 {
			s.Next = a.due(now)
		}
		list = append(list, s)
	}
	slices.SortFunc(list, func(x, y Status) int { return cmp.Compare(x.Action, y.Action) })
	return list
}

func (b *Budget) of(name string, now time.Time) *action {
	for _, a := range b.actions {
		if a.name == name {
			return a
		}
	}
	seed := seedOf(name)
	a := &action{name: name, seed: seed, rate: seed.rate, tokens: seed.burst, last: now, spread: mix(b.spread ^ hash(name))}
	b.actions = append(b.actions, a)
	return a
}

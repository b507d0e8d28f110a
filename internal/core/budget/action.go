package budget

import (
	"hash/fnv"
	"math"
	"slices"
	"time"
)

const (
	// answerTime is how long a call in flight holds back others of a throttled action; HTTP_TIMEOUT ends it before.
	answerTime = 15 * time.Second
	// leastShare is a call in twenty minutes.
	leastShare = 1.0 / 1200
	// leastRate is what remains of a rate after many throttled answers, in calls per second.
	leastRate = 0.2
	// sharedPause bounds pauses under a fresh share.
	sharedPause = 5 * time.Second
	// calm is how long after the last throttled answer a success ends the contention.
	calm = time.Minute
	// farPause bounds any pause: a clock that went back must not stop a node.
	farPause = time.Hour
	// farShare bounds how long a share is believed in: who hands it out may be gone.
	farShare = 10 * time.Minute
)

// action is the budget of one action.
type action struct {
	name   string
	spread uint64
	seed   limit

	rate, tokens float64 // calls per second now; calls that may leave, at last
	last         time.Time
	quota        quota // what a share leaves
	contended    bool  // EC2 has throttled it since the share was given, or just before

	waiting []*Call // by lane, in a lane by their entry
	flying  []*Call
	window  int // calls that may be in flight at once, 0 when any number may

	since   time.Time // first throttled answer after the last success
	refused time.Time // last throttled answer
	served  bool      // there was a success
	lanes   [laneCount]hold
}

// hold is what keeps a lane back.
type hold struct {
	pause     time.Duration // the last one, before it was spread; zero when none is remembered
	notBefore time.Time
	failures  int   // throttled answers since the pause was short
	round     int   // throttled answers that counted
	turn      *turn // nil while nothing is known of peers
}

// refill brings tokens up to now. A clock that goes back adds none.
func (a *action) refill(now time.Time) {
	if since := now.Sub(a.last); since > 0 {
		a.tokens = min(a.seed.burst, a.tokens+since.Seconds()*a.rate)
	}
	a.last = now
}

// due is when the first call that waits may leave.
func (a *action) due(now time.Time) time.Time { return a.dueIn(a.waiting[0].lane, now) }

func (a *action) dueIn(l Lane, now time.Time) time.Time {
	a.refill(now)
	at := a.lanes[l].notBefore
	if at.Sub(now) > farPause { // the clock went back
		at = now
		a.lanes[l].notBefore = now
	}
	if free := a.slot(l, now); free.After(at) {
		at = free
	}
	if missing := a.need(l) - a.tokens; missing > 0 {
		at = later(at, now.Add(seconds(missing/a.rate)))
	}
	if a.bounds(l, now) {
		at = later(at, a.quota.at(now))
	}
	return later(at, now)
}

// need is how many tokens must be there for a lane's call: the lower lanes leave some to the higher ones.
func (a *action) need(l Lane) float64 {
	return 1 + (a.seed.burst-1)*float64(l)/(laneCount+1)
}

// slot is when a call may be in flight beside the others. Those of lower lanes do not count.
func (a *action) slot(l Lane, now time.Time) time.Time {
	if a.window == 0 {
		return now
	}
	var ends []time.Time
	for _, c := range a.flying {
		if c.lane <= l && !c.left.After(now) {
			ends = append(ends, c.left.Add(answerTime))
		}
	}
	if len(ends) < a.window {
		return now
	}
	slices.SortFunc(ends, time.Time.Compare)
	return ends[len(ends)-a.window]
}

func (a *action) leave(now time.Time) *Call {
	c := a.waiting[0]
	a.waiting = slices.Delete(a.waiting, 0, 1)
	a.tokens--
	if a.bounds(c.lane, now) {
		a.quota.tokens--
	}
	c.left, c.round = now, a.lanes[c.lane].round
	a.flying = append(a.flying, c)
	return c
}

// land tells whether the call was in flight, and takes it from there.
func (a *action) land(c *Call) bool {
	n := len(a.flying)
	a.flying = slices.DeleteFunc(a.flying, func(f *Call) bool { return f == c })
	return len(a.flying) < n
}

// succeeded: there are tokens. The lane and those above may go on at once; the lanes below keep their pauses, which are
// bounded, so that tokens go to the urgent first. What was learnt is forgotten by halves: the next call of a node that
// makes several must not begin to guess anew.
func (a *action) succeeded(l Lane, now time.Time) {
	a.since, a.served = time.Time{}, true
	if now.Sub(a.refused) > calm {
		a.contended = false
	}
	a.rate = min(a.seed.rate, a.rate+a.seed.rate/8)
	if a.window > 0 {
		if a.window++; float64(a.window) > a.seed.burst {
			a.window = 0
		}
	}
	for k := range a.lanes {
		h := &a.lanes[k]
		if h.pause /= 2; h.pause < ladders[k].first {
			h.pause, h.failures = 0, 0
		}
		if Lane(k) <= l {
			h.notBefore = now
		}
	}
	if h := &a.lanes[l]; h.turn != nil && len(a.waiting)+len(a.flying) == 0 {
		h.notBefore = h.turn.again(a.part(), now)
	}
}

// throttled: the account has no token. Calls that left before an earlier throttled answer of the lane say nothing new.
func (a *action) throttled(c *Call, peers int, now time.Time) {
	if c.round != a.lanes[c.lane].round {
		return
	}
	a.refill(now)
	a.window = 1
	if a.since.IsZero() {
		a.since = now
	}
	a.refused = now
	if !a.contended && now.Before(a.quota.until) && a.quota.gated {
		a.contended = true
		a.quota.refill(now)
		a.quota.tokens = a.place()
	}
	if !a.bounds(c.lane, now) {
		a.rate = max(min(leastRate, a.seed.rate), a.rate/2)
	}
	floor := a.lanes[c.lane].fail(c.lane, a, peers, now)
	for k := c.lane + 1; k < laneCount; k++ {
		h := &a.lanes[k]
		yield := min(time.Duration(float64(now.Sub(a.since))*ladders[k].yield), farPause/4)
		h.pause = max(h.pause, floor, ladders[k].first, yield)
		wait := a.jitter(h.pause)
		h.notBefore = later(h.notBefore, now.Add(wait))
		if t := a.lanes[c.lane].turn; t != nil { // the peers' calls come first
			h.notBefore = later(h.notBefore, t.end.Add(min(wait, ladders[k].first)))
		}
	}
}

// fail puts a lane's next attempt off and returns the pause.
func (h *hold) fail(l Lane, a *action, peers int, now time.Time) time.Duration {
	ladder := ladders[l]
	h.round++
	if now.Sub(h.notBefore) > 10*h.pause+time.Minute { // long ago
		h.pause, h.failures, h.turn = 0, 0, nil
	}
	if h.failures++; h.pause == 0 {
		h.pause = ladder.first
	} else {
		most := max(ladder.most, now.Sub(a.since)/12)
		h.pause = min(time.Duration(float64(h.pause)*ladder.growth), most, farPause/4)
	}
	wait := a.jitter(h.pause)
	switch {
	case a.bounds(l, now):
		wait = min(wait, a.jitter(sharedPause))
	case h.failures > ladder.probes && peers > 1:
		if need := a.needOf(peers, l); need > 0 {
			if h.turn == nil {
				h.turn = &turn{part: ladder.part}
				if !a.served { // fresh, like its peers
					h.turn.part = 1
				}
			}
			wait = max(wait, h.turn.next(need, ladder.window, a.part(), now))
		}
	}
	h.notBefore = now.Add(wait)
	return h.pause
}

// needOf is how long the account's bucket needs for all peers, beyond what it holds.
func (a *action) needOf(peers int, l Lane) time.Duration {
	account := accountOf(a.name)
	calls := float64(peers) * float64(len(a.waiting)+len(a.flying)+1)
	return min(seconds((calls-account.burst)/account.rate*ladders[l].stretch), ladders[l].trust)
}

// jitter spreads a pause by a quarter more or less.
func (a *action) jitter(d time.Duration) time.Duration {
	return time.Duration(float64(d) * (0.75 + a.part()/2))
}

// part is a number in [0,1), another one for each node, action and round.
func (a *action) part() float64 {
	a.spread = mix(a.spread)
	return float64(a.spread>>11) / (1 << 53)
}

func hash(s string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(s))
	return h.Sum64()
}

// mix is the step and finish of SplitMix64: names that differ in one letter end far apart.
// Source: Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators", 2014.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// seconds is a duration that does not overflow.
func seconds(s float64) time.Duration {
	return time.Duration(min(s, math.MaxInt32) * float64(time.Second))
}

package budget

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"
)

// Limit is a token bucket's: calls per second, and calls at once.
type Limit struct {
	Rate  float64 `json:"rate"`
	Burst float64 `json:"burst"`
}

// Portion is what one node may make of an action's bucket while the bucket is divided.
type Portion struct {
	Action string `json:"action"`
	Hungry Limit  `json:"hungry"` // for a node whose pods have no address, once EC2 throttles the action there
	Other  Limit  `json:"other"`  // for any other node, in lanes below Waiting
}

// Division is how the nodes of a cluster divide the account's buckets. One without portions divides nothing.
type Division struct {
	Hungry   int       `json:"hungry"` // nodes whose pods have no address
	Nodes    int       `json:"nodes"`  // all of them
	Portions []Portion `json:"portions,omitempty"`
}

const (
	// reserve is what is left to nodes that are not hungry: their pools must fill at last, too.
	reserve = 1.0 / 50
	// otherMost is what another node gets of a hungry one's rate at most.
	otherMost = 1.0 / 10
	// overbook is by how much places are nearer than they should be. What the controller knows is some seconds old, some
	// nodes that it counts are served meanwhile, and what the bucket does not give out while it is full is lost.
	overbook = 1.2
	// material is by which factor the number of hungry nodes must differ before nodes are told.
	material = 1.25
	// mostNodes is more than any cluster has; mostPortions more than there are actions.
	mostNodes    = 1_000_000
	mostPortions = 64
)

// divided are the actions by which a node comes to addresses. Those that give addresses back are never held up: others
// may wait for just these addresses.
func divided() []string {
	return []string{"AssignPrivateIpAddresses", "AttachNetworkInterface", "CreateNetworkInterface", "ModifyNetworkInterfaceAttribute"}
}

// Divide divides part of the account's buckets, in (0,1], by the nodes of a cluster: all nodes together get no more than
// that, hungry ones by far most of it.
func Divide(hungry, nodes int, part float64) Division {
	hungry = max(hungry, 0)
	nodes = max(nodes, hungry)
	d := Division{Hungry: hungry, Nodes: nodes}
	if hungry == 0 || !(part > 0) {
		return d
	}
	part = min(part, 1)
	for _, action := range divided() {
		account := accountOf(action)
		each := func(of, by float64) (hungryOne, other float64) {
			if others := float64(nodes) - by; others > 0 {
				hungryOne = of * part * (1 - reserve) / by
				return hungryOne, min(of*part*reserve/others, hungryOne*otherMost)
			}
			return of * part / by, 0
		}
		p := Portion{Action: action}
		p.Hungry.Rate, p.Other.Rate = each(account.rate, float64(hungry))
		p.Hungry.Burst, p.Other.Burst = each(account.burst, float64(hungry))
		d.Portions = append(d.Portions, p)
	}
	return d
}

// Next is the division after this one, and whether it differs so much that nodes should be told. If not it is this one:
// rates that grew bit by bit as nodes are served would bring the places of those that wait nearer, and so promise more
// than there is. There is none while the smallest bucket serves all hungry nodes at once: to be held up then would be for
// nothing. From there to twice as many nodes it stays as it is, so that nodes are not told to and fro.
func (d Division) Next(hungry, nodes int, part float64) (next Division, tell bool) {
	few := math.Inf(1)
	for _, action := range divided() {
		few = min(few, accountOf(action).burst*part)
	}
	if n := float64(hungry); n <= few || n <= 2*few && len(d.Portions) == 0 {
		return Division{Hungry: hungry, Nodes: nodes}, len(d.Portions) > 0
	}
	next = Divide(hungry, nodes, part)
	if len(d.Portions) == 0 {
		return next, true
	}
	if factor := float64(next.Hungry) / float64(d.Hungry); factor < material && factor > 1/material {
		return d, false
	}
	return next, true
}

// Check says why a division cannot be used.
func (d Division) Check() error {
	switch {
	case d.Hungry < 0 || d.Hungry > mostNodes || d.Nodes < d.Hungry || d.Nodes > mostNodes:
		return fmt.Errorf("%d hungry nodes of %d", d.Hungry, d.Nodes)
	case len(d.Portions) > mostPortions:
		return fmt.Errorf("%d portions, at most %d", len(d.Portions), mostPortions)
	case d.Hungry == 0 && len(d.Portions) > 0:
		return errors.New("portions without hungry nodes")
	}
	seen := make(map[string]bool, len(d.Portions))
	for _, p := range d.Portions {
		for _, v := range []float64{p.Hungry.Rate, p.Hungry.Burst, p.Other.Rate, p.Other.Burst} {
			if math.IsNaN(v) || math.IsInf(v, 0) || v < 0 {
				return fmt.Errorf("portion of %q: %v is no rate and no burst", p.Action, v)
			}
		}
		if p.Action == "" || seen[p.Action] {
			return fmt.Errorf("portion of %q: the action is missing or there twice", p.Action)
		}
		seen[p.Action] = true
	}
	return nil
}

// quota bounds the calls of some lanes by a share, beside the node's own bucket.
type quota struct {
	limit
	from   Lane // and all lanes below
	gated  bool // it counts from a throttled answer on
	until  time.Time
	tokens float64
	last   time.Time
}

// bounds tells whether a lane's calls need the quota's tokens.
func (a *action) bounds(l Lane, now time.Time) bool {
	return now.Before(a.quota.until) && l >= a.quota.from && (!a.quota.gated || a.contended)
}

func (q *quota) refill(now time.Time) {
	if since := now.Sub(q.last); since > 0 {
		q.tokens = min(max(q.burst, 1), q.tokens+since.Seconds()*q.rate)
	}
	q.last = now
}

// place is how many tokens a throttled node begins with: by chance none, or almost one.
func (a *action) place() float64 { return 1 - a.part()/overbook }

// at is when there is a token; the share's end at the latest.
func (q *quota) at(now time.Time) time.Time {
	q.refill(now)
	if q.tokens >= 1 {
		return now
	}
	if at := now.Add(seconds((1 - q.tokens) / q.rate)); at.Before(q.until) {
		return at
	}
	return q.until
}

// grant sets a share. A node on which EC2 throttles the action gets a place of its own in the time in which its share
// makes one call: all nodes of a fleet then leave evenly. So it does when the share has changed much. Any other node may
// make the calls of its burst, or one, at once.
func (a *action) grant(q quota, now time.Time) {
	q.rate = max(q.rate, leastShare)
	old := a.quota
	q.tokens, q.last = old.tokens, now
	fresh := !now.Before(old.until) || old.from != q.from || old.gated != q.gated
	if fresh || q.rate >= old.rate*material || q.rate <= old.rate/material {
		a.contended = !a.since.IsZero()
		q.tokens = max(q.burst, 1)
		if a.contended && (q.gated || q.burst < 1) { // the account's bucket is empty
			q.tokens = a.place()
		}
	} else {
		old.refill(now)
		q.tokens = min(old.tokens, max(q.burst, 1))
	}
	if most := now.Add(farShare); q.until.After(most) {
		q.until = most
	}
	a.quota = q
	if fresh { // pauses from before were guesses
		for l := q.from; l < laneCount; l++ {
			if a.bounds(l, now) {
				a.lanes[l] = hold{}
			}
		}
	}
}

// Divide makes the node follow a division until a moment, in place of any from before. A hungry node's calls leave as if
// there were none until EC2 throttles one: a bucket that nobody else drains is there to be used. From then on the node's
// share bounds all lanes of that action; of other actions it knows how many peers it has. On any other node the lanes below Waiting are bounded from the beginning, and
// Waiting never is: a pod may have come that the division does not know of. Whatever it says, each
// node has a call in twenty minutes: no mistake elsewhere stops a node. Nodes leave it one after the other, within the
// last quarter of its time. A division that cannot be used, or is over, is none.
func (b *Budget) Divide(d Division, hungry bool, until, now time.Time) {
	if d.Check() != nil || !until.After(now) {
		d = Division{}
	}
	most := min(until.Sub(now), farShare)
	b.told, b.toldUntil = 0, now.Add(most*3/4) // not longer than any share
	if hungry {
		b.told = d.Hungry
	}
	given := make(map[*action]bool, len(d.Portions))
	for _, p := range d.Portions {
		if !slices.Contains(divided(), p.Action) {
			continue
		}
		a := b.of(p.Action, now)
		given[a] = true
		q := quota{limit: p.Hungry.unexported(), gated: true}
		if !hungry {
			q = quota{limit: p.Other.unexported(), from: Starting}
		}
		q.until = now.Add(most - time.Duration(a.part()*float64(most/4)))
		a.grant(q, now)
	}
	for _, a := range b.actions {
		if !given[a] {
			a.quota = quota{}
		}
	}
}

// Bounded tells whether a share bounds a lane's calls of an action now.
func (b *Budget) Bounded(action string, lane Lane, now time.Time) bool {
	return b.of(action, now).bounds(min(max(lane, Waiting), Cleaning), now)
}

func (l Limit) unexported() limit { return limit{rate: l.Rate, burst: l.Burst} }

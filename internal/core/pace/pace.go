// Package pace knows when something that failed is tried again: soon at first, then more and more seldom, and not at the
// same moment on all nodes. It reads no clock and needs no randomness: what spreads the nodes comes from their names.
package pace

import (
	"hash/fnv"
	"maps"
	"slices"
	"time"

	"github.com/berth-net/berth/internal/core/vpc"
)

const (
	first = 250 * time.Millisecond // after the first failure; doubles with each, up to 32 s
	most  = 7                      // doublings
	// denied is how long what IAM refuses waits: a person has to act.
	denied = time.Minute
)

// lasting are the failures that are no matter of time.
var lasting = []vpc.Code{vpc.LimitReached, vpc.TooManyGroups, vpc.Invalid, vpc.NotFound, vpc.NotAuthorized}

// Tries are the tries of one node, by a key for each thing that is tried.
type Tries struct {
	node string
	keys map[string]try
}

type try struct {
	failures int
	next     time.Time
	refused  bool // the failure was no matter of time
	yields   bool // the pause is for less urgent tries only
}

// New returns the tries of a node.
func New(node string) *Tries { return &Tries{node: node, keys: make(map[string]try)} }

// Fail notes a failure and puts the next try off, by a quarter more or less from node to node.
func (t *Tries) Fail(key string, code vpc.Code, now time.Time) {
	k := t.keys[key]
	wait := first << min(k.failures, most)
	if code == vpc.NotAuthorized {
		wait = denied
	}
	k.failures++
	k.yields = false
	k.refused = slices.Contains(lasting, code)
	k.next = now.Add(wait*3/4 + part(t.node+key, wait/2))
	t.keys[key] = k
}

// Throttled shortens the pause of a failure that was a throttle: the node's request budget already spaces what is throttled,
// so that nothing waits for longer than until, if that is known. Unless the try was urgent, an urgent one need not wait at all.
func (t *Tries) Throttled(key string, urgent bool, until time.Time) {
	k := t.keys[key]
	k.yields = !urgent
	if !until.IsZero() && until.Before(k.next) {
		k.next = until
	}
	t.keys[key] = k
}

// MayUrgent tells whether a key may be tried now for something urgent.
func (t *Tries) MayUrgent(key string, now time.Time) bool {
	return t.May(key, now) || t.keys[key].yields
}

// Done ends the failures of a key.
func (t *Tries) Done(key string) { delete(t.keys, key) }

// Postpone puts the next try off without a failure.
func (t *Tries) Postpone(key string, until time.Time) { t.keys[key] = try{next: until} }

// May tells whether a key may be tried now.
func (t *Tries) May(key string, now time.Time) bool { return !t.keys[key].next.After(now) }

// Failed tells whether the last try failed.
func (t *Tries) Failed(key string) bool { return t.keys[key].failures > 0 }

// Refused tells whether the last try failed for a reason that time does not change. It is tried again nevertheless, but
// nothing should rely on it.
func (t *Tries) Refused(key string) bool { return t.keys[key].refused }

// Each calls f with each key that waits, and until when.
func (t *Tries) Each(f func(key string, next time.Time)) {
	for key, k := range t.keys {
		f(key, k.next)
	}
}

// Forget drops the keys that nobody has tried since long before a time.
func (t *Tries) Forget(before time.Time) {
	maps.DeleteFunc(t.keys, func(_ string, k try) bool { return k.next.Before(before) })
}

// Spread is a part of d, another one on each node, so that nodes which start together do not ask EC2 together.
func (t *Tries) Spread(d time.Duration) time.Duration { return part(t.node, d) }

func part(of string, d time.Duration) time.Duration {
	h := fnv.New32a()
	_, _ = h.Write([]byte(of))
	return time.Duration(h.Sum32()%1024) * d / 1024
}

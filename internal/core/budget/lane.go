package budget

import (
	"context"
	"time"
)

// Lane is how urgent a call is. Lower numbers go first.
type Lane int

// Lanes.
const (
	Waiting  Lane = iota // pods wait for it
	Starting             // the node is not ready, or has no address left, without it
	Warm                 // prepares what no pod waits for yet
	Cleaning             // gives back, tags, looks for what was left behind

	laneCount = 4
)

// Lanes lists all lanes, the most urgent first.
func Lanes() []Lane { return []Lane{Waiting, Starting, Warm, Cleaning} }

// String is the lane's name in metrics and texts.
func (l Lane) String() string {
	switch l {
	case Waiting:
		return "waiting"
	case Starting:
		return "starting"
	case Warm:
		return "warm"
	case Cleaning:
		return "cleaning"
	default:
		return "unknown"
	}
}

// ladder is how a lane backs off while EC2 throttles an action.
type ladder struct {
	first  time.Duration // the first pause
	growth float64       // of each further one
	most   time.Duration // the longest; after long waits a twelfth of what was waited
	yield  float64       // of the time that a higher lane has been throttled, that this one leaves to it

	// What follows is for nodes that know of peers: see turn.
	probes  int           // throttled answers before a node believes that it is one of many
	stretch float64       // of the time that the account's bucket needs: above 1 some tokens are left to others
	trust   time.Duration // the longest such time that is believed in
	part    float64       // of that time, in which a node tries once, unless it is fresh
	window  time.Duration // in which it tries once, at most
}

// ladders, by lane. A growth of 1.5 keeps the end of a burst close: nodes whose pauses are half of what they have waited
// are all served within a fifteenth after the last token that they need, while doubling costs a fifth.
var ladders = [laneCount]ladder{
	Waiting: {
		first: 100 * time.Millisecond, growth: 1.5, most: 20 * time.Second,
		probes: 5, stretch: 1.06, trust: 20 * time.Minute, part: 1. / 3, window: 5 * time.Minute,
	},
	Starting: {
		first: 4 * time.Second, growth: 1.5, most: 45 * time.Second, yield: 0.25,
		stretch: 1.06, trust: 20 * time.Minute, part: 1, window: 20 * time.Minute,
	},
	Warm: {
		first: 20 * time.Second, growth: 1.5, most: 5 * time.Minute, yield: 4,
		stretch: 1.25, trust: 30 * time.Minute, part: 1, window: 30 * time.Minute,
	},
	Cleaning: {
		first: 40 * time.Second, growth: 1.5, most: 10 * time.Minute, yield: 4,
		stretch: 1.5, trust: 30 * time.Minute, part: 1, window: 30 * time.Minute,
	},
}

type laneKey struct{}

// Into returns a context whose calls to EC2 are in a lane.
func Into(ctx context.Context, l Lane) context.Context { return context.WithValue(ctx, laneKey{}, l) }

// From is the lane of a context; Waiting when nobody said, since then a pod may wait.
func From(ctx context.Context) Lane {
	l, _ := ctx.Value(laneKey{}).(Lane)
	return l
}

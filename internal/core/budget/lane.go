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
	Starting             // the node is not ready without it
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
	first  time.Duration // after the first throttled answer
	growth float64       // with each further one
	most   time.Duration
	// window stretches the time over which nodes that know of each other spread: above 1 they leave tokens to others.
	window float64
	part   float64 // of the time that all need, in which a node tries first
	probes int     // throttled answers before a node believes that it is one of many
	trust  time.Duration
}

// ladders, by lane. A growth of 1.5 keeps the end of a burst close: nodes whose pauses are half of what they have waited
// are all served within a fifteenth after the last token that they need, while doubling costs a fifth. See docs/adr.
var ladders = [laneCount]ladder{
	Waiting:  {first: 100 * time.Millisecond, growth: 1.5, most: 20 * time.Second, window: 1.01, part: 1. / 3, probes: 5, trust: 20 * time.Minute},
	Starting: {first: 4 * time.Second, growth: 1.5, most: 45 * time.Second, window: 1.06, part: 1, trust: 20 * time.Minute},
	Warm:     {first: 20 * time.Second, growth: 1.5, most: 5 * time.Minute, window: 1.25, part: 1, trust: 30 * time.Minute},
	Cleaning: {first: 40 * time.Second, growth: 1.5, most: 10 * time.Minute, window: 1.5, part: 1, trust: 30 * time.Minute},
}

type laneKey struct{}

// Into returns a context whose calls to EC2 are in a lane.
func Into(ctx context.Context, l Lane) context.Context { return context.WithValue(ctx, laneKey{}, l) }

// From is the lane of a context; Waiting when nobody said, since then a pod may wait.
func From(ctx context.Context) Lane {
	l, _ := ctx.Value(laneKey{}).(Lane)
	return l
}

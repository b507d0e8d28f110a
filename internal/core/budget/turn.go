package budget

import "time"

// turn is a node's place among peers that wait for the same bucket. The time that the bucket needs for all of them is
// divided into windows, and the node tries once in each, at a moment of its own:
//
//	throttled                           end
//	├── a part ──┼── a part ──┼── rest ──┼ 1/32 ┼ 1/16 ┼ 1/16 ...
//
// With one window as long as the whole, hardly a try is in vain, and others who use the bucket hardly feel the peers. That
// is for nodes that are fresh: they made no such call before, so they are likely to be of a fleet that starts. Shorter
// windows cost tries, but a node that was told of too many peers does not wait for those that are not there. What comes
// after the end is for the nodes that were left over, and for those that were told of too few.
type turn struct {
	until, end  time.Time // of the window, of the whole
	length, all time.Duration
	part        float64 // of the whole that a window is
}

// next is how long after a throttled answer the node tries again. Need is what all peers need, most what a
// window may be, and at in [0,1) the node's own moment.
func (w *turn) next(need, most time.Duration, at float64, now time.Time) time.Duration {
	from := later(w.until, now)
	switch {
	case w.all == 0 || now.Sub(w.until) > 2*w.all:
		from = now
		w.all, w.end = need, now.Add(need)
		w.part = min(w.part, float64(most)/float64(need))
		w.length = time.Duration(w.part * float64(need))
	case from.Before(w.end.Add(-w.all / 64)):
		w.length = min(w.length, w.end.Sub(from))
	case !w.until.After(w.end):
		w.length = need / 32
	default:
		w.length = min(2*w.length, max(w.all/16, now.Sub(w.end.Add(-w.all))/16))
	}
	w.until = from.Add(w.length)
	return from.Sub(now) + time.Duration(at*float64(w.length))
}

// again is when the next call of a node that was served has its turn: in the next window, with those of its peers. Where
// the windows are parts, it is shorter by that part: some of the peers were not served yet.
func (w *turn) again(at float64, now time.Time) time.Time {
	if w.all == 0 || now.Sub(w.until) > w.all {
		return now
	}
	from := later(w.until, now)
	w.end = from.Add(w.all)
	w.length = time.Duration(w.part * w.part * float64(w.all))
	w.until = from.Add(w.length)
	return from.Add(time.Duration(at * float64(w.length)))
}

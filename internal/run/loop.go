package run

import (
	"context"
	"time"
)

// Loop calls Step again and again: a wake means "look", not what happened, so that wakes coalesce and none can be lost.
//
//	Wake ──► at once, but never sooner than Least after the last step began
//	error ─► after Retry, doubled with each error in a row, Greatest at most
//	else ──► after Greatest
type Loop struct {
	// Step looks at the world and does what is needed.
	Step func(ctx context.Context) error
	// Failed, unless it is nil, is told of every error.
	Failed func(err error, again time.Duration)

	Least    time.Duration
	Retry    time.Duration
	Greatest time.Duration

	wake chan struct{}
}

// NewLoop returns a loop around step. Zero durations stand for no least interval, a retry after a second, and no step
// without a wake.
func NewLoop(least, retry, greatest time.Duration, step func(ctx context.Context) error) *Loop {
	if retry <= 0 {
		retry = time.Second
	}
	return &Loop{Step: step, Least: least, Retry: retry, Greatest: greatest, wake: make(chan struct{}, 1)}
}

// Wake asks for a step. It never blocks; wakes that come before the step begins are one.
func (l *Loop) Wake() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// Run steps at once and then as the type's comment says, until ctx ends. It returns nil.
func (l *Loop) Run(ctx context.Context) error {
	errors := 0
	for ctx.Err() == nil {
		select {
		case <-l.wake: // the step that begins answers it
		default:
		}
		began := time.Now()
		err := l.Step(ctx)
		wait := l.Greatest
		if err != nil && ctx.Err() == nil {
			wait = l.backoff(errors)
			errors++
			if l.Failed != nil {
				l.Failed(err, wait)
			}
		} else {
			errors = 0
		}
		l.rest(ctx, began, wait)
	}
	return nil
}

func (l *Loop) backoff(errors int) time.Duration {
	wait := l.Retry
	for range errors {
		wait *= 2
		if l.Greatest > 0 && wait >= l.Greatest {
			return l.Greatest
		}
	}
	return wait
}

// rest waits for a wake or until wait has passed, and then for the rest of the least interval.
func (l *Loop) rest(ctx context.Context, began time.Time, wait time.Duration) {
	var after <-chan time.Time
	if wait > 0 {
		t := time.NewTimer(wait)
		defer t.Stop()
		after = t.C
	}
	select {
	case <-ctx.Done():
		return
	case <-l.wake:
	case <-after:
	}
	least := l.Least - time.Since(began)
	if least <= 0 {
		return
	}
	t := time.NewTimer(least)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

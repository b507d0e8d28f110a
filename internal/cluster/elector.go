package cluster

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/berth-net/berth/internal/run"
)

// Times of an election. A leader that cannot renew its lease stops leading before another one may begin.
const (
	leaseTime   = 15 * time.Second
	renewBefore = 10 * time.Second
	renewEvery  = 2 * time.Second
	askTime     = 5 * time.Second
)

// Record is what a lease says.
type Record struct {
	Holder      string // nobody when empty
	Duration    time.Duration
	Acquired    time.Time
	Renewed     time.Time // by the holder's clock
	Transitions int
	// Version is the object's when it was read: a write on top of another one fails.
	Version string
}

// Leases is the object that replicas compete for.
type Leases interface {
	ReadLease(ctx context.Context) (Record, error)
	// WriteLease returns the record as it was stored. It fails when the object is not the one that was read.
	WriteLease(ctx context.Context, r Record) (Record, error)
}

// elector makes one of several replicas lead. What another replica's clock says is never compared with the own one: a
// lease has run out when it has not changed for its duration, as seen from here.
type elector struct {
	leases   Leases
	identity string
	log      *slog.Logger
	leading  func(bool)
	// sees is told who leads and what hinders this replica from competing, after each try.
	sees func(leader string, trouble error)

	seen    Record
	at      time.Time // when it was seen to change
	leader  string    // as was said last
	said    repeats
	refused error // why the lease was not renewed the last time
}

// run competes until ctx ends. While this replica leads, lead runs; its context ends with the leadership.
func (e *elector) run(ctx context.Context, lead func(ctx context.Context) error) error {
	for ctx.Err() == nil {
		got, err := e.acquire(ctx)
		e.say(err)
		if !got {
			wait(ctx, renewEvery)
			continue
		}
		if err := e.hold(ctx, lead); err != nil {
			return err
		}
	}
	return nil
}

// say tells what hinders, and who leads when that has changed.
func (e *elector) say(trouble error) {
	e.sees(e.seen.Holder, trouble)
	switch {
	case trouble != nil:
		if e.said.again(trouble) {
			e.log.Warn("the lease cannot be had", run.KeyErr, trouble)
		}
		e.leader = ""
	case e.seen.Holder != e.leader && e.seen.Holder != e.identity:
		e.log.Info("another replica leads", "leader", e.seen.Holder)
		fallthrough
	default:
		e.leader, e.said = e.seen.Holder, repeats{}
	}
}

// acquire takes the lease if nobody has it, or its holder has not renewed it.
func (e *elector) acquire(ctx context.Context) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	r, err := e.leases.ReadLease(ctx)
	if err != nil {
		return false, err
	}
	now := time.Now()
	before := e.seen
	before.Version = r.Version // who labels the object does not renew it
	if r != before {
		e.at = now
	}
	e.seen = r
	if r.Holder != "" && r.Holder != e.identity && now.Sub(e.at) < max(r.Duration, leaseTime) {
		return false, nil
	}
	if r.Holder != e.identity {
		r.Acquired = now
		r.Transitions++
	}
	got, err := e.write(ctx, r)
	if err != nil {
		if by, bad := e.leases.ReadLease(ctx); bad == nil && by.Holder != "" && by.Holder != r.Holder && by.Holder != e.identity {
			e.seen, e.at = by, now // somebody was faster
			return false, nil
		}
	}
	return got, err
}

func (e *elector) write(ctx context.Context, r Record) (bool, error) {
	now := time.Now()
	r.Holder, r.Duration, r.Renewed = e.identity, leaseTime, now
	stored, err := e.leases.WriteLease(ctx, r)
	if err != nil {
		return false, err
	}
	e.seen, e.at = stored, now
	return true, nil
}

// hold leads and renews the lease until that fails for too long, somebody else has it, or ctx ends. It returns once lead
// has.
func (e *elector) hold(ctx context.Context, lead func(ctx context.Context) error) error {
	e.log.Info("leading", "replica", e.identity)
	e.leading(true)
	e.refused = nil
	defer e.leading(false)
	held, lose := context.WithCancel(ctx)
	defer lose()
	g, _ := run.NewGroup(held)
	g.Go("lead", lead)
	g.Go("lease", func(held context.Context) error {
		for wait(held, renewEvery); held.Err() == nil; wait(held, renewEvery) {
			if why := e.renew(held); why != "" {
				e.log.Warn("not leading any more", run.KeyWhy, why)
				lose()
			}
		}
		return nil
	})
	err := g.Wait(leaseTime - renewBefore)
	if ctx.Err() != nil || err != nil {
		e.release() //nolint:contextcheck // ctx has ended; giving the lease back has a time of its own
	}
	return err
}

// renew returns why the lease is lost.
func (e *elector) renew(ctx context.Context) (why string) {
	ctx, cancel := context.WithDeadline(ctx, e.at.Add(renewBefore))
	defer cancel()
	ctx, stop := context.WithTimeout(ctx, askTime)
	defer stop()
	ok, err := e.write(ctx, e.seen)
	if ok {
		e.refused = nil
		return ""
	}
	if e.refused == nil || !errors.Is(err, context.DeadlineExceeded) { // the last try has little time
		e.refused = err
	}
	if r, err := e.leases.ReadLease(ctx); err == nil {
		if r.Holder != e.identity {
			return "somebody else has the lease: " + r.Holder
		}
		e.seen = r // an object may be written to for other reasons
	}
	if time.Since(e.at) >= renewBefore {
		return "the lease could not be renewed: " + e.refused.Error()
	}
	return ""
}

// release lets another replica lead at once.
func (e *elector) release() {
	ctx, cancel := context.WithTimeout(context.Background(), renewEvery)
	defer cancel()
	r := e.seen
	r.Holder, r.Renewed = "", time.Now()
	if _, err := e.leases.WriteLease(ctx, r); err != nil {
		e.log.Debug("the lease was not given back", run.KeyErr, err)
	}
}

// wait returns after d, or when ctx ends.
func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

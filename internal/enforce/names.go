package enforce

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/berth-net/berth/internal/core/policy"
	"github.com/berth-net/berth/internal/core/policy/names"
)

// domains are the names that policies allow, and what they stand for.
type domains struct {
	book    *names.Book
	of      map[objectKey][]string // that each policy names
	changed bool                   // of
	restore []names.Record         // of a former process, until policies are known
	heard   []chan<- struct{}      // whose answers are being programmed
	evicted uint64
	when    time.Time // the last time that an address made room for another
	matter  atomic.Bool
}

func newDomains(known []names.Record) domains {
	return domains{book: names.New(names.DefaultLimits()), of: make(map[objectKey][]string), restore: known, changed: true}
}

// set takes the domains that a policy names.
func (d *domains) set(key objectKey, all []string) {
	if !slices.Equal(d.of[key], all) {
		d.changed = true
	}
	if delete(d.of, key); len(all) > 0 {
		d.of[key] = all
	}
}

// domainsOf are those that a policy names.
func domainsOf(p policy.Policy) (all []string) {
	for _, r := range p.Rules[policy.Egress] {
		for _, peer := range r.Peers {
			if peer.Domain != "" {
				all = append(all, peer.Domain)
			}
		}
	}
	return all
}

// bringNames has the compiler know what changed domains stand for. All policies are known.
func (e *Enforcer) bringNames() {
	d := &e.domains
	if !d.changed {
		return
	}
	d.changed = false
	all := slices.Concat(slices.Collect(maps.Values(d.of))...)
	d.matter.Store(len(all) > 0)
	e.resolve(d.book.Want(all))
	e.resolve(d.book.Restore(d.restore, time.Now()))
	d.restore = nil
}

// resolve tells the compiler what names stand for.
func (e *Enforcer) resolve(changed []string) {
	for _, name := range changed {
		e.compiler.SetResolved(name, e.domains.book.Addrs(name))
	}
}

// NamesMatter tells whether a policy names a domain: then somebody must tell of answers.
func (e *Enforcer) NamesMatter() bool { return e.domains.matter.Load() }

// Learn takes what DNS has answered. It returns once pods may talk to the addresses in the answers whose policies name the domain; if
// they cannot be programmed, once that was tried. What it returns a next process wants to know, in Config.Names.
func (e *Enforcer) Learn(ctx context.Context, answers []names.Answer) ([]names.Record, error) {
	var keep []names.Record
	done := make(chan struct{})
	err := e.ask(ctx, func() {
		keep = e.learn(answers)
		e.domains.heard = append(e.domains.heard, done)
	})
	if err != nil {
		return nil, err
	}
	select {
	case <-done:
		return keep, nil
	case <-e.done:
		return nil, errStopped
	case <-ctx.Done():
		return nil, fmt.Errorf("learn what names stand for: %w", ctx.Err())
	}
}

func (e *Enforcer) learn(answers []names.Answer) []names.Record {
	d := &e.domains
	now := time.Now()
	for _, a := range answers {
		e.resolve(d.book.Learn(a, now))
	}
	if evicted := d.book.Evicted(); evicted != d.evicted {
		d.evicted, d.when = evicted, now
	}
	return d.book.Unkept()
}

// answerLearned ends the wait of those who have told of answers.
func (e *Enforcer) answerLearned() {
	for _, done := range e.domains.heard {
		close(done)
	}
	e.domains.heard = nil
}

// ExpiredNames are the addresses whose answers are not valid any more.
func (e *Enforcer) ExpiredNames(ctx context.Context) ([]netip.Addr, error) {
	return inLoop(ctx, e, func() []netip.Addr { return e.domains.book.Expired(time.Now()) })
}

// ExpireNames closes what has expired, but for the addresses that somebody talks to.
func (e *Enforcer) ExpireNames(ctx context.Context, live map[netip.Addr]bool) error {
	_, err := inLoop(ctx, e, func() bool {
		e.resolve(e.domains.book.Expire(time.Now(), live))
		return true
	})
	return err
}

// Names are what domains stand for.
type Names struct {
	Records []names.Record
	Evicted uint64 // addresses that made room for others before they expired
}

// Names asks the loop. Before all policies are known there are none, and false.
func (e *Enforcer) Names(ctx context.Context) (n Names, known bool, err error) {
	n, err = inLoop(ctx, e, func() Names {
		known = e.known.whole()
		return Names{Records: e.domains.book.Records(), Evicted: e.domains.book.Evicted()}
	})
	return n, known, err
}

// evictedFor is how long it is told that addresses made room.
const evictedFor = 10 * time.Minute

// problem says that there are too many addresses; empty: there are not.
func (d *domains) problem() string {
	if d.evicted == 0 || time.Since(d.when) > evictedFor {
		return ""
	}
	l := names.DefaultLimits()
	return fmt.Sprintf("domainNames: %d addresses made room for others before they expired, since a node knows %d addresses of all names and %d of one; "+
		"connections to them are denied until the pod asks DNS again: let policies name fewer domains, without *. where that can be", d.evicted, l.Total, l.PerName)
}

// inLoop runs f in the loop's goroutine, and returns what it says.
func inLoop[T any](ctx context.Context, e *Enforcer, f func() T) (T, error) {
	var none T
	reply := make(chan T, 1)
	if err := e.ask(ctx, func() { reply <- f() }); err != nil {
		return none, err
	}
	select {
	case v := <-reply:
		return v, nil
	case <-e.done:
		return none, errStopped
	case <-ctx.Done():
		return none, fmt.Errorf("ask the enforcer's loop: %w", ctx.Err())
	}
}

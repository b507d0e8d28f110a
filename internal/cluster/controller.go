// Package cluster is the controller: what needs a view of the whole cluster. It divides the account's EC2 buckets among the
// nodes, so that those whose pods have no address come first and nobody tries in vain.
//
//	pods, nodes ──► census ──► core/budget.Division ──► one object ──► all agents
//
// Of several replicas one leads, by a lease. Nothing waits for it: what it says counts for a minute and a half, and agents
// that hear nothing do as if there were no controller. It publishes seldom: each word goes to every agent. It never calls EC2.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/berth-net/berth/internal/core/budget"
	"github.com/berth-net/berth/internal/run"
)

// Times of the words.
const (
	// lookEvery is how often the census is looked at.
	lookEvery = 2 * time.Second
	// sayEvery is the least time between words, repeatEvery between those that say the same.
	sayEvery    = 10 * time.Second
	repeatEvery = 30 * time.Second
	// life is how long a word counts.
	life = 90 * time.Second
)

// A pod waits for an address when it has none for longer than hungryAfter, which is what an ADD with a free address takes
// with all around it, and for less than hungryUntil: then it waits for something that no bucket gives.
const (
	hungryAfter = time.Second
	hungryUntil = 15 * time.Minute
)

// WaitingPod is a pod that is bound to a node and has no address.
type WaitingPod struct {
	Node  string
	Since time.Time // when that was seen first
}

// Census is what is known of the cluster.
type Census struct {
	Known   bool // all was listed
	Nodes   int  // on which agents run
	Waiting []WaitingPod
}

// Word is what is published.
type Word struct {
	Division budget.Division
	Made     time.Time
	Life     time.Duration
}

// Cluster is the Kubernetes API.
type Cluster interface {
	Leases
	// Follow keeps the census until ctx ends.
	Follow(ctx context.Context) error
	Census() Census
	// Trouble says why the census cannot be had, or is not kept; it is empty while it is.
	Trouble() string
	Publish(ctx context.Context, w Word) error
}

// Config is what the controller needs.
type Config struct {
	Cluster  Cluster
	Identity string  // of this replica, another one than of the others
	Part     float64 // of the account's buckets, in (0,1]
	Log      *slog.Logger
}

// Controller divides.
type Controller struct {
	cfg   Config
	state *state
}

// New returns a controller. It does nothing before Run.
func New(cfg Config) *Controller { return &Controller{cfg: cfg, state: newState()} }

// Run competes for the lease and divides while it has it, until ctx ends.
func (c *Controller) Run(ctx context.Context) error {
	e := &elector{leases: c.cfg.Cluster, identity: c.cfg.Identity, log: c.cfg.Log, leading: c.state.lead, sees: c.state.see}
	return e.run(ctx, c.lead)
}

// Status is what the controller does now.
func (c *Controller) Status() Status { return c.state.get() }

func (c *Controller) lead(ctx context.Context) error {
	g, _ := run.NewGroup(ctx)
	g.Go("census", c.cfg.Cluster.Follow)
	g.Go("division", func(ctx context.Context) error {
		var s speaker
		var said repeats
		loop := run.NewLoop(0, lookEvery, lookEvery, func(ctx context.Context) error { return c.look(ctx, &s) })
		loop.Failed = func(err error, _ time.Duration) {
			if said.again(err) {
				c.cfg.Log.Warn("the share of EC2's buckets is not published", run.KeyErr, err)
			}
		}
		return loop.Run(ctx)
	})
	return g.Wait(time.Second)
}

// look publishes what should be said now, if anything.
func (c *Controller) look(ctx context.Context, s *speaker) error {
	census := c.cfg.Cluster.Census()
	now := time.Now()
	hungry := census.hungry(now)
	trouble := c.trouble(census)
	c.state.count(census.Nodes, hungry, s.last, trouble)
	if !s.ready(census.Known, now) {
		return nil
	}
	next, say := s.next(hungry, census.Nodes, c.cfg.Part, now)
	if !say {
		c.state.quiet()
		return nil
	}
	if err := c.cfg.Cluster.Publish(ctx, Word{Division: next, Made: now, Life: life}); err != nil {
		err = fmt.Errorf("publish the share: %w", err)
		c.state.said(err)
		return err
	}
	if len(next.Portions) > 0 || len(s.last.Portions) > 0 {
		c.cfg.Log.Info("share of EC2's buckets", "hungry", next.Hungry, "nodes", next.Nodes, "divided", len(next.Portions) > 0)
	}
	s.last, s.at = next, now
	c.state.said(nil)
	c.state.count(census.Nodes, hungry, next, trouble)
	return nil
}

// trouble is what hinders the count.
func (c *Controller) trouble(census Census) error {
	if text := c.cfg.Cluster.Trouble(); text != "" {
		return errors.New(text)
	}
	if !census.Known {
		return errors.New("nodes and pods are not listed yet")
	}
	return nil
}

// hungry is the number of nodes with pods that wait for an address.
func (c Census) hungry(now time.Time) int {
	nodes := make(map[string]bool)
	for _, p := range c.Waiting {
		if age := now.Sub(p.Since); age > hungryAfter && age < hungryUntil {
			nodes[p.Node] = true
		}
	}
	return len(nodes)
}

// speaker knows what was said last; nothing yet when at is zero.
type speaker struct {
	last   budget.Division
	at     time.Time
	listed time.Time // when all was known first
}

// ready tells whether there is something to go by. Pods that were just listed seem to wait since now, so the first word would
// end the division of another leader's in the middle of a burst.
func (s *speaker) ready(known bool, now time.Time) bool {
	if known && s.listed.IsZero() {
		s.listed = now
	}
	return known && now.Sub(s.listed) > hungryAfter
}

// next is what should be said, and whether to say it now. What a leader finds may be another one's word: its first one
// replaces that whatever it says.
func (s speaker) next(hungry, nodes int, part float64, now time.Time) (next budget.Division, say bool) {
	next, tell := s.last.Next(hungry, nodes, part)
	since := now.Sub(s.at)
	switch {
	case s.at.IsZero():
		return next, true
	case tell:
		return next, since >= sayEvery
	default:
		return next, len(s.last.Portions) > 0 && since >= repeatEvery
	}
}

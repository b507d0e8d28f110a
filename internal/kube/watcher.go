package kube

import (
	"context"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/berth-net/berth/internal/kube/apiserver"
	"github.com/berth-net/berth/internal/run"
)

// Pauses after errors: doubled with each in a row, half of them by chance, so that nodes do not come back together.
const (
	pauseFirst    = time.Second
	pauseGreatest = 30 * time.Second
	// settled is how long something must have worked for the next error to be the first again.
	settled = time.Minute
)

// pauses knows how long to wait after an error.
type pauses struct{ errors int }

// after is the wait after an error of something that had worked for a while, or not at all; chance is from 0 to 1.
func (p *pauses) after(worked time.Duration, chance float64) time.Duration {
	if worked >= settled {
		p.errors = 0
	}
	pause := pauseGreatest
	if p.errors < 5 {
		pause = min(pauseFirst<<p.errors, pauseGreatest)
	}
	p.errors++
	return time.Duration(float64(pause) * (0.5 + chance))
}

// watcher is one thing that is followed for as long as the client runs.
type watcher struct {
	name string
	step func(ctx context.Context, a *apiserver.API) error
	// wake ends a pause; nil when nothing does.
	wake <-chan struct{}
	// absent is told that the API server does not know the resource; nil when it always does. It is asked for again after absentFor.
	absent    func()
	absentFor time.Duration
}

// keep steps again and again until ctx ends.
func (c *Client) keep(w watcher) func(ctx context.Context) error {
	return func(ctx context.Context) error {
		var p pauses
		for ctx.Err() == nil {
			began := time.Now()
			err := c.stepOnce(ctx, w)
			if err == nil || ctx.Err() != nil {
				continue
			}
			wait := p.after(time.Since(began), rand.Float64())
			if w.absent != nil && apiserver.IsStatus(err, http.StatusNotFound) {
				w.absent()
				c.tried(w.name, "")
				wait = jitter(w.absentFor)
				c.log.Debug("the cluster has no such resource", "what", w.name, "again", wait.String())
			} else {
				c.tried(w.name, err.Error())
				c.log.Warn("the API server does not serve what is asked", "what", w.name, run.KeyNode, c.cfg.Node, run.KeyErr, err, "again", wait.String())
			}
			pause(ctx, wait, w.wake)
		}
		return nil
	}
}

func (c *Client) stepOnce(ctx context.Context, w watcher) error {
	a, err := c.server()
	if err != nil {
		return err
	}
	return w.step(ctx, a)
}

// pause waits, until ctx ends or something wakes it at most.
func pause(ctx context.Context, d time.Duration, wake <-chan struct{}) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	case <-wake:
	}
}

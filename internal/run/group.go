package run

import (
	"context"
	"fmt"
	"os/signal"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
)

// Group runs the parts of a process side by side. The first that fails, or panics, ends the others.
type Group struct {
	group *errgroup.Group
	ctx   context.Context //nolint:containedctx // handed to each part

	mu      sync.Mutex
	running map[string]int
}

// NewGroup returns a group and the context that its parts see: it ends with ctx or with the first failure.
func NewGroup(ctx context.Context) (*Group, context.Context) {
	g, ctx := errgroup.WithContext(ctx)
	return &Group{group: g, ctx: ctx, running: map[string]int{}}, ctx
}

// Go starts a part. It should return nil soon after its context ends. Its error carries its name.
func (g *Group) Go(name string, part func(ctx context.Context) error) {
	g.count(name, 1)
	g.group.Go(func() (err error) {
		defer g.count(name, -1)
		defer func() {
			if p := recover(); p != nil {
				err = fmt.Errorf("%s panicked: %v\n%s", name, p, debug.Stack())
			}
		}()
		if err := part(g.ctx); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		return nil
	})
}

func (g *Group) count(name string, by int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.running[name] += by
	if g.running[name] == 0 {
		delete(g.running, name)
	}
}

// Running returns the names of the parts that have not returned.
func (g *Group) Running() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	names := make([]string, 0, len(g.running))
	for name := range g.running {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Wait returns the first failure once all parts have returned. When the context has ended it waits for them at most for
// grace, and then returns an error that names those that are still running.
func (g *Group) Wait(grace time.Duration) error {
	done := make(chan error, 1)
	go func() { done <- g.group.Wait() }()
	select {
	case err := <-done:
		return err
	case <-g.ctx.Done():
	}
	t := time.NewTimer(grace)
	defer t.Stop()
	select {
	case err := <-done:
		return err
	case <-t.C:
		return fmt.Errorf("%s still running %v after the end was asked for", strings.Join(g.Running(), ", "), grace)
	}
}

// UntilSignal returns a context that ends with SIGTERM or SIGINT. A second signal ends the process at once.
func UntilSignal(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	context.AfterFunc(ctx, stop) // the next signal has its default effect
	return ctx, stop
}

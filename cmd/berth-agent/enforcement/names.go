package enforcement

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/berth-net/berth/internal/bpf"
	"github.com/berth-net/berth/internal/core/policy/names"
	"github.com/berth-net/berth/internal/enforce/answer"
	"github.com/berth-net/berth/internal/run"
)

// Times of domains' names.
const (
	// listenEvery is how often it is said that answers are read, and listenFor how long they are held after the last time: an agent that
	// is busy or gone keeps DNS from nobody for longer.
	listenEvery = 200 * time.Millisecond
	listenFor   = time.Second
	// expireEvery is how often addresses are closed whose answers are not valid any more.
	expireEvery = 10 * time.Second
	// answersAtOnce are programmed together.
	answersAtOnce = 64
)

// hearAnswers has pods' answers of DNS open what they name before the pods have them, until ctx ends.
func (e *Enforcement) hearAnswers(ctx context.Context) error {
	from, err := e.datapath.Answers()
	if err != nil {
		return err
	}
	for listened := (time.Time{}); ctx.Err() == nil; {
		if time.Since(listened) >= listenEvery {
			listened = time.Now()
			if err := e.listen(from); err != nil {
				return errors.Join(err, from.Close())
			}
		}
		e.hear(ctx, from, listenEvery)
	}
	err = from.Pass()
	for e.hear(context.WithoutCancel(ctx), from, 0) { // what is held must not wait for the next process
	}
	return errors.Join(err, from.Close())
}

func (e *Enforcement) listen(from *bpf.Answers) error {
	if e.loop.NamesMatter() {
		return from.Listen(listenFor)
	}
	return from.Ignore()
}

// hear takes what is there, and waits for the first so long. It tells whether there was something.
func (e *Enforcement) hear(ctx context.Context, from *bpf.Answers, limit time.Duration) bool {
	var (
		batch []bpf.Answer
		said  []names.Answer
	)
	for len(batch) < answersAtOnce {
		a, err := from.Read(limit)
		if err != nil {
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				e.options.Log.Warn("network policy: read an answer of DNS", run.KeyErr, err)
			}
			break
		}
		limit = 0
		batch = append(batch, a)
		if message, err := a.Message(); err == nil {
			if parsed, err := answer.Parse(message); err == nil { // what nobody can read opens nothing
				said = append(said, parsed)
			}
		}
	}
	if len(said) > 0 {
		keep, err := e.loop.Learn(ctx, said)
		if err == nil {
			err = e.names.add(keep)
		}
		if err != nil {
			e.options.Log.Warn("network policy: learn what domains stand for", run.KeyErr, err)
		}
	}
	for _, a := range batch {
		if !a.Held {
			continue
		}
		if err := from.Release(a); err != nil {
			e.options.Log.Warn("network policy: send an answer of DNS on, which the pod will ask for again", run.KeyErr, err)
		}
	}
	return len(batch) > 0
}

// expireNames closes what answers named that are not valid any more, unless a pod talks to it, until ctx ends.
func (e *Enforcement) expireNames(ctx context.Context) error {
	tick := time.NewTicker(expireEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := e.expireOnce(ctx); err != nil && ctx.Err() == nil {
			e.options.Log.Warn("network policy: close what domains stood for; it stays open until that works", run.KeyErr, err)
		}
	}
}

func (e *Enforcement) expireOnce(ctx context.Context) error {
	expired, err := e.loop.ExpiredNames(ctx)
	if err != nil {
		return err
	}
	if len(expired) > 0 {
		live, err := e.datapath.TalkedTo(expired)
		if err == nil {
			err = e.loop.ExpireNames(ctx, live)
		}
		if err != nil {
			return err
		}
	}
	if !e.names.isLarge() {
		return nil
	}
	return e.names.rewrite(func() ([]names.Record, error) {
		known, whole, err := e.loop.Names(ctx)
		if err == nil && !whole {
			err = errors.New("policies are not known yet")
		}
		if err != nil {
			return nil, fmt.Errorf("ask what domains stand for: %w", err)
		}
		return known.Records, nil
	})
}

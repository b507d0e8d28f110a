package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// world is the API server as the controller sees it.
type world struct {
	replica
	mu     sync.Mutex
	census Census
	words  []Word
	fails  bool
	blind  string // why the census cannot be had
}

func (w *world) Trouble() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.blind
}

func (w *world) Follow(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

func (w *world) Census() Census {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.census
}

func (w *world) Publish(_ context.Context, word Word) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fails {
		return errors.New("403 Forbidden")
	}
	w.words = append(w.words, word)
	return nil
}

// hungry makes pods on as many nodes wait from now on, two on each.
func (w *world) hungry(n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.census.Waiting = nil
	for i := range 2 * n {
		w.census.Waiting = append(w.census.Waiting, WaitingPod{Node: fmt.Sprint("node-", i%n), Since: time.Now()})
	}
}

// see sets why the census cannot be had.
func (w *world) see(trouble string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.blind = trouble
}

// known tells whether all was listed.
func (w *world) known(known bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.census.Known = known
}

// take returns the words that were said since.
func (w *world) take() []Word {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	words := w.words
	w.words = nil
	return words
}

func control(t *testing.T, part float64, test func(t *testing.T, w *world, c *Controller)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{replica: replica{leaseObject: &leaseObject{}}, census: Census{Known: true, Nodes: 1500}}
		c := New(Config{Cluster: w, Identity: "a", Part: part, Log: slog.New(slog.DiscardHandler)})
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- c.Run(ctx) }()
		test(t, w, c)
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestQuietDay(t *testing.T) {
	control(t, 1, func(t *testing.T, w *world, c *Controller) {
		after(t, time.Hour)
		if words := w.take(); len(words) != 1 || len(words[0].Division.Portions) != 0 {
			t.Errorf("an hour without hungry nodes: %d words", len(words))
		}
		w.hungry(40) // the bucket serves them at once
		after(t, time.Hour)
		if words := w.take(); len(words) != 0 {
			t.Errorf("an hour with few hungry nodes: %d words", len(words))
		}
		if s := c.Status(); !s.Leading || s.Nodes != 1500 || s.Words != 1 {
			t.Errorf("status %+v", s)
		}
	})
}

func TestBurst(t *testing.T) {
	control(t, .5, func(t *testing.T, w *world, c *Controller) {
		after(t, time.Minute)
		w.take()
		w.hungry(1000)
		after(t, 4*time.Second)
		words := w.take()
		if len(words) != 1 {
			t.Fatalf("%d words in four seconds", len(words))
		}
		first := words[0]
		if d := first.Division; d.Hungry != 1000 || d.Nodes != 1500 || len(d.Portions) != 4 || d.Portions[0].Hungry.Rate*1000 > 2.5 {
			t.Errorf("division %+v", d)
		}
		if first.Life != 90*time.Second || time.Since(first.Made) > 4*time.Second {
			t.Errorf("word %+v", first)
		}
		after(t, 5*time.Minute) // the same
		if words := w.take(); len(words) < 9 || len(words) > 10 || words[5].Made.Equal(first.Made) {
			t.Errorf("%d words in five minutes", len(words))
		}
		var said int
		for n := 1000; n > 0; n -= 10 { // served, five a second
			w.hungry(n)
			after(t, 2*time.Second)
			said += len(w.take())
		}
		if said < 8 || said > 20 {
			t.Errorf("%d words in 200 seconds", said)
		}
		after(t, time.Hour)
		if d := c.Status().Division; len(d.Portions) != 0 {
			t.Errorf("in the end %+v", d)
		}
		if words := w.take(); len(words) > 1 {
			t.Errorf("%d words after the burst", len(words))
		}
	})
}

// Pods that wait for a quarter of an hour wait for something else than EC2's bucket.
func TestPodsThatWaitForSomethingElse(t *testing.T) {
	control(t, 1, func(t *testing.T, w *world, c *Controller) {
		after(t, time.Minute)
		w.hungry(1000)
		after(t, 14*time.Minute)
		if d := c.Status().Division; len(d.Portions) == 0 {
			t.Error("nothing is divided")
		}
		after(t, 2*time.Minute)
		if s := c.Status(); s.Hungry != 0 || len(s.Division.Portions) != 0 {
			t.Errorf("status %+v", s)
		}
	})
}

// Who begins to lead lists all pods: those that wait seem to wait since then. Its first word must not end the division.
func TestNewLeaderEndsTheDivisionOfABurst(t *testing.T) {
	control(t, 1, func(t *testing.T, w *world, _ *Controller) {
		w.known(false)
		after(t, 1500*time.Millisecond) // the lists take a while
		w.take()
		w.known(true)
		w.hungry(1000)
		after(t, 10*time.Second)
		words := w.take()
		if len(words) != 1 || words[0].Division.Hungry != 1000 || len(words[0].Division.Portions) == 0 {
			t.Errorf("%d words, the first %+v", len(words), words)
		}
	})
}

// A leader that may list nothing looks like one with nothing to do.
func TestTroubleIsTold(t *testing.T) {
	control(t, 1, func(t *testing.T, w *world, c *Controller) {
		is := func(text string) {
			t.Helper()
			synctest.Wait()
			got := ""
			if err := c.Status().Trouble; err != nil {
				got = err.Error()
			}
			if !strings.Contains(got, text) || text == "" && got != "" {
				t.Errorf("trouble %q, want %q", got, text)
			}
		}
		w.known(false)
		after(t, 3*time.Second)
		is("not listed yet")
		w.see("403 Forbidden")
		after(t, 3*time.Second)
		is("403 Forbidden")
		w.known(true)
		w.see("")
		after(t, time.Minute)
		is("")
		w.mu.Lock()
		w.fails = true
		w.mu.Unlock()
		w.hungry(1000)
		after(t, 5*time.Second)
		is("publish the share: 403 Forbidden")
		w.hungry(1) // nothing is to be said any more
		after(t, 3*time.Second)
		is("")
		w.set(func(o *leaseObject) { o.away = true })
		after(t, time.Minute)
		is("the API server is away")
		w.set(func(o *leaseObject) { o.away = false; o.record.Holder, o.record.Version = "b", "b's" })
		after(t, 3*time.Second)
		is("")
		if s := c.Status(); s.Leading || s.Leader != "b" {
			t.Errorf("status %+v", s)
		}
	})
}

func TestNothingIsSaidBeforeAllIsListed(t *testing.T) {
	control(t, 1, func(t *testing.T, w *world, _ *Controller) {
		w.known(false)
		w.take()
		w.hungry(1000)
		after(t, time.Minute)
		if words := w.take(); len(words) != 0 {
			t.Errorf("%d words", len(words))
		}
	})
}

func TestWordThatCannotBePublishedIsTriedAgain(t *testing.T) {
	control(t, 1, func(t *testing.T, w *world, c *Controller) {
		after(t, time.Minute)
		w.take()
		w.mu.Lock()
		w.fails = true
		w.mu.Unlock()
		w.hungry(1000)
		after(t, time.Minute)
		if s := c.Status(); s.Failures < 10 || len(s.Division.Portions) != 0 {
			t.Errorf("status %+v", s)
		}
		w.mu.Lock()
		w.fails = false
		w.mu.Unlock()
		after(t, 5*time.Second)
		if words := w.take(); len(words) != 1 || words[0].Division.Hungry != 1000 {
			t.Errorf("%d words", len(words))
		}
	})
}

func TestWhoIsNotTheLeaderSaysNothing(t *testing.T) {
	control(t, 1, func(t *testing.T, w *world, c *Controller) {
		after(t, time.Minute)
		w.take()
		w.set(func(o *leaseObject) { o.record.Holder, o.record.Version = "b", "b's" })
		after(t, 5*time.Second)
		w.hungry(1000)
		after(t, 5*time.Second)
		if words := w.take(); len(words) != 0 || c.Status().Leading {
			t.Errorf("%d words, status %+v", len(words), c.Status())
		}
	})
}

package cluster

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// leaseObject is a Lease as the API server keeps it.
type leaseObject struct {
	mu     sync.Mutex
	record Record
	away   bool // the API server
	denied bool // writes are
	writes int
}

// replica is the object as one replica reaches it: its clock may be wrong, its way to the API server cut.
type replica struct {
	*leaseObject
	skew time.Duration
	cut  *bool
}

func (o replica) ReadLease(context.Context) (Record, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.away || o.cut != nil && *o.cut {
		return Record{}, errors.New("the API server is away")
	}
	return o.record, nil
}

func (o replica) WriteLease(ctx context.Context, r Record) (Record, error) {
	if _, err := o.ReadLease(ctx); err != nil {
		return Record{}, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.denied {
		return Record{}, errors.New("403 Forbidden")
	}
	if r.Version != o.record.Version {
		return Record{}, errors.New("409 Conflict")
	}
	o.writes++
	r.Version = strconv.Itoa(o.writes)
	r.Renewed, r.Acquired = r.Renewed.Add(o.skew), r.Acquired.Add(o.skew)
	o.record = r
	return r, nil
}

func (o *leaseObject) set(change func(o *leaseObject)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	change(o)
}

// crew is replicas that compete.
type crew struct {
	t    *testing.T
	mu   sync.Mutex
	lead []string
	most int
	done sync.WaitGroup
	logs lines
}

// lines is what was logged.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// count is how many lines have the text.
func (l *lines) count(text string) int {
	synctest.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), text)
}

func (c *crew) start(ctx context.Context, name string, r Leases) (stop context.CancelFunc) {
	ctx, stop = context.WithCancel(ctx)
	e := &elector{leases: r, identity: name, log: slog.New(slog.NewTextHandler(&c.logs, nil)), leading: func(bool) {}, sees: func(string, error) {}}
	c.done.Go(func() {
		err := e.run(ctx, func(ctx context.Context) error {
			c.set(func() { c.lead = append(c.lead, name); c.most = max(c.most, len(c.lead)) })
			<-ctx.Done()
			c.set(func() { c.lead = slices.DeleteFunc(c.lead, func(n string) bool { return n == name }) })
			return nil
		})
		if err != nil {
			c.t.Errorf("%s: %v", name, err)
		}
	})
	return stop
}

func (c *crew) set(change func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change()
}

func (c *crew) leaders() []string {
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.lead)
}

// after lets time pass.
func after(t *testing.T, d time.Duration) {
	t.Helper()
	wait(t.Context(), d)
}

func elect(t *testing.T, test func(t *testing.T, c *crew, o *leaseObject)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := &crew{t: t}
		test(t, c, &leaseObject{})
		if c.most > 1 {
			t.Errorf("%d led at once", c.most)
		}
		c.done.Wait()
	})
}

func want(t *testing.T, c *crew, names ...string) {
	t.Helper()
	if got := c.leaders(); !slices.Equal(got, names) {
		t.Errorf("after %s %q lead, want %q", time.Since(epoch), got, names)
	}
}

// epoch is when the clock of a bubble begins.
var epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

func TestOneLeads(t *testing.T) {
	elect(t, func(t *testing.T, c *crew, o *leaseObject) {
		a := c.start(t.Context(), "a", replica{leaseObject: o})
		after(t, time.Millisecond)
		b := c.start(t.Context(), "b", replica{leaseObject: o})
		after(t, time.Hour)
		want(t, c, "a")
		if o.record.Transitions != 1 || o.record.Holder != "a" {
			t.Errorf("lease %+v", o.record)
		}
		a() // it gives the lease back
		after(t, 3*time.Second)
		want(t, c, "b")
		b()
	})
}

func TestLeaderThatIsCutOffStopsBeforeAnotherBegins(t *testing.T) {
	elect(t, func(t *testing.T, c *crew, o *leaseObject) {
		cut := false
		a := c.start(t.Context(), "a", replica{leaseObject: o, cut: &cut})
		after(t, time.Millisecond)
		b := c.start(t.Context(), "b", replica{leaseObject: o})
		after(t, time.Minute)
		want(t, c, "a")
		o.set(func(*leaseObject) { cut = true })
		after(t, 11*time.Second)
		want(t, c)
		after(t, 8*time.Second)
		want(t, c, "b")
		o.set(func(*leaseObject) { cut = false })
		after(t, time.Minute)
		want(t, c, "b")
		a()
		b()
	})
}

func TestAPIServerAway(t *testing.T) {
	elect(t, func(t *testing.T, c *crew, o *leaseObject) {
		a, b := c.start(t.Context(), "a", replica{leaseObject: o}), c.start(t.Context(), "b", replica{leaseObject: o})
		after(t, time.Minute)
		o.set(func(o *leaseObject) { o.away = true })
		after(t, 5*time.Second)
		if len(c.leaders()) != 1 {
			t.Error("a short absence ends the leadership")
		}
		after(t, time.Minute)
		want(t, c)
		o.set(func(o *leaseObject) { o.away = false })
		after(t, 20*time.Second)
		if len(c.leaders()) != 1 {
			t.Error("nobody leads")
		}
		a()
		b()
	})
}

// Clocks of replicas that differ by an hour make neither two leaders nor none.
func TestClocksThatDiffer(t *testing.T) {
	for _, skew := range []time.Duration{time.Hour, -time.Hour} {
		t.Run(skew.String(), func(t *testing.T) {
			elect(t, func(t *testing.T, c *crew, o *leaseObject) {
				cut := false
				a := c.start(t.Context(), "a", replica{leaseObject: o, cut: &cut, skew: skew})
				after(t, time.Millisecond)
				b := c.start(t.Context(), "b", replica{leaseObject: o})
				after(t, 10*time.Minute)
				want(t, c, "a")
				o.set(func(*leaseObject) { cut = true })
				after(t, 20*time.Second)
				want(t, c, "b")
				a()
				b()
			})
		})
	}
}

func TestLeaseThatSomebodyTakes(t *testing.T) {
	elect(t, func(t *testing.T, c *crew, o *leaseObject) {
		a := c.start(t.Context(), "a", replica{leaseObject: o})
		after(t, time.Minute)
		want(t, c, "a")
		o.set(func(o *leaseObject) { o.record.Version = "annotated" })
		after(t, 5*time.Second)
		want(t, c, "a")
		o.set(func(o *leaseObject) { o.record.Holder, o.record.Version = "kubectl", "edited" })
		after(t, 5*time.Second)
		want(t, c)
		after(t, time.Minute) // who never renews it has it no longer
		want(t, c, "a")
		a()
	})
}

// What a dead leader has left is changed by others too, such as a tool that labels what it finds.
func TestLeaseThatIsLabelledAgainAndAgainIsNeverTaken(t *testing.T) {
	elect(t, func(t *testing.T, c *crew, o *leaseObject) {
		o.record = Record{Holder: "dead", Duration: 15 * time.Second, Version: "0"}
		a := c.start(t.Context(), "a", replica{leaseObject: o})
		for i := range 4 {
			after(t, 5*time.Second)
			o.set(func(o *leaseObject) { o.record.Version = "labelled " + strconv.Itoa(i) })
		}
		want(t, c, "a")
		a()
	})
}

func TestWhoStandsBySaysWhoLeads(t *testing.T) {
	elect(t, func(t *testing.T, c *crew, o *leaseObject) {
		a := c.start(t.Context(), "a", replica{leaseObject: o})
		after(t, time.Millisecond)
		b := c.start(t.Context(), "b", replica{leaseObject: o})
		after(t, time.Hour)
		if n := c.logs.count("another replica leads"); n != 1 || c.logs.count("leader=a") != 1 {
			t.Errorf("said %d times:\n%s", n, c.logs.text.String())
		}
		a()
		b()
	})
}

// Both try at once at every start of two replicas.
func TestLostRaceForTheLeaseIsNoTrouble(t *testing.T) {
	elect(t, func(t *testing.T, c *crew, o *leaseObject) {
		a := c.start(t.Context(), "a", slow{replica{leaseObject: o}, new(time.Millisecond)})
		b := c.start(t.Context(), "b", slow{replica{leaseObject: o}, new(2 * time.Millisecond)})
		after(t, time.Minute)
		want(t, c, "a")
		if c.logs.count("the lease cannot be had") > 0 || c.logs.count("another replica leads") != 1 {
			t.Error(c.logs.text.String())
		}
		a()
		b()
	})
}

func TestLeaseThatMayNotBeWrittenFloodsTheLog(t *testing.T) {
	elect(t, func(t *testing.T, c *crew, o *leaseObject) {
		a := c.start(t.Context(), "a", replica{leaseObject: o})
		after(t, time.Minute)
		o.set(func(o *leaseObject) { o.denied = true })
		after(t, time.Hour)
		want(t, c)
		if c.logs.count(`why="the lease could not be renewed: 403 Forbidden"`) != 1 {
			t.Error("the log does not say why it leads no more")
		}
		if n := c.logs.count("the lease cannot be had"); n < 1 || n > 61 {
			t.Errorf("%d lines in an hour", n)
		}
		o.set(func(o *leaseObject) { o.denied = false })
		after(t, 20*time.Second)
		want(t, c, "a")
		a()
	})
}

// The last try of a lease has only the time that is left. What it says then must not hide the reason.
func TestReasonOfALostLeaseIsATimeout(t *testing.T) {
	elect(t, func(t *testing.T, c *crew, o *leaseObject) {
		s := slow{replica: replica{leaseObject: o}, by: new(time.Duration)}
		a := c.start(t.Context(), "a", s)
		after(t, time.Minute)
		o.set(func(o *leaseObject) { o.denied, *s.by = true, 1500*time.Millisecond })
		after(t, 20*time.Second)
		if c.logs.count(`why="the lease could not be renewed: 403 Forbidden"`) != 1 {
			t.Error(c.logs.text.String())
		}
		a()
	})
}

// slow is a replica that hears of the outcome late, if at all.
type slow struct {
	replica
	by *time.Duration
}

func (s slow) WriteLease(ctx context.Context, r Record) (Record, error) {
	s.mu.Lock()
	by := *s.by
	s.mu.Unlock()
	wait(ctx, by)
	if ctx.Err() != nil {
		return Record{}, ctx.Err()
	}
	return s.replica.WriteLease(ctx, r)
}

package budget_test

import (
	"context"
	"fmt"
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/berth-net/berth/internal/core/budget"
)

const action = "CreateNetworkInterface"

// leave makes calls want to leave and returns those that may.
func leave(b *budget.Budget, name string, lane budget.Lane, n int, now time.Time) []*budget.Call {
	for range n {
		b.Enter(name, lane, now)
	}
	return b.Due(now)
}

// throttle makes a lane's call leave and be throttled n times, each as soon as it may, and returns when that was over.
func throttle(t *testing.T, b *budget.Budget, name string, lane budget.Lane, n int, now time.Time) time.Time {
	t.Helper()
	for range n {
		b.Enter(name, lane, now)
		if next, _ := b.Next(now); next.After(now) {
			now = next
		}
		calls := b.Due(now)
		if len(calls) != 1 {
			t.Fatalf("%d calls leave", len(calls))
		}
		now = now.Add(latency)
		b.Done(calls[0], budget.Throttled, now)
	}
	return now
}

func TestBurstThenRate(t *testing.T) {
	for name, want := range map[string][2]int{"CreateTags": {16, 2}, "DescribeSubnets": {20, 5}} { // at once, in a second
		b := budget.New("i-1")
		if got := len(leave(b, name, budget.Waiting, 100, start)); got != want[0] {
			t.Errorf("%s: %d leave at once, want %d", name, got, want[0])
		}
		if got := len(b.Due(start.Add(10 * time.Second))); got != min(10*want[1], want[0]) {
			t.Errorf("%s: %d leave after ten seconds, want %d", name, got, want[1])
		}
	}
}

func TestThrottledActionHoldsUpNoOther(t *testing.T) {
	b := budget.New("i-1")
	now := throttle(t, b, action, budget.Waiting, 12, start)
	b.Enter(action, budget.Waiting, now)
	if got := len(leave(b, "AttachNetworkInterface", budget.Cleaning, 1, now)); got != 1 {
		t.Errorf("%d calls of another action leave", got)
	}
	if _, ok := b.Throttled("AttachNetworkInterface"); ok {
		t.Error("the other action is throttled")
	}
	if since, ok := b.Throttled(action); !ok || since != start.Add(latency) {
		t.Errorf("throttled since %s, %v", since, ok)
	}
}

func TestLowerLaneHoldsUpNoHigherOne(t *testing.T) {
	for higher, name := range map[budget.Lane]string{budget.Waiting: "waiting", budget.Starting: "starting", budget.Warm: "warm"} {
		t.Run(name, func(t *testing.T) {
			b := budget.New("i-1")
			now := throttle(t, b, action, higher+1, 6, start)
			b.Enter(action, higher+1, now)
			if got := b.Due(now); len(got) != 0 {
				t.Error("the lower lane does not pause")
			}
			if got := leave(b, action, higher, 1, now); len(got) != 1 || got[0].Lane() != higher {
				t.Errorf("%v leave", got)
			}
		})
	}
	t.Run("the lower lanes leave tokens", func(t *testing.T) {
		b := budget.New("i-1")
		leave(b, action, budget.Cleaning, 100, start)
		if got := leave(b, action, budget.Waiting, 1, start); len(got) != 1 || got[0].Lane() != budget.Waiting {
			t.Errorf("%v leave", got)
		}
	})
	t.Run("a probe in flight", func(t *testing.T) {
		b := budget.New("i-1")
		now := throttle(t, b, action, budget.Warm, 1, start).Add(time.Minute)
		if len(leave(b, action, budget.Warm, 2, now)) != 1 {
			t.Error("more than one call of a throttled action leaves")
		}
		if len(leave(b, action, budget.Waiting, 1, now)) != 1 {
			t.Error("the waiting pod's call does not leave")
		}
	})
}

func TestSuccessAfterThrottlingRecovers(t *testing.T) {
	b := budget.New("i-1")
	now := throttle(t, b, action, budget.Waiting, 15, start)
	if s := b.Status(now)[0]; s.Rate >= s.Full/4 || s.Since.IsZero() {
		t.Errorf("rate %v of %v, since %v", s.Rate, s.Full, s.Since)
	}
	for range 20 {
		b.Enter(action, budget.Waiting, now)
		if next, _ := b.Next(now); next.After(now) {
			now = next
		}
		for _, c := range b.Due(now) {
			b.Done(c, budget.Succeeded, now)
		}
	}
	if s := b.Status(now)[0]; s.Rate != s.Full || !s.Since.IsZero() {
		t.Errorf("rate %v of %v, since %v", s.Rate, s.Full, s.Since)
	}
	now = now.Add(time.Minute)
	if got := len(leave(b, action, budget.Waiting, 100, now)); got != 16 {
		t.Errorf("%d leave at once", got)
	}
}

// Many calls that are throttled at once count as one, but each lane learns of it.
func TestThrottledTogether(t *testing.T) {
	b := budget.New("i-1")
	together := append(leave(b, action, budget.Waiting, 5, start), leave(b, action, budget.Starting, 1, start)...)
	for _, c := range together {
		b.Done(c, budget.Throttled, start)
	}
	if at := b.When(action, budget.Waiting, start).Sub(start); at <= 0 || at > time.Second {
		t.Errorf("waiting pods' calls pause %s", at)
	}
	if at := b.When(action, budget.Starting, start).Sub(start); at < time.Second {
		t.Errorf("calls of the start pause %s", at)
	}
}

// The pods' call was in flight when that of a lower lane was throttled; its own throttled answer counts all the same.
func TestThrottledBesideALowerLane(t *testing.T) {
	b := budget.New("i-1")
	pods := leave(b, action, budget.Waiting, 1, start)[0]
	warm := leave(b, action, budget.Warm, 1, start)[0]
	b.Done(warm, budget.Throttled, start)
	b.Done(pods, budget.Throttled, start)
	if !b.When(action, budget.Waiting, start).After(start) {
		t.Error("a throttled call may leave again at once")
	}
}

// One of two calls in flight is throttled and the other succeeds: there are tokens again.
func TestSuccessEndsPauses(t *testing.T) {
	b := budget.New("i-1")
	calls := append(leave(b, action, budget.Waiting, 1, start), leave(b, action, budget.Starting, 1, start)...)
	b.Done(calls[0], budget.Throttled, start)
	b.Done(calls[1], budget.Succeeded, start)
	for lane, pauses := range map[budget.Lane]bool{budget.Waiting: false, budget.Starting: false, budget.Warm: true} {
		if at := b.When(action, lane, start); at.After(start) != pauses {
			t.Errorf("a call in lane %s may leave after %s", lane, at.Sub(start))
		}
	}
}

// A node that served its pods after a long burst knows that others have not: its warm pool waits for them.
func TestWarmCallsYieldToABurst(t *testing.T) {
	b := budget.New("i-1")
	now := throttle(t, b, action, budget.Waiting, 12, start)
	burst := now.Sub(start)
	calls := leave(b, action, budget.Waiting, 1, b.When(action, budget.Waiting, now))
	b.Done(calls[0], budget.Succeeded, now)
	if at := b.When(action, budget.Warm, now).Sub(now); at < 2*burst {
		t.Errorf("after %s of throttling a warm call leaves after %s", burst, at)
	}
}

// Among peers the warm pool waits until each of them has had its turn.
func TestWarmCallsYieldToPeers(t *testing.T) {
	b := budget.New("i-1")
	b.SetPeers(1500)
	now := throttle(t, b, action, budget.Waiting, 6, start)
	if at := b.When(action, budget.Warm, now).Sub(start); at < 280*time.Second || at > 400*time.Second {
		t.Errorf("a warm call leaves after %s", at)
	}
}

func TestOldThrottlingIsForgotten(t *testing.T) {
	b := budget.New("i-1")
	now := throttle(t, b, action, budget.Waiting, 20, start).Add(time.Hour)
	now = throttle(t, b, action, budget.Waiting, 1, now)
	if at := b.When(action, budget.Waiting, now).Sub(now); at > time.Second {
		t.Errorf("the first pause after an hour of rest is %s", at)
	}
}

func TestShare(t *testing.T) {
	until := start.Add(5 * time.Minute)
	t.Run("bounds", func(t *testing.T) {
		b := budget.New("i-1")
		b.Share(action, 0.5, 3, until, start)
		if got := len(leave(b, action, budget.Waiting, 100, start)); got != 3 {
			t.Errorf("%d leave at once", got)
		}
		if got := len(b.Due(start.Add(2 * time.Second))); got != 1 {
			t.Errorf("%d leave after two seconds", got)
		}
		if s := b.Status(start.Add(2 * time.Second))[0]; !s.Shared || s.Rate != 0.5 || s.Waiting[budget.Waiting] != 96 {
			t.Errorf("status %+v", s)
		}
		if got := len(b.Due(until.Add(20 * time.Second))); got != 16 {
			t.Errorf("%d leave when the share is over", got)
		}
	})
	t.Run("all at once after throttling", func(t *testing.T) {
		b := budget.New("i-1")
		now := throttle(t, b, action, budget.Waiting, 15, start)
		b.Share(action, 4, 8, until, now)
		first := leave(b, action, budget.Waiting, 1, now)
		if len(first) != 1 {
			t.Fatal("a call waits in spite of a share")
		}
		b.Done(first[0], budget.Succeeded, now)
		if got := len(b.Due(now.Add(time.Minute))) + len(leave(b, action, budget.Waiting, 100, now.Add(time.Minute))); got < 2 {
			t.Errorf("%d leave", got)
		}
	})
	t.Run("short pauses", func(t *testing.T) {
		b := budget.New("i-1")
		b.Share(action, 10, 10, until, start)
		now := throttle(t, b, action, budget.Cleaning, 8, start)
		if at := b.When(action, budget.Cleaning, now).Sub(now); at > 7*time.Second {
			t.Errorf("pauses for %s", at)
		}
	})
	t.Run("nothing is a call in twenty minutes", func(t *testing.T) {
		b := budget.New("i-1")
		b.Share(action, 0, 0, until, start)
		leave(b, action, budget.Waiting, 5, start)
		if next, ok := b.Next(start); !ok || next.Sub(start) > 5*time.Minute {
			t.Errorf("the next call may leave at %s", next)
		}
	})
	t.Run("of a clock that is wrong", func(t *testing.T) {
		b := budget.New("i-1")
		b.Share(action, 0.01, 1, start.AddDate(1000, 0, 0), start)
		if s := b.Status(start.Add(11 * time.Minute))[0]; s.Shared {
			t.Error("a share outlives who handed it out")
		}
	})
	t.Run("no numbers", func(t *testing.T) {
		b := budget.New("i-1")
		for _, v := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
			b.Share(action, v, 1, until, start)
			b.Share(action, 1, v, until, start)
		}
		b.Share(action, -1, 1, until, start)
		b.Share(action, 1, 1, start, start)
		if got := len(leave(b, action, budget.Waiting, 100, start)); got != 16 {
			t.Errorf("%d leave", got)
		}
	})
}

func TestClockThatGoesBack(t *testing.T) {
	b := budget.New("i-1")
	b.SetPeers(5000)
	throttle(t, b, action, budget.Starting, 10, start.AddDate(10, 0, 0))
	b.Enter(action, budget.Starting, start)
	if next, ok := b.Next(start); !ok || next.Sub(start) > time.Hour {
		t.Errorf("the next call may leave at %s", next)
	}
	if got := b.Due(start.Add(time.Hour)); len(got) != 1 {
		t.Errorf("%d leave an hour later", len(got))
	}
	now := start.Add(2 * time.Hour)
	leave(b, "CreateTags", budget.Waiting, 100, now)
	if got := b.Due(now.Add(-time.Hour)); len(got) != 0 {
		t.Errorf("a clock that goes back lets %d leave", len(got))
	}
}

func TestLostAnswer(t *testing.T) {
	b := budget.New("i-1")
	now := throttle(t, b, action, budget.Waiting, 1, start).Add(time.Second)
	if len(leave(b, action, budget.Waiting, 2, now)) != 1 {
		t.Fatal("more than one call of a throttled action leaves")
	}
	if got := b.Due(now.Add(time.Minute)); len(got) != 1 {
		t.Errorf("%d calls leave beside one that never ends", len(got))
	}
}

func TestGarbage(t *testing.T) {
	b := budget.New("")
	b.Done(nil, budget.Throttled, start)
	b.Cancel(nil)
	b.SetPeers(math.MinInt)
	for _, lane := range []budget.Lane{-1, 99, math.MinInt, math.MaxInt} {
		c := b.Enter("", lane, time.Time{})
		b.Done(c, budget.Throttled, start) // it has not left
		b.Cancel(c)
		b.Cancel(c)
	}
	if _, ok := b.Throttled("nothing"); ok {
		t.Error("an action that nobody asked for is throttled")
	}
	c := leave(b, action, budget.Waiting, 1, start)[0]
	b.Done(c, budget.Answer(99), start)
	b.Done(c, budget.Throttled, start) // ended before
	if _, ok := b.Throttled(action); ok {
		t.Error("a call ended twice")
	}
	if _, ok := b.Next(start); ok {
		t.Error("something waits")
	}
}

func TestNodesDoNotTryTogether(t *testing.T) {
	seen := make(map[time.Duration]bool)
	for i := range 1000 {
		b := budget.New(fmt.Sprint("i-", i))
		now := throttle(t, b, action, budget.Starting, 1, start)
		seen[b.When(action, budget.Starting, now).Sub(now).Round(time.Millisecond)] = true
	}
	if len(seen) < 600 {
		t.Errorf("1,000 nodes choose %d moments", len(seen))
	}
}

func TestLaneOfAContext(t *testing.T) {
	if l := budget.From(t.Context()); l != budget.Waiting {
		t.Errorf("without a word the lane is %s", l)
	}
	ctx, cancel := context.WithCancel(budget.Into(t.Context(), budget.Warm))
	defer cancel()
	if l := budget.From(ctx); l != budget.Warm {
		t.Errorf("the lane is %s", l)
	}
}

// model is what every history must keep to: tokens of a bucket that never adapts, and who waits.
type model struct {
	b       *budget.Budget
	now     time.Time
	tokens  float64
	at      time.Time
	waiting map[*budget.Call]int // in the order of entry
	flying  []*budget.Call
	entered int
}

func (m *model) due(t *rapid.T) {
	if d := m.now.Sub(m.at); d > 0 {
		m.tokens = min(16, m.tokens+d.Seconds()*2)
	}
	m.at = m.now
	next, ok := m.b.Next(m.now)
	if ok != (len(m.waiting) > 0) {
		t.Fatalf("%d wait, Next says %v", len(m.waiting), ok)
	}
	calls := m.b.Due(m.now)
	if ok && (len(calls) > 0) == next.After(m.now) {
		t.Fatalf("at %s %d leave, Next said %s", m.now, len(calls), next)
	}
	for _, c := range calls {
		if m.tokens--; m.tokens < -1e-6 {
			t.Fatalf("leaves without a token: %v", m.tokens)
		}
		mine, waits := m.waiting[c]
		if !waits {
			t.Fatal("a call leaves that does not wait")
		}
		for other, order := range m.waiting {
			if other.Lane() < c.Lane() || other.Lane() == c.Lane() && order < mine {
				t.Fatalf("a call in lane %s leaves before one in lane %s", c.Lane(), other.Lane())
			}
		}
		delete(m.waiting, c)
		m.flying = append(m.flying, c)
	}
}

// Whatever happens, calls keep to the bucket and to the order of lanes, and all leave in the end.
func TestHistories(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &model{b: budget.New(rapid.String().Draw(t, "node")), now: start, at: start, tokens: 16, waiting: make(map[*budget.Call]int)}
		m.b.SetPeers(rapid.SampledFrom([]int{0, 1, 1500, 1 << 40}).Draw(t, "peers"))
		t.Repeat(map[string]func(*rapid.T){
			"enter": func(t *rapid.T) {
				m.entered++
				m.waiting[m.b.Enter(action, budget.Lane(rapid.IntRange(0, 3).Draw(t, "lane")), m.now)] = m.entered
				m.due(t)
			},
			"end": func(t *rapid.T) {
				if len(m.flying) == 0 {
					t.Skip()
				}
				i := rapid.IntRange(0, len(m.flying)-1).Draw(t, "call")
				m.b.Done(m.flying[i], budget.Answer(rapid.IntRange(0, 2).Draw(t, "answer")), m.now)
				m.flying = append(m.flying[:i:i], m.flying[i+1:]...)
				m.due(t)
			},
			"cancel": func(t *rapid.T) {
				n := rapid.IntRange(0, m.entered).Draw(t, "call")
				for c, order := range m.waiting {
					if order == n {
						m.b.Cancel(c)
						delete(m.waiting, c)
					}
				}
				m.due(t)
			},
			"pass": func(t *rapid.T) {
				m.now = m.now.Add(time.Duration(rapid.Int64Range(0, int64(20*time.Second)).Draw(t, "time")))
				m.due(t)
			},
		})
		for range 10 * (m.entered + 1) {
			for _, c := range m.flying {
				m.b.Done(c, budget.Succeeded, m.now)
			}
			m.flying = nil
			next, ok := m.b.Next(m.now)
			if !ok {
				break
			}
			if next.Sub(m.now) > time.Hour {
				t.Fatalf("the next call may leave after %s", next.Sub(m.now))
			}
			m.now = next
			m.due(t)
		}
		if len(m.waiting) > 0 {
			t.Fatalf("%d calls never leave", len(m.waiting))
		}
	})
}

// The clock may do what it likes.
func TestAnyClock(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := budget.New("i-1")
		b.SetPeers(rapid.Int().Draw(t, "peers"))
		now := start
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.Int64Range(-int64(time.Hour), int64(time.Hour)).Draw(t, "step")))
			b.Enter(action, budget.Lane(rapid.IntRange(0, 3).Draw(t, "lane")), now)
			if rapid.Bool().Draw(t, "share") {
				b.Share(action, rapid.Float64().Draw(t, "rate"), rapid.Float64().Draw(t, "burst"), now.Add(time.Minute), now)
			}
			for _, c := range b.Due(now) {
				b.Done(c, budget.Answer(rapid.IntRange(0, 2).Draw(t, "answer")), now)
			}
			if next, ok := b.Next(now); ok && (next.Before(now) || next.Sub(now) > 2*time.Hour) {
				t.Fatalf("at %s the next call may leave at %s", now, next)
			}
		}
	})
}

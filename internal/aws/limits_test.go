package aws

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/berth-net/berth/internal/core/budget"
	"github.com/berth-net/berth/internal/core/vpc"
)

// once waits for a turn and ends it, and returns how long it took.
func once(ctx context.Context, t *testing.T, l *limits, action string, answer budget.Answer) (time.Duration, error) {
	t.Helper()
	start := time.Now()
	call, err := l.wait(ctx, action)
	if err == nil {
		l.done(call, answer)
	}
	return time.Since(start), err
}

func TestBudgetLetsABurstThrough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimits("i-1")
		var took time.Duration
		for range 20 {
			d, err := once(t.Context(), t, l, "CreateTags", budget.Succeeded)
			if err != nil {
				t.Fatal(err)
			}
			took += d
		}
		if took != 2*time.Second { // 16 at once, then two a second
			t.Errorf("20 calls took %v", took)
		}
	})
}

func TestThrottlingIsPerActionAndGrows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimits("i-1")
		var last, total time.Duration
		for range 9 {
			d, err := once(t.Context(), t, l, "DescribeSubnets", budget.Throttled)
			if err != nil {
				t.Fatal(err)
			}
			last = d
			total += d
			if d, err := once(t.Context(), t, l, "DescribeNetworkInterfaces", budget.Succeeded); err != nil || d > time.Second {
				t.Errorf("another action waited %v: %v", d, err)
			}
		}
		if last < time.Second || total > 12*time.Second {
			t.Errorf("the last pause is %v, all together %v", last, total)
		}
		if !l.throttled("DescribeSubnets") || l.throttled("DescribeNetworkInterfaces") {
			t.Error("throttled is told of the wrong action")
		}
		if _, err := once(t.Context(), t, l, "DescribeSubnets", budget.Succeeded); err != nil {
			t.Fatal(err)
		}
		if d, err := once(t.Context(), t, l, "DescribeSubnets", budget.Succeeded); err != nil || d > time.Second || l.throttled("DescribeSubnets") {
			t.Errorf("after a success waited %v, %v", d, err)
		}
	})
}

// A call that would sleep long comes back: the planner may know something better by then.
func TestFarTurnIsToldAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimits("i-1")
		warm := budget.Into(t.Context(), budget.Warm)
		if _, err := once(warm, t, l, "AttachNetworkInterface", budget.Throttled); err != nil {
			t.Fatal(err)
		}
		d, err := once(warm, t, l, "AttachNetworkInterface", budget.Succeeded)
		held, ok := errors.AsType[*budget.HeldError](err)
		if !ok || d != 0 || held.Action != "AttachNetworkInterface" || time.Until(held.Until) < 10*time.Second {
			t.Errorf("after %v: %v", d, err)
		}
		if d, err := once(t.Context(), t, l, "AttachNetworkInterface", budget.Succeeded); err != nil || d != 0 {
			t.Errorf("a waiting pod's call waited %v, %v", d, err)
		}
	})
}

// The first of many calls of a throttled action goes ahead; what it hears sends those behind it back.
func TestCallsBehindAProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimits("i-1")
		warm := budget.Into(t.Context(), budget.Warm)
		var probes []*budget.Call
		for range 4 { // the bucket's share of the lane
			call, err := l.wait(warm, "AttachNetworkInterface")
			if err != nil {
				t.Fatal(err)
			}
			probes = append(probes, call)
		}
		var wg sync.WaitGroup
		start := time.Now()
		for range 5 {
			wg.Go(func() {
				if call, err := l.wait(warm, "AttachNetworkInterface"); err == nil {
					l.done(call, budget.Throttled)
				}
			})
		}
		l.done(probes[0], budget.Throttled)
		wg.Wait()
		if d := time.Since(start); d > time.Second {
			t.Errorf("calls behind a throttled one were told after %v", d)
		}
	})
}

func TestLanesGoInTheirOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimits("i-1")
		if _, err := once(t.Context(), t, l, "CreateTags", budget.Throttled); err != nil {
			t.Fatal(err)
		}
		if _, err := once(t.Context(), t, l, "CreateTags", budget.Succeeded); err != nil { // the lanes may go, one by one
			t.Fatal(err)
		}
		probe, err := l.wait(t.Context(), "CreateTags")
		if err != nil {
			t.Fatal(err)
		}
		second, err := l.wait(t.Context(), "CreateTags")
		if err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		var order []string
		var wg sync.WaitGroup
		for range 2 {
			for _, lane := range []budget.Lane{budget.Starting, budget.Waiting} {
				wg.Go(func() {
					call, err := l.wait(budget.Into(t.Context(), lane), "CreateTags")
					if err != nil {
						return // sent back: the lane still pauses
					}
					mu.Lock()
					order = append(order, lane.String())
					mu.Unlock()
					l.done(call, budget.Unknown)
				})
			}
		}
		synctest.Wait()
		if len(order) != 0 {
			t.Errorf("%v left beside the probes", order)
		}
		l.done(probe, budget.Unknown)
		l.done(second, budget.Unknown)
		wg.Wait()
		if len(order) < 2 || order[0] != "waiting" || order[1] != "waiting" {
			t.Errorf("order %v", order)
		}
	})
}

func TestWaitEndsWithItsCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimits("i-1")
		for range 9 {
			if _, err := once(t.Context(), t, l, "DescribeSubnets", budget.Throttled); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if d, err := once(ctx, t, l, "DescribeSubnets", budget.Succeeded); !errors.Is(err, context.DeadlineExceeded) || d != time.Second {
			t.Errorf("waited %v, %v", d, err)
		}
		if s := l.budget.Status(time.Now())[0]; s.Waiting != [4]int{} {
			t.Errorf("calls are left behind: %v", s.Waiting)
		}
		cancel()
		if _, err := l.wait(ctx, "CreateTags"); err == nil {
			t.Error("a caller that has ended has its turn")
		}
	})
}

func TestBudgets(t *testing.T) {
	throttled := apiError(503, "RequestLimitExceeded", "Request limit exceeded.")
	c, _, _ := connect(t, map[string][]answer{"AttachNetworkInterface": {throttled}, "CreateTags": {reply("CreateTags", "<return>true</return>")}})
	ctx := budget.Into(t.Context(), budget.Cleaning)
	_, err := c.AttachENI(ctx, AttachENI{ENI: "eni-1", Instance: "i-1", DeviceIndex: 1})
	held, ok := errors.AsType[*budget.HeldError](err)
	if vpc.CodeOf(err) != vpc.Throttled || !ok || time.Until(held.Until) < 20*time.Second {
		t.Errorf("attach: %v", err)
	}
	if err := c.TagENI(ctx, "eni-1", vpc.Tags{"a": "b"}); err != nil {
		t.Error(err)
	}
	type row struct {
		Action    string
		Full      bool
		Throttled bool
	}
	var got []row
	for _, s := range c.Budgets() {
		got = append(got, row{s.Action, s.Rate == s.Full, !s.Since.IsZero()})
	}
	if diff := cmp.Diff([]row{{"AttachNetworkInterface", false, true}, {"CreateTags", true, false}}, got); diff != "" {
		t.Errorf("budgets (-want +got):\n%s", diff)
	}
	c.SetPeers(1500)
	c.Divide(budget.Divide(500, 500, 1), true, time.Now().Add(time.Minute))
	if s := c.Budgets()[1]; s.Action != "AttachNetworkInterface" || !s.Shared || s.Rate != .01 {
		t.Errorf("with a share: %+v", s)
	}
}

// A call that a share holds back comes back at once, so that the planner may ask for what pods wait for.
func TestCallThatAShareHoldsBack(t *testing.T) {
	ok := reply("AttachNetworkInterface", "<attachmentId>eni-attach-1</attachmentId>")
	c, e, _ := connect(t, map[string][]answer{"AttachNetworkInterface": {ok, ok, ok}})
	c.Divide(budget.Divide(1000, 5000, 1), false, time.Now().Add(time.Minute))
	attach := func(lane budget.Lane) (held *budget.HeldError, err error) {
		_, err = c.AttachENI(budget.Into(t.Context(), lane), AttachENI{ENI: "eni-1", Instance: "i-1", DeviceIndex: 1})
		held, _ = errors.AsType[*budget.HeldError](err)
		return held, err
	}
	if held, err := attach(budget.Warm); held != nil {
		t.Errorf("the first: %v", err)
	}
	if held, err := attach(budget.Warm); held == nil || vpc.CodeOf(err) != vpc.Throttled || !strings.Contains(err.Error(), "berth-controller") {
		t.Errorf("the second: %v", err)
	}
	if held, err := attach(budget.Waiting); held != nil {
		t.Errorf("what a pod waits for: %v", err)
	}
	if n := len(e.forms("AttachNetworkInterface")); n != 2 {
		t.Errorf("%d attempts", n)
	}
}

// An earlier try had no known outcome and the budget holds the next one back: what happened is not known.
func TestHeldAfterAnUnknownOutcomeIsInDoubt(t *testing.T) {
	c, e, _ := connect(t, map[string][]answer{"DetachNetworkInterface": {{}, apiError(503, "RequestLimitExceeded", "Request limit exceeded.")}})
	err := c.DetachENI(budget.Into(t.Context(), budget.Warm), "eni-1", "eni-attach-1")
	if n := len(e.forms("DetachNetworkInterface")); vpc.CodeOf(err) != vpc.Internal || n != 2 {
		t.Errorf("detach, %d attempts: %v", n, err)
	}
}

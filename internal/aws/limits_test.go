package aws

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func half() float64 { return 0.5 }

func TestBudgetLetsABurstThrough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimits(half)
		start := time.Now()
		for range int(writeBurst) {
			if err := l.wait(t.Context(), "CreateTags"); err != nil {
				t.Fatal(err)
			}
		}
		if d := time.Since(start); d != 0 {
			t.Errorf("the burst took %v", d)
		}
		for range 10 {
			if err := l.wait(t.Context(), "CreateTags"); err != nil {
				t.Fatal(err)
			}
		}
		if d := time.Since(start); d != 2*time.Second { // at 5 a second
			t.Errorf("ten more took %v", d)
		}
	})
}

func TestThrottlingIsPerActionAndGrows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimits(half)
		var waits []time.Duration
		for range 7 {
			l.throttle("DescribeSubnets")
			start := time.Now()
			if err := l.wait(t.Context(), "DescribeSubnets"); err != nil {
				t.Fatal(err)
			}
			waits = append(waits, time.Since(start).Round(time.Millisecond))
			start = time.Now()
			if err := l.wait(t.Context(), "DescribeNetworkInterfaces"); err != nil || time.Since(start) != 0 {
				t.Errorf("another action waited %v: %v", time.Since(start), err)
			}
		}
		for i, d := range waits[1:] {
			if d < waits[i] {
				t.Errorf("pauses do not grow: %v", waits)
			}
		}
		if last := waits[len(waits)-1]; last < 5*time.Second || last > 2*maxBackoff {
			t.Errorf("pauses %v", waits)
		}
		if !l.throttled("DescribeSubnets") || l.throttled("DescribeNetworkInterfaces") {
			t.Error("throttled is told of the wrong action")
		}
		l.succeed("DescribeSubnets")
		time.Sleep(time.Minute) //nolint:forbidigo // virtual time: the budget refills
		start := time.Now()
		if err := l.wait(t.Context(), "DescribeSubnets"); err != nil || time.Since(start) != 0 || l.throttled("DescribeSubnets") {
			t.Errorf("after a success waited %v, %v", time.Since(start), err)
		}
	})
}

// Many callers that are throttled at once count as one.
func TestThrottledTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimits(half)
		for range 10 {
			l.throttle("CreateNetworkInterface")
		}
		start := time.Now()
		if err := l.wait(t.Context(), "CreateNetworkInterface"); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(start); d > time.Second {
			t.Errorf("waited %v", d)
		}
	})
}

func TestWaitEndsWithItsCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimits(half)
		for range 4 {
			l.throttle("DescribeSubnets")
			time.Sleep(maxBackoff) //nolint:forbidigo // virtual time
		}
		l.throttle("DescribeSubnets")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		if err := l.wait(ctx, "DescribeSubnets"); err == nil || time.Since(start) != time.Second {
			t.Errorf("waited %v, %v", time.Since(start), err)
		}
	})
}

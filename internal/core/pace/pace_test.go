package pace_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/berth-net/berth/internal/core/pace"
	"github.com/berth-net/berth/internal/core/vpc"
)

// waits is how long a key waits after each of n failures.
func waits(tries *pace.Tries, code vpc.Code, n int) []time.Duration {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	var list []time.Duration
	for range n {
		tries.Fail("k", code, now)
		tries.Each(func(_ string, next time.Time) {
			list = append(list, next.Sub(now))
			now = next
		})
	}
	return list
}

func TestFailuresSpaceTheTries(t *testing.T) {
	for name, tc := range map[string]struct {
		code vpc.Code
		want []time.Duration
	}{
		"a throttle doubles, to half a minute": {vpc.Throttled, []time.Duration{250 * time.Millisecond, 500 * time.Millisecond, time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 16 * time.Second, 32 * time.Second, 32 * time.Second}},
		"a denial waits a minute at once":      {vpc.NotAuthorized, []time.Duration{time.Minute, time.Minute}},
	} {
		t.Run(name, func(t *testing.T) {
			for i, got := range waits(pace.New("i-1"), tc.code, len(tc.want)) {
				if want := tc.want[i]; got < want*3/4 || got > want*5/4 {
					t.Errorf("after failure %d the wait is %s, want about %s", i+1, got, want)
				}
			}
		})
	}
}

func TestNodesDoNotTryTogether(t *testing.T) {
	seen := make(map[time.Duration]bool)
	for i := range 100 {
		seen[waits(pace.New(fmt.Sprint("i-", i)), vpc.Throttled, 8)[7]] = true
	}
	if len(seen) < 80 {
		t.Errorf("100 nodes choose %d moments", len(seen))
	}
}

func TestSuccessEndsFailures(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	tries := pace.New("i-1")
	tries.Fail("k", vpc.Invalid, now)
	if tries.May("k", now) || !tries.Failed("k") || !tries.Refused("k") {
		t.Error("the failure has no effect")
	}
	tries.Done("k")
	if !tries.May("k", now) || tries.Failed("k") || tries.Refused("k") {
		t.Error("the failure outlives a success")
	}
	tries.Postpone("k", now.Add(time.Second))
	if tries.May("k", now) || tries.Failed("k") {
		t.Error("a pause is no pause, or a failure")
	}
	tries.Forget(now.Add(time.Minute))
	tries.Each(func(key string, _ time.Time) { t.Errorf("%s is not forgotten", key) })
}

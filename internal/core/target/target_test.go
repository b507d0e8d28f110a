package target_test

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/berth-net/berth/internal/core/target"
)

func TestShort(t *testing.T) {
	eni := func(n int) target.Warm { return target.Warm{ENIs: n, Unit: 1} }
	prefix := func(n int) target.Warm { return target.Warm{Prefixes: n, InPrefixes: true, Unit: 16} }
	ahead := func(free, reach int) target.Warm {
		return target.Warm{ENIs: target.NotSet, Unit: 1, Ahead: target.Ahead{Free: free, Reach: reach}}
	}
	ip := func(warm, minimum int) target.Warm { return target.Warm{IPs: warm, Minimum: minimum, Unit: 1} }
	tests := []struct {
		name    string
		warm    target.Warm
		tally   target.Tally
		maxPods int
		want    target.Short
	}{
		{"one interface's worth, none yet", eni(1), target.Tally{}, 29, target.Short{9, 0, true, false}},
		{"one interface's worth free", eni(1), target.Tally{Free: 9}, 29, target.Short{0, 0, true, false}},
		{"one pod took of it", eni(1), target.Tally{Free: 8, InUse: 1}, 29, target.Short{1, 0, true, false}},
		{"a cooling address is soon free", eni(1), target.Tally{Free: 8, Cooling: 1}, 29, target.Short{0, 0, true, false}},
		{"what is coming counts", eni(1), target.Tally{Coming: 9}, 29, target.Short{0, 0, true, false}},
		{"no interface's worth: one when none is free", eni(0), target.Tally{InUse: 9}, 29, target.Short{1, 0, true, false}},
		{"no interface's worth, one free", eni(0), target.Tally{Free: 1, InUse: 8}, 29, target.Short{0, 0, true, false}},
		{"pods wait", eni(0), target.Tally{InUse: 9, Waiting: 3}, 29, target.Short{4, 3, true, false}},
		{"pods wait for what cools: others are taken", ip(2, 5), target.Tally{Free: 2, Cooling: 5, Waiting: 5}, 29, target.Short{5, 3, false, false}},
		{"warm addresses", ip(2, 0), target.Tally{Free: 1, InUse: 4}, 29, target.Short{1, 0, false, false}},
		{"warm addresses do not count cooling", ip(2, 0), target.Tally{Free: 0, Cooling: 4}, 29, target.Short{2, 0, false, false}},
		{"minimum", ip(0, 12), target.Tally{Free: 2, InUse: 4}, 29, target.Short{6, 0, false, false}},
		{"minimum counts cooling", ip(0, 12), target.Tally{Free: 2, InUse: 4, Cooling: 6}, 29, target.Short{0, 0, false, false}},
		{"never more than max pods", ip(20, 0), target.Tally{Free: 1, InUse: 8}, 17, target.Short{8, 0, false, false}},
		{"max pods reached", eni(1), target.Tally{InUse: 27, Free: 2}, 29, target.Short{0, 0, true, false}},
		{"one prefix's worth", prefix(1), target.Tally{Free: 15, InUse: 1}, 110, target.Short{1, 0, false, false}},
		{"no prefix's worth, one address free", prefix(0), target.Tally{Free: 1, InUse: 15}, 110, target.Short{0, 0, false, false}},
		{"no prefix's worth, none free", prefix(0), target.Tally{InUse: 16}, 110, target.Short{1, 0, false, false}},
		{"a waiting pod takes an address of the other kind", prefix(1), target.Tally{Other: 3, Waiting: 2}, 110, target.Short{16, 0, false, false}},
		{"pods wait for more than the other kind has", prefix(0), target.Tally{Other: 3, Waiting: 5}, 110, target.Short{3, 2, false, false}},
		{"ahead of demand", ahead(3, 5), target.Tally{Free: 1, InUse: 4, Assignable: 20}, 29, target.Short{2, 0, false, false}},
		{"ahead of demand, interfaces are nearly full", ahead(3, 8), target.Tally{Free: 3, InUse: 4, Assignable: 4}, 29, target.Short{0, 0, false, true}},
		{"nearly full, and no more pods can come", ahead(3, 8), target.Tally{Free: 3, InUse: 24}, 27, target.Short{0, 0, false, false}},
		{"a pod that waits counts beyond max pods", eni(1), target.Tally{InUse: 29, Waiting: 1}, 29, target.Short{1, 1, true, false}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.warm.Short(tt.tally, 9, tt.maxPods); got != tt.want {
				t.Errorf("short %+v, want %+v", got, tt.want)
			}
		})
	}
}

// Growth to the targets is never called excess: else the node would give back what it has just asked for.
func TestGrowthIsNeverExcess(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		number := func(name string, low, high int) int { return rapid.IntRange(low, high).Draw(t, name) }
		c := target.Warm{
			ENIs: number("warm ENI", -1, 3), IPs: number("warm IP", 0, 10), Minimum: number("minimum", 0, 30), Prefixes: number("warm prefix", -1, 2), Unit: 1,
			Ahead: target.Ahead{Free: number("ahead", 0, 20), Keep: number("keep", 0, 24)},
		}
		if c.InPrefixes = rapid.Bool().Draw(t, "in prefixes"); c.InPrefixes {
			c.Unit = 16
		}
		tally := target.Tally{Free: number("free", 0, 20), InUse: number("in use", 0, 20), Cooling: number("cooling", 0, 10), Assignable: 100}
		n := c.Short(tally, 9, 1000)
		if n.Count == 0 {
			return
		}
		blocks := (n.Count + c.Unit - 1) / c.Unit
		tally.Free += blocks * c.Unit
		tally.Idle = blocks
		if over := c.Excess(tally); over != 0 {
			t.Fatalf("%d added, then %d too many", n.Count, over)
		}
		if again := c.Short(tally, 9, 1000); again.Count != 0 {
			t.Fatalf("%d added, then %d more", n.Count, again.Count)
		}
		tally.Cooling = 0
		tally.Free += 100
		tally.Idle += 100 / c.Unit
		tally.Free -= c.Excess(tally) * c.Unit
		if again := c.Short(tally, 9, 1000); again.Count != 0 {
			t.Fatalf("after excess was given back, %d are short", again.Count)
		}
	})
}

func TestPeakOfDemand(t *testing.T) {
	var d target.Demand
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for _, s := range []int{0, 10, 11, 12, 13, 60, 61} {
		d.Came(fmt.Sprint("pod-", s), now.Add(time.Duration(s)*time.Second))
	}
	d.Came("pod-61", now.Add(61*time.Second)) // asks again
	for _, tt := range []struct {
		within, later time.Duration
		want          int
	}{
		{3 * time.Second, time.Minute, 4},
		{time.Second, time.Minute, 2},
		{time.Hour, time.Minute, 7},
		{3 * time.Second, 15*time.Minute + 30*time.Second, 2},
		{time.Second, time.Hour, 0},
	} {
		if got := d.Peak(tt.within, now.Add(tt.later)); got != tt.want {
			t.Errorf("within %s, %s later: %d, want %d", tt.within, tt.later, got, tt.want)
		}
	}
}

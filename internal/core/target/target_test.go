package target_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/berth-net/berth/internal/core/target"
)

func TestShort(t *testing.T) {
	eni := func(n int) target.Warm { return target.Warm{ENIs: n} }
	ip := func(warm, minimum int) target.Warm { return target.Warm{IPs: warm, Minimum: minimum} }
	tests := []struct {
		name    string
		warm    target.Warm
		tally   target.Tally
		maxPods int
		want    target.Short
	}{
		{"one interface's worth, none yet", eni(1), target.Tally{}, 29, target.Short{9, 0, true}},
		{"one interface's worth free", eni(1), target.Tally{Free: 9}, 29, target.Short{0, 0, true}},
		{"one pod took of it", eni(1), target.Tally{Free: 8, InUse: 1}, 29, target.Short{1, 0, true}},
		{"a cooling address is soon free", eni(1), target.Tally{Free: 8, Cooling: 1}, 29, target.Short{0, 0, true}},
		{"what is coming counts", eni(1), target.Tally{Coming: 9}, 29, target.Short{0, 0, true}},
		{"no interface's worth: one when none is free", eni(0), target.Tally{InUse: 9}, 29, target.Short{1, 0, true}},
		{"no interface's worth, one free", eni(0), target.Tally{Free: 1, InUse: 8}, 29, target.Short{0, 0, true}},
		{"pods wait", eni(0), target.Tally{InUse: 9, Waiting: 3}, 29, target.Short{4, 3, true}},
		{"pods wait for what cools: others are taken", ip(2, 5), target.Tally{Free: 2, Cooling: 5, Waiting: 5}, 29, target.Short{5, 3, false}},
		{"warm addresses", ip(2, 0), target.Tally{Free: 1, InUse: 4}, 29, target.Short{1, 0, false}},
		{"warm addresses do not count cooling", ip(2, 0), target.Tally{Free: 0, Cooling: 4}, 29, target.Short{2, 0, false}},
		{"minimum", ip(0, 12), target.Tally{Free: 2, InUse: 4}, 29, target.Short{6, 0, false}},
		{"minimum counts cooling", ip(0, 12), target.Tally{Free: 2, InUse: 4, Cooling: 6}, 29, target.Short{0, 0, false}},
		{"never more than max pods", ip(20, 0), target.Tally{Free: 1, InUse: 8}, 17, target.Short{8, 0, false}},
		{"max pods reached", eni(1), target.Tally{InUse: 27, Free: 2}, 29, target.Short{0, 0, true}},
		{"a pod that waits counts beyond max pods", eni(1), target.Tally{InUse: 29, Waiting: 1}, 29, target.Short{1, 1, true}},
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
		number := func(name string, high int) int { return rapid.IntRange(0, high).Draw(t, name) }
		c := target.Warm{ENIs: number("warm ENI", 3), IPs: number("warm IP", 10), Minimum: number("minimum", 30)}
		tally := target.Tally{Free: number("free", 20), InUse: number("in use", 20), Cooling: number("cooling", 10)}
		n := c.Short(tally, 9, 1000)
		if n.Count == 0 {
			return
		}
		tally.Free += n.Count
		if over := c.Excess(tally); over != 0 {
			t.Fatalf("%d added, then %d too many", n.Count, over)
		}
		if again := c.Short(tally, 9, 1000); again.Count != 0 {
			t.Fatalf("%d added, then %d more", n.Count, again.Count)
		}
	})
}

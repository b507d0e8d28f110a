package ipam

import (
	"testing"

	"pgregory.net/rapid"
)

func TestNeeds(t *testing.T) {
	eni := func(n int) Config { return Config{WarmENI: n} }
	ip := func(warm, minimum int) Config { return Config{WarmIP: warm, MinimumIP: minimum} }
	tests := []struct {
		name    string
		cfg     Config
		tally   Tally
		maxPods int
		want    short
	}{
		{"one interface's worth, none yet", eni(1), Tally{}, 29, short{9, 0, true, WarmTarget}},
		{"one interface's worth free", eni(1), Tally{Free: 9}, 29, short{0, 0, true, WarmTarget}},
		{"one pod took of it", eni(1), Tally{Free: 8, InUse: 1}, 29, short{1, 0, true, WarmTarget}},
		{"a cooling address is soon free", eni(1), Tally{Free: 8, Cooling: 1}, 29, short{0, 0, true, WarmTarget}},
		{"what is coming counts", eni(1), Tally{Coming: 9}, 29, short{0, 0, true, WarmTarget}},
		{"no interface's worth: one when none is free", eni(0), Tally{InUse: 9}, 29, short{1, 0, true, WarmTarget}},
		{"no interface's worth, one free", eni(0), Tally{Free: 1, InUse: 8}, 29, short{0, 0, true, WarmTarget}},
		{"pods wait", eni(0), Tally{InUse: 9, Waiting: 3}, 29, short{4, 3, true, PodsWaiting}},
		{"pods wait for what cools: others are taken", ip(2, 5), Tally{Free: 2, Cooling: 5, Waiting: 5}, 29, short{5, 3, false, PodsWaiting}},
		{"warm addresses", ip(2, 0), Tally{Free: 1, InUse: 4}, 29, short{1, 0, false, WarmTarget}},
		{"warm addresses do not count cooling", ip(2, 0), Tally{Free: 0, Cooling: 4}, 29, short{2, 0, false, WarmTarget}},
		{"minimum", ip(0, 12), Tally{Free: 2, InUse: 4}, 29, short{6, 0, false, WarmTarget}},
		{"minimum counts cooling", ip(0, 12), Tally{Free: 2, InUse: 4, Cooling: 6}, 29, short{0, 0, false, WarmTarget}},
		{"never more than max pods", ip(20, 0), Tally{Free: 1, InUse: 8}, 17, short{8, 0, false, WarmTarget}},
		{"max pods reached", eni(1), Tally{InUse: 27, Free: 2}, 29, short{0, 0, true, WarmTarget}},
		{"a pod that waits counts beyond max pods", eni(1), Tally{InUse: 29, Waiting: 1}, 29, short{1, 1, true, PodsWaiting}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := needs(tt.cfg, tt.tally, 9, tt.maxPods); got != tt.want {
				t.Errorf("needs = %+v, want %+v", got, tt.want)
			}
		})
	}
}

// Growth to the targets is never called excess: else the node would give back what it has just asked for.
func TestGrowthIsNeverExcess(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		number := func(name string, high int) int { return rapid.IntRange(0, high).Draw(t, name) }
		c := Config{WarmENI: number("warm ENI", 3), WarmIP: number("warm IP", 10), MinimumIP: number("minimum", 30)}
		tally := Tally{Free: number("free", 20), InUse: number("in use", 20), Cooling: number("cooling", 10)}
		n := needs(c, tally, 9, 1000)
		if n.count == 0 {
			return
		}
		tally.Free += n.count
		if over := excess(c, tally); over != 0 {
			t.Fatalf("%d added, then %d too many", n.count, over)
		}
		if again := needs(c, tally, 9, 1000); again.count != 0 {
			t.Fatalf("%d added, then %d more", n.count, again.count)
		}
	})
}

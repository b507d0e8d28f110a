package budget_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/berth-net/berth/internal/core/budget"
)

// kinds of bursts: in prefix mode a node assigns one prefix; otherwise it attaches two interfaces, one after the other.
var kinds = []struct {
	action string
	size   float64
	calls  int
}{
	{"AssignPrivateIpAddresses", 100, 1},
	{"AttachNetworkInterface", 50, 2},
}

func bound(n, calls int, size float64) time.Duration {
	return time.Duration((float64(n*calls) - size) / 5 * float64(time.Second))
}

// A burst ends within a tenth after the time that the account's bucket needs, and costs few attempts. An agent that makes
// three attempts every five seconds makes 84 per node in the first row, and 294 for 5,000 nodes.
func TestBurst(t *testing.T) {
	tests := []struct {
		nodes, peers int
		lane         budget.Lane
		attempts     [2]float64 // most per node, by kind
	}{
		{1500, 0, budget.Waiting, [2]float64{18, 30}},
		{1500, 1500, budget.Waiting, [2]float64{7, 9}},
		{1500, 0, budget.Starting, [2]float64{8, 15}},
		{1500, 1500, budget.Starting, [2]float64{2, 3.1}},
		{5000, 0, budget.Waiting, [2]float64{30, 49}},
		{5000, 5000, budget.Waiting, [2]float64{8.2, 16}},
		{5000, 0, budget.Starting, [2]float64{16, 30}},
		{5000, 5000, budget.Starting, [2]float64{2, 3.1}},
	}
	for _, tt := range tests {
		for i, k := range kinds {
			t.Run(fmt.Sprintf("%d nodes %s peers %d %s", tt.nodes, tt.lane, tt.peers, k.action), func(t *testing.T) {
				t.Parallel()
				f := newFleet(k.action, k.size, 5, 1)
				list := f.burst(tt.nodes, k.calls, tt.peers, tt.lane)
				f.run(start.Add(3 * time.Hour))
				o, least := outcomeOf(list), bound(tt.nodes, k.calls, k.size)
				t.Logf("%.0f s, %.3f of the bound; %.2f attempts per node, at most %d", o.took.Seconds(), o.took.Seconds()/least.Seconds(), o.attempts, o.worst)
				if o.took < least || o.took > least*11/10 {
					t.Errorf("took %s, the bound is %s", o.took, least)
				}
				if o.attempts > tt.attempts[i] {
					t.Errorf("%.2f attempts per node, want at most %.1f", o.attempts, tt.attempts[i])
				}
			})
		}
	}
}

// A node that was told of too few peers makes no more attempts than one that was told of none; one that was told of too
// many waits longer than it had to, but hardly while pods wait.
func TestWrongPeers(t *testing.T) {
	for _, tt := range []struct {
		name     string
		peers    int
		lane     budget.Lane
		within   float64 // times the bound
		attempts float64
	}{
		{"too few", 300, budget.Waiting, 1.10, 17.5},
		{"one", 1, budget.Waiting, 1.10, 18},
		{"less than none", -5, budget.Waiting, 1.10, 18},
		{"too few, no pod waits", 300, budget.Starting, 1.2, 8},
		{"three times too many", 4500, budget.Waiting, 1.2, 8},
		{"three times too many, no pod waits", 4500, budget.Starting, 3.4, 2},
		{"absurd", 1 << 62, budget.Waiting, 1.5, 8},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFleet("AssignPrivateIpAddresses", 100, 5, 1)
			list := f.burst(1500, 1, tt.peers, tt.lane)
			f.run(start.Add(3 * time.Hour))
			o, least := outcomeOf(list), bound(1500, 1, 100)
			t.Logf("%.2f of the bound, %.2f attempts per node", o.took.Seconds()/least.Seconds(), o.attempts)
			if got := o.took.Seconds() / least.Seconds(); got < 1 || got > tt.within {
				t.Errorf("took %.2f times the bound, want at most %.2f", got, tt.within)
			}
			if o.attempts > tt.attempts {
				t.Errorf("%.2f attempts per node, want at most %.1f", o.attempts, tt.attempts)
			}
		})
	}
}

// A cluster of 50 nodes in which a pod waits now and then shares the account with one of 1,500 nodes that start.
func TestWaitingPodsOfAnotherCluster(t *testing.T) {
	for lane, want := range map[budget.Lane]time.Duration{
		budget.Waiting: 2500 * time.Millisecond, budget.Starting: 2 * time.Second, budget.Warm: 2 * time.Second, budget.Cleaning: 2 * time.Second,
	} {
		t.Run(lane.String(), func(t *testing.T) {
			var waits []time.Duration
			for seed := range uint64(3) {
				f := newFleet("AssignPrivateIpAddresses", 100, 5, seed)
				list := f.burst(1500, 1, 1500, lane)
				few := f.trickle(50, 5*time.Minute)
				f.run(start.Add(3 * time.Hour))
				for _, m := range few {
					waits = append(waits, m.waits...)
				}
				if o := outcomeOf(list); o.took == 0 || o.took > 10*time.Minute {
					t.Errorf("the burst took %s", o.took)
				}
			}
			p50, p99 := quantile(waits, .5), quantile(waits, .99)
			t.Logf("%d calls, p50 %s, p99 %s, longest %s", len(waits), p50, p99, quantile(waits, 1))
			if len(waits) < 600 || p99 > want {
				t.Errorf("%d calls waited, p99 %s", len(waits), p99)
			}
		})
	}
}

// Without a word of how many they are the nodes of a burst try more often, the more urgent the oftener: what a waiting pod
// elsewhere feels is less the lower their lane is.
func TestLowerLanesHoldBackMore(t *testing.T) {
	var attempts []float64
	for _, lane := range budget.Lanes() {
		f := newFleet("AssignPrivateIpAddresses", 100, 5, 1)
		list := f.burst(1500, 1, 0, lane)
		f.run(start.Add(time.Minute))
		attempts = append(attempts, outcomeOf(list).attempts)
	}
	t.Logf("attempts per node in the first minute: %.1f", attempts)
	for i, n := range attempts[1:] {
		if n >= attempts[i]*0.8 {
			t.Errorf("lane %s makes %.2f attempts, the lane above %.2f", budget.Lanes()[i+1], n, attempts[i])
		}
	}
}

package fleet

import (
	"slices"
	"testing"
	"time"

	"github.com/berth-net/berth/internal/core/pool"
	"github.com/berth-net/berth/internal/vpcsim/pacing"
)

// measuredOn is the machine on which the existing CNI was measured: 0.4 s a call, metadata 2 s behind, no buckets, and an
// emulator that attaches at once. There a call had its effect at its end and an interface was whole in metadata a moment
// after it was listed; here a call has its effect in its middle, so that 2.6 s after it are the same.
func measuredOn(seed uint64) *Region {
	return NewRegion(Options{
		Seed: seed, Calm: true, Call: pacing.Fixed(400 * time.Millisecond), Attach: pacing.Fixed(time.Millisecond), IMDS: pacing.Fixed(2600 * time.Millisecond),
	})
}

// lone is a fresh m5.large with the existing CNI, its agent ready.
func lone(r *Region, cfg Config) (*Cluster, *Node) {
	c := r.NewCluster("existing", Existing, cfg)
	n := c.Launch("m5.large", r.Subnet("10.0.0.0/24", 0, ""), 1)[0]
	c.Boot([]*Node{n}, 0)
	r.Run(time.Hour, func() bool { return n.agent.(*ipamd).serving }) //nolint:forcetypeassert // the policy is given above
	return c, n
}

// attempts counts the calls without the search for leaked interfaces, which comes minutes later as a rule.
func attempts(c *Cluster) int {
	f := c.Figures()
	all, _ := f.Attempts()
	return all - max(f.Calls["DescribeNetworkInterfaces"].OK-1, 0)
}

// waits are when pods got their addresses, in order, after the moment from.
func waits(c *Cluster) []time.Duration { return slices.Sorted(slices.Values(c.waits)) }

func within(t *testing.T, what string, have []time.Duration, from, to time.Duration) {
	t.Helper()
	for _, d := range have {
		if d < from || d > to {
			t.Errorf("%s: %v is not within %v and %v", what, have, from, to)
			return
		}
	}
}

// TestBaselineCallsOfAFreshNode reproduces row 1 of the measured baselines: eleven calls to two interfaces, seventeen to three.
func TestBaselineCallsOfAFreshNode(t *testing.T) {
	r := measuredOn(1)
	c, n := lone(r, Config{})
	if ready := r.now; ready < 3*time.Second || ready > 4500*time.Millisecond {
		t.Errorf("ready after %v, measured 3.5 s", ready)
	}
	for range 5 {
		c.Bind(n, 0)
	}
	r.Run(r.now+time.Minute, nil)
	want := map[string]int{
		"DescribeNetworkInterfaces": 1, "CreateTags": 1, "DescribeSubnets": 3, "ModifyNetworkInterfaceAttribute": 2, "AssignPrivateIpAddresses": 1,
		"CreateNetworkInterface": 1, "DescribeInstances": 1, "AttachNetworkInterface": 1,
	}
	for action, n := range want {
		if action == "DescribeNetworkInterfaces" {
			continue // see attempts
		}
		if got := c.Figures().Calls[action].All(); got != n {
			t.Errorf("%s: %d calls, measured %d", action, got, n)
		}
	}
	if all := attempts(c); all != 11 {
		t.Errorf("%d calls to two interfaces, measured 11", all)
	}
	for range 22 {
		c.Bind(n, 0)
	}
	r.Run(r.now+time.Minute, nil)
	if all := attempts(c); all != 17 {
		t.Errorf("%d calls to three interfaces, measured 17", all)
	}
}

// TestBaselineBurst reproduces row 3: 27 pods at once on a fresh node, in three waves.
func TestBaselineBurst(t *testing.T) {
	for seed := range uint64(5) {
		r := measuredOn(seed)
		c, n := lone(r, Config{})
		for range 27 {
			c.Bind(n, 450*time.Millisecond)
		}
		r.Run(r.now+time.Minute, nil)
		w := waits(c)
		if len(w) != 27 {
			t.Fatalf("%d pods have an address", len(w))
		}
		within(t, "pods 1 to 9, measured up to 0.47 s", w[:9], 0, 500*time.Millisecond)
		within(t, "pods 10 to 18, measured 8.2 to 8.9 s", w[9:18], 7500*time.Millisecond, 9500*time.Millisecond)
		within(t, "pods 19 to 27, measured 19.7 to 20.5 s", w[18:], 18500*time.Millisecond, 21500*time.Millisecond)
		if all := attempts(c); all != 17 {
			t.Errorf("%d calls, measured 17", all)
		}
	}
}

// TestBaselineChurn reproduces row 4: addresses that cool down count as available, so that some are given back while pods
// starve.
func TestBaselineChurn(t *testing.T) {
	for seed := range uint64(5) {
		r := measuredOn(seed)
		cfg := pool.Defaults()
		cfg.WarmIP, cfg.MinimumIP = 2, 5
		c, n := lone(r, Config{IPAM: cfg})
		var old []*Pod
		for range 5 {
			old = append(old, c.Bind(n, 0))
		}
		r.Run(r.now+time.Minute, nil)
		r.Mark()
		for _, p := range old {
			c.Delete(p)
		}
		for range 5 {
			c.Bind(n, 100*time.Millisecond)
		}
		r.Run(r.now+time.Minute, nil)
		w := waits(c)
		if len(w) != 5 {
			t.Fatalf("%d pods have an address", len(w))
		}
		within(t, "two at once, measured 0.3 s", w[:2], 0, 500*time.Millisecond)
		within(t, "three after the cooldown, measured 30.3 s", w[2:], 29*time.Second, 31500*time.Millisecond)
		f := c.Figures()
		if f.FailedAdds < 80 || f.FailedAdds > 93 {
			t.Errorf("%d ADDs failed, measured 83", f.FailedAdds)
		}
		if f.Calls["UnassignPrivateIpAddresses"].OK == 0 {
			t.Error("nothing was given back while pods starved")
		}
	}
}

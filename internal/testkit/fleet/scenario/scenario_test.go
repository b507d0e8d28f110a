package scenario

import (
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// checked fails a test when something happened that must never happen, or when nothing was checked.
func checked(t *testing.T, rep Report) {
	t.Helper()
	for _, w := range rep.Wrong {
		t.Errorf("%s: %s", rep.Title, w)
	}
	if rep.Audited < rep.Ours.Pods-rep.Ours.Unserved {
		t.Errorf("%s: only %d checks for %d pods", rep.Title, rep.Audited, rep.Ours.Pods)
	}
	if t.Failed() {
		rep.Print(t.Output())
	}
}

// TestScenarios runs all of `make sim`, small. The limits are generous: they hold what works, `make sim` has the real ones.
func TestScenarios(t *testing.T) {
	for _, s := range Scenarios(1, Quick()) {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			for _, rep := range s.Run() {
				checked(t, rep)
				if rep.Ours.Unserved > 0 && !rep.Ours.Steady && s.Name != "scattered" { // there are more pods than addresses
					t.Errorf("%s: %s", rep.Title, readiness(rep.Ours))
				}
				if most := generous[s.Name]; rep.Ours.P99 > most {
					t.Errorf("%s: p99 wait %s, at most %s", rep.Title, rep.Ours.P99, most)
				}
			}
		})
	}
}

// generous are the longest p99 waits that the small scenarios may have.
var generous = map[string]time.Duration{
	"start": 3 * time.Minute, "shared": 10 * time.Second, "churn": time.Second, "scattered": time.Hour, "fragmented": time.Minute,
	"rollout": time.Minute, "zone-loss": 10 * time.Second, "exhaustion": 10 * time.Minute,
}

// TestSameSeedSameFigures: a run can be repeated.
func TestSameSeedSameFigures(t *testing.T) {
	run := func(seed uint64) Report { return Start{Seed: seed, Nodes: 40, Pods: 27, Limit: time.Hour}.Run() }
	first, again, other := run(7), run(7), run(8)
	if d := cmp.Diff(first, again); d != "" {
		t.Errorf("the same seed gives other figures:\n%s", d)
	}
	if reflect.DeepEqual(first, other) {
		t.Error("another seed gives the same figures: nothing is drawn from it")
	}
}

// TestBoundIsOfTheBuckets holds the formula against the figures of the published table.
func TestBoundIsOfTheBuckets(t *testing.T) {
	for _, c := range []struct {
		name string
		of   Start
		want time.Duration
	}{
		{"two interfaces a node, attaching has the smallest bucket", Start{Nodes: 1500, Pods: 27}, 590 * time.Second},
		{"5,000 nodes", Start{Nodes: 5000, Pods: 27}, 1990 * time.Second},
		{"prefixes need one assignment", Start{Nodes: 1500, Pods: 27, Prefixes: true}, 280 * time.Second},
		{"one interface", Start{Nodes: 1000, Pods: 18}, 190 * time.Second},
	} {
		if got, words := c.of.bound(); got != c.want {
			t.Errorf("%s: %v (%s), want %v", c.name, got, words, c.want)
		}
	}
}

package node_test

import (
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/berth-net/berth/internal/core/pool"
	"github.com/berth-net/berth/internal/core/target"
	"github.com/berth-net/berth/internal/core/vpc"
)

// scenarios are lives of a node that together take every kind of action. They have no faults of their own.
var scenarios = map[string]struct {
	config func(*pool.Config)
	live   func(*simulation)
}{
	"whole interfaces": {func(*pool.Config) {}, func(s *simulation) {
		s.addMany(5, 20*time.Second)
		s.addMany(20, 40*time.Second)
		s.delMany(25, 6*time.Minute) // the emptied interfaces go
		s.addMany(4, time.Minute)
	}},
	"address targets": {func(c *pool.Config) { c.WarmENI, c.WarmIP, c.MinimumIP = 0, 2, 4 }, func(s *simulation) {
		s.addMany(12, 40*time.Second)
		s.delMany(9, 4*time.Minute) // the excess goes
		s.addMany(9, time.Minute)
	}},
	"prefixes, and away from them": {func(c *pool.Config) { c.Prefixes, c.WarmPrefix = true, 1 }, func(s *simulation) {
		s.addMany(20, 30*time.Second)
		s.change(func(c *pool.Config) { c.Prefixes = false })
		s.addMany(3, time.Minute)
		s.delMany(20, 3*time.Minute) // most of the prefixes go
	}},
	"custom networking under pods": {func(c *pool.Config) { c.WarmENI = target.NotSet }, func(s *simulation) {
		s.addMany(12, 40*time.Second)
		s.change(func(c *pool.Config) { c.CustomNetworking = true })
		s.addMany(4, time.Minute)
		s.delMany(12, 4*time.Minute) // the old interfaces empty
	}},
}

// change changes the settings under way; a later start has them, too.
func (s *simulation) change(f func(*pool.Config)) {
	f(&s.cfg)
	s.state.SetConfig(s.cfg)
	s.pump()
}

func (s *simulation) addMany(n int, then time.Duration) {
	for range n {
		s.addPod()
		s.pump()
	}
	s.live(then)
}

func (s *simulation) delMany(n int, then time.Duration) {
	for left := len(s.wired) - n; len(s.wired)-len(s.deleting) > max(left, 0); {
		s.delPod()
		s.pump()
	}
	s.live(then)
}

func (s *simulation) live(d time.Duration) {
	for end := s.now.Add(d); s.now.Before(end) && s.err == nil; {
		s.advance(time.Second)
		s.check()
	}
}

// play lives a scenario to its quiet end and returns the first rule that broke.
func play(name string, change func(*simulation)) error {
	sc := scenarios[name]
	s := emptySimulation(7, false)
	s.build("m5.large", 24)
	s.cfg = pool.Defaults()
	s.cfg.WarmENI = 1
	s.cfg.Cluster = "demo"
	s.custom = pool.Custom{Name: "default", Found: true, Subnet: s.podNet}
	sc.config(&s.cfg)
	s.boot(true)
	s.fate = func(pool.Action) fate { return fate{} }
	change(s)
	sc.live(s)
	s.point, s.fate = nil, nil
	s.quiet()
	return s.err
}

// TestDeathAtEveryPoint kills the agent at each moment that a scenario passes: every record, effect and answer of every
// action and of every pod. The points are those that the scenario itself reports.
func TestDeathAtEveryPoint(t *testing.T) {
	for name := range scenarios {
		var points []string
		if err := play(name, func(s *simulation) {
			s.point = func(p string) bool { points = append(points, p); return false }
		}); err != nil {
			t.Fatalf("%s without a death: %v", name, err)
		}
		wantKinds(t, name, points)
		each(t, len(points), func(i int) error {
			n := 0
			err := play(name, func(s *simulation) {
				s.point = func(string) bool { n++; return n-1 == i }
			})
			if err != nil {
				return fmt.Errorf("%s, death %d of %d, at %q: %w", name, i+1, len(points), points[i], err)
			}
			return nil
		})
		t.Logf("%s: %d points", name, len(points))
	}
}

// wantKinds guards against a scenario that stops taking the actions which it is there for.
func wantKinds(t *testing.T, name string, points []string) {
	t.Helper()
	want := []pool.Kind{pool.ReadENIs, pool.ReadSubnets, pool.AssignAddresses, pool.CreateENI, pool.AttachENI, pool.KeepENI, pool.TagENI}
	switch name {
	case "whole interfaces":
		want = append(want, pool.DetachENI, pool.ReadENI, pool.DeleteENI)
	case "prefixes, and away from them":
		want = []pool.Kind{pool.AssignAddresses, pool.UnassignAddresses}
	default:
		want = append(want, pool.UnassignAddresses)
	}
	for _, k := range want {
		found := false
		for _, p := range points {
			found = found || p == "finished "+string(k)
		}
		if !found {
			t.Errorf("%s takes no action of kind %s", name, k)
		}
	}
}

// TestFaultAtEveryAction lets each action of a scenario fail in each way: refused for good or for now, lost before or
// after its effect.
func TestFaultAtEveryAction(t *testing.T) {
	fates := []fate{{vpc.Throttled, true}, {vpc.Internal, true}, {vpc.Internal, false}, {vpc.NotAuthorized, true}, {vpc.Invalid, true}, {vpc.SubnetFull, true}, {vpc.PrefixFragmented, true}, {vpc.AddressTaken, true}, {vpc.LimitReached, true}, {vpc.NotFound, true}, {vpc.InUse, true}}
	for name := range scenarios {
		var actions []string
		if err := play(name, func(s *simulation) {
			s.fate = func(a pool.Action) fate { actions = append(actions, a.String()); return fate{} }
		}); err != nil {
			t.Fatalf("%s without a fault: %v", name, err)
		}
		each(t, len(actions)*len(fates), func(i int) error {
			which, what, n := i/len(fates), fates[i%len(fates)], 0
			err := play(name, func(s *simulation) {
				s.fate = func(pool.Action) fate {
					n++
					if n-1 == which {
						return what
					}
					return fate{}
				}
			})
			if err != nil {
				return fmt.Errorf("%s, %q ends with %s, before its effect %t: %w", name, actions[which], what.code, what.before, err)
			}
			return nil
		})
		t.Logf("%s: %d actions, %d ways to fail", name, len(actions), len(fates))
	}
}

// each runs n cases side by side.
func each(t *testing.T, n int, run func(i int) error) {
	t.Helper()
	cases := make(chan int)
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for i := range cases {
				if err := run(i); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for i := range n {
		cases <- i
	}
	close(cases)
	wg.Wait()
}

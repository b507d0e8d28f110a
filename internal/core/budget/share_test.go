package budget_test

import (
	"fmt"
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/berth-net/berth/internal/core/budget"
)

// account is EC2's bucket of each action that is divided, written down again.
var account = map[string]budget.Limit{
	"AssignPrivateIpAddresses": {Rate: 5, Burst: 100}, "AttachNetworkInterface": {Rate: 5, Burst: 50},
	"CreateNetworkInterface": {Rate: 5, Burst: 100}, "ModifyNetworkInterfaceAttribute": {Rate: 5, Burst: 100},
}

func TestDivide(t *testing.T) {
	for _, tt := range []struct {
		name          string
		hungry, nodes int
		part          float64
		want          budget.Portion // of AttachNetworkInterface
	}{
		{"all are hungry", 1000, 1000, 1, budget.Portion{Hungry: budget.Limit{Rate: .005, Burst: .05}}},
		{"half a bucket", 1000, 1000, .5, budget.Portion{Hungry: budget.Limit{Rate: .0025, Burst: .025}}},
		{"some are hungry", 100, 5000, 1, budget.Portion{
			Hungry: budget.Limit{Rate: .049, Burst: .49}, Other: budget.Limit{Rate: .1 / 4900, Burst: 1. / 4900},
		}},
		{"few others get no more than a hungry one", 1000, 1001, 1, budget.Portion{
			Hungry: budget.Limit{Rate: .0049, Burst: .049}, Other: budget.Limit{Rate: .00049, Burst: .0049},
		}},
		{"more hungry nodes than nodes", 1000, 3, 1, budget.Portion{Hungry: budget.Limit{Rate: .005, Burst: .05}}},
		{"more than the account has", 1000, 1000, 7, budget.Portion{Hungry: budget.Limit{Rate: .005, Burst: .05}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := budget.Divide(tt.hungry, tt.nodes, tt.part)
			if err := d.Check(); err != nil {
				t.Error(err)
			}
			for _, p := range d.Portions {
				if p.Action == "AttachNetworkInterface" {
					if !near(p.Hungry, tt.want.Hungry) || !near(p.Other, tt.want.Other) {
						t.Errorf("got %+v", p)
					}
					return
				}
			}
			t.Errorf("got %+v", d)
		})
	}
	for _, part := range []float64{0, -1, math.NaN()} {
		if d := budget.Divide(1000, 1000, part); len(d.Portions) != 0 {
			t.Errorf("part %v is divided: %+v", part, d)
		}
	}
	if d := budget.Divide(-5, -5, 1); len(d.Portions) != 0 || d.Check() != nil {
		t.Errorf("no nodes: %+v", d)
	}
}

func near(a, b budget.Limit) bool {
	return math.Abs(a.Rate-b.Rate) < 1e-9 && math.Abs(a.Burst-b.Burst) < 1e-9
}

// All nodes together never have more than the account's bucket times the part, hungry ones come first, and what a node
// gets never grows with the number of those that it divides with.
func TestDivideProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		hungry := rapid.IntRange(1, 20_000).Draw(t, "hungry")
		others := rapid.IntRange(0, 20_000).Draw(t, "others")
		part := rapid.Float64Range(1e-3, 1).Draw(t, "part")
		d := budget.Divide(hungry, hungry+others, part)
		more := budget.Divide(hungry+rapid.IntRange(1, 1000).Draw(t, "more"), hungry+others+1000, part)
		larger := budget.Divide(hungry, hungry+others, min(1, part*1.5))
		if len(d.Portions) != len(account) || d.Check() != nil {
			t.Fatalf("%+v: %v", d, d.Check())
		}
		const tiny = 1 + 1e-9
		for i, p := range d.Portions {
			all := account[p.Action]
			if rate := float64(hungry)*p.Hungry.Rate + float64(others)*p.Other.Rate; rate > all.Rate*part*tiny {
				t.Errorf("%s: %v calls per second of %v", p.Action, rate, all.Rate*part)
			}
			if burst := float64(hungry)*p.Hungry.Burst + float64(others)*p.Other.Burst; burst > all.Burst*part*tiny {
				t.Errorf("%s: %v calls at once of %v", p.Action, burst, all.Burst*part)
			}
			if p.Hungry.Rate <= p.Other.Rate || p.Hungry.Burst <= p.Other.Burst {
				t.Errorf("the hungry do not come first: %+v", p)
			}
			if used := float64(hungry) * p.Hungry.Rate; used < all.Rate*part*.97 {
				t.Errorf("the hungry have %v of %v", used, all.Rate*part)
			}
			if m := more.Portions[i]; m.Hungry.Rate > p.Hungry.Rate*tiny || m.Hungry.Burst > p.Hungry.Burst*tiny {
				t.Errorf("with more hungry nodes each gets more: %+v, %+v", p, m)
			}
			if l := larger.Portions[i]; l.Hungry.Rate < p.Hungry.Rate || l.Other.Rate < p.Other.Rate {
				t.Errorf("of a larger part a node gets less: %+v, %+v", p, l)
			}
		}
	})
}

func TestNextDivision(t *testing.T) {
	many := budget.Divide(1000, 1500, 1)
	for _, tt := range []struct {
		name    string
		before  budget.Division
		hungry  int
		part    float64
		divides bool
		tell    bool
	}{
		{"nobody is hungry", budget.Division{}, 0, 1, false, false},
		{"the bucket serves them at once", budget.Division{}, 100, 1, false, false},
		{"more than that", budget.Division{}, 101, 1, true, true},
		{"more than a part's bucket serves", budget.Division{}, 26, .25, true, true},
		{"as before", many, 1000, 1, true, false},
		{"about as before", many, 820, 1, true, false},
		{"a fifth is served", many, 800, 1, true, true},
		{"a quarter more", many, 1250, 1, true, true},
		{"the end is not told to and fro", budget.Divide(101, 1500, 1), 90, 1, true, false},
		{"the end", many, 50, 1, false, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			next, tell := tt.before.Next(tt.hungry, 1500, tt.part)
			if len(next.Portions) > 0 != tt.divides || tell != tt.tell || tell && next.Hungry != tt.hungry {
				t.Errorf("tell %v, %+v", tell, next)
			}
		})
	}
}

func TestUnusableDivisions(t *testing.T) {
	good := func() budget.Division { return budget.Divide(1000, 1500, 1) }
	for name, spoil := range map[string]func(d *budget.Division){
		"no number":          func(d *budget.Division) { d.Portions[0].Hungry.Rate = math.NaN() },
		"without end":        func(d *budget.Division) { d.Portions[0].Other.Burst = math.Inf(1) },
		"less than nothing":  func(d *budget.Division) { d.Portions[0].Other.Rate = -1 },
		"no action":          func(d *budget.Division) { d.Portions[0].Action = "" },
		"an action twice":    func(d *budget.Division) { d.Portions[0].Action = d.Portions[1].Action },
		"nobody is hungry":   func(d *budget.Division) { d.Hungry = 0 },
		"too many":           func(d *budget.Division) { d.Hungry, d.Nodes = math.MaxInt, math.MaxInt },
		"fewer nodes":        func(d *budget.Division) { d.Nodes = 3 },
		"endlessly portions": func(d *budget.Division) { d.Portions = make([]budget.Portion, 100_000) },
	} {
		t.Run(name, func(t *testing.T) {
			d := good()
			spoil(&d)
			if d.Check() == nil {
				t.Errorf("%s is accepted", name)
			}
			b := budget.New("i-1")
			b.Divide(d, false, start.Add(time.Minute), start)
			if got := len(leave(b, action, budget.Waiting, 100, start)); got != 16 {
				t.Errorf("%d leave", got)
			}
		})
	}
}

func TestDivisionOnANode(t *testing.T) {
	until := start.Add(90 * time.Second)
	division := budget.Divide(1000, 1500, 1)
	t.Run("a hungry node uses a bucket that nobody drains", func(t *testing.T) {
		b := budget.New("i-1")
		b.Divide(division, true, until, start)
		if got := len(leave(b, action, budget.Warm, 100, start)); got < 5 {
			t.Errorf("%d leave", got)
		}
	})
	t.Run("a hungry node that is throttled waits for its place", func(t *testing.T) {
		soon, late := 0, 0
		for i := range 400 {
			b := budget.New(fmt.Sprint(i))
			b.Divide(division, true, start.Add(10*time.Minute), start)
			now := throttle(t, b, action, budget.Waiting, 1, start)
			switch at := b.When(action, budget.Waiting, now).Sub(now); {
			case at > 171*time.Second:
				t.Fatalf("the place is in %s", at)
			case at < 50*time.Second:
				soon++
			case at > 150*time.Second:
				late++
			}
		}
		if soon < 90 || soon > 150 || late < 25 || late > 75 { // of 170 s
			t.Errorf("of 400 places %d are soon, %d are late", soon, late)
		}
	})
	t.Run("another node's waiting pod waits for nobody", func(t *testing.T) {
		b := budget.New("i-1")
		b.Divide(division, false, until, start)
		if got := len(leave(b, action, budget.Warm, 3, start)); got != 1 {
			t.Errorf("%d calls that no pod waits for leave", got)
		}
		if got := len(leave(b, action, budget.Waiting, 3, start)); got != 3 {
			t.Errorf("%d calls that a pod waits for leave", got)
		}
		if got := len(leave(b, "UnassignPrivateIpAddresses", budget.Cleaning, 3, start)); got != 3 {
			t.Errorf("%d calls that give addresses back leave", got)
		}
		if got := len(b.Due(until)); got != 2 {
			t.Errorf("%d leave when the division is over", got)
		}
	})
	t.Run("is taken back", func(t *testing.T) {
		b := budget.New("i-1")
		b.Divide(division, false, until, start)
		leave(b, action, budget.Warm, 3, start)
		b.Divide(budget.Division{}, false, until, start.Add(time.Second))
		if got := len(b.Due(start.Add(time.Second))); got != 2 {
			t.Errorf("%d leave", got)
		}
		if s := b.Status(start.Add(time.Second))[0]; s.Shared {
			t.Errorf("status %+v", s)
		}
	})
	t.Run("nodes leave it one after the other", func(t *testing.T) {
		over := map[time.Duration]bool{}
		for i := range 20 {
			b := budget.New(fmt.Sprint(i))
			b.Divide(division, false, until, start)
			leave(b, action, budget.Warm, 3, start)
			next, _ := b.Next(start)
			if next.After(until) || next.Sub(start) < 60*time.Second {
				t.Errorf("over after %s", next.Sub(start))
			}
			over[next.Sub(start)] = true
		}
		if len(over) < 15 {
			t.Errorf("%d different ends", len(over))
		}
	})
	t.Run("the same again leaves the place as it is", func(t *testing.T) {
		b := budget.New("i-1")
		b.Divide(division, true, start.Add(10*time.Minute), start)
		now := throttle(t, b, action, budget.Waiting, 1, start)
		place := b.When(action, budget.Waiting, now)
		for range 20 {
			now = now.Add(time.Second)
			b.Divide(division, true, now.Add(10*time.Minute), now)
		}
		if at := b.When(action, budget.Waiting, now); at.Sub(place).Abs() > time.Second {
			t.Errorf("the place was at %s, and is at %s", place.Sub(start), at.Sub(start))
		}
	})
}

// controller divides the account's bucket as internal/cluster does, for a fleet: it looks every two seconds, tells every
// ten at most, again after thirty, and each node hears of it late or not at all.
func (f *fleet) controller(list []*member, calls int, part float64) (told *int) {
	const life = 90 * time.Second
	told = new(int)
	var last budget.Division
	var at time.Time
	var look func(now time.Time)
	look = func(now time.Time) {
		hungry := 0
		for _, m := range list {
			if len(m.waits) < calls {
				hungry++
			}
		}
		next, tell := last.Next(hungry, len(list), part)
		if (tell && now.Sub(at) >= 10*time.Second) || (len(last.Portions) > 0 && now.Sub(at) >= 30*time.Second) {
			last, at = next, now
			*told++
			for _, m := range list {
				if f.rng.IntN(20) == 0 {
					continue
				}
				late := 2*time.Second + time.Duration(f.rng.Int64N(int64(8*time.Second)))
				f.at(now.Add(late), func(heard time.Time) {
					m.budget.Divide(next, len(m.waits) < calls, heard.Add(life), heard)
					m.look(heard)
				})
			}
		}
		if hungry > 0 && (f.dies.IsZero() || now.Before(f.dies)) {
			f.at(now.Add(2*time.Second), look)
		}
	}
	f.at(start.Add(time.Second), look)
	return told
}

// With the controller, nodes that nobody told of each other are done as soon as the account's bucket allows, and with fewer
// attempts than without. What is left of attempts are mostly those before the controller is heard of: a burst of 300 nodes
// lasts 40 s, of which it takes ten.
func TestBurstWithController(t *testing.T) {
	for _, lane := range []budget.Lane{budget.Waiting, budget.Starting} {
		for _, k := range kinds {
			for _, nodes := range []int{300, 1500} {
				t.Run(fmt.Sprintf("%d nodes %s %s", nodes, lane, k.action), func(t *testing.T) {
					t.Parallel()
					f := newFleet(k.action, k.size, 5, 1)
					list := f.burst(nodes, k.calls, 0, lane)
					f.run(start.Add(3 * time.Hour))
					alone := outcomeOf(list)
					f = newFleet(k.action, k.size, 5, 1)
					list = f.burst(nodes, k.calls, 0, lane)
					told := f.controller(list, k.calls, 1)
					f.run(start.Add(3 * time.Hour))
					o, least := outcomeOf(list), bound(nodes, k.calls, k.size).Seconds()
					t.Logf("%.3f of the bound, %.2f attempts per node, %.2f refused, told %d times; alone %.3f, %.2f, %.2f",
						o.took.Seconds()/least, o.attempts, o.refused, *told, alone.took.Seconds()/least, alone.attempts, alone.refused)
					if o.took.Seconds() < least || o.took > alone.took*21/20 || nodes > 1000 && o.took.Seconds() > 1.06*least {
						t.Errorf("took %s, alone %s, the bound is %.0f s", o.took, alone.took, least)
					}
					if most := alone.attempts * map[int]float64{300: .98, 1500: .7}[nodes]; o.attempts > most {
						t.Errorf("%.2f attempts per node, alone %.2f", o.attempts, alone.attempts)
					}
				})
			}
		}
	}
}

// A cluster that has a quarter of the account leaves the rest of the bucket to the waiting pods of another cluster.
func TestPartOfTheAccount(t *testing.T) {
	var waits []time.Duration
	for seed := range uint64(3) {
		f := newFleet("AssignPrivateIpAddresses", 100, 5, seed)
		list := f.burst(1500, 1, 0, budget.Waiting)
		f.controller(list, 1, .25)
		few := f.trickle(50, 10*time.Minute)
		f.run(start.Add(3 * time.Hour))
		for _, m := range few {
			waits = append(waits, m.waits...)
		}
		o := outcomeOf(list)
		t.Logf("the burst took %s, %.2f attempts per node", o.took, o.attempts)
		if o.took < 12*time.Minute || o.took > 20*time.Minute { // a quarter of the bucket needs 18:40
			t.Errorf("the burst took %s", o.took)
		}
	}
	p50, p99 := quantile(waits, .5), quantile(waits, .99)
	t.Logf("%d calls of the other cluster, p50 %s, p99 %s, longest %s", len(waits), p50, p99, quantile(waits, 1))
	if len(waits) < 1400 || p50 > 0 || p99 > 2500*time.Millisecond {
		t.Errorf("%d calls waited, p50 %s, p99 %s", len(waits), p50, p99)
	}
}

// A controller that dies in the middle of a burst leaves the nodes with what they do without one.
func TestControllerDiesInABurst(t *testing.T) {
	f := newFleet("AssignPrivateIpAddresses", 100, 5, 1)
	list := f.burst(1500, 1, 0, budget.Waiting)
	f.controller(list, 1, 1)
	f.dies = start.Add(100 * time.Second)
	f.run(start.Add(3 * time.Hour))
	o, least := outcomeOf(list), bound(1500, 1, 100)
	t.Logf("%.3f of the bound, %.2f attempts per node", o.took.Seconds()/least.Seconds(), o.attempts)
	if o.took > least*112/100 || o.attempts > 25 {
		t.Errorf("took %s, %.2f attempts per node; the bound is %s", o.took, o.attempts, least)
	}
}

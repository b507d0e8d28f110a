// Package scenario has what `make sim` shows of simulated fleets: each scenario runs the same pods by the existing CNI's rules
// and by ours, side by side, and gives its figures beside the limits that they must keep.
package scenario

import "time"

// Scenario is one of `make sim`. Its reports are made by one run.
type Scenario struct {
	Name string
	Run  func() []Report
}

// Size is how large the scenarios are.
type Size struct {
	Starts []int // nodes of fresh clusters
	Nodes  int   // of running clusters
	Burst  int   // fresh nodes of a cluster that shares an account with others
	For    time.Duration
}

// Full is the size of `make sim`, Quick that of the tests.
func Full() Size { return Size{Starts: []int{1500, 5000}, Nodes: 300, Burst: 1000, For: time.Hour} }

// Quick is the size of the tests.
func Quick() Size { return Size{Starts: []int{150}, Nodes: 30, Burst: 90, For: 10 * time.Minute} }

// one makes a scenario of one report.
func one(name string, run func() Report) Scenario {
	return Scenario{name, func() []Report { return []Report{run()} }}
}

// Scenarios are those of `make sim`, in its order: the longest last.
func Scenarios(seed uint64, size Size) []Scenario {
	list := []Scenario{
		one("fragmented", Fragmented{Seed: seed, Pods: 27, For: 10 * time.Minute}.Run),
		one("scattered", Scattered{Seed: seed, CIDR: "10.0.0.0/22", Full: 0.7, Nodes: 12, Pods: 40, For: 20 * time.Minute}.Run),
		one("exhaustion", Exhaustion{Seed: seed, Nodes: size.Nodes, Pods: 17, After: 5 * time.Minute, Limit: time.Hour}.Run),
		one("rollout", Rollout{Seed: seed, Nodes: size.Nodes, Pods: 10, Surge: 0.25, Limit: time.Hour}.Run),
		one("zone-loss", ZoneLoss{Seed: seed, Nodes: size.Nodes, Pods: 16, Limit: time.Hour}.Run),
		one("churn", Churn{Seed: seed, Nodes: size.Nodes, Pods: 16, PerMinute: 0.1, For: size.For}.Run),
		one("churn", Churn{Seed: seed, Nodes: size.Nodes, Pods: 16, PerMinute: 0.1, For: size.For, Prefixes: true}.Run),
		one("shared", Shared{Seed: seed, Nodes: size.Nodes / 3, Pods: 16, Burst: size.Burst, PerMinute: 0.05, For: size.For / 4}.Run),
		one("shared", Shared{Seed: seed, Nodes: size.Nodes / 3, Pods: 16, Burst: size.Burst, PerMinute: 0.05, For: size.For / 4, WarmIP: 2}.Run),
	}
	for _, nodes := range size.Starts {
		for _, prefixes := range []bool{false, true} {
			list = append(list, one("start", Start{Seed: seed, Nodes: nodes, Pods: 27, Prefixes: prefixes, Limit: 2 * time.Hour}.Run))
		}
	}
	return list
}

package fleet

import "time"

// Scenario is one of `make sim`. Its reports are made by one run.
type Scenario struct {
	Name string
	Run  func() []Report
}

// Scenarios are those of `make sim`, at full size.
func Scenarios(seed uint64) []Scenario {
	return []Scenario{
		{"start", func() []Report {
			var reports []Report
			for _, nodes := range []int{1500, 5000} {
				reports = append(reports, Start{Seed: seed, Nodes: nodes, Pods: 27, Limit: 2 * time.Hour}.Run())
			}
			return reports
		}},
	}
}

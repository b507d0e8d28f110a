package vpc

import (
	_ "embed"
	"fmt"
	"strconv"
	"strings"
	"sync"
)

// limitsCSV has the columns instance_type, max_enis, ipv4_per_eni, max_enis_per_card, default_card, hypervisor,
// bare_metal, trunk, branch_enis. Figures as published by AWS (EC2 instance type tables; trunk and branch counts from
// the Amazon EKS VPC resource controller's limits), state of August 2026.
//
//go:embed limits.csv
var limitsCSV string

// InstanceLimits says how many interfaces and addresses an instance type takes.
type InstanceLimits struct {
	Type string
	// ENIs is the maximum of interfaces on the default network card, the primary one included.
	ENIs int
	// IPv4PerENI is the maximum of IPv4 addresses on an interface, its primary address included. Each prefix takes the
	// slot of one address.
	IPv4PerENI int
	// ENIsPerCard has one entry per network card.
	ENIsPerCard []int
	DefaultCard int
	Hypervisor  string // "nitro", "xen" or "unknown"
	BareMetal   bool
	// Trunk tells whether the type can carry a trunk interface, with at most BranchENIs branch interfaces.
	Trunk      bool
	BranchENIs int
}

// Nitro tells whether the type takes prefixes: Nitro and bare-metal instances do.
func (l InstanceLimits) Nitro() bool { return l.Hypervisor == "nitro" || l.BareMetal }

// MaxPods is the number of pods that EKS allows on the type with secondary addresses: ENIs·(addresses-1)+2. The two
// are for pods in the host's network (aws-node and kube-proxy).
func (l InstanceLimits) MaxPods() int { return l.ENIs*(l.IPv4PerENI-1) + 2 }

var limitsTable = sync.OnceValues(func() (map[string]InstanceLimits, error) { return parseLimits(limitsCSV) })

// Limits returns the published limits of an instance type.
func Limits(instanceType string) (InstanceLimits, bool) {
	table, err := limitsTable()
	if err != nil {
		return InstanceLimits{}, false
	}
	l, ok := table[instanceType]
	return l, ok
}

func parseLimits(csv string) (map[string]InstanceLimits, error) {
	table := make(map[string]InstanceLimits)
	for i, line := range strings.Split(strings.TrimSpace(csv), "\n") {
		if i == 0 || line == "" {
			continue
		}
		l, err := parseLimitsLine(line)
		if err != nil {
			return nil, fmt.Errorf("parse limits line %d: %w", i+1, err)
		}
		table[l.Type] = l
	}
	return table, nil
}

func parseLimitsLine(line string) (InstanceLimits, error) {
	f := strings.Split(line, ",")
	if len(f) != 9 {
		return InstanceLimits{}, fmt.Errorf("%d columns, want 9", len(f))
	}
	var firstErr error
	number := func(s string) int {
		if s == "" { // not published
			return 0
		}
		n, err := strconv.Atoi(s)
		if err != nil && firstErr == nil {
			firstErr = err
		}
		return n
	}
	l := InstanceLimits{
		Type: f[0], ENIs: number(f[1]), IPv4PerENI: number(f[2]), DefaultCard: number(f[4]),
		Hypervisor: f[5], BareMetal: f[6] == "true", Trunk: f[7] == "true", BranchENIs: number(f[8]),
	}
	for card := range strings.SplitSeq(f[3], "/") {
		l.ENIsPerCard = append(l.ENIsPerCard, number(card))
	}
	return l, firstErr
}

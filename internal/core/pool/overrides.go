package pool

import (
	"fmt"
	"time"
)

// Overrides are settings of one resource for a set of nodes. A nil setting is not made by it.
type Overrides struct {
	Name             string // of the resource
	Priority         int    // of several resources that make a setting, that of the highest counts
	WarmENI          *int
	WarmIP           *int
	MinimumIP        *int
	WarmPrefix       *int
	MaxENI           *int
	Cooldown         *time.Duration
	PrefixDelegation *bool
	Discovery        *bool
	ReservePrefixes  *bool // the agent sets parts of subnets aside for prefixes
}

// With is the configuration under overrides, given with those that count first: the first that makes a setting decides it,
// the others and c's own value do not count. Two that make a setting differently at one priority contradict each other
// unless a higher one makes it: contradictions has a sentence for each.
func (c Config) With(overrides []Overrides) (_ Config, contradictions []string) {
	decide(overrides, &contradictions, &c.WarmENI, "pool.warmENITarget", func(o Overrides) *int { return o.WarmENI })
	decide(overrides, &contradictions, &c.WarmIP, "pool.warmIPTarget", func(o Overrides) *int { return o.WarmIP })
	decide(overrides, &contradictions, &c.MinimumIP, "pool.minimumIPTarget", func(o Overrides) *int { return o.MinimumIP })
	decide(overrides, &contradictions, &c.WarmPrefix, "pool.warmPrefixTarget", func(o Overrides) *int { return o.WarmPrefix })
	decide(overrides, &contradictions, &c.MaxENI, "pool.maxENI", func(o Overrides) *int { return o.MaxENI })
	decide(overrides, &contradictions, &c.Cooldown, "pool.ipCooldownPeriod", func(o Overrides) *time.Duration { return o.Cooldown })
	decide(overrides, &contradictions, &c.Prefixes, "prefixDelegation", func(o Overrides) *bool { return o.PrefixDelegation })
	decide(overrides, &contradictions, &c.Discovery, "subnetDiscovery", func(o Overrides) *bool { return o.Discovery })
	decide(overrides, &contradictions, &c.ReservePrefixes, "reservePrefixes", func(o Overrides) *bool { return o.ReservePrefixes })
	return c, contradictions
}

func decide[T comparable](overrides []Overrides, against *[]string, to *T, setting string, of func(Overrides) *T) {
	var by *Overrides
	for i, o := range overrides {
		switch value := of(o); {
		case value == nil:
		case by == nil:
			*to, by = *value, &overrides[i]
		case o.Priority == by.Priority && *value != *to:
			*against = append(*against, fmt.Sprintf("%s and %s, both of priority %d, set %s to %v and %v: that of %s counts",
				by.Name, o.Name, o.Priority, setting, *to, *value, by.Name))
		}
	}
}

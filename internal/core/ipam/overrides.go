package ipam

import "time"

// Overrides are settings of one resource for a set of nodes. A nil setting is not made by it.
type Overrides struct {
	Name             string // of the resource
	WarmENI          *int
	WarmIP           *int
	MinimumIP        *int
	WarmPrefix       *int
	MaxENI           *int
	Cooldown         *time.Duration
	PrefixDelegation *bool
	Discovery        *bool
	// ReservePrefixes: the agent sets parts of subnets aside for prefixes.
	ReservePrefixes *bool
}

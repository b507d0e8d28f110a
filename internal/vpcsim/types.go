package vpcsim

import (
	"github.com/berth-net/berth/internal/vpcsim/world"
)

// What callers say about themselves and the region.
type (
	// Caller is who makes a call: calls are counted per action, caller and outcome, tags are kept per account, and
	// policies are evaluated for the principal.
	Caller = world.Caller
	// Settings are what may change while the Sim runs. The zero value is a region without latency, lag or throttling.
	Settings = world.Settings
	// Quotas are the account's limits; a zero stands for EC2's default.
	Quotas = world.Quotas
	// Zone is an availability zone: its name and its id.
	Zone = world.Zone
)

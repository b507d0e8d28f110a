// Package instances has the actions on instances, and what the region offers: instance types and zones.
package instances

import "github.com/berth-net/berth/internal/vpcsim/gateways"

// Actions are the actions on instances and everything below: all actions of the region. Methods named as an action of EC2 are that action.
type Actions struct {
	gateways.Actions
}

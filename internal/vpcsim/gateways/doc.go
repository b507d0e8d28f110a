// Package gateways has the actions on what leads out of a subnet: route tables, internet gateways, NAT gateways and
// elastic addresses.
package gateways

import "github.com/berth-net/berth/internal/vpcsim/interfaces"

// Actions are the actions on routes and gateways and everything below. Methods named as an action of EC2 are that action.
type Actions struct {
	interfaces.Actions
}

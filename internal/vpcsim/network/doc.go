// Package network has the actions on VPCs, subnets, CIDR reservations, security groups and tags.
package network

import "github.com/berth-net/berth/internal/vpcsim/world"

// Actions are the actions on VPCs, subnets, security groups and tags. Methods named as an action of EC2 are that action.
type Actions struct {
	*world.World
}

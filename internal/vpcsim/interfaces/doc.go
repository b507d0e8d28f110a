// Package interfaces has the actions on network interfaces: their addresses and prefixes, attachments, trunks, and what
// describe actions and instance metadata see of them later.
package interfaces

import "github.com/berth-net/berth/internal/vpcsim/network"

// Actions are the actions on network interfaces and everything below. Methods named as an action of EC2 are that action.
type Actions struct {
	network.Actions
}

// Package world is the state of a simulated region and what every action needs to work on it: objects by id, who sees
// them, EC2's answers for ids that are wrong, tags, quotas, transitions that are due later, and what describe actions
// see of a change. The actions are in layers on top, each embedding the one below:
//
//	instances    instances, instance types, zones
//	gateways     route tables, internet and NAT gateways, elastic addresses
//	interfaces   network interfaces, their addresses, attachments, trunks and metadata
//	network      VPCs, subnets, security groups, tags
//	world        the state
//
// Nothing here locks, waits or reads a clock: the caller holds the lock and sets the time.
package world

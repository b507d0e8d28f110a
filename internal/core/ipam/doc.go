// Package ipam decides what a node does about its addresses: State + now -> Plan. The state is core/pool's, which also folds in
// what comes of the actions. How many addresses there should be is known by core/target, which subnets have room by core/subnet,
// and when something that failed is tried again by core/pace. It says, too, why pods wait and what a person has to look at. No
// I/O, no clock, no randomness.
//
// The caller starts the actions of each plan that are not in flight, and asks again after every event, and at the time that the
// plan names.
//
// What holds always: nothing is unassigned, detached or deleted without an EC2 read that was asked after our last write to that
// interface, or while a pod waits that it could help. It must never change the state, beyond what time alone changes: the same
// state and time give the same plan.
package ipam

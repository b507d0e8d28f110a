// Package ipam plans a node's addresses: State + Config + now -> Plan. It has no I/O, no clock and no randomness; the
// caller feeds it requests, observations and the results of finished actions, starts the actions of each plan that are
// not in flight, and makes the records that it returns durable before their effect.
//
// It holds the interfaces and decides; whose their addresses are is known by core/ledger, how many there should be by
// core/target, which subnets have room by core/subnet, and when something that failed is tried again by core/pace. An
// interface goes through created ─► attaching ─► attached ─► detaching ─► detached ─► gone.
//
// The caller's duties:
//  1. Begin(action) before an action starts, Finish(action, result) once it ended, in one goroutine.
//  2. Records returned by any method are durable before the effect that they announce.
//  3. AskedAt of a result is the time just before the question was sent.
//
// What holds always: an address is never given to two pods; nothing is unassigned, detached or deleted without an EC2
// read that was asked after our last write to that interface; what is in doubt is held.
package ipam

// Package ipam plans a node's addresses: State + Config + now -> Plan. It has no I/O, no clock and no randomness; the
// caller feeds it requests, observations and the results of finished actions, starts the actions of each plan that are
// not in flight, and makes the records that it returns durable before their effect.
//
// An address of a managed interface is in one of these phases:
//
//	             assign                    release
//	(EC2) ──► free ───────► in use ─────────────────► cooling ──► free
//	  ▲        │                                         (until)
//	  │        │ excess, read newer than our last write
//	  │        ▼
//	  └──── leaving          held: the kernel shows a live pod that no record names; never given out
//
// An interface goes through created ─► attaching ─► attached ─► detaching ─► detached ─► gone.
//
// The caller's duties:
//  1. Begin(action) before an action starts, Finish(action, result) once it ended, in one goroutine.
//  2. Records returned by any method are durable before the effect that they announce.
//  3. AskedAt of a result is the time just before the question was sent.
//
// What holds always: an address is never given to two pods; nothing is unassigned, detached or deleted without an EC2
// read that was asked after our last write to that interface; what is in doubt is held.
package ipam

// Package pool is what a node knows of its addresses and has of them: its interfaces and whose their addresses are, the subnets as
// last read, what is being created, which pods wait and which are expected, what failed and when. It folds in what pods ask for,
// what the kernel shows, and what EC2 and the metadata service answer, gives free addresses to pods, and says what must be
// written to the journal. What is done next is decided by core/ipam. No I/O, no clock, no randomness.
//
// An interface goes through phases:
//
//	   create      attach           answered or read       detach           read           delete
//	──────────► created ──► attaching ──────────► attached ──────► detaching ──► detached ──────► gone
//	               ▲            │                    ▲                │  ▲          │
//	               └────────────┘                    └────────────────┘  └──────────┘
//	             refused, or unlisted for 5 s          denied by IAM      still in use
//
// One that a read shows first begins as attached; one that reads leave out is gone after half a minute, unless a pod has an
// address of it or the host's network serves it.
//
// The caller's duties:
//  1. Begin(action) before an action starts, Finish(action, result) once it ended, in one goroutine.
//  2. Records returned by any method are durable before the effect that they announce.
//  3. AskedAt of a result is the time just before the question was sent.
//
// What holds always: an address is given to one pod at most, and what is in doubt is held; nothing is forgotten on a read that was
// asked before our last write to it, or on a single one. It must never decide what to change in EC2.
package pool

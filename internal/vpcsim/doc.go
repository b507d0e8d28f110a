// Package vpcsim is a VPC as a state machine: EC2's semantics of addresses, interfaces, tags, security groups and
// routes, with its limits, error codes, eventual consistency, request buckets, latencies and faults. It is
// deterministic under a seed and the clock that it is given, does no I/O and knows only core/vpc.
//
// This package is the region as its callers meet it: one lock, the time, admission of calls, authorization,
// idempotency, the call log and snapshots. The state is in world and the actions in the layers on top of it; what can
// be known without the state (addressing, pacing, iam, groups, routing, metadata, blocks, tags) is in packages of its own.
//
// A call and when its effect is seen:
//
//	Admit                action            answer is read
//	  |----- Before -------|------ After -------|
//	                       |  effect: one instant
//	                       |---- DescribeLag ------> describe actions show it
//	                       |---- FreeCountLag -----> AvailableIpAddressCount shows it
//	                       |---- MetadataAdd ------> instance metadata shows it, each item on its own
//	                       |---- Attach, Detach ---> attaching becomes attached, detaching becomes available
package vpcsim

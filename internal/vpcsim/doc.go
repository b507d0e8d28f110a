// Package vpcsim is a VPC as a state machine: EC2's semantics of addresses, interfaces, tags, security groups and
// routes, with its limits, error codes, eventual consistency, request buckets, latencies and faults. It is
// deterministic under a seed and the clock that it is given, does no I/O and knows only core/vpc.
package vpcsim

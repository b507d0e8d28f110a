// Package wire puts the simulated VPC on the network, so that unmodified AWS clients talk to it: EC2, EKS and STS on one
// port, the instance metadata service on one listener per instance, and control endpoints on loopback.
//
//	request ─► who signed? ─► admit ─────────► EC2: ec2api over ec2query ─┐
//	           sigv4          delay, fault,    EKS: eks                   ├─► wait, answer
//	           or listener    throttle         STS: sts                   │   (or lose the answer, or garble it)
//	                                           metadata: imds ────────────┘
//
// The packages below know their protocols and nothing of time; this one waits in real time for what the simulator decides,
// and a client that hangs up does not undo its call. It shares no code with the project's own client of EC2.
package wire

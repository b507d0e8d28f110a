// Package fabric is the simulated VPC's network as real Linux: it turns a [vpcsim.Topology] into network namespaces,
// links, routes and nftables rules, and into nothing else.
//
// Package plan says what they should be; here they are made, compared and repaired. It is guaranteed that an instance gets
// packets only for addresses that are assigned to the interface they arrive on, that a packet with any other source is
// dropped where it leaves the instance, that security groups of both ends see every packet, and that two interfaces never
// share connection tracking state. It must never touch the namespace that it runs in, and shares no code with the agent's
// own host networking, so that the mistakes of one are seen by the other.
//
// Everything goes by a next hop that does not exist, with a permanent neighbour entry that is the interface's MAC: the
// fabric never asks for an address, and answers requests for any address of the VPC with its own MAC.
//
// The metadata service listens in the VPC's namespace, which is one link outside the instance: a reply with TTL 1
// arrives at the instance, but cannot be forwarded to a pod. A connection belongs to the instance that its source
// address is assigned to, which the source check has made sure of.
//
// What is built is recorded in the kernel itself (aliases of links), so that a new process finds it after a crash.
package fabric

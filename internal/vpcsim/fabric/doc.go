// Package fabric is the simulated VPC's network as real Linux: it turns a [vpcsim.Topology] into network namespaces,
// links, routes and nftables rules, and into nothing else.
//
// It knows how a VPC treats packets. It guarantees that an instance gets packets only for addresses that are assigned
// to the interface they arrive on, that a packet with any other source is dropped where it leaves the instance, that
// security groups of both ends see every packet, and that two interfaces never share connection tracking state. It
// must never touch the namespace that it runs in, and shares no code with the agent's own host networking, so that the
// mistakes of one are seen by the other.
//
// One namespace per VPC holds the far end of every interface of that VPC:
//
//	 instance A             VPC                                    instance B
//	+-----------+   +-----------------------------------------+   +-----------+
//	|      eth0 |---| eni…A    loop0 ~~~~ loop1         eni…B |---| eth0      |
//	|      eth1 |---| eni…C      (a packet's second pass)     |   +-----------+
//	+-----------+   |  169.254.169.254, .1 of each subnet     |
//	                |  nat… --- NAT gateway's namespace       |
//	                |  inet --- internet's namespace          |
//	                +-----------------------------------------+
//
// A packet from A to B crosses the VPC's namespace twice. On the first pass it is in the conntrack zone of A's
// interface: its source is checked, then A's groups, then the route table of A's subnet sends it into loop0, which is a
// veth whose other end, loop1, is in the same namespace; crossing it clears the tracking state. On the second pass it
// is in the zone of B's interface, B's groups see it, and a /32 route leads to B. So each interface's groups keep
// their own state, as in EC2, and two interfaces of one instance are no special case.
//
// Each pass takes one off a packet's TTL, as a router does.
//
// Routing rules of the VPC's namespace, by priority:
//
//	  0  local: services (169.254.169.254, 169.254.169.253, the subnets' first addresses, the resolver)
//	 50  from the namespace itself: main, which has a route per assigned address or delegated block
//	100  in by loop1: main
//	150  marked with a subnet's table (interfaces without source/destination check): that table
//	200  from a subnet's block: that subnet's table
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

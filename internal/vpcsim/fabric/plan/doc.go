// Package plan says which namespaces, links, routes, rules and nftables rulesets make the packets of a [vpcsim.Topology] go
// where a VPC would let them go, and how one ruleset becomes another.
//
// It knows how a VPC treats packets, and is pure: values in, values out. It must not ask the kernel for anything.
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
package plan

// Package hostnet knows what a node's network must look like: links, addresses, routes, rules, sysctls and nftables as
// values, computed from the interfaces and pods of the node, compared with what the kernel has, and printed in the
// language of ip and nft. It does no I/O.
//
// A packet from a pod passes, in this order:
//
//	pod --veth--> prerouting -100  kube-proxy, portmap: a service's address becomes a pod's
//	              prerouting  -90  ours: restore our bit from the connection; set it on new connections that leave the VPC
//	              rules            512  to a pod of this node          -> main
//	                              1024  our bit is set                 -> main: leaves by the primary interface
//	                              1535  to an external service CIDR    -> main
//	                              1536  from a pod of another interface -> that interface's table
//	                             32765  from an interface's own address -> that interface's table
//	                             32766  all else                       -> main
//	              postrouting 100  ours: what leaves the VPC takes the node's address
//
// and a packet from outside to a node port passes prerouting -150, where its connection gets our bit, so that the pod's
// reply leaves by the primary interface, by which the connection came. Whoever reaches a pod by its own address gets no
// bit: that reply leaves by the pod's interface.
//
// Guarantees: only our bit of the marks is ever written; what is not ours (other priorities, other shapes, other tables)
// is never removed; whatever Diff changes is made before it is broken. The package must never decide which address a pod
// gets.
package hostnet

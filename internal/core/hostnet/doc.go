// Package hostnet knows what a node's network must look like: links, addresses, routes, rules, sysctls and nftables as
// values, computed from the interfaces and pods of the node, compared with what the kernel has, and printed in the
// language of ip and nft. It does no I/O.
package hostnet

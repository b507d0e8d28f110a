// Package linux changes and reads the host's network: links, addresses, routes, rules, sysctls, network namespaces and
// nftables. It makes what core/hostnet asks for and decides nothing itself.
//
// A pod is wired with three messages to the kernel: one makes the link from inside the pod's namespace, its other end
// directly in the host's; one batch sets the host's side; one batch the pod's. Nothing on that way lists links,
// starts a process or waits.
//
// Guarantees: every operation bears repetition; dumps that the kernel says are incomplete are read again (dump.go, the only
// file that lists anything); a thread that could not be brought back from another namespace is not used again (In).
package linux

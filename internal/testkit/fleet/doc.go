// Package fleet simulates whole clusters: thousands of nodes, each with the real planner of core/ipam, against one
// simulated region with EC2's request buckets and latencies, under virtual time and in one goroutine. The same pods run a
// second time on nodes that follow the existing CNI's rules, so that every figure stands beside its baseline.
//
//	Region ── vpcsim, clock, dice, what is measured
//	  └─ Cluster ── name, policy, scheduler
//	       └─ Node ── kubelet: pods are bound, their ADDs repeated, their DELs sent
//	            └─ agent ── ours (ours.go: core/pool, core/ipam and node.Execute) or the existing CNI's (ipamd*.go)
//
// A node costs nothing while nothing happens to it: it is woken by its own plan, by an answer, or by a pod. Everything that
// is random comes from the seed, so a run can be repeated. What must never happen is checked at each step: an address on
// two pods, an address that EC2 does not have on the pod's node, an interface or address given back under a pod.
//
// The parts that decide are the real ones; the host is not there. Wiring takes no time here, for either policy.
package fleet

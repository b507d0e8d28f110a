// Package policy says who may reach whom: what policies mean, and nothing about how a kernel is told.
//
// A World is what a decision depends on: pods, namespaces, nodes and policies. Policies of every dialect have one form: a subject,
// and per direction an ordered list of rules. Three tiers are asked in turn, as in network-policy-api v1alpha2:
//
//	Admin      by priority: the first rule that matches accepts, denies, or passes to the next tier
//	Network    NetworkPolicy: a pod that any policy isolates in a direction is reached only by what some policy allows
//	Baseline   by priority, as Admin; where no Network policy isolates the pod
//	default    allow; deny in strict mode
//
// A packet passes when the egress side of the pod that sends it and the ingress side of the pod that gets it both allow it.
package policy

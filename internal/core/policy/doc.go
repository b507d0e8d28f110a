// Package policy says who may reach whom: what policies mean, and nothing about how a kernel is told.
//
// A World is what a decision depends on: pods, namespaces, nodes and policies. Policies of every dialect have one form: a subject,
// and per direction an ordered list of rules. Three tiers are asked in turn, as in network-policy-api v1alpha2:
//
//	Admin      by priority: the first rule that matches accepts, denies, or passes to the next tier
//	Network    NetworkPolicy: a pod that any policy isolates in a direction is reached only by what some policy allows
//	Baseline   by priority, as Admin; where no Network policy isolates the pod
//	Default    allow; deny in strict mode
//
// A packet passes when the egress side of the pod that sends it and the ingress side of the pod that gets it both allow it. A side
// without a pod, or with one that uses the host's network, allows everything. So is what a pod sends to its own address, and what the
// node itself sends: no policy is asked.
//
// What the resources' documentation leaves open is settled so:
//
//   - Rules of one tier and direction have one order: priority, place in the policy, then Deny before Accept before Pass, then the
//     policy's kind, namespace and name. Upstream lets an implementation choose between policies of the same priority; this way the
//     exceptions that lists begin with come before the refusals that they end with, and of two alike the safer one wins.
//   - A port's name stands for what the destination pod calls so. In Ingress that is the subject itself, whoever the peer is. In Egress
//     it is the peer, so only peers that are pods, or any peer, can meet it: blocks, nodes and domain names have no named ports.
//   - Packets without ports (ICMP and all but TCP, UDP and SCTP) are matched by rules for any port only.
//   - Blocks match by address, whoever has it: pods, nodes and pods that use the host's network too. Excepts count for their own block
//     only.
//   - A pod that uses the host's network is neither subject nor peer. Its node's addresses are peers of Nodes and blocks.
//   - Rules of Network for a direction that their policy does not isolate mean nothing.
//   - Pass in Baseline leaves the decision to the default.
//   - Strict mode asks by direction: a policy for egress opens no ingress. The Amazon VPC CNI's agent opens it (its issue 319).
package policy

// Package dialect reads the resources that say who may reach whom, as JSON, into policies of one form:
//
//	NetworkPolicy             networking.k8s.io/v1
//	ClusterNetworkPolicy      policy.networking.k8s.io/v1alpha2
//	ClusterNetworkPolicy      networking.k8s.aws/v1alpha1
//	ApplicationNetworkPolicy  networking.k8s.aws/v1alpha1: NetworkPolicy with names of domains
//
// An API server that knows the resource refuses most of what is wrong in it. What comes through (operators of selectors, fields of a
// newer definition, files that no server has seen) is never guessed at, never cut short without a word, and never opens anything: what
// cannot be read has two readings, the least and the most that it may stand for.
//
//	an Accept rule           matches the least: the peer or port is left out, and a rule that has none left matches nothing
//	a Deny rule              matches the most: any peer where a peer cannot be read, any port where a port cannot
//	a Pass rule              becomes a Deny rule, of the most: passing too much or too little may both open
//	an action                that is unknown denies
//	subject, tier, priority  the widest subject, the first tier, before all others; the policy's Accept rules match nothing, its
//	                         Pass rules deny, and one of the Network tier isolates both directions
//
// A field of the spec that is not known may be anything, also rules that deny: those are not enforced, and the problem says so.
//
// This is what network-policy-api v1alpha2 asks of implementations that see a peer of a kind that they do not know. A Problem says
// which field it is, why, and what was done. A resource without problems means exactly what its documentation says.
package dialect

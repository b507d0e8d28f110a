// Package addon knows EKS's add-ons as the lab has them: which there are, their versions and configuration schemas, and
// how one is created, updated and deleted, with EKS's states. The wire is not its business: package eks is.
//
// An add-on is manifests: those of vpc-cni are rendered by Helm from this repository's own chart, those of coredns and
// kube-proxy are in this package. They are applied on the server's side under EKS's field manager, so that what a user
// changed by hand is a conflict that resolveConflicts decides about, and a rollout happens only when something differs.
//
//	create, update: CREATING, UPDATING -> (applied, rolled out) -> ACTIVE
//	                                   -> (refused by the cluster) -> CREATE_FAILED, UPDATE_FAILED
//	                                   -> (not rolled out in time)  -> DEGRADED
package addon

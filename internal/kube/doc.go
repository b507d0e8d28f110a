// Package kube is the Kubernetes API as a node's agent uses it: it follows the node's own Node object, the pods bound to it, its
// ENIConfig and the NodeSettings, counts the pods that wait for a node, and writes events and conditions of the Node.
//
//	Node object ── labels ──► which NodeSettings count ──► Facts.Overrides
//	     └─ labels, annotations ──► which ENIConfig is followed ──► Facts.ENIConfig
//	pods with spec.nodeName ──► those that wait for an address ──► Facts.Bound
//
// It never stands in the way: what is known is answered at once, and while the API server is away or the kubeconfig
// cannot be read the last word counts and events wait. It keeps no list of the whole cluster but that of NodeSettings, which are few.
// Objects are decoded one at a time into the few fields that are used, from the API's JSON, so that a node with hundreds of images or
// pods costs no more memory than one without. A thousand agents must not act as one: what is repeated is repeated after pauses
// that are part chance.
//
// What objects say may make no sense, whatever their definition's validation says: it is told with a reason, and never guessed.
package kube

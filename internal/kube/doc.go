// Package kube is the Kubernetes API as a node's agent uses it: it watches the node's own Node object and records events.
//
// It never stands in the way: what is known is answered at once, and while the API server is away or the kubeconfig
// cannot be read the last word counts and events wait. It reads no list of the whole cluster. Objects are decoded into the few
// fields that are used, from the API's JSON, so that a node with hundreds of images costs no more memory than one without.
package kube

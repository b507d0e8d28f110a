package kube

import (
	"context"

	"k8s.io/apimachinery/pkg/fields"

	"github.com/berth-net/berth/internal/kube/apiserver"
)

// pod is the part of a Pod that is read.
type pod struct {
	Metadata struct {
		Namespace         string  `json:"namespace"`
		Name              string  `json:"name"`
		UID               string  `json:"uid"`
		ResourceVersion   string  `json:"resourceVersion"`
		DeletionTimestamp *string `json:"deletionTimestamp"`
	} `json:"metadata"`
	Spec struct {
		HostNetwork bool `json:"hostNetwork"`
	} `json:"spec"`
	Status struct {
		Phase string `json:"phase"`
		PodIP string `json:"podIP"`
	} `json:"status"`
	Message string `json:"message"`
}

func (p pod) Version() string { return p.Metadata.ResourceVersion }
func (p pod) Failure() string { return p.Message }

// waits tells whether the pod will ask for an address.
func (p pod) waits() bool {
	return !p.Spec.HostNetwork && p.Status.PodIP == "" && p.Status.Phase != "Succeeded" && p.Status.Phase != "Failed"
}

func (p pod) bound() Bound {
	return Bound{Namespace: p.Metadata.Namespace, Name: p.Metadata.Name, UID: p.Metadata.UID, Leaving: p.Metadata.DeletionTimestamp != nil}
}

// watchPods follows the pods that are bound to the node. Only those that wait for an address are kept, which are none most of
// the time; of the others nothing stays in memory.
func (c *Client) watchPods(ctx context.Context, a *apiserver.API) error {
	f := apiserver.Feed[pod]{
		Path: "/api/v1/pods", Selector: "spec.nodeName=" + fields.EscapeValue(c.cfg.Node), Keep: pod.waits, Seen: &c.seen.pods,
		List: func(pods []pod) {
			c.learn(func(k *known) {
				clear(k.bound)
				for _, p := range pods {
					k.bound[p.Metadata.UID] = p.bound()
				}
				c.trouble[whatPods] = ""
			})
		},
		Change: func(p pod, gone bool) {
			c.learn(func(k *known) {
				if gone || !p.waits() {
					delete(k.bound, p.Metadata.UID)
				} else {
					k.bound[p.Metadata.UID] = p.bound()
				}
			})
		},
	}
	return f.Follow(ctx, a)
}

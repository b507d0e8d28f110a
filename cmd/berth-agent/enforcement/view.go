package enforcement

import (
	"context"

	"github.com/berth-net/berth/internal/enforce"
	"github.com/berth-net/berth/internal/kube"
)

// pods asks the API server.
type pods struct {
	*kube.Client
}

// PodOf implements enforce.Pods.
func (p pods) PodOf(ctx context.Context, namespace, name string) (enforce.Pod, error) {
	found, err := p.Client.PodOf(ctx, namespace, name)
	return enforce.Pod(found), err
}

// view tells the loop what the API server says.
type view struct {
	*enforce.Enforcer
}

// Policies implements kube.PolicyView.
func (v view) Policies(kind kube.PolicyKind, all []kube.PolicyObject) {
	objects := make([]enforce.Object, 0, len(all))
	for _, o := range all {
		objects = append(objects, object(o))
	}
	v.Enforcer.Policies(enforce.Kind(kind.Name()), objects)
}

// Policy implements kube.PolicyView.
func (v view) Policy(o kube.PolicyObject, gone bool) { v.Enforcer.Policy(object(o), gone) }

// Pods implements kube.PolicyView.
func (v view) Pods(all []kube.PolicyPod) {
	list := make([]enforce.Pod, 0, len(all))
	for _, p := range all {
		list = append(list, enforce.Pod(p))
	}
	v.Enforcer.Pods(list)
}

// Pod implements kube.PolicyView.
func (v view) Pod(p kube.PolicyPod, gone bool) { v.Enforcer.Pod(enforce.Pod(p), gone) }

func object(o kube.PolicyObject) enforce.Object {
	return enforce.Object{Kind: enforce.Kind(o.Kind.Name()), Namespace: o.Namespace, Name: o.Name, UID: o.UID, JSON: o.JSON}
}

// Services implements kube.PolicyView.
func (v view) Services(all []kube.PolicyService) {
	list := make([]enforce.Service, 0, len(all))
	for _, s := range all {
		list = append(list, enforce.Service(s))
	}
	v.Enforcer.Services(list)
}

// Service implements kube.PolicyView.
func (v view) Service(s kube.PolicyService, gone bool) { v.Enforcer.Service(enforce.Service(s), gone) }

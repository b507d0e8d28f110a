package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/berth-net/berth/internal/kube/apiserver"
	"github.com/berth-net/berth/internal/run"
)

// leaseName is the lease that replicas of the controller compete for.
const leaseName = "berth-controller"

// WaitingPod is a pod that is bound to a node and has no address.
type WaitingPod struct {
	Node  string
	Since time.Time // when that was seen first
}

// Observer is the Kubernetes API as a controller uses it: which pods of the whole cluster wait for an address on which
// nodes, a lease, and one object that is published. Of a pod that waits it keeps a few words, of all others nothing; the
// server selects those that are pending and bound.
type Observer struct {
	client *Client
	seen   struct{ nodes, pods string }

	mu      sync.Mutex
	nodes   map[string]bool
	waiting map[string]WaitingPod // by UID
	listed  struct{ nodes, pods bool }
}

// NewObserver returns an observer; PodNamespace is where the lease and the published object are.
func NewObserver(cfg Config) *Observer {
	o := &Observer{client: New(cfg)}
	o.client.trouble = map[string]string{} // no Node object is asked for
	return o
}

// Trouble says why the API server does not serve what is asked; it is empty while it does.
func (o *Observer) Trouble() string { return o.client.Trouble() }

// Follow follows nodes and pods until ctx ends. What was known before is forgotten.
func (o *Observer) Follow(ctx context.Context) error {
	o.mu.Lock()
	o.nodes, o.waiting = map[string]bool{}, map[string]WaitingPod{}
	o.listed.nodes, o.listed.pods, o.seen.nodes, o.seen.pods = false, false, "", ""
	o.mu.Unlock()
	g, _ := run.NewGroup(ctx)
	g.Go("nodes watch", o.client.keep(watcher{name: "nodes", step: o.watchNodes}))
	g.Go("pods watch", o.client.keep(watcher{name: "pods", step: o.watchPods}))
	return g.Wait(time.Second)
}

// Census returns how many nodes there are on which agents run, the pods that wait there, and whether both were listed.
func (o *Observer) Census() (nodes int, waiting []WaitingPod, known bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, p := range o.waiting {
		if o.nodes[p.Node] {
			waiting = append(waiting, p)
		}
	}
	return len(o.nodes), waiting, o.listed.nodes && o.listed.pods
}

// member is a node's metadata.
type member struct {
	Metadata struct {
		Name            string            `json:"name"`
		ResourceVersion string            `json:"resourceVersion"`
		Labels          map[string]string `json:"labels"`
	} `json:"metadata"`
	Message string `json:"message"`
}

func (m member) Version() string { return m.Metadata.ResourceVersion }
func (m member) Failure() string { return m.Message }

// hasAgent tells whether the DaemonSet runs there, by its affinity in the chart.
func (m member) hasAgent() bool {
	labels := m.Metadata.Labels
	return labels["kubernetes.io/os"] != "windows" && !slices.Contains([]string{"fargate", "hybrid", "auto"}, labels["eks.amazonaws.com/compute-type"])
}

func (o *Observer) watchNodes(ctx context.Context, a *apiserver.API) error {
	f := apiserver.Feed[member]{
		Path: "/api/v1/nodes", Metadata: true, Seen: &o.seen.nodes, Keep: member.hasAgent,
		List: func(all []member) {
			o.client.tried("nodes", "")
			o.mu.Lock()
			defer o.mu.Unlock()
			clear(o.nodes)
			for _, m := range all {
				o.nodes[m.Metadata.Name] = true
			}
			o.listed.nodes = true
		},
		Change: func(m member, gone bool) {
			o.mu.Lock()
			defer o.mu.Unlock()
			if gone || !m.hasAgent() {
				delete(o.nodes, m.Metadata.Name)
			} else {
				o.nodes[m.Metadata.Name] = true
			}
		},
	}
	return ofChart(f.Follow(ctx, a))
}

// pending is the part of a Pod that is read.
type pending struct {
	Metadata struct {
		UID               string  `json:"uid"`
		ResourceVersion   string  `json:"resourceVersion"`
		DeletionTimestamp *string `json:"deletionTimestamp"`
	} `json:"metadata"`
	Spec struct {
		NodeName    string `json:"nodeName"`
		HostNetwork bool   `json:"hostNetwork"`
	} `json:"spec"`
	Status struct {
		Phase      string `json:"phase"`
		PodIP      string `json:"podIP"`
		Conditions []struct {
			Type   string `json:"type"`
			Status string `json:"status"`
		} `json:"conditions"`
	} `json:"status"`
	Message string `json:"message"`
}

func (p pending) Version() string { return p.Metadata.ResourceVersion }
func (p pending) Failure() string { return p.Message }

// waits tells whether the pod waits for an address. From Kubernetes 1.36 on the kubelet says that the sandbox is ready
// before it pulls images (kubernetes/kubernetes#134660); until then a pod whose image is pulled looks as if it waited.
func (p pending) waits() bool {
	if p.Spec.NodeName == "" || p.Spec.HostNetwork || p.Status.PodIP != "" || p.Status.Phase != "Pending" || p.Metadata.DeletionTimestamp != nil {
		return false
	}
	for _, c := range p.Status.Conditions {
		if c.Type == "PodReadyToStartContainers" && c.Status == "True" {
			return false
		}
	}
	return true
}

func (o *Observer) watchPods(ctx context.Context, a *apiserver.API) error {
	f := apiserver.Feed[pending]{
		Path: "/api/v1/pods", Selector: "spec.nodeName!=,status.phase=Pending,spec.hostNetwork=false", Seen: &o.seen.pods, Keep: pending.waits,
		List: func(all []pending) {
			o.client.tried("pods", "")
			o.mu.Lock()
			defer o.mu.Unlock()
			before := o.waiting
			o.waiting = make(map[string]WaitingPod, len(all))
			for _, p := range all {
				o.put(p, before)
			}
			o.listed.pods = true
		},
		Change: func(p pending, gone bool) {
			o.mu.Lock()
			defer o.mu.Unlock()
			if gone || !p.waits() {
				delete(o.waiting, p.Metadata.UID)
			} else {
				o.put(p, o.waiting)
			}
		},
	}
	return ofChart(f.Follow(ctx, a))
}

// put notes a pod that waits, since when it was known to. The lock is held.
func (o *Observer) put(p pending, before map[string]WaitingPod) {
	w := WaitingPod{Node: p.Spec.NodeName, Since: time.Now()}
	if b, ok := before[p.Metadata.UID]; ok {
		w.Since = b.Since
	}
	o.waiting[p.Metadata.UID] = w
}

// Publish replaces what is published. The object is there: the chart makes it, so that nobody needs the right to.
func (o *Observer) Publish(ctx context.Context, s Share) error {
	a, err := o.client.server()
	if err != nil {
		return err
	}
	text, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("encode the share: %w", err)
	}
	err = a.Do(ctx, apiserver.Request{
		Method: http.MethodPatch, Path: "/api/v1/namespaces/" + o.client.cfg.PodNamespace + "/configmaps/" + shareName, ContentType: apiserver.MergePatch,
		Body: map[string]any{"data": map[string]string{shareKey: string(text)}},
	}, nil)
	return ofChart(err)
}

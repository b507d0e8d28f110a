package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"time"

	"github.com/berth-net/berth/internal/core/policy"
	"github.com/berth-net/berth/internal/kube/apiserver"
	"github.com/berth-net/berth/internal/run"
)

// PolicyKind is a resource that holds policies.
type PolicyKind struct {
	Kind, Group, Version, Plural string
}

// Name is the kind with its group, where a kind of the same name is in another.
func (k PolicyKind) Name() string {
	if k.Group == "networking.k8s.io" {
		return k.Kind
	}
	return k.Kind + "." + k.Group
}

// PolicyKinds returns the resources that hold policies. All but the first are there when somebody installed them.
func PolicyKinds() []PolicyKind {
	return []PolicyKind{
		{"NetworkPolicy", "networking.k8s.io", "v1", "networkpolicies"},
		{"ClusterNetworkPolicy", "policy.networking.k8s.io", "v1alpha2", "clusternetworkpolicies"},
		{"ClusterNetworkPolicy", "networking.k8s.aws", "v1alpha1", "clusternetworkpolicies"},
		{"ApplicationNetworkPolicy", "networking.k8s.aws", "v1alpha1", "applicationnetworkpolicies"},
	}
}

// PolicyObject is a policy as the API server has it.
type PolicyObject struct {
	Kind                 PolicyKind
	Namespace, Name, UID string
	JSON                 []byte
}

// PolicyPod is a pod as policies see it.
type PolicyPod struct {
	policy.Pod
	UID string
	// Ended tells that its containers have ended for good: its addresses may be another's.
	Ended bool
}

// PolicyView is told what policies depend on. A list replaces what was known of its kind; of single objects it is told as they
// are, or as they were before they went. Its methods are called from a goroutine for each kind, and must not wait.
type PolicyView interface {
	Policies(kind PolicyKind, all []PolicyObject)
	Policy(o PolicyObject, gone bool)
	Namespaces(labels map[string]map[string]string)
	Namespace(name string, labels map[string]string, gone bool)
	Pods(all []PolicyPod)
	Pod(p PolicyPod, gone bool)
	Services(all []PolicyService)
	Service(s PolicyService, gone bool)
	Nodes(all []policy.Node)
	Node(n policy.Node, gone bool)
	// NodesMatter is closed once a policy names nodes: Node objects are large and change often, nobody follows them before.
	NodesMatter() <-chan struct{}
}

// FollowPolicies follows policies and what they depend on until ctx ends. It returns nil: an API server that is away is no reason
// to end.
func (c *Client) FollowPolicies(ctx context.Context, view PolicyView) error {
	g, _ := run.NewGroup(ctx)
	for _, k := range PolicyKinds() {
		w := watcher{name: k.Plural + "." + k.Group, step: policyFeed(k, view)}
		if k.Group != "networking.k8s.io" {
			appeared := make(chan struct{}, 1)
			w.absent, w.absentFor, w.wake = func() { view.Policies(k, nil) }, pauseGreatest, appeared
			d := watcher{name: "the definition of " + w.name, step: definitionFeed(w.name, appeared), absent: func() {}, absentFor: pauseGreatest}
			g.Go(d.name+" watch", c.keep(d))
		}
		g.Go(w.name+" watch", c.keep(w))
	}
	g.Go("namespaces watch", c.keep(watcher{name: "namespaces", step: namespaceFeed(view)}))
	g.Go("all pods watch", c.keep(watcher{name: "the cluster's pods", step: podFeed(view)}))
	g.Go("services watch", c.keep(watcher{name: "services", step: serviceFeed(view)}))
	g.Go("all nodes watch", func(ctx context.Context) error {
		select {
		case <-view.NodesMatter():
			return c.keep(watcher{name: "the cluster's nodes", step: nodeFeed(view)})(ctx)
		case <-ctx.Done():
			return nil
		}
	})
	return g.Wait(time.Second)
}

// wholeObject is an object of which all is kept, with the part that every kind has.
type wholeObject struct {
	Metadata struct {
		Namespace       string `json:"namespace"`
		Name            string `json:"name"`
		UID             string `json:"uid"`
		ResourceVersion string `json:"resourceVersion"`
	} `json:"metadata"`
	Message string `json:"message"`
	json    []byte
}

// UnmarshalJSON implements json.Unmarshaler.
func (o *wholeObject) UnmarshalJSON(data []byte) error {
	type part wholeObject
	if err := json.Unmarshal(data, (*part)(o)); err != nil {
		return err
	}
	o.json = append([]byte(nil), data...)
	return nil
}

func (o wholeObject) Version() string { return o.Metadata.ResourceVersion }
func (o wholeObject) Failure() string { return o.Message }

func (o wholeObject) policy(k PolicyKind) PolicyObject {
	return PolicyObject{Kind: k, Namespace: o.Metadata.Namespace, Name: o.Metadata.Name, UID: o.Metadata.UID, JSON: o.json}
}

func policyFeed(k PolicyKind, view PolicyView) func(context.Context, *apiserver.API) error {
	seen := new(string)
	return func(ctx context.Context, a *apiserver.API) error {
		return apiserver.Feed[wholeObject]{
			Path: fmt.Sprintf("/apis/%s/%s/%s", k.Group, k.Version, k.Plural), Seen: seen,
			List: func(all []wholeObject) {
				out := make([]PolicyObject, 0, len(all))
				for _, o := range all {
					out = append(out, o.policy(k))
				}
				view.Policies(k, out)
			},
			Change: func(o wholeObject, gone bool) { view.Policy(o.policy(k), gone) },
		}.Follow(ctx, a)
	}
}

func namespaceFeed(view PolicyView) func(context.Context, *apiserver.API) error {
	seen := new(string)
	return func(ctx context.Context, a *apiserver.API) error {
		return apiserver.Feed[member]{
			Path: "/api/v1/namespaces", Metadata: true, Seen: seen,
			List: func(all []member) {
				labels := make(map[string]map[string]string, len(all))
				for _, n := range all {
					labels[n.Metadata.Name] = n.Metadata.Labels
				}
				view.Namespaces(labels)
			},
			Change: func(n member, gone bool) { view.Namespace(n.Metadata.Name, n.Metadata.Labels, gone) },
		}.Follow(ctx, a)
	}
}

// peerPod is the part of a Pod that policies depend on.
type peerPod struct {
	Metadata struct {
		Namespace       string            `json:"namespace"`
		Name            string            `json:"name"`
		UID             string            `json:"uid"`
		ResourceVersion string            `json:"resourceVersion"`
		Labels          map[string]string `json:"labels"`
	} `json:"metadata"`
	Spec struct {
		NodeName       string          `json:"nodeName"`
		HostNetwork    bool            `json:"hostNetwork"`
		Containers     []peerContainer `json:"containers"`
		InitContainers []peerContainer `json:"initContainers"`
	} `json:"spec"`
	Status struct {
		Phase  string `json:"phase"`
		PodIP  string `json:"podIP"`
		PodIPs []struct {
			IP string `json:"ip"`
		} `json:"podIPs"`
	} `json:"status"`
	Message string `json:"message"`
}

type peerContainer struct {
	// RestartPolicy is Always for init containers that run beside the others.
	RestartPolicy string `json:"restartPolicy"`
	Ports         []struct {
		Name          string `json:"name"`
		ContainerPort uint16 `json:"containerPort"`
		Protocol      string `json:"protocol"`
	} `json:"ports"`
}

func (p peerPod) Version() string { return p.Metadata.ResourceVersion }
func (p peerPod) Failure() string { return p.Message }

func (p peerPod) pod() PolicyPod {
	out := PolicyPod{
		UID: p.Metadata.UID, Ended: p.Status.Phase == "Succeeded" || p.Status.Phase == "Failed",
		Pod: policy.Pod{
			Namespace: p.Metadata.Namespace, Name: p.Metadata.Name, Labels: p.Metadata.Labels, Node: p.Spec.NodeName, HostNetwork: p.Spec.HostNetwork,
		},
	}
	for _, ip := range p.Status.PodIPs {
		out.Addrs = appendAddr(out.Addrs, ip.IP)
	}
	if len(out.Addrs) == 0 {
		out.Addrs = appendAddr(nil, p.Status.PodIP)
	}
	for _, c := range p.Spec.Containers {
		out.Ports = appendPorts(out.Ports, c)
	}
	for _, c := range p.Spec.InitContainers {
		if c.RestartPolicy == "Always" {
			out.Ports = appendPorts(out.Ports, c)
		}
	}
	return out
}

func appendAddr(to []netip.Addr, text string) []netip.Addr {
	if ip, err := netip.ParseAddr(text); err == nil {
		return append(to, ip.Unmap())
	}
	return to
}

func appendPorts(to []policy.NamedPort, c peerContainer) []policy.NamedPort {
	for _, p := range c.Ports {
		if p.Name == "" {
			continue
		}
		n := policy.NamedPort{Name: p.Name, Number: p.ContainerPort, Protocol: policy.TCP}
		switch p.Protocol {
		case "UDP":
			n.Protocol = policy.UDP
		case "SCTP":
			n.Protocol = policy.SCTP
		}
		to = append(to, n)
	}
	return to
}

// listedPod is a pod of which only what policies see is kept: a list has all pods of the cluster.
type listedPod struct {
	PolicyPod
	version, message string
}

// UnmarshalJSON implements json.Unmarshaler.
func (l *listedPod) UnmarshalJSON(data []byte) error {
	var p peerPod
	if err := json.Unmarshal(data, &p); err != nil {
		return err
	}
	*l = listedPod{p.pod(), p.Metadata.ResourceVersion, p.Message}
	return nil
}

func (l listedPod) Version() string { return l.version }
func (l listedPod) Failure() string { return l.message }

// livePods leaves out pods that ended: their addresses may be others'. Of one that ends the server says that it is gone.
const livePods = "status.phase!=Succeeded,status.phase!=Failed"

func podFeed(view PolicyView) func(context.Context, *apiserver.API) error {
	seen, labels := new(string), sharedLabels{}
	return func(ctx context.Context, a *apiserver.API) error {
		return apiserver.Feed[listedPod]{
			Path: "/api/v1/pods", Selector: livePods, Seen: seen, Resume: true, Trim: func(p *listedPod) { p.Labels = labels.share(p.Labels) },
			List: func(all []listedPod) {
				out := make([]PolicyPod, 0, len(all))
				for _, p := range all {
					out = append(out, p.PolicyPod)
				}
				view.Pods(out)
			},
			Change: func(p listedPod, gone bool) { view.Pod(p.PolicyPod, gone) },
		}.Follow(ctx, a)
	}
}

// peerNode is the part of a Node that policies depend on.
type peerNode struct {
	member
	Status struct {
		Addresses []struct {
			Type    string `json:"type"`
			Address string `json:"address"`
		} `json:"addresses"`
	} `json:"status"`
}

func (n peerNode) node() policy.Node {
	out := policy.Node{Name: n.Metadata.Name, Labels: n.Metadata.Labels}
	for _, a := range n.Status.Addresses {
		out.Addrs = appendAddr(out.Addrs, a.Address) // names are no addresses
	}
	return out
}

func nodeFeed(view PolicyView) func(context.Context, *apiserver.API) error {
	seen := new(string)
	return func(ctx context.Context, a *apiserver.API) error {
		return apiserver.Feed[peerNode]{
			Path: "/api/v1/nodes", Seen: seen,
			List: func(all []peerNode) {
				out := make([]policy.Node, 0, len(all))
				for _, n := range all {
					out = append(out, n.node())
				}
				view.Nodes(out)
			},
			Change: func(n peerNode, gone bool) { view.Node(n.node(), gone) },
		}.Follow(ctx, a)
	}
}

// PodOf asks for one pod: what is followed may lag behind the kubelet that starts it.
func (c *Client) PodOf(ctx context.Context, namespace, name string) (PolicyPod, error) {
	a, err := c.server()
	if err != nil {
		return PolicyPod{}, err
	}
	var p peerPod
	r := apiserver.Request{Method: http.MethodGet, Path: fmt.Sprintf("/api/v1/namespaces/%s/pods/%s", namespace, name)}
	if err := a.Do(ctx, r, &p); err != nil {
		return PolicyPod{}, err
	}
	return p.pod(), nil
}

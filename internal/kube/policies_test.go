package kube_test

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/berth-net/berth/internal/core/policy"
	"github.com/berth-net/berth/internal/kube"
)

const (
	netpolPath     = "/apis/networking.k8s.io/v1/networkpolicies"
	cnpPath        = "/apis/policy.networking.k8s.io/v1alpha2/clusternetworkpolicies"
	namespacesPath = "/api/v1/namespaces"
	servicesPath   = "/api/v1/services"
	appPath        = "/apis/networking.k8s.aws/v1alpha1/applicationnetworkpolicies"
	amazonPath     = "/apis/networking.k8s.aws/v1alpha1/clusternetworkpolicies"
	nodesPath      = "/api/v1/nodes"
)

// world is what a view was told, as it is now.
type world struct {
	mu         sync.Mutex
	policies   map[string]string
	namespaces map[string]map[string]string
	pods       map[string]kube.PolicyPod // by UID
	nodes      map[string]policy.Node
	services   map[string][]netip.Addr
	lists      map[string]int
	matter     chan struct{}
}

func newWorld() *world {
	return &world{
		policies: map[string]string{}, namespaces: map[string]map[string]string{}, pods: map[string]kube.PolicyPod{}, nodes: map[string]policy.Node{},
		services: map[string][]netip.Addr{}, lists: map[string]int{}, matter: make(chan struct{}),
	}
}

// set changes a map as a view is told.
func set[T any](w *world, m map[string]T, key string, v T, gone bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if gone {
		delete(m, key)
	} else {
		m[key] = v
	}
}

func (w *world) Policies(kind kube.PolicyKind, all []kube.PolicyObject) {
	w.mu.Lock()
	w.lists[kind.Name()]++
	maps.DeleteFunc(w.policies, func(key, _ string) bool { return strings.HasPrefix(key, kind.Name()+" ") })
	w.mu.Unlock()
	for _, o := range all {
		w.Policy(o, false)
	}
}

func (w *world) Policy(o kube.PolicyObject, gone bool) {
	set(w, w.policies, fmt.Sprintf("%s %s/%s", o.Kind.Name(), o.Namespace, o.Name), string(o.JSON), gone)
}

func (w *world) Namespaces(labels map[string]map[string]string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.namespaces = labels
}

func (w *world) Namespace(name string, labels map[string]string, gone bool) {
	set(w, w.namespaces, name, labels, gone)
}

func (w *world) Pods(all []kube.PolicyPod) {
	w.mu.Lock()
	clear(w.pods)
	w.mu.Unlock()
	for _, p := range all {
		w.Pod(p, false)
	}
}

func (w *world) Pod(p kube.PolicyPod, gone bool) { set(w, w.pods, p.UID, p, gone) }

func (w *world) Services(all []kube.PolicyService) {
	for _, s := range all {
		w.Service(s, false)
	}
}

func (w *world) Service(s kube.PolicyService, gone bool) {
	set(w, w.services, s.Namespace+"/"+s.Name, s.Addrs, gone)
}

func (w *world) Nodes(all []policy.Node) {
	for _, n := range all {
		w.Node(n, false)
	}
}

func (w *world) Node(n policy.Node, gone bool) { set(w, w.nodes, n.Name, n, gone) }

func (w *world) NodesMatter() <-chan struct{} { return w.matter }

// has asks what the view was told.
func (w *world) has(ok func() bool) func() bool {
	return func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return ok()
	}
}

// followPolicies runs a client that tells a view.
func followPolicies(t *testing.T, s *apiServer) (*world, *kube.Client) {
	t.Helper()
	for _, p := range []string{netpolPath, namespacesPath, servicesPath} {
		s.collections[p] = &collection{}
	}
	s.collections[cnpPath] = &collection{absent: true}
	s.collections[definitionsPath] = &collection{}
	w := newWorld()
	c := start(t, kube.Config{Kubeconfig: kubeconfig(t, serve(t, s).URL)})
	done := make(chan error, 1)
	go func() { done <- c.FollowPolicies(t.Context(), w) }()
	t.Cleanup(func() {
		if err := <-done; err != nil {
			t.Errorf("FollowPolicies: %v", err)
		}
	})
	eventually(t, "everything listed", w.has(func() bool { return len(w.lists) == len(kube.PolicyKinds()) }))
	return w, c
}

func TestPoliciesAreFollowed(t *testing.T) {
	t.Parallel()
	s := newAPIServer()
	w, _ := followPolicies(t, s)
	s.put(netpolPath, "deny", object{"metadata": object{"namespace": "shop"}, "spec": object{"podSelector": object{}}})
	const key = "NetworkPolicy shop/deny"
	eventually(t, "a policy", w.has(func() bool { return strings.Contains(w.policies[key], `"podSelector":{}`) }))
	s.put(namespacesPath, "shop", object{"metadata": object{"labels": object{"team": "a"}}})
	eventually(t, "a namespace", w.has(func() bool { return w.namespaces["shop"]["team"] == "a" }))
	s.remove(netpolPath, "deny")
	s.remove(namespacesPath, "shop")
	eventually(t, "both are gone", w.has(func() bool { return len(w.policies)+len(w.namespaces) == 0 }))
}

func TestPodsAsPoliciesSeeThem(t *testing.T) {
	t.Parallel()
	s := newAPIServer()
	w, _ := followPolicies(t, s)
	port := func(name, protocol string, number int) object {
		return object{"name": name, "protocol": protocol, "containerPort": number}
	}
	s.put(podsPath, "web", object{
		"metadata": object{"namespace": "shop", "uid": "u1", "labels": object{"app": "web"}},
		"spec": object{
			"nodeName": "node-7", "containers": []any{
				object{"ports": []any{port("http", "TCP", 8080), port("dns", "UDP", 53), port("", "TCP", 9)}},
				object{"ports": []any{port("sig", "SCTP", 5000)}},
			},
			"initContainers": []any{
				object{"restartPolicy": "Always", "ports": []any{port("side", "TCP", 15000)}},
				object{"ports": []any{port("once", "TCP", 1)}},
			},
		},
		"status": object{"phase": "Running", "podIP": "10.0.0.9", "podIPs": []any{object{"ip": "10.0.0.9"}, object{"ip": "fd00::9"}}},
	})
	want := kube.PolicyPod{UID: "u1", Pod: policy.Pod{
		Namespace: "shop", Name: "web", Labels: map[string]string{"app": "web"}, Node: "node-7",
		Addrs: []netip.Addr{netip.MustParseAddr("10.0.0.9"), netip.MustParseAddr("fd00::9")},
		Ports: []policy.NamedPort{
			{Name: "http", Protocol: policy.TCP, Number: 8080},
			{Name: "dns", Protocol: policy.UDP, Number: 53},
			{Name: "sig", Protocol: policy.SCTP, Number: 5000},
			{Name: "side", Protocol: policy.TCP, Number: 15000},
		},
	}}
	eventually(t, "the pod", w.has(func() bool { return len(w.pods) == 1 }))
	if diff := cmp.Diff(want, w.pods["u1"], cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	ended := func(phase string) object {
		return object{"metadata": object{"uid": "u2"}, "spec": object{"hostNetwork": true}, "status": object{"phase": phase, "podIP": "10.0.0.10"}}
	}
	s.put(podsPath, "job", ended("Running"))
	eventually(t, "a job", w.has(func() bool { p := w.pods["u2"]; return !p.Ended && p.HostNetwork && len(p.Addrs) == 1 }))
	s.put(podsPath, "job", ended("Succeeded"))
	eventually(t, "one that ended is gone", w.has(func() bool { return len(w.pods) == 1 }))
	s.remove(podsPath, "web")
	eventually(t, "it is gone", w.has(func() bool { return len(w.pods) == 0 }))
}

func TestNodesAreFollowedOnceTheyMatter(t *testing.T) {
	t.Parallel()
	s := newAPIServer()
	s.collections[nodesPath] = &collection{}
	w, _ := followPolicies(t, s)
	s.put(nodesPath, "node-9", object{
		"metadata": object{"labels": object{"zone": "a"}},
		"status":   object{"addresses": []any{object{"type": "InternalIP", "address": "10.0.0.4"}, object{"type": "Hostname", "address": "node-9"}}},
	})
	if n := s.count("GET " + nodesPath + "?resourceVersion="); n != 0 {
		t.Errorf("%d requests for nodes that nobody needs", n)
	}
	close(w.matter)
	eventually(t, "the node", w.has(func() bool {
		n := w.nodes["node-9"]
		return n.Labels["zone"] == "a" && slices.Equal(n.Addrs, []netip.Addr{netip.MustParseAddr("10.0.0.4")})
	}))
}

func TestOnePodIsAskedFor(t *testing.T) {
	t.Parallel()
	_, c := followPolicies(t, newAPIServer())
	p, err := c.PodOf(t.Context(), "kube-system", "aws-node-x")
	if err != nil || p.UID != "own-uid" {
		t.Errorf("%+v, %v", p, err)
	}
	if _, err := c.PodOf(t.Context(), "kube-system", "nobody"); err == nil {
		t.Error("a pod that is not there is found")
	}
}

func TestAddressesOfServices(t *testing.T) {
	t.Parallel()
	s := newAPIServer()
	w, _ := followPolicies(t, s)
	s.put(servicesPath, "headless", object{"metadata": object{"namespace": "shop"}, "spec": object{"clusterIP": "None", "clusterIPs": []string{"None"}}})
	s.put(servicesPath, "web", object{
		"metadata": object{"namespace": "shop"},
		"spec":     object{"clusterIP": "172.20.0.1", "clusterIPs": []string{"172.20.0.1", "fd00::1"}, "externalIPs": []string{"192.0.2.1"}},
		"status":   object{"loadBalancer": object{"ingress": []object{{"ip": "192.0.2.2"}, {"hostname": "lb.example"}}}},
	})
	want := []string{"172.20.0.1", "172.20.0.1", "fd00::1", "192.0.2.1", "192.0.2.2"}
	eventually(t, "its addresses", w.has(func() bool { return fmt.Sprint(w.services["shop/web"]) == fmt.Sprint(want) }))
	if got := w.services["shop/headless"]; len(got) != 0 {
		t.Errorf("a headless Service has %v", got)
	}
	s.remove(servicesPath, "web")
	eventually(t, "it is gone", w.has(func() bool { return w.services["shop/web"] == nil }))
}

// An agent asked for a kind that the cluster lacked every half minute: policies that came right after their kind were not in force for as long.
func TestAKindOfPolicyThatIsInstalledUnderTheAgentIsNoticedAtOnce(t *testing.T) {
	t.Parallel()
	s := newAPIServer()
	w, _ := followPolicies(t, s)
	s.put(definitionsPath, "clusternetworkpolicies.networking.k8s.aws", object{}) // of another group
	s.put(definitionsPath, "clusternetworkpolicies.policy.networking.k8s.io", object{})
	s.with(func(s *apiServer) { s.collections[cnpPath].absent = false })
	s.put(cnpPath, "deny", object{"spec": object{"tier": "Admin"}})
	eventually(t, "its first policy", w.has(func() bool {
		return strings.Contains(w.policies["ClusterNetworkPolicy.policy.networking.k8s.io /deny"], "Admin")
	}))
}

func TestWhatIsWrongWithAPolicyIsOneEventForAllNodes(t *testing.T) {
	t.Parallel()
	s := newAPIServer()
	url := serve(t, s).URL
	bad := kube.PolicyObject{Kind: kube.PolicyKinds()[0], Namespace: "shop", Name: strings.Repeat("long.", 50), UID: "u1"}
	for range 2 {
		start(t, kube.Config{Kubeconfig: kubeconfig(t, url)}).PolicyEvent(bad, "PolicyNotAsWritten", "spec.ingress[0]: no CIDR")
	}
	c := start(t, kube.Config{Kubeconfig: kubeconfig(t, url)})
	c.PolicyEvent(kube.PolicyObject{Kind: kube.PolicyKinds()[1], Name: "all", UID: "u2"}, "PolicyNotAsWritten", "spec.tier")
	eventually(t, "each node has tried", func() bool {
		return s.count("POST /api/v1/namespaces/shop/events") == 2 && s.count("POST /api/v1/namespaces/default/events") == 1
	})
	c.Event(kube.Event{Reason: "last", Message: "m"})
	eventually(t, "all events", func() bool { return len(s.seen()) == 3 })
	about := map[string]string{}
	for _, e := range s.seen() {
		o := e["involvedObject"].(map[string]any)
		about[fmt.Sprint(o["kind"])] = fmt.Sprint(o["apiVersion"], o["uid"], e["type"], e["message"])
	}
	delete(about, "Pod")
	want := map[string]string{
		"NetworkPolicy":        "networking.k8s.io/v1" + "u1" + "Warning" + "spec.ingress[0]: no CIDR",
		"ClusterNetworkPolicy": "policy.networking.k8s.io/v1alpha2" + "u2" + "Warning" + "spec.tier",
	}
	if diff := cmp.Diff(want, about); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// Package kubeapi is as much of an API server as agents need: collections that are listed and watched, conditions of Nodes, and
// events.
package kubeapi

import (
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/berth-net/berth/internal/testkit"
)

// Collections of an API server, by their last word.
var collections = map[string]string{
	"nodes": "/api/v1/nodes", "pods": "/api/v1/pods", "eniconfigs": "/apis/crd.k8s.amazonaws.com/v1alpha1/eniconfigs",
	"namespaces": "/api/v1/namespaces", "services": "/api/v1/services", "networkpolicies": "/apis/networking.k8s.io/v1/networkpolicies",
	"applicationnetworkpolicies": "/apis/networking.k8s.aws/v1alpha1/applicationnetworkpolicies",
	"nodesettings":               "/apis/berth-net.github.io/v1alpha1/nodesettings", "configmaps": "/api/v1/namespaces/kube-system/configmaps",
}

// Server is the API server. Its methods may be called side by side.
type Server struct {
	mu      sync.Mutex
	objects map[string]map[string]Object // by collection and name
	log     []change                     // all there were; the version is its length
	changed chan struct{}                // closed at each change
	events  []string
}

// Object is one, as in JSON.
type Object = map[string]any

// change is a line of a watch.
type change struct {
	collection, kind, name string
	object                 []byte
}

// New is a server without objects.
func New() *Server {
	s := &Server{objects: map[string]map[string]Object{}, changed: make(chan struct{})}
	for word := range collections {
		s.objects[word] = map[string]Object{}
	}
	return s
}

// Handler serves.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	for word, path := range collections {
		mux.HandleFunc("GET "+path, func(rw http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Get("watch") == "true" {
				s.watch(rw, r, word)
			} else {
				s.list(rw, r, word)
			}
		})
		mux.HandleFunc("GET "+path+"/{name}", func(rw http.ResponseWriter, r *http.Request) {
			s.mu.Lock()
			defer s.mu.Unlock()
			if o := s.objects[word][r.PathValue("name")]; o != nil {
				_ = json.NewEncoder(rw).Encode(o)
			} else {
				http.NotFound(rw, r)
			}
		})
	}
	mux.HandleFunc("GET /api/v1/namespaces/{namespace}/pods/{name}", func(rw http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if o := s.objects["pods"][r.PathValue("name")]; o != nil {
			_ = json.NewEncoder(rw).Encode(o)
		} else {
			http.NotFound(rw, r)
		}
	})
	// So old a server is not asked how many pods wait for a node.
	mux.HandleFunc("GET /version", func(rw http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(rw, `{"major":"1","minor":"30"}`) })
	mux.HandleFunc("PATCH /api/v1/nodes/{name}/status", s.condition)
	mux.HandleFunc("POST /api/v1/namespaces/{namespace}/events", s.record)
	mux.HandleFunc("PATCH /api/v1/namespaces/{namespace}/events/{name}", func(rw http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(rw, "{}") })
	return mux
}

// Set makes or replaces an Object, or removes it when o is nil, and tells those who watch.
func (s *Server) Set(word, name string, o Object) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.put(word, name, o)
}

// put is called with the lock held.
func (s *Server) put(word, name string, o Object) {
	kind := "MODIFIED"
	if o == nil {
		if kind, o = "DELETED", s.objects[word][name]; o == nil {
			return
		}
		delete(s.objects[word], name)
	} else {
		s.objects[word][name] = o
	}
	meta, _ := o["metadata"].(Object)
	o["metadata"] = meta
	meta["resourceVersion"] = strconv.Itoa(len(s.log) + 1)
	data, err := json.Marshal(o)
	if err != nil {
		panic(err)
	}
	s.log = append(s.log, change{word, kind, name, data})
	close(s.changed)
	s.changed = make(chan struct{})
}

// wanted tells whether an object is one that a request asks for. All pods are of the node that asks: the stories bind them so.
func wanted(r *http.Request, name string) bool {
	n, named := strings.CutPrefix(r.URL.Query().Get("fieldSelector"), "metadata.name=")
	return !named || n == name
}

func (s *Server) list(rw http.ResponseWriter, r *http.Request, word string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	items := []Object{}
	for _, name := range slices.Sorted(maps.Keys(s.objects[word])) {
		if wanted(r, name) {
			items = append(items, s.objects[word][name])
		}
	}
	_ = json.NewEncoder(rw).Encode(Object{"metadata": Object{"resourceVersion": strconv.Itoa(len(s.log))}, "items": items})
}

func (s *Server) watch(rw http.ResponseWriter, r *http.Request, word string) {
	at, _ := strconv.Atoi(r.URL.Query().Get("resourceVersion"))
	for {
		s.mu.Lock()
		news, changed := slices.Clone(s.log[min(at, len(s.log)):]), s.changed
		at = len(s.log)
		s.mu.Unlock()
		for _, c := range news {
			if c.collection == word && wanted(r, c.name) {
				_, _ = fmt.Fprintf(rw, "{\"type\":%q,\"object\":%s}\n", c.kind, c.object)
			}
		}
		_ = http.NewResponseController(rw).Flush()
		select {
		case <-changed:
		case <-r.Context().Done():
			return
		}
	}
}

// condition merges conditions into a Node's, as a strategic merge does.
func (s *Server) condition(rw http.ResponseWriter, r *http.Request) {
	var patch struct {
		Status struct{ Conditions []Object }
	}
	if err := json.NewDecoder(r.Body).Decode(&patch); err != nil {
		http.Error(rw, err.Error(), http.StatusBadRequest)
		return
	}
	name := r.PathValue("name")
	s.mu.Lock()
	defer s.mu.Unlock()
	node := s.objects["nodes"][name]
	if node == nil {
		http.NotFound(rw, r)
		return
	}
	status := node["status"].(Object)
	all, _ := status["conditions"].([]Object)
	for _, c := range patch.Status.Conditions {
		all = slices.DeleteFunc(slices.Clone(all), func(old Object) bool { return old["type"] == c["type"] })
		all = append(all, c)
	}
	status["conditions"] = all
	s.put("nodes", name, node)
	_ = json.NewEncoder(rw).Encode(node)
}

func (s *Server) record(rw http.ResponseWriter, r *http.Request) {
	var e struct {
		Reason, Message string
		InvolvedObject  struct{ Namespace, Name string }
	}
	if err := json.NewDecoder(r.Body).Decode(&e); err != nil {
		http.Error(rw, err.Error(), http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, fmt.Sprintf("%s/%s: %s: %s", e.InvolvedObject.Namespace, e.InvolvedObject.Name, e.Reason, e.Message))
	rw.WriteHeader(http.StatusCreated)
	_, _ = rw.Write([]byte("{}"))
}

// Conditions are those of a Node, a line each.
func (s *Server) Conditions(node string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var lines []string
	if o := s.objects["nodes"][node]; o != nil {
		all, _ := o["status"].(Object)["conditions"].([]Object)
		for _, c := range all {
			lines = append(lines, fmt.Sprintf("%v=%v %v: %v", c["type"], c["status"], c["reason"], c["message"]))
		}
	}
	return lines
}

// Events are those that were recorded, a line each.
func (s *Server) Events() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.events)
}

// Known tells whether there is a collection of a name, such as pods.
func Known(word string) bool { return collections[word] != "" }

// SetNode makes or replaces a Node; its conditions stay.
func (s *Server) SetNode(name string, o Object) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.objects["nodes"][name]; old != nil {
		o["status"].(Object)["conditions"] = old["status"].(Object)["conditions"] //nolint:forcetypeassert // we made them
	}
	s.put("nodes", name, o)
}

// SetPod makes or replaces a pod of namespace default that has no address yet, as far as the server knows.
func (s *Server) SetPod(name string, labels Object) {
	s.Set("pods", name, Object{
		"metadata": Object{"namespace": "default", "name": name, "uid": "uid-" + name, "labels": labels}, "status": Object{"phase": "Pending"},
	})
}

// Started gives a pod its address, as the kubelet does once it runs.
func (s *Server) Started(name, node, addr string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	pod := maps.Clone(s.objects["pods"][name])
	if pod == nil {
		return
	}
	pod["spec"] = Object{"nodeName": node}
	pod["status"] = Object{"phase": "Running", "podIP": addr, "podIPs": []Object{{"ip": addr}}}
	s.put("pods", name, pod)
}

// Address is where Listen listens.
const Address = "127.0.0.1:6443"

// Listen serves in a network namespace until the test ends.
func (s *Server) Listen(tb testing.TB, namespace string) {
	tb.Helper()
	var l net.Listener
	testkit.InNetns(tb, namespace, func() (err error) {
		l, err = net.Listen("tcp4", Address)
		return err
	})
	server := &http.Server{Handler: s.Handler()}
	go func() { _ = server.Serve(l) }()
	tb.Cleanup(func() { _ = server.Close() })
}

// Kubeconfig is the text of a kubeconfig for Address.
const Kubeconfig = "apiVersion: v1\nkind: Config\nclusters: [{name: c, cluster: {server: \"http://" + Address + "\"}}]\n" +
	"contexts: [{name: c, context: {cluster: c, user: u}}]\nusers: [{name: u, user: {}}]\ncurrent-context: c\n"

package blackbox

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// Collections of an API server, by their last word.
var collections = map[string]string{
	"nodes": "/api/v1/nodes", "pods": "/api/v1/pods", "eniconfigs": "/apis/crd.k8s.amazonaws.com/v1alpha1/eniconfigs",
	"namespaces": "/api/v1/namespaces", "networkpolicies": "/apis/networking.k8s.io/v1/networkpolicies",
	"nodesettings": "/apis/berth-net.github.io/v1alpha1/nodesettings", "configmaps": "/api/v1/namespaces/kube-system/configmaps",
}

// apiServer is as much of an API server as agents need: five collections that are listed and watched, conditions of Nodes, and
// events.
type apiServer struct {
	mu      sync.Mutex
	objects map[string]map[string]object // by collection and name
	log     []change                     // all there were; the version is its length
	changed chan struct{}                // closed at each change
	events  []string
}

type object = map[string]any

// change is a line of a watch.
type change struct {
	collection, kind, name string
	object                 []byte
}

func newAPIServer() *apiServer {
	s := &apiServer{objects: map[string]map[string]object{}, changed: make(chan struct{})}
	for word := range collections {
		s.objects[word] = map[string]object{}
	}
	return s
}

func (s *apiServer) handler() http.Handler {
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

// set makes or replaces an object, or removes it when o is nil, and tells those who watch.
func (s *apiServer) set(word, name string, o object) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.put(word, name, o)
}

// put is called with the lock held.
func (s *apiServer) put(word, name string, o object) {
	kind := "MODIFIED"
	if o == nil {
		if kind, o = "DELETED", s.objects[word][name]; o == nil {
			return
		}
		delete(s.objects[word], name)
	} else {
		s.objects[word][name] = o
	}
	meta, _ := o["metadata"].(object)
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

func (s *apiServer) list(rw http.ResponseWriter, r *http.Request, word string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	items := []object{}
	for _, name := range slices.Sorted(maps.Keys(s.objects[word])) {
		if wanted(r, name) {
			items = append(items, s.objects[word][name])
		}
	}
	_ = json.NewEncoder(rw).Encode(object{"metadata": object{"resourceVersion": strconv.Itoa(len(s.log))}, "items": items})
}

func (s *apiServer) watch(rw http.ResponseWriter, r *http.Request, word string) {
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
func (s *apiServer) condition(rw http.ResponseWriter, r *http.Request) {
	var patch struct {
		Status struct{ Conditions []object }
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
	status := node["status"].(object)
	all, _ := status["conditions"].([]object)
	for _, c := range patch.Status.Conditions {
		all = slices.DeleteFunc(slices.Clone(all), func(old object) bool { return old["type"] == c["type"] })
		all = append(all, c)
	}
	status["conditions"] = all
	s.put("nodes", name, node)
	_ = json.NewEncoder(rw).Encode(node)
}

func (s *apiServer) record(rw http.ResponseWriter, r *http.Request) {
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

// conditions are those of a Node, a line each.
func (s *apiServer) conditions(node string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var lines []string
	if o := s.objects["nodes"][node]; o != nil {
		all, _ := o["status"].(object)["conditions"].([]object)
		for _, c := range all {
			lines = append(lines, fmt.Sprintf("%v=%v %v: %v", c["type"], c["status"], c["reason"], c["message"]))
		}
	}
	return lines
}

func (s *apiServer) recorded() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.events)
}

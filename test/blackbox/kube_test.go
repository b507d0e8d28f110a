package blackbox

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/berth-net/berth/internal/testkit"
)

// apiServer is as much of an API server as the agent needs: its Node object, which it reads and watches, and events.
type apiServer struct {
	mu      sync.Mutex
	node    []byte
	changed chan struct{} // closed at each change of the node
	events  []string
}

// kube node [pods=COUNT] [cordoned] sets the Node object of an API server that the node reaches by $kubeconfig. kube events
// prints the events that were recorded.
func cmdKube(w *world, _ bool, args []string) {
	if w.api == nil {
		w.startAPI()
	}
	switch {
	case len(args) > 0 && args[0] == "node":
		pods, taints := "110", []map[string]string{}
		for _, a := range args[1:] {
			if count, ok := strings.CutPrefix(a, "pods="); ok {
				pods = count
			} else if a == "cordoned" {
				taints = append(taints, map[string]string{"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"})
			} else {
				w.fail("kube node [pods=COUNT] [cordoned]")
			}
		}
		w.api.set(map[string]any{
			"metadata": map[string]any{"name": "node", "resourceVersion": "1"},
			"spec":     map[string]any{"taints": taints},
			"status":   map[string]any{"capacity": map[string]any{"pods": pods}},
		})
	case len(args) == 1 && args[0] == "events":
		w.api.mu.Lock()
		defer w.api.mu.Unlock()
		for _, e := range w.api.events {
			w.printf("%s\n", e)
		}
	default:
		w.fail("kube node | events")
	}
}

func (w *world) startAPI() {
	w.api = &apiServer{changed: make(chan struct{})}
	var l net.Listener
	w.check("listen", testkit.TryInNetns(w.nodeSpace(), func() (err error) {
		l, err = net.Listen("tcp4", "127.0.0.1:0")
		return err
	}))
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/v1/nodes/node", w.api.get)
	mux.HandleFunc("GET /api/v1/nodes", w.api.watch)
	mux.HandleFunc("POST /api/v1/namespaces/{namespace}/events", w.api.record)
	server := &http.Server{Handler: mux}
	go func() { _ = server.Serve(l) }()
	w.tb.Cleanup(func() { _ = server.Close() })
	path := filepath.Join(w.rig.Dir, "kubeconfig")
	text := fmt.Sprintf("apiVersion: v1\nkind: Config\nclusters: [{name: c, cluster: {server: \"http://%s\"}}]\n"+
		"contexts: [{name: c, context: {cluster: c, user: u}}]\nusers: [{name: u, user: {}}]\ncurrent-context: c\n", l.Addr())
	w.check("write kubeconfig", os.WriteFile(path, []byte(text), 0o600))
	w.ts.Setenv("kubeconfig", path)
}

func (s *apiServer) set(node map[string]any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.node, _ = json.Marshal(node)
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *apiServer) current() (node []byte, changed <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.node, s.changed
}

func (s *apiServer) get(rw http.ResponseWriter, _ *http.Request) {
	node, _ := s.current()
	_, _ = rw.Write(node)
}

// watch tells the node as it is, and again at each change.
func (s *apiServer) watch(rw http.ResponseWriter, r *http.Request) {
	for {
		node, changed := s.current()
		_, _ = fmt.Fprintf(rw, "{\"type\":\"MODIFIED\",\"object\":%s}\n", node)
		_ = http.NewResponseController(rw).Flush()
		select {
		case <-changed:
		case <-r.Context().Done():
			return
		}
	}
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

package kube_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/berth-net/berth/internal/kube"
)

// apiServer holds one node, pods and events, and serves watches.
type apiServer struct {
	mu      sync.Mutex
	node    map[string]any
	version int
	watches []chan string
	events  map[string]map[string]any // by name
	order   []string
	pods    map[string]string // namespace/name to UID
	refuse  int               // answers every request with this status when set
	agents  map[string]bool

	collections map[string]*collection    // by path
	singles     map[string]map[string]any // objects by path
	minor       string                    // of the server's version
	waiting     int                       // pods without a node
	nodes       int
	requests    []string       // method, path and query
	patches     []string       // of the Node's status
	patchStatus int            // answers those when set
	refusals    map[string]int // of the next requests, by path
}

func newAPIServer() *apiServer {
	s := &apiServer{events: map[string]map[string]any{}, pods: map[string]string{"kube-system/aws-node-x": "own-uid"}, agents: map[string]bool{}, minor: "35", nodes: 3}
	s.collections = map[string]*collection{podsPath: {}, settingsPath: {}, eniconfigsPath: {}}
	s.set(29, false)
	return s
}

// set changes the node and tells those that watch.
func (s *apiServer) set(pods int, cordoned bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version++
	var taints []any
	if cordoned {
		taints = []any{map[string]any{"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}}
	}
	var labels, annotations, conditions any
	if s.node != nil {
		meta := s.node["metadata"].(map[string]any)
		labels, annotations, conditions = meta["labels"], meta["annotations"], s.node["status"].(map[string]any)["conditions"]
	}
	s.node = map[string]any{
		"metadata": map[string]any{"name": "node-1", "uid": "node-uid", "resourceVersion": fmt.Sprint(s.version), "labels": labels, "annotations": annotations},
		"spec":     map[string]any{"taints": taints},
		"status":   map[string]any{"capacity": map[string]any{"pods": fmt.Sprint(pods)}, "images": strings.Repeat("x", 200_000), "conditions": conditions},
	}
	s.tell("MODIFIED", s.node)
}

// tell is called with the lock held.
func (s *apiServer) tell(kind string, object any) {
	line, err := json.Marshal(map[string]any{"type": kind, "object": object})
	if err != nil {
		panic(err)
	}
	for _, w := range s.watches {
		w <- string(line) + "\n"
	}
}

// breakWatches ends all watches.
func (s *apiServer) breakWatches(line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.watches {
		if line != "" {
			w <- line + "\n"
		}
		close(w)
	}
	s.watches = nil
	for _, c := range s.collections {
		for _, w := range c.watches {
			close(w.lines)
		}
		c.watches = nil
	}
}

func (s *apiServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	refuse := s.refuse
	s.agents[r.UserAgent()] = true
	s.requests = append(s.requests, r.Method+" "+r.URL.Path+"?"+r.URL.RawQuery)
	s.mu.Unlock()
	if refuse != 0 {
		w.WriteHeader(refuse)
		fmt.Fprint(w, `{"kind":"Status","message":"the server is out of order"}`)
		return
	}
	if s.single(w, r) || s.collect(w, r) {
		return
	}
	parts := strings.Split(strings.TrimPrefix(r.URL.Path, "/api/v1/"), "/")
	switch {
	case r.URL.Query().Get("watch") == "true" && r.URL.Query().Get("fieldSelector") == "metadata.name=node-1":
		s.watch(w, r)
	case len(parts) == 3 && parts[0] == "nodes" && parts[2] == "status":
		s.patchNode(w, r)
	case len(parts) == 2 && parts[0] == "nodes" && parts[1] == "node-1":
		s.mu.Lock()
		defer s.mu.Unlock()
		_ = json.NewEncoder(w).Encode(s.node)
	case len(parts) == 4 && parts[2] == "pods":
		s.mu.Lock()
		defer s.mu.Unlock()
		if uid := s.pods[parts[1]+"/"+parts[3]]; uid != "" {
			fmt.Fprintf(w, `{"metadata":{"uid":%q}}`, uid)
			return
		}
		w.WriteHeader(http.StatusNotFound)
	case len(parts) >= 3 && parts[2] == "events":
		s.event(w, r, parts)
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

func (s *apiServer) watch(w http.ResponseWriter, r *http.Request) {
	lines := make(chan string, 16)
	s.mu.Lock()
	if fmt.Sprint(s.version) != r.URL.Query().Get("resourceVersion") { // it changed since the client read it
		data, _ := json.Marshal(map[string]any{"type": "MODIFIED", "object": s.node})
		lines <- string(data) + "\n"
	}
	s.watches = append(s.watches, lines)
	s.mu.Unlock()
	w.(http.Flusher).Flush()
	for {
		select {
		case line, ok := <-lines:
			if !ok {
				return
			}
			fmt.Fprint(w, line)
			w.(http.Flusher).Flush()
		case <-r.Context().Done():
			return
		}
	}
}

func (s *apiServer) event(w http.ResponseWriter, r *http.Request, parts []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var body map[string]any
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	if r.Method == http.MethodPost {
		name := body["metadata"].(map[string]any)["name"].(string)
		s.events[name], s.order = body, append(s.order, name)
		_ = json.NewEncoder(w).Encode(body)
		return
	}
	e, ok := s.events[parts[3]]
	if !ok || r.Header.Get("Content-Type") != "application/merge-patch+json" {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	maps.Copy(e, body)
	_ = json.NewEncoder(w).Encode(e)
}

func (s *apiServer) expireEvents() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.events)
}

// seen returns an event's fields, in the order in which the events were made.
func (s *apiServer) seen() []map[string]any {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []map[string]any
	for _, name := range s.order {
		if e, ok := s.events[name]; ok {
			out = append(out, maps.Clone(e))
		}
	}
	return out
}

// asked tells whether a client with the user agent has asked anything.
func (s *apiServer) asked(agent string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.agents[agent]
}

func (s *apiServer) setRefuse(status int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuse = status
}

// kubeconfig writes one for a server.
func kubeconfig(t *testing.T, url string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kubeconfig")
	text := fmt.Sprintf("apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{name: c, context: {cluster: c, user: u}}]\nclusters: [{name: c, cluster: {server: %q}}]\nusers: [{name: u, user: {token: t}}]\n", url)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// start runs a client of the kubeconfig.
func start(t *testing.T, cfg kube.Config) *kube.Client {
	t.Helper()
	cfg.Node, cfg.Pod, cfg.PodNamespace, cfg.UserAgent, cfg.Log = "node-1", "aws-node-x", "kube-system", "berth/test", slog.New(slog.DiscardHandler)
	c := kube.New(cfg)
	done := make(chan error, 1)
	go func() { done <- c.Run(t.Context()) }()
	t.Cleanup(func() {
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return c
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(15 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%s: not within 15 s", what)
		}
	}
}

func serve(t *testing.T, s *apiServer) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(s)
	t.Cleanup(func() { s.breakWatches(""); server.CloseClientConnections(); server.Close() })
	return server
}

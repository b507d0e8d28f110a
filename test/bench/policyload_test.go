package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/berth-net/berth/internal/core/policy"
	"github.com/berth-net/berth/internal/kube"
	"github.com/berth-net/berth/internal/testkit"
	"github.com/berth-net/berth/internal/testkit/kubeapi"
)

// The cluster whose API server is asked.
const (
	loadNodes   = 1500
	loadPods    = 30_000
	loadAgents  = 4  // that are there
	loadChanges = 15 // of pods in a second
	loadSeconds = 10
)

// What it may be asked, by ADR 17: a third of the 300 MB/s with which policies of the existing agent overwhelmed clusters of 500 nodes, the
// same rate for ten minutes after a restart of all, and a watch for each kind that policies depend on and each definition that may come.
const (
	mostSteady     = 100e6
	restartSeconds = 600
	mostWatches    = 11
)

// policyLoad is what network policy asks of an API server: the agents' own client follows what policies depend on. A few agents are
// there; each has watches of its own for the same collections, gets the same bytes, and so 1,500 get 375 times those of four. A
// change of a pod is one event, of a pod as large as a real API server sends it; a pod that starts is four or five.
func policyLoad(t *testing.T) []row {
	api := kubeapi.New()
	api.Set("namespaces", "default", object{"metadata": object{"name": "default"}})
	for i := range policies {
		name := fmt.Sprint("first-", i)
		api.Set("networkpolicies", name, object{
			"metadata": object{"name": name, "namespace": "default", "uid": name},
			"spec":     object{"podSelector": object{"matchLabels": object{"app": name}}, "policyTypes": []string{"Ingress"}},
		})
	}
	for i := range loadPods {
		loadPod(api, i, 0)
	}
	wire := &counted{}
	watches, handler := atomic.Int64{}, api.Handler()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("watch") == "true" {
			watches.Add(1)
			defer watches.Add(-1)
		}
		if r.URL.Path == "/apis/apiextensions.k8s.io/v1/customresourcedefinitions" { // of kinds of policy that are not installed
			if r.URL.Query().Get("watch") == "true" {
				w.(http.Flusher).Flush() //nolint:forcetypeassert // it is one
				<-r.Context().Done()
			}
			_, _ = io.WriteString(w, `{"metadata":{"resourceVersion":"1"},"items":[]}`)
			return
		}
		handler.ServeHTTP(w, r)
	}))
	server.Listener = countedListener{server.Listener, wire}
	server.Start()
	t.Cleanup(server.Close)
	began := time.Now()
	agents := startFollowers(t, server.URL)
	lists := wire.sent.Load() / loadAgents
	t.Logf("%d agents have listed %d pods in %s", loadAgents, loadPods, time.Since(began))
	testkit.Eventually(t, "all watches", func() bool { return watches.Load() >= 7*loadAgents })
	open := float64(watches.Load()) / loadAgents
	from := wire.sent.Load()
	began = time.Now()
	tick := time.NewTicker(time.Second / loadChanges)
	defer tick.Stop()
	for i := range loadChanges * loadSeconds {
		<-tick.C
		loadPod(api, i, 1)
	}
	for _, a := range agents {
		testkit.Eventually(t, "all changes", func() bool { return a.changes.Load() >= loadChanges*loadSeconds })
	}
	steady := float64(wire.sent.Load()-from) / time.Since(began).Seconds() / loadAgents
	t.Logf("per agent: %.1f watches, %d bytes listed, %.0f bytes/s steady; of %d nodes: %.0f watches, %.1f GB listed, %.1f MB/s steady",
		open, lists, steady, loadNodes, open*loadNodes, float64(lists)*loadNodes/1e9, steady*loadNodes/1e6)
	const mb = 1e6
	return []row{
		{"API server: watches of network policy per agent", open, "", none, mostWatches, false},
		{"API server: bytes per second per agent, 15 changes of pods a second", steady / 1e3, "kB/s", none, mostSteady / loadNodes / 1e3, false},
		{"API server: bytes per second, 1,500 agents", steady * loadNodes / mb, "MB/s", none, mostSteady / mb, false},
		{"API server: bytes listed per agent after a restart, 30,000 pods, uncompressed", float64(lists) / mb, "MB", none, mostSteady * restartSeconds / loadNodes / mb, false},
		{"API server: bytes listed after a restart of 1,500 agents, uncompressed", float64(lists) * loadNodes / 1e9, "GB", none, mostSteady * restartSeconds / 1e9, false},
	}
}

func loadPod(api *kubeapi.Server, i, generation int) {
	addr := netip.AddrFrom4([4]byte{10, 16 + byte(generation), byte(i / 250), byte(i%250 + 1)})
	name := fmt.Sprint("pod-", i)
	api.Set("pods", name, largePod(name, fmt.Sprint("first-", i%policies), addr))
}

// startFollowers starts agents, and returns when all have listed.
func startFollowers(t *testing.T, url string) []*follower {
	t.Helper()
	file := filepath.Join(t.TempDir(), "kubeconfig")
	config, err := json.Marshal(object{
		"apiVersion": "v1", "kind": "Config", "clusters": []object{{"name": "c", "cluster": object{"server": url}}},
		"contexts": []object{{"name": "c", "context": object{"cluster": "c"}}}, "current-context": "c",
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, config, 0o600); err != nil {
		t.Fatal(err)
	}
	var agents []*follower
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	var running sync.WaitGroup
	t.Cleanup(running.Wait)
	t.Cleanup(stop)
	for i := range loadAgents {
		a := &follower{}
		agents = append(agents, a)
		c := kube.New(kube.Config{Kubeconfig: file, UserAgent: "bench", Node: fmt.Sprint("node-", i), Log: slog.New(slog.DiscardHandler)})
		running.Go(func() { _ = c.FollowPolicies(ctx, a) })
	}
	for _, a := range agents {
		testkit.Eventually(t, "all is listed", func() bool { return a.pods.Load() == loadPods && a.lists.Load() >= 7 })
	}
	return agents
}

// follower is a view that counts.
type follower struct{ lists, pods, changes atomic.Int64 }

func (f *follower) Policies(kube.PolicyKind, []kube.PolicyObject) { f.lists.Add(1) }
func (f *follower) Policy(kube.PolicyObject, bool)                {}
func (f *follower) Namespaces(map[string]map[string]string)       { f.lists.Add(1) }
func (f *follower) Namespace(string, map[string]string, bool)     {}
func (f *follower) Pods(all []kube.PolicyPod)                     { f.pods.Store(int64(len(all))); f.lists.Add(1) }
func (f *follower) Pod(kube.PolicyPod, bool)                      { f.changes.Add(1) }
func (f *follower) Services([]kube.PolicyService)                 { f.lists.Add(1) }
func (f *follower) Service(kube.PolicyService, bool)              {}
func (f *follower) Nodes([]policy.Node)                           {}
func (f *follower) Node(policy.Node, bool)                        {}
func (f *follower) NodesMatter() <-chan struct{}                  { return nil }

// counted counts what a server sends.
type counted struct{ sent atomic.Int64 }

type countedListener struct {
	net.Listener
	to *counted
}

func (l countedListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err //nolint:wrapcheck // the server compares it
	}
	return countedConn{c, l.to}, nil
}

type countedConn struct {
	net.Conn
	to *counted
}

func (c countedConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.to.sent.Add(int64(n))
	return n, err //nolint:wrapcheck // as a connection says it
}

var _ io.Writer = countedConn{}

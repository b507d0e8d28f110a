package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/containernetworking/cni/libcni"

	"github.com/berth-net/berth/internal/agentapi"
	"github.com/berth-net/berth/internal/agentapi/server"
)

// agent stands in for the node's agent: it gives out addresses of 10.0.0.0/24 in order.
type agent struct {
	mu     sync.Mutex
	held   map[agentapi.Attachment]agentapi.Added
	next   netip.Addr
	refuse error // answers ADD, DEL and STATUS when set
	last   agentapi.Request
	netns  os.FileInfo // of the last ADD
}

func (a *agent) Add(_ context.Context, req agentapi.Request, netns *os.File) (agentapi.Added, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.last = req
	if a.refuse != nil {
		return agentapi.Added{}, a.refuse
	}
	info, err := netns.Stat()
	if err != nil {
		return agentapi.Added{}, err
	}
	a.netns = info
	if added, ok := a.held[req.Attachment]; ok {
		return added, nil
	}
	added := agentapi.Added{
		Addrs: []netip.Addr{a.next}, HostVeth: "eni0123456789a", HostMAC: "02:00:00:00:00:01", PodMAC: "02:00:00:00:00:02",
		Table: 3, Device: 2, MTU: 9001,
	}
	a.held[req.Attachment], a.next = added, a.next.Next()
	return added, nil
}

func (a *agent) Del(_ context.Context, req agentapi.Request) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.last = req
	if a.refuse != nil {
		return a.refuse
	}
	delete(a.held, req.Attachment)
	return nil
}

func (a *agent) Check(_ context.Context, req agentapi.Request, _ *os.File) (agentapi.Added, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	added, ok := a.held[req.Attachment]
	if !ok {
		return added, agentapi.Errorf(agentapi.CodeUnknownContainer, "pod %s is not known", req.Pod.Name)
	}
	return added, nil
}

func (a *agent) GC(_ context.Context, req agentapi.Request) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	valid := map[agentapi.Attachment]bool{}
	for _, v := range req.Valid {
		valid[v] = true
	}
	for h := range a.held {
		if h.Network == req.Attachment.Network && !valid[h] {
			delete(a.held, h)
		}
	}
	return nil
}

func (a *agent) Status(context.Context) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.refuse
}

// with runs f while no request is served.
func (a *agent) with(f func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f()
}

// holds lists what was added and not deleted.
func (a *agent) holds() map[agentapi.Attachment]agentapi.Added {
	a.mu.Lock()
	defer a.mu.Unlock()
	return maps.Clone(a.held)
}

// told is the last request.
func (a *agent) told() agentapi.Request {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.last
}

func (a *agent) Report(context.Context) (json.RawMessage, error) { return json.RawMessage(`{}`), nil }

// world is a runtime (libcni with the built plugin), its files, and an agent that may be down.
type world struct {
	tb     testing.TB
	dir    string
	cni    *libcni.CNIConfig
	agent  *agent
	socket string
}

var build = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "berth-cni")
	if err != nil {
		return "", err
	}
	out, err := exec.Command("go", "build", "-o", filepath.Join(dir, "aws-cni"), ".").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("go build: %w: %s", err, out)
	}
	return dir, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if dir, err := build(); err == nil {
		os.RemoveAll(dir)
	}
	os.Exit(code)
}

func newWorld(tb testing.TB) *world {
	tb.Helper()
	bin, err := build()
	if err != nil {
		tb.Fatal(err)
	}
	dir := tb.TempDir()
	return &world{
		tb: tb, dir: dir, socket: filepath.Join(dir, "berth.sock"),
		cni:   libcni.NewCNIConfigWithCacheDir([]string{bin}, filepath.Join(dir, "cache"), nil),
		agent: &agent{held: map[agentapi.Attachment]agentapi.Added{}, next: netip.MustParseAddr("10.0.0.4")},
	}
}

// start starts the agent; the returned function ends it.
func (w *world) start() (stop func()) {
	w.tb.Helper()
	s, err := server.Listen(w.socket, w.agent, "test", slog.New(slog.DiscardHandler))
	if err != nil {
		w.tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			w.tb.Errorf("agent: %v", err)
		}
	})
	w.tb.Cleanup(stop)
	return stop
}

func (w *world) path(name string) string { return filepath.Join(w.dir, name) }

// list returns the network configuration as the agent installs it, for one version of the specification.
func (w *world) list(version string) *libcni.NetworkConfigList {
	w.tb.Helper()
	l, err := libcni.ConfListFromBytes(fmt.Appendf(nil, `{"cniVersion":%q,"name":"aws-cni","plugins":[{"name":"aws-cni","type":"aws-cni",
		"vethPrefix":"eni","mtu":"9001","podSGEnforcingMode":"strict","pluginLogFile":%q,"pluginLogLevel":"DEBUG",
		"berth.socket":%q,"berth.queue":%q}]}`, version, w.path("plugin.log"), w.socket, w.path("queue")))
	if err != nil {
		w.tb.Fatal(err)
	}
	return l
}

// netns returns a file that stands for a network namespace: the plugin only opens it.
func (w *world) netns() string {
	w.tb.Helper()
	path := w.path("netns")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		w.tb.Fatal(err)
	}
	return path
}

func (w *world) runtimeConf(container string) *libcni.RuntimeConf {
	return &libcni.RuntimeConf{
		ContainerID: container, NetNS: w.netns(), IfName: "eth0",
		Args: [][2]string{{"IgnoreUnknown", "1"}, {"K8S_POD_NAMESPACE", "default"}, {"K8S_POD_NAME", "web-" + container}, {"K8S_POD_UID", "uid"}},
	}
}

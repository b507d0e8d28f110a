package machine_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/berth-net/berth/internal/testkit"
	"github.com/berth-net/berth/lab/internal/controlplane"
	"github.com/berth-net/berth/lab/internal/layout"
	"github.com/berth-net/berth/lab/internal/machine"
	"github.com/berth-net/berth/lab/internal/proc"
	"github.com/berth-net/berth/lab/internal/workload"
)

// needs skips without root or the built programs, and fails instead where a skip would hide what must be tested.
func needs(t *testing.T) layout.Cache {
	t.Helper()
	testkit.RequireRoot(t)
	dir, err := filepath.Abs("../../../.cache")
	if err != nil {
		t.Fatal(err)
	}
	cache := layout.Cache(dir)
	for _, path := range []string{
		cache.Bin("berth-kube"), cache.Bin("kubectl"), cache.Bin("berth-machine"), cache.CNI(), cache.NodeRoot("usr/bin/containerd"),
		cache.Image("pause"), cache.Image("agnhost"),
	} {
		if _, err := os.Stat(path); err != nil {
			lack := t.Skipf
			if os.Getenv("BERTH_REQUIRE_ROOT") != "" {
				lack = t.Fatalf
			}
			lack("needs the lab's programs (make lab-programs): %v", err)
		}
	}
	return cache
}

// network is a router with a bridge, and a namespace with eth0 on it per host: the least that a cluster needs.
type network struct {
	t      *testing.T
	prefix string
}

func newNetwork(t *testing.T) *network {
	t.Helper()
	n := &network{t: t, prefix: fmt.Sprintf("bt-mr%d-", os.Getpid())}
	n.add("router")
	n.ip("-n", n.name("router"), "link", "add", "br0", "type", "bridge")
	n.ip("-n", n.name("router"), "addr", "add", "10.99.0.1/24", "dev", "br0")
	n.ip("-n", n.name("router"), "link", "set", "br0", "up")
	return n
}

func (n *network) name(host string) string { return n.prefix + host }
func (n *network) path(host string) string { return "/run/netns/" + n.name(host) }

func (n *network) ip(args ...string) {
	n.t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		n.t.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

func (n *network) add(host string) {
	n.t.Helper()
	n.ip("netns", "add", n.name(host))
	n.t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", n.name(host)).Run() })
	n.ip("-n", n.name(host), "link", "set", "lo", "up")
}

// host adds a namespace with an address on the bridge.
func (n *network) host(host string, addr netip.Addr) {
	n.t.Helper()
	n.add(host)
	n.ip("-n", n.name("router"), "link", "add", host, "type", "veth", "peer", "name", "eth0", "netns", n.name(host))
	n.ip("-n", n.name("router"), "link", "set", host, "master", "br0", "up")
	n.ip("-n", n.name(host), "addr", "add", addr.String()+"/24", "dev", "eth0")
	n.ip("-n", n.name(host), "link", "set", "eth0", "up")
	n.ip("-n", n.name(host), "route", "add", "default", "via", "10.99.0.1")
}

// cluster is a control plane and nodes on such a network, with a plain CNI configuration.
type cluster struct {
	t     *testing.T
	cache layout.Cache
	plane *controlplane.ControlPlane
	nodes []*machine.Machine
	net   *network
	dir   string
}

func startCluster(t *testing.T, nodes int, mode machine.ProxyMode) *cluster {
	t.Helper()
	c := &cluster{t: t, cache: needs(t), net: newNetwork(t), dir: t.TempDir()}
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	address := netip.MustParseAddr("10.99.0.10")
	c.net.host("plane", address)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	began := time.Now()
	plane, err := controlplane.Start(ctx, controlplane.Config{
		Cluster: "test", Dir: filepath.Join(c.dir, "plane"), NetNS: c.net.path("plane"), Advertise: address, Cache: c.cache, Log: log,
	})
	if err != nil {
		t.Fatal(err)
	}
	c.plane = plane
	t.Cleanup(func() {
		if err := plane.Stop(); err != nil {
			t.Error(err)
		}
	})
	t.Logf("control plane healthy after %s", time.Since(began).Round(time.Millisecond))
	for i := range nodes {
		began := time.Now()
		c.addNode(ctx, i, nodes, mode, log)
		t.Logf("node %d started after %s", i, time.Since(began).Round(time.Millisecond))
	}
	return c
}

// addNode starts node i of n. Pods of node i have addresses in 10.99.(i+1).0/24, routed by hand.
func (c *cluster) addNode(ctx context.Context, i, n int, mode machine.ProxyMode, log *slog.Logger) {
	c.t.Helper()
	host := fmt.Sprintf("n%d", i)
	nodeAddr := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 99, 0, byte(20 + i)}) }
	c.net.host(host, nodeAddr(i))
	for j := range n {
		if j != i {
			c.net.ip("-n", c.net.name(host), "route", "add", fmt.Sprintf("10.99.%d.0/24", j+1), "via", nodeAddr(j).String())
		}
	}
	name := fmt.Sprintf("ip-10-99-0-%d.us-west-2.compute.internal", 20+i)
	credentials, err := c.plane.Node(name, nodeAddr(i))
	if err != nil {
		c.t.Fatal(err)
	}
	m, err := machine.Start(ctx, machine.Config{
		Name: name, Dir: filepath.Join(c.dir, "nodes", host), NetNS: c.net.path(host), Addr: nodeAddr(i),
		Cgroup:     fmt.Sprintf("berth-test%d-%s", os.Getpid(), host),
		ProviderID: fmt.Sprintf("aws:///us-west-2a/i-%017d", i), MaxPods: 29,
		Labels:     map[string]string{"topology.kubernetes.io/zone": "us-west-2a", "eks.amazonaws.com/nodegroup": "test"},
		ClusterDNS: c.plane.ClusterDNS(), Resolv: "nameserver 10.99.0.2\n", Credentials: credentials, Proxy: mode,
		Images: []string{c.cache.Image("pause"), c.cache.Image("agnhost")}, Cache: c.cache, Log: log,
	})
	if err != nil {
		c.t.Fatal(err)
	}
	c.nodes = append(c.nodes, m)
	c.t.Cleanup(func() {
		if c.t.Failed() {
			c.t.Logf("kubelet's log ends:\n%s", tail(m.LogFile("kubelet"), 4000))
		}
		if err := m.Stop(true); err != nil {
			c.t.Error(err)
		}
	})
	conflist := fmt.Sprintf(`{"cniVersion": "1.0.0", "name": "test", "plugins": [
		{"type": "ptp", "ipam": {"type": "host-local", "subnet": "10.99.%d.0/24", "routes": [{"dst": "0.0.0.0/0"}]}},
		{"type": "portmap", "capabilities": {"portMappings": true}}]}`, i+1)
	if err := os.WriteFile(m.Path("/etc/cni/net.d/10-test.conflist"), []byte(conflist), 0o644); err != nil {
		c.t.Fatal(err)
	}
}

func tail(path string, n int) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-n):])
}

// kubectl runs it and returns its output.
func (c *cluster) kubectl(args ...string) string {
	c.t.Helper()
	return c.apply("", args...)
}

func (c *cluster) apply(input string, args ...string) string {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, c.cache.Bin("kubectl"), append([]string{"--kubeconfig=" + c.plane.Kubeconfig()}, args...)...)
	cmd.Env = []string{"HOME=" + c.dir}
	cmd.Stdin = strings.NewReader(input)
	var out, problem bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &problem
	if err := cmd.Run(); err != nil {
		c.t.Fatalf("kubectl %s: %v\n%s%s", strings.Join(args, " "), err, out.String(), problem.String())
	}
	return out.String()
}

// retry waits for a condition that the cluster reaches by itself.
func (c *cluster) retry(what string, ok func() error) {
	c.t.Helper()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	var err error
	for range 600 {
		if err = ok(); err == nil {
			return
		}
		<-tick.C
	}
	c.t.Fatalf("%s: %v", what, err)
}

var load = workload.Deployment{Name: "idle", Replicas: 4, Select: "app: idle"}.String() +
	workload.Deployment{Name: "web", Replicas: 2, Select: "app: web", Spread: "DoNotSchedule", Servers: true}.String() + `---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  type: NodePort
  clusterIP: 172.20.0.100
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080, nodePort: 30080}]
---
apiVersion: v1
kind: Pod
metadata: {name: privileged}
spec:
  hostNetwork: true
  containers:
  - name: main
    image: registry.k8s.io/e2e-test-images/agnhost:2.59
    args: [pause]
    securityContext: {privileged: true}
    volumeMounts:
    - {name: cni, mountPath: /host/opt/cni/bin}
    - {name: bpf, mountPath: /sys/fs/bpf, mountPropagation: Bidirectional}
    - {name: lock, mountPath: /run/xtables.lock}
  volumes:
  - {name: cni, hostPath: {path: /opt/cni/bin}}
  - {name: bpf, hostPath: {path: /sys/fs/bpf}}
  - {name: lock, hostPath: {path: /run/xtables.lock, type: FileOrCreate}}
`

// TestCluster runs what the lab's users run, then looks for anything that it left behind.
func TestCluster(t *testing.T) {
	needs(t)
	before := footprint(t)
	var processes []proc.Identity
	t.Run("cluster", func(t *testing.T) {
		c := startCluster(t, 2, machine.IPTables)
		began := time.Now()
		c.retry("nodes are ready", func() error {
			if out := c.kubectl("get", "nodes", "--no-headers"); strings.Count(out, " Ready ") != 2 {
				return fmt.Errorf("%s", out)
			}
			return nil
		})
		t.Logf("nodes ready after another %s", time.Since(began).Round(time.Millisecond))
		began = time.Now()
		c.retry("workload is accepted", func() error { // the default service account takes a moment
			return exec.Command(c.cache.Bin("kubectl"), "--kubeconfig="+c.plane.Kubeconfig(), "get", "serviceaccount", "default").Run()
		})
		c.apply(load, "apply", "-f", "-")
		c.kubectl("wait", "--for=condition=Available", "--timeout=5m", "deployment/idle", "deployment/web")
		c.kubectl("wait", "--for=condition=Ready", "--timeout=5m", "pod/privileged")
		t.Logf("workload available after %s", time.Since(began).Round(time.Millisecond))
		t.Run("exec and logs", c.testExecAndLogs)
		t.Run("service by iptables", c.testService)
		for _, m := range c.nodes {
			if err := m.SetProxy(t.Context(), machine.NFTables); err != nil {
				t.Fatal(err)
			}
		}
		t.Run("service by nftables", c.testService)
		t.Run("isolation", c.testIsolation)
		for _, m := range c.nodes {
			pids, err := m.Procs()
			if err != nil {
				t.Fatal(err)
			}
			for _, pid := range pids {
				if id, err := proc.Identify(pid); err == nil {
					processes = append(processes, id)
				}
			}
		}
		t.Log(memory(c))
	})
	if len(processes) < 20 {
		t.Errorf("the nodes had %d processes; the check of what is left would be hollow", len(processes))
	}
	gone(t, processes)
	unchanged(t, before)
}

// unchanged compares the machine with what it was before.
func unchanged(t *testing.T, before []string) {
	t.Helper()
	if after := footprint(t); !slices.Equal(before, after) {
		t.Errorf("the machine changed:\nbefore %q\nafter  %q", before, after)
	}
}

func (c *cluster) testExecAndLogs(t *testing.T) {
	pod := strings.Fields(c.kubectl("get", "pods", "-l", "app=web", "-o", "name"))[0]
	if out := c.kubectl("exec", pod, "--", "sh", "-c", "echo from $(hostname)"); strings.TrimSpace(out) != "from "+strings.TrimPrefix(pod, "pod/") {
		t.Errorf("exec said %q", out)
	}
	if out := c.kubectl("logs", pod); !strings.Contains(out, "Started HTTP server on port 8080") {
		t.Errorf("logs are %q", out)
	}
	if out := c.kubectl("exec", "privileged", "--", "ls", "/host/opt/cni/bin"); !strings.Contains(out, "loopback") {
		t.Errorf("the node's plugins are %q", out)
	}
}

// testService asks the service by its address from a node and from a pod, and by node port from outside, until each way
// has reached both pods.
func (c *cluster) testService(t *testing.T) {
	pod := strings.Fields(c.kubectl("get", "pods", "-l", "app=web", "-o", "name"))[0]
	for _, way := range []struct {
		name string
		ask  func() (string, error)
	}{
		{"from a node", func() (string, error) {
			return c.nodes[0].Exec(t.Context(), "curl", "-sS", "--max-time", "2", "http://172.20.0.100/hostname")
		}},
		{"from a pod", func() (string, error) {
			return c.kubectl("exec", pod, "--", "curl", "-sS", "--max-time", "2", "http://172.20.0.100/hostname"), nil
		}},
		{"by node port", func() (string, error) {
			out, err := exec.Command("ip", "netns", "exec", c.net.name("router"), "curl", "-sS", "--max-time", "2", "http://10.99.0.21:30080/hostname").Output()
			return string(out), err
		}},
	} {
		t.Run(way.name, func(t *testing.T) {
			reached := map[string]bool{}
			c.retry("both pods answer", func() error {
				out, err := way.ask()
				if err != nil {
					return err
				}
				if reached[out] = true; len(reached) < 2 {
					return fmt.Errorf("only %v", reached)
				}
				return nil
			})
		})
	}
}

// testIsolation checks what a node is and what it must not see.
func (c *cluster) testIsolation(t *testing.T) {
	shell := append(c.nodes[0].Shell(), "-c", "hostname; pwd; kubelet --version")
	if out, err := exec.Command(shell[0], shell[1:]...).CombinedOutput(); err != nil ||
		string(out) != c.nodes[0].Name()+"\n/\nKubernetes v"+controlplane.Version+"\n" {
		t.Errorf("the operator's shell said %q, %v", out, err)
	}
	inside := func(argv ...string) string {
		t.Helper()
		out, err := c.nodes[0].Exec(t.Context(), argv...)
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(out)
	}
	if got := inside("hostname"); got != c.nodes[0].Name() {
		t.Errorf("host name is %q, want %q", got, c.nodes[0].Name())
	}
	if got := inside("cat", "/proc/1/comm"); got != "berth-machine" {
		t.Errorf("first process is %q", got)
	}
	if got := inside("ls", "/sys/class/net"); !strings.Contains(got, "eth0") {
		t.Errorf("/sys shows interfaces %q", got)
	}
	if got := inside("cat", "/proc/sys/vm/overcommit_memory"); got != "1" {
		t.Errorf("the kubelet reads back overcommit_memory %q, want the 1 that it wrote", got)
	}
	if _, err := c.nodes[0].Exec(t.Context(), "test", "-e", c.dir); err == nil {
		t.Errorf("the node sees %s of the machine", c.dir)
	}
	if got := inside("sh", "-c", "ls /run/netns | wc -l"); got == "0" {
		t.Error("the node has no pod network namespaces")
	}
}

// footprint is everything outside a test's own folder that a lab could leave.
func footprint(t *testing.T) []string {
	t.Helper()
	var all []string
	mark := fmt.Sprintf("test%d-", os.Getpid())
	for _, pattern := range []string{"/sys/fs/cgroup/*" + mark + "*", "/sys/fs/cgroup/*/*" + mark + "*", fmt.Sprintf("/run/netns/bt-mr%d-*", os.Getpid())} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, found...)
	}
	for _, file := range []string{"/sys/fs/cgroup/cgroup.subtree_control", "/proc/swaps"} {
		text, _ := os.ReadFile(file)
		all = append(all, file+"="+string(text))
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, "bt-mr") || strings.Contains(line, t.Name()) {
			all = append(all, line)
		}
	}
	for _, name := range []string{
		"kernel/keys/root_maxbytes", "kernel/keys/root_maxkeys", "kernel/panic", "kernel/panic_on_oops", "vm/overcommit_memory",
		"vm/panic_on_oom", "vm/max_map_count", "net/netfilter/nf_conntrack_max", "net/ipv4/ip_forward",
	} {
		value, _ := os.ReadFile(filepath.Join("/proc/sys", name))
		all = append(all, name+"="+strings.TrimSpace(string(value)))
	}
	return all
}

// memory is the resident memory of each process of the lab's own.
func memory(c *cluster) string {
	var b strings.Builder
	for _, m := range c.nodes {
		for name, pid := range m.Pids() {
			status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
			_, rest, _ := strings.Cut(string(status), "VmRSS:")
			size, _, _ := strings.Cut(rest, "\n")
			fmt.Fprintf(&b, "%s %s; ", name, strings.TrimSpace(size))
		}
	}
	return b.String()
}

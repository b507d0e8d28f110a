// Package machine is one EC2 instance of the lab as a Kubernetes node: in a network namespace that somebody else made
// and gave interfaces, a root file system, mount, PID, UTS and IPC namespaces and control groups of its own, with real
// containerd, kubelet and kube-proxy inside.
//
//	lab (this program) --- the node's first process (berth-machine init), PID 1 of the node
//	       |                         everything below dies with it, pods and shims included
//	       +-- containerd --- shims --- pods
//	       +-- kubelet
//	       +-- kube-proxy
//
// Guarantees: when the lab ends, however it ends, the kernel ends the node's first process and with it every process,
// mount and pod network namespace of the node. What is left then are control groups and files, which [Machine.Stop]
// removes, or [Sweep] when the lab could not. No sysctl of the machine is written and nothing of the machine's file
// system can be reached from inside but what [Config] shows.
package machine

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/berth-net/berth/lab/internal/cgroup"
	"github.com/berth-net/berth/lab/internal/controlplane"
	"github.com/berth-net/berth/lab/internal/layout"
	"github.com/berth-net/berth/lab/internal/machine/root"
	"github.com/berth-net/berth/lab/internal/proc"
)

// startLimit is how long a part of a node may take to be ready: under 2 s on an idle two-core machine, minutes on an emulated one.
const startLimit = 10 * time.Minute

// ProxyMode is how kube-proxy writes its rules. Empty is no kube-proxy.
type ProxyMode string

// The modes of kube-proxy.
const (
	IPTables ProxyMode = "iptables"
	NFTables ProxyMode = "nftables"
)

// Config is a node as asked for.
type Config struct {
	// Name is the node's name in Kubernetes and its host name.
	Name string
	// Dir is the node's disk, log and record. It survives a stop unless Stop is told to remove it.
	Dir string
	// NetNS is the path of its network namespace. Addr is its address there.
	NetNS string
	Addr  netip.Addr
	// Cgroup names its control groups; empty is "berth-" and the first label of Name.
	Cgroup string
	// ProviderID, Labels and Taints are what the kubelet registers; a taint is key=value:Effect.
	ProviderID string
	Labels     map[string]string
	Taints     []string
	// MaxPods is the kubelet's limit; zero is 110.
	MaxPods int
	// ClusterDNS is what pods ask; Resolv is the node's own resolv.conf.
	ClusterDNS netip.Addr
	Resolv     string
	// Hosts are lines for the node's /etc/hosts.
	Hosts []string
	// Credentials are the cluster's, Endpoint its API server as kube-proxy and kubelet reach it.
	Credentials controlplane.NodeCredentials
	// Proxy is the mode of kube-proxy.
	Proxy ProxyMode
	// Images are archives that containerd holds before the kubelet starts.
	Images []string
	// Binds are shown inside besides what a node has.
	Binds []root.Bind
	// KubeletOptions replace or add fields of the kubelet's configuration file.
	KubeletOptions map[string]any
	Cache          layout.Cache
	Log            *slog.Logger
}

// Machine is a running node.
type Machine struct {
	config  Config
	spawner *proc.Spawner
	tree    *cgroup.Tree
	first   *proc.Process

	containerd, kubelet, proxy *proc.Service
}

func (c Config) defaults() Config {
	if c.Cgroup == "" {
		short, _, _ := strings.Cut(c.Name, ".")
		c.Cgroup = "berth-" + short
	}
	if c.MaxPods == 0 {
		c.MaxPods = 110
	}
	return c
}

func (c Config) validate() error {
	switch {
	case c.Name == "" || c.Dir == "" || c.NetNS == "" || c.Cache == "" || c.Log == nil:
		return errors.New("name, folder, network namespace, cache and log are needed")
	case !filepath.IsAbs(c.Dir) || strings.ContainsAny(c.Dir, ":,\\"):
		return fmt.Errorf("folder %q is not absolute, or has a character that overlay mounts cannot take", c.Dir)
	case !c.Addr.IsValid():
		return errors.New("its address is needed")
	case c.Proxy != "" && c.Proxy != IPTables && c.Proxy != NFTables:
		return fmt.Errorf("kube-proxy mode %q is not one of %s, %s", c.Proxy, IPTables, NFTables)
	}
	return nil
}

// Start starts a node and returns when its kubelet runs. That the node is ready depends on a CNI configuration inside
// it, which is not this package's business. On an error nothing is left running.
func Start(ctx context.Context, config Config) (*Machine, error) {
	config = config.defaults()
	if err := config.validate(); err != nil {
		return nil, fmt.Errorf("start node %s: %w", config.Name, err)
	}
	if err := os.MkdirAll(config.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("start node %s: %w", config.Name, err)
	}
	if err := sweep(config.Dir); err != nil { // what an earlier run of this node left
		return nil, fmt.Errorf("start node %s: %w", config.Name, err)
	}
	m := &Machine{config: config, spawner: proc.NewSpawner()}
	if err := m.start(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("start node %s: %w", config.Name, err), m.Stop(false))
	}
	return m, nil
}

func (m *Machine) start(ctx context.Context) error {
	tree, err := cgroup.Create(m.config.Cgroup)
	if err != nil {
		return err
	}
	m.tree = tree
	if err := m.record(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	if err := m.boot(ctx); err != nil {
		return err
	}
	if err := m.startContainerd(ctx); err != nil {
		return err
	}
	for _, image := range m.config.Images {
		if err := m.ImportImage(ctx, image); err != nil {
			return err
		}
	}
	if m.kubelet, err = m.serve("kubelet", m.kubeletArgs()...); err != nil {
		return err
	}
	if m.config.Proxy != "" {
		return m.startProxy(ctx, m.config.Proxy)
	}
	return nil
}

// boot starts the node's first process and waits until it stands in its root.
func (m *Machine) boot(ctx context.Context) error {
	spec, err := m.rootSpec()
	if err != nil {
		return err
	}
	text, err := json.MarshalIndent(spec, "", "\t")
	if err != nil {
		return fmt.Errorf("encode root: %w", err)
	}
	file := m.path("root.json")
	if err := os.WriteFile(file, text, 0o600); err != nil { // it holds keys
		return fmt.Errorf("write root: %w", err)
	}
	ready, child, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("make pipe: %w", err)
	}
	defer func() { _ = ready.Close() }()
	m.first, err = m.spawner.Start(proc.Spec{
		Name: "first process of " + m.config.Name, Path: m.config.Cache.Bin("berth-machine"), Args: []string{"init", file},
		NetNS: m.config.NetNS, CloneFlags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC,
		Log: m.LogFile("init"), Files: []*os.File{child},
	})
	_ = child.Close()
	if err != nil {
		return err
	}
	if err := m.record(); err != nil {
		return err
	}
	if deadline, ok := ctx.Deadline(); ok {
		_ = ready.SetReadDeadline(deadline)
	}
	said, err := io.ReadAll(ready)
	if err != nil {
		return fmt.Errorf("wait for the first process: %w", err)
	}
	if string(said) != "\n" {
		return fmt.Errorf("build root: %s", bytes.TrimSpace(said))
	}
	return nil
}

func (m *Machine) path(elem ...string) string {
	return filepath.Join(append([]string{m.config.Dir}, elem...)...)
}

// Name is the node's name.
func (m *Machine) Name() string { return m.config.Name }

// Addr is the node's address.
func (m *Machine) Addr() netip.Addr { return m.config.Addr }

// LogFile is where a process of the node writes: containerd, kubelet, kube-proxy, init.
func (m *Machine) LogFile(name string) string { return m.path("log", name+".log") }

// Path is where the machine sees a path of the node, for as long as the node runs.
func (m *Machine) Path(inside string) string {
	return filepath.Join(fmt.Sprintf("/proc/%d/root", m.first.Pid()), inside)
}

// Pids are the node's own processes by name; 0 is one that is between two starts.
func (m *Machine) Pids() map[string]int {
	pids := map[string]int{"init": m.first.Pid()}
	for name, s := range map[string]*proc.Service{"containerd": m.containerd, "kubelet": m.kubelet, "kube-proxy": m.proxy} {
		if s != nil {
			pids[name] = s.Pid()
		}
	}
	return pids
}

// Procs are all processes of the node, pods included.
func (m *Machine) Procs() ([]int, error) { return m.tree.Procs() }

// Stop ends the node: kubelet, kube-proxy and containerd are asked to, then the kernel ends everything else. Its disk
// stays for the next start, or is removed.
func (m *Machine) Stop(removeDisk bool) error {
	var errs []error
	for _, s := range []*proc.Service{m.kubelet, m.proxy, m.containerd} {
		if s != nil {
			errs = append(errs, s.Stop())
		}
	}
	if m.first != nil {
		errs = append(errs, m.first.Kill())
	}
	m.spawner.Close()
	if m.tree != nil {
		errs = append(errs, m.tree.Remove())
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("stop node %s: %w", m.config.Name, err)
	}
	return discard(m.config.Dir, removeDisk)
}

package rig

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/internal/testkit"
)

// Agent is a running agent process in the instance's network namespace.
type Agent struct {
	rig     *Rig
	cmd     *exec.Cmd
	Log     string // path
	Started time.Time
	exited  chan struct{}
}

// Paths below the rig's directory.
func (r *Rig) socket() string  { return filepath.Join(r.Dir, "s") }
func (r *Rig) queue() string   { return filepath.Join(r.Dir, "q") }
func (r *Rig) ipcPath() string { return filepath.Join(r.Dir, "i") }

// State is the directory of the agent's journal.
func (r *Rig) State() string { return filepath.Join(r.Dir, "state") }

// Journal is the path of the agent's journal.
func (r *Rig) Journal() string { return filepath.Join(r.State(), "ipam.journal") }

// Conflist is the path of the network configuration that the agent writes.
func (r *Rig) Conflist() string { return filepath.Join(r.Dir, "conf", "10-aws.conflist") }

// PluginDir is where the agent installs the plugin.
func (r *Rig) PluginDir() string { return filepath.Join(r.Dir, "bin") }

// StartAgent starts the agent with the manifest's environment and what env changes, and does not wait for it.
func (r *Rig) StartAgent(env ...string) *Agent {
	r.TB.Helper()
	for _, dir := range []string{r.State(), r.queue(), filepath.Join(r.Dir, "bin"), filepath.Join(r.Dir, "conf")} {
		r.must("make directory", os.MkdirAll(dir, 0o755))
	}
	a := &Agent{rig: r, Log: filepath.Join(r.Dir, fmt.Sprintf("agent-%d.log", time.Now().UnixNano())), exited: make(chan struct{})}
	out, err := os.Create(a.Log)
	r.must("create log", err)
	defer func() { _ = out.Close() }()
	if slices.Contains(env, "ENABLE_NETWORK_POLICY=true") {
		r.mountBPF()
	}
	a.cmd = exec.Command(filepath.Join(r.Bin, "berth-agent"), "-socket", r.socket(), "-queue", r.queue(), "-metrics", "unix:"+filepath.Join(r.Dir, "m"),
		"-bpf", filepath.Join(r.bpfDir(), "berth"))
	a.cmd.Stdout, a.cmd.Stderr = out, out
	a.cmd.Env = append(r.environment(), env...)
	a.Started = time.Now()
	r.must("start agent", testkit.TryInNetns(r.Fabric.Namespace(r.Instance), a.cmd.Start))
	go func() { _ = a.cmd.Wait(); close(a.exited) }()
	r.agent = a
	r.TB.Cleanup(func() { a.Kill() })
	return a
}

func (r *Rig) bpfDir() string { return filepath.Join(r.Dir, "bpf") }

// mountBPF gives the rig a bpffs of its own. What is pinned there ends with it.
func (r *Rig) mountBPF() {
	r.TB.Helper()
	if err := os.Mkdir(r.bpfDir(), 0o700); errors.Is(err, os.ErrExist) {
		return
	}
	r.must("mount bpffs", unix.Mount("bpf", r.bpfDir(), "bpf", 0, "mode=0700"))
	r.TB.Cleanup(func() {
		if err := unix.Unmount(r.bpfDir(), unix.MNT_DETACH); err != nil {
			r.TB.Errorf("unmount bpffs: %v", err)
		}
	})
}

func (r *Rig) environment() []string {
	return []string{
		"PATH=" + os.Getenv("PATH"), "MY_NODE_NAME=" + r.Node, "MY_POD_NAME=aws-node-rig", "CLUSTER_NAME=rig", "AWS_REGION=us-west-2",
		"AWS_ENDPOINT_URL_EC2=http://" + APIAddress, "AWS_ACCESS_KEY_ID=rig", "AWS_SECRET_ACCESS_KEY=rig",
		"WARM_ENI_TARGET=1", // as the Amazon VPC CNI's manifest: what the agent has is then easy to say
		"AWS_VPC_K8S_CNI_LOG_FILE=stderr", "AWS_VPC_K8S_CNI_LOGLEVEL=DEBUG", "ENABLE_IPv4=true", "ENABLE_IPv6=false",
		"AWS_VPC_K8S_CNI_BACKING_STORE=" + filepath.Join(r.State(), "ipam.json"),
		"HOST_CNI_BIN_PATH=" + filepath.Join(r.Dir, "bin"), "HOST_CNI_CONFDIR_PATH=" + filepath.Join(r.Dir, "conf"),
		"INTROSPECTION_BIND_ADDRESS=unix:" + r.ipcPath(),
	}
}

// Ready waits until the agent answers STATUS and returns how long that took from its start.
func (a *Agent) Ready() time.Duration {
	a.rig.TB.Helper()
	testkit.Eventually(a.rig.TB, "agent is ready", func() bool {
		select {
		case <-a.exited:
			a.rig.TB.Fatalf("the agent ended:\n%s", a.Tail())
		default:
		}
		return a.rig.Plugin("STATUS", Pod{}).Err == nil
	})
	return time.Since(a.Started)
}

// Tail returns the end of the agent's log.
func (a *Agent) Tail() string {
	data, _ := os.ReadFile(a.Log)
	return string(data[max(0, len(data)-8000):])
}

// Kill ends the agent at once, as a crash does.
func (a *Agent) Kill() {
	_ = a.cmd.Process.Kill()
	<-a.exited
}

// Stop ends the agent by SIGTERM and returns how long it took.
func (a *Agent) Stop() time.Duration {
	a.rig.TB.Helper()
	began := time.Now()
	_ = a.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-a.exited:
	case <-time.After(10 * time.Second):
		a.rig.TB.Fatalf("the agent lives 10 s after SIGTERM:\n%s", a.Tail())
	}
	return time.Since(began)
}

// RSS is the agent's resident memory in bytes.
func (a *Agent) RSS() int64 { return a.memory("VmRSS:") }

// PeakRSS is the most that it ever was.
func (a *Agent) PeakRSS() int64 { return a.memory("VmHWM:") }

func (a *Agent) memory(field string) int64 {
	a.rig.TB.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", a.cmd.Process.Pid))
	a.rig.must("read status", err)
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, field); ok {
			kb, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			a.rig.must("parse "+field, err)
			return kb << 10
		}
	}
	a.rig.TB.Fatal("no " + field)
	return 0
}

// Ended is closed when the process has ended.
func (a *Agent) Ended() <-chan struct{} { return a.exited }

// ExitCode is how the process ended, -1 when by a signal; it is there once Ended is closed.
func (a *Agent) ExitCode() int { return a.cmd.ProcessState.ExitCode() }

// Signal sends the process a signal.
func (a *Agent) Signal(sig os.Signal) error { return a.cmd.Process.Signal(sig) }

// Get reads an introspection page into v.
func (a *Agent) Get(path string, v any) {
	a.rig.TB.Helper()
	a.rig.must("get "+path, a.Fetch(path, v))
}

// Fetch is Get for callers that expect an error.
func (a *Agent) Fetch(path string, v any) error {
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", a.rig.ipcPath())
	}}}
	defer client.CloseIdleConnections()
	resp, err := client.Get("http://agent" + path)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	return json.NewDecoder(bytes.NewReader(data)).Decode(v)
}

// KernelMemory is what the kernel has for the eBPF programs and maps that the agent holds open, in bytes, as it says itself (memlock of
// fdinfo): of the table of flows, and of all else.
func (a *Agent) KernelMemory() (flows, others int) {
	a.rig.TB.Helper()
	dir := fmt.Sprintf("/proc/%d/fdinfo", a.cmd.Process.Pid)
	files, err := os.ReadDir(dir)
	a.rig.must("list descriptors", err)
	const lruHash, flowKey, flow = "9", "28", "16" // BPF_MAP_TYPE_LRU_HASH; bytes of struct flow_key and struct flow in bpf/maps.h
	seen, tables := map[string]bool{}, 0
	for _, f := range files {
		text, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		a.rig.must("read descriptor", err)
		info := map[string]string{}
		for line := range strings.Lines(string(text)) {
			key, value, _ := strings.Cut(line, ":")
			info[key] = strings.TrimSpace(value)
		}
		id := "map " + info["map_id"] + ", program " + info["prog_id"]
		if info["memlock"] == "" || seen[id] {
			continue
		}
		seen[id] = true
		n, err := strconv.Atoi(info["memlock"])
		a.rig.must("parse memlock", err)
		if info["map_type"] == lruHash && info["key_size"] == flowKey && info["value_size"] == flow {
			flows, tables = flows+n, tables+1
		} else {
			others += n
		}
	}
	if tables != 1 {
		a.rig.TB.Fatalf("the agent holds %d maps that look like the table of flows", tables)
	}
	return flows, others
}

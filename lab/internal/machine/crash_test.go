package machine_test

import (
	"bufio"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/berth-net/berth/lab/internal/controlplane"
	"github.com/berth-net/berth/lab/internal/machine"
	"github.com/berth-net/berth/lab/internal/pki"
	"github.com/berth-net/berth/lab/internal/proc"
)

const crashVariable = "BERTH_TEST_CRASH" // "<folder> <network namespace> <control group>" in the lab that crashes

// TestClusterCrashingLab is the lab of TestClusterCrash, in a process of its own: it starts a node, names the node's processes, and
// kills itself.
func TestClusterCrashingLab(t *testing.T) {
	given := strings.Fields(os.Getenv(crashVariable))
	if len(given) != 3 {
		t.Skip("run by TestClusterCrash")
	}
	needs(t)
	m := startAlone(t, given[0], given[1], given[2], nil)
	// A container of containerd's own, under a shim that no longer has containerd for a parent.
	if _, err := m.Exec(t.Context(), "ctr", "-n", "k8s.io", "run", "-d", "--cgroup", "/"+given[2]+"/orphan", "public.ecr.aws/eks-distro/kubernetes/pause:3.7", "orphan"); err != nil {
		t.Fatal(err)
	}
	pids, err := m.Procs()
	if err != nil {
		t.Fatal(err)
	}
	for _, pid := range pids {
		fmt.Println("pid", pid)
	}
	fmt.Println("ready")
	if _, err := os.Stdin.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
}

// TestClusterCrash kills a lab with SIGKILL: its node must die with it, and a sweep must find the rest.
func TestClusterCrash(t *testing.T) {
	needs(t)
	before := footprint(t)
	n := newNetwork(t)
	n.add("alone")
	dir := t.TempDir()
	t.Cleanup(func() { _ = machine.Sweep(filepath.Join(dir, "nodes"), true) })
	group := fmt.Sprintf("berth-test%d-alone", os.Getpid())
	lab := exec.Command(os.Args[0], "-test.run=^TestClusterCrashingLab$", "-test.v")
	lab.Env = append(lab.Environ(), fmt.Sprintf("%s=%s %s %s", crashVariable, dir, n.path("alone"), group))
	lab.Stderr = t.Output()
	trigger, err := lab.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := lab.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := lab.Start(); err != nil {
		t.Fatal(err)
	}
	var processes []proc.Identity
	ready := false
	for scan := bufio.NewScanner(out); !ready && scan.Scan(); {
		ready = scan.Text() == "ready"
		if text, ok := strings.CutPrefix(scan.Text(), "pid "); ok {
			pid, err := strconv.Atoi(text)
			if err != nil {
				t.Fatal(err)
			}
			id, err := proc.Identify(pid)
			if err != nil {
				t.Fatal(err)
			}
			processes = append(processes, id)
		}
	}
	if !ready || len(processes) < 5 {
		t.Fatalf("%s\nthe lab started %d processes, want first process, containerd, kubelet, shim and container at least", tail(filepath.Join(dir, "nodes/alone/log/kubelet.log"), 1500), len(processes))
	}
	if _, err := trigger.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	_ = lab.Wait() // killed
	gone(t, processes)
	for range 2 { // it bears repetition
		if err := machine.Sweep(filepath.Join(dir, "nodes"), true); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "nodes", "alone")); err == nil {
		t.Error("the node's disk is left")
	}
	n.ip("netns", "del", n.name("alone"))
	n.ip("netns", "del", n.name("router"))
	unchanged(t, before)
}

// gone waits until processes have ended.
func gone(t *testing.T, processes []proc.Identity) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for range 500 {
		alive := 0
		for _, id := range processes {
			if id.Alive() {
				alive++
			}
		}
		if alive == 0 {
			return
		}
		<-tick.C
	}
	for _, id := range processes {
		if id.Alive() {
			name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", id.Pid))
			t.Errorf("process %d is left: %s", id.Pid, name)
		}
	}
}

// startAlone starts a node whose API server nobody answers for, in <dir>/nodes/alone.
func startAlone(t *testing.T, dir, netns, group string, kubelet map[string]any) *machine.Machine {
	t.Helper()
	cache := needs(t)
	authority, err := pki.Open(filepath.Join(dir, "pki"), "ca")
	if err != nil {
		t.Fatal(err)
	}
	pair, err := authority.Issue(pki.Request{Name: "system:node:alone", Groups: []string{"system:nodes"}, Names: []string{"alone"}})
	if err != nil {
		t.Fatal(err)
	}
	user := pki.Kubeconfig{Cluster: "none", Server: "https://127.0.0.1:1", Authority: authority.PEM(), User: "alone", Pair: pair}
	m, err := machine.Start(t.Context(), machine.Config{
		Name: "alone", Dir: filepath.Join(dir, "nodes", "alone"), NetNS: netns, Addr: netip.MustParseAddr("127.0.0.1"), Cgroup: group,
		Credentials: controlplane.NodeCredentials{Authority: authority.PEM(), Kubelet: user, Proxy: user, Serving: pair},
		Images:      []string{cache.Image("pause")}, KubeletOptions: kubelet, Cache: cache, Log: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

package machine_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/berth-net/berth/lab/internal/cgroup"
	"github.com/berth-net/berth/lab/internal/machine"
)

const staticPod = `
apiVersion: v1
kind: Pod
metadata: {name: static, namespace: default}
spec:
  hostNetwork: true
  containers:
  - name: idle
    image: public.ecr.aws/eks-distro/kubernetes/pause:3.7
    resources: {requests: {cpu: 50m, memory: 16Mi}, limits: {cpu: 100m, memory: 32Mi}}
`

// TestClusterLimits runs a pod with limits on a node without a control plane, and looks for the limits in the control groups:
// version 1 and version 2 differ in where they are. With two trees at a time, the roots must be what they were after.
func TestClusterLimits(t *testing.T) {
	needs(t)
	before := footprint(t)
	n := newNetwork(t)
	n.add("alone")
	dir := t.TempDir()
	group := fmt.Sprintf("berth-test%d-alone", os.Getpid())
	m := startAlone(t, dir, n.path("alone"), group, map[string]any{
		"staticPodPath": "/etc/kubernetes/manifests", "fileCheckFrequency": "1s",
	})
	stopped := false
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("kubelet's log ends:\n%s", tail(m.LogFile("kubelet"), 3000))
		}
		if !stopped {
			_ = m.Stop(true)
		}
	})
	other, err := cgroup.Create(fmt.Sprintf("berth-test%d-other", os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cgroup.Create(group); !errors.Is(err, cgroup.ErrInUse) {
		t.Errorf("a second lab takes the control groups of the first: %v", err)
	}
	if err := os.MkdirAll(m.Path("/etc/kubernetes/manifests"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(m.Path("/etc/kubernetes/manifests/static.yaml"), []byte(staticPod), 0o644); err != nil {
		t.Fatal(err)
	}
	var found []string
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for i := 0; len(found) < 2 && i < 3000; i++ {
		<-tick.C
		found = limits(group)
	}
	if len(found) < 2 {
		t.Fatalf("no limits of 32 MiB for pod and container, only %q", found)
	}
	awaitRunning(t, m, tick.C)
	stopped = true
	if err := m.Stop(true); err != nil {
		t.Error(err)
	}
	if err := other.Remove(); err != nil {
		t.Error(err)
	}
	n.ip("netns", "del", n.name("alone"))
	n.ip("netns", "del", n.name("router"))
	unchanged(t, before)
}

// awaitRunning waits until the sandbox and the container run.
func awaitRunning(t *testing.T, m *machine.Machine, tick <-chan time.Time) {
	t.Helper()
	for i := 0; ; i++ {
		out, err := m.Exec(t.Context(), "ctr", "-n", "k8s.io", "task", "ls")
		if err == nil && strings.Count(out, "RUNNING") == 2 {
			return
		}
		if i == 300 {
			t.Fatalf("containers are\n%s%v", out, err)
		}
		<-tick
	}
}

// limits are the control groups below a node's that have the pod's limit of memory, in either version.
func limits(group string) []string {
	var found []string
	for _, root := range []string{"/sys/fs/cgroup/memory", "/sys/fs/cgroup"} {
		_ = filepath.WalkDir(filepath.Join(root, group, "kubepods"), func(path string, d os.DirEntry, err error) error {
			if err != nil || d.IsDir() || (d.Name() != "memory.max" && d.Name() != "memory.limit_in_bytes") {
				return nil //nolint:nilerr // groups come and go
			}
			if text, err := os.ReadFile(path); err == nil && strings.TrimSpace(string(text)) == fmt.Sprint(32<<20) {
				found = append(found, path)
			}
			return nil
		})
	}
	return found
}

package cgroup

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/berth-net/berth/internal/testkit"
)

// passed is what each version 2 root of the machine passes on.
func passed(t *testing.T) map[string][]string {
	t.Helper()
	all, err := Machine()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string][]string{}
	for _, h := range all {
		if h.Unified {
			found[h.Path] = controllers(t, h.Path, "cgroup.subtree_control")
		}
	}
	return found
}

// controllers reads a list of them, sorted.
func controllers(t *testing.T, dir, file string) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		t.Fatal(err)
	}
	list := fields(text)
	slices.Sort(list)
	return list
}

// On version 1, on version 2 and on both: whatever the machine has.
func TestTreeComesAndGoes(t *testing.T) {
	testkit.RequireRoot(t)
	before := passed(t)
	name := fmt.Sprintf("berth-test-%d", os.Getpid())
	tree, err := Create(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tree.Remove() })

	sleep := exec.Command("sleep", "1000")
	if err := sleep.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sleep.Process.Kill(); _ = sleep.Wait() })
	for _, l := range tree.Leaves() {
		if err := os.WriteFile(filepath.Join(l, "cgroup.procs"), []byte(strconv.Itoa(sleep.Process.Pid)), 0o644); err != nil {
			t.Errorf("a process of the node does not get in: %v", err)
		}
	}
	for root := range before { // beside the leaf, the kubelet's groups get what there is, with processes in the leaf
		if diff := cmp.Diff(controllers(t, root, "cgroup.controllers"), controllers(t, filepath.Join(root, name), "cgroup.subtree_control")); diff != "" {
			t.Errorf("passed on in %s: %s", root, diff)
		}
	}
	if pids, err := tree.Procs(); err != nil || !slices.Equal(pids, []int{sleep.Process.Pid}) {
		t.Errorf("processes are %v %v, want %d", pids, err, sleep.Process.Pid)
	}
	if _, err := Create(name); err == nil {
		t.Error("a tree with processes was taken over")
	}

	second, err := Create(name + "b")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = second.Remove() })
	for _, of := range []*Tree{tree, second} {
		if err := of.Remove(); err != nil {
			t.Fatal(err)
		}
		for _, dir := range of.Dirs {
			if _, err := os.Stat(dir); err == nil {
				t.Errorf("%s is left", dir)
			}
		}
	}
	if diff := cmp.Diff(before, passed(t)); diff != "" {
		t.Errorf("the roots pass on something else than before: %s", diff)
	}
}

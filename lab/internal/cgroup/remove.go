package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// patience is how long Remove waits for killed processes to leave: one may be inside a slow disk write.
const patience = 15 * time.Second

// Remove kills what is left in the tree and removes it. A tree that is gone is success.
func (t *Tree) Remove() error {
	deadline := time.Now().Add(patience)
	for {
		pids, err := t.Procs()
		if err != nil {
			return err
		}
		for _, pid := range pids {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
		left := t.removeDirs()
		if left == nil {
			return t.restoreRoots()
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("remove control group %s with processes %v: %w", t.Name, pids, left)
		}
		timer := time.NewTimer(20 * time.Millisecond)
		<-timer.C
	}
}

// removeDirs removes the groups, children first, and returns what stood in the way.
func (t *Tree) removeDirs() error {
	var errs []error
	for _, dir := range t.Dirs {
		all := below(dir)
		slices.Reverse(all)
		for _, d := range all {
			if err := os.Remove(d); err != nil && !errors.Is(err, fs.ErrNotExist) {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}

// restoreRoots takes back the controllers that Create switched on, unless another group uses them by now: then the
// kernel refuses, or the group would lose its limits, and they stay.
func (t *Tree) restoreRoots() error {
	for root, controllers := range t.Enabled {
		for _, c := range controllers {
			if inUse(root, c) {
				continue
			}
			if err := os.WriteFile(filepath.Join(root, "cgroup.subtree_control"), []byte("-"+c), 0o644); err != nil && !errors.Is(err, unix.EBUSY) {
				return fmt.Errorf("take back controller %s: %w", c, err)
			}
		}
	}
	return nil
}

// inUse reports whether a child of root passes the controller on to its own children.
func inUse(root, controller string) bool {
	children, err := os.ReadDir(root)
	if err != nil {
		return true
	}
	for _, child := range children {
		passed, err := os.ReadFile(filepath.Join(root, child.Name(), "cgroup.subtree_control"))
		if err == nil && slices.Contains(fields(passed), controller) {
			return true
		}
	}
	return false
}

func fields(b []byte) []string { return strings.Fields(string(b)) }

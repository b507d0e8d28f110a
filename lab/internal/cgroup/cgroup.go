// Package cgroup gives each node of the lab a control group tree of its own, on machines with version 1, with version 2
// and with both side by side, and takes it away again with everything in it.
//
// The tree is /<name> in every hierarchy. Processes of the node itself belong to its leaf "system", pods to what the
// kubelet makes beside it, because on version 2 a group with both processes and children cannot hand controllers on.
// Nothing outside the tree is changed, but for one thing: on version 2 a controller that the root does not pass on yet
// is switched on there, is remembered, and is switched off again by Remove where nothing else came to use it.
package cgroup

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Mode is how a machine arranges its control groups.
type Mode string

// The modes. Hybrid has version 1 controllers and an empty version 2 tree beside them.
const (
	V1     Mode = "v1"
	V2     Mode = "v2"
	Hybrid Mode = "hybrid"
	None   Mode = "none"
)

// leaf is the group of a node's own processes.
const leaf = "system"

// needed are the controllers without which a kubelet does not start.
var needed = []string{"cpuset", "cpu", "memory", "pids"}

// Hierarchy is one mounted control group tree.
type Hierarchy struct {
	Path        string   // where it is mounted
	Unified     bool     // version 2
	Controllers []string // what version 1 mounts there; what version 2 offers
}

// Machine is what this machine has.
func Machine() ([]Hierarchy, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("list control group mounts: %w", err)
	}
	defer func() { _ = f.Close() }()
	var all []Hierarchy
	for scan := bufio.NewScanner(f); scan.Scan(); {
		h, ok := parseMount(scan.Text())
		if !ok {
			continue
		}
		if h.Unified {
			offered, err := os.ReadFile(filepath.Join(h.Path, "cgroup.controllers"))
			if err != nil {
				return nil, fmt.Errorf("list version 2 controllers: %w", err)
			}
			h.Controllers = strings.Fields(string(offered))
		}
		if !slices.ContainsFunc(all, func(o Hierarchy) bool { return o.Path == h.Path }) {
			all = append(all, h)
		}
	}
	return all, nil
}

// parseMount reads a line of mountinfo: "31 23 0:28 ROOT POINT OPTIONS [TAGS] - TYPE SOURCE SUPER". A mount of a part
// of a hierarchy (ROOT not /) is somebody's bind mount.
func parseMount(line string) (Hierarchy, bool) {
	before, after, ok := strings.Cut(line, " - ")
	front, back := strings.Fields(before), strings.Fields(after)
	if !ok || len(front) < 5 || len(back) < 3 || front[3] != "/" || !strings.HasPrefix(front[4], "/sys/fs/cgroup") {
		return Hierarchy{}, false
	}
	switch back[0] {
	case "cgroup2":
		return Hierarchy{Path: front[4], Unified: true}, true
	case "cgroup":
		var controllers []string
		for option := range strings.SplitSeq(back[2], ",") {
			if option != "rw" && option != "ro" && option != "xattr" && option != "clone_children" {
				controllers = append(controllers, option)
			}
		}
		return Hierarchy{Path: front[4], Controllers: controllers}, true
	}
	return Hierarchy{}, false
}

// ModeOf names the arrangement.
func ModeOf(all []Hierarchy) Mode {
	var one, two bool
	for _, h := range all {
		one, two = one || !h.Unified, two || h.Unified
	}
	switch {
	case one && two:
		return Hybrid
	case one:
		return V1
	case two:
		return V2
	}
	return None
}

// Missing are the controllers that a kubelet needs and no hierarchy has.
func Missing(all []Hierarchy) []string {
	var missing []string
	for _, c := range needed {
		if !slices.ContainsFunc(all, func(h Hierarchy) bool { return slices.Contains(h.Controllers, c) }) {
			missing = append(missing, c)
		}
	}
	return missing
}

// Tree is a node's control groups. Its fields are what a record on disk keeps.
type Tree struct {
	Name string   `json:"name"`
	Dirs []string `json:"dirs"` // one per hierarchy
	// Enabled are the controllers that Create switched on at a version 2 root, by its path.
	Enabled map[string][]string `json:"enabled,omitempty"`
}

// ErrInUse is that processes are in a tree of that name already: another lab's, which must not be touched.
var ErrInUse = errors.New("control group is in use")

// Create makes the tree /<name>. An empty one that is there already is taken over.
func Create(name string) (*Tree, error) {
	if name == "" || strings.ContainsAny(name, "/ ") || name[0] == '.' {
		return nil, fmt.Errorf("create control group %q: not a name", name)
	}
	all, err := Machine()
	if err != nil {
		return nil, err
	}
	if missing := Missing(all); len(missing) > 0 {
		return nil, fmt.Errorf("create control group %s: this machine lacks %s", name, strings.Join(missing, ", "))
	}
	there := Tree{Name: name}
	for _, h := range all {
		there.Dirs = append(there.Dirs, filepath.Join(h.Path, name))
	}
	if pids, err := there.Procs(); err != nil || len(pids) > 0 {
		return nil, errors.Join(fmt.Errorf("create control group %s, which has processes %v: %w", name, pids, ErrInUse), err)
	}
	t := &Tree{Name: name, Enabled: map[string][]string{}}
	for _, h := range all {
		if err := t.add(h); err != nil {
			return nil, errors.Join(fmt.Errorf("create control group %s: %w", name, err), t.Remove())
		}
	}
	return t, nil
}

func (t *Tree) add(h Hierarchy) error {
	dir := filepath.Join(h.Path, t.Name)
	if h.Unified && len(h.Controllers) > 0 {
		enabled, err := enable(h.Path)
		if enabled = append(enabled, inherited(h.Path)...); len(enabled) > 0 {
			t.Enabled[h.Path] = enabled
		}
		if err != nil {
			return err
		}
	}
	t.Dirs = append(t.Dirs, dir)
	for _, d := range []string{dir, filepath.Join(dir, leaf)} {
		if err := os.Mkdir(d, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		if !h.Unified && slices.Contains(h.Controllers, "cpuset") {
			if err := inheritCPUs(d); err != nil {
				return err
			}
		}
	}
	if !h.Unified || len(h.Controllers) == 0 {
		return nil
	}
	if err := unix.Setxattr(dir, attribute, []byte(strings.Join(t.Enabled[h.Path], " ")), 0); err != nil {
		return fmt.Errorf("note enabled controllers: %w", err)
	}
	_, err := enable(dir)
	return err
}

// attribute of a tree's group at a version 2 root notes what was switched on for the lab there: a tree made later
// inherits the debt, so that whichever is removed last pays it.
const attribute = "trusted.berth.enabled"

// inherited are the controllers that other trees of the lab note.
func inherited(root string) []string {
	var all []string
	children, err := os.ReadDir(root)
	if err != nil {
		return nil
	}
	for _, child := range children {
		note := make([]byte, 256)
		if n, err := unix.Getxattr(filepath.Join(root, child.Name()), attribute, note); err == nil {
			all = append(all, strings.Fields(string(note[:n]))...)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// inheritCPUs copies a version 1 cpuset from its parent: a new one is empty and takes no process.
func inheritCPUs(dir string) error {
	for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
		value, err := os.ReadFile(filepath.Join(filepath.Dir(dir), file))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, file), value, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// enable passes every controller on from a version 2 group to its children, and returns those that were not. All of
// them, since runc would do the same on the way to a container's group, unasked and without taking it back.
func enable(dir string) ([]string, error) {
	offered, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return nil, err
	}
	passed, err := os.ReadFile(filepath.Join(dir, "cgroup.subtree_control"))
	if err != nil {
		return nil, err
	}
	var enabled []string
	for c := range strings.FieldsSeq(string(offered)) {
		if slices.Contains(strings.Fields(string(passed)), c) {
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+c), 0o644); err != nil {
			return enabled, fmt.Errorf("pass controller %s on: %w", c, err)
		}
		enabled = append(enabled, c)
	}
	return enabled, nil
}

// Leaves are the groups that a process of the node itself joins.
func (t *Tree) Leaves() []string {
	leaves := make([]string, len(t.Dirs))
	for i, d := range t.Dirs {
		leaves[i] = filepath.Join(d, leaf)
	}
	return leaves
}

// Procs are the processes in the tree.
func (t *Tree) Procs() ([]int, error) {
	found := map[int]bool{}
	for _, dir := range t.Dirs {
		for _, d := range below(dir) {
			procs, err := os.ReadFile(filepath.Join(d, "cgroup.procs"))
			if err != nil {
				continue // removed meanwhile, or a threaded group: its domain lists them
			}
			for field := range strings.FieldsSeq(string(procs)) {
				if pid, err := strconv.Atoi(field); err == nil && pid > 0 {
					found[pid] = true
				}
			}
		}
	}
	pids := make([]int, 0, len(found))
	for pid := range found {
		pids = append(pids, pid)
	}
	slices.Sort(pids)
	return pids, nil
}

// below lists a directory tree of groups, parents first.
func below(dir string) []string {
	var all []string
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil //nolint:nilerr // groups come and go while a node runs
		}
		if d.IsDir() {
			all = append(all, path)
		}
		return nil
	})
	return all
}

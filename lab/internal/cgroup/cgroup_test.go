package cgroup

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseMount(t *testing.T) {
	for _, tc := range []struct {
		name, line string
		want       Hierarchy
		ok         bool
	}{
		{
			"version 2", "31 23 0:28 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot",
			Hierarchy{Path: "/sys/fs/cgroup", Unified: true},
			true,
		},
		{
			"hybrid's version 2", "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw",
			Hierarchy{Path: "/sys/fs/cgroup/unified", Unified: true},
			true,
		},
		{
			"two controllers in one", "33 31 0:30 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct",
			Hierarchy{Path: "/sys/fs/cgroup/cpu,cpuacct", Controllers: []string{"cpu", "cpuacct"}},
			true,
		},
		{
			"named", "40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd",
			Hierarchy{Path: "/sys/fs/cgroup/systemd", Controllers: []string{"name=systemd"}},
			true,
		},
		{"a container's part", "41 31 0:38 /docker/1 /sys/fs/cgroup rw - cgroup2 cgroup2 rw", Hierarchy{}, false},
		{"elsewhere", "41 31 0:38 / /tmp/x rw - cgroup2 cgroup2 rw", Hierarchy{}, false},
		{"another file system", "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw", Hierarchy{}, false},
		{"cut short", "31 23 0:28", Hierarchy{}, false},
		{"empty", "", Hierarchy{}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, ok := parseMount(tc.line)
			if ok != tc.ok {
				t.Fatalf("ok is %v, want %v", ok, tc.ok)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestModeAndMissing(t *testing.T) {
	one := Hierarchy{Path: "/a", Controllers: []string{"cpu", "cpuset", "memory", "pids"}}
	two := Hierarchy{Path: "/b", Unified: true, Controllers: []string{"cpu", "cpuset", "memory", "pids"}}
	bare := Hierarchy{Path: "/b", Unified: true}
	for _, tc := range []struct {
		name    string
		all     []Hierarchy
		mode    Mode
		missing []string
	}{
		{"nothing", nil, None, []string{"cpuset", "cpu", "memory", "pids"}},
		{"version 1", []Hierarchy{one}, V1, nil},
		{"version 2", []Hierarchy{two}, V2, nil},
		{"hybrid", []Hierarchy{one, bare}, Hybrid, nil},
		{"no memory controller", []Hierarchy{{Unified: true, Controllers: []string{"cpu", "cpuset", "pids"}}}, V2, []string{"memory"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := ModeOf(tc.all); got != tc.mode {
				t.Errorf("mode is %s, want %s", got, tc.mode)
			}
			if diff := cmp.Diff(tc.missing, Missing(tc.all)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestCreateRefusesBadNames(t *testing.T) {
	for _, name := range []string{"", "a/b", "..", ".hidden", "a b"} {
		if _, err := Create(name); err == nil {
			t.Errorf("made a group named %q", name)
		}
	}
}

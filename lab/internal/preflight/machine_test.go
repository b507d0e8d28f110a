package preflight

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/berth-net/berth/internal/testkit"
)

const childVariable = "BERTH_TEST_PREFLIGHT" // the Needs of the child, as JSON

// TestChildOnABadMachine is the check in a process of its own, on a machine that TestLacks has made worse.
func TestChildOnABadMachine(t *testing.T) {
	text := os.Getenv(childVariable)
	if text == "" {
		t.Skip("run by TestLacks")
	}
	var needs Needs
	if err := json.Unmarshal([]byte(text), &needs); err != nil {
		t.Fatal(err)
	}
	out, err := json.Marshal(Run(t.Context(), needs))
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("results %s\n", out)
}

// on runs the checks after a script has changed the machine, in a mount namespace of their own. The script ends with the
// command that starts them, if that takes one: "setpriv … exec".
func on(t *testing.T, needs Needs, script string) map[string]Result {
	t.Helper()
	program, err := os.Open("/proc/self/exe") // by descriptor: another user cannot enter its folder
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = program.Close() }()
	text, err := json.Marshal(needs)
	if err != nil {
		t.Fatal(err)
	}
	before, start := script, "exec"
	if at := strings.LastIndex(script, "\n"); strings.HasSuffix(script, " exec") {
		before, start = script[:at+1], "exec "+strings.TrimSuffix(script[at+1:], " exec")
	}
	cmd := exec.CommandContext(t.Context(), "unshare", "--mount", "sh", "-ec",
		"mount --make-rprivate /\ncd /\n"+before+"\n"+start+" /proc/self/fd/3 -test.run='^TestChildOnABadMachine$'")
	cmd.Env = append(cmd.Environ(), childVariable+"="+string(text), "DIR="+needs.Dir)
	cmd.ExtraFiles = []*os.File{program}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	_, rest, _ := strings.Cut(string(out), "results ")
	line, _, _ := strings.Cut(rest, "\n")
	var all []Result
	if err := json.Unmarshal([]byte(line), &all); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	results := map[string]Result{}
	for _, r := range all {
		results[r.Name] = r
	}
	return results
}

// TestLacks makes the machine worse in one way at a time, for a process in namespaces of its own.
func TestLacks(t *testing.T) {
	testkit.RequireRoot(t)
	const noCgroups = "umount -l -R /sys/fs/cgroup\n"
	for _, test := range []struct {
		name, script, check string
		verdict             Verdict
		detail, fix         string
		needs               func(*Needs)
	}{
		{name: "nothing", check: "BPF file system", verdict: OK, detail: "yes"},
		{name: "another user", script: "setpriv --reuid 65534 --clear-groups exec", check: "root", verdict: Fail, detail: "running as user 65534", fix: "sudo"},
		{name: "a container without privileges", script: "setpriv --bounding-set=-mknod exec", check: "root", verdict: Fail, detail: "root without CAP_MKNOD", fix: "--privileged"},
		{name: "no new namespaces", script: "setpriv --bounding-set=-sys_admin exec", check: "namespaces", verdict: Fail, detail: "operation not permitted", fix: "CONFIG_NET_NS"},
		{name: "no mounts", script: "setpriv --bounding-set=-sys_admin exec", check: "BPF file system", verdict: Fail, fix: "CONFIG_BPF_SYSCALL"},
		{name: "no links", script: "setpriv --bounding-set=-net_admin exec", check: "network links", verdict: Fail, fix: "CONFIG_VETH"},
		{name: "old kernel", script: "setarch --uname-2.6 exec", check: "system", verdict: Fail, detail: "kernel 2.6.", fix: "5.10 or later"},
		{
			name:   "another distribution",
			script: "printf 'ID=fedora\\nVERSION_ID=42\\n' >$DIR/os-release; mount --bind $DIR/os-release $(readlink -f /etc/os-release)",
			check:  "system", verdict: Warn, detail: "fedora 42", fix: "Debian 12 is what is tested",
		},
		{name: "no host name", script: "unshare --uts sh -ec 'echo \"(none)\" >/proc/sys/kernel/hostname; exec \"$@\"' sh exec", check: "host name", verdict: Fail, detail: "(none)", fix: "hostname lab"},
		{name: "no control groups", script: noCgroups, check: "control groups", verdict: Fail, detail: "none without cpuset, cpu, memory, pids", fix: "mount -t cgroup2"},
		{
			name:   "control groups without a controller",
			script: noCgroups + "mount -t tmpfs none /sys/fs/cgroup; mkdir /sys/fs/cgroup/named; mount -t cgroup -o none,name=berth-test none /sys/fs/cgroup/named",
			check:  "control groups", verdict: Fail, detail: "v1 without cpuset, cpu, memory, pids", fix: "cgroup_enable=memory",
		},
		{
			name:   "control groups that cannot be written",
			script: "for m in $(awk '$5 ~ \"^/sys/fs/cgroup\" { print $5 }' /proc/self/mountinfo | sort -r); do mount -o remount,bind,ro $m; done",
			check:  "control groups", verdict: Fail, detail: "read-only", fix: "--cgroupns=host",
		},
		{
			name:   "a repository on an overlay",
			script: "mkdir $DIR/l $DIR/u $DIR/w; mount -t overlay o -o lowerdir=$DIR/l,upperdir=$DIR/u,workdir=$DIR/w $DIR",
			check:  "overlay file system", verdict: Fail, fix: "an overlay cannot lie on another",
		},
		{name: "a repository with a colon", check: "overlay file system", verdict: Fail, fix: "without ':'", script: "mkdir $DIR", needs: func(n *Needs) { n.Dir = filepath.Join(n.Dir, "a:b") }},
		{name: "a full disk", script: "mount -t tmpfs -o size=10m none $DIR", check: "disk", verdict: Fail, detail: "0.0 GiB free, 10.0 wanted", fix: "free some space on the disk of "},
		{name: "built already, less disk", script: "mount -t tmpfs -o size=10m none $DIR", check: "disk", verdict: Fail, detail: "2.0 wanted", fix: "free some", needs: func(n *Needs) { n.Built = true }},
		{name: "no folder", check: "disk", verdict: Fail, detail: "no such file", fix: "make ", needs: func(n *Needs) { n.Dir = filepath.Join(n.Dir, "none") }},
		{name: "little memory", check: "memory", verdict: Fail, detail: "wanted", fix: "take fewer nodes", needs: func(n *Needs) { n.Nodes = 100_000 }},
		{name: "few open files", script: "ulimit -Hn 1024 2>/dev/null || ulimit -n 1024", check: "open files", verdict: Warn, detail: "1024", fix: "ulimit -n"},
		{name: "no Go", check: "programs", verdict: Fail, detail: "no apt-get, dpkg-deb, tar, go, nsenter", fix: "Go 1.26", needs: func(n *Needs) { n.Path = "/none" }},
		{name: "no compiler", check: "C compiler", verdict: Warn, detail: "no gcc", fix: "go test -race", needs: func(n *Needs) { n.Path = "/none" }},
	} {
		t.Run(test.name, func(t *testing.T) {
			needs := Needs{Dir: t.TempDir(), Path: os.Getenv("PATH")}
			if test.needs != nil {
				test.needs(&needs)
			}
			got := on(t, needs, test.script)[test.check]
			if got.Verdict != test.verdict || !strings.Contains(got.Detail, test.detail) || !strings.Contains(got.Fix, test.fix) {
				t.Errorf("got %+v, want %s %q with the fix %q", got, test.verdict, test.detail, test.fix)
			}
		})
	}
}

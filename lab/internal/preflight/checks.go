package preflight

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/lab/internal/cgroup"
)

// Sizes of what the lab needs, in bytes; measured, then rounded up.
const (
	gib           = 1 << 30
	planeMemory   = 1 * gib // 0.5 GiB measured
	nodeMemory    = gib / 2 // 0.2 GiB with 29 pods measured
	buildMemory   = 3 * gib // the linker's largest moment
	builtDisk     = 2 * gib // .cache, and a node's disk each
	compileDisk   = 8 * gib // the Go tool's caches, once
	kernelAtLeast = "5.10"  // Debian 11; tested with 6.1 and 6.18
	debian        = "12"
)

func root(context.Context, Needs) Result {
	r := Result{Name: "root", Verdict: OK, Detail: "yes"}
	if os.Geteuid() != 0 {
		r.Verdict, r.Detail = Fail, fmt.Sprintf("running as user %d", os.Geteuid())
		r.Fix = "run it with sudo; it makes namespaces, mounts and control groups, all of which it takes away again"
		return r
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return r
	}
	_, rest, _ := strings.Cut(string(status), "CapEff:")
	caps, err := strconv.ParseUint(strings.TrimSpace(strings.SplitN(rest, "\n", 2)[0]), 16, 64)
	for name, bit := range map[string]int{"CAP_SYS_ADMIN": unix.CAP_SYS_ADMIN, "CAP_NET_ADMIN": unix.CAP_NET_ADMIN, "CAP_MKNOD": unix.CAP_MKNOD} {
		if err == nil && caps&(1<<bit) == 0 {
			r.Verdict, r.Detail = Fail, "root without "+name
			r.Fix = "run on a virtual machine or the host itself; a container needs --privileged"
		}
	}
	return r
}

func system(context.Context, Needs) Result {
	r := Result{Name: "system", Verdict: OK}
	var uname unix.Utsname
	if err := unix.Uname(&uname); err != nil {
		return Result{Name: "system", Verdict: Warn, Detail: err.Error()}
	}
	kernel := unix.ByteSliceToString(uname.Release[:])
	release, _ := os.ReadFile("/etc/os-release")
	id, version := field(string(release), "ID"), field(string(release), "VERSION_ID")
	r.Detail = fmt.Sprintf("%s %s, kernel %s, %s", id, version, kernel, runtime.GOARCH)
	switch {
	case older(kernel, kernelAtLeast):
		r.Verdict, r.Fix = Fail, "boot a kernel of version "+kernelAtLeast+" or later"
	case id != "debian" || version != debian:
		r.Verdict, r.Fix = Warn, "Debian "+debian+" is what is tested; the lab unpacks the packages that this system's apt offers"
	}
	return r
}

var labelValue = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$`)

// hostName is what the API server makes a label of, without which it is never ready.
func hostName(context.Context, Needs) Result {
	r := Result{Name: "host name", Verdict: OK}
	var err error
	if r.Detail, err = os.Hostname(); err != nil || !labelValue.MatchString(r.Detail) {
		r.Verdict, r.Fix = Fail, "give the machine a name of up to 63 letters, digits and hyphens, such as: hostname lab"
	}
	return r
}

// field reads KEY=value of os-release.
func field(text, key string) string {
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && name == key {
			return strings.Trim(value, `"`)
		}
	}
	return ""
}

// older compares the first two numbers of versions.
func older(version, than string) bool {
	number := func(s string) (major, minor int) {
		parts := strings.FieldsFunc(s, func(r rune) bool { return r < '0' || r > '9' })
		if len(parts) > 0 {
			major, _ = strconv.Atoi(parts[0])
		}
		if len(parts) > 1 {
			minor, _ = strconv.Atoi(parts[1])
		}
		return major, minor
	}
	a, b := number(version)
	c, d := number(than)
	return a < c || a == c && b < d
}

// programs are those that the lab calls and a minimal Debian has; all others it brings.
func programs(_ context.Context, needs Needs) Result {
	r := Result{Name: "programs", Verdict: OK}
	var missing, packages []string
	for _, p := range []struct{ name, pkg string }{
		{"apt-get", "apt"}, {"dpkg-deb", "dpkg"}, {"tar", "tar"}, {"go", "Go 1.26 or later"}, {"nsenter", "util-linux"},
	} {
		if !onPath(needs.Path, p.name) {
			missing, packages = append(missing, p.name), append(packages, p.pkg)
		}
	}
	if len(missing) > 0 {
		r.Verdict, r.Detail, r.Fix = Fail, "no "+strings.Join(missing, ", "), "install "+strings.Join(packages, ", ")
		return r
	}
	r.Detail = "apt, dpkg, tar, go"
	return r
}

func onPath(path, name string) bool {
	return slices.ContainsFunc(filepath.SplitList(path), func(dir string) bool {
		info, err := os.Stat(filepath.Join(dir, name))
		return err == nil && !info.IsDir() && info.Mode()&0o111 != 0
	})
}

func compiler(_ context.Context, needs Needs) Result {
	r := Result{Name: "C compiler", Verdict: OK, Detail: "gcc"}
	if !onPath(needs.Path, "gcc") {
		r.Verdict, r.Detail, r.Fix = Warn, "no gcc", "install gcc for `go test -race`; the lab does not need it"
	}
	return r
}

func controlGroups(context.Context, Needs) Result {
	r := Result{Name: "control groups", Verdict: OK}
	all, err := cgroup.Machine()
	if err != nil {
		return Result{Name: r.Name, Verdict: Fail, Detail: err.Error(), Fix: "mount /proc"}
	}
	r.Detail = string(cgroup.ModeOf(all))
	if missing := cgroup.Missing(all); len(missing) > 0 {
		r.Verdict, r.Detail = Fail, fmt.Sprintf("%s without %s", r.Detail, strings.Join(missing, ", "))
		r.Fix = "mount version 2 (mount -t cgroup2 none /sys/fs/cgroup), or boot with systemd; on a Raspberry Pi add cgroup_enable=memory to the kernel's command line"
		return r
	}
	for _, h := range all {
		probe := filepath.Join(h.Path, fmt.Sprintf("berth-probe-%d", os.Getpid()))
		if err := os.Mkdir(probe, 0o755); err != nil {
			r.Verdict, r.Detail = Fail, fmt.Sprintf("%s, read-only: %v", r.Detail, err)
			r.Fix = "run on a virtual machine or the host itself; a container needs --privileged --cgroupns=host"
			return r
		}
		_ = os.Remove(probe)
	}
	return r
}

// try runs a program in namespaces of its own.
func try(ctx context.Context, flags uintptr, script string) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/bin/sh", "-ec", script)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags}
	out, err := cmd.CombinedOutput()
	if err != nil {
		if said := strings.TrimSpace(string(out)); said != "" {
			return errors.New(said)
		}
		return err
	}
	return nil
}

func namespaces(ctx context.Context, _ Needs) Result {
	flags := uintptr(unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWNET)
	if err := try(ctx, flags, "mount --make-rprivate / && mount -t proc proc /proc"); err != nil {
		return Result{
			Name: "namespaces", Verdict: Fail, Detail: err.Error(),
			Fix: "a kernel with CONFIG_NAMESPACES, CONFIG_NET_NS and CONFIG_PID_NS (every distribution's has them); a container needs --privileged",
		}
	}
	return Result{Name: "namespaces", Verdict: OK, Detail: "network, mount, PID, UTS, IPC"}
}

func overlay(ctx context.Context, needs Needs) Result {
	r := Result{Name: "overlay file system", Verdict: OK, Detail: "on " + needs.Dir}
	dir, err := os.MkdirTemp(needs.Dir, ".preflight-")
	if err != nil {
		return Result{Name: r.Name, Verdict: Fail, Detail: err.Error(), Fix: "make " + needs.Dir + " writable"}
	}
	defer func() { _ = os.RemoveAll(dir) }()
	script := fmt.Sprintf(`mount --make-rprivate / && cd %q && mkdir l u w m &&
		mount -t overlay overlay -o lowerdir="$PWD/l",upperdir="$PWD/u",workdir="$PWD/w" m && touch m/x`, dir)
	if err := try(ctx, unix.CLONE_NEWNS, script); err != nil {
		r.Verdict, r.Detail = Fail, err.Error()
		r.Fix = "keep the repository on ext4, xfs or btrfs (an overlay cannot lie on another, nor on NFS), with a path without ':' and ','; modprobe overlay"
	}
	return r
}

func bpf(ctx context.Context, needs Needs) Result {
	if err := try(ctx, unix.CLONE_NEWNS, fmt.Sprintf("mount --make-rprivate / && mount -t bpf bpf %q", needs.Dir)); err != nil {
		return Result{Name: "BPF file system", Verdict: Fail, Detail: err.Error(), Fix: "a kernel with CONFIG_BPF_SYSCALL"}
	}
	return Result{Name: "BPF file system", Verdict: OK, Detail: "yes"}
}

// nftables asks the kernel over netlink, since no program for it may be there yet.
func nftables(ctx context.Context, _ Needs) Result {
	_ = exec.CommandContext(ctx, "/sbin/modprobe", "-q", "nf_tables").Run() // built in, or loaded on demand, elsewhere
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		return Result{Name: "nf_tables", Verdict: Fail, Detail: err.Error(), Fix: "a kernel with CONFIG_NF_TABLES"}
	}
	_ = unix.Close(fd)
	_, module := os.Stat("/sys/module/nf_tables")
	_, built := os.Stat("/proc/sys/net/netfilter")
	if module != nil && built != nil {
		return Result{Name: "nf_tables", Verdict: Fail, Detail: "the kernel has no netfilter", Fix: "modprobe nf_tables, or a kernel with CONFIG_NF_TABLES"}
	}
	return Result{Name: "nf_tables", Verdict: OK, Detail: "yes"}
}

func links(ctx context.Context, needs Needs) Result {
	r := Result{Name: "network links", Verdict: OK, Detail: "veth, bridge"}
	if !onPath(needs.Path+":/usr/sbin:/sbin", "ip") {
		r.Verdict, r.Detail, r.Fix = Warn, "not tried: no ip", "install iproute2 to have it checked; the lab brings its own"
		return r
	}
	script := "ip link add name p0 type veth peer name p1 && ip link add name b0 type bridge && ip link set dev p0 master b0"
	if err := try(ctx, unix.CLONE_NEWNET, script); err != nil {
		r.Verdict, r.Detail, r.Fix = Fail, err.Error(), "modprobe veth bridge, or a kernel with CONFIG_VETH and CONFIG_BRIDGE"
	}
	return r
}

// files warns of a low limit: etcd, the API server and six kubelets keep many open.
func files(context.Context, Needs) Result {
	r := Result{Name: "open files", Verdict: OK}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return Result{Name: r.Name, Verdict: Warn, Detail: err.Error()}
	}
	r.Detail = strconv.FormatUint(limit.Max, 10)
	if limit.Max < 16384 {
		r.Verdict, r.Fix = Warn, "ulimit -n 65536"
	}
	return r
}

func memory(_ context.Context, needs Needs) Result {
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return Result{Name: "memory", Verdict: Warn, Detail: err.Error()}
	}
	_, rest, _ := strings.Cut(string(text), "MemAvailable:")
	kib, err := strconv.ParseUint(strings.Fields(rest + " 0")[0], 10, 64)
	if err != nil {
		return Result{Name: "memory", Verdict: Warn, Detail: err.Error()}
	}
	want := uint64(planeMemory + needs.Nodes*nodeMemory)
	if !needs.Built {
		want = max(want, buildMemory)
	}
	return amount("memory", kib<<10, want, "free some memory, or take fewer nodes")
}

func disk(_ context.Context, needs Needs) Result {
	var stat unix.Statfs_t
	if err := unix.Statfs(needs.Dir, &stat); err != nil {
		return Result{Name: "disk", Verdict: Fail, Detail: err.Error(), Fix: "make " + needs.Dir}
	}
	want := uint64(builtDisk)
	if !needs.Built {
		want += compileDisk
	}
	return amount("disk", stat.Bavail*uint64(stat.Bsize), want, "free some space on the disk of "+needs.Dir)
}

// amount compares what there is with what is wanted; down to four fifths it is only a warning.
func amount(name string, have, want uint64, fix string) Result {
	r := Result{Name: name, Verdict: OK, Fix: fix}
	r.Detail = fmt.Sprintf("%.1f GiB free, %.1f wanted", float64(have)/gib, float64(want)/gib)
	switch {
	case have < want/5*4:
		r.Verdict = Fail
	case have < want:
		r.Verdict = Warn
	}
	return r
}

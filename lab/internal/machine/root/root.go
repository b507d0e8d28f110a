// Package root builds what a node of the lab sees: a root file system of its own, as an instance has its own disk.
//
//	/            overlay: the node's upper layer over the unpacked Debian packages, which all nodes share
//	/var /tmp    directories of the node's disk (containerd cannot keep overlays on an overlay)
//	/run         tmpfs          /proc  of the node's PID namespace
//	/dev         tmpfs with the usual few devices
//	/sys         of the node's network namespace, with the machine's control groups and a BPF file system of its own
//
// It runs as the first process of new mount, PID, UTS and IPC namespaces. Everything is mounted there alone, and is gone
// with that process. Sysctls that a kubelet sets and that are no namespace's but the whole machine's are covered by
// plain files: the kubelet reads back what it wrote, and the machine is not changed.
package root

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Bind shows a file or directory of the machine inside the node.
type Bind struct {
	From     string `json:"from"`
	To       string `json:"to"`
	Writable bool   `json:"writable,omitempty"`
}

// Spec is the root of a node.
type Spec struct {
	Hostname string `json:"hostname"`
	// Layers are directories that make up the root, the topmost first.
	Layers []string `json:"layers"`
	// Disk is the node's directory on the machine's disk.
	Disk string `json:"disk"`
	// Binds are shown besides.
	Binds []Bind `json:"binds,omitempty"`
	// Copies are folders whose files are copied into a folder of the root, by that folder.
	Copies map[string]string `json:"copies,omitempty"`
	// Files are written into the root at each start, by path.
	Files map[string]string `json:"files,omitempty"`
	// Links are symbolic links made in the root, by path.
	Links map[string]string `json:"links,omitempty"`
	// Leaves are the control groups that the node's first process joins.
	Leaves []string `json:"leaves"`
}

// covered are the sysctls of the whole machine that a kubelet sets.
func covered() []string {
	return []string{
		"kernel/keys/root_maxbytes", "kernel/keys/root_maxkeys", "kernel/panic", "kernel/panic_on_oops",
		"vm/overcommit_memory", "vm/panic_on_oom",
	}
}

// Build makes the root and enters it. The calling process sees only the node from then on.
func Build(spec Spec) error {
	top := filepath.Join(spec.Disk, "root")
	steps := []func() error{
		func() error { return mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "") },
		func() error { return overlay(spec, top) },
		func() error { return disk(spec, top) },
		func() error { return kernel(top) },
		func() error { return devices(top) },
		func() error { return content(spec, top) },
		func() error { return cover(top) },
		func() error { return pivot(top) },
		func() error { return unix.Sethostname([]byte(spec.Hostname)) },
		loopback,
		forward,
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func mount(from, to, kind string, flags uintptr, options string) error {
	if err := unix.Mount(from, to, kind, flags, options); err != nil {
		return fmt.Errorf("mount %s %q at %s (%s): %w", kind, from, to, options, err)
	}
	return nil
}

// mkdirs makes directories below base.
func mkdirs(base string, paths ...string) error {
	for _, p := range paths {
		if err := os.MkdirAll(filepath.Join(base, p), 0o755); err != nil {
			return fmt.Errorf("make directory of the node: %w", err)
		}
	}
	return nil
}

func overlay(spec Spec, top string) error {
	if err := mkdirs(spec.Disk, "root", "upper", "work"); err != nil {
		return err
	}
	options := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s",
		strings.Join(spec.Layers, ":"), filepath.Join(spec.Disk, "upper"), filepath.Join(spec.Disk, "work"))
	return mount("overlay", top, "overlay", 0, options)
}

// disk shows the writable directories that are no overlay.
func disk(spec Spec, top string) error {
	err := mkdirs(spec.Disk, "var/cache", "var/lib/kubelet", "var/lib/containerd", "var/lib/cni", "var/log/pods",
		"var/log/containers", "var/spool", "var/tmp", "tmp")
	if err != nil {
		return err
	}
	run := filepath.Join(spec.Disk, "var/run")
	if err := os.Symlink("/run", run); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("link /var/run: %w", err)
	}
	for _, d := range []string{"tmp", "var/tmp"} {
		if err := os.Chmod(filepath.Join(spec.Disk, d), 0o1777); err != nil {
			return fmt.Errorf("open directory to all: %w", err)
		}
	}
	for _, d := range []string{"var", "tmp"} {
		if err := mkdirs(top, d); err != nil {
			return err
		}
		if err := mount(filepath.Join(spec.Disk, d), filepath.Join(top, d), "", unix.MS_BIND, ""); err != nil {
			return err
		}
	}
	return nil
}

// kernel mounts the kernel's file systems.
func kernel(top string) error {
	if err := mkdirs(top, "proc", "sys", "run", "dev", "etc", "root", "opt/cni/bin", "etc/cni/net.d", "lib/modules", "mnt"); err != nil {
		return err
	}
	at := func(p string) string { return filepath.Join(top, p) }
	const quiet = unix.MS_NOSUID | unix.MS_NOEXEC | unix.MS_NODEV
	if err := mount("proc", at("proc"), "proc", quiet, ""); err != nil {
		return err
	}
	if err := mount("sysfs", at("sys"), "sysfs", quiet, ""); err != nil {
		return err
	}
	if err := mount("/sys/fs/cgroup", at("sys/fs/cgroup"), "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return err
	}
	if err := mount("bpf", at("sys/fs/bpf"), "bpf", quiet, "mode=0700"); err != nil {
		return err
	}
	if err := mount("tmpfs", at("run"), "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755"); err != nil {
		return err
	}
	return mkdirs(top, "run/lock", "run/netns", "run/containerd")
}

// devices makes a /dev with what containers need and nothing of the machine's disks.
func devices(top string) error {
	dev := filepath.Join(top, "dev")
	if err := mount("tmpfs", dev, "tmpfs", unix.MS_NOSUID, "mode=755"); err != nil {
		return err
	}
	if err := mkdirs(dev, "pts", "shm", "mqueue", "net"); err != nil {
		return err
	}
	for _, d := range []struct {
		name         string
		major, minor uint32
	}{
		{"null", 1, 3},
		{"zero", 1, 5},
		{"full", 1, 7},
		{"random", 1, 8},
		{"urandom", 1, 9},
		{"kmsg", 1, 11},
		{"tty", 5, 0},
		{"net/tun", 10, 200},
	} {
		path := filepath.Join(dev, d.name)
		if err := unix.Mknod(path, unix.S_IFCHR|0o666, int(unix.Mkdev(d.major, d.minor))); err != nil {
			return fmt.Errorf("make device %s: %w", d.name, err)
		}
		if err := os.Chmod(path, 0o666); err != nil {
			return fmt.Errorf("open device to all: %w", err)
		}
	}
	for name, to := range map[string]string{
		"ptmx": "pts/ptmx", "fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1",
		"stderr": "/proc/self/fd/2", "core": "/proc/kcore",
	} {
		if err := os.Symlink(to, filepath.Join(dev, name)); err != nil {
			return fmt.Errorf("link device: %w", err)
		}
	}
	if err := mount("devpts", filepath.Join(dev, "pts"), "devpts", unix.MS_NOSUID|unix.MS_NOEXEC, "newinstance,ptmxmode=0666,mode=620"); err != nil {
		return err
	}
	if err := mount("tmpfs", filepath.Join(dev, "shm"), "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=1777"); err != nil {
		return err
	}
	return mount("mqueue", filepath.Join(dev, "mqueue"), "mqueue", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
}

// content writes files and links and shows binds.
func content(spec Spec, top string) error {
	for _, b := range spec.Binds {
		if err := bind(b, top); err != nil {
			return err
		}
	}
	for to, from := range spec.Copies {
		if err := mkdirs(top, to); err != nil {
			return err
		}
		if err := copyFiles(from, filepath.Join(top, to)); err != nil {
			return err
		}
	}
	for path, text := range spec.Files {
		full := filepath.Join(top, path)
		if err := mkdirs(top, filepath.Dir(path)); err != nil {
			return err
		}
		mode := fs.FileMode(0o644)
		if strings.HasSuffix(path, ".key") {
			mode = 0o600
		}
		if err := os.Remove(full); err != nil && !errors.Is(err, fs.ErrNotExist) { // a link would be written through
			return fmt.Errorf("replace file of the node: %w", err)
		}
		if err := os.WriteFile(full, []byte(text), mode); err != nil {
			return fmt.Errorf("write file of the node: %w", err)
		}
	}
	for path, to := range spec.Links {
		full := filepath.Join(top, path)
		if err := mkdirs(top, filepath.Dir(path)); err != nil {
			return err
		}
		if err := os.Remove(full); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("replace link of the node: %w", err)
		}
		if err := os.Symlink(to, full); err != nil {
			return fmt.Errorf("link in the node: %w", err)
		}
	}
	return nil
}

// copyFiles copies the files of a folder that are missing or differ in size: a node's disk may be an earlier start's.
func copyFiles(from, to string) error {
	entries, err := os.ReadDir(from)
	if err != nil {
		return fmt.Errorf("copy into the node: %w", err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			return fmt.Errorf("copy into the node: %w", err)
		}
		target := filepath.Join(to, e.Name())
		if have, err := os.Stat(target); err == nil && have.Size() == info.Size() {
			continue
		}
		if err := copyFile(filepath.Join(from, e.Name()), target, info.Mode().Perm()); err != nil {
			return fmt.Errorf("copy into the node: %w", err)
		}
	}
	return nil
}

func copyFile(from, to string, mode fs.FileMode) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

func bind(b Bind, top string) error {
	info, err := os.Stat(b.From)
	if err != nil {
		return fmt.Errorf("show in the node: %w", err)
	}
	to := filepath.Join(top, b.To)
	if info.IsDir() {
		err = mkdirs(top, b.To)
	} else if err = mkdirs(top, filepath.Dir(b.To)); err == nil {
		var f *os.File
		if f, err = os.OpenFile(to, os.O_CREATE, 0o644); err == nil {
			err = f.Close()
		}
	}
	if err != nil {
		return fmt.Errorf("make mount point of the node: %w", err)
	}
	if err := mount(b.From, to, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return err
	}
	if b.Writable {
		return nil
	}
	// A read-only bind keeps the flags of the mount that it shows; the kernel refuses to drop a locked one.
	var stat unix.Statfs_t
	if err := unix.Statfs(to, &stat); err != nil {
		return fmt.Errorf("read flags of %s: %w", to, err)
	}
	kept := uintptr(stat.Flags) & (unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_NOATIME | unix.MS_NODIRATIME | unix.MS_RELATIME)
	return mount("", to, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY|kept, "")
}

// cover puts a plain file with the present value over each machine-wide sysctl that a kubelet sets.
func cover(top string) error {
	dir := filepath.Join(top, "run/berth/sysctl")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make directory of covered sysctls: %w", err)
	}
	for _, name := range covered() {
		sysctl := filepath.Join(top, "proc/sys", name)
		value, err := os.ReadFile(sysctl)
		if errors.Is(err, fs.ErrNotExist) {
			continue // this kernel has no such switch
		}
		if err != nil {
			return fmt.Errorf("read sysctl: %w", err)
		}
		file := filepath.Join(dir, strings.ReplaceAll(name, "/", "."))
		if err := os.WriteFile(file, value, 0o644); err != nil {
			return fmt.Errorf("cover sysctl: %w", err)
		}
		if err := mount(file, sysctl, "", unix.MS_BIND, ""); err != nil {
			return err
		}
	}
	return nil
}

// pivot makes top the root and drops the machine's. The new tree is shared, as systemd makes it on an instance: pods
// with bidirectional mounts need that. Its peers are its own: the machine's mounts were left as private.
func pivot(top string) error {
	if err := unix.Chdir(top); err != nil {
		return fmt.Errorf("enter root of the node: %w", err)
	}
	if err := unix.PivotRoot(".", "."); err != nil { // the old root lies over the new one until it is dropped
		return fmt.Errorf("change to the root of the node: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("drop the machine's root: %w", err)
	}
	if err := unix.Chdir("/"); err != nil {
		return fmt.Errorf("enter root of the node: %w", err)
	}
	return mount("", "/", "", unix.MS_REC|unix.MS_SHARED, "")
}

// loopback brings up lo, which a new network namespace has down.
func loopback() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open socket for lo: %w", err)
	}
	defer func() { _ = unix.Close(fd) }()
	req, err := unix.NewIfreq("lo")
	if err != nil {
		return fmt.Errorf("name lo: %w", err)
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, req); err != nil {
		return fmt.Errorf("read flags of lo: %w", err)
	}
	req.SetUint16(req.Uint16() | unix.IFF_UP)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, req); err != nil {
		return fmt.Errorf("bring lo up: %w", err)
	}
	return nil
}

// forward lets the node route for its pods, as node images of EKS do.
func forward() error {
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644); err != nil {
		return fmt.Errorf("switch forwarding on: %w", err)
	}
	return nil
}

// Join moves the calling process into control groups.
func Join(leaves []string) error {
	for _, leaf := range slices.Compact(leaves) {
		if err := os.WriteFile(filepath.Join(leaf, "cgroup.procs"), []byte("0"), 0o644); err != nil {
			return fmt.Errorf("join control group: %w", err)
		}
	}
	return nil
}

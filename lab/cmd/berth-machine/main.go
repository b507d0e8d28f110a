// Command berth-machine is the inside of a lab node.
//
//	berth-machine init SPEC               the node's first process: builds the root, then only collects the dead
//	berth-machine enter PID CGROUPS ARGV  runs a program inside the node whose first process is PID
//
// It is linked without cgo and small, because every process of a node passes through it.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/lab/internal/machine/root"
	"github.com/berth-net/berth/lab/internal/proc"
)

func main() {
	runtime.LockOSThread() // namespaces are entered by thread, and exec keeps those of the thread that calls it
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "berth-machine:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 2 && args[0] == "init":
		return initNode(args[1])
	case len(args) >= 4 && args[0] == "enter":
		return enter(args[1], strings.Split(args[2], ","), args[3:])
	}
	return errors.New("usage: berth-machine init SPEC | enter PID CGROUP,CGROUP... PROGRAM [ARGUMENT...]")
}

// initNode reports readiness by a byte on descriptor 3, or its error as text.
func initNode(path string) error {
	ready := os.NewFile(3, "ready")
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read node: %w", err)
	}
	var spec root.Spec
	if err := json.Unmarshal(text, &spec); err != nil {
		return fmt.Errorf("read node %s: %w", path, err)
	}
	err = root.Join(spec.Leaves)
	if err == nil {
		err = root.Build(spec)
	}
	if err != nil {
		_, _ = fmt.Fprintln(ready, err)
		return err
	}
	terminate := make(chan os.Signal, 1)
	signal.Notify(terminate, unix.SIGTERM)
	died := make(chan os.Signal, 64)
	signal.Notify(died, unix.SIGCHLD)
	debug.FreeOSMemory() // it only waits from here on
	if _, err := ready.Write([]byte{'\n'}); err != nil {
		return fmt.Errorf("report readiness: %w", err)
	}
	_ = ready.Close()
	for {
		select {
		case <-terminate:
			return nil // the kernel kills whatever is left in the namespace
		case <-died:
			reap()
		}
	}
}

func reap() {
	for {
		pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil)
		if err != nil && !errors.Is(err, unix.EINTR) || err == nil && pid <= 0 {
			return
		}
	}
}

// enter joins the groups by the machine's paths, then the namespaces, and becomes the program. The PID namespace was
// entered by the parent: it counts for children only.
func enter(pid string, leaves, argv []string) error {
	if err := proc.DieWithParent(); err != nil {
		return err
	}
	if err := root.Join(leaves); err != nil {
		return err
	}
	kinds := []struct {
		name string
		flag int
	}{{"uts", unix.CLONE_NEWUTS}, {"ipc", unix.CLONE_NEWIPC}, {"net", unix.CLONE_NEWNET}, {"mnt", unix.CLONE_NEWNS}}
	fds := make([]int, len(kinds))
	for i, k := range kinds { // all are opened first: the last one takes /proc away
		fd, err := unix.Open("/proc/"+pid+"/ns/"+k.name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("open %s namespace of node: %w", k.name, err)
		}
		fds[i] = fd
	}
	if err := unix.Unshare(unix.CLONE_FS); err != nil { // threads share the working directory, which forbids the mount namespace
		return fmt.Errorf("leave shared file system state: %w", err)
	}
	for i, k := range kinds {
		if err := unix.Setns(fds[i], k.flag); err != nil {
			return fmt.Errorf("enter %s namespace of node: %w", k.name, err)
		}
	}
	if err := unix.Chdir("/"); err != nil {
		return fmt.Errorf("enter root of node: %w", err)
	}
	path, err := exec.LookPath(argv[0])
	if err != nil {
		return fmt.Errorf("find program: %w", err)
	}
	return fmt.Errorf("run %s: %w", path, syscall.Exec(path, argv, os.Environ()))
}

// Package testkit is what tests of several packages share. Only tests import it.
package testkit

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// RequireRoot skips the test without root, and fails it instead where BERTH_REQUIRE_ROOT is set.
func RequireRoot(tb testing.TB) {
	tb.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("BERTH_REQUIRE_ROOT") != "" {
		tb.Fatal("needs root to make network namespaces, and BERTH_REQUIRE_ROOT is set")
	}
	tb.Skip("needs root to make network namespaces")
}

// RequireProgram skips the test without a program, and fails it instead where BERTH_REQUIRE_ROOT is set.
func RequireProgram(tb testing.TB, name string) string {
	tb.Helper()
	path, err := exec.LookPath(name)
	if err == nil {
		return path
	}
	if os.Getenv("BERTH_REQUIRE_ROOT") != "" {
		tb.Fatalf("needs the program %s, and BERTH_REQUIRE_ROOT is set: %v", name, err)
	}
	tb.Skipf("needs the program %s: %v", name, err)
	return ""
}

// namespaceCount makes names unique within the process.
var namespaceCount atomic.Int64

// NamePrefix starts the names of what this process's tests make: "bt-" and the process's id.
func NamePrefix() string { return fmt.Sprintf("bt-%d", os.Getpid()) }

// Netns makes a network namespace that the test's end removes, and returns its path. Its loopback link is up.
func Netns(tb testing.TB) string {
	tb.Helper()
	RequireRoot(tb)
	path := filepath.Join(tb.TempDir(), fmt.Sprintf("%s-%d", NamePrefix(), namespaceCount.Add(1)))
	if err := os.WriteFile(path, nil, 0o444); err != nil {
		tb.Fatal(err)
	}
	err := onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("unshare: %w", err)
		}
		lo, err := netlink.LinkByName("lo") //nolint:forbidigo // one link of a new namespace, not a dump
		if err != nil {
			return err
		}
		if err := netlink.LinkSetUp(lo); err != nil {
			return err
		}
		return unix.Mount(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()), path, "none", unix.MS_BIND, "")
	})
	if err != nil {
		tb.Fatalf("make namespace %s: %v", path, err)
	}
	tb.Cleanup(func() {
		if err := unix.Unmount(path, unix.MNT_DETACH); err != nil {
			tb.Errorf("unmount namespace %s: %v", path, err)
		}
	})
	return path
}

// InNetns runs fn on a thread whose network namespace is the one at path. Sockets that fn opens stay in it.
func InNetns(tb testing.TB, path string, fn func() error) {
	tb.Helper()
	if err := TryInNetns(path, fn); err != nil {
		tb.Fatalf("in namespace %s: %v", path, err)
	}
}

// TryInNetns is InNetns for callers that expect an error.
func TryInNetns(path string, fn func() error) error {
	ns, err := netns.GetFromPath(path)
	if err != nil {
		return fmt.Errorf("open namespace: %w", err)
	}
	defer ns.Close()
	return onThread(func() error {
		if err := netns.Set(ns); err != nil {
			return fmt.Errorf("enter namespace: %w", err)
		}
		return fn()
	})
}

// NetnsOutput runs a program in the namespace at path and returns what it prints, and its error.
func NetnsOutput(path, program string, args ...string) (string, error) {
	var out bytes.Buffer
	err := TryInNetns(path, func() error {
		cmd := exec.Command(program, args...)
		cmd.Stdout, cmd.Stderr = &out, &out
		return cmd.Run()
	})
	return out.String(), err
}

// onThread runs fn on a thread that may change its network namespace; a thread that does not find back is thrown away.
func onThread(fn func() error) error {
	done := make(chan error, 1)
	go func() {
		err := errors.New("the function did not return")
		defer func() { done <- err }()
		runtime.LockOSThread()
		home, e := netns.Get()
		if e != nil {
			runtime.UnlockOSThread()
			err = fmt.Errorf("open the thread's network namespace: %w", e)
			return
		}
		defer home.Close()
		defer func() {
			// Where this fails the goroutine ends locked, and its thread with it. Not so the process's first thread: it would
			// stay in the namespace and keep it alive, which is why each goes home.
			if netns.Set(home) == nil {
				runtime.UnlockOSThread()
			}
		}()
		err = fn()
	}()
	return <-done
}

// RunNetns is the body of a TestMain: it runs the tests and fails when they leave a namespace that carries NamePrefix
// mounted, or the machine's own namespace changed.
func RunNetns(m *testing.M) int {
	if os.Geteuid() != 0 {
		return m.Run()
	}
	before := hostState()
	code := m.Run()
	var complaint string
	// Removed links disappear a moment after their namespace.
	ok := poll(30*time.Second, func() bool {
		complaint = leaks(before)
		return complaint == ""
	})
	if !ok {
		fmt.Fprintf(os.Stderr, "the tests left something behind:\n%s", complaint)
		return max(code, 1)
	}
	return code
}

func leaks(before string) string {
	var b strings.Builder
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err.Error()
	}
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, NamePrefix()+"-") {
			b.WriteString("mount " + line)
		}
	}
	if after := hostState(); after != before {
		fmt.Fprintf(&b, "the machine's own namespace was\n%sand is\n%s", before, after)
	}
	return b.String()
}

// hostState describes what the tests' own namespace must not gain.
func hostState() string {
	var b strings.Builder
	for _, args := range [][]string{
		{"-o", "link"}, {"-o", "-4", "addr"}, {"-4", "rule"}, {"-4", "route", "show", "table", "all"}, {"-6", "rule"},
	} {
		out, err := exec.Command("ip", args...).CombinedOutput()
		if err != nil {
			fmt.Fprintf(&b, "ip %s: %v\n", strings.Join(args, " "), err)
		}
		b.Write(out)
	}
	return b.String()
}

// Eventually waits until condition holds, and fails the test when it does not within a generous time.
func Eventually(tb testing.TB, what string, condition func() bool) {
	tb.Helper()
	if !poll(30*time.Second, condition) {
		tb.Fatalf("still not so after 30 s: %s", what)
	}
}

func poll(limit time.Duration, condition func() bool) bool {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(limit); ; <-tick.C {
		if condition() {
			return true
		}
		if time.Now().After(end) {
			return false
		}
	}
}

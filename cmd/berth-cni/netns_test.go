package main

import (
	"fmt"
	"os"
	"runtime"
	"syscall"
	"testing"
)

// The descriptor that the agent receives is the pod's namespace, by a path that only the caller's thread has.
func TestRealNamespace(t *testing.T) {
	if os.Geteuid() != 0 {
		if os.Getenv("BERTH_REQUIRE_ROOT") == "1" {
			t.Fatal("making a network namespace needs root")
		}
		t.Skip("making a network namespace needs root")
	}
	w := newWorld(t)
	w.start()
	path, release := namespace(t)
	defer release()
	want, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	var got os.FileInfo
	rt := w.runtimeConf("c1")
	rt.NetNS = path
	if _, err := w.cni.AddNetworkList(t.Context(), w.list("1.1.0"), rt); err != nil {
		t.Fatal(err)
	}
	w.agent.with(func() { got = w.agent.netns })
	if !os.SameFile(want, got) {
		t.Errorf("the agent got another namespace than %s", path)
	}
	rt.NetNS = "/proc/self/ns/net" // the host's own: the plugin library refuses it
	if _, err := w.cni.AddNetworkList(t.Context(), w.list("1.1.0"), rt); err == nil {
		t.Error("an ADD to the host's namespace was accepted")
	}
}

// namespace returns the path of a network namespace that lives until release.
func namespace(t *testing.T) (path string, release func()) {
	t.Helper()
	paths, done := make(chan string), make(chan struct{})
	go func() {
		runtime.LockOSThread() // never unlocked: the thread goes with its namespace
		if err := syscall.Unshare(syscall.CLONE_NEWNET); err != nil {
			t.Errorf("unshare: %v", err)
			close(paths)
			return
		}
		paths <- fmt.Sprintf("/proc/%d/task/%d/ns/net", os.Getpid(), syscall.Gettid())
		<-done
	}()
	path, ok := <-paths
	if !ok {
		t.FailNow()
	}
	return path, func() { close(done) }
}

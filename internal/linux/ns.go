package linux

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// In runs f on a thread in the network namespace that netns is an open file of. f must not start goroutines that rely on the
// namespace. A thread that cannot be brought back ends with the goroutine that f ran on, and carries nobody into the wrong
// namespace.
func In(netns *os.File, f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		err, back := inThread(netns, f)
		if back {
			runtime.UnlockOSThread()
		}
		done <- err
	}()
	return <-done
}

// IsNetNS tells whether f is an open network namespace.
func IsNetNS(f *os.File) bool {
	kind, err := unix.IoctlRetInt(int(f.Fd()), unix.NS_GET_NSTYPE)
	return err == nil && kind == unix.CLONE_NEWNET
}

// inThread does In's work on the locked thread and tells whether the thread is back where it was.
func inThread(netns *os.File, f func() error) (err error, back bool) {
	home, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open own network namespace: %w", err), true
	}
	defer func() { _ = unix.Close(home) }()
	if err := unix.Setns(int(netns.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter network namespace %s: %w", netns.Name(), err), true
	}
	err = f()
	if leave := unix.Setns(home, unix.CLONE_NEWNET); leave != nil {
		return fmt.Errorf("leave network namespace %s: %w", netns.Name(), leave), false
	}
	return err, true
}

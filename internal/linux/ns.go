package linux

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// In runs f with the calling thread in the network namespace that netns is an open file of. f must not start goroutines that
// rely on the namespace. A thread that cannot be brought back is discarded.
func In(netns *os.File, f func() error) error {
	runtime.LockOSThread()
	back, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("open own network namespace: %w", err)
	}
	defer back.Close()
	if err := unix.Setns(int(netns.Fd()), unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("enter network namespace %s: %w", netns.Name(), err)
	}
	ferr := f()
	if err := unix.Setns(int(back.Fd()), unix.CLONE_NEWNET); err != nil {
		// The thread stays locked: it ends with its goroutine instead of carrying others into the wrong namespace.
		return fmt.Errorf("leave network namespace %s: %w", netns.Name(), err)
	}
	runtime.UnlockOSThread()
	return ferr
}

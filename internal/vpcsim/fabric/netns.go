package fabric

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// in runs fn on a thread whose network namespace is ns. A thread that cannot be brought back is never reused.
func in(ns netns.NsHandle, fn func() error) error {
	return onThread(func() error {
		if err := netns.Set(ns); err != nil {
			return fmt.Errorf("enter network namespace: %w", err)
		}
		return fn()
	})
}

// onThread runs fn on a thread of its own that may change its network namespace.
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

// createNamespace makes a network namespace that lives as long as the bind mount at path.
func createNamespace(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return fmt.Errorf("create namespace %s: %w", path, err)
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDONLY, 0o400)
	if err != nil {
		return fmt.Errorf("create namespace %s: %w", path, err)
	}
	_ = file.Close()
	err = onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("unshare: %w", err)
		}
		source := fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid())
		return unix.Mount(source, path, "none", unix.MS_BIND, "")
	})
	if err != nil {
		return errors.Join(fmt.Errorf("create namespace %s: %w", path, err), os.Remove(path))
	}
	return nil
}

// removeNamespace undoes createNamespace; what is absent is removed.
func removeNamespace(path string) error {
	for {
		err := unix.Unmount(path, unix.MNT_DETACH)
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
			break // no longer a mount point
		}
		if err != nil {
			return fmt.Errorf("unmount namespace %s: %w", path, err)
		}
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove namespace %s: %w", path, err)
	}
	return nil
}

// isNamespace tells a bound namespace from the plain file that a crash between the two steps leaves.
func isNamespace(path string) bool {
	var fs unix.Statfs_t
	return unix.Statfs(path, &fs) == nil && fs.Type == unix.NSFS_MAGIC
}

// sysctls of a namespace that forwards. They are set before any link exists, so that each link inherits them.
var routerSysctls = [][2]string{
	{"net/ipv4/ip_forward", "1"},
	{"net/ipv4/conf/all/rp_filter", "0"},
	{"net/ipv4/conf/default/rp_filter", "0"},
	{"net/ipv4/conf/all/accept_local", "1"}, // an error that the namespace sent itself comes back from a NAT gateway
	{"net/ipv4/conf/all/send_redirects", "0"},
	{"net/ipv4/conf/default/send_redirects", "0"},
	{"net/ipv4/conf/all/accept_redirects", "0"},
	{"net/ipv4/conf/default/accept_redirects", "0"},
	{"net/ipv4/conf/default/proxy_arp", "1"},
	{"net/ipv6/conf/all/disable_ipv6", "1"},
	{"net/ipv6/conf/default/disable_ipv6", "1"},
}

// proxyAtOnce makes a link answer for others without the delay of up to 0.8 s that is meant to let the owner answer
// first. Namespaces do not have this setting's default, so that it is set per link.
func proxyAtOnce(ns netns.NsHandle, link string) error {
	return in(ns, func() error {
		return writeSysctls([][2]string{{"net/ipv4/neigh/" + link + "/proxy_delay", "0"}})
	})
}

// writeSysctls sets them in the thread's namespace; without IPv6 there is nothing to turn off.
func writeSysctls(settings [][2]string) error {
	for _, s := range settings {
		err := os.WriteFile(filepath.Join("/proc/sys", s[0]), []byte(s[1]), 0o600)
		if errors.Is(err, os.ErrNotExist) && strings.HasPrefix(s[0], "net/ipv6/") {
			continue
		}
		if err != nil {
			return fmt.Errorf("set sysctl %s to %s: %w", s[0], s[1], err)
		}
	}
	return nil
}

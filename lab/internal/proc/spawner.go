// Package proc starts and ends the lab's processes: in the network and PID namespace that they belong to, with their
// output in a file, restarted when they die and never outliving the lab.
//
// Guarantee: a process that a [Spawner] started dies with the program that holds the spawner, whatever ends that
// program, SIGKILL included: the kernel sends the child SIGKILL when the starting thread is gone. That thread is the
// spawner's own and is kept for its whole life. Processes that a child starts are not covered; where those matter (a
// node's pods) the child is the first process of a PID namespace, whose end takes all of them along.
package proc

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// ErrClosed is returned for a start after [Spawner.Close].
var ErrClosed = errors.New("spawner is closed")

// Spawner starts processes from one thread that lives as long as it does.
type Spawner struct {
	requests chan request
	done     chan struct{}
}

type request struct {
	spec   Spec
	cmd    *exec.Cmd
	answer chan error
}

// NewSpawner returns a running spawner.
func NewSpawner() *Spawner {
	s := &Spawner{requests: make(chan request), done: make(chan struct{})}
	go s.serve()
	return s
}

// Close ends the spawner's thread, with which every process that it started and that still runs is killed.
func (s *Spawner) Close() {
	select {
	case <-s.done:
	default:
		close(s.done)
	}
}

// serve never unlocks its thread: the thread ends with the goroutine, and the children's death signal hangs on that.
func (s *Spawner) serve() {
	runtime.LockOSThread()
	for {
		select {
		case <-s.done:
			return
		case r := <-s.requests:
			r.answer <- startInside(r.spec, r.cmd)
		}
	}
}

// start runs cmd inside the namespaces of spec.
func (s *Spawner) start(spec Spec, cmd *exec.Cmd) error {
	r := request{spec: spec, cmd: cmd, answer: make(chan error, 1)}
	select {
	case <-s.done:
		return ErrClosed
	case s.requests <- r:
		return <-r.answer
	}
}

// startInside starts cmd from this thread after it has entered the namespaces, and takes the thread back. For the PID
// namespace only children are affected.
func startInside(spec Spec, cmd *exec.Cmd) (err error) {
	for _, ns := range []struct {
		path, own string
		kind      int
	}{
		{spec.NetNS, "/proc/thread-self/ns/net", unix.CLONE_NEWNET},
		{spec.PidNS, "/proc/thread-self/ns/pid", unix.CLONE_NEWPID},
	} {
		if ns.path == "" {
			continue
		}
		leave, enterErr := enter(ns.path, ns.own, ns.kind)
		if enterErr != nil {
			return fmt.Errorf("start %s: %w", spec.Name, enterErr)
		}
		defer func() { err = errors.Join(err, leave()) }()
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", spec.Name, err)
	}
	return nil
}

// enter moves this thread into the namespace at path and returns what moves it back to the one at own.
func enter(path, own string, kind int) (leave func() error, err error) {
	back, err := os.Open(own)
	if err != nil {
		return nil, fmt.Errorf("open own namespace: %w", err)
	}
	to, err := os.Open(path)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open namespace: %w", err), back.Close())
	}
	defer func() { _ = to.Close() }()
	if err := unix.Setns(int(to.Fd()), kind); err != nil {
		return nil, errors.Join(fmt.Errorf("enter namespace %s: %w", path, err), back.Close())
	}
	return func() error {
		defer func() { _ = back.Close() }()
		if err := unix.Setns(int(back.Fd()), kind); err != nil {
			return fmt.Errorf("leave namespace %s: %w", path, err)
		}
		return nil
	}, nil
}

// attributes are those of every process of the lab: a session of its own, so that the terminal's Ctrl-C reaches only
// the lab, which then ends them in order; and death with the spawner.
//
// os/exec guards against a parent that died before the death signal was set by comparing parent numbers, and kills the
// child when they differ, as they always do across PID namespaces. There the program has to set the signal itself, with
// [DieWithParent]; the first process of a new namespace is immune to its own signals.
func attributes(spec Spec) *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL, Cloneflags: spec.CloneFlags}
	if spec.PidNS != "" {
		attr.Pdeathsig = 0
	}
	return attr
}

// DieWithParent asks the kernel to kill the calling thread's process when its parent ends; it holds across exec.
func DieWithParent() error {
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return fmt.Errorf("ask for death with the parent: %w", err)
	}
	return nil
}

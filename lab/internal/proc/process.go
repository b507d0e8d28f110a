package proc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Spec is a process as asked for.
type Spec struct {
	// Name is what errors and logs call it.
	Name string
	// Path is the program, Args its arguments without the name. Argv0 replaces the name that it sees, where set.
	Path  string
	Argv0 string
	Args  []string
	// Env is its whole environment; nil is an empty one but for PATH.
	Env []string
	// Dir is where it starts; empty is the root.
	Dir string
	// NetNS and PidNS are paths of namespaces that it belongs to; empty is the lab's own.
	NetNS, PidNS string
	// CloneFlags are namespaces made for it.
	CloneFlags uintptr
	// Log is the file that its output is appended to, where Stdout and Stderr are nil.
	Log            string
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	// Files are its descriptors from 3 on.
	Files []*os.File
	// Grace is how long it has between SIGTERM and SIGKILL; zero is five seconds.
	Grace time.Duration
}

// Process is a started one.
type Process struct {
	spec Spec
	cmd  *exec.Cmd
	done chan struct{}
	err  error // read after done
}

// Start starts a process. It ends when it likes, at [Process.Stop], or with the spawner.
func (s *Spawner) Start(spec Spec) (*Process, error) {
	cmd := exec.Command(spec.Path, spec.Args...) // it outlives the call; Stop ends it
	if spec.Argv0 != "" {
		cmd.Args[0] = spec.Argv0
	}
	cmd.Env = spec.Env
	if cmd.Env == nil {
		cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	}
	cmd.Dir = spec.Dir
	if cmd.Dir == "" {
		cmd.Dir = "/"
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = spec.Stdin, spec.Stdout, spec.Stderr
	cmd.ExtraFiles = spec.Files
	cmd.SysProcAttr = attributes(spec)
	cmd.WaitDelay = time.Second // a grandchild may hold the output open
	if spec.Log != "" && spec.Stdout == nil && spec.Stderr == nil {
		log, err := openLog(spec.Log)
		if err != nil {
			return nil, fmt.Errorf("start %s: %w", spec.Name, err)
		}
		defer func() { _ = log.Close() }()
		cmd.Stdout, cmd.Stderr = log, log
	}
	if err := s.start(spec, cmd); err != nil {
		return nil, err
	}
	p := &Process{spec: spec, cmd: cmd, done: make(chan struct{})}
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

func openLog(path string) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("make directory of log: %w", err)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	return f, nil
}

// Pid is its number in the lab's own PID namespace.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Done is closed once it has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Wait waits for its end, which is an error unless it exited with 0. When ctx ends first the process is stopped.
func (p *Process) Wait(ctx context.Context) error {
	select {
	case <-p.done:
		return p.err
	case <-ctx.Done():
		return errors.Join(ctx.Err(), p.Stop())
	}
}

// Stop sends SIGTERM, and SIGKILL when the grace is over. It returns when the process has ended; that it was ended by a
// signal is no error.
func (p *Process) Stop() error {
	grace := p.spec.Grace
	if grace == 0 {
		grace = 5 * time.Second
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop %s: %w", p.spec.Name, err)
	}
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-p.done:
		return nil
	case <-timer.C:
	}
	return p.Kill()
}

// Kill sends SIGKILL and waits for the end.
func (p *Process) Kill() error {
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill %s: %w", p.spec.Name, err)
	}
	<-p.done
	return nil
}

// Run starts a process and waits for its end.
func (s *Spawner) Run(ctx context.Context, spec Spec) error {
	var tail strings.Builder
	if spec.Stderr == nil && spec.Log == "" {
		spec.Stderr = &tail
	}
	p, err := s.Start(spec)
	if err != nil {
		return err
	}
	if err := p.Wait(ctx); err != nil {
		if said := strings.TrimSpace(tail.String()); said != "" {
			return fmt.Errorf("run %s: %w: %s", spec.Name, err, said)
		}
		return fmt.Errorf("run %s: %w", spec.Name, err)
	}
	return nil
}

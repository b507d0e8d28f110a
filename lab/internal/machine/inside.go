package machine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/lab/internal/proc"
)

// environment is what processes inside a node have.
func environment() []string {
	return []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C"}
}

// inside is a process of the node.
func (m *Machine) inside(name string, argv []string) proc.Spec {
	enter := []string{"enter", strconv.Itoa(m.first.Pid()), strings.Join(m.tree.Leaves(), ",")}
	return proc.Spec{
		Name: name + " of " + m.config.Name, Path: m.config.Cache.Bin("berth-machine"), Args: append(enter, argv...),
		Env: environment(), PidNS: fmt.Sprintf("/proc/%d/ns/pid", m.first.Pid()),
	}
}

// serve starts a process of the node that is started again when it ends.
func (m *Machine) serve(name string, argv ...string) (*proc.Service, error) {
	spec := m.inside(name, argv)
	spec.Log = m.LogFile(name)
	spec.Env = append(spec.Env, "GOGC=50") // a lab has many nodes: a third less memory for a little processor time
	return m.spawner.Serve(spec, m.config.Log.With("node", m.config.Name))
}

// Exec runs a program inside the node and returns its standard output. Its end before ctx's is waited for.
func (m *Machine) Exec(ctx context.Context, argv ...string) (string, error) {
	return m.ExecInput(ctx, nil, argv...)
}

// ExecInput is Exec with a standard input.
func (m *Machine) ExecInput(ctx context.Context, input io.Reader, argv ...string) (string, error) {
	var out strings.Builder
	spec := m.inside(argv[0], argv)
	spec.Stdin, spec.Stdout = input, &out
	err := m.spawner.Run(ctx, spec)
	return out.String(), err
}

// Shell is the command line with which an operator gets a terminal inside the node.
func (m *Machine) Shell() []string {
	return []string{
		"nsenter", "--target", strconv.Itoa(m.first.Pid()), "--mount", "--uts", "--ipc", "--net", "--pid", "--root",
		"env", "-i", "-C", "/", "TERM=xterm", environment()[0], environment()[1], environment()[2], "bash", "-l",
	}
}

// ImportImage puts the images of an archive into the node's containerd.
func (m *Machine) ImportImage(ctx context.Context, archive string) error {
	f, err := os.Open(archive)
	if err != nil {
		return fmt.Errorf("import image into %s: %w", m.config.Name, err)
	}
	defer func() { _ = f.Close() }()
	if _, err := m.ExecInput(ctx, f, "ctr", "--namespace", "k8s.io", "image", "import", "-"); err != nil {
		return fmt.Errorf("import image %s into %s: %w", filepath.Base(archive), m.config.Name, err)
	}
	return nil
}

// justBooted is the command line that makes argv, and the pods that it starts, see a host that boots now: an agent
// without a journal takes that for the reason. Before Linux 6.3 a program that unshares its time namespace is not in
// the new one itself, and the kernel refuses it threads, so that it enters it besides.
func justBooted(argv []string) ([]string, error) {
	if _, err := os.Stat("/proc/self/ns/time"); err != nil {
		return argv, nil //nolint:nilerr // a kernel without it: pods see when the machine has booted
	}
	var up unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &up); err != nil {
		return nil, fmt.Errorf("read how long the machine has been up: %w", err)
	}
	return append([]string{
		"unshare", "--time", "--boottime", strconv.FormatInt(-up.Sec, 10), "nsenter", "--time=/proc/self/ns/time_for_children",
	}, argv...), nil
}

// mostRestarts is how often containerd may end by itself before it is given up: being slow is not the reason.
const mostRestarts = 3

// startContainerd starts it and waits until it answers.
func (m *Machine) startContainerd(ctx context.Context) error {
	argv, err := justBooted([]string{"containerd", "--config", containerdFile})
	if err != nil {
		return err
	}
	if m.containerd, err = m.serve("containerd", argv...); err != nil {
		return err
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err = os.Stat(m.Path(containerdSocket)); err == nil {
			if _, err = m.Exec(ctx, "ctr", "--namespace", "k8s.io", "version"); err == nil {
				return nil
			}
		}
		if n := m.containerd.Restarts(); n >= mostRestarts {
			return fmt.Errorf("wait for containerd (log: %s): it ended by itself %d times", m.LogFile("containerd"), n)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for containerd (log: %s): %w", m.LogFile("containerd"), err)
		case <-tick.C:
		}
	}
}

// SetProxy makes kube-proxy run in a mode, or not at all; it removes what the mode before left. It returns when the
// rules are there.
func (m *Machine) SetProxy(ctx context.Context, mode ProxyMode) error {
	if err := m.startProxy(ctx, mode); err != nil || mode == "" {
		return err
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := m.askProxy(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for kube-proxy of %s (log: %s): %w", m.config.Name, m.LogFile("kube-proxy"), err)
		case <-tick.C:
		}
	}
}

// askProxy asks kube-proxy whether it has written its rules.
func (m *Machine) askProxy(ctx context.Context) error {
	client := &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return proc.Dial(ctx, m.config.NetNS, netip.AddrPortFrom(m.config.Addr, proxyHealthPort))
		},
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://kube-proxy/healthz", nil)
	if err != nil {
		return fmt.Errorf("ask kube-proxy: %w", err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("ask kube-proxy: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("ask kube-proxy: %s", resp.Status)
	}
	return nil
}

// startProxy starts kube-proxy in place of the one that runs.
func (m *Machine) startProxy(ctx context.Context, mode ProxyMode) error {
	if m.proxy != nil {
		err := m.proxy.Stop()
		m.proxy = nil
		if err != nil {
			return fmt.Errorf("stop kube-proxy of %s: %w", m.config.Name, err)
		}
		if _, err := m.Exec(ctx, "kube-proxy", "--cleanup"); err != nil {
			return fmt.Errorf("remove rules of kube-proxy of %s: %w", m.config.Name, err)
		}
	}
	m.config.Proxy = mode
	if mode == "" {
		return nil
	}
	text, err := m.config.proxyConfig()
	if err != nil {
		return err
	}
	if err := os.WriteFile(m.Path(proxyFile), text, 0o644); err != nil {
		return fmt.Errorf("write configuration of kube-proxy: %w", err)
	}
	if m.proxy, err = m.serve("kube-proxy", "kube-proxy", "--config="+proxyFile); err != nil {
		return errors.Join(fmt.Errorf("start kube-proxy of %s", m.config.Name), err)
	}
	return nil
}

// RestartKubelet ends the kubelet and starts it again, as an operator may.
func (m *Machine) RestartKubelet() error {
	if err := m.kubelet.Stop(); err != nil {
		return err
	}
	var err error
	m.kubelet, err = m.serve("kubelet", m.kubeletArgs()...)
	return err
}

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/lab/internal/cluster"
	"github.com/berth-net/berth/lab/internal/controlplane"
	"github.com/berth-net/berth/lab/internal/machine"
	"github.com/berth-net/berth/lab/internal/preflight"
	"github.com/berth-net/berth/lab/internal/proc"
	"github.com/berth-net/berth/lab/internal/world"
)

// choices are what `up` hands on to `serve`.
type choices struct {
	WithoutCNI bool
	Proxy      string
}

func (c *cli) up() *cobra.Command {
	var file string
	var with choices
	cmd := &cobra.Command{
		Use: "up -f cluster.yaml", Short: "Make the VPC and the cluster of an eksctl ClusterConfig", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if flags := cmd.Flags(); !flags.Changed("without-cni") && !flags.Changed("kube-proxy-mode") {
				if err := c.keptChoices(&with); err != nil {
					return err
				}
			}
			if err := c.bringUp(cmd.Context(), file, with); err != nil {
				return err
			}
			c.say("next: eval \"$(%s lab env)\"; kubectl and aws, if the machine has none: PATH=$PATH:%s", c.paths.Program("berth"), c.paths.Cache().Bin())
			return nil
		},
	}
	cmd.Flags().StringVarP(&file, "file", "f", "", "the ClusterConfig")
	cmd.Flags().BoolVar(&with.WithoutCNI, "without-cni", false, "leave the add-on vpc-cni out")
	cmd.Flags().StringVar(&with.Proxy, "kube-proxy-mode", string(machine.IPTables), "iptables or nftables")
	return cmd
}

// keptChoices are those of the lab that is gone on with, where there is one.
func (c *cli) keptChoices(with *choices) error {
	data, err := os.ReadFile(c.paths.Choices())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = json.Unmarshal(data, with)
	}
	if err != nil {
		return fmt.Errorf("read how the lab was started: %w", err)
	}
	return nil
}

func (c *cli) keepChoices(with choices) error {
	data, err := json.Marshal(with)
	if err == nil {
		err = os.WriteFile(c.paths.Choices(), data, 0o644)
	}
	if err != nil {
		return fmt.Errorf("keep how the lab was started: %w", err)
	}
	return nil
}

func (c *cli) bringUp(ctx context.Context, file string, with choices) error {
	if err := needRoot(); err != nil {
		return err
	}
	if with.Proxy != string(machine.IPTables) && with.Proxy != string(machine.NFTables) {
		return fmt.Errorf("--kube-proxy-mode: want iptables or nftables, got %q", with.Proxy)
	}
	text, err := c.clusterFile(file)
	if err != nil {
		return err
	}
	config, warnings, err := cluster.Parse(text)
	for _, w := range warnings {
		c.say("warning: %s", w)
	}
	if err != nil {
		return err
	}
	if config.Version != "" && config.Version != world.ClusterVersion() {
		c.say("warning: metadata.version is %s; the lab's Kubernetes is %s", config.Version, controlplane.Version)
	}
	started, err := c.launch(ctx, text, config, with)
	if err != nil {
		return err
	}
	return c.watch(ctx, started)
}

// launch starts the lab unless it runs. Of two at a time the second one waits, and finds it running.
func (c *cli) launch(ctx context.Context, text []byte, config cluster.Config, with choices) (started bool, err error) {
	unlock, err := lock()
	if err != nil {
		return false, err
	}
	defer unlock()
	left, trace := world.Recorded()
	if trace && left.Alive() {
		if left.Repo != c.paths.Repo {
			return false, fmt.Errorf("the lab of %s is running, and a machine has room for one: berth lab down", left.Repo)
		}
		c.say("the lab is running already")
		return false, nil
	}
	if err := c.needPrograms(); err != nil {
		return false, err
	}
	if err := c.needMachine(ctx, config); err != nil {
		return false, err
	}
	if trace && left.Repo != c.paths.Repo {
		if err := world.Sweep(ctx, world.PathsOf(left.Repo), false); err != nil {
			return false, err
		}
	}
	if err := world.Sweep(ctx, c.paths, false); err != nil {
		return false, err
	}
	if err := c.paths.Make(); err != nil {
		return false, err
	}
	if err := os.WriteFile(c.paths.Config(), text, 0o644); err != nil {
		return false, fmt.Errorf("keep cluster config: %w", err)
	}
	if err := c.keepChoices(with); err != nil {
		return false, err
	}
	if err := c.detach(with); err != nil {
		return false, err
	}
	return true, nil
}

// lock keeps other starts of a lab waiting, of whichever checkout. It is a lock of a folder that is always there, so that
// nothing is left of it.
func lock() (unlock func(), err error) {
	dir, err := os.Open("/run")
	if err == nil {
		err = unix.Flock(int(dir.Fd()), unix.LOCK_EX)
	}
	if err != nil {
		return nil, fmt.Errorf("wait for another start of a lab: %w", err)
	}
	return func() { _ = dir.Close() }, nil
}

// clusterFile reads the file, or the one that the lab has when none is given, and refuses another cluster's.
func (c *cli) clusterFile(file string) ([]byte, error) {
	kept, err := os.ReadFile(c.paths.Config())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read cluster config: %w", err)
	}
	if file == "" {
		if kept == nil {
			return nil, errors.New("which cluster: -f cluster.yaml")
		}
		return kept, nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read cluster config: %w", err)
	}
	if kept != nil && !bytes.Equal(kept, text) {
		return nil, fmt.Errorf("the lab holds another cluster (%s): berth lab down", c.paths.Config())
	}
	return text, nil
}

// needPrograms names what has not been built.
func (c *cli) needPrograms() error {
	cache := c.paths.Cache()
	for _, path := range []string{
		c.paths.Program("berth-agent"), c.paths.Program("berth-cni"), cache.Bin("berth-kube"), cache.Bin("kubectl"), cache.Bin("helm"),
		cache.Bin("coredns"), cache.Bin("pause"), cache.Bin("agnhost"), cache.Bin("berth-machine"), cache.Bin("nft"), cache.NodeRoot(), cache.CNI(),
	} {
		if _, err := os.Stat(path); err != nil {
			return fmt.Errorf("%s is missing: make lab", path)
		}
	}
	return nil
}

// needMachine names what the machine lacks, with its fix.
func (c *cli) needMachine(ctx context.Context, config cluster.Config) error {
	nodes := 0
	for _, g := range config.NodeGroups {
		nodes += g.Desired
	}
	results := preflight.Run(ctx, preflight.Needs{Dir: string(c.paths.Cache()), Nodes: nodes, Built: true})
	if err := ctx.Err(); err != nil {
		return err // what was cut off looks like something that the machine lacks
	}
	return preflight.Error(slices.DeleteFunc(results, func(r preflight.Result) bool { return r.Name == "programs" })) // they are for building
}

// detach starts the lab's own process, which outlives this one.
func (c *cli) detach(with choices) error {
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find own program: %w", err)
	}
	log, err := os.OpenFile(c.paths.Log(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	defer func() { _ = log.Close() }()
	if err := os.WriteFile(c.paths.Progress(), nil, 0o644); err != nil {
		return fmt.Errorf("begin progress: %w", err)
	}
	args := []string{"serve", "--kube-proxy-mode", with.Proxy}
	if with.WithoutCNI {
		args = append(args, "--without-cni")
	}
	cmd := exec.Command(program, args...)
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=" + c.paths.Dir, "BERTH_LAB_REPO=" + c.paths.Repo}
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the lab: %w", err)
	}
	go func() { _ = cmd.Wait() }()
	id, err := proc.Identify(cmd.Process.Pid)
	if err != nil {
		return errors.Join(err, cmd.Process.Kill())
	}
	if err := (world.Record{Identity: id, Repo: c.paths.Repo}).Write(); err != nil {
		return errors.Join(fmt.Errorf("record the lab's process: %w", err), cmd.Process.Kill())
	}
	return nil
}

// watch shows the lab's progress until it is up. When this command is interrupted, a lab that it started is ended.
func (c *cli) watch(ctx context.Context, started bool) error {
	f, err := os.Open(c.paths.Progress())
	if err != nil {
		return fmt.Errorf("follow progress: %w", err)
	}
	defer func() { _ = f.Close() }()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	reader := bufio.NewReader(f)
	for {
		line, err := reader.ReadBytes('\n')
		if err == nil {
			if done, err := c.show(line); done {
				return err
			}
			continue
		}
		if !errors.Is(err, io.EOF) {
			return fmt.Errorf("follow progress: %w", err)
		}
		if _, running := world.Running(); !running && len(line) == 0 {
			return fmt.Errorf("the lab has ended: see %s", c.paths.Log())
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			if !started {
				return ctx.Err()
			}
			c.say("interrupted: taking the lab down")
			return errors.Join(errors.New("interrupted"), c.takeDown(context.WithoutCancel(ctx), true))
		}
	}
}

// show prints a line of progress and tells whether it is the last.
func (c *cli) show(line []byte) (done bool, err error) {
	var s world.Step
	if err := json.Unmarshal(line, &s); err != nil {
		return true, fmt.Errorf("read progress: %w", err)
	}
	at := fmt.Sprintf("%5.1fs", s.Elapsed.Seconds())
	switch {
	case s.Error != "":
		return true, fmt.Errorf("%s (log: %s)", s.Error, c.paths.Log())
	case s.Warning:
		c.say("%s  warning: %s", at, s.Text)
	default:
		c.say("%s  %s", at, s.Text)
	}
	return s.Ready, nil
}

func (c *cli) say(format string, args ...any) { _, _ = fmt.Fprintf(c.out, format+"\n", args...) }

func (c *cli) serve() *cobra.Command {
	var with choices
	cmd := &cobra.Command{
		Use: "serve", Hidden: true, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			signal.Ignore(syscall.SIGHUP, syscall.SIGPIPE)
			return world.Serve(cmd.Context(), world.Options{
				Paths: c.paths, WithoutCNI: with.WithoutCNI, Proxy: machine.ProxyMode(with.Proxy),
				Log: slog.New(slog.NewTextHandler(c.err, nil)),
			})
		},
	}
	cmd.Flags().BoolVar(&with.WithoutCNI, "without-cni", false, "")
	cmd.Flags().StringVar(&with.Proxy, "kube-proxy-mode", string(machine.IPTables), "")
	return cmd
}

func (c *cli) down() *cobra.Command {
	var keep bool
	cmd := &cobra.Command{
		Use: "down", Short: "End the lab and remove what it made", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := needRoot(); err != nil {
				return err
			}
			return c.takeDown(context.WithoutCancel(cmd.Context()), !keep) // half done it would have to be done again
		},
	}
	cmd.Flags().BoolVar(&keep, "keep", false, "keep the disk: the next up goes on with the same cluster")
	return cmd
}

// downLimit is how long the lab may take to end by itself.
const downLimit = 90 * time.Second

func (c *cli) takeDown(ctx context.Context, disks bool) error {
	paths := c.paths
	id, trace := world.Recorded()
	if trace {
		paths = world.PathsOf(id.Repo)
	}
	if trace && id.Alive() {
		if err := syscall.Kill(id.Pid, syscall.SIGTERM); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("end the lab: %w", err)
		}
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		limit := time.After(downLimit)
		for id.Alive() {
			select {
			case <-tick.C:
			case <-limit:
				if err := id.Kill(); err != nil {
					return err
				}
			}
		}
	}
	if err := world.Sweep(ctx, paths, disks); err != nil {
		return err
	}
	c.say("the lab is down")
	return nil
}

func (c *cli) env() *cobra.Command {
	return &cobra.Command{
		Use: "env", Short: "Print the shell variables that make aws and kubectl talk to the lab", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := c.ask(cmd.Context())
			if err != nil {
				return err
			}
			lines := append([]string{"KUBECONFIG=" + s.Kubeconfig}, s.Env...)
			for _, line := range lines {
				name, value, _ := bytes.Cut([]byte(line), []byte("="))
				c.say("export %s=%s", name, quote(string(value)))
			}
			return nil
		},
	}
}

// quote makes a shell word.
func quote(s string) string {
	return "'" + string(bytes.ReplaceAll([]byte(s), []byte("'"), []byte(`'\''`))) + "'"
}

// ask asks the running lab how it is.
func (c *cli) ask(ctx context.Context) (world.Status, error) {
	client, err := world.Dial()
	if err != nil {
		return world.Status{}, err
	}
	return client.Status(ctx)
}

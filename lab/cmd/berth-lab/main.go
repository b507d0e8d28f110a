// Command berth-lab is a VPC with a real Kubernetes cluster in it on one Linux machine. `berth lab …` runs it.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/berth-net/berth/lab/internal/world"
)

func main() {
	os.Exit(run(os.Args[1:], os.Getenv, os.Stdout, os.Stderr))
}

// cli is what every command has.
type cli struct {
	paths    world.Paths
	out, err io.Writer
	json     bool
}

func run(args []string, getenv func(string) string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	c := &cli{out: stdout, err: stderr}
	root := c.root(getenv)
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	if err := root.ExecuteContext(ctx); err != nil {
		_, _ = fmt.Fprintln(stderr, "berth lab:", err)
		return 1
	}
	return 0
}

func (c *cli) root(getenv func(string) string) *cobra.Command {
	root := &cobra.Command{
		Use: "berth-lab", Short: "A VPC and a Kubernetes cluster on this machine",
		Annotations:  map[string]string{cobra.CommandDisplayNameAnnotation: "berth lab"}, // `berth` passes its arguments on
		SilenceUsage: true, SilenceErrors: true,
		PersistentPreRunE: func(*cobra.Command, []string) error {
			repo, err := repository(getenv)
			if err != nil {
				return err
			}
			c.paths = world.PathsOf(repo)
			return nil
		},
	}
	var output string
	root.PersistentFlags().StringVarP(&output, "output", "o", "", "json instead of tables")
	before := root.PersistentPreRunE
	root.PersistentPreRunE = func(cmd *cobra.Command, args []string) error {
		switch output {
		case "", "json":
			c.json = output == "json"
			return before(cmd, args)
		}
		return fmt.Errorf("--output: want json, got %q", output)
	}
	root.AddCommand(c.up(), c.serve(), c.down(), c.status(), c.env(), c.logs(), c.shell(), c.exec(), c.pcap(),
		c.fault(), c.calls(), c.mark(), c.settings(), c.iam(), c.image(), c.snapshot(), c.runInstance(), c.terminateInstance(), c.reboot(),
		c.demo(), c.demoThrottle())
	return root
}

// repository finds the checkout that the lab belongs to: the folder above that of this program, or BERTH_LAB_REPO.
func repository(getenv func(string) string) (string, error) {
	if repo := getenv("BERTH_LAB_REPO"); repo != "" {
		return filepath.Abs(repo)
	}
	program, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find own program: %w", err)
	}
	repo := filepath.Dir(filepath.Dir(program))
	if _, err := os.Stat(filepath.Join(repo, "go.mod")); err != nil {
		return "", fmt.Errorf("%s is not in bin/ of a checkout: set BERTH_LAB_REPO to the checkout's path", program)
	}
	return repo, nil
}

// needRoot refuses what only root can do.
func needRoot() error {
	if os.Geteuid() != 0 {
		return errors.New("the lab makes network namespaces and mounts: run it as root")
	}
	return nil
}

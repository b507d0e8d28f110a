package main

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/berth-net/berth/lab/internal/demo"
	"github.com/berth-net/berth/lab/internal/machine"
	"github.com/berth-net/berth/lab/internal/world"
)

func (c *cli) demo() *cobra.Command {
	return &cobra.Command{
		Use: "demo", Short: "Play the walkthrough: a subnet runs out of addresses, and more are found", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.play(func(s *demo.Story) error { return s.Walkthrough(cmd.Context()) })
		},
	}
}

func (c *cli) demoThrottle() *cobra.Command {
	return &cobra.Command{
		Use: "demo-throttle", Short: "Restart the agents while EC2 is throttled, and see that no address is given twice", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.play(func(s *demo.Story) error { return s.Throttle(cmd.Context()) })
		},
	}
}

// play runs a story on a lab of its own.
func (c *cli) play(story func(*demo.Story) error) error {
	if err := needRoot(); err != nil {
		return err
	}
	if r, running := world.Running(); running {
		return fmt.Errorf("the lab of %s is running (process %d) and a story needs one of its own: berth lab down", r.Repo, r.Pid)
	}
	if _, err := os.Stat(c.paths.Config()); err == nil {
		c.say("an earlier lab is on the disk: taking it away")
		if err := c.takeDown(context.Background(), true); err != nil {
			return err
		}
	}
	dir, err := os.MkdirTemp("", "berth-demo-")
	if err != nil {
		return fmt.Errorf("make folder of the story: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	return story(&demo.Story{Lab: stage{c}, Out: c.out, Programs: c.paths.Cache().Bin(), Dir: dir, Terminal: isTerminal(c.out)})
}

func isTerminal(out any) bool {
	f, ok := out.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// stage is the lab as a story uses it.
type stage struct{ c *cli }

// Up makes the cluster.
func (s stage) Up(ctx context.Context, file string) error {
	return s.c.bringUp(ctx, file, choices{Proxy: string(machine.IPTables)})
}

// Down takes everything away.
func (s stage) Down(ctx context.Context) error { return s.c.takeDown(ctx, true) }

// Env are the variables that the clients need.
func (s stage) Env(ctx context.Context) ([]string, error) {
	status, err := s.c.ask(ctx)
	if err != nil {
		return nil, err
	}
	return append([]string{"KUBECONFIG=" + status.Kubeconfig}, status.Env...), nil
}

// VPC gives an order to the simulated VPC.
func (s stage) VPC(ctx context.Context, method, path string, in, out any) error {
	client, err := world.Dial()
	if err != nil {
		return err
	}
	return client.VPC(ctx, method, path, in, out)
}

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/berth-net/berth/internal/core/vpc"
	"github.com/berth-net/berth/lab/internal/world"
)

// table prints rows of cells below each other.
func (c *cli) table(header string, rows [][]string) error {
	t := tabwriter.NewWriter(c.out, 0, 8, 2, ' ', 0)
	_, _ = fmt.Fprintln(t, strings.ReplaceAll(header, " ", "\t"))
	for _, row := range rows {
		_, _ = fmt.Fprintln(t, strings.Join(row, "\t"))
	}
	return t.Flush()
}

func (c *cli) writeJSON(v any) error {
	e := json.NewEncoder(c.out)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

func (c *cli) status() *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "Show the cluster, its instances and interfaces", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := c.ask(cmd.Context())
			if err != nil {
				return err
			}
			if c.json {
				return c.writeJSON(s)
			}
			state := "ready"
			if !s.Ready {
				state = "starting"
			}
			c.say("cluster %s in %s, Kubernetes %s, %s: %s", s.Cluster, s.Region, s.Version, s.VPC, state)
			if s.Fault != "" {
				c.say("the network is not as the VPC says: %s", s.Fault)
			}
			c.say("API server %s, AWS %s\n", s.Endpoint, s.API)
			var rows [][]string
			for _, i := range slices.Concat(s.Nodes, s.Instances) {
				rows = append(rows, []string{string(i.ID), i.Name, i.Address, i.Type, string(i.Zone)})
			}
			if err := c.table("INSTANCE NAME ADDRESS TYPE ZONE", rows); err != nil {
				return err
			}
			c.say("")
			rows = nil
			for _, i := range s.Interfaces {
				rows = append(rows, []string{
					string(i.ID), string(i.Instance), string(i.Subnet), i.Address, fmt.Sprint(i.Others),
					fmt.Sprint(i.Drops.AntiSpoof), fmt.Sprint(i.Drops.GroupEgress + i.Drops.GroupIngress), fmt.Sprint(i.Drops.NoRoute),
				})
			}
			return c.table("INTERFACE INSTANCE SUBNET ADDRESS SECONDARY SPOOFED GROUPS UNROUTED", rows)
		},
	}
}

func (c *cli) logs() *cobra.Command {
	return &cobra.Command{
		Use: "logs [NAME]", Short: "Print a log, or list the logs", Args: cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			files, err := c.logFiles()
			if err != nil {
				return err
			}
			if len(args) == 0 {
				return c.listLogs(files)
			}
			f, err := os.Open(files[args[0]])
			if err != nil {
				return fmt.Errorf("there is no log %q: berth lab logs lists them", args[0])
			}
			defer func() { _ = f.Close() }()
			_, err = io.Copy(c.out, f)
			return err
		},
	}
}

// logFiles are the logs by name: those of the lab, of the control plane's and the nodes' parts, and of the agent and the
// plugin on each node.
func (c *cli) logFiles() (map[string]string, error) {
	files := map[string]string{"berth-lab": c.paths.Log()}
	for _, where := range []struct{ owner, logs string }{
		{c.paths.Plane(), "log"}, {filepath.Join(c.paths.Nodes(), "*"), "log"}, {filepath.Join(c.paths.Nodes(), "*"), "disk/var/log/aws-routed-eni"},
	} {
		found, err := filepath.Glob(filepath.Join(where.owner, where.logs, "*.log"))
		if err != nil {
			return nil, fmt.Errorf("look for logs: %w", err)
		}
		for _, f := range found {
			owner := strings.TrimSuffix(filepath.Dir(f), "/"+where.logs)
			files[filepath.Base(owner)+"/"+strings.TrimSuffix(filepath.Base(f), ".log")] = f
		}
	}
	return files, nil
}

func (c *cli) listLogs(files map[string]string) error {
	var rows [][]string
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if info, err := os.Stat(files[name]); err == nil {
			rows = append(rows, []string{name, fmt.Sprint(info.Size()), files[name]})
		}
	}
	return c.table("LOG BYTES FILE", rows)
}

// inside finds an instance by id, name or the name's first label.
func (c *cli) inside(cmd *cobra.Command, name string) (world.InstanceStatus, error) {
	s, err := c.ask(cmd.Context())
	if err != nil {
		return world.InstanceStatus{}, err
	}
	for _, i := range slices.Concat(s.Nodes, s.Instances) {
		short, _, _ := strings.Cut(i.Name, ".")
		if name == string(i.ID) || name == i.Name || name == short || name == i.Address {
			return i, nil
		}
	}
	return world.InstanceStatus{}, fmt.Errorf("there is no instance %q: berth lab status lists them", name)
}

func (c *cli) shell() *cobra.Command {
	return &cobra.Command{
		Use: "shell INSTANCE", Short: "Open a shell in a node or an instance", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			i, err := c.inside(cmd, args[0])
			if err != nil {
				return err
			}
			argv := i.Shell
			if len(i.Pids) == 0 {
				argv = append(slices.Clone(argv), "/bin/sh")
			}
			return become(argv)
		},
	}
}

func (c *cli) exec() *cobra.Command {
	cmd := &cobra.Command{
		Use: "exec INSTANCE COMMAND...", Short: "Run a command in the network of a node or an instance", Args: cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			i, err := c.inside(cmd, args[0])
			if err != nil {
				return err
			}
			command := args[1:]
			if command[0] == "--" && len(command) > 1 { // the custom of kubectl exec
				command = command[1:]
			}
			return become(append([]string{"nsenter", "--net=" + i.Namespace, "--"}, command...))
		},
	}
	cmd.Flags().SetInterspersed(false) // the command's flags are its own
	return cmd
}

// become puts a program in the place of this one: the terminal and its signals are the program's alone, so that Ctrl-C
// ends what runs in a shell and not the shell.
func become(argv []string) error {
	program, err := exec.LookPath(argv[0])
	if err != nil {
		return fmt.Errorf("find %s (package util-linux): %w", argv[0], err)
	}
	if err := syscall.Exec(program, argv, os.Environ()); err != nil {
		return fmt.Errorf("run %s: %w", argv[0], err)
	}
	return nil
}

func (c *cli) pcap() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use: "pcap ENI", Short: "Capture what passes an interface, until interrupted", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := world.Dial()
			if err != nil {
				return err
			}
			out := c.out
			if file != "" {
				f, err := os.Create(file)
				if err != nil {
					return fmt.Errorf("create capture file: %w", err)
				}
				defer func() { _ = f.Close() }()
				out = f
			}
			return client.Capture(cmd.Context(), args[0], out)
		},
	}
	cmd.Flags().StringVarP(&file, "write", "w", "", "file to write instead of the standard output")
	return cmd
}

func (c *cli) image() *cobra.Command {
	cmd := &cobra.Command{Use: "image", Short: "Images of the nodes"}
	cmd.AddCommand(&cobra.Command{
		Use: "load ARCHIVE", Short: "Import an image archive into every node", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := filepath.Abs(args[0])
			if err != nil {
				return err
			}
			client, err := world.Dial()
			if err != nil {
				return err
			}
			return client.LoadImage(cmd.Context(), path)
		},
	})
	return cmd
}

func (c *cli) reboot() *cobra.Command {
	return &cobra.Command{
		Use: "reboot NODE", Short: "End a node as a loss of power would, and start it again on its disk", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			i, err := c.inside(cmd, args[0])
			if err != nil {
				return err
			}
			client, err := world.Dial()
			if err != nil {
				return err
			}
			return client.Reboot(cmd.Context(), string(i.ID))
		},
	}
}

func (c *cli) runInstance() *cobra.Command {
	var r world.LaunchRequest
	var groups []string
	var subnet string
	cmd := &cobra.Command{
		Use: "run-instance", Short: "Launch an instance outside the cluster", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := world.Dial()
			if err != nil {
				return err
			}
			r.Subnet = vpc.SubnetID(subnet)
			for _, g := range groups {
				r.Groups = append(r.Groups, vpc.SecurityGroupID(g))
			}
			i, err := client.Launch(cmd.Context(), r)
			if err != nil {
				return err
			}
			if c.json {
				return c.writeJSON(i)
			}
			c.say("%s %s", i.ID, i.Address)
			return nil
		},
	}
	cmd.Flags().StringVar(&subnet, "subnet", "", "subnet (default: the first private one)")
	cmd.Flags().StringVar(&r.Type, "instance-type", "", "instance type (default t3.medium)")
	cmd.Flags().StringVar(&r.Name, "name", "", "value of the tag Name")
	cmd.Flags().StringSliceVar(&groups, "security-group", nil, "security groups (default: the VPC's default group)")
	return cmd
}

func (c *cli) terminateInstance() *cobra.Command {
	return &cobra.Command{
		Use: "terminate-instance ID", Short: "End an instance that run-instance launched", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := world.Dial()
			if err != nil {
				return err
			}
			return client.Terminate(cmd.Context(), args[0])
		},
	}
}

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/berth-net/berth/internal/vpcsim/pacing"
	"github.com/berth-net/berth/lab/internal/world"
)

func (c *cli) fault() *cobra.Command {
	cmd := &cobra.Command{Use: "fault", Short: "Make calls to the simulated AWS fail or slow"}
	cmd.AddCommand(c.faultAdd(), c.faultList(), c.faultClear())
	return cmd
}

func (c *cli) faultAdd() *cobra.Command {
	var f pacing.Fault
	var lasts time.Duration
	cmd := &cobra.Command{
		Use: "add ACTION [CODE]", Short: "Add a fault",
		Long: "Adds a fault. ACTION is an action of EC2, or of another service with its name in front: \"imds:Get\", \"eks:UpdateAddon\",\n" +
			"\"sts:*\"; \"*\" and \"?\" stand for any characters. docs/simulated-aws.md has all of it.",
		Example: "  berth lab fault add DescribeSubnets RequestLimitExceeded --share 0.5 --for 1m\n" +
			"  berth lab fault add AttachNetworkInterface --delay 40s --count 3\n" +
			"  berth lab fault add imds:Get Stale        # metadata stay as they are",
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			f.Action = args[0]
			if len(args) == 2 {
				f.Code = args[1]
			}
			if f.Code == "" && f.Delay == 0 && !f.DropRequest && !f.DropResponse && f.Garbage == "" {
				return errors.New("a fault does something: give an error code, --delay, --drop-request, --drop-response or --garbage")
			}
			if f.Share < 0 || f.Share > 1 {
				return fmt.Errorf("--share: want 0 to 1, got %v", f.Share)
			}
			if lasts > 0 {
				f.Until = time.Now().Add(lasts)
			}
			client, err := world.Dial()
			if err != nil {
				return err
			}
			var added struct{ ID int }
			if err := client.VPC(cmd.Context(), http.MethodPost, "faults", f, &added); err != nil {
				return err
			}
			c.say("fault %d", added.ID)
			return nil
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.Caller, "caller", "", `who is hit, for example "node:*" or operator (default: all)`)
	flags.Float64Var(&f.Share, "share", 0, "share of the calls that are hit, 0 to 1 (default: all)")
	flags.IntVar(&f.Count, "count", 0, "how many calls are hit")
	flags.DurationVar(&lasts, "for", 0, "how long it lasts")
	flags.DurationVar(&f.Delay, "delay", 0, "added to the call")
	flags.BoolVar(&f.DropRequest, "drop-request", false, "lose the call before its effect")
	flags.BoolVar(&f.DropResponse, "drop-response", false, "lose the answer after the effect")
	flags.StringVar(&f.Garbage, "garbage", "", "answered instead of a reply")
	flags.StringVar(&f.Message, "message", "", "the error's message")
	return cmd
}

func (c *cli) faultList() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the faults in force", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := world.Dial()
			if err != nil {
				return err
			}
			var faults []pacing.Fault
			if err := client.VPC(cmd.Context(), http.MethodGet, "faults", nil, &faults); err != nil {
				return err
			}
			if c.json {
				return c.writeJSON(faults)
			}
			var rows [][]string
			for _, f := range faults {
				until := "-"
				if !f.Until.IsZero() {
					until = f.Until.Format(time.TimeOnly)
				}
				rows = append(rows, []string{fmt.Sprint(f.ID), or(f.Action, "*"), or(f.Caller, "*"), or(f.Code, "-"), fmt.Sprint(f.Share), fmt.Sprint(f.Count), until})
			}
			return c.table("ID ACTION CALLER CODE SHARE COUNT UNTIL", rows)
		},
	}
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

func (c *cli) faultClear() *cobra.Command {
	return &cobra.Command{
		Use: "clear [ID]", Short: "End a fault, or all of them", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := world.Dial()
			if err != nil {
				return err
			}
			path := "faults"
			if len(args) == 1 {
				path += "/" + url.PathEscape(args[0])
			}
			return client.VPC(cmd.Context(), http.MethodDelete, path, nil, nil)
		},
	}
}

func (c *cli) calls() *cobra.Command {
	var since string
	cmd := &cobra.Command{
		Use: "calls", Short: "Count the calls to the simulated AWS by action, caller and outcome", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := world.Dial()
			if err != nil {
				return err
			}
			var counts []pacing.CallCount
			if err := client.VPC(cmd.Context(), http.MethodGet, "calls?mark="+url.QueryEscape(since), nil, &counts); err != nil {
				return err
			}
			if c.json {
				return c.writeJSON(counts)
			}
			var rows [][]string
			for _, n := range counts {
				rows = append(rows, []string{n.Action, n.Caller, n.Outcome, fmt.Sprint(n.Count)})
			}
			return c.table("ACTION CALLER OUTCOME COUNT", rows)
		},
	}
	cmd.Flags().StringVar(&since, "since", "", "count from this mark on (see berth lab mark)")
	return cmd
}

func (c *cli) mark() *cobra.Command {
	return &cobra.Command{
		Use: "mark NAME", Short: "Name this moment in the log of calls", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := world.Dial()
			if err != nil {
				return err
			}
			return client.VPC(cmd.Context(), http.MethodPost, "marks/"+url.PathEscape(args[0]), nil, nil)
		},
	}
}

func (c *cli) settings() *cobra.Command {
	return &cobra.Command{
		Use: "settings [JSON]", Short: "Show the simulated AWS's latency, lag and limits, or change the members that are given",
		Long:    "Shows the settings of the simulated AWS, or changes the members that are given; docs/simulated-aws.md explains each.",
		Example: `  berth lab settings '{"Latency": {"*": "400ms"}}'`,
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := world.Dial()
			if err != nil {
				return err
			}
			var settings json.RawMessage
			if len(args) == 0 {
				err = client.VPC(cmd.Context(), http.MethodGet, "settings", nil, &settings)
			} else {
				err = client.VPC(cmd.Context(), http.MethodPatch, "settings", json.RawMessage(args[0]), &settings)
			}
			if err != nil {
				return err
			}
			return c.writeJSON(settings)
		},
	}
}

func (c *cli) snapshot() *cobra.Command {
	cmd := &cobra.Command{Use: "snapshot", Short: "Save the simulated VPC's state, or go back to it"}
	cmd.AddCommand(&cobra.Command{
		Use: "save FILE", Short: "Write the state to a file", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := world.Dial()
			if err != nil {
				return err
			}
			var state json.RawMessage
			if err := client.VPC(cmd.Context(), http.MethodGet, "snapshot", nil, &state); err != nil {
				return err
			}
			return os.WriteFile(args[0], state, 0o600)
		},
	}, &cobra.Command{
		Use: "load FILE", Short: "Go back to the state of a file that this lab has saved", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			state, err := os.ReadFile(args[0])
			if err != nil {
				return fmt.Errorf("read snapshot: %w", err)
			}
			client, err := world.Dial()
			if err != nil {
				return err
			}
			return client.LoadSnapshot(cmd.Context(), state)
		},
	})
	return cmd
}

func (c *cli) iam() *cobra.Command {
	cmd := &cobra.Command{Use: "iam", Short: "Roles of the simulated AWS, and whether their policies count"}
	cmd.AddCommand(c.iamRole(), c.iamEnforce())
	return cmd
}

func (c *cli) iamRole() *cobra.Command {
	var files []string
	var r world.Role
	cmd := &cobra.Command{
		Use: "role NAME", Short: "Make a role or replace it; a node's role is in `aws eks describe-nodegroup`", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			for _, file := range files {
				document, err := os.ReadFile(file)
				if err != nil {
					return fmt.Errorf("read policy: %w", err)
				}
				if !json.Valid(document) {
					return fmt.Errorf("policy %s is no JSON", file)
				}
				r.Policies = append(r.Policies, document)
			}
			client, err := world.Dial()
			if err != nil {
				return err
			}
			arn, err := client.PutRole(cmd.Context(), args[0], r)
			if err != nil {
				return err
			}
			c.say("%s", arn)
			return nil
		},
	}
	cmd.Flags().StringSliceVar(&files, "policy", nil, "files of policy documents; none takes every right away")
	cmd.Flags().StringVar(&r.ServiceAccount, "service-account", "", "namespace/name of the service account that may take the role on")
	return cmd
}

func (c *cli) iamEnforce() *cobra.Command {
	return &cobra.Command{
		Use: "enforce on|off", Short: "Let the policies count, and verify signatures", Args: cobra.ExactArgs(1), ValidArgs: []string{"on", "off"},
		RunE: func(cmd *cobra.Command, args []string) error {
			if args[0] != "on" && args[0] != "off" {
				return fmt.Errorf("want on or off, got %q", args[0])
			}
			client, err := world.Dial()
			if err != nil {
				return err
			}
			on := args[0] == "on"
			if err := client.VPC(cmd.Context(), http.MethodPut, "signatures", map[string]bool{"verify": on}, nil); err != nil {
				return err
			}
			return client.VPC(cmd.Context(), http.MethodPatch, "settings", map[string]bool{"Authorize": on}, nil)
		},
	}
}

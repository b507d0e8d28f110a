package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/berth-net/berth/internal/core/policy/reach"
)

// matrixAnswer is what the command prints as JSON.
type matrixAnswer struct {
	reach.Matrix
	Notes []string `json:"notes,omitempty"`
}

func policyCommand(getenv func(string) string, out io.Writer) *cobra.Command {
	cmd := &cobra.Command{Use: "policy", Short: "What network policies mean together"}
	cmd.AddCommand(matrixCommand(getenv, out))
	return cmd
}

func matrixCommand(getenv func(string) string, out io.Writer) *cobra.Command {
	var at access
	var namespace, port, protocol, output string
	var all bool
	cmd := &cobra.Command{
		Use: "matrix", Args: cobra.NoArgs, Short: "Which pods policies let reach which; pods that are treated alike are one line",
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case output != "" && output != "json":
				return fmt.Errorf("--output: want json, got %q", output)
			case all && namespace != "":
				return errors.New("--namespace and --all-namespaces exclude each other: give one")
			}
			ask, err := portsOf(port, protocol)
			if err != nil {
				return err
			}
			world, err := at.read(cmd, getenv)
			if err != nil {
				return err
			}
			if _, ok := world.Namespaces[namespace]; !ok && namespace != "" {
				return fmt.Errorf("there is no namespace %s: kubectl get namespaces lists them", namespace)
			}
			answer := matrixAnswer{Matrix: reach.NewMatrix(&world.World, namespace, ask), Notes: world.notes}
			for ref, problems := range world.problems {
				for _, p := range problems {
					answer.Notes = append(answer.Notes, fmt.Sprintf("problem: %s: %s: %s; %s", ref, p.Field, p.Why, p.Done))
				}
			}
			slices.Sort(answer.Notes)
			if output == "json" {
				e := json.NewEncoder(out)
				e.SetIndent("", "  ")
				return e.Encode(answer)
			}
			return answer.print(out)
		},
	}
	at.flags(cmd)
	cmd.Flags().StringVarP(&namespace, "namespace", "n", "", "only what concerns pods of this namespace")
	cmd.Flags().BoolVarP(&all, "all-namespaces", "A", false, "pods of all namespaces, as without --namespace")
	cmd.Flags().StringVar(&port, "port", "", "one port of the destination, a number or a name; without, the ports that are open are listed")
	cmd.Flags().StringVar(&protocol, "proto", "", "tcp, udp or sctp; with --port tcp where it is not given")
	cmd.Flags().StringVarP(&output, "output", "o", "", "json instead of a table")
	return cmd
}

func portsOf(port, protocol string) (reach.Ports, error) {
	var ask reach.Ports
	if protocol == "" && port != "" {
		protocol = "tcp"
	}
	if protocol != "" {
		p, err := reach.ProtocolOf(protocol)
		if err != nil {
			return ask, fmt.Errorf("--proto: %w", err)
		}
		ask.Protocol = p
	}
	number, ok := reach.PortNumber(port)
	switch {
	case ok:
		ask.Number = number
	case port != "" && strings.Trim(port, "0123456789") == "":
		return ask, fmt.Errorf("--port: %q is no port: want a number from 1 to 65535, or a name", port)
	default:
		ask.Name = port
	}
	return ask, nil
}

func (m matrixAnswer) print(out io.Writer) error {
	t := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	_, _ = fmt.Fprint(t, "FROM \\ TO\tPODS\tISOLATED\tWHO")
	for i := range m.Groups {
		_, _ = fmt.Fprintf(t, "\t%d", i+1)
	}
	_, _ = fmt.Fprintln(t)
	for i, g := range m.Groups {
		_, _ = fmt.Fprintf(t, "%d\t%d\t%s\t%s", i+1, g.Pods, isolated(g), who(g))
		for _, cell := range m.Cells[i] {
			if cell == "" {
				cell = "-"
			}
			_, _ = fmt.Fprint(t, "\t"+cell)
		}
		_, _ = fmt.Fprintln(t)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if m.HostNetwork > 0 {
		_, _ = fmt.Fprintf(out, "\nnote: %d pods use the host's network: no policy selects them\n", m.HostNetwork)
	}
	if m.Placed > 0 {
		_, _ = fmt.Fprintf(out, "\nnote: %d pods have no address yet: rules with ranges of addresses were taken not to match them\n", m.Placed)
	}
	for _, n := range m.Notes {
		_, _ = fmt.Fprintf(out, "\nnote: %s\n", n)
	}
	return nil
}

func isolated(g reach.Group) string {
	switch {
	case g.Ingress && g.Egress:
		return "both"
	case g.Ingress:
		return "ingress"
	case g.Egress:
		return "egress"
	}
	return "no"
}

// who names the workloads of a group: some, so that a line stays one.
func who(g reach.Group) string {
	const some = 3
	var names []string
	for i, w := range g.Workloads {
		if i == some {
			return strings.Join(names, ", ") + fmt.Sprintf(" and %d more", len(g.Workloads)-some)
		}
		name := w.Namespace + "/" + w.Workload
		if w.Pods != w.Of {
			name += fmt.Sprintf(" (%d of %d)", w.Pods, w.Of)
		}
		names = append(names, name)
	}
	return strings.Join(names, ", ")
}

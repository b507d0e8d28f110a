package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/berth-net/berth/internal/core/policy"
	"github.com/berth-net/berth/internal/core/policy/reach"
)

// Exit codes of trace, whose caller asks for a verdict: an error must not look like one.
const (
	errDenied  exit = 1
	errUnknown exit = 2
)

// access is how a command finds the cluster.
type access struct {
	kubeconfig, context string
}

func (a *access) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&a.kubeconfig, "kubeconfig", "", "kubeconfig file")
	cmd.Flags().StringVar(&a.context, "context", "", "context of the kubeconfig file")
}

func (a *access) read(cmd *cobra.Command, getenv func(string) string) (*policies, error) {
	client, err := connect(getenv, a.kubeconfig, a.context)
	if err != nil {
		return nil, err
	}
	return readPolicies(cmd.Context(), client)
}

// traceAnswer is what trace prints as JSON.
type traceAnswer struct {
	reach.Answer
	// Problems are of policies that were asked, and cannot be enforced as they are written.
	Problems []policyProblem `json:"problems,omitempty"`
	// Maps are what nodes have in force, where agents were asked; Differs tells that it is not what policies say.
	Maps    []mapsAnswer `json:"maps,omitempty"`
	Differs bool         `json:"differs,omitempty"`
}

// policyProblem is what is wrong in a policy.
type policyProblem struct {
	Policy string `json:"policy"`
	Field  string `json:"field"`
	Why    string `json:"why"`
	Done   string `json:"done"`
}

func traceCommand(getenv func(string) string, out io.Writer) *cobra.Command {
	var at access
	var from, to, port, protocol, output string
	var agents []string
	cmd := &cobra.Command{
		Use: "trace --from NAMESPACE/POD|IP --to NAMESPACE/POD|IP --port PORT", Args: cobra.NoArgs,
		Short: "Whether policies let one pod open a connection to another, and which of them decides",
		Long: "Whether the policies in the API let a connection be opened, and which policy and rule decides on either side.\n" +
			"Exit code 0: allowed, 1: denied, or what is in force differs, 2: there is no answer.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if output != "" && output != "json" {
				return fmt.Errorf("--output: want json, got %q", output)
			}
			p, err := reach.ProtocolOf(protocol)
			if err != nil {
				return fmt.Errorf("--proto: %w", err)
			}
			world, err := at.read(cmd, getenv)
			if err != nil {
				return err
			}
			answer, err := world.trace(from, to, port, p)
			if err != nil {
				return err
			}
			if err := answer.askMaps(cmd.Context(), agents); err != nil {
				return err
			}
			if err := answer.write(out, output); err != nil {
				return err
			}
			if !answer.Allowed || answer.Differs {
				return errDenied
			}
			return nil
		},
	}
	at.flags(cmd)
	cmd.Flags().StringVar(&from, "from", "", "who opens the connection: namespace/pod or an address")
	cmd.Flags().StringVar(&to, "to", "", "to whom: namespace/pod or an address, never a Service's")
	cmd.Flags().StringArrayVar(&agents, "maps", nil, "introspection of the agent of a pod's node, as http://127.0.0.1:61679 or unix:PATH: compare with what is in force there")
	cmd.Flags().StringVar(&port, "port", "", "port of the destination pod: a number, or what the pod calls it")
	cmd.Flags().StringVar(&protocol, "proto", "tcp", "tcp, udp or sctp")
	cmd.Flags().StringVarP(&output, "output", "o", "", "json instead of text")
	for _, name := range []string{"from", "to", "port"} {
		_ = cmd.MarkFlagRequired(name) // the flags are those above
	}
	return cmd
}

func (p *policies) trace(from, to, port string, protocol policy.Protocol) (traceAnswer, error) {
	var q reach.Question
	var err error
	if q.From, err = reach.FindEnd(&p.World, from); err != nil {
		return traceAnswer{}, fmt.Errorf("--from: %w", err)
	}
	if q.To, err = reach.FindEnd(&p.World, to); err != nil {
		return traceAnswer{}, fmt.Errorf("--to: %w", err)
	}
	q.Protocol = protocol
	if q.Port, err = reach.FindPort(q.To, protocol, port); err != nil {
		return traceAnswer{}, fmt.Errorf("--port: %w", err)
	}
	a := traceAnswer{}
	if a.Answer, err = reach.Trace(&p.World, q); err != nil {
		return traceAnswer{}, err
	}
	a.Notes = append(a.Notes, p.notes...)
	for _, ref := range a.Refs {
		for _, problem := range p.problems[ref] {
			a.Problems = append(a.Problems, policyProblem{Policy: ref.String(), Field: problem.Field, Why: problem.Why, Done: problem.Done})
		}
	}
	return a, nil
}

func (a traceAnswer) write(out io.Writer, format string) error {
	if format == "json" {
		e := json.NewEncoder(out)
		e.SetIndent("", "  ")
		return e.Encode(a)
	}
	_, err := io.WriteString(out, a.String())
	return err
}

// String is the answer for people.
func (a traceAnswer) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s -> %s, %s %d\n", word(a.Allowed), a.From, a.To, a.Protocol, a.Port)
	for _, p := range a.Paths {
		if len(a.Paths) > 1 || a.From != p.From.String() || a.To != p.To.String() {
			fmt.Fprintf(&b, "\n%s: %s -> %s\n", word(p.Allowed), p.From, p.To)
		}
		b.WriteString(sideText("egress of "+a.From, p.Egress))
		b.WriteString(sideText("ingress of "+a.To, p.Ingress))
	}
	for _, m := range a.Maps {
		b.WriteString("\n" + m.String())
	}
	for _, n := range a.Notes {
		b.WriteString("\nnote: " + n + "\n")
	}
	for _, p := range a.Problems {
		fmt.Fprintf(&b, "\nproblem: %s: %s: %s; %s\n", p.Policy, p.Field, p.Why, p.Done)
	}
	return b.String()
}

func word(allowed bool) string {
	if allowed {
		return "allowed"
	}
	return "denied"
}

func sideText(what string, s reach.Side) string {
	if s.Policy == nil {
		return fmt.Sprintf("  %s: %s\n", what, s.Why)
	}
	by := strings.Join(strings.Fields(s.Policy.Kind+" "+strings.TrimPrefix(s.Policy.Namespace+"/"+s.Policy.Name, "/")), " ")
	place := ""
	if s.Priority != nil {
		place = fmt.Sprintf(", %s tier, priority %d", s.Tier, *s.Priority)
	}
	if s.Field == "" {
		return fmt.Sprintf("  %s: %s by %s%s: %s\n    policies: %s\n", what, word(s.Allowed), by, place, s.Why, strings.Join(s.Selected, ", "))
	}
	name := ""
	if s.RuleName != "" {
		name = fmt.Sprintf(" %q", s.RuleName)
	}
	return fmt.Sprintf("  %s: %s by %s%s\n    %s%s: %s\n", what, word(s.Allowed), by, place, s.Field, name, s.Rule)
}

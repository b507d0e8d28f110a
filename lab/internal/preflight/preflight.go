// Package preflight tells, before anything is built or started, what this machine lacks for the lab, and how to get it.
// It changes nothing: what it tries, it tries in namespaces of a child that ends at once.
package preflight

import (
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// Verdict is the outcome of a check.
type Verdict string

// The verdicts. With a warning the lab runs, with less than it could have.
const (
	OK   Verdict = "ok"
	Warn Verdict = "warning"
	Fail Verdict = "missing"
)

// Result is what a check found.
type Result struct {
	Name    string  `json:"name"`
	Verdict Verdict `json:"verdict"`
	Detail  string  `json:"detail"`
	Fix     string  `json:"fix,omitempty"`
}

// Needs are what depends on the use that the machine is to be put to.
type Needs struct {
	// Dir is where the lab builds and keeps its state.
	Dir string
	// Nodes is how many nodes will run; zero is two.
	Nodes int
	// Path is the PATH that programs are looked for on.
	Path string
	// Built tells that everything is compiled already, which takes less of the machine.
	Built bool
}

// Run runs every check.
func Run(ctx context.Context, needs Needs) []Result {
	if needs.Nodes == 0 {
		needs.Nodes = 2
	}
	checks := []func(context.Context, Needs) Result{
		root, system, hostName, programs, controlGroups, namespaces, overlay, bpf, nftables, links, files, memory, disk, compiler,
	}
	results := make([]Result, len(checks))
	for i, check := range checks {
		results[i] = check(ctx, needs)
	}
	return results
}

// Failed are the results without which the lab does not run.
func Failed(results []Result) []Result {
	var failed []Result
	for _, r := range results {
		if r.Verdict == Fail {
			failed = append(failed, r)
		}
	}
	return failed
}

// Print writes the results as a table, each lack with its fix below.
func Print(w io.Writer, results []Result) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, r := range results {
		_, _ = fmt.Fprintf(t, "%s\t%s\t%s\n", r.Name, r.Verdict, r.Detail)
		if r.Verdict != OK && r.Fix != "" {
			_, _ = fmt.Fprintf(t, "\t\tfix: %s\n", r.Fix)
		}
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("print checks: %w", err)
	}
	return nil
}

// Error is one line with everything that is missing, or nil.
func Error(results []Result) error {
	var parts []string
	for _, r := range Failed(results) {
		parts = append(parts, fmt.Sprintf("%s: %s (%s)", r.Name, r.Detail, r.Fix))
	}
	if len(parts) == 0 {
		return nil
	}
	return fmt.Errorf("this machine lacks %s", strings.Join(parts, "; "))
}

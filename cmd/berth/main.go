// Command berth is the operator's shell: it shows how addressing stands in a cluster and what its network
// policies mean, and runs the lab. As
// kubectl-berth it is the plugin `kubectl berth`.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	os.Exit(run(os.Args, os.Getenv, os.Stdin, os.Stdout, os.Stderr))
}

func run(args []string, getenv func(string) string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	name := "berth"
	if strings.HasPrefix(filepath.Base(args[0]), "kubectl-") {
		name = "kubectl berth"
	}
	root := &cobra.Command{
		Use: name, Short: "VPC addresses for pods: how they stand, and a lab to try them in",
		SilenceUsage: true, SilenceErrors: true,
		Annotations: map[string]string{cobra.CommandDisplayNameAnnotation: name},
	}
	root.SetArgs(args[1:])
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.AddCommand(statusCommand(getenv, stdout), traceCommand(getenv, stdout), policyCommand(getenv, stdout), labCommand(getenv, stdin, stdout, stderr))
	cmd, err := root.ExecuteContextC(ctx)
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode() // the program has said why
	}
	if code, ok := errors.AsType[exit](err); ok {
		return int(code)
	}
	if err != nil {
		_, _ = fmt.Fprintf(stderr, "%s: %v\n", name, err)
		if cmd.Name() == "trace" {
			return int(errUnknown)
		}
		return 1
	}
	return 0
}

// exit ends the program with a code; what there is to say is printed.
type exit int

// Error implements error.
func (e exit) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// labCommand runs the lab's own program with the arguments as they are: it is a module of its own, since it brings a
// whole Kubernetes along.
func labCommand(getenv func(string) string, stdin io.Reader, stdout, stderr io.Writer) *cobra.Command {
	return &cobra.Command{
		Use: "lab", Short: "A VPC and a Kubernetes cluster on this machine (berth lab --help)", DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			program, err := labProgram(getenv)
			if err != nil {
				return err
			}
			lab := exec.CommandContext(cmd.Context(), program, args...)
			lab.Stdin, lab.Stdout, lab.Stderr = stdin, stdout, stderr
			// The terminal's Ctrl-C reaches the lab by itself, a signal to this process alone does not. Either way it is the
			// lab that ends, in order, and this waits for it.
			lab.Cancel = func() error { return lab.Process.Signal(syscall.SIGTERM) }
			return lab.Run()
		},
	}
}

// labProgram finds berth-lab beside this program, unless BERTH_LAB_BIN names it.
func labProgram(getenv func(string) string) (string, error) {
	if program := getenv("BERTH_LAB_BIN"); program != "" {
		return program, nil
	}
	own, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find own program: %w", err)
	}
	if own, err = filepath.EvalSymlinks(own); err != nil {
		return "", fmt.Errorf("find own program: %w", err)
	}
	program := filepath.Join(filepath.Dir(own), "berth-lab")
	if _, err := os.Stat(program); err != nil {
		return "", fmt.Errorf("there is no berth-lab beside %s: build it (make lab) or set BERTH_LAB_BIN", own)
	}
	return program, nil
}

// Command lab-prepare makes a machine ready for the lab: it names what the machine lacks, then builds everything into
// .cache. It installs nothing.
//
//	lab-prepare [-repo DIR] [-nodes N]          check and build
//	lab-prepare -check                          only check; the exit status tells
//	lab-prepare -packages                       only unpack Debian's packages: nft, ip, the AWS command line and others
//	lab-prepare -helm                           only build Helm
//	lab-prepare -compiler                       only unpack the compiler of eBPF objects
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/berth-net/berth/lab/internal/build"
	"github.com/berth-net/berth/lab/internal/preflight"
)

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "lab-prepare:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("lab-prepare", flag.ContinueOnError)
	repo := flags.String("repo", "", "the repository's folder; empty is the one around this folder")
	nodes := flags.Int("nodes", 2, "nodes that the lab will run")
	check := flags.Bool("check", false, "only check the machine")
	packages := flags.Bool("packages", false, "only unpack Debian's packages")
	helm := flags.Bool("helm", false, "only build Helm")
	compiler := flags.Bool("compiler", false, "only unpack the compiler of eBPF objects")
	if err := flags.Parse(args); err != nil {
		return err
	}
	dir, err := repository(*repo)
	if err != nil {
		return err
	}
	board := build.NewBoard(os.Stdout)
	config := build.Config{Repo: dir, Env: os.Environ(), Progress: board.Set}
	cache := config.Cache()
	if err := os.MkdirAll(string(cache), 0o755); err != nil {
		return err
	}
	if *packages {
		defer board.Close()
		return build.Packages(ctx, config)
	}
	if *helm {
		defer board.Close()
		return build.Helm(ctx, config)
	}
	if *compiler {
		defer board.Close()
		return build.Compiler(ctx, config)
	}
	results := preflight.Run(ctx, preflight.Needs{
		Dir: string(cache), Nodes: *nodes, Path: os.Getenv("PATH"), Built: config.Built(),
	})
	if err := ctx.Err(); err != nil {
		return err // what was cut off looks like something that the machine lacks
	}
	if *check || len(preflight.Failed(results)) > 0 {
		if err := preflight.Print(os.Stdout, results); err != nil {
			return err
		}
	}
	if err := preflight.Error(results); err != nil || *check {
		return err
	}
	defer board.Close()
	return build.All(ctx, config)
}

// repository finds the repository's folder from the one that this runs in.
func repository(given string) (string, error) {
	if given != "" {
		return filepath.Abs(given)
	}
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; dir != "/"; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "lab", "kube", "go.mod")); err == nil {
			return dir, nil
		}
	}
	return "", errors.New("not inside the repository; use -repo")
}

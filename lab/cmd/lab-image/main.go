// Command lab-image writes the image of the DaemonSet aws-node as an archive that `docker load` and `ctr image import`
// read, without a registry and without a builder.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"github.com/berth-net/berth/lab/internal/image"
	"github.com/berth-net/berth/lab/internal/world"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "lab-image:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	flags := flag.NewFlagSet("lab-image", flag.ContinueOnError)
	out := flags.String("o", "aws-node.tar", "file to write")
	repo := flags.String("repo", "..", "the repository's folder")
	name := flags.String("name", "", "the image's name with a tag; empty is the lab's")
	if err := flags.Parse(args); err != nil {
		return err
	}
	dir, err := filepath.Abs(*repo)
	if err != nil {
		return fmt.Errorf("find repository: %w", err)
	}
	spec := world.AgentImage(world.PathsOf(dir))
	if *name != "" {
		spec.Names = []string{*name}
	}
	if err := os.MkdirAll(filepath.Dir(*out), 0o755); err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	return image.Write(spec, *out)
}

// Command crdgen writes the custom resource definition of NodeSettings into the chart and the page of its fields into the
// documentation, from the Go types of package v1alpha1: their tags, comments and markers. The markers are those of
// controller-gen; of them this program knows the few that are used, and refuses others.
package main

import (
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "crdgen:", err)
		os.Exit(1)
	}
}

// run writes the files below the root of the repository.
func run(args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("%d arguments, want the root of the repository", len(args))
	}
	files, err := generate(filepath.Join(args[0], "api/v1alpha1/types.go"))
	if err != nil {
		return err
	}
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(args[0], name), data, 0o644); err != nil { //nolint:gosec // a file of the source tree
			return fmt.Errorf("write: %w", err)
		}
	}
	return nil
}

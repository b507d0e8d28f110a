// Command namegen writes the table of wire names that the EC2 codec needs: the pinned SDK's own serializers and
// deserializers say how each member is spelt, and the table keeps those spellings that the default rule would get wrong.
// It is restricted to the operations listed in operations.txt and to the structures reachable from them.
//
// Usage: go run ./namegen (in the codec's directory), which rewrites names_gen.go.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

const sdkModule = "github.com/aws/aws-sdk-go-v2/service/ec2"

func main() { os.Exit(run()) }

func run() int {
	src, err := generate("operations.txt")
	if err == nil {
		err = os.WriteFile("names_gen.go", src, 0o644)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "namegen:", err)
		return 1
	}
	return 0
}

// generate returns the source of names_gen.go for the operations listed in a file, one per line.
func generate(operationsFile string) ([]byte, error) {
	list, err := os.ReadFile(operationsFile)
	if err != nil {
		return nil, err
	}
	ops := strings.Fields(string(list))
	dir, version, err := sdkDir()
	if err != nil {
		return nil, err
	}
	t, err := readTables(dir, ops)
	if err != nil {
		return nil, err
	}
	return render(t, ops, version)
}

// sdkDir finds the pinned SDK module in the module cache, without network.
func sdkDir() (dir, version string, err error) {
	var stderr bytes.Buffer
	cmd := exec.CommandContext(context.Background(), "go", "list", "-m", "-f", "{{.Dir}}\n{{.Version}}", sdkModule)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", "", fmt.Errorf("find module %s: %w: %s", sdkModule, err, stderr.String())
	}
	dir, version, _ = strings.Cut(strings.TrimSpace(string(out)), "\n")
	if dir == "" {
		return "", "", errors.New("module " + sdkModule + " is not in the module cache: run go mod download")
	}
	return dir, version, nil
}

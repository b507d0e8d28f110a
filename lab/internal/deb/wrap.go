package deb

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// Wrapper is a script that runs a program of an unpacked root on the machine itself, with the root's own loader and
// libraries. It finds the root from its own place, so a folder that holds both may be copied, moved or reached by a link.
// It does not do for programs that start themselves again by /proc/self/exe (runc, containerd's shim): those
// run inside a node, where the root is the root.
type Wrapper struct {
	Name    string            // of the script, and what the program sees as its own
	Root    string            // the unpacked root
	Program string            // inside it
	Args    []string          // put before the caller's; %R stands for the root
	Env     map[string]string // set for the program; %R stands for the root
}

// Wrappers are those that the lab puts into its bin folder.
func Wrappers(nodeRoot, awsRoot string) []Wrapper {
	all := []Wrapper{{
		Name: "aws", Root: awsRoot, Program: "usr/bin/python3.11",
		Args: []string{"-s", "%R/usr/bin/aws"},
		Env: map[string]string{
			"PYTHONHOME": "%R/usr", "PYTHONPATH": "%R/usr/lib/python3/dist-packages",
			"SSL_CERT_FILE": "${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}",
		},
	}}
	plugins := map[string]string{"XTABLES_LIBDIR": "%R/usr/lib/%T/xtables"}
	for _, w := range []Wrapper{
		{Name: "nft", Program: "usr/sbin/nft"},
		{Name: "conntrack", Program: "usr/sbin/conntrack"},
		{Name: "ip", Program: "usr/bin/ip"},
		{Name: "tc", Program: "usr/sbin/tc"},
		{Name: "ipset", Program: "usr/sbin/ipset"},
		{Name: "ethtool", Program: "usr/sbin/ethtool"},
		{Name: "tcpdump", Program: "usr/bin/tcpdump"},
		{Name: "ping", Program: "usr/bin/ping"},
		{Name: "iptables", Program: "usr/sbin/xtables-nft-multi", Env: plugins},
		{Name: "iptables-save", Program: "usr/sbin/xtables-nft-multi", Env: plugins},
		{Name: "iptables-restore", Program: "usr/sbin/xtables-nft-multi", Env: plugins},
	} {
		w.Root = nodeRoot
		all = append(all, w)
	}
	return all
}

// CompilerWrappers are those of Compiler's root.
func CompilerWrappers(root string) []Wrapper {
	return []Wrapper{
		{Name: "clang-19", Root: root, Program: "usr/lib/llvm-19/bin/clang"},
		{Name: "llvm-strip-19", Root: root, Program: "usr/lib/llvm-19/bin/llvm-strip"},
	}
}

// Write puts the script into a folder.
func (w Wrapper) Write(folder string) error {
	triplet, loader, err := platform(w.Root)
	if err != nil {
		return fmt.Errorf("wrap %s: %w", w.Name, err)
	}
	if _, err := os.Stat(filepath.Join(w.Root, w.Program)); err != nil {
		return fmt.Errorf("wrap %s: %w", w.Name, err)
	}
	away, err := filepath.Rel(folder, w.Root)
	if err != nil {
		return fmt.Errorf("wrap %s: %w", w.Name, err)
	}
	inside, err := filepath.Rel(w.Root, loader)
	if err != nil {
		return fmt.Errorf("wrap %s: %w", w.Name, err)
	}
	const here = "$unpacked" // the root, in the script
	fill := strings.NewReplacer("%R", here, "%T", triplet)
	var b strings.Builder
	fmt.Fprintf(&b, "#!/bin/sh\n# Written by the lab: %s of the unpacked packages, with their own loader and libraries.\n", w.Name)
	fmt.Fprintf(&b, "unpacked=$0\n[ ! -L \"$0\" ] || unpacked=$(readlink -f \"$0\")\nunpacked=$(CDPATH= cd \"${unpacked%%/*}\" && cd %q && pwd -P) || exit\n", away)
	for _, name := range slices.Sorted(maps.Keys(w.Env)) {
		fmt.Fprintf(&b, "export %s=\"%s\"\n", name, fill.Replace(w.Env[name]))
	}
	fmt.Fprintf(&b, "exec %q --library-path %q --argv0 %s %q", filepath.Join(here, inside),
		filepath.Join(here, "usr/lib", triplet)+":"+filepath.Join(here, "usr/lib"), w.Name, filepath.Join(here, w.Program))
	for _, a := range w.Args {
		fmt.Fprintf(&b, " %q", fill.Replace(a))
	}
	b.WriteString(" \"$@\"\n")
	partial := filepath.Join(folder, "."+w.Name+".partial")
	if err := os.WriteFile(partial, []byte(b.String()), 0o755); err != nil {
		return fmt.Errorf("wrap %s: %w", w.Name, err)
	}
	if err := os.Rename(partial, filepath.Join(folder, w.Name)); err != nil {
		return fmt.Errorf("wrap %s: %w", w.Name, err)
	}
	return nil
}

// platform finds the architecture's library folder name and the loader of a root.
func platform(root string) (triplet, loader string, err error) {
	libs, err := filepath.Glob(filepath.Join(root, "usr/lib/*-linux-gnu*"))
	if err != nil || len(libs) != 1 {
		return "", "", fmt.Errorf("find libraries of %s: %d folders", root, len(libs))
	}
	for _, pattern := range []string{"usr/lib64/ld-linux-*.so.*", "usr/lib/ld-linux-*.so.*"} {
		if found, _ := filepath.Glob(filepath.Join(root, pattern)); len(found) > 0 {
			return filepath.Base(libs[0]), found[0], nil
		}
	}
	return "", "", fmt.Errorf("find loader of %s: there is none", root)
}

// CompilePython compiles the Python files of a root, as an installation would have: a start takes a third of the time.
func CompilePython(ctx context.Context, root string) error {
	triplet, loader, err := platform(root)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, loader, "--library-path", filepath.Join(root, "usr/lib", triplet), filepath.Join(root, "usr/bin/python3.11"),
		"-m", "compileall", "-q", "-j", "0", filepath.Join(root, "usr/lib/python3/dist-packages"), filepath.Join(root, "usr/lib/python3.11"))
	cmd.Env = []string{"PYTHONHOME=" + filepath.Join(root, "usr"), "PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("compile python files of %s: %w: %s", root, err, lastLines(string(out)))
	}
	return nil
}

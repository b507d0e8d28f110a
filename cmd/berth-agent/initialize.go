package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/berth-net/berth/internal/aws"
)

// initPaths are where the init container finds what it works on; tests have their own.
type initPaths struct {
	plugins  string // the chained plugins in the image
	procSys  string
	sysClass string // /sys/class/net
}

// initTimeout bounds the init container's wait for the metadata service.
const initTimeout = time.Minute

// initialize is what the init container does: install the plugins that are chained to ours, and set the kernel settings
// that must be in place before the agent.
func initialize(ctx context.Context, c config, p initPaths, out io.Writer) error {
	if err := installPlugins(p.plugins, c.binDir, out); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, initTimeout)
	defer cancel()
	in, err := aws.NewMetadata(nil).Instance(ctx)
	if err != nil {
		return fmt.Errorf("find the primary interface: %w", err)
	}
	link, err := linkByMAC(p.sysClass, in.PrimaryMAC)
	if err != nil {
		return err
	}
	demux := "1"
	if c.noEarlyDemux {
		demux = "0"
	}
	for _, s := range []struct {
		key, value string
		optional   bool
	}{
		{"net/ipv4/conf/" + link + "/rp_filter", "2", false},
		{"net/ipv4/tcp_early_demux", demux, true},
	} {
		if err := setSysctl(filepath.Join(p.procSys, s.key), s.value, s.optional); err != nil {
			return err
		}
		_, _ = fmt.Fprintf(out, "set %s=%s\n", strings.ReplaceAll(s.key, "/", "."), s.value)
	}
	return nil
}

// installPlugins copies every regular file of the image's plugin directory.
func installPlugins(from, to string, out io.Writer) error {
	files, err := os.ReadDir(from)
	if errors.Is(err, fs.ErrNotExist) {
		_, _ = fmt.Fprintf(out, "no plugins in %s: the node must have its own\n", from)
		return nil
	}
	if err != nil {
		return fmt.Errorf("list plugins: %w", err)
	}
	for _, f := range files {
		if !f.Type().IsRegular() {
			continue
		}
		changed, err := copyFile(filepath.Join(from, f.Name()), filepath.Join(to, f.Name()))
		if err != nil {
			return fmt.Errorf("install plugin %s: %w", f.Name(), err)
		}
		if changed {
			_, _ = fmt.Fprintf(out, "installed %s\n", filepath.Join(to, f.Name()))
		}
	}
	return nil
}

// linkByMAC finds an interface's name in /sys/class/net.
func linkByMAC(sysClass, mac string) (string, error) {
	links, err := os.ReadDir(sysClass)
	if err != nil {
		return "", fmt.Errorf("list interfaces: %w", err)
	}
	for _, l := range links {
		address, err := os.ReadFile(filepath.Join(sysClass, l.Name(), "address"))
		if err == nil && strings.EqualFold(strings.TrimSpace(string(address)), mac) {
			return l.Name(), nil
		}
	}
	return "", fmt.Errorf("no interface has the address %s that the metadata service names as primary", mac)
}

// setSysctl writes a kernel setting unless it has the value. An optional one may be absent.
func setSysctl(path, value string, optional bool) error {
	old, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && optional {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read kernel setting: %w", err)
	}
	if strings.TrimSpace(string(old)) == value {
		return nil
	}
	if err := os.WriteFile(path, []byte(value), 0o644); err != nil { //nolint:gosec // the kernel's own mode stays
		return fmt.Errorf("set kernel setting to %s: %w", value, err)
	}
	return nil
}

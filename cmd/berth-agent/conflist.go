package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/berth-net/berth/internal/run"
)

const (
	conflistName = "10-aws.conflist"
	pluginName   = "aws-cni"
	// confEvery is how often the installed files are compared with what they should be.
	confEvery = time.Minute
)

// specVersions are what the plugin speaks and runtimes should choose from; older ones read only cniVersion, which must not
// be newer than they know.
var specVersions = []string{"0.4.0", "1.0.0", "1.1.0"}

type netList struct {
	CNIVersion   string   `json:"cniVersion"`
	CNIVersions  []string `json:"cniVersions"`
	Name         string   `json:"name"`
	DisableCheck bool     `json:"disableCheck"`
	Plugins      []any    `json:"plugins"`
}

type awsPlugin struct {
	Name         string          `json:"name"`
	Type         string          `json:"type"`
	VethPrefix   string          `json:"vethPrefix"`
	MTU          string          `json:"mtu"`
	SecurityMode string          `json:"podSGEnforcingMode"`
	LogFile      string          `json:"pluginLogFile"`
	LogLevel     string          `json:"pluginLogLevel"`
	Capabilities map[string]bool `json:"capabilities"`
}

type portmapPlugin struct {
	Type         string          `json:"type"`
	Capabilities map[string]bool `json:"capabilities"`
	SNAT         bool            `json:"snat"`
}

type bandwidthPlugin struct {
	Type         string          `json:"type"`
	Capabilities map[string]bool `json:"capabilities"`
}

type tuningPlugin struct {
	Type   string            `json:"type"`
	Sysctl map[string]string `json:"sysctl"`
}

// conflist returns the network configuration of the node.
func conflist(c config) ([]byte, error) {
	list := netList{
		CNIVersion: "1.0.0", CNIVersions: specVersions, Name: pluginName, DisableCheck: true,
		Plugins: []any{
			awsPlugin{
				Name: pluginName, Type: pluginName, VethPrefix: c.host.VethPrefix, MTU: strconv.Itoa(c.host.PodMTUOf()), SecurityMode: c.securityMode,
				LogFile: c.pluginLogFile, LogLevel: c.pluginLogLevel, Capabilities: map[string]bool{"io.kubernetes.cri.pod-annotations": true},
			},
			portmapPlugin{Type: "portmap", Capabilities: map[string]bool{"portMappings": true}, SNAT: true},
		},
	}
	if c.bandwidth {
		list.Plugins = append(list.Plugins, bandwidthPlugin{Type: "bandwidth", Capabilities: map[string]bool{"bandwidth": true}})
	}
	if c.disablePodV6 {
		list.Plugins = append(list.Plugins, tuningPlugin{Type: "tuning", Sysctl: map[string]string{
			"net.ipv6.conf.all.disable_ipv6": "1", "net.ipv6.conf.default.disable_ipv6": "1", "net.ipv6.conf.lo.disable_ipv6": "1",
		}})
	}
	data, err := json.MarshalIndent(list, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode network configuration: %w", err)
	}
	return append(data, '\n'), nil
}

// installConf keeps the plugin and its configuration in place from the moment on that the node can serve pods: the
// configuration makes the node Ready. It is never removed: pods that run need it to be deleted.
func installConf(c config, plugin string, ready <-chan struct{}, log *slog.Logger) func(context.Context) error {
	step := func(context.Context) error {
		changed, err := copyFile(plugin, filepath.Join(c.binDir, pluginName))
		if err != nil {
			return fmt.Errorf("install plugin: %w", err)
		}
		data, err := conflist(c)
		if err != nil {
			return err
		}
		path := filepath.Join(c.confDir, conflistName)
		wrote, err := writeChanged(path, data, 0o644)
		if err != nil {
			return fmt.Errorf("install network configuration: %w", err)
		}
		if changed || wrote {
			log.Info("installed", "path", path, "plugin", changed)
		}
		return nil
	}
	return func(ctx context.Context) error {
		select {
		case <-ready:
		case <-ctx.Done():
			return nil
		}
		loop := run.NewLoop(0, time.Second, confEvery, step)
		loop.Failed = func(err error, _ time.Duration) { log.Error("the node cannot become ready", run.KeyErr, err) }
		return loop.Run(ctx)
	}
}

// writeChanged replaces a file in one step when its content differs.
func writeChanged(path string, data []byte, mode os.FileMode) (changed bool, err error) {
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, data) {
		return false, nil
	}
	return true, replaceFile(path, mode, bytes.NewReader(data))
}

// copyFile replaces a program by a copy of another in one step when the two differ. A plugin that runs keeps its old file.
func copyFile(from, to string) (changed bool, err error) {
	same, err := sameContent(from, to)
	if err != nil || same {
		return false, err
	}
	f, err := os.Open(from)
	if err != nil {
		return false, err
	}
	defer func() { _ = f.Close() }()
	return true, replaceFile(to, 0o755, f)
}

// sameContent tells whether the second file has the content of the first. A missing second file has not.
func sameContent(a, b string) (bool, error) {
	fa, err := os.Open(a)
	if err != nil {
		return false, err
	}
	defer func() { _ = fa.Close() }()
	fb, err := os.Open(b)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer func() { _ = fb.Close() }()
	ia, errA := fa.Stat()
	ib, errB := fb.Stat()
	if err := errors.Join(errA, errB); err != nil || ia.Size() != ib.Size() {
		return false, err
	}
	const chunk = 64 << 10
	ba, bb := make([]byte, chunk), make([]byte, chunk)
	for {
		na, err := io.ReadFull(fa, ba)
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return false, err
		}
		nb, _ := io.ReadFull(fb, bb)
		if !bytes.Equal(ba[:na], bb[:nb]) {
			return false, nil
		}
		if na < chunk {
			return true, nil
		}
	}
}

// replaceFile writes beside the file and renames.
func replaceFile(path string, mode os.FileMode, content io.Reader) (err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // the runtime reads it
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	_, err = io.Copy(f, content)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

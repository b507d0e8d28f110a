package main

import (
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"

	"github.com/berth-net/berth/internal/run"
)

const (
	defaultLogFile = "/var/log/aws-routed-eni/plugin.log"
	// maxLogFile is the size at which the log file is set aside, in bytes: the plugin keeps one older file.
	maxLogFile = 100 << 20
)

// logged wraps a verb: it gives it a logger and logs how it ended. A log that cannot be written fails nothing.
func logged(verb string, f func(conf, *skel.CmdArgs, *slog.Logger) error) func(*skel.CmdArgs) error {
	return func(args *skel.CmdArgs) error {
		start := time.Now()
		c, err := parseConf(args.StdinData)
		w := openLog(c.LogFile)
		defer func() { _ = w.Close() }()
		log := newLogger(w, c.LogLevel).With(run.KeyAction, verb, "container", args.ContainerID)
		if pod, err := parseArgs(args.Args); err == nil && pod.Name != "" {
			log = log.With(run.KeyNamespace, pod.Namespace, run.KeyPod, pod.Name)
		}
		if err == nil {
			err = f(c, args, log)
		}
		if err != nil {
			code := types.ErrInternal
			if e, ok := errors.AsType[*types.Error](err); ok {
				code = e.Code
			}
			log.Error("request failed", "code", code, run.KeyElapsed, time.Since(start).String(), run.KeyErr, err.Error())
		} else {
			log.Debug("request done", run.KeyElapsed, time.Since(start).String())
		}
		return err
	}
}

func newLogger(w io.Writer, text string) *slog.Logger {
	level := slog.LevelDebug
	switch strings.ToUpper(text) {
	case "INFO":
		level = slog.LevelInfo
	case "WARN":
		level = slog.LevelWarn
	case "ERROR", "FATAL":
		level = slog.LevelError
	}
	return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level}))
}

// openLog opens the log of a configuration, which may be one that is not understood.
func openLog(path string) io.WriteCloser {
	switch path {
	case "":
		path = defaultLogFile
	case "stderr":
		return keepOpen{os.Stderr}
	case "stdout": // is for the result
		return keepOpen{io.Discard}
	}
	f, err := appendTo(path)
	if err != nil {
		return keepOpen{io.Discard}
	}
	if info, err := f.Stat(); err == nil && info.Size() > maxLogFile {
		_ = os.Rename(path, path+".1") // another plugin that is at it does the same
		if fresh, err := appendTo(path); err == nil {
			_ = f.Close()
			return fresh
		}
	}
	return f
}

func appendTo(path string) (*os.File, error) {
	const flags = os.O_WRONLY | os.O_CREATE | os.O_APPEND
	f, err := os.OpenFile(path, flags, 0o640) //nolint:gosec // the path is the administrator's
	if errors.Is(err, os.ErrNotExist) {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // read by log collectors
			return nil, err
		}
		return os.OpenFile(path, flags, 0o640) //nolint:gosec // as above
	}
	return f, err
}

type keepOpen struct{ io.Writer }

// Close implements io.Closer.
func (keepOpen) Close() error { return nil }

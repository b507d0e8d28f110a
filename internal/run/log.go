package run

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
)

// LogConfig is where and how much a process logs.
type LogConfig struct {
	// File is a path, "stdout" or "stderr".
	File  string
	Level slog.Level
}

// ParseLevel reads a level as the existing ecosystem spells it.
func ParseLevel(text string) (slog.Level, error) {
	switch strings.ToUpper(text) {
	case "DEBUG":
		return slog.LevelDebug, nil
	case "INFO":
		return slog.LevelInfo, nil
	case "WARN", "WARNING":
		return slog.LevelWarn, nil
	case "ERROR", "FATAL":
		return slog.LevelError, nil
	}
	return slog.LevelDebug, fmt.Errorf("%q is no level, want DEBUG, INFO, WARN, ERROR or FATAL", text)
}

// OpenLog returns a logger that writes JSON lines and limits repeats. What is logged to a file goes to standard error
// too, from level Info on: that is what `kubectl logs` shows. The error says that the file cannot be written; the logger
// then writes to standard error only and is valid all the same.
func OpenLog(c LogConfig) (*slog.Logger, io.Closer, error) {
	switch c.File {
	case "stdout":
		return NewLogger(os.Stdout, c.Level), keepOpen{os.Stdout}, nil
	case "stderr", "":
		return NewLogger(os.Stderr, c.Level), keepOpen{os.Stderr}, nil
	}
	w, err := openRotating(c.File, maxLogSize, maxLogFiles)
	if err != nil {
		return NewLogger(os.Stderr, c.Level), keepOpen{os.Stderr}, fmt.Errorf("open log: %w", err)
	}
	both := tee{
		slog.NewJSONHandler(w, &slog.HandlerOptions{Level: c.Level}),
		slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: max(c.Level, slog.LevelInfo)}),
	}
	return slog.New(newLimiter(both)), w, nil
}

// NewLogger returns a logger that writes JSON lines to w and limits repeats.
func NewLogger(w io.Writer, level slog.Level) *slog.Logger {
	return slog.New(newLimiter(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level})))
}

// tee hands records to two handlers, each with its level.
type tee [2]slog.Handler

// Enabled implements slog.Handler.
func (t tee) Enabled(ctx context.Context, level slog.Level) bool {
	return t[0].Enabled(ctx, level) || t[1].Enabled(ctx, level)
}

// Handle implements slog.Handler.
func (t tee) Handle(ctx context.Context, r slog.Record) error {
	var errs [2]error
	for i, h := range t {
		if h.Enabled(ctx, r.Level) {
			errs[i] = h.Handle(ctx, r.Clone())
		}
	}
	return errors.Join(errs[:]...)
}

// WithAttrs implements slog.Handler.
func (t tee) WithAttrs(attrs []slog.Attr) slog.Handler {
	return tee{t[0].WithAttrs(attrs), t[1].WithAttrs(attrs)}
}

// WithGroup implements slog.Handler.
func (t tee) WithGroup(name string) slog.Handler {
	return tee{t[0].WithGroup(name), t[1].WithGroup(name)}
}

type keepOpen struct{ io.Writer }

// Close implements io.Closer.
func (keepOpen) Close() error { return nil }

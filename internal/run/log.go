package run

import (
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

// OpenLog returns a logger that writes JSON lines and limits repeats. The error says that the file cannot be written; the
// logger then writes to standard error and is valid all the same.
func OpenLog(c LogConfig) (*slog.Logger, io.Closer, error) {
	var w io.WriteCloser
	var err error
	switch c.File {
	case "stdout":
		w = keepOpen{os.Stdout}
	case "stderr", "":
		w = keepOpen{os.Stderr}
	default:
		if w, err = openRotating(c.File, maxLogSize, maxLogFiles); err != nil {
			w, err = keepOpen{os.Stderr}, fmt.Errorf("open log: %w", err)
		}
	}
	return NewLogger(w, c.Level), w, err
}

// NewLogger returns a logger that writes JSON lines to w and limits repeats.
func NewLogger(w io.Writer, level slog.Level) *slog.Logger {
	return slog.New(newLimiter(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level})))
}

type keepOpen struct{ io.Writer }

// Close implements io.Closer.
func (keepOpen) Close() error { return nil }

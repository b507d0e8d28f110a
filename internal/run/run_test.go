package run_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/berth-net/berth/internal/run"
)

// steps runs a loop under virtual time and returns when each step began.
func steps(t *testing.T, least, retry, greatest, total time.Duration, fail func(n int) bool, wakes ...time.Duration) []time.Duration {
	t.Helper()
	var got []time.Duration
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		l := run.NewLoop(least, retry, greatest, func(context.Context) error {
			got = append(got, time.Since(start))
			if fail != nil && fail(len(got)) {
				return errors.New("not yet")
			}
			return nil
		})
		ctx, cancel := context.WithTimeout(t.Context(), total)
		defer cancel()
		for _, at := range wakes {
			time.AfterFunc(at, l.Wake)
		}
		if err := l.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	return got
}

func TestLoop(t *testing.T) {
	const s = time.Second
	always := func(int) bool { return true }
	tests := []struct {
		name                          string
		least, retry, greatest, total time.Duration
		fail                          func(int) bool
		wakes, want                   []time.Duration
	}{
		{"at intervals", 0, s, 10 * s, 25 * s, nil, nil, []time.Duration{0, 10 * s, 20 * s}},
		{"a wake at once", 0, s, 10 * s, 9 * s, nil, []time.Duration{3 * s}, []time.Duration{0, 3 * s}},
		{"a wake not too soon", 5 * s, s, 0, 30 * s, nil, []time.Duration{s, 2 * s, 6 * s}, []time.Duration{0, 5 * s, 10 * s}},
		{"wakes coalesce", 5 * s, s, 0, 30 * s, nil, []time.Duration{s, s, s, 2 * s}, []time.Duration{0, 5 * s}},
		{"errors back off", 0, s, 6 * s, 22 * s, always, nil, []time.Duration{0, s, 3 * s, 7 * s, 13 * s, 19 * s}},
		{"a success resets", 0, s, 100 * s, 20 * s, func(n int) bool { return n != 3 }, []time.Duration{10 * s}, []time.Duration{0, s, 3 * s, 10 * s, 11 * s, 13 * s, 17 * s}},
		{"a wake ends a pause", 0, 60 * s, 0, 20 * s, always, []time.Duration{7 * s}, []time.Duration{0, 7 * s}},
		{"only by wakes", 0, s, 0, 1000 * s, nil, []time.Duration{900 * s}, []time.Duration{0, 900 * s}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := steps(t, tt.least, tt.retry, tt.greatest, tt.total, tt.fail, tt.wakes...)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("steps (-want +got):\n%s", diff)
			}
		})
	}
}

func TestGroup(t *testing.T) {
	untilDone := func(ctx context.Context) error { <-ctx.Done(); return nil }
	tests := []struct {
		name string
		part func(context.Context) error
		want string
	}{
		{"failure", func(context.Context) error { return errors.New("disk full") }, "journal: disk full"},
		{"panic", func(context.Context) error { panic("out of range") }, "journal panicked: out of range"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g, _ := run.NewGroup(t.Context())
			g.Go("server", untilDone)
			g.Go("journal", tt.part)
			if err := g.Wait(time.Minute); err == nil || !strings.HasPrefix(err.Error(), tt.want) {
				t.Errorf("Wait: %v, want %q", err, tt.want)
			}
		})
	}
}

func TestGroupDoesNotWaitForever(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		g, _ := run.NewGroup(ctx)
		release := make(chan struct{})
		g.Go("stuck", func(context.Context) error { <-release; return nil })
		g.Go("quick", func(ctx context.Context) error { <-ctx.Done(); return nil })
		start := time.Now()
		cancel()
		err := g.Wait(800 * time.Millisecond)
		if err == nil || !strings.Contains(err.Error(), "stuck") || strings.Contains(err.Error(), "quick") || time.Since(start) != 800*time.Millisecond {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
		close(release)
	})
}

func TestUntilSignal(t *testing.T) {
	ctx, stop := run.UntilSignal(t.Context())
	defer stop()
	if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ctx.Done():
	case <-time.After(10 * time.Second):
		t.Fatal("SIGTERM did not end the context")
	}
}

func TestRepeatsAreLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		log := run.NewLogger(&out, slog.LevelInfo)
		for range 100 {
			log.Warn("read failed", run.KeySubnet, "subnet-1", run.KeyErr, "timeout")
		}
		for i := range 15 {
			log.Warn("read failed", run.KeySubnet, fmt.Sprint("other-", i))
		}
		log.With(run.KeyPod, "a").Warn("read failed", run.KeySubnet, "subnet-1")
		log.Debug("not at this level")
		if n := strings.Count(out.String(), "\n"); n != 10+15+1 {
			t.Errorf("%d lines:\n%s", n, out.String())
		}
		out.Reset()
		time.Sleep(time.Minute) //nolint:forbidigo // virtual time
		log.Warn("read failed", run.KeySubnet, "subnet-1")
		var line struct {
			RepeatsLeftOut int
			Level, Msg     string
		}
		if err := json.Unmarshal(out.Bytes(), &line); err != nil || line.RepeatsLeftOut != 90 || line.Level != "WARN" {
			t.Errorf("line %s, %v", out.String(), err)
		}
	})
}

func TestManySubjectsStayBounded(t *testing.T) {
	log := run.NewLogger(io.Discard, slog.LevelInfo)
	for i := range 10_000 {
		log.Info("pod wired", run.KeyPod, fmt.Sprint("pod-", i))
	}
	var out bytes.Buffer
	log = run.NewLogger(&out, slog.LevelInfo)
	for i := range 3000 {
		log.Info("pod wired", run.KeyPod, fmt.Sprint("pod-", i))
	}
	if n := strings.Count(out.String(), "\n"); n != 3000 {
		t.Errorf("%d of 3000 different lines were written", n)
	}
}

func TestParseLevel(t *testing.T) {
	for text, want := range map[string]slog.Level{"DEBUG": slog.LevelDebug, "Debug": slog.LevelDebug, "info": slog.LevelInfo, "WARN": slog.LevelWarn, "FATAL": slog.LevelError} {
		if got, err := run.ParseLevel(text); err != nil || got != want {
			t.Errorf("ParseLevel(%s) = %v, %v", text, got, err)
		}
	}
	if _, err := run.ParseLevel("LOUD"); err == nil {
		t.Error("LOUD is a level")
	}
}

func TestLogFallsBack(t *testing.T) {
	dir := t.TempDir()
	log, closer, err := run.OpenLog(run.LogConfig{File: filepath.Join(dir, "log", "ipamd.log")})
	if err != nil {
		t.Fatal(err)
	}
	log.Info("hello")
	if err := closer.Close(); err != nil {
		t.Error(err)
	}
	data, err := os.ReadFile(filepath.Join(dir, "log", "ipamd.log"))
	if err != nil || !strings.Contains(string(data), `"msg":"hello"`) {
		t.Errorf("log %q, %v", data, err)
	}
	if log, _, err := run.OpenLog(run.LogConfig{File: dir}); err == nil || log == nil {
		t.Errorf("a directory was opened as a log: %v", err)
	}
}

// Package telemetry serves what a process knows of itself: metrics in a registry of its own, and pages over HTTP on a TCP
// address or a unix socket.
package telemetry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/berth-net/berth/internal/run"
)

// NewRegistry returns a registry with the collectors of the Go runtime and of the process.
func NewRegistry() *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

// MetricsHandler serves a registry.
func MetricsHandler(r *prometheus.Registry) http.Handler {
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{MaxRequestsInFlight: 4, Timeout: 10 * time.Second})
}

const (
	ioTimeout   = 5 * time.Second
	idleTimeout = time.Minute
	// retry is how long a server waits before it tries again to have its address.
	retry    = 5 * time.Second
	stopTime = 200 * time.Millisecond
)

// Listen takes an address: "host:port", or "unix:/path". A socket file that was left behind is replaced.
func Listen(ctx context.Context, address string) (net.Listener, error) {
	network, name := "tcp", address
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		network, name = "unix", path
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // others may look into it
			return nil, fmt.Errorf("make directory of %s: %w", path, err)
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("remove left-over socket: %w", err)
		}
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, network, name)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", address, err)
	}
	return l, nil
}

// Serve answers on address until ctx ends, and returns nil. An address that is taken is tried again: pages that cannot be
// shown must not end the process that they are about.
func Serve(ctx context.Context, address string, handler http.Handler, log *slog.Logger) error {
	listen := func(ctx context.Context) error {
		l, err := Listen(ctx, address)
		if err != nil {
			return err
		}
		return serve(ctx, l, handler)
	}
	loop := run.NewLoop(0, retry, 0, listen)
	loop.Failed = func(err error, again time.Duration) {
		log.Warn("pages cannot be served", "address", address, run.KeyErr, err, "again", again.String())
	}
	return loop.Run(ctx)
}

func serve(ctx context.Context, l net.Listener, handler http.Handler) error {
	s := &http.Server{
		Handler: handler, ReadTimeout: ioTimeout, ReadHeaderTimeout: ioTimeout, WriteTimeout: 2 * ioTimeout, IdleTimeout: idleTimeout,
		MaxHeaderBytes: 16 << 10,
	}
	stop := context.AfterFunc(ctx, func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTime)
		defer cancel()
		if s.Shutdown(ctx) != nil {
			_ = s.Close()
		}
	})
	defer stop()
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve on %s: %w", l.Addr(), err)
	}
	return nil
}

package main

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/berth-net/berth/internal/run/telemetry"
)

// pages are the metrics of the process.
type pages struct {
	registry *prometheus.Registry
	version  string
}

func newPages(version string) *pages {
	return &pages{registry: telemetry.NewRegistry(), version: version}
}

// metrics serves /metrics; every other path points there.
func (p *pages) metrics() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/metrics", telemetry.MetricsHandler(p.registry))
	return mux
}

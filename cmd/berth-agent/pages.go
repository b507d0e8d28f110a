package main

import (
	"context"
	"fmt"
	"net/http"
	"slices"

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

// metrics serves /metrics, and at /v1/status what `berth status` asks every agent for through the API server, which
// does not reach introspection. The port is open to the whole network: no pod is named there.
func (p *pages) metrics(report func(context.Context) (agentReport, error)) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/metrics", telemetry.MetricsHandler(p.registry))
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, r *http.Request) {
		state, err := report(r.Context())
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		writeJSON(w, nameless(state))
	})
	return mux
}

// nameless is a report without pods and their addresses.
func nameless(r agentReport) agentReport {
	r.Node.ENIs = slices.Clone(r.Node.ENIs)
	for i := range r.Node.ENIs {
		r.Node.ENIs[i].Addresses = nil
	}
	if n := len(r.Node.Lost); n > 0 {
		r.Node.Degraded = append(slices.Clone(r.Node.Degraded), fmt.Sprintf("EC2 does not list the addresses of %d pods any more: delete those that the agent's log names", n))
	}
	r.Node.Lost, r.Node.Waiting, r.Node.Acting = nil, nil, nil
	return r
}

package main

import (
	"io"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/berth-net/berth/internal/cluster"
	"github.com/berth-net/berth/internal/run/telemetry"
)

// stopTime is how long the parts may take to end after SIGTERM: the lease is given back meanwhile.
const stopTime = 5 * time.Second

// pages serves /metrics and, for the kubelet, /healthz while the process lives and /readyz while the replica does its work,
// to lead or to stand by; else that says why not.
func pages(status func() cluster.Status) http.Handler {
	r := telemetry.NewRegistry()
	r.MustRegister(gauges{status})
	mux := http.NewServeMux()
	mux.Handle("/metrics", telemetry.MetricsHandler(r))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok\n") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		switch s := status(); {
		case s.Trouble != nil:
			http.Error(w, s.Trouble.Error(), http.StatusServiceUnavailable)
		case s.Leading:
			_, _ = io.WriteString(w, "leads\n")
		default:
			_, _ = io.WriteString(w, "stands by; "+s.Leader+" leads\n")
		}
	})
	return mux
}

// gauges is the controller's status.
type gauges struct{ status func() cluster.Status }

var (
	descLeading  = prometheus.NewDesc("berth_controller_leading", "1 on the replica that leads.", nil, nil)
	descDegraded = prometheus.NewDesc("berth_controller_degraded", "1 while the replica cannot do its work; /readyz says why.", nil, nil)
	descNodes    = prometheus.NewDesc("berth_controller_nodes", "Nodes on which agents run, as the leader knows.", nil, nil)
	descHungry   = prometheus.NewDesc("berth_controller_hungry_nodes", "Nodes with pods that wait for an address, as the leader knows.", nil, nil)
	descDivided  = prometheus.NewDesc("berth_controller_divided", "1 while EC2's buckets are divided among the nodes.", nil, nil)
	descWords    = prometheus.NewDesc("berth_controller_words_total", "Shares that were published.", nil, nil)
	descFailures = prometheus.NewDesc("berth_controller_failures_total", "Shares that could not be published.", nil, nil)
	descRate     = prometheus.NewDesc("berth_controller_rate", "Calls per second of an EC2 action that a node of a kind may make.", []string{"action", "node"}, nil)
)

// Describe implements prometheus.Collector.
func (gauges) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descLeading, descDegraded, descNodes, descHungry, descDivided, descWords, descFailures, descRate} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (g gauges) Collect(out chan<- prometheus.Metric) {
	s := g.status()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	number := func(b bool) float64 {
		if b {
			return 1
		}
		return 0
	}
	gauge(descLeading, number(s.Leading))
	gauge(descDegraded, number(s.Trouble != nil))
	out <- prometheus.MustNewConstMetric(descWords, prometheus.CounterValue, float64(s.Words))
	out <- prometheus.MustNewConstMetric(descFailures, prometheus.CounterValue, float64(s.Failures))
	if !s.Leading {
		return
	}
	gauge(descNodes, float64(s.Nodes))
	gauge(descHungry, float64(s.Hungry))
	gauge(descDivided, number(len(s.Division.Portions) > 0))
	for _, p := range s.Division.Portions {
		gauge(descRate, p.Hungry.Rate, p.Action, "hungry")
		gauge(descRate, p.Other.Rate, p.Action, "other")
	}
}

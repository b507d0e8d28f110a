package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"k8s.io/klog/v2" //nolint:depguard // the one bridge: client-go logs through it

	"github.com/berth-net/berth/cmd/berth-agent/enforcement"
	"github.com/berth-net/berth/internal/agentapi/queue"
	"github.com/berth-net/berth/internal/agentapi/server"
	"github.com/berth-net/berth/internal/aws"
	"github.com/berth-net/berth/internal/core/vpc"
	"github.com/berth-net/berth/internal/kube"
	"github.com/berth-net/berth/internal/linux"
	"github.com/berth-net/berth/internal/node"
	"github.com/berth-net/berth/internal/node/checkpoint"
	"github.com/berth-net/berth/internal/node/journal"
	"github.com/berth-net/berth/internal/run"
	"github.com/berth-net/berth/internal/run/telemetry"
)

// stopTime is how long the parts may take to end after SIGTERM.
const stopTime = 800 * time.Millisecond

func runAgent(args []string, env lookup, stderr io.Writer) error {
	o, err := parseOptions(args, stderr)
	if err != nil {
		return err
	}
	c, warnings, err := readConfig(env)
	for _, w := range warnings {
		_, _ = fmt.Fprintln(stderr, "warning: "+w)
	}
	if err != nil {
		return err
	}
	if env("AWS_ENDPOINT_URL_EC2") != "" {
		c.ec2Endpoint = "" // the SDK's own variable comes first
	}
	log, closer, err := run.OpenLog(run.LogConfig{File: c.logFile, Level: c.logLevel})
	if err != nil {
		log.Warn("logging to standard error only", run.KeyErr, err)
	}
	defer func() { _ = closer.Close() }()
	klog.SetSlogLogger(log)
	for _, w := range warnings {
		log.Warn("setting is not taken", run.KeyWhy, w)
	}
	ctx, stop := run.UntilSignal(context.Background())
	defer stop()
	a, err := newAgent(c, o, settings(env), log)
	if err != nil {
		return err
	}
	return errors.Join(a.run(ctx), a.close())
}

// agent is the wired process.
type agent struct {
	cfg      config
	opts     options
	log      *slog.Logger
	started  time.Time
	settings []setting

	host    *linux.Host
	kube    *kube.Client             // nil without a node name
	policy  *enforcement.Enforcement // nil when network policy is off
	journal *journal.Journal
	legacy  *checkpoint.File // the Amazon VPC CNI's
	meter   *metrics
	node    *node.Node
	handler handler
	serving chan struct{} // closed once the plugin's socket is listened on
	report  reporter
	pages   *pages
}

func newAgent(c config, o options, s []setting, log *slog.Logger) (_ *agent, err error) {
	version := run.Version()
	log.Info("starting", "version", version, run.KeyNode, c.nodeName)
	a := &agent{cfg: c, opts: o, log: log, started: time.Now(), settings: s, pages: newPages(version), serving: make(chan struct{})}
	a.meter = newMetrics(version, a.pages.registry)
	if a.host, err = linux.New(linux.Options{NftPath: o.nft, Logger: log}); err != nil {
		return nil, fmt.Errorf("open the host's network: %w", err)
	}
	userAgent := strings.TrimSuffix("amazon-vpc-cni-k8s/"+c.version, "/")
	ports := node.Ports{Host: a.host, Meter: a.meter, Clock: clock{}, Log: log}
	ec2 := &cloud{}
	if c.nodeName != "" {
		k := kube.Config{
			Kubeconfig: c.kubeconfig, Endpoint: c.endpoint, UserAgent: userAgent, Node: c.nodeName, Pod: c.podName, PodNamespace: c.podNamespace,
			CustomNetworking: c.ipam.CustomNetworking, Keys: c.eniconfig, Log: log,
		}
		if c.share {
			k.Divide = ec2.divide
		}
		a.kube = kube.New(k)
		ports.Cluster = cluster{a.kube}
	}
	c.policy.Dir, c.policy.VethPrefix, c.policy.Log = o.bpf, c.host.VethPrefix, log
	c.policy.Names = strings.TrimSuffix(journalPath(c.backingStore), ".journal") + ".names"
	if a.policy, err = enforcement.Open(c.policy, a.kube); err != nil {
		return nil, err
	}
	ports.Guard = a.policy.Guard()
	ports.Cloud = ec2
	ports.Metadata = metadata{Metadata: aws.NewMetadata(a.meter.metadataReads.Inc), cloud: ec2, config: aws.Config{
		Endpoint: c.ec2Endpoint, Version: c.version, HTTPTimeout: c.httpTimeout, Observe: a.observe,
	}}
	a.journal = journal.Open(journalPath(c.backingStore))
	a.legacy = checkpoint.New(c.backingStore, log)
	ports.Journal, ports.Checkpoint = a.journal, a.legacy
	a.node = node.New(node.Config{IPAM: c.ipam, Settings: c.host, BootedAt: linux.BootedAt("/proc/stat"), Nonce: strconv.FormatInt(a.started.UnixNano(), 36)}, ports)
	q := queue.New(o.queue)
	a.report = reporter{version: version, name: c.nodeName, started: a.started, loop: a.node, kube: a.kube, queue: q, policy: a.policy}
	a.pages.registry.MustRegister(gauges{report: a.report.report, budgets: ec2.budgets}, a.policy.Collector())
	a.handler = handler{node: a.node, host: c.host, queue: q, report: a.report.report, applied: a.meter.queuedDels.Inc, log: log}
	return a, nil
}

// servePlugin takes the plugin's socket once the journal is this agent's: until another agent on the node has ended, that
// one serves the pods.
func (a *agent) servePlugin(ctx context.Context) error {
	select {
	case <-a.journal.Taken():
	case <-ctx.Done():
		return nil
	}
	s, err := server.Listen(a.opts.socket, a.handler, a.report.version, a.log)
	if err != nil {
		return err
	}
	close(a.serving)
	return s.Serve(ctx)
}

func journalPath(backingStore string) string {
	return strings.TrimSuffix(backingStore, filepath.Ext(backingStore)) + ".journal"
}

// observe is told of every attempt of an EC2 call. A denial becomes an event on the agent's pod, where operators look.
func (a *agent) observe(c aws.Call) {
	a.meter.called(c)
	if c.Err == nil || c.Err.Code != vpc.NotAuthorized || a.kube == nil {
		return
	}
	a.kube.Event(kube.Event{
		Warning: true, Reason: "MissingIAMPermissions", Action: "ec2:" + c.Action,
		Message: fmt.Sprintf("EC2 refuses %s for %s (%s): %s", c.Action, c.Err.Subject, c.Wire, c.Err.Hint),
	})
}

// run runs all parts until ctx ends or one fails.
func (a *agent) run(ctx context.Context) error {
	g, _ := run.NewGroup(ctx)
	g.Go("host", a.host.Run)
	if a.kube != nil {
		g.Go("kube", a.kube.Run)
	}
	g.Go("network policy", a.policy.Run)
	g.Go("node", a.node.Run)
	g.Go("checkpoint", a.legacy.Run)
	g.Go("plugin socket", a.servePlugin)
	g.Go("queued deletes", a.handler.drain(a.serving, a.node.Ready()))
	g.Go("network configuration", installConf(a.cfg, a.opts.plugin, a.node.Ready(), a.log))
	g.Go("readiness", a.noteReady)
	if a.cfg.metrics {
		g.Go("metrics", func(ctx context.Context) error {
			return telemetry.Serve(ctx, a.opts.metrics, a.pages.metrics(a.report.report), a.log)
		})
	}
	if a.cfg.introspection {
		g.Go("introspection", func(ctx context.Context) error {
			return telemetry.Serve(ctx, a.cfg.introspectionAddress, a.policy.Pages(introspection(a.report.report, a.settings)), a.log)
		})
	}
	err := g.Wait(stopTime)
	if ctx.Err() != nil && err == nil {
		a.log.Info("stopped")
	}
	return err
}

func (a *agent) noteReady(ctx context.Context) error {
	select {
	case <-a.node.Ready():
	case <-ctx.Done():
		return nil
	}
	known := false
	if a.kube != nil {
		_, known = a.kube.Node()
	}
	a.meter.ready(time.Since(a.started), known)
	return nil
}

// close lets go of files. The kernel's state stays as it is: pods go on.
func (a *agent) close() error {
	var errs []error
	if a.legacy != nil { // before another agent gets the journal
		errs = append(errs, a.legacy.Close())
	}
	if a.journal != nil {
		errs = append(errs, a.journal.Close())
	}
	errs = append(errs, a.policy.Close())
	if a.host != nil {
		errs = append(errs, a.host.Close())
	}
	return errors.Join(errs...)
}

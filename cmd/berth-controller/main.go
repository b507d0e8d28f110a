// Command berth-controller is the optional controller of a cluster: a Deployment of two replicas, of which one leads. It
// divides the account's EC2 request buckets among the nodes (docs/controller.md). Nothing on a node waits for it. This
// package reads the environment and wires the API server to internal/cluster.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/berth-net/berth/internal/cluster"
	"github.com/berth-net/berth/internal/kube"
	"github.com/berth-net/berth/internal/run"
	"github.com/berth-net/berth/internal/run/telemetry"
)

func main() {
	os.Exit(runMain(os.Args[1:], os.Getenv, os.Stdout, os.Stderr))
}

// options are what flags and the environment say.
type options struct {
	kubeconfig string
	endpoint   string // of the API server
	namespace  string
	identity   string
	part       float64
	listen     string
	level      slog.Level
	version    bool
}

func runMain(args []string, env func(string) string, stdout, stderr io.Writer) int {
	err := runController(args, env, stdout, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		_, _ = fmt.Fprintf(stderr, "berth-controller: %v\n", err)
		return 1
	}
	return 0
}

func parseOptions(args []string, env func(string) string, stderr io.Writer) (options, error) {
	var o options
	f := flag.NewFlagSet("berth-controller", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.StringVar(&o.kubeconfig, "kubeconfig", env("KUBECONFIG"), "kubeconfig file; the service account when empty")
	f.StringVar(&o.endpoint, "endpoint", env("CLUSTER_ENDPOINT"), "URL of the API server in place of the kubeconfig's")
	f.StringVar(&o.namespace, "namespace", cmp.Or(env("MY_POD_NAMESPACE"), "kube-system"), "namespace of the agents, the lease and the published share")
	f.StringVar(&o.identity, "identity", env("MY_POD_NAME"), "name of this replica, another one than of the others")
	f.Float64Var(&o.part, "ec2-share", 1, "this cluster's part of the account's EC2 request buckets, above 0 and up to 1")
	f.StringVar(&o.listen, "listen", ":61680", "address of the metrics and of /healthz")
	f.BoolVar(&o.version, "version", false, "print the version and end")
	level := f.String("log-level", "INFO", "DEBUG, INFO, WARN or ERROR")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	var err error
	if o.level, err = run.ParseLevel(*level); err != nil {
		return o, fmt.Errorf("-log-level: %w", err)
	}
	if !(o.part > 0 && o.part <= 1) {
		return o, fmt.Errorf("-ec2-share=%v: want a number above 0 and up to 1, such as 0.25 for one of four clusters in an account", o.part)
	}
	if o.identity == "" {
		if o.identity, err = os.Hostname(); err != nil {
			return o, fmt.Errorf("-identity is not set, and the host's name cannot be read: %w", err)
		}
	}
	return o, nil
}

func runController(args []string, env func(string) string, stdout, stderr io.Writer) error {
	o, err := parseOptions(args, env, stderr)
	if err != nil {
		return err
	}
	if o.version {
		_, err := fmt.Fprintln(stdout, run.Version())
		return err
	}
	log := run.NewLogger(stderr, o.level)
	log.Info("starting", "version", run.Version(), "replica", o.identity, "part", o.part)
	ctx, stop := run.UntilSignal(context.Background())
	defer stop()
	api := kube.NewObserver(kube.Config{
		Kubeconfig: o.kubeconfig, Endpoint: o.endpoint, UserAgent: "berth-controller/" + run.Version(), PodNamespace: o.namespace, Log: log,
	})
	c := cluster.New(cluster.Config{Cluster: adapter{api}, Identity: o.identity, Part: o.part, Log: log})
	g, _ := run.NewGroup(ctx)
	g.Go("controller", c.Run)
	g.Go("pages", func(ctx context.Context) error {
		return telemetry.Serve(ctx, o.listen, pages(c.Status), log)
	})
	return g.Wait(stopTime)
}

// adapter is the API server as the controller needs it.
type adapter struct{ *kube.Observer }

// ReadLease implements cluster.Leases.
func (a adapter) ReadLease(ctx context.Context) (cluster.Record, error) {
	l, err := a.Observer.ReadLease(ctx)
	return cluster.Record(l), err
}

// WriteLease implements cluster.Leases.
func (a adapter) WriteLease(ctx context.Context, r cluster.Record) (cluster.Record, error) {
	l, err := a.Observer.WriteLease(ctx, kube.Lease(r))
	return cluster.Record(l), err
}

// Census implements cluster.Cluster.
func (a adapter) Census() cluster.Census {
	nodes, waiting, known := a.Observer.Census()
	c := cluster.Census{Known: known, Nodes: nodes, Waiting: make([]cluster.WaitingPod, 0, len(waiting))}
	for _, w := range waiting {
		c.Waiting = append(c.Waiting, cluster.WaitingPod(w))
	}
	return c
}

// Publish implements cluster.Cluster.
func (a adapter) Publish(ctx context.Context, w cluster.Word) error {
	return a.Observer.Publish(ctx, kube.Share{Made: w.Made.UTC(), Seconds: int(w.Life.Seconds()), Division: w.Division})
}

// Command berth-agent is the agent of one node: container aws-node of DaemonSet aws-node. This package reads the
// environment, names the adapters and wires them to the node's loop; it decides nothing about addresses.
//
//	berth-agent           the agent
//	berth-agent init      the init container: installs chained plugins, sets kernel settings
//	berth-agent probe     asks the agent whether it lives, with -ready whether it serves pods
//	berth-agent leave     removes our nftables table once another CNI serves the node
//	berth-agent docs DIR  writes the reference pages that are generated from this package
//	berth-agent version   prints the version
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/berth-net/berth/internal/agentapi"
	"github.com/berth-net/berth/internal/agentapi/queue"
	"github.com/berth-net/berth/internal/run"
)

//go:generate go run . docs ../../docs/reference

func main() {
	os.Exit(runMain(os.Args[1:], os.Getenv, os.Stdout, os.Stderr))
}

// options are the flags: what differs where several nodes share a machine's files.
type options struct {
	socket  string
	queue   string
	metrics string
	plugin  string
	nft     string
	bpf     string
}

func runMain(args []string, env lookup, stdout, stderr io.Writer) int {
	command := ""
	if len(args) > 0 && len(args[0]) > 0 && args[0][0] != '-' {
		command, args = args[0], args[1:]
	}
	var err error
	switch command {
	case "":
		err = runAgent(args, env, stderr)
	case "init":
		err = runInit(args, env, stdout)
	case "probe":
		err = probe(args, stderr)
	case "leave":
		err = runLeave(args, env, stdout, stderr)
	case "docs":
		err = writeDocs(args)
	case "version":
		_, err = fmt.Fprintln(stdout, run.Version())
	default:
		err = fmt.Errorf("unknown command %q, want init, probe, leave, docs, version or none", command)
	}
	if err != nil {
		_, _ = fmt.Fprintf(stderr, "berth-agent: %v\n", err)
		return 1
	}
	return 0
}

func parseOptions(args []string, stderr io.Writer) (options, error) {
	var o options
	self, err := os.Executable()
	if err != nil {
		return o, fmt.Errorf("find own program: %w", err)
	}
	f := flag.NewFlagSet("berth-agent", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.StringVar(&o.socket, "socket", agentapi.SocketPath, "socket of the plugin")
	f.StringVar(&o.queue, "queue", queue.Dir, "directory of deletes that wait for the agent")
	f.StringVar(&o.metrics, "metrics", ":61678", "address of the metrics")
	f.StringVar(&o.plugin, "plugin", filepath.Join(filepath.Dir(self), "berth-cni"), "plugin to install on the host")
	f.StringVar(&o.nft, "nft", "", "program nft; searched in PATH when empty")
	f.StringVar(&o.bpf, "bpf", "/sys/fs/bpf/berth", "directory of network policy's eBPF programs and maps, in a bpffs")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	return o, nil
}

func runInit(args []string, env lookup, stdout io.Writer) error {
	if len(args) > 0 {
		return fmt.Errorf("unexpected argument %q", args[0])
	}
	c, warnings, err := readConfig(env)
	for _, w := range warnings {
		_, _ = fmt.Fprintln(stdout, "warning: "+w)
	}
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find own program: %w", err)
	}
	ctx, stop := run.UntilSignal(context.Background())
	defer stop()
	return initialize(ctx, c, initPaths{
		plugins: filepath.Join(filepath.Dir(self), "plugins"), procSys: "/proc/sys", sysClass: "/sys/class/net",
	}, stdout)
}

// probe succeeds when the agent answers on its socket; with -ready only when it serves pods.
func probe(args []string, stderr io.Writer) error {
	f := flag.NewFlagSet("berth-agent probe", flag.ContinueOnError)
	f.SetOutput(stderr)
	socket := f.String("socket", agentapi.SocketPath, "socket of the plugin")
	ready := f.Bool("ready", false, "succeed only when pods are served")
	timeout := f.Duration("timeout", 5*time.Second, "how long to wait for the answer")
	if err := f.Parse(args); err != nil {
		return err
	}
	client := agentapi.Client{Socket: *socket, Build: run.Version()}
	reply, err := client.Do(agentapi.Request{Verb: agentapi.Status}, nil, *timeout)
	if err != nil && (*ready || reply.Error == nil) {
		return err
	}
	return nil
}

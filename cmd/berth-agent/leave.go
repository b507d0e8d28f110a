package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"time"

	"github.com/berth-net/berth/internal/linux"
	"github.com/berth-net/berth/internal/node/journal"
	"github.com/berth-net/berth/internal/node/leave"
	"github.com/berth-net/berth/internal/run"
)

// leaveOptions are the flags of leave.
type leaveOptions struct {
	nft     string
	timeout time.Duration
	now     bool
	stay    bool
}

func runLeave(args []string, env lookup, stdout, stderr io.Writer) error {
	var o leaveOptions
	f := flag.NewFlagSet("berth-agent leave", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.StringVar(&o.nft, "nft", "", "program nft; searched in PATH when empty")
	f.DurationVar(&o.timeout, "timeout", 10*time.Minute, "how long to wait for the agent's end and for the other CNI's rules")
	f.BoolVar(&o.now, "now", false, "do not wait for rules of another CNI: established connections to outside the VPC may be cut")
	f.BoolVar(&o.stay, "stay", false, "do not end before SIGTERM, as a DaemonSet's container must not")
	if err := f.Parse(args); err != nil {
		return err
	}
	if f.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	c, _, err := readConfig(env)
	if err != nil {
		return err
	}
	ctx, stop := run.UntilSignal(context.Background())
	defer stop()
	if err := leaveNode(ctx, o, journalPath(c.backingStore), stdout); err != nil {
		return err
	}
	if o.stay {
		<-ctx.Done()
	}
	return nil
}

func leaveNode(ctx context.Context, o leaveOptions, journalPath string, out io.Writer) (err error) {
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	host, err := linux.New(linux.Options{NftPath: o.nft})
	if err != nil {
		return fmt.Errorf("open the host's network: %w", err)
	}
	j := journal.Open(journalPath)
	defer func() { err = errors.Join(err, j.Close(), host.Close()) }()
	return leave.Run(ctx, host, j, o.now, out)
}

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

// runLeave is the command leave; with -stay it does not end before SIGTERM, as a DaemonSet's container must not.
func runLeave(args []string, env lookup, stdout, stderr io.Writer) (err error) {
	f := flag.NewFlagSet("berth-agent leave", flag.ContinueOnError)
	f.SetOutput(stderr)
	nft := f.String("nft", "", "program nft; searched in PATH when empty")
	timeout := f.Duration("timeout", 10*time.Minute, "how long to wait for the agent's end and for the other CNI's rules")
	now := f.Bool("now", false, "do not wait for rules of another CNI: established connections to outside the VPC may be cut")
	stay := f.Bool("stay", false, "do not end before SIGTERM")
	if err := f.Parse(args); err != nil {
		return err
	}
	c, _, err := readConfig(env)
	if err != nil {
		return err
	}
	ctx, stop := run.UntilSignal(context.Background())
	defer stop()
	host, err := linux.New(linux.Options{NftPath: *nft})
	if err != nil {
		return fmt.Errorf("open the host's network: %w", err)
	}
	j := journal.Open(journalPath(c.backingStore))
	limited, cancel := context.WithTimeout(ctx, *timeout)
	defer cancel()
	err = errors.Join(leave.Run(limited, host, j, *now, stdout), j.Close(), host.Close())
	if err == nil && *stay {
		<-ctx.Done()
	}
	return err
}

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
	"github.com/berth-net/berth/internal/run"
)

// leaveEvery is how often it is looked whether another CNI serves the node.
const leaveEvery = 500 * time.Millisecond

// leaveOptions are the flags of leave.
type leaveOptions struct {
	nft     string
	timeout time.Duration
	now     bool
	stay    bool
}

// runLeave is the last thing that we do on a node: it removes our nftables table. The agent itself leaves it, so that an
// upgrade cuts nobody off.
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
	if err := leave(ctx, o, journalPath(c.backingStore), stdout); err != nil {
		return err
	}
	if o.stay {
		<-ctx.Done()
	}
	return nil
}

// leave waits until no agent of ours runs and the other CNI translates, then removes our table. The journal stays its own
// until then, so that no agent starts meanwhile.
func leave(ctx context.Context, o leaveOptions, journalPath string, out io.Writer) (err error) {
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	host, err := linux.New(linux.Options{NftPath: o.nft})
	if err != nil {
		return fmt.Errorf("open the host's network: %w", err)
	}
	j := journal.Open(journalPath)
	defer func() { err = errors.Join(err, j.Close(), host.Close()) }()
	if err := untilTrue(ctx, out, func() (string, error) {
		if _, _, err := j.Load(); err != nil {
			return err.Error() + "; delete the DaemonSet of the agent first", nil
		}
		return "", nil
	}); err != nil {
		return err
	}
	if err := untilTrue(ctx, out, func() (string, error) {
		t, err := host.Translators()
		if err == nil && t.Ours && !t.Theirs && !o.now {
			return "nobody else translates pods' addresses yet: start the Amazon VPC CNI on this node, or say -now when nothing needs to be translated", nil
		}
		return "", err
	}); err != nil {
		return err
	}
	if err := host.RemoveTable(ctx); err != nil {
		return err
	}
	_, _ = fmt.Fprintln(out, "removed table ip berth: nothing of berth is left in the kernel but what both CNIs have in common")
	return nil
}

// untilTrue repeats look until it finds nothing missing. What is missing is said once.
func untilTrue(ctx context.Context, out io.Writer, look func() (missing string, err error)) error {
	said := ""
	for {
		missing, err := look()
		if err != nil || missing == "" {
			return err
		}
		if missing != said {
			_, _ = fmt.Fprintln(out, "waiting: "+missing)
			said = missing
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("table ip berth stays: %s", missing)
		case <-time.After(leaveEvery):
		}
	}
}

// Package leave is the last thing that we do on a node: it removes our nftables table once another CNI serves the node's
// pods. The agent leaves the table at its end, so that an upgrade cuts nobody off.
package leave

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/berth-net/berth/internal/core/hostnet"
	"github.com/berth-net/berth/internal/core/pool"
)

// every is how often it is looked whether another CNI serves the node.
const every = 500 * time.Millisecond

// Host is the host's network.
type Host interface {
	// Translators tells who translates pods' addresses now.
	Translators() (hostnet.Translators, error)
	// RemoveTable removes our nftables table; one that is gone is success.
	RemoveTable(ctx context.Context) error
}

// Journal is the agent's. Load fails while an agent runs, and keeps others from starting.
type Journal interface {
	Load() (records []pool.Record, damage string, err error)
}

// Run waits until no agent of ours runs and the other CNI translates, then removes our table. With now it does not wait for
// the other CNI: established connections to outside the VPC may be cut. What it waits for is printed to out.
func Run(ctx context.Context, h Host, j Journal, now bool, out io.Writer) error {
	for _, look := range []func() (missing string, err error){
		func() (string, error) {
			if _, _, err := j.Load(); err != nil {
				return err.Error() + "; delete the DaemonSet of the agent first", nil //nolint:nilerr // it is waited for
			}
			return "", nil
		},
		func() (string, error) {
			t, err := h.Translators()
			if err == nil && t.Ours && !t.Theirs && !now {
				return "nobody else translates pods' addresses yet: start the Amazon VPC CNI on this node, or say -now when nothing needs to be translated", nil
			}
			return "", err
		},
	} {
		if err := until(ctx, out, look); err != nil {
			return err
		}
	}
	if err := h.RemoveTable(ctx); err != nil {
		return fmt.Errorf("remove table ip %s: %w", hostnet.TableName, err)
	}
	_, _ = fmt.Fprintf(out, "removed table ip %s: nothing of berth is left in the kernel but what both CNIs have in common\n", hostnet.TableName)
	return nil
}

// until repeats look until it finds nothing missing. What is missing is said once.
func until(ctx context.Context, out io.Writer, look func() (missing string, err error)) error {
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
			return fmt.Errorf("table ip %s stays: %s", hostnet.TableName, missing)
		case <-time.After(every):
		}
	}
}

package leave_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/berth-net/berth/internal/core/hostnet"
	"github.com/berth-net/berth/internal/core/pool"
	"github.com/berth-net/berth/internal/node/leave"
)

// node is a node on which the agent ends and the other CNI starts at some time.
type node struct {
	began               time.Time
	agentEnds, theirsAt time.Duration
	ours                bool
	removedAt           time.Duration
}

func (n *node) Load() ([]pool.Record, string, error) {
	if time.Since(n.began) < n.agentEnds {
		return nil, "", errors.New("another agent runs on this node")
	}
	return nil, "", nil
}

func (n *node) Translators() (hostnet.Translators, error) {
	return hostnet.Translators{Ours: n.ours, Theirs: time.Since(n.began) >= n.theirsAt}, nil
}

func (n *node) RemoveTable(context.Context) error {
	n.removedAt = time.Since(n.began)
	return nil
}

func TestTableGoesOnceNobodyNeedsIt(t *testing.T) {
	const never = time.Hour
	tests := []struct {
		name      string
		agentEnds time.Duration
		theirsAt  time.Duration
		ours, now bool
		want      time.Duration // -1: it stays
		says      string
	}{
		{"all is ready", 0, 0, true, false, 0, "removed table ip berth"},
		{"the agent ends later", 3 * time.Second, 0, true, false, 3 * time.Second, "another agent runs on this node; delete the DaemonSet"},
		{"the other CNI starts later", 0, 5 * time.Second, true, false, 5 * time.Second, "nobody else translates"},
		{"the other CNI never starts", 0, never, true, false, -1, "nobody else translates"},
		{"our table translates nothing", 0, never, false, false, 0, "removed table ip berth"},
		{"told not to wait", 0, never, true, true, 0, "removed table ip berth"},
		{"told not to wait while the agent runs", never, never, true, true, -1, "another agent runs"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := &node{began: time.Now(), agentEnds: tt.agentEnds, theirsAt: tt.theirsAt, ours: tt.ours, removedAt: -1}
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				var out bytes.Buffer
				err := leave.Run(ctx, n, n, tt.now, &out)
				if n.removedAt != tt.want || (err == nil) != (tt.want >= 0) || !strings.Contains(out.String(), tt.says) {
					t.Errorf("removed at %s, want %s; %v; says %q", n.removedAt, tt.want, err, out.String())
				}
			})
		})
	}
}

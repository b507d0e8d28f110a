package main

import (
	"context"
	"time"

	"github.com/berth-net/berth/cmd/berth-agent/enforcement"
	"github.com/berth-net/berth/internal/agentapi/queue"
	"github.com/berth-net/berth/internal/enforce"
	"github.com/berth-net/berth/internal/kube"
	"github.com/berth-net/berth/internal/node"
)

// agentReport is the whole state of a node as its agent sees it: REPORT on the plugin's socket and /v1/berth of
// introspection.
type agentReport struct {
	Version string    `json:"version"`
	Name    string    `json:"name"` // of the Node object
	Started time.Time `json:"started"`
	// Degraded says what is not as it should be, beyond what the node's own report says.
	Degraded []string `json:"degraded,omitempty"`
	// QueuedDeletes are requests on disk that were not applied yet.
	QueuedDeletes int `json:"queuedDeletes"`
	// ENIConfig is where custom networking takes interfaces from; none without it.
	ENIConfig kube.ENIConfig `json:"eniConfig,omitzero"`
	// Settings names the NodeSettings that select the node, those that count first; Refused says what of them cannot be used.
	Settings []string `json:"settings,omitempty"`
	Refused  []string `json:"refused,omitempty"`
	// Share is how berth-controller divides EC2's buckets now and until when; none while it does not, or is not followed.
	Share      *kube.Share `json:"share,omitempty"`
	ShareUntil time.Time   `json:"shareUntil,omitzero"`
	Node       node.Report `json:"node"`
	// Policy is how far network policy is in force; none where it is off.
	Policy *enforce.Report `json:"policy,omitempty"`
}

// tell adds what the cluster says of the node.
func (r *agentReport) tell(f kube.Facts) {
	r.ENIConfig, r.Refused = f.ENIConfig, f.Refused
	for _, o := range f.Overrides {
		r.Settings = append(r.Settings, o.Name)
	}
}

// reporter makes reports.
type reporter struct {
	version string
	name    string
	started time.Time
	loop    interface {
		Report(ctx context.Context) (node.Report, error)
	}
	kube   *kube.Client // nil without a node name
	queue  queue.Queue
	policy *enforcement.Enforcement
}

// reportTimeout bounds the wait for the loop, which answers between two steps.
const reportTimeout = 2 * time.Second

func (r reporter) report(ctx context.Context) (agentReport, error) {
	ctx, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	n, err := r.loop.Report(ctx)
	if err != nil {
		return agentReport{}, err
	}
	out := agentReport{Version: r.version, Name: r.name, Started: r.started, Node: n}
	if r.kube == nil {
		out.Degraded = append(out.Degraded, "MY_NODE_NAME is not set: taints and max pods of the node are not known")
	} else {
		if trouble := r.kube.Trouble(); trouble != "" {
			out.Degraded = append(out.Degraded, "API server: "+trouble)
		}
		facts, _ := r.kube.Node()
		out.tell(facts)
		out.Share, out.ShareUntil = r.kube.Share()
	}
	var degraded []string
	out.Policy, degraded = r.policy.Report(ctx)
	out.Degraded = append(out.Degraded, degraded...)
	entries, err := r.queue.List()
	out.QueuedDeletes = len(entries)
	if err != nil {
		out.Degraded = append(out.Degraded, "queue of deletes: "+err.Error())
	}
	return out, nil
}

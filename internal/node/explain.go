package node

import (
	"time"

	"github.com/berth-net/berth/internal/core/ipam"
	"github.com/berth-net/berth/internal/run"
)

// eventAfter is how long a pod waits before an event tells why.
const eventAfter = 3 * time.Second

// explain tells the pods that wait for more than what is under way why they wait: an event each, again when the reason changes.
func (n *Node) explain(now time.Time) {
	waiting := n.state.Waiting()
	if len(waiting) == 0 || n.plan.Blocked == "" || n.plan.Blocked == ipam.Coming {
		return
	}
	var b ipam.Blocked
	for _, d := range waiting {
		if now.Sub(d.Since) < eventAfter || n.said[d.Pod.Key] == n.plan.Blocked {
			continue
		}
		if b.Why == "" {
			b = ipam.Explain(n.state, n.plan)
		}
		n.said[d.Pod.Key] = b.Why
		n.log.Warn("pod waits for an address", run.KeyPod, d.Pod.Name, run.KeyNamespace, d.Pod.Namespace, run.KeyWhy, b.Why, "detail", b.Detail)
		if n.ports.Cluster != nil {
			n.ports.Cluster.Event(Event{
				Pod: podName(d.Pod), UID: d.Pod.UID, Warning: true, Reason: "WaitingForAddress", Message: b.String(), Action: "AssignAddress",
			})
		}
	}
	n.forgetSaid()
}

// untilEvent shortens d to the first moment at which a pod has waited for long enough to be told why.
func (n *Node) untilEvent(now time.Time, d time.Duration) time.Duration {
	for _, w := range n.state.Waiting() {
		if at := w.Since.Add(eventAfter); at.After(now) {
			d = min(d, at.Sub(now))
		}
	}
	return d
}

// forgetSaid drops what was said about pods that are not heard of any more.
func (n *Node) forgetSaid() {
	const enough = 1024
	if len(n.said) > enough {
		clear(n.said)
	}
}

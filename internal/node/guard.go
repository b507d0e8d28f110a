package node

import (
	"context"

	"github.com/berth-net/berth/internal/core/hostnet"
	"github.com/berth-net/berth/internal/run"
)

// Guard has packets of the node's pods judged by network policy. internal/enforce implements it.
type Guard interface {
	// Admit returns once packets of a wired pod are judged by its policies, or with why they cannot be by the context's end. It
	// is idempotent.
	Admit(ctx context.Context, pod hostnet.Pod, wired hostnet.Wired) error
	// Release ends that; the pod's network is gone. A pod that is not known is success.
	Release(pod hostnet.Pod)
	// Sync tells of all pods whose network may be there, and of the host's links: of what was there when the agent started, and
	// of what went unseen.
	Sync(pods []hostnet.Pod, links []hostnet.Link)
}

// admit has a wired pod's packets judged before its ADD is answered. It is no wiring: it may wait for the API server, while other
// pods are wired and the host's network is compared.
func (n *Node) admit(c *addCall, pod hostnet.Pod, wired hostnet.Wired) {
	limit := c.deadline.Sub(n.now())
	n.spawn(func() {
		ctx, cancel := context.WithTimeout(n.ctx, limit)
		defer cancel()
		err := n.ports.Guard.Admit(ctx, pod, wired)
		n.tell(func() { n.admitted(c, pod, wired, err) })
	})
}

// admitted answers the ADD. A pod whose packets nobody judges must not be reachable: it is unwired, unless it was wired before
// this ADD and may run.
func (n *Node) admitted(c *addCall, pod hostnet.Pod, wired hostnet.Wired, err error) {
	if err == nil {
		n.answerAdd(c, pod, wired, nil)
		return
	}
	err = &Error{
		Pod: PodName{pod.Namespace, pod.Name}, Op: "ADD", Why: Unguarded, Detail: err.Error(),
		Hint: "the kubelet tries again; see the agent's log", Retry: true,
	}
	if c.repeat {
		n.answerAdd(c, pod, wired, err)
		return
	}
	n.schedule(func() {
		ctx, cancel := context.WithTimeout(n.ctx, wireTimeout)
		defer cancel()
		gone := n.unwire(ctx, pod)
		n.tell(func() {
			n.wiringEnded()
			if gone != nil { // its DEL unwires it; until then the address stays its own
				n.log.Error("unwire a pod whose packets nobody judges", run.KeyPod, pod.Name, run.KeyNamespace, pod.Namespace, run.KeyErr, gone)
				c.repeat = true
			}
			n.answerAdd(c, pod, wired, err)
		})
	})
}

// wiredPods are all whose network may be there, those that are being deleted among them.
func (n *Node) wiredPods() []hostnet.Pod {
	var all []hostnet.Pod
	for _, a := range n.state.Allocations() {
		all = append(all, n.hostPod(a))
	}
	return all
}

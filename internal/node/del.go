package node

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"

	"github.com/berth-net/berth/internal/core/hostnet"
	"github.com/berth-net/berth/internal/core/pool"
	"github.com/berth-net/berth/internal/run"
)

// DelRequest asks for the end of an attachment.
type DelRequest struct {
	Pod   pool.Pod
	Addrs []netip.Addr // what its ADD answered, as the runtime kept it; may be empty
}

// Del removes a pod's rules and route and gives its address back, which then cools down. What is gone already is success.
func (n *Node) Del(ctx context.Context, req DelRequest) error {
	pod := req.Pod
	began := n.now()
	reply := make(chan error, 1)
	err := n.ask(ctx, func() { n.beginDel(req, reply) })
	if err == nil {
		select {
		case err = <-reply:
		case <-ctx.Done():
			err = fmt.Errorf("DEL pod %s/%s: %w", pod.Namespace, pod.Name, ctx.Err())
		case <-n.done:
			err = n.stopping(pod, "DEL")
		}
	}
	if n.ports.Meter != nil {
		n.ports.Meter.Deleted(n.now().Sub(began), err)
	}
	return err
}

func (n *Node) beginDel(req DelRequest, reply chan error) {
	pod := req.Pod
	if n.state == nil {
		reply <- n.starting("DEL", podName(pod))
		return
	}
	key := pod.Key
	if c := n.adds[key]; c != nil && !c.granted { // the pod gave up while it waited
		delete(n.adds, key)
		n.state.Withdraw(key)
		c.reply <- addReply{err: &Error{Pod: podName(pod), Op: "ADD", Why: Stopping, Detail: "the attachment was deleted"}}
	}
	if n.later(key, func() { n.beginDel(req, reply) }) {
		return
	}
	a, ok := n.state.BeginRelease(key)
	if !ok {
		n.delHeld(req, reply)
		return
	}
	n.busy[key] = nil
	host := n.hostPod(a)
	n.schedule(func() {
		ctx, cancel := context.WithTimeout(n.ctx, wireTimeout)
		defer cancel()
		err := n.unwire(ctx, host)
		n.tell(func() { n.unwired(host, key, err, reply) })
	})
}

// unwire ends a pod's network. Its packets are judged until there are none.
func (n *Node) unwire(ctx context.Context, pod hostnet.Pod) error {
	if err := n.ports.Host.UnwirePod(ctx, n.cfg.Settings, pod); err != nil {
		return err
	}
	if n.ports.Guard != nil {
		n.ports.Guard.Release(pod)
	}
	return nil
}

func (n *Node) unwired(pod hostnet.Pod, key pool.Key, err error, reply chan error) {
	n.wiringEnded()
	defer n.idle(key)
	if err != nil {
		n.state.AbortRelease(key)
		n.log.Error("unwire pod", run.KeyPod, pod.Name, run.KeyNamespace, pod.Namespace, run.KeyIP, pod.Addrs, run.KeyErr, err)
		reply <- &Error{Pod: PodName{pod.Namespace, pod.Name}, Op: "DEL", Why: WiringError, Detail: err.Error(), Hint: "the kubelet tries again; see the agent's log", Retry: true}
		return
	}
	r, ok := n.state.Release(key, n.now())
	if !ok {
		reply <- nil
		return
	}
	n.log.Info("pod unwired", run.KeyPod, pod.Name, run.KeyNamespace, pod.Namespace, run.KeyIP, pod.Addrs)
	wait := n.ports.Journal.Append([]pool.Record{r})
	n.spawn(func() {
		if err := wait(); err != nil { // the address cools in memory; a restart finds its pod gone
			n.log.Warn("record a release", run.KeyPod, pod.Name, run.KeyNamespace, pod.Namespace, run.KeyIP, pod.Addrs, run.KeyErr, err)
		}
		reply <- nil
	})
}

// delHeld deletes an attachment that no record names. Its address may be held because the kernel shows it on the pod's link.
func (n *Node) delHeld(req DelRequest, reply chan error) {
	held := n.heldAddrs()
	if len(held) == 0 {
		reply <- nil
		return
	}
	n.schedule(func() {
		ctx, cancel := context.WithTimeout(n.ctx, wireTimeout)
		defer cancel()
		gone, err := n.unwireHeld(ctx, req, held)
		n.tell(func() {
			n.wiringEnded()
			for _, addr := range gone {
				n.log.Info("held pod unwired", run.KeyPod, req.Pod.Name, run.KeyNamespace, req.Pod.Namespace, run.KeyIP, addr)
				if r, ok := n.state.ReleaseHeld(addr, n.now()); ok {
					n.ports.Journal.Append([]pool.Record{r})
				}
			}
			reply <- err
		})
	})
}

// unwireHeld removes the wiring of the held addresses that are the attachment's, and returns them.
func (n *Node) unwireHeld(ctx context.Context, req DelRequest, held []netip.Addr) (gone []netip.Addr, err error) {
	pod := req.Pod
	veth := hostnet.VethName(n.cfg.Settings.VethPrefix, pod.Namespace, pod.Name)
	seen, err := n.ports.Host.Seen(ctx, n.cfg.Settings)
	if err != nil {
		return nil, fmt.Errorf("DEL pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	for _, s := range seen {
		if s.Veth != veth || !slices.Contains(held, s.Addr) {
			continue
		}
		if !req.owns(s) {
			n.log.Warn("address stays held: its link may be that of another sandbox of the pod", run.KeyPod, pod.Name, run.KeyNamespace, pod.Namespace, run.KeyIP, s.Addr, "link", s.Veth, "owner", s.Alias, "container", pod.Key.ContainerID)
			continue
		}
		host := hostnet.Pod{Key: hostnet.PodKey(pod.Key), Namespace: pod.Namespace, Name: pod.Name, Addrs: []netip.Addr{s.Addr}}
		if err := n.unwire(ctx, host); err != nil {
			return gone, err
		}
		gone = append(gone, s.Addr)
	}
	return gone, nil
}

// owns tells whether a link of the pod's name is the attachment's. Sandboxes of one pod name, as a StatefulSet's pod has
// one after the other, share the link's name; the label tells them apart. The existing CNI sets no label: there the
// address must be the one that the runtime kept from the ADD. What remains in doubt stays held until its link goes, which
// it does with the sandbox's namespace.
func (r DelRequest) owns(s hostnet.Seen) bool {
	if s.Alias != "" {
		return s.Alias == hostnet.Alias(hostnet.PodKey(r.Pod.Key))
	}
	return slices.Contains(r.Addrs, s.Addr)
}

func (n *Node) heldAddrs() []netip.Addr {
	var held []netip.Addr
	for _, e := range n.state.ENIs() {
		for _, a := range e.Addresses {
			if a.Phase == pool.Held {
				held = append(held, a.IP)
			}
		}
	}
	return held
}

// starting is the answer to a request that came before the start was over.
func (n *Node) starting(op string, pod PodName) error {
	return &Error{Pod: pod, Op: op, Why: pool.Starting, Detail: "waiting for " + n.boot, Hint: "the runtime tries again; see the agent's log", Retry: true}
}

// GC deletes every attachment of the network that is not among the valid ones. One that is being added stays.
func (n *Node) GC(ctx context.Context, network string, valid []pool.Key) error {
	type answer struct {
		stale []pool.Pod
		err   error
	}
	a, err := query(ctx, n, func() (a answer) {
		if n.state == nil {
			return answer{err: n.starting("GC", PodName{})}
		}
		for _, alloc := range n.state.Allocations() {
			key := alloc.Pod.Key
			if _, adding := n.adds[key]; key.Network == network && !adding && !slices.Contains(valid, key) {
				a.stale = append(a.stale, alloc.Pod)
			}
		}
		return a
	})
	err = errors.Join(err, a.err)
	for _, pod := range a.stale { // one that cannot be removed does not keep the others
		n.log.Info("attachment is not valid any more", run.KeyPod, pod.Name, run.KeyNamespace, pod.Namespace, run.KeyWhy, "gc")
		err = errors.Join(err, n.Del(ctx, DelRequest{Pod: pod}))
	}
	return err
}

// Check tells whether a pod's attachment is recorded and wired.
func (n *Node) Check(ctx context.Context, pod pool.Pod, netns *os.File) (hostnet.Pod, error) {
	type answer struct {
		pod hostnet.Pod
		err error
	}
	a, err := query(ctx, n, func() answer {
		if n.state == nil {
			return answer{err: n.starting("CHECK", podName(pod))}
		}
		a, ok := n.state.Allocation(pod.Key)
		if !ok {
			return answer{err: &Error{Pod: podName(pod), Op: "CHECK", Why: Unknown, Detail: "the agent has no address for it", Hint: "delete the pod, so that it is added again"}}
		}
		return answer{pod: n.hostPod(a)}
	})
	switch {
	case errors.Is(err, errStopping):
		return hostnet.Pod{}, n.stopping(pod, "CHECK")
	case err != nil:
		return hostnet.Pod{}, fmt.Errorf("CHECK pod %s/%s: %w", pod.Namespace, pod.Name, err)
	case a.err != nil:
		return hostnet.Pod{}, a.err
	}
	missing, err := n.ports.Host.CheckPod(ctx, n.cfg.Settings, a.pod, netns)
	if err != nil {
		return a.pod, fmt.Errorf("check pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	if len(missing) > 0 {
		return a.pod, &Error{Pod: podName(pod), Op: "CHECK", Why: Broken, Detail: fmt.Sprint(missing), Hint: "the agent repairs routes and rules by itself; a missing link needs the pod deleted"}
	}
	return a.pod, nil
}

// Status tells whether the node can serve pods: an error while the start is not over, and, with the reason HostNetwork, while
// the host's network could not be put right for a while, so that running pods may be cut off. Runtimes take the whole node
// out of service for any error, and running pods are evicted then. So a lack of addresses is none: it ends by itself, and
// each ADD that it fails says why.
func (n *Node) Status(ctx context.Context) error {
	select {
	case <-n.ready:
	default:
		return &Error{Op: "STATUS", Why: pool.Starting, Hint: "see the agent's log", Retry: true}
	}
	what, err := query(ctx, n, func() string {
		if what, limited := n.host.trouble.limits(n.now()); limited {
			return what
		}
		return ""
	})
	switch {
	case errors.Is(err, errStopping):
		return &Error{Op: "STATUS", Why: Stopping, Hint: "the next agent answers", Retry: true}
	case err != nil:
		return err
	case what != "":
		return &Error{Op: "STATUS", Why: HostNetwork, Detail: what, Hint: "see the agent's log"}
	}
	return nil
}

// schedule runs a piece of wiring beside the loop, a few at once, and none while the host's network is being compared.
func (n *Node) schedule(f func()) {
	n.wireQ = append(n.wireQ, f)
	n.runWiring()
}

func (n *Node) runWiring() {
	for len(n.wireQ) > 0 && n.wiring < maxWiring && !n.host.exclusive() {
		f := n.wireQ[0]
		n.wireQ = n.wireQ[1:]
		n.wiring++
		n.spawn(f)
	}
}

func (n *Node) wiringEnded() {
	n.wiring--
	n.runWiring()
}

package node

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/berth-net/berth/internal/core/hostnet"
	"github.com/berth-net/berth/internal/core/ipam"
	"github.com/berth-net/berth/internal/core/pool"
	"github.com/berth-net/berth/internal/run"
)

// AddRequest asks for a pod's network.
type AddRequest struct {
	Pod   pool.Pod
	NetNS *os.File // open until Add returns
}

// Added is a wired pod.
type Added struct {
	Pod   hostnet.Pod
	Wired hostnet.Wired
}

// Error is why a pod could not be served. It names the pod, the reason and what to do.
type Error struct {
	Pod    PodName
	Op     string // ADD, DEL or CHECK
	Why    pool.Why
	Detail string
	Hint   string
	// Retry tells that trying again may help by itself: CNI error code 11.
	Retry bool
}

// Reasons of errors that are not the planner's.
const (
	Stopping    pool.Why = "agent-stopping"
	WiringError pool.Why = "wiring-failed"
	Unknown     pool.Why = "unknown-attachment"
	Broken      pool.Why = "wiring-incomplete"
	JournalLost pool.Why = "journal-not-writable"
	Unguarded   pool.Why = "policy-not-enforced"
	HostNetwork pool.Why = "host-network" // interfaces are there, but the host's network does not serve them
)

// Error implements error.
func (e *Error) Error() string {
	s := e.Op
	if e.Pod != (PodName{}) {
		s += fmt.Sprintf(" pod %s/%s", e.Pod.Namespace, e.Pod.Name)
	}
	s += ": " + string(e.Why)
	if e.Detail != "" {
		s += ": " + e.Detail
	}
	if e.Hint != "" {
		s += "; " + e.Hint
	}
	return s
}

var errStopping = errors.New("the agent is stopping")

type addReply struct {
	added Added
	err   error
}

// addCall is an ADD that has no answer yet.
type addCall struct {
	req      AddRequest
	began    time.Time
	deadline time.Time
	reply    chan addReply
	granted  bool
	repeat   bool // the attachment had its address before, and may be wired
}

// Add gives a pod an address and wires it. Without a free address it waits, AddTimeout at most.
func (n *Node) Add(ctx context.Context, req AddRequest) (Added, error) {
	began := n.now()
	c := &addCall{req: req, began: began, deadline: began.Add(n.cfg.AddTimeout), reply: make(chan addReply, 1)}
	if d, ok := ctx.Deadline(); ok && d.Before(c.deadline) {
		c.deadline = d
	}
	var r addReply
	if err := n.ask(ctx, func() { n.beginAdd(c) }); err != nil {
		r.err = n.stopping(req.Pod, "ADD")
	} else {
		r = n.await(ctx, c)
	}
	n.meterAdd(n.now().Sub(began), r.err)
	return r.added, r.err
}

// await waits for the loop's answer. A caller that leaves is answered at once, unless its pod is being wired.
func (n *Node) await(ctx context.Context, c *addCall) addReply {
	gone := ctx.Done()
	for {
		select {
		case r := <-c.reply:
			return r
		case <-gone:
			gone = nil
			n.tell(func() { n.leave(c) })
		case <-n.done:
			select { // an answer that was given on the way out counts
			case r := <-c.reply:
				return r
			default:
				return addReply{err: n.stopping(c.req.Pod, "ADD")}
			}
		}
	}
}

func (n *Node) meterAdd(elapsed time.Duration, err error) {
	if n.ports.Meter == nil {
		return
	}
	why := ""
	if e, ok := errors.AsType[*Error](err); ok {
		why = string(e.Why)
	}
	n.ports.Meter.Added(elapsed, why)
}

func (n *Node) stopping(p pool.Pod, op string) error {
	return &Error{Pod: PodName{p.Namespace, p.Name}, Op: op, Why: Stopping, Hint: "the kubelet tries again once it runs", Retry: true}
}

// beginAdd runs in the loop: the address at once, or the pod becomes a demand.
func (n *Node) beginAdd(c *addCall) {
	if n.state == nil {
		n.early = append(n.early, c)
		return
	}
	key := c.req.Pod.Key
	if n.later(key, func() { n.beginAdd(c) }) {
		return
	}
	if old := n.adds[key]; old != nil { // the runtime asked again: the first call is nobody's any more
		delete(n.adds, key)
		old.reply <- addReply{err: &Error{Pod: podName(old.req.Pod), Op: "ADD", Why: Stopping, Detail: "another ADD of the same attachment came", Retry: true}}
	}
	n.adds[key] = c
	if g, ok := n.state.Add(c.req.Pod, n.now()); ok {
		n.wire(g)
	}
}

func podName(p pool.Pod) PodName { return PodName{Namespace: p.Namespace, Name: p.Name} }

// later queues f behind the work on the same attachment that is under way.
func (n *Node) later(key pool.Key, f func()) bool {
	q, busy := n.busy[key]
	if busy {
		n.busy[key] = append(q, f)
	}
	return busy
}

// idle ends the work on an attachment and starts what queued behind it.
func (n *Node) idle(key pool.Key) {
	q := n.busy[key]
	delete(n.busy, key)
	for i, f := range q {
		f()
		if _, busy := n.busy[key]; busy {
			n.busy[key] = append(n.busy[key], q[i+1:]...)
			return
		}
	}
}

// wire wires a pod that was given an address, once that is durable.
func (n *Node) wire(g pool.Granted) {
	key := g.Allocation.Pod.Key
	c := n.adds[key]
	if c == nil { // its caller left: nobody knows of the address yet
		n.undo(key)
		return
	}
	c.granted, c.repeat = true, g.Repeat
	delete(n.said, key)
	n.busy[key] = nil
	wait := n.ports.Journal.Append([]pool.Record{g.Record})
	pod := n.hostPod(g.Allocation)
	n.schedule(func() {
		wired, err := n.doWire(c, pod, wait)
		n.tell(func() { n.wired(c, pod, wired, err) })
	})
}

func (n *Node) doWire(c *addCall, pod hostnet.Pod, wait func() error) (hostnet.Wired, error) {
	if err := wait(); err != nil {
		return hostnet.Wired{}, &Error{
			Pod: podName(c.req.Pod), Op: "ADD", Why: JournalLost, Detail: err.Error(),
			Hint: "free space under /var/run/aws-node", Retry: true,
		}
	}
	ctx, cancel := context.WithTimeout(n.ctx, wireTimeout)
	defer cancel()
	wired, err := n.ports.Host.WirePod(ctx, n.cfg.Settings, pod, c.req.NetNS)
	if err != nil {
		return wired, &Error{Pod: podName(c.req.Pod), Op: "ADD", Why: WiringError, Detail: err.Error(), Hint: "see the agent's log", Retry: true}
	}
	return wired, nil
}

func (n *Node) wired(c *addCall, pod hostnet.Pod, wired hostnet.Wired, err error) {
	n.wiringEnded()
	if err == nil && n.ports.Guard != nil {
		n.admit(c, pod, wired)
		return
	}
	n.answerAdd(c, pod, wired, err)
}

func (n *Node) answerAdd(c *addCall, pod hostnet.Pod, wired hostnet.Wired, err error) {
	key := c.req.Pod.Key
	if n.adds[key] == c {
		delete(n.adds, key)
	}
	if err != nil {
		if !c.repeat { // else the pod keeps its address until its DEL
			n.undo(key)
		}
		n.log.Error("wire pod", run.KeyPod, pod.Name, run.KeyNamespace, pod.Namespace, run.KeyIP, pod.Addrs, run.KeyErr, err)
		c.reply <- addReply{err: err}
	} else {
		n.log.Info("pod wired", run.KeyPod, pod.Name, run.KeyNamespace, pod.Namespace, run.KeyIP, pod.Addrs, run.KeyENI, pod.ENI, run.KeyElapsed, n.now().Sub(c.began))
		c.reply <- addReply{added: Added{Pod: pod, Wired: wired}}
	}
	n.idle(key)
}

// undo takes an address back whose pod was not wired. It cools down all the same: a packet may have been sent.
func (n *Node) undo(key pool.Key) {
	if r, ok := n.state.Release(key, n.now()); ok {
		n.ports.Journal.Append([]pool.Record{r})
	}
}

// expire answers the ADDs whose time is over, with the reason.
func (n *Node) expire(now time.Time) {
	n.early = slices.DeleteFunc(n.early, func(c *addCall) bool {
		if now.Before(c.deadline) {
			return false
		}
		c.reply <- addReply{err: n.starting("ADD", podName(c.req.Pod))}
		return true
	})
	for key, c := range n.adds {
		if c.granted || now.Before(c.deadline) {
			continue
		}
		delete(n.adds, key)
		n.state.Withdraw(key)
		b := ipam.Explain(n.state, n.plan)
		if b.Why == "" {
			b.Why = ipam.Coming
		}
		if what, lasting := n.host.trouble.lasting(now); lasting && b.Why == ipam.Coming {
			b = ipam.Blocked{Why: HostNetwork, Detail: what, Hint: "see the agent's log"}
		}
		c.reply <- addReply{err: &Error{Pod: podName(c.req.Pod), Op: "ADD", Why: b.Why, Detail: b.Detail, Hint: b.Hint, Retry: true}}
	}
}

// leave ends an ADD whose caller has gone. One that was granted an address is answered by its wiring.
func (n *Node) leave(c *addCall) {
	if !c.granted {
		c.deadline = n.now()
		n.expire(c.deadline)
	}
}

// failWaiting answers what is still open when the loop ends.
func (n *Node) failWaiting() {
	for _, c := range slices.AppendSeq(slices.Clone(n.early), maps.Values(n.adds)) {
		if !c.granted {
			c.reply <- addReply{err: n.stopping(c.req.Pod, "ADD")}
		}
	}
}

// hostPod is an allocation in the host's terms.
func (n *Node) hostPod(a pool.Allocation) hostnet.Pod {
	p := hostnet.Pod{
		Key:       hostnet.PodKey(a.Pod.Key),
		Namespace: a.Pod.Namespace, Name: a.Pod.Name, UID: a.Pod.UID, Addrs: []netip.Addr{a.Addr}, ENI: a.ENI,
	}
	if e := n.state.ENI(a.ENI); e != nil {
		p.DeviceIndex, p.NetworkCard = e.DeviceIndex, e.Card
	}
	return p
}

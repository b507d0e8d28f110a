package fleet

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/berth-net/berth/internal/core/budget"
	"github.com/berth-net/berth/internal/core/ipam"
	"github.com/berth-net/berth/internal/core/pool"
	"github.com/berth-net/berth/internal/core/target"
	"github.com/berth-net/berth/internal/core/vpc"
	"github.com/berth-net/berth/internal/node"
	"github.com/berth-net/berth/internal/testkit/simcloud"
	"github.com/berth-net/berth/internal/vpcsim"
)

// What the agent's process takes on a real machine, as `make bench` shows it.
const (
	agentStart = 200 * time.Millisecond // until the planner runs
	unwiring   = 5 * time.Millisecond   // a pod's DEL
	addTimeout = 10 * time.Second       // an ADD that waits is answered with an error after so long
	vpcEvery   = 10 * time.Second       // the planner's interval of looks at the VPC's blocks
	maxActions = 16                     // calls to EC2 that a node has under way at most
)

// Ours is the policy of this project: the real planner, and the calls that it asks for. The warm targets are left open, so
// that the pool follows the demand.
func Ours(n *Node) Agent {
	r, cfg := n.cluster.region, n.cluster.cfg.IPAM
	cfg.Prefixes, cfg.WarmENI, cfg.WarmPrefix = n.cluster.cfg.Prefixes, target.NotSet, target.NotSet
	return &planned{
		n: n, r: r, cfg: cfg, client: client{r: r, source: n.cluster.Name, budget: budget.New(string(n.id))}, adds: make(map[pool.Key]*waiter),
		cloud: nodeCloud{Cloud: simcloud.Cloud{Sim: r.Sim, Caller: vpcsim.Caller{Source: n.cluster.Name}}, n: n},
		meta:  hostMetadata{r: r, Metadata: simcloud.Metadata{Sim: r.Sim, ID: n.id}},
	}
}

// nodeCloud is EC2 for one node.
type nodeCloud struct {
	simcloud.Cloud
	n *Node
}

// AvailableENIs implements node.CloudReader.
func (n nodeCloud) AvailableENIs(ctx context.Context, _ vpc.ID, _ string, _ vpc.InstanceID) ([]vpc.ENI, error) {
	ids := n.n.cluster.region.leakable(n.n)
	if len(ids) == 0 {
		n.Sim.CountCall("DescribeNetworkInterfaces", n.n.cluster.Name, "ok")
		return nil, nil
	}
	list, err := n.ENIs(ctx, ids)
	return slices.DeleteFunc(list, func(e vpc.ENI) bool { return e.Attachment != nil }), err
}

// hostMetadata answers what an agent asks every ten seconds without building the whole tree.
type hostMetadata struct {
	simcloud.Metadata
	r    *Region
	inst vpc.Instance
}

// Refresh implements node.Metadata.
func (m *hostMetadata) Refresh(context.Context, string) ([]netip.Prefix, []vpc.SecurityGroupID, error) {
	return m.r.blocks, m.inst.Groups, nil
}

// planned is a node's agent as the loop of internal/node drives it, without the host.
type planned struct {
	n      *Node
	r      *Region
	state  *pool.State // nil until the process runs
	cfg    pool.Config
	cloud  node.Cloud
	client client
	meta   hostMetadata

	adds   map[pool.Key]*waiter
	queue  []*waiter // in the order of their deadlines
	acting int
	failed int
	// wake is when the plan wants to be looked at again, timer the first moment at which that will happen.
	wake, timer time.Duration
}

// waiter is an ADD without an answer.
type waiter struct {
	pod      *Pod
	deadline time.Duration
	over     bool
}

func (o *planned) failedAdds() int { return o.failed }
func (o *planned) halt()           { o.state = nil }

func (o *planned) boot() {
	o.r.After(agentStart, func() {
		if !o.n.alive {
			return
		}
		inst, err := o.meta.Instance(context.Background())
		must(err)
		o.meta.inst = inst
		o.state = pool.New(o.cfg, inst, o.n.limits, "1", o.r.Now())
		o.state.MaxPods = o.n.cluster.cfg.MaxPods
		for _, w := range o.queue {
			if !w.over {
				o.ask(w)
			}
		}
		o.n.touch()
	})
}

func (o *planned) add(p *Pod) {
	w := &waiter{pod: p, deadline: o.r.now + addTimeout}
	o.adds[p.key] = w
	o.queue = append(o.queue, w)
	if o.state != nil {
		o.ask(w)
	}
	if len(o.queue) == 1 {
		o.r.at(w.deadline, o.expire)
	}
}

// ask puts an ADD to the planner.
func (o *planned) ask(w *waiter) {
	if g, ok := o.state.Add(pool.Pod{Key: w.pod.key, Name: w.pod.name, UID: w.pod.name}, o.r.Now()); ok {
		o.grant(g)
	}
}

func (o *planned) grant(g pool.Granted) {
	w := o.adds[g.Allocation.Pod.Key]
	if w == nil {
		o.r.broken("%s is granted to %s, which does not wait", g.Allocation.Addr, g.Allocation.Pod.Name)
		return
	}
	w.over = true
	delete(o.adds, w.pod.key)
	o.n.granted(w.pod, g.Allocation.Addr, g.Allocation.ENI)
}

// expire answers the ADDs whose time is over with an error; the runtime repeats them.
func (o *planned) expire() {
	for len(o.queue) > 0 && (o.queue[0].over || o.queue[0].deadline <= o.r.now) {
		w := o.queue[0]
		o.queue = o.queue[1:]
		if w.over {
			continue
		}
		w.over = true
		delete(o.adds, w.pod.key)
		o.failed++
		if o.state != nil {
			o.state.Withdraw(w.pod.key)
		}
		o.r.After(addRetry, func() {
			if !w.pod.over {
				o.add(w.pod)
				o.n.touch()
			}
		})
		o.n.touch()
	}
	if len(o.queue) > 0 {
		o.r.at(o.queue[0].deadline, o.expire)
	}
}

func (o *planned) cancel(p *Pod) {
	if w := o.adds[p.key]; w != nil {
		w.over = true
		delete(o.adds, p.key)
	}
	if o.state != nil {
		o.state.Withdraw(p.key)
	}
}

func (o *planned) del(p *Pod) {
	if _, ok := o.state.BeginRelease(p.key); !ok {
		o.r.broken("the planner does not know %s", p.name)
	}
	o.r.After(unwiring, func() {
		if !o.n.alive {
			return
		}
		o.n.released(p)
		o.state.Release(p.key, o.r.Now())
		o.n.touch()
	})
}

// pump does what the loop does each turn.
func (o *planned) pump() {
	if o.state == nil {
		return
	}
	o.configure()
	now := o.r.Now()
	o.state.Expect(o.bound(), 0)
	for _, g := range o.state.Satisfy(now) {
		o.grant(g)
	}
	plan := ipam.Decide(o.state, now)
	wake := plan.Wake.Sub(start)
	for _, a := range plan.Actions {
		if o.acting >= maxActions {
			break
		}
		if a.Kind == pool.ReadVPC { // every few seconds on each node
			o.state.Begin(a, now)
			o.state.Finish(a, pool.Result{AskedAt: now, CIDRs: o.r.blocks, Groups: o.meta.inst.Groups}, now)
			wake = min(wake, o.r.now+vpcEvery)
			continue
		}
		o.act(a)
	}
	o.sleep(wake)
}

// bound are the pods that the API server shows bound to the node without an address, and that do not ask for one now: the
// planner leaves out the others itself.
func (o *planned) bound() []pool.Bound {
	if len(o.n.without) <= len(o.adds) {
		return nil
	}
	list := make([]pool.Bound, 0, len(o.n.without)-len(o.adds))
	for p := range o.n.without { // in any order: they are counted
		if o.adds[p.key] == nil {
			list = append(list, pool.Bound{Name: p.name, UID: p.name})
		}
	}
	return list
}

// sleep sees to it that the node looks again at a moment. Timers are not taken back: one that comes too early sets the next.
func (o *planned) sleep(until time.Duration) {
	o.wake = max(until, o.r.now+time.Millisecond)
	if o.timer > o.r.now && o.timer <= o.wake {
		return
	}
	o.timer = o.wake
	o.r.at(o.timer, o.look)
}

func (o *planned) look() {
	switch {
	case o.r.now < o.timer || !o.n.alive: // another timer was set for earlier
	case o.r.now < o.wake:
		o.timer = o.wake
		o.r.at(o.timer, o.look)
	default:
		o.n.touch()
	}
}

// configure marks the interfaces whose link is there.
func (o *planned) configure() {
	for _, e := range o.state.ENIs() {
		if e.Phase == pool.Attached && !e.Configured {
			l, secondary := o.r.links[e.ID]
			if !secondary || l.link <= o.r.now {
				o.state.Configured(e.ID, true)
			}
		}
	}
}

// act makes the call that an action stands for.
func (o *planned) act(a pool.Action) {
	o.state.Begin(a, o.r.Now())
	o.acting++
	asked, state := o.r.Now(), o.state
	answer := func(res pool.Result) {
		if o.state != state || !o.n.alive {
			return
		}
		res.AskedAt = asked
		o.acting--
		o.state.Finish(a, res, o.r.Now())
		o.n.touch()
	}
	calls := ec2Actions(a.Kind)
	if len(calls) == 0 { // the metadata service is a link away
		o.r.After(time.Millisecond, func() { answer(o.execute(a)) })
		return
	}
	var res pool.Result
	o.client.chain(calls, node.LaneOf(a), func() vpc.Code {
		if o.n.alive {
			res = o.execute(a)
		}
		return vpc.CodeOf(res.Err)
	}, func(err error) {
		if err != nil {
			res = pool.Result{Err: err}
		}
		answer(res)
	})
}

// execute makes a call's effect, and holds it against what pods have.
func (o *planned) execute(a pool.Action) pool.Result {
	what := "action " + a.String()
	switch a.Kind {
	case pool.UnassignAddresses:
		for _, b := range a.Blocks {
			o.r.frees(what, b.CIDR())
		}
	case pool.DetachENI:
		o.r.detaches(what, a.ENI)
	default:
	}
	res := node.Execute(context.Background(), o.cloud, &o.meta, a, o.state.Instance, o.cfg.Cluster)
	if res.Err != nil {
		return res
	}
	switch a.Kind {
	case pool.CreateENI:
		if _, again := o.r.held[res.ENI.ID]; !again {
			o.r.gains(o.n, res.ENI.ID, sizeOf(vpc.Blocks(res.ENI.Secondary, res.ENI.Prefixes)))
			o.r.creates(o.n, res.ENI.ID)
		}
	case pool.AssignAddresses:
		o.r.gains(o.n, a.ENI, sizeOf(res.Assigned))
	case pool.UnassignAddresses:
		o.r.gains(o.n, a.ENI, -sizeOf(a.Blocks))
	case pool.DeleteENI, pool.DeleteLeaked: // EC2 refuses to delete one that is attached
		o.r.detaches(what, a.ENI)
		o.r.gone(a.ENI)
	case pool.DetachENI:
		o.r.loose[a.ENI] = true
	case pool.AttachENI:
		o.r.at(o.r.attached(a.ENI).link, o.n.touch)
	default:
	}
	return res
}

// sizeOf is how many addresses blocks have.
func sizeOf(blocks []vpc.Block) int {
	n := 0
	for _, b := range blocks {
		n += b.Size()
	}
	return n
}

// ec2Actions are the calls that an action makes, one after the other; none for one to the metadata service.
func ec2Actions(k pool.Kind) []string {
	calls := []struct {
		kinds []pool.Kind
		names []string
	}{
		{[]pool.Kind{pool.ReadMetadata, pool.ReadVPC}, nil},
		{[]pool.Kind{pool.ReadENIs, pool.ReadENI, pool.ReadLeaked}, []string{"DescribeNetworkInterfaces"}},
		{[]pool.Kind{pool.ReadSubnets}, []string{"DescribeSubnets"}},
		{[]pool.Kind{pool.ReadSpace}, []string{"GetSubnetCidrReservations", "DescribeNetworkInterfaces"}},
		{[]pool.Kind{pool.ReadGroups}, []string{"DescribeSecurityGroups"}},
		{[]pool.Kind{pool.CreateENI}, []string{"CreateNetworkInterface"}},
		{[]pool.Kind{pool.AttachENI}, []string{"AttachNetworkInterface"}},
		{[]pool.Kind{pool.KeepENI, pool.SetGroups}, []string{"ModifyNetworkInterfaceAttribute"}},
		{[]pool.Kind{pool.TagENI}, []string{"CreateTags"}},
		{[]pool.Kind{pool.AssignAddresses}, []string{"AssignPrivateIpAddresses"}},
		{[]pool.Kind{pool.UnassignAddresses}, []string{"UnassignPrivateIpAddresses"}},
		{[]pool.Kind{pool.DetachENI}, []string{"DetachNetworkInterface"}},
		{[]pool.Kind{pool.DeleteENI, pool.DeleteLeaked}, []string{"DeleteNetworkInterface"}},
		{[]pool.Kind{pool.ReservePrefixes}, []string{"CreateSubnetCidrReservation"}},
	}
	for _, c := range calls {
		if slices.Contains(c.kinds, k) {
			return c.names
		}
	}
	panic(fmt.Sprintf("fleet: no EC2 action for %s", k))
}

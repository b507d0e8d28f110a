package node

import (
	"context"
	"slices"
	"time"

	"github.com/berth-net/berth/internal/core/budget"
	"github.com/berth-net/berth/internal/core/pool"
	"github.com/berth-net/berth/internal/core/vpc"
	"github.com/berth-net/berth/internal/run"
)

// act starts an action: its records first, then, once they are durable, the call.
func (n *Node) act(a pool.Action) {
	wait := n.ports.Journal.Append(n.state.Begin(a, n.now()))
	n.acting++
	inst := n.state.Instance
	n.spawn(func() {
		start := n.now()
		r := n.call(a, inst, wait)
		n.tell(func() { n.finish(a, r, n.now().Sub(start)) })
	})
}

func (n *Node) call(a pool.Action, inst vpc.Instance, wait func() error) pool.Result {
	if err := wait(); err != nil {
		return pool.Result{Err: &vpc.Error{Code: vpc.Throttled, Op: string(a.Kind), Subject: string(a.ENI), Err: err, Hint: "the journal cannot be written"}}
	}
	ctx, cancel := context.WithTimeout(budget.Into(n.ctx, LaneOf(a)), actionTimeout)
	defer cancel()
	askedAt := n.now()
	r := Execute(ctx, n.ports.Cloud, n.ports.Metadata, a, inst, n.cfg.IPAM.Cluster)
	r.AskedAt = askedAt
	return r
}

// finish folds the result of an action into the state.
func (n *Node) finish(a pool.Action, r pool.Result, elapsed time.Duration) {
	n.acting--
	attached, blocks := len(n.state.ENIs()), n.state.Instance.VPCCIDRs
	n.ports.Journal.Append(n.state.Finish(a, r, n.now()))
	if n.ports.Meter != nil {
		n.ports.Meter.Acted(a.Kind, a.Why, elapsed, r.Err)
	}
	switch {
	case r.Err != nil:
		n.log.Warn("action failed", run.KeyAction, a.String(), run.KeyElapsed, elapsed, run.KeyErr, r.Err)
	case a.Kind.Mutates():
		n.log.Info("action done", run.KeyAction, a.String(), run.KeyElapsed, elapsed)
	default:
		n.log.Debug("action done", run.KeyAction, a.String(), run.KeyElapsed, elapsed)
	}
	if a.Kind == pool.ReadENIs {
		n.noteLost()
	}
	if now := n.state.Instance.VPCCIDRs; !slices.Equal(blocks, now) {
		n.log.Info("the VPC's blocks changed", "cidrs", now)
		n.host.dirty = true
	}
	if a.Kind == pool.AttachENI || a.Kind == pool.ReadENIs || a.Kind == pool.ReadMetadata || attached != len(n.state.ENIs()) {
		n.host.dirty = true
	}
}

// noteLost tells of pods whose address EC2 does not list any more. They keep it, but nothing reaches them.
func (n *Node) noteLost() {
	before := n.lost
	n.lost = n.state.Lost()
	enis, addrs := make(map[vpc.ENIID]bool), 0
	for _, a := range n.lost {
		if slices.ContainsFunc(before, func(b pool.Allocation) bool { return b.Addr == a.Addr && b.Pod.Key == a.Pod.Key }) {
			continue
		}
		addrs++
		if e := n.state.ENI(a.ENI); e == nil || !e.MissingSince.IsZero() {
			enis[a.ENI] = true
		}
		n.log.Error("EC2 does not list the address of a pod any more; delete the pod", run.KeyPod, a.Pod.Name, run.KeyNamespace, a.Pod.Namespace, run.KeyIP, a.Addr, run.KeyENI, a.ENI)
	}
	if addrs > 0 && n.ports.Meter != nil {
		n.ports.Meter.Lost(len(enis), addrs)
	}
}

// LaneOf is how urgent an action is. A pod that is bound waits as much as one that has asked: between two tries of the
// runtime nobody asks. An interface that was begun and that no pod needs any more is as urgent as the pool ahead of demand.
func LaneOf(a pool.Action) budget.Lane {
	switch {
	case a.Why.Urgent():
		return budget.Waiting
	case a.Why == pool.Starting, a.Why == pool.NoneFree, a.Why == pool.AfterDoubt, a.Why == pool.Unfinished && a.Kind == pool.ReadENI:
		return budget.Starting
	case a.Why == pool.WarmTarget, a.Why == pool.AheadOfDemand, a.Why == pool.Fragmentation,
		a.Why == pool.Unfinished && (a.Kind == pool.CreateENI || a.Kind == pool.AttachENI):
		return budget.Warm
	}
	return budget.Cleaning
}

// Execute makes the call that an action stands for. The caller sets AskedAt.
func Execute(ctx context.Context, cloud Cloud, metadata Metadata, a pool.Action, inst vpc.Instance, cluster string) (r pool.Result) {
	switch a.Kind {
	case pool.ReadENIs:
		r.ENIs, r.Err = cloud.AttachedENIs(ctx, inst.ID)
	case pool.ReadENI:
		r.ENIs, r.Err = cloud.ENIs(ctx, []vpc.ENIID{a.ENI})
	case pool.ReadSubnets:
		r.Subnets, r.Err = cloud.Subnets(ctx, inst.VPC, inst.Zone)
	case pool.ReadSpace:
		r.ENIs, r.Reserved, r.Err = cloud.Occupants(ctx, a.Subnet)
	case pool.ReadGroups:
		r.Tagged, r.Err = cloud.SecurityGroups(ctx, inst.VPC)
	case pool.ReservePrefixes:
		_, r.Err = cloud.ReservePrefixes(ctx, a.Subnet, a.CIDR, a.Tags)
	case pool.ReadLeaked:
		r.ENIs, r.Err = cloud.AvailableENIs(ctx, inst.VPC, cluster, "")
	case pool.ReadMetadata:
		r.Metadata, r.Err = metadata.ENIs(ctx)
	case pool.ReadVPC:
		r.CIDRs, r.Groups, r.Err = metadata.Refresh(ctx, inst.PrimaryMAC)
	case pool.CreateENI:
		r.ENI, r.Err = cloud.CreateENI(ctx, CreateENI{
			Token: a.Create.Token, Subnet: a.Create.Subnet, Groups: a.Create.Groups, Description: a.Create.Description,
			Tags: a.Create.Tags, Primary: a.Create.Primary, Want: a.Create.Want,
		})
	case pool.AttachENI:
		r.Attachment, r.Err = cloud.AttachENI(ctx, AttachENI{ENI: a.ENI, Instance: inst.ID, DeviceIndex: a.Device, NetworkCard: a.Card})
	case pool.KeepENI:
		r.Err = cloud.SetDeleteOnTermination(ctx, a.ENI, a.Attachment)
	case pool.TagENI:
		r.Err = cloud.TagENI(ctx, a.ENI, a.Tags)
	case pool.SetGroups:
		r.Err = cloud.SetGroups(ctx, a.ENI, a.Groups)
	case pool.AssignAddresses:
		r.Assigned, r.Err = cloud.Assign(ctx, a.ENI, a.Want)
	case pool.UnassignAddresses:
		r.Err = cloud.Unassign(ctx, a.ENI, a.Blocks)
	case pool.DetachENI:
		r.Err = cloud.DetachENI(ctx, a.ENI, a.Attachment)
	case pool.DeleteENI, pool.DeleteLeaked:
		r.Err = cloud.DeleteENI(ctx, a.ENI)
	}
	return r
}

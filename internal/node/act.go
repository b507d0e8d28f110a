package node

import (
	"context"
	"slices"
	"time"

	"github.com/berth-net/berth/internal/core/budget"
	"github.com/berth-net/berth/internal/core/ipam"
	"github.com/berth-net/berth/internal/core/vpc"
	"github.com/berth-net/berth/internal/run"
)

// act starts an action: its records first, then, once they are durable, the call.
func (n *Node) act(a ipam.Action) {
	wait := n.ports.Journal.Append(n.state.Begin(a, n.now()))
	n.acting++
	inst := n.state.Instance
	n.spawn(func() {
		start := n.now()
		r := n.call(a, inst, wait)
		n.tell(func() { n.finish(a, r, n.now().Sub(start)) })
	})
}

func (n *Node) call(a ipam.Action, inst vpc.Instance, wait func() error) ipam.Result {
	if err := wait(); err != nil {
		return ipam.Result{Err: &vpc.Error{Code: vpc.Throttled, Op: string(a.Kind), Subject: string(a.ENI), Err: err, Hint: "the journal cannot be written"}}
	}
	ctx, cancel := context.WithTimeout(budget.Into(n.ctx, LaneOf(a)), actionTimeout)
	defer cancel()
	askedAt := n.now()
	r := Execute(ctx, n.ports.Cloud, n.ports.Metadata, a, inst, n.cfg.IPAM.Cluster)
	r.AskedAt = askedAt
	return r
}

// finish folds the result of an action into the state.
func (n *Node) finish(a ipam.Action, r ipam.Result, elapsed time.Duration) {
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
	if a.Kind == ipam.ReadENIs {
		n.noteLost()
	}
	if now := n.state.Instance.VPCCIDRs; !slices.Equal(blocks, now) {
		n.log.Info("the VPC's blocks changed", "cidrs", now)
		n.host.dirty = true
	}
	if a.Kind == ipam.AttachENI || a.Kind == ipam.ReadENIs || a.Kind == ipam.ReadMetadata || attached != len(n.state.ENIs()) {
		n.host.dirty = true
	}
}

// noteLost tells of pods whose address EC2 does not list any more. They keep it, but nothing reaches them.
func (n *Node) noteLost() {
	before := n.lost
	n.lost = n.state.Lost()
	enis, addrs := make(map[vpc.ENIID]bool), 0
	for _, a := range n.lost {
		if slices.ContainsFunc(before, func(b ipam.Allocation) bool { return b.Addr == a.Addr && b.Pod.Key == a.Pod.Key }) {
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

// LaneOf is how urgent an action is.
func LaneOf(a ipam.Action) budget.Lane {
	switch {
	case a.Why == ipam.PodsWaiting, a.Kind == ipam.AttachENI: // an interface that was made for pods, mostly
		return budget.Waiting
	case a.Why == ipam.Starting, a.Why == ipam.AfterDoubt, a.Kind == ipam.CreateENI && a.Why == ipam.Unfinished:
		return budget.Starting
	case a.Why == ipam.WarmTarget, a.Why == ipam.PodsBound, a.Why == ipam.AheadOfDemand, a.Why == ipam.Fragmentation:
		return budget.Warm
	}
	return budget.Cleaning
}

// Execute makes the call that an action stands for. The caller sets AskedAt.
func Execute(ctx context.Context, cloud Cloud, metadata Metadata, a ipam.Action, inst vpc.Instance, cluster string) (r ipam.Result) {
	switch a.Kind {
	case ipam.ReadENIs:
		r.ENIs, r.Err = cloud.AttachedENIs(ctx, inst.ID)
	case ipam.ReadENI:
		r.ENIs, r.Err = cloud.ENIs(ctx, []vpc.ENIID{a.ENI})
	case ipam.ReadSubnets:
		r.Subnets, r.Err = cloud.Subnets(ctx, inst.VPC, inst.Zone)
	case ipam.ReadSpace:
		r.ENIs, r.Reserved, r.Err = cloud.Occupants(ctx, a.Subnet)
	case ipam.ReadGroups:
		r.Tagged, r.Err = cloud.SecurityGroups(ctx, inst.VPC)
	case ipam.ReservePrefixes:
		_, r.Err = cloud.ReservePrefixes(ctx, a.Subnet, a.CIDR, a.Tags)
	case ipam.ReadLeaked:
		r.ENIs, r.Err = cloud.AvailableENIs(ctx, inst.VPC, cluster, "")
	case ipam.ReadMetadata:
		r.Metadata, r.Err = metadata.ENIs(ctx)
	case ipam.ReadVPC:
		r.CIDRs, r.Groups, r.Err = metadata.Refresh(ctx, inst.PrimaryMAC)
	case ipam.CreateENI:
		r.ENI, r.Err = cloud.CreateENI(ctx, CreateENI{
			Token: a.Create.Token, Subnet: a.Create.Subnet, Groups: a.Create.Groups, Description: a.Create.Description,
			Tags: a.Create.Tags, Primary: a.Create.Primary, Want: a.Create.Want,
		})
	case ipam.AttachENI:
		r.Attachment, r.Err = cloud.AttachENI(ctx, AttachENI{ENI: a.ENI, Instance: inst.ID, DeviceIndex: a.Device, NetworkCard: a.Card})
	case ipam.KeepENI:
		r.Err = cloud.SetDeleteOnTermination(ctx, a.ENI, a.Attachment)
	case ipam.TagENI:
		r.Err = cloud.TagENI(ctx, a.ENI, a.Tags)
	case ipam.SetGroups:
		r.Err = cloud.SetGroups(ctx, a.ENI, a.Groups)
	case ipam.AssignAddresses:
		r.Assigned, r.Err = cloud.Assign(ctx, a.ENI, a.Want)
	case ipam.UnassignAddresses:
		r.Err = cloud.Unassign(ctx, a.ENI, a.Blocks)
	case ipam.DetachENI:
		r.Err = cloud.DetachENI(ctx, a.ENI, a.Attachment)
	case ipam.DeleteENI, ipam.DeleteLeaked:
		r.Err = cloud.DeleteENI(ctx, a.ENI)
	}
	return r
}

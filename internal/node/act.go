package node

import (
	"context"
	"errors"
	"time"

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
	ctx, cancel := context.WithTimeout(n.ctx, actionTimeout)
	defer cancel()
	askedAt := n.now()
	r := n.execute(ctx, a, inst)
	r.AskedAt = askedAt
	return r
}

// finish folds the result of an action into the state.
func (n *Node) finish(a ipam.Action, r ipam.Result, elapsed time.Duration) {
	n.acting--
	attached := len(n.state.ENIs())
	n.ports.Journal.Append(n.state.Finish(a, r, n.now()))
	if n.ports.Meter != nil {
		n.ports.Meter.Acted(a.Kind, a.Why, elapsed, r.Err)
	}
	switch {
	case r.Err != nil && !errors.Is(r.Err, context.Canceled):
		n.log.Warn("action failed", run.KeyAction, a.String(), run.KeyElapsed, elapsed, run.KeyErr, r.Err)
	case a.Kind.Mutates():
		n.log.Info("action done", run.KeyAction, a.String(), run.KeyElapsed, elapsed)
	default:
		n.log.Debug("action done", run.KeyAction, a.String(), run.KeyElapsed, elapsed)
	}
	if a.Kind == ipam.AttachENI || a.Kind == ipam.ReadENIs || a.Kind == ipam.ReadMetadata || attached != len(n.state.ENIs()) {
		n.host.dirty = true
	}
}

// execute makes the call that an action stands for.
func (n *Node) execute(ctx context.Context, a ipam.Action, inst vpc.Instance) (r ipam.Result) {
	switch a.Kind {
	case ipam.ReadENIs:
		r.ENIs, r.Err = n.ports.Cloud.AttachedENIs(ctx, inst.ID)
	case ipam.ReadENI:
		r.ENIs, r.Err = n.ports.Cloud.ENIs(ctx, []vpc.ENIID{a.ENI})
	case ipam.ReadSubnets:
		r.Subnets, r.Err = n.ports.Cloud.Subnets(ctx, inst.VPC, inst.Zone)
	case ipam.ReadLeaked:
		r.ENIs, r.Err = n.ports.Cloud.AvailableENIs(ctx, inst.VPC, n.cfg.IPAM.Cluster, "")
	case ipam.ReadMetadata:
		r.Metadata, r.Err = n.ports.Metadata.ENIs(ctx)
	case ipam.CreateENI:
		r.ENI, r.Err = n.ports.Cloud.CreateENI(ctx, CreateENI{
			Token: a.Create.Token, Subnet: a.Create.Subnet, Groups: a.Create.Groups, Description: a.Create.Description,
			Tags: a.Create.Tags, Secondary: a.Create.Secondary,
		})
	case ipam.AttachENI:
		r.Attachment, r.Err = n.ports.Cloud.AttachENI(ctx, AttachENI{ENI: a.ENI, Instance: inst.ID, DeviceIndex: a.Device, NetworkCard: a.Card})
	case ipam.KeepENI:
		r.Err = n.ports.Cloud.SetDeleteOnTermination(ctx, a.ENI, a.Attachment)
	case ipam.TagENI:
		r.Err = n.ports.Cloud.TagENI(ctx, a.ENI, a.Tags)
	case ipam.SetGroups:
		r.Err = n.ports.Cloud.SetGroups(ctx, a.ENI, a.Groups)
	case ipam.AssignAddresses:
		r.Addrs, r.Err = n.ports.Cloud.AssignAddresses(ctx, a.ENI, a.Count)
	case ipam.UnassignAddresses:
		r.Err = n.ports.Cloud.UnassignAddresses(ctx, a.ENI, a.Addrs)
	case ipam.DetachENI:
		r.Err = n.ports.Cloud.DetachENI(ctx, a.ENI, a.Attachment)
	case ipam.DeleteENI, ipam.DeleteLeaked:
		r.Err = n.ports.Cloud.DeleteENI(ctx, a.ENI)
	}
	return r
}

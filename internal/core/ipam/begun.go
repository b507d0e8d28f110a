package ipam

import (
	"maps"
	"slices"

	"github.com/berth-net/berth/internal/core/pool"
	"github.com/berth-net/berth/internal/core/vpc"
)

// finishBegun completes what an earlier plan, perhaps of an earlier process, began.
func (p *planner) finishBegun() {
	for _, token := range slices.Sorted(maps.Keys(p.Pending())) {
		pending := p.Pending()[token]
		p.do(pool.Action{Kind: pool.CreateENI, Key: "create/" + token, Why: p.still(pending), Create: pending})
	}
	for _, e := range p.ENIs() {
		if !e.Managed {
			continue
		}
		switch e.Phase {
		case pool.Created:
			p.attach(e)
		case pool.Attached:
			p.complete(e)
		case pool.Detaching:
			p.detaching(e)
		case pool.Detached:
			p.do(pool.Action{Kind: pool.DeleteENI, Key: "delete/" + string(e.ID), Why: pool.Unfinished, ENI: e.ID})
		case pool.Attaching: // by a call whose outcome is not known
			if _, flying := p.Flying("attach/" + string(e.ID)); !flying {
				p.readENI(e)
			}
		}
	}
}

// still is what a creation that was begun is for now: one for no pod in particular is urgent once a pod waits.
func (p *planner) still(begun *pool.Pending) pool.Why {
	if why := p.forPods(); why != pool.Unfinished || begun.Why == "" || begun.Why.Urgent() {
		return why
	}
	return begun.Why
}

// forPods is what an interface that was begun is for: pods, if there are any without an address, the next pod if it would
// wait, or to finish it.
func (p *planner) forPods() pool.Why {
	switch {
	case p.tally.Waiting > 0:
		return pool.PodsWaiting
	case p.Expected() > 0:
		return pool.PodsBound
	case p.noneFree():
		return pool.NoneFree
	}
	return pool.Unfinished
}

// attach attaches a created interface at the lowest free device index, or deletes it when the node has no slot or no use for it.
func (p *planner) attach(e *pool.ENI) {
	if e.Dirty {
		p.readENI(e)
		return
	}
	if e.Barred { // since it was made
		p.do(pool.Action{Kind: pool.DeleteENI, Key: "delete/" + string(e.ID), Why: pool.SubnetExcluded, ENI: e.ID})
		return
	}
	taken := make(map[int]bool)
	for _, other := range p.ENIs() {
		if other.Card == 0 && other.Phase != pool.Created && other.Phase != pool.Detached {
			taken[other.DeviceIndex] = true
		}
	}
	for _, a := range p.plan.Actions {
		if a.Kind == pool.AttachENI {
			taken[a.Device] = true
		}
	}
	if len(taken) >= p.MaxENIs() {
		p.do(pool.Action{Kind: pool.DeleteENI, Key: "delete/" + string(e.ID), Why: pool.NoSlot, ENI: e.ID})
		return
	}
	device := 1
	for taken[device] {
		device++
	}
	p.do(pool.Action{Kind: pool.AttachENI, Key: "attach/" + string(e.ID), Why: p.forPods(), ENI: e.ID, Device: device})
}

// complete does the finishing writes of an attached interface: that it goes with its instance, its tags and groups.
func (p *planner) complete(e *pool.ENI) {
	if e.Type == vpc.ENITypeTrunk || !e.MissingSince.IsZero() {
		return
	}
	id := string(e.ID)
	ours := e.Tags[vpc.TagENICreatedAt] != "" // one that somebody attached may have to outlive the instance
	if ours && !e.DeleteOnTermination && e.Attachment != nil && !e.IsPrimary() {
		p.do(pool.Action{Kind: pool.KeepENI, Key: "keep/" + id, Why: pool.Unfinished, ENI: e.ID, Attachment: e.Attachment.ID})
	}
	if !e.Tagged {
		p.do(pool.Action{Kind: pool.TagENI, Key: "tag/" + id, Why: pool.Unfinished, ENI: e.ID, Tags: p.ENITags()})
	}
	groups, known, _ := p.Groups(e.Subnet)
	if known && !e.IsPrimary() && len(groups) > 0 && len(e.Groups) > 0 && !sameGroups(e.Groups, groups) {
		p.do(pool.Action{Kind: pool.SetGroups, Key: "groups/" + id, Why: pool.GroupsChanged, ENI: e.ID, Groups: groups})
	}
	if leaving := e.Leaving(); len(leaving) > 0 && p.tally.Waiting == 0 {
		p.do(pool.Action{Kind: pool.UnassignAddresses, Key: "unassign/" + id, Why: pool.Unfinished, ENI: e.ID, Blocks: leaving})
	}
}

func sameGroups(a, b []vpc.SecurityGroupID) bool {
	a, b = slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b))
	return slices.Equal(a, b)
}

// detaching repeats a detachment of unknown outcome, then watches until EC2 says that it is done.
func (p *planner) detaching(e *pool.ENI) {
	id := string(e.ID)
	if e.Attachment != nil && e.Dirty {
		p.do(pool.Action{Kind: pool.DetachENI, Key: "detach/" + id, Why: pool.Unfinished, ENI: e.ID, Attachment: e.Attachment.ID})
	}
	if _, flying := p.Flying("detach/" + id); !flying {
		p.readENI(e)
	}
}

// readENI looks at one interface, which need not be attached.
func (p *planner) readENI(e *pool.ENI) {
	p.do(pool.Action{Kind: pool.ReadENI, Key: "read/" + string(e.ID), Why: pool.Unfinished, ENI: e.ID})
}

package ipam

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/berth-net/berth/internal/core/ledger"
	"github.com/berth-net/berth/internal/core/subnet"
	"github.com/berth-net/berth/internal/core/target"
	"github.com/berth-net/berth/internal/core/vpc"
)

// Keys of actions of which there is one per node. keyGrow is no action: it spaces creations after a refusal.
const (
	keyReadENIs     = "read-enis"
	keyReadSubnets  = "read-subnets"
	keyReadLeaked   = "read-leaked"
	keyReadMetadata = "read-metadata"
	keyReadVPC      = "read-vpc"
	keyGrow         = "grow"
)

// planner collects one plan.
type planner struct {
	*State
	now  time.Time
	plan Plan
	// needRead is set when something waits for a newer read of the interfaces; needSubnets for one of the subnets.
	needRead    Why
	needSubnets time.Duration
	tally       Tally
	warm        target.Warm
	short       target.Short
	// planned is what this plan takes from each subnet.
	planned map[vpc.SubnetID]int
	// named are the maps less what this plan names.
	named map[vpc.SubnetID]*subnet.Space
	// rereading: growth waits for a map, after a lost race.
	rereading bool
	// wantGroups: an interface is to be made where tags of security groups matter.
	wantGroups bool
}

// Plan computes what to do now. It changes nothing but what time alone changes: cooling periods that are over, measurements
// that are complete, words of EC2 that have grown old.
func (s *State) Plan(now time.Time) Plan {
	s.book.Thaw(now)
	s.measure(now)
	s.breakSubnets(now)
	p := &planner{State: s, now: now, tally: s.Tally(), warm: s.targets(now), planned: make(map[vpc.SubnetID]int), named: make(map[vpc.SubnetID]*subnet.Space)}
	for _, e := range s.order {
		p.tally.Assignable += p.roomOn(e)
	}
	p.short = p.warm.Short(p.tally, s.perENI(), s.maxPods())
	p.readMetadata(p.metadataInterval())
	p.readVPC()
	if s.Config.ReadEC2 {
		p.read()
		if s.Config.Provision && !s.enisRead.IsZero() {
			p.finishBegun()
			p.grow()
			p.shrink()
			p.clean()
			p.surveyAll()
			p.readGroups()
		}
		p.readSubnets()
		p.readENIs()
	}
	p.plan.Blocked = s.blocked(p.tally, p.promised(), now)
	if (p.rereading || p.wantGroups) && (p.plan.Blocked == SubnetsFull || p.plan.Blocked == LastSlotKept) {
		p.plan.Blocked = Coming
	}
	p.wake()
	return p.plan
}

// do adds an action unless it is in flight, has to wait, or must not run beside another.
func (p *planner) do(a Action) bool {
	if !p.tries.May(a.Key, p.now) || slices.ContainsFunc(p.plan.Actions, a.excludes) {
		return false
	}
	for _, b := range p.inflight {
		if a.excludes(b) {
			return false
		}
	}
	p.plan.Actions = append(p.plan.Actions, a)
	return true
}

// read asks for what is needed before anything else is decided.
func (p *planner) read() {
	if p.enisRead.IsZero() {
		p.do(Action{Kind: ReadENIs, Key: keyReadENIs, Why: Starting})
		if !p.restored && p.zone.ReadAt().IsZero() { // tags decide whether the primary subnet may be used at all
			p.do(Action{Kind: ReadSubnets, Key: keyReadSubnets, Why: Starting})
		}
		slow := !p.now.Before(p.startedAt.Add(ec2Slow))
		if p.restored && !p.provisional && (slow || p.tries.Failed(keyReadENIs)) {
			p.readMetadata(time.Second)
		}
	}
	for _, e := range p.order { // subnet blocks that nothing else told
		if e.Phase == Attached && e.Managed && !e.primary && !e.SubnetCIDR.IsValid() {
			p.readMetadata(time.Second)
		}
	}
}

// readMetadata asks for metadata when the last answer is as old as every; the first one can wait where EC2 is read.
func (p *planner) readMetadata(every time.Duration) {
	since := p.metadataRead
	if since.IsZero() && p.Config.ReadEC2 && every >= metadataWaiting {
		since = p.startedAt
	}
	if since.IsZero() || p.now.Sub(since) >= every {
		p.do(Action{Kind: ReadMetadata, Key: keyReadMetadata, Why: Resync})
	}
}

// metadataInterval is shorter while pods wait for addresses that somebody else has to assign.
func (p *planner) metadataInterval() time.Duration {
	if p.tally.Waiting > 0 && !p.Config.Provision {
		return metadataWaiting
	}
	return metadataEvery
}

// readVPC asks metadata for the VPC's blocks, at once when a subnet of it lies outside those known: what pods send there is
// translated until the block is known.
func (p *planner) readVPC() {
	every, why := vpcEvery, Resync
	if p.zone.Outside(p.Instance.VPCCIDRs) {
		every, why = vpcUnknown, BlockUnknown
	}
	if p.now.Sub(p.vpcRead) >= every || p.vpcRead.Before(p.zone.ReadAt()) && why == BlockUnknown {
		p.do(Action{Kind: ReadVPC, Key: keyReadVPC, Why: why})
	}
}

// finishBegun completes what an earlier plan, perhaps of an earlier process, began.
func (p *planner) finishBegun() {
	for _, token := range slices.Sorted(maps.Keys(p.pending)) {
		pending := p.pending[token]
		p.do(Action{Kind: CreateENI, Key: "create/" + token, Why: Unfinished, Create: pending})
	}
	for _, e := range p.order {
		if !e.Managed {
			continue
		}
		switch e.Phase {
		case Created:
			p.attach(e)
		case Attached:
			p.complete(e)
		case Detaching:
			p.detaching(e)
		case Detached:
			p.do(Action{Kind: DeleteENI, Key: "delete/" + string(e.ID), Why: Unfinished, ENI: e.ID})
		case Attaching: // by a call whose outcome is not known
			if _, flying := p.inflight["attach/"+string(e.ID)]; !flying {
				p.readENI(e)
			}
		}
	}
}

// attach attaches a created interface at the lowest free device index, or deletes it when the node has no slot for it.
func (p *planner) attach(e *ENI) {
	if e.Dirty {
		p.readENI(e)
		return
	}
	taken := make(map[int]bool)
	for _, other := range p.order {
		if other.Card == 0 && other.Phase != Created && other.Phase != Detached {
			taken[other.DeviceIndex] = true
		}
	}
	for _, a := range p.plan.Actions {
		if a.Kind == AttachENI {
			taken[a.Device] = true
		}
	}
	if len(taken) >= p.MaxENIs() {
		p.do(Action{Kind: DeleteENI, Key: "delete/" + string(e.ID), Why: NoSlot, ENI: e.ID})
		return
	}
	device := 1
	for taken[device] {
		device++
	}
	p.do(Action{Kind: AttachENI, Key: "attach/" + string(e.ID), Why: Unfinished, ENI: e.ID, Device: device})
}

// complete does the finishing writes of an attached interface: that it goes with its instance, its tags and groups.
func (p *planner) complete(e *ENI) {
	if e.Type == vpc.ENITypeTrunk || !e.MissingSince.IsZero() {
		return
	}
	id := string(e.ID)
	ours := e.Tags[vpc.TagENICreatedAt] != "" // one that somebody attached may have to outlive the instance
	if ours && !e.DeleteOnTermination && e.Attachment != nil && !e.primary {
		p.do(Action{Kind: KeepENI, Key: "keep/" + id, Why: Unfinished, ENI: e.ID, Attachment: e.Attachment.ID})
	}
	if !e.Tagged {
		p.do(Action{Kind: TagENI, Key: "tag/" + id, Why: Unfinished, ENI: e.ID, Tags: p.eniTags()})
	}
	groups, known, _ := p.groups(e.Subnet)
	if known && !e.primary && len(groups) > 0 && len(e.Groups) > 0 && !sameGroups(e.Groups, groups) {
		p.do(Action{Kind: SetGroups, Key: "groups/" + id, Why: GroupsChanged, ENI: e.ID, Groups: groups})
	}
	if leaving := e.Leaving(); len(leaving) > 0 && p.tally.Waiting == 0 {
		p.do(Action{Kind: UnassignAddresses, Key: "unassign/" + id, Why: Unfinished, ENI: e.ID, Blocks: leaving})
	}
}

func sameGroups(a, b []vpc.SecurityGroupID) bool {
	a, b = slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b))
	return slices.Equal(a, b)
}

// detaching repeats a detachment of unknown outcome, then watches until EC2 says that it is done.
func (p *planner) detaching(e *ENI) {
	id := string(e.ID)
	if e.Attachment != nil && e.Dirty {
		p.do(Action{Kind: DetachENI, Key: "detach/" + id, Why: Unfinished, ENI: e.ID, Attachment: e.Attachment.ID})
	}
	if _, flying := p.inflight["detach/"+id]; !flying {
		p.readENI(e)
	}
}

// readENI looks at one interface, which need not be attached.
func (p *planner) readENI(e *ENI) {
	p.do(Action{Kind: ReadENI, Key: "read/" + string(e.ID), Why: Unfinished, ENI: e.ID})
}

// clean removes unattached interfaces that carry our tags and that nobody finishes: older than five minutes.
func (p *planner) clean() {
	first := minENIAge + p.tries.Spread(leakedSpread)
	if !p.book.DoubtUntil().IsZero() { // a lost journal may have left an interface of ours behind
		first = firstQuiet
	}
	if !p.Config.CleanLeaked || p.now.Sub(p.startedAt) < first {
		return
	}
	if p.leakedRead.IsZero() || p.now.Sub(p.leakedRead) >= leakedEvery {
		p.do(Action{Kind: ReadLeaked, Key: keyReadLeaked, Why: Resync})
	}
	for _, e := range p.leaked {
		ours := e.Tags[vpc.TagENIInstance] == string(p.Instance.ID) && len(p.pending) > 0 // perhaps one that is being made
		if p.enis[e.ID] != nil || ours {
			continue
		}
		if a, ok := p.leakedAction(e); ok {
			p.do(a)
		}
	}
}

func (p *planner) leakedAction(e vpc.ENI) (Action, bool) {
	if e.Attachment != nil || !strings.HasPrefix(e.Description, vpc.ENIDescriptionPrefix) {
		return Action{}, false
	}
	created, err := time.Parse(time.RFC3339, e.Tags[vpc.TagENICreatedAt])
	if err != nil { // without a time it is marked now, and judged by a later search
		if p.leakedTagged[e.ID] {
			return Action{}, false
		}
		return Action{
			Kind: TagENI, Key: "tag/" + string(e.ID), Why: LeakedInterface, ENI: e.ID,
			Tags: vpc.Tags{vpc.TagENICreatedAt: p.now.UTC().Format(time.RFC3339)},
		}, true
	}
	if p.leakedRead.Sub(created) < leakedAge {
		return Action{}, false
	}
	return Action{Kind: DeleteLeaked, Key: "delete-leaked/" + string(e.ID), Why: LeakedInterface, ENI: e.ID}, true
}

// readSubnets reads the subnets again when growth waits for one, or when the last answer is old.
func (p *planner) readSubnets() {
	age, why := p.now.Sub(p.zone.ReadAt()), PodsWaiting
	if p.tally.Waiting == 0 {
		why = WarmTarget
	}
	switch {
	case p.zone.ReadAt().IsZero() && p.restored && p.needSubnets == 0 && p.now.Sub(p.startedAt) < firstQuiet:
		return
	case p.zone.ReadAt().IsZero():
		p.do(Action{Kind: ReadSubnets, Key: keyReadSubnets, Why: Starting})
	case p.needSubnets > 0 && age >= p.needSubnets:
		p.do(Action{Kind: ReadSubnets, Key: keyReadSubnets, Why: why})
	case age >= subnetsIdle:
		p.do(Action{Kind: ReadSubnets, Key: keyReadSubnets, Why: Resync})
	}
}

func (p *planner) readENIs() {
	switch {
	case p.enisRead.IsZero():
		return
	case p.needRead != "":
		p.do(Action{Kind: ReadENIs, Key: keyReadENIs, Why: p.needRead})
	case p.wantRead.After(p.enisRead), p.undecided():
		p.do(Action{Kind: ReadENIs, Key: keyReadENIs, Why: AfterDoubt})
	case p.now.Sub(p.enisRead) >= resyncEvery:
		p.do(Action{Kind: ReadENIs, Key: keyReadENIs, Why: Resync})
	}
}

// undecided tells whether what is in doubt waits for a read that is late enough to decide.
func (p *planner) undecided() bool {
	due := false
	p.decided(func(at time.Time) { due = due || p.enisRead.Before(at) && !p.now.Before(at) })
	return due
}

// decided calls f with each time from which a read decides about something in doubt.
func (p *planner) decided(f func(time.Time)) {
	f(p.book.DoubtUntil())
	for _, e := range p.order {
		if !e.MissingSince.IsZero() {
			f(e.MissingSince.Add(missingFor))
		}
		for _, b := range e.Blocks {
			if b.Doubt == ledger.NotListed {
				f(b.MissingSince.Add(missingFor))
			}
		}
	}
}

// promised is how many addresses the plan itself adds.
func (p *planner) promised() int {
	n := 0
	for _, a := range p.plan.Actions {
		n += a.Want.Size()
		if a.Create != nil && p.pending[a.Create.Token] == nil {
			n += a.Create.Want.Size()
		}
	}
	if short := p.tally.Waiting - p.tally.Coming - n; short > 0 { // what interfaces that are being made can still take
		n += min(short, p.comingRoom())
	}
	return n
}

// wake computes when time alone may change the plan.
func (p *planner) wake() {
	next := p.now.Add(planEvery)
	at := func(t time.Time) {
		if t.After(p.now) && t.Before(next) {
			next = t
		}
	}
	p.tries.Each(func(key string, next time.Time) {
		if _, flying := p.inflight[key]; !flying {
			at(next)
		}
	})
	for _, e := range p.order {
		at(e.SeenAt.Add(minENIAge))
		for _, b := range e.Sorted() {
			for _, a := range b.Addresses() {
				if a.Phase == Cooling {
					at(a.Until)
				}
			}
		}
	}
	p.decided(at)
	p.zone.Judged(at)
	for _, t := range []time.Time{
		p.metadataRead.Add(p.metadataInterval()), p.vpcRead.Add(vpcEvery), p.enisRead.Add(resyncEvery), p.shrunkAt.Add(shrinkEvery),
		p.startedAt.Add(ec2Slow), p.startedAt.Add(firstQuiet), p.startedAt.Add(minENIAge),
	} {
		at(t)
	}
	if p.zone.Outside(p.Instance.VPCCIDRs) {
		at(p.vpcRead.Add(vpcUnknown))
	}
	if p.rereading {
		at(p.now.Add(mapAfter))
	}
	if p.needSubnets > 0 {
		at(p.zone.ReadAt().Add(p.needSubnets))
	}
	p.plan.Wake = next
}

// token is the client token of the nth creation from here.
func (s *State) token(n int) string {
	return fmt.Sprintf("%s-%s-%d", s.Instance.ID, s.Nonce, s.seq+n)
}

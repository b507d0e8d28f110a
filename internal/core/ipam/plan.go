package ipam

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/berth-net/berth/internal/core/ledger"
	"github.com/berth-net/berth/internal/core/pool"
	"github.com/berth-net/berth/internal/core/subnet"
	"github.com/berth-net/berth/internal/core/target"
	"github.com/berth-net/berth/internal/core/vpc"
)

// Plan is what to do now, why pods wait, and when to look again.
type Plan struct {
	Actions []pool.Action
	// Blocked says why pods wait, empty when none does. Explain puts it into words.
	Blocked pool.Why
	// Wake is when to plan again if nothing happens before.
	Wake time.Time
}

// String lists the actions, a line each.
func (p Plan) String() string {
	var b strings.Builder
	for _, a := range p.Actions {
		b.WriteString(a.String())
		b.WriteByte('\n')
	}
	if p.Blocked != "" {
		fmt.Fprintf(&b, "blocked: %s\n", p.Blocked)
	}
	return b.String()
}

// Keys of actions of which there is one per node.
const (
	keyReadENIs     = "read-enis"
	keyReadSubnets  = "read-subnets"
	keyReadLeaked   = "read-leaked"
	keyReadMetadata = "read-metadata"
	keyReadVPC      = "read-vpc"
	keyReadGroups   = "read-groups"
)

// planner collects one plan.
type planner struct {
	view
	now  time.Time
	plan Plan
	// needRead is set when something waits for a newer read of the interfaces; needSubnets for one of the subnets.
	needRead    pool.Why
	needSubnets time.Duration
	tally       target.Tally
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
	// manyGroups: one is not made where tags select too many.
	manyGroups bool
}

// Decide computes what to do now. It changes nothing of the state but what time alone changes; see pool.State.Tick.
func Decide(s *pool.State, now time.Time) Plan {
	s.Tick(now)
	v := viewOf(s)
	p := &planner{view: v, now: now, tally: v.Tally(), warm: v.targets(now), planned: make(map[vpc.SubnetID]int), named: make(map[vpc.SubnetID]*subnet.Space)}
	for _, e := range p.ENIs() {
		p.tally.Assignable += p.roomOn(e)
	}
	p.short = p.warm.Short(p.tally, p.PerENI(), p.PodLimit())
	p.readMetadata(p.metadataInterval())
	p.readVPC()
	if p.Config.ReadEC2 {
		p.read()
		if p.Config.Provision && !p.at.ENIs.IsZero() {
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
	p.plan.Blocked = p.blocked(p.promised())
	p.wake()
	return p.plan
}

// do adds an action unless it is in flight, has to wait, or must not run beside another.
func (p *planner) do(a pool.Action) bool {
	may := p.tries.May(a.Key, p.now) || a.Why.Urgent() && p.tries.MayUrgent(a.Key, p.now)
	if !may || slices.ContainsFunc(p.plan.Actions, func(b pool.Action) bool { return excludes(a, b) }) {
		return false
	}
	for _, b := range p.acting {
		if excludes(a, b) {
			return false
		}
	}
	p.plan.Actions = append(p.plan.Actions, a)
	return true
}

// promised is how many addresses the plan itself adds.
func (p *planner) promised() int {
	n := 0
	for _, a := range p.plan.Actions {
		n += a.Want.Size()
		if a.Create != nil && p.Pending()[a.Create.Token] == nil {
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
		if _, flying := p.Flying(key); !flying {
			at(next)
		}
	})
	for _, e := range p.ENIs() {
		at(e.SeenAt.Add(minENIAge))
		for _, b := range e.Sorted() {
			for _, a := range b.Addresses() {
				if a.Phase == ledger.Cooling {
					at(a.Until)
				}
			}
		}
	}
	p.decided(at)
	p.zone.Judged(at)
	for _, t := range []time.Time{
		p.at.Metadata.Add(p.metadataInterval()), p.at.VPC.Add(vpcEvery), p.at.ENIs.Add(resyncEvery), p.at.Shrunk.Add(shrinkEvery),
		p.at.Started.Add(ec2Slow), p.at.Started.Add(firstQuiet), p.at.Started.Add(minENIAge),
	} {
		at(t)
	}
	if p.zone.Outside(p.Instance.VPCCIDRs) {
		at(p.at.VPC.Add(vpcUnknown))
	}
	if p.rereading {
		at(p.now.Add(mapAfter))
	}
	if p.needSubnets > 0 {
		at(p.zone.ReadAt().Add(p.needSubnets))
	}
	p.plan.Wake = next
}

// excludes tells whether two actions must not run side by side: the same one, or an assignment and an unassignment on one
// interface. EC2 gives out an address again as soon as it is free; a repeated unassignment would take it from its new pod.
func excludes(a, b pool.Action) bool {
	if a.Key == b.Key {
		return true
	}
	moves := func(k pool.Kind) bool { return k == pool.AssignAddresses || k == pool.UnassignAddresses }
	return a.ENI == b.ENI && moves(a.Kind) && moves(b.Kind)
}

package ipam

import (
	"time"

	"github.com/berth-net/berth/internal/core/pool"
)

// groupsEvery is the interval of reads of the tagged security groups, and up to a quarter longer by node: a thousand nodes make
// two calls a second, a tenth of what EC2 lets an account make.
// groupsWaiting is that while pods wait since tags select too many for an interface.
const (
	groupsEvery   = 10 * time.Minute
	groupsWaiting = time.Minute
)

// readGroups reads the tagged security groups while an interface is, or is to be, in a subnet where they matter.
func (p *planner) readGroups() {
	matter, every := p.wantGroups || p.manyGroups, groupsEvery
	if p.manyGroups && p.tally.Waiting > 0 {
		every = groupsWaiting
	}
	for _, e := range p.ENIs() {
		matter = matter || e.Managed && e.Phase == pool.Attached && p.TagsMatter(e.Subnet)
	}
	quiet := p.Restored() && !p.wantGroups && p.now.Sub(p.at.Started) < firstQuiet
	if matter && !quiet && (p.at.Groups.IsZero() || p.now.Sub(p.at.Groups) >= every+p.tries.Spread(every/4)) {
		why := pool.Resync
		if p.wantGroups {
			why = p.why(p.short)
		}
		p.do(pool.Action{Kind: pool.ReadGroups, Key: keyReadGroups, Why: why})
	}
}

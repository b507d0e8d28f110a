package ipam

import (
	"strings"
	"time"

	"github.com/berth-net/berth/internal/core/pool"
	"github.com/berth-net/berth/internal/core/vpc"
)

// clean removes unattached interfaces that carry our tags and that nobody finishes: older than five minutes.
func (p *planner) clean() {
	first := minENIAge + p.tries.Spread(leakedSpread)
	if !p.DoubtUntil().IsZero() { // a lost journal may have left an interface of ours behind
		first = firstQuiet
	}
	if !p.Config.CleanLeaked || p.now.Sub(p.at.Started) < first {
		return
	}
	if p.at.Leaked.IsZero() || p.now.Sub(p.at.Leaked) >= leakedEvery {
		p.do(pool.Action{Kind: pool.ReadLeaked, Key: keyReadLeaked, Why: pool.Resync})
	}
	for _, e := range p.Leaked() {
		ours := e.Tags[vpc.TagENIInstance] == string(p.Instance.ID) && len(p.Pending()) > 0 // perhaps one that is being made
		if p.ENI(e.ID) != nil || ours {
			continue
		}
		if a, ok := p.leakedAction(e); ok {
			p.do(a)
		}
	}
}

func (p *planner) leakedAction(e vpc.ENI) (pool.Action, bool) {
	if e.Attachment != nil || !strings.HasPrefix(e.Description, vpc.ENIDescriptionPrefix) {
		return pool.Action{}, false
	}
	created, err := time.Parse(time.RFC3339, e.Tags[vpc.TagENICreatedAt])
	if err != nil { // without a time it is marked now, and judged by a later search
		if p.Marked(e.ID) {
			return pool.Action{}, false
		}
		return pool.Action{
			Kind: pool.TagENI, Key: "tag/" + string(e.ID), Why: pool.LeakedInterface, ENI: e.ID,
			Tags: vpc.Tags{vpc.TagENICreatedAt: p.now.UTC().Format(time.RFC3339)},
		}, true
	}
	if p.at.Leaked.Sub(created) < leakedAge {
		return pool.Action{}, false
	}
	return pool.Action{Kind: pool.DeleteLeaked, Key: "delete-leaked/" + string(e.ID), Why: pool.LeakedInterface, ENI: e.ID}, true
}

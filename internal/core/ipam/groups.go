package ipam

import (
	"time"

	"github.com/berth-net/berth/internal/core/subnet"
	"github.com/berth-net/berth/internal/core/vpc"
)

// groupsEvery is the interval of reads of the tagged security groups, and up to a quarter longer by node: a thousand nodes make
// two calls a second, a tenth of what EC2 lets an account make.
const groupsEvery = 10 * time.Minute

const keyReadGroups = "read-groups"

// groups are the security groups of interfaces in a subnet. They are not known while the tagged ones have not been read,
// and there are none that an interface could have when tags select too many.
func (s *State) groups(id vpc.SubnetID) (groups []vpc.SecurityGroupID, known bool, err error) {
	if s.Config.CustomNetworking {
		if id != s.custom.Subnet { // what lies elsewhere is on its way out: its pods keep the groups that they have
			return nil, false, nil
		}
		if len(s.custom.Groups) > 0 {
			return s.custom.Groups, true, nil
		}
		return s.Instance.Groups, true, nil
	}
	if s.tagsMatter(id) && s.groupsRead.IsZero() {
		return s.Instance.Groups, s.groupsDenied, nil // denied: as if there were no tags
	}
	groups, _, err = subnet.Groups(s.zone.Rules(), id, s.tagged, s.Instance.Groups, subnet.GroupsPerENI)
	return groups, err == nil, err
}

// tagsMatter tells whether tags of security groups say which ones interfaces in a subnet have.
func (s *State) tagsMatter(id vpc.SubnetID) bool {
	return s.Config.Discovery && !s.Config.CustomNetworking && id != s.Instance.Subnet
}

// readGroups reads the tagged security groups while an interface is, or is to be, in a subnet where they matter.
func (p *planner) readGroups() {
	matter := p.wantGroups
	for _, e := range p.order {
		matter = matter || e.Managed && e.Phase == Attached && p.tagsMatter(e.Subnet)
	}
	quiet := p.restored && !p.wantGroups && p.now.Sub(p.startedAt) < firstQuiet
	if matter && !quiet && (p.groupsRead.IsZero() || p.now.Sub(p.groupsRead) >= groupsEvery+p.tries.Spread(groupsEvery/4)) {
		p.do(Action{Kind: ReadGroups, Key: keyReadGroups, Why: Resync})
	}
}

// observeGroups folds a read of the tagged security groups.
func (s *State) observeGroups(tagged []vpc.SecurityGroup, askedAt time.Time) {
	if !askedAt.Before(s.groupsRead) {
		s.tagged, s.groupsRead, s.groupsDenied = tagged, askedAt, false
	}
}

package pool

import (
	"time"

	"github.com/berth-net/berth/internal/core/subnet"
	"github.com/berth-net/berth/internal/core/vpc"
)

// quotaFor is how long EC2's word counts that an interface cannot have so many groups: the quota may be raised.
const quotaFor = time.Hour

// Groups are the security groups of interfaces in a subnet. They are not known while the tagged ones have not been read,
// and there are none that an interface could have when tags select too many.
func (s *State) Groups(id vpc.SubnetID) (groups []vpc.SecurityGroupID, known bool, err error) {
	if s.Config.CustomNetworking {
		if id != s.custom.Subnet { // what lies elsewhere is on its way out: its pods keep the groups that they have
			return nil, false, nil
		}
		if len(s.custom.Groups) > 0 {
			return s.custom.Groups, true, nil
		}
		return s.Instance.Groups, true, nil
	}
	if s.TagsMatter(id) && s.at.Groups.IsZero() {
		return s.Instance.Groups, s.groupsDenied, nil // denied: as if there were no tags
	}
	groups, _, err = subnet.Groups(s.zone.Rules(), id, s.tagged, s.Instance.Groups, s.mostGroups)
	return groups, err == nil, err
}

// TagsMatter tells whether tags of security groups say which ones interfaces in a subnet have.
func (s *State) TagsMatter(id vpc.SubnetID) bool {
	return s.Config.Discovery && !s.Config.CustomNetworking && id != s.Instance.Subnet
}

// observeGroups folds a read of the tagged security groups.
func (s *State) observeGroups(tagged []vpc.SecurityGroup, askedAt time.Time) {
	if !askedAt.Before(s.at.Groups) {
		s.tagged, s.at.Groups, s.groupsDenied = tagged, askedAt, false
	}
	if askedAt.Sub(s.groupsTold) >= quotaFor {
		s.mostGroups = subnet.MostGroupsPerENI
	}
}

// manyGroups notes that EC2 refused so many groups for an interface.
func (s *State) manyGroups(n int, now time.Time) {
	if n > 1 {
		s.mostGroups, s.groupsTold = n-1, now
	}
}

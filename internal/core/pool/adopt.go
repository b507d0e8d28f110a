package pool

import (
	"strings"
	"time"

	"github.com/berth-net/berth/internal/core/vpc"
)

// observeLeaked folds a read of unattached interfaces that carry our tags. Those of other nodes are judged by their age.
// Those that this node made and forgot, since its journal was lost between their creation and attachment, are taken in
// again while there is a slot for them: attaching one is cheaper than deleting it and creating another.
func (s *State) observeLeaked(list []vpc.ENI, askedAt time.Time) []Record {
	s.at.Leaked, s.leaked = askedAt, list
	var records []Record
	for _, seen := range list {
		if !s.orphan(seen, askedAt) || s.FreeSlots() <= 0 {
			continue
		}
		e := &ENI{
			ENI: seen, Interface: s.book.Add(seen.ID, askedAt), Phase: Created, Managed: true, Tagged: s.hasTags(seen.Tags), SeenAt: askedAt,
		}
		s.book.Observe(e.Interface, seen.Assigned(), askedAt)
		s.addENI(e)
		s.applySubnet(e)
		records = append(records, e.record())
	}
	return records
}

// orphan tells whether an unattached interface is this node's and nobody finishes it. One that somebody else made and
// detached is theirs to use, whatever tags we gave it.
func (s *State) orphan(seen vpc.ENI, askedAt time.Time) bool {
	at, dead := s.gone[seen.ID]
	ours := strings.HasPrefix(seen.Description, vpc.ENIDescriptionPrefix) && seen.Tags[vpc.TagENIInstance] == string(s.Instance.ID)
	return ours && seen.Attachment == nil && seen.Tags[vpc.TagENINoManage] != "true" &&
		s.enis[seen.ID] == nil && len(s.pending) == 0 && (!dead || !askedAt.Before(at.Add(settle)))
}

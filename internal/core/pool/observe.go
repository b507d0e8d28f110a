package pool

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/berth-net/berth/internal/core/ledger"
	"github.com/berth-net/berth/internal/core/subnet"
	"github.com/berth-net/berth/internal/core/vpc"
)

// observeENIs folds a full read of the instance's interfaces, asked at askedAt. EC2's describes lag behind its writes: an
// absence or a reappearance close to a write of ours proves nothing, and no address or interface is forgotten on one read.
func (s *State) observeENIs(list []vpc.ENI, askedAt time.Time) []Record {
	if askedAt.Before(s.at.ENIs) {
		return nil // an answer that was overtaken
	}
	var records []Record
	listed := make(map[vpc.ENIID]bool, len(list))
	for _, seen := range list {
		listed[seen.ID] = true
		if at, dead := s.gone[seen.ID]; dead && askedAt.Before(at.Add(settle)) {
			continue
		}
		e, changed := s.observeENI(seen, askedAt)
		if changed {
			records = append(records, e.record())
		}
	}
	for _, e := range slices.Clone(s.order) {
		if !listed[e.ID] {
			records = append(records, s.observeAbsent(e, askedAt)...)
		}
	}
	s.at.ENIs = askedAt
	s.resort()
	s.forget(askedAt)
	return records
}

// forget drops what is too old to matter: an agent lives for months, and each record of its journal counts.
func (s *State) forget(now time.Time) {
	old := now.Add(-forgetAfter)
	s.book.Forget(old)
	maps.DeleteFunc(s.gone, func(_ vpc.ENIID, at time.Time) bool { return at.Before(old) })
	s.tries.Forget(old)
}

func (s *State) observeENI(seen vpc.ENI, askedAt time.Time) (*ENI, bool) {
	e := s.enis[seen.ID]
	changed := e == nil
	if e == nil {
		delete(s.gone, seen.ID)
		e = &ENI{SeenAt: askedAt, Interface: s.book.Add(seen.ID, askedAt.Add(-time.Nanosecond))}
		e.ENI = seen
		e.primary = seen.ID == s.Instance.PrimaryENI
		e.Phase = Attached
		s.enis[seen.ID] = e
	}
	// Tags, groups and flags that we wrote a moment ago may not show yet.
	lagging := !e.finishedAt.IsZero() && askedAt.Before(e.finishedAt.Add(settle))
	groups, kept := e.Groups, e.DeleteOnTermination
	e.ENI = seen
	if lagging {
		e.Groups = groups
	}
	switch theirs := seen.Attachment != nil && seen.Attachment.State == vpc.Detaching && e.Phase == Attached; {
	case !theirs:
		e.MissingSince = time.Time{}
	case e.MissingSince.IsZero(): // somebody else detaches it: it is as good as gone, and not ours to delete
		e.MissingSince = askedAt
	}
	e.ReadAt = askedAt
	if askedAt.After(e.WroteAt) {
		e.Dirty = false
	}
	changed = s.observeAttachment(e, seen.Attachment, askedAt) || changed
	managed := s.manages(e)
	changed = changed || managed != e.Managed
	e.Managed = managed
	e.Tagged = s.hasTags(seen.Tags) || (lagging && e.Tagged)
	e.DeleteOnTermination = e.DeleteOnTermination || (lagging && kept)
	s.applySubnet(e)
	return e, s.book.Observe(e.Interface, seen.Assigned(), askedAt) || changed
}

func (s *State) observeAttachment(e *ENI, a *vpc.Attachment, askedAt time.Time) bool {
	if a == nil {
		return false
	}
	before := e.Phase
	if a.State != vpc.Detached {
		e.DeviceIndex, e.Card = a.DeviceIndex, a.NetworkCard
	}
	e.DeleteOnTermination = a.DeleteOnTermination
	switch {
	case e.Phase == Detached && askedAt.Before(e.WroteAt.Add(settle)): // a lagging read
	case e.Phase == Detaching: // ours to finish, whatever a lagging read says; once more if it seems not begun
		e.Dirty = e.Dirty || a.State == vpc.Attached
	case a.State == vpc.Attached, a.State == vpc.Attaching:
		e.Phase = Attached // the link's appearance says when it serves
	}
	return e.Phase != before
}

// manages tells whether an interface is the agent's: not tagged no_manage=true, and either the primary one, tagged with
// this instance, or untagged while MANAGE_UNTAGGED_ENI allows that. Network cards above 0 are not managed yet.
func (s *State) manages(e *ENI) bool {
	switch {
	case e.primary:
		return true
	case e.Tags[vpc.TagENINoManage] == "true":
		return false
	case e.Card > 0 || e.Type == vpc.ENITypeEFAOnly:
		return false
	case e.Tags[vpc.TagENIInstance] == string(s.Instance.ID):
		return true
	case len(e.Tags) == 0 && e.Managed: // a lagging read of tags takes nothing away
		return true
	}
	_, noManage := e.Tags[vpc.TagENINoManage]
	return s.Config.ManageUntagged || noManage
}

func (s *State) observeAbsent(e *ENI, askedAt time.Time) []Record {
	if e.Phase == Created || e.Phase == Detached || !askedAt.After(e.WroteAt) {
		return nil
	}
	if e.Phase == Detaching {
		e.Phase, e.Configured = Detached, false
		return []Record{e.record()}
	}
	if e.Phase == Attaching {
		s.unlisted(e, askedAt)
		return []Record{e.record()}
	}
	if e.MissingSince.IsZero() {
		e.MissingSince = askedAt
	}
	switch {
	case askedAt.Sub(e.MissingSince) < missingFor || e.primary:
		return nil
	case e.Count(InUse, Held) > 0 || e.Configured:
		return nil
	}
	s.dropENI(e, askedAt)
	return []Record{{Gone: &GoneRecord{ENI: e.ID, At: askedAt}}}
}

// observeOne folds a read of one interface, which may be unattached or not exist.
func (s *State) observeOne(id vpc.ENIID, list []vpc.ENI, askedAt time.Time) []Record {
	e := s.enis[id]
	if e == nil || !askedAt.After(e.WroteAt) {
		return nil
	}
	if len(list) == 0 {
		if e.Phase == Detached || (e.Phase == Created && askedAt.After(e.WroteAt.Add(settle))) {
			s.dropENI(e, askedAt)
			return []Record{{Gone: &GoneRecord{ENI: id, At: askedAt}}}
		}
		return nil
	}
	seen := list[0]
	unattached := seen.Attachment == nil || seen.Attachment.State == vpc.Detached
	e.ReadAt, e.Dirty = askedAt, false
	before := e.Phase
	switch {
	case e.Phase == Detaching && unattached:
		e.Phase, e.Attachment, e.Configured = Detached, nil, false
	case e.Phase == Detaching:
		e.Attachment, e.Dirty = seen.Attachment, seen.Attachment.State == vpc.Attached // once more
	case e.Phase == Attaching && unattached:
		s.unlisted(e, askedAt)
	case (e.Phase == Attaching || e.Phase == Created) && !unattached && seen.Attachment.Instance == s.Instance.ID:
		e.Phase, e.Attachment, e.SeenAt, e.MissingSince = Attached, seen.Attachment, askedAt, time.Time{}
		e.DeviceIndex, e.Card = seen.Attachment.DeviceIndex, seen.Attachment.NetworkCard
	}
	if e.Phase == before {
		return nil
	}
	e.looks = 0
	s.resort()
	return []Record{e.record()}
}

// unlisted judges an interface whose attachment had no known outcome and that EC2 shows unattached: after a while the call
// counts as lost. Attaching twice does no harm.
func (s *State) unlisted(e *ENI, askedAt time.Time) {
	if e.MissingSince.IsZero() {
		e.MissingSince = askedAt
	}
	if askedAt.Sub(e.MissingSince) >= reattachAfter {
		e.Phase, e.MissingSince = Created, time.Time{}
	}
}

// observeSubnets folds a read of the zone's subnets.
func (s *State) observeSubnets(list []vpc.Subnet, askedAt time.Time) []Record {
	if askedAt.Before(s.zone.ReadAt()) {
		return nil
	}
	if s.zone.Read(list, askedAt, s.underWay()) {
		s.at.Searched = askedAt
	}
	return s.applySubnets()
}

func (s *State) applySubnets() (records []Record) {
	for _, e := range s.order {
		if s.applySubnet(e) {
			records = append(records, e.record())
		}
	}
	return records
}

// observeVPC takes over the VPC's blocks and the groups for new interfaces. An empty answer is none.
func (s *State) observeVPC(blocks []netip.Prefix, groups []vpc.SecurityGroupID, askedAt time.Time) {
	s.at.VPC = askedAt
	blocks = slices.SortedFunc(slices.Values(blocks), netip.Prefix.Compare)
	if len(blocks) > 0 && !slices.Equal(blocks, slices.SortedFunc(slices.Values(s.Instance.VPCCIDRs), netip.Prefix.Compare)) {
		s.Instance.VPCCIDRs, s.at.Searched = blocks, askedAt
	}
	if len(groups) > 0 {
		s.Instance.Groups = groups
	}
}

// underWay is how many addresses each subnet is being asked for.
func (s *State) underWay() map[vpc.SubnetID]int {
	n := make(map[vpc.SubnetID]int)
	for _, a := range s.inflight {
		if e := s.enis[a.ENI]; a.Kind == AssignAddresses && e != nil {
			n[e.Subnet] += a.Want.Size()
		}
	}
	for _, p := range s.pending {
		n[p.Subnet] += p.Want.Size() + 1
	}
	return n
}

// applySubnet takes over what the subnet says of its interface: its block and whether it is barred.
func (s *State) applySubnet(e *ENI) bool {
	barred, cidr := e.Barred, e.SubnetCIDR
	if sn, ok := s.zone.Find(e.Subnet); ok {
		barred, cidr = subnet.Barred(s.zone.Rules(), sn), sn.CIDR
	} else if named := s.zone.Rules().CustomSubnet; named != "" { // also while the subnets have not been read
		barred = e.Subnet != named
	} else if !s.Config.ReadEC2 || s.zone.Told() && s.zone.ReadAt().IsZero() { // nobody may ask: what an earlier run read may be over
		barred = false
	}
	barred = barred || s.Config.CustomNetworking && e.primary
	changed := barred != e.Barred || cidr != e.SubnetCIDR
	e.Barred, e.SubnetCIDR = barred, cidr
	return changed
}

// observeMetadata folds the metadata service's view, which is a hint: it gives subnet blocks, and asks for a read of EC2
// where it differs. In the modes without EC2 reads it is all there is, and additions are taken from it.
func (s *State) observeMetadata(list []vpc.MetadataENI, askedAt time.Time) (records []Record) {
	s.at.Metadata = askedAt
	if !s.Config.ReadEC2 {
		records = s.observeENIs(s.asEC2(list), askedAt)
	}
	shown := make(map[vpc.ENIID]vpc.MetadataENI, len(list))
	for _, m := range list {
		shown[m.ID] = m
		if e := s.enis[m.ID]; e != nil && !e.SubnetCIDR.IsValid() && m.SubnetCIDR.IsValid() {
			e.SubnetCIDR = m.SubnetCIDR
			records = append(records, e.record())
		}
		if s.differs(s.enis[m.ID], m, askedAt) {
			s.WantRead(askedAt)
		}
	}
	for _, e := range s.order { // somebody may have detached one
		if _, listed := shown[e.ID]; !listed && len(list) > 0 && e.Phase == Attached && e.settled(askedAt) {
			s.WantRead(askedAt)
		}
	}
	if s.Config.ReadEC2 && s.restored && !s.Ready() { // a pool of the journal's interfaces while EC2 does not answer
		for _, e := range s.order { // what metadata does not confirm waits; nothing is taken from it alone, or given back on it
			e.Confirm(shown[e.ID].Assigned(), s.at.Started)
		}
		s.provisional = true
	}
	return records
}

// asEC2 is what EC2 would say of the interfaces that metadata shows, as far as it can be told from there.
func (s *State) asEC2(list []vpc.MetadataENI) []vpc.ENI {
	seen := make([]vpc.ENI, 0, len(list))
	for _, m := range list {
		if len(m.Addresses) == 0 {
			continue
		}
		seen = append(seen, vpc.ENI{
			ID: m.ID, MAC: m.MAC, Subnet: m.Subnet, VPC: s.Instance.VPC, Zone: s.Instance.Zone, Type: vpc.ENITypeInterface,
			Primary: m.Addresses[0], Secondary: m.Addresses[1:], Prefixes: m.Prefixes,
			Attachment: &vpc.Attachment{Instance: s.Instance.ID, DeviceIndex: m.DeviceIndex, NetworkCard: m.NetworkCard, State: vpc.Attached, DeleteOnTermination: true},
		})
	}
	return seen
}

// differs tells whether metadata, lag aside, shows an interface otherwise than EC2 did last: reason enough to ask EC2.
func (s *State) differs(e *ENI, m vpc.MetadataENI, askedAt time.Time) bool {
	if e == nil {
		_, dead := s.gone[m.ID]
		return !dead
	}
	blocks := m.Assigned()
	for _, id := range blocks {
		if e.Blocks[id] == nil && !s.book.Removed(m.ID, id) {
			return true
		}
	}
	for id, b := range e.Blocks { // one that EC2 left out is back, or somebody took one away
		shown := slices.Contains(blocks, id)
		if missing := b.Doubt == ledger.NotListed; shown && missing || !shown && !missing && e.settled(askedAt) {
			return true
		}
	}
	return !e.MissingSince.IsZero()
}

// hasTags tells whether the interface carries the tags that mark it ours.
func (s *State) hasTags(tags vpc.Tags) bool {
	for k, v := range s.ENITags() {
		if tags[k] != v {
			return false
		}
	}
	return true
}

// ENITags are the tags of each managed interface; new ones get the time of creation as well.
func (s *State) ENITags() vpc.Tags {
	tags := vpc.Tags{vpc.TagENIInstance: string(s.Instance.ID)}
	if s.Config.Cluster != "" {
		tags[vpc.TagENICluster] = s.Config.Cluster
		tags[vpc.TagENIOwner] = vpc.ENIOwner
	}
	for k, v := range s.Config.ExtraTags {
		if !strings.Contains(k, "k8s.amazonaws.com") { // those keys are ours alone
			tags[k] = v
		}
	}
	return tags
}

package ipam

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/berth-net/berth/internal/core/subnet"
	"github.com/berth-net/berth/internal/core/vpc"
)

// observeENIs folds a full read of the instance's interfaces, asked at askedAt. EC2's describes lag behind its writes: an
// absence or a reappearance close to a write of ours proves nothing, and no address or interface is forgotten on one read.
func (s *State) observeENIs(list []vpc.ENI, askedAt time.Time) []Record {
	if askedAt.Before(s.enisRead) {
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
	s.enisRead = askedAt
	s.resort()
	s.forget(askedAt)
	return records
}

// forget drops what is too old to matter: an agent lives for months, and each record of its journal counts.
func (s *State) forget(now time.Time) {
	old := now.Add(-forgetAfter)
	maps.DeleteFunc(s.removed, func(_ place, at time.Time) bool { return at.Before(old) })
	maps.DeleteFunc(s.gone, func(_ vpc.ENIID, at time.Time) bool { return at.Before(old) })
	maps.DeleteFunc(s.retry, func(_ string, b backoff) bool { return b.until.Before(old) })
}

func (s *State) observeENI(seen vpc.ENI, askedAt time.Time) (*ENI, bool) {
	e := s.enis[seen.ID]
	changed := e == nil
	if e == nil {
		delete(s.gone, seen.ID)
		e = &ENI{SeenAt: askedAt, WroteAt: askedAt.Add(-time.Nanosecond), Addresses: make(map[netip.Addr]*Address)}
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
	e.MissingSince = time.Time{}
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
	return e, s.observeAddresses(e, seen.Secondary, askedAt) || changed
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
	case a.State == vpc.Detaching:
		e.Phase = Detaching
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

func (s *State) observeAddresses(e *ENI, secondary []netip.Addr, askedAt time.Time) bool {
	changed := false
	for _, ip := range secondary {
		if a := e.Addresses[ip]; a != nil {
			a.MissingSince = time.Time{}
			cleared := a.Doubtful && !askedAt.Before(s.doubtUntil)
			a.Doubtful = a.Doubtful && !cleared
			changed = changed || cleared
			continue
		}
		if at, ok := s.removed[place{e.ID, ip}]; ok && askedAt.Before(at.Add(settle)) {
			continue
		}
		if s.elsewhere(e, ip, askedAt) {
			continue
		}
		delete(s.removed, place{e.ID, ip})
		s.adopt(e, ip)
		e.Addresses[ip].Doubtful = askedAt.Before(s.doubtUntil) && e.Addresses[ip].Phase == Free
		changed = true
	}
	if !askedAt.After(e.WroteAt) {
		return changed
	}
	for ip, a := range e.Addresses {
		if slices.Contains(secondary, ip) {
			continue
		}
		if a.MissingSince.IsZero() {
			a.MissingSince = askedAt
		}
		if s.believesGone(a, askedAt) {
			delete(e.Addresses, ip)
			changed = true
		}
	}
	return changed
}

// elsewhere tells whether an address lies on another interface of ours by a word that is younger than what this read may
// show.
func (s *State) elsewhere(e *ENI, ip netip.Addr, askedAt time.Time) bool {
	for _, other := range s.order {
		if a := other.Addresses[ip]; other != e && a != nil && a.MissingSince.IsZero() && askedAt.Before(other.WroteAt.Add(settle)) {
			return true
		}
	}
	return false
}

// adopt takes an address that EC2 shows and the state did not know.
func (s *State) adopt(e *ENI, ip netip.Addr) {
	for _, other := range s.order { // EC2 moved it between our interfaces
		if other != e && other.Addresses[ip] != nil {
			delete(other.Addresses, ip)
		}
	}
	a := &Address{IP: ip, Phase: Free}
	if s.live[ip] {
		a.Phase = Held
	}
	e.Addresses[ip] = a
	for k, p := range s.pods {
		if p.Addr == ip {
			a.Phase, a.Owner = InUse, k
			p.ENI = e.ID
		}
	}
}

// believesGone tells whether an address that EC2 leaves out is given up. A pod's address never is: the pod may live.
func (s *State) believesGone(a *Address, askedAt time.Time) bool {
	return a.Phase != InUse && a.Phase != Held && !s.live[a.IP] && askedAt.Sub(a.MissingSince) >= missingFor
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
	case e.count(InUse, Held) > 0 || e.Configured:
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
	if askedAt.Before(s.subnetsRead()) {
		return nil
	}
	if s.zone.Read(list, askedAt, s.underWay()) {
		s.searchedFrom = askedAt
	}
	var records []Record
	for _, e := range s.order {
		if s.applySubnet(e) {
			records = append(records, e.record())
		}
	}
	return records
}

// subnetsRead is when the last answer about the subnets was asked for.
func (s *State) subnetsRead() time.Time {
	_, at := s.zone.Subnets()
	return at
}

// observeVPC takes over the VPC's blocks and the groups for new interfaces. An empty answer is none.
func (s *State) observeVPC(blocks []netip.Prefix, groups []vpc.SecurityGroupID, askedAt time.Time) {
	s.vpcRead = askedAt
	blocks = slices.SortedFunc(slices.Values(blocks), netip.Prefix.Compare)
	if len(blocks) > 0 && !slices.Equal(blocks, slices.SortedFunc(slices.Values(s.Instance.VPCCIDRs), netip.Prefix.Compare)) {
		s.Instance.VPCCIDRs, s.searchedFrom = blocks, askedAt
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
			n[e.Subnet] += a.Count
		}
	}
	for _, p := range s.pending {
		n[p.Subnet] += p.Secondary + 1
	}
	return n
}

// applySubnet takes over what the subnet says of its interface: its block and whether it is barred.
func (s *State) applySubnet(e *ENI) bool {
	sn, ok := s.zone.Find(e.Subnet)
	if !ok {
		return false
	}
	barred := subnet.Barred(s.zone.Rules(), sn)
	changed := barred != e.Barred || sn.CIDR != e.SubnetCIDR
	e.Barred, e.SubnetCIDR = barred, sn.CIDR
	return changed
}

// observeMetadata folds the metadata service's view, which is a hint: it gives subnet blocks, and asks for a read of EC2
// where it differs. In the modes without EC2 reads it is all there is, and additions are taken from it.
func (s *State) observeMetadata(list []vpc.MetadataENI, askedAt time.Time) []Record {
	s.metadataRead = askedAt
	var records []Record
	for _, m := range list {
		e := s.enis[m.ID]
		if e != nil && !e.SubnetCIDR.IsValid() && m.SubnetCIDR.IsValid() {
			e.SubnetCIDR = m.SubnetCIDR
			records = append(records, e.record())
		}
		if s.Config.ReadEC2 && s.differs(e, m) && askedAt.After(s.wantRead) {
			s.wantRead = askedAt
		}
	}
	if s.Config.ReadEC2 {
		s.believeMetadata(list)
		return records
	}
	seen := make([]vpc.ENI, 0, len(list))
	for _, m := range list {
		if len(m.Addresses) == 0 {
			continue
		}
		seen = append(seen, vpc.ENI{
			ID: m.ID, MAC: m.MAC, Subnet: m.Subnet, VPC: s.Instance.VPC, Zone: s.Instance.Zone, Type: vpc.ENITypeInterface,
			Primary: m.Addresses[0], Secondary: m.Addresses[1:],
			Attachment: &vpc.Attachment{Instance: s.Instance.ID, DeviceIndex: m.DeviceIndex, NetworkCard: m.NetworkCard, State: vpc.Attached, DeleteOnTermination: true},
		})
	}
	records = append(records, s.observeENIs(seen, askedAt)...)
	for _, m := range list {
		if e := s.enis[m.ID]; e != nil {
			e.SubnetCIDR = m.SubnetCIDR
		}
	}
	return records
}

func (s *State) differs(e *ENI, m vpc.MetadataENI) bool {
	if e == nil {
		_, dead := s.gone[m.ID]
		return !dead
	}
	for _, ip := range m.Addresses {
		if _, removed := s.removed[place{m.ID, ip}]; ip != e.Primary && e.Addresses[ip] == nil && !removed {
			return true
		}
	}
	return false
}

// believeMetadata makes a pool out of the journal's interfaces that metadata confirms, address by address, while EC2
// cannot be read. Nothing is taken from metadata alone, and nothing is given back on it.
func (s *State) believeMetadata(list []vpc.MetadataENI) {
	if !s.restored || !s.enisRead.IsZero() || s.provisional {
		return
	}
	for _, e := range s.order {
		var confirmed []netip.Addr
		for _, m := range list {
			if m.ID == e.ID {
				confirmed = m.Addresses
			}
		}
		for ip, a := range e.Addresses {
			if a.Phase == Free && !slices.Contains(confirmed, ip) {
				a.MissingSince = s.startedAt
			}
		}
	}
	s.provisional = true
}

// hasTags tells whether the interface carries the tags that mark it ours.
func (s *State) hasTags(tags vpc.Tags) bool {
	for k, v := range s.eniTags() {
		if tags[k] != v {
			return false
		}
	}
	return true
}

// eniTags are the tags of each managed interface; new ones get the time of creation as well.
func (s *State) eniTags() vpc.Tags {
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

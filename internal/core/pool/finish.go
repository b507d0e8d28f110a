package pool

import (
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/berth-net/berth/internal/core/vpc"
)

// groupsDeniedFor is how long after IAM refused to show security groups they are asked for again: every node of a cluster may
// be refused for as long as it lives, and does without.
const groupsDeniedFor = 10 * time.Minute

// Begin marks an action as in flight and returns what must be durable before it starts.
func (s *State) Begin(a Action, now time.Time) []Record {
	s.inflight[a.Key] = a
	s.begun[a.Key] = now
	e := s.enis[a.ENI]
	if e != nil && a.Kind.Mutates() {
		e.WroteAt = now
	}
	switch a.Kind {
	case AssignAddresses:
		s.zone.Take(e.Subnet, a.Want.Size())
		s.zone.Taken(e.Subnet, vpc.Blocks(a.Want.Addrs, a.Want.Prefixes))
		return nil
	case CreateENI:
		if s.pending[a.Create.Token] == nil {
			s.zone.Take(a.Create.Subnet, a.Create.Want.Size()+1)
			s.zone.Taken(a.Create.Subnet, a.Create.names())
			s.pending[a.Create.Token] = a.Create
			s.seq++
		} // a repetition is recorded again: the first record may not have become durable
		return []Record{{Pending: a.Create}}
	case AttachENI:
		e.Phase, e.DeviceIndex, e.Card, e.looks = Attaching, a.Device, a.Card, 0
		s.resort()
		return []Record{e.record()}
	case UnassignAddresses:
		e.Leave(a.Blocks)
		s.at.Shrunk = now
		return []Record{e.record()}
	case DetachENI:
		if e.Phase != Detaching {
			e.Phase, e.looks = Detaching, 0
		}
		s.resort()
		return []Record{e.record()}
	default:
		return nil
	}
}

// Finish folds the result of an action that Begin started and returns what it changed for the journal. Until that is
// durable a crash leads back to before the result, from where reads find it again.
func (s *State) Finish(a Action, r Result, now time.Time) []Record {
	delete(s.inflight, a.Key)
	took := now.Sub(s.begun[a.Key])
	delete(s.begun, a.Key)
	e := s.enis[a.ENI]
	if e != nil && a.Kind.Mutates() {
		e.WroteAt = now
	}
	if r.Err != nil {
		return s.failed(a, e, r.Err, now)
	}
	s.tries.Done(a.Key)
	if a.Kind == AssignAddresses {
		s.assignLead.Took(took)
	}
	if !a.Kind.Mutates() {
		return s.finishRead(a, e, r, now)
	}
	return s.finishWrite(a, e, r, now)
}

func (s *State) finishRead(a Action, e *ENI, r Result, now time.Time) []Record {
	switch a.Kind {
	case ReadENIs:
		return s.observeENIs(r.ENIs, r.AskedAt)
	case ReadENI:
		s.tries.Postpone(a.Key, now.Add(e.nextLook())) // if it still matters then
		return s.observeOne(a.ENI, r.ENIs, r.AskedAt)
	case ReadSubnets:
		return s.observeSubnets(r.Subnets, r.AskedAt)
	case ReadSpace:
		s.observeSpace(a.Subnet, r.ENIs, r.Reserved, r.AskedAt)
		return nil
	case ReadGroups:
		s.observeGroups(r.Tagged, r.AskedAt)
		return nil
	case ReadLeaked:
		return s.observeLeaked(r.ENIs, r.AskedAt)
	case ReadVPC:
		s.observeVPC(r.CIDRs, r.Groups, r.AskedAt)
		return nil
	default:
		return s.observeMetadata(r.Metadata, r.AskedAt)
	}
}

func (s *State) finishWrite(a Action, e *ENI, r Result, now time.Time) []Record {
	switch a.Kind {
	case CreateENI:
		return s.created(*a.Create, r.ENI, now)
	case DeleteLeaked:
		s.forgetLeaked(a.ENI)
		return nil
	case ReservePrefixes:
		s.zone.Map(a.Subnet, nil) // it is read again, with the reservation
		return nil
	case TagENI:
		if e == nil {
			s.leakedTagged[a.ENI] = true
			return nil
		}
	default:
	}
	if e == nil {
		return nil
	}
	switch a.Kind {
	case AttachENI:
		e.Phase = Attached
		e.Attachment = &vpc.Attachment{ID: r.Attachment, Instance: s.Instance.ID, DeviceIndex: a.Device, NetworkCard: a.Card, State: vpc.Attached}
		e.SeenAt = now
	case KeepENI:
		e.DeleteOnTermination, e.finishedAt = true, now
	case TagENI:
		e.Tagged, e.finishedAt = true, now
		if e.Tags == nil {
			e.Tags = vpc.Tags{}
		}
		maps.Copy(e.Tags, a.Tags)
	case SetGroups:
		e.Groups, e.finishedAt = a.Groups, now
	case AssignAddresses:
		s.book.Gain(e.Interface, r.Assigned)
		s.zone.Taken(e.Subnet, r.Assigned)
	case UnassignAddresses:
		s.book.Left(e.Interface, a.Blocks, now)
		s.zone.Given(e.Subnet, a.Blocks)
		return []Record{{Unassign: &UnassignRecord{ENI: e.ID, Blocks: a.Blocks, At: now}}}
	case DetachENI: // EC2 answers before it is detached; a read tells
		e.Dirty = false
		s.tries.Postpone(a.Key, now.Add(5*time.Second))
	case DeleteENI:
		s.dropENI(e, now)
		return []Record{{Gone: &GoneRecord{ENI: e.ID, At: now}}}
	default:
	}
	s.resort()
	return []Record{e.record()}
}

func (s *State) created(p Pending, seen vpc.ENI, now time.Time) []Record {
	delete(s.pending, p.Token)
	s.tries.Done(Growth)
	s.tries.Done(GrowthIn(p.Subnet))
	e := s.enis[seen.ID]
	if e == nil {
		e = &ENI{
			ENI: seen, Interface: s.book.Add(seen.ID, now), Phase: Created, SubnetCIDR: p.SubnetCIDR, Managed: true, Tagged: true,
			SeenAt: now, finishedAt: now, begunAt: p.At,
		}
		if len(e.Tags) == 0 {
			e.Tags = p.Tags
		}
		if e.Type == "" {
			e.Type = vpc.ENITypeInterface
		}
		s.book.Gain(e.Interface, seen.Assigned())
		s.zone.Taken(p.Subnet, append(seen.Assigned(), vpc.Single(seen.Primary)))
		s.addENI(e)
		s.applySubnet(e)
	}
	return []Record{e.record(), {Closed: &ClosedRecord{Token: p.Token, ENI: e.ID}}}
}

// helps tells whether waiting pods depend on an action, so that its error explains why they wait. Security groups that IAM does
// not let us read are done without.
func helps(a Action, code vpc.Code) bool {
	k := a.Kind
	return k == CreateENI || k == AttachENI || k == AssignAddresses || k == ReadENIs || k == ReadGroups && a.Why.Urgent() && code != vpc.NotAuthorized
}

// failed folds an error. Definite refusals change what is believed of EC2; an unknown outcome makes the interface dirty.
func (s *State) failed(a Action, e *ENI, err error, now time.Time) []Record {
	code := vpc.CodeOf(err)
	s.tries.Fail(a.Key, code, now)
	if code == vpc.Throttled {
		s.tries.Throttled(a.Key, a.Why.Urgent(), heldUntil(err))
	}
	if helps(a, code) {
		s.lastErr, s.lastKey = err, a.Key
	}
	unknown := code == vpc.Internal || code == vpc.Inconsistent
	if e != nil && a.Kind.Mutates() && code != vpc.Throttled && code != vpc.NotAuthorized {
		e.Dirty = true
	}
	if a.Kind.Mutates() && code != vpc.Throttled && code != vpc.NotAuthorized && !lacks(code) && now.After(s.at.Wanted) {
		s.at.Wanted = now
	}
	switch a.Kind {
	case CreateENI:
		return s.createFailed(a, code, unknown || code == vpc.Throttled, now)
	case AttachENI:
		return s.attachFailed(e, code, unknown, now)
	case AssignAddresses:
		s.assignFailed(a, e, code, now)
	case SetGroups:
		s.setGroupsFailed(a, err, now)
	case ReadSubnets:
		s.zone.Deny(code == vpc.NotAuthorized)
		return s.applySubnets()
	case ReadGroups:
		s.groupsFailed(a, code, now)
	case ReadSpace, ReservePrefixes:
		s.surveyFailed(a, code, now)
	case DetachENI:
		// Surely not begun: this was the first try, and nothing came before the denial, as it may before a throttle.
		if e != nil && a.Why != Unfinished && code == vpc.NotAuthorized {
			e.Phase = Attached
			return []Record{e.record()}
		}
	case DeleteENI:
		if code == vpc.NotFound && e != nil {
			s.dropENI(e, now)
			return []Record{{Gone: &GoneRecord{ENI: a.ENI, At: now}}}
		}
		if code == vpc.InUse && e != nil && e.Phase == Detached { // not detached after all: look again
			e.Phase = Detaching
			return []Record{e.record()}
		}
	case DeleteLeaked, TagENI:
		if e == nil { // the next search may find it again
			s.forgetLeaked(a.ENI)
		}
	case UnassignAddresses:
		if e != nil && a.Why != Unfinished && code == vpc.NotAuthorized { // surely not begun, as above
			s.book.Keep(e.Interface) // the addresses serve pods again; a read that leaves one out takes it away
			return []Record{e.record()}
		}
	default:
	}
	return nil
}

// groupsFailed spares EC2 what it refuses: the managed policy of Amazon's CNI does not allow it.
func (s *State) groupsFailed(a Action, code vpc.Code, now time.Time) {
	if s.groupsDenied = code == vpc.NotAuthorized; s.groupsDenied {
		s.tries.Postpone(a.Key, now.Add(groupsDeniedFor+s.tries.Spread(groupsDeniedFor/4)))
	}
}

// heldUntil is when the node's budget lets a throttled action leave again, zero when the error does not say.
func heldUntil(err error) time.Time {
	if e, ok := errors.AsType[*vpc.Error](err); ok {
		return e.Until
	}
	return time.Time{}
}

// lacks tells whether EC2 refused because the subnet does not have what was asked for.
func lacks(code vpc.Code) bool {
	return code == vpc.SubnetFull || code == vpc.PrefixFragmented || code == vpc.AddressTaken
}

// refused notes what a refusal tells of a subnet, and whether it does.
func (s *State) refused(id vpc.SubnetID, want vpc.Want, names []vpc.Block, code vpc.Code, now time.Time) bool {
	switch {
	case code == vpc.AddressTaken: // which of the names is not told; the next map shows it
		s.zone.Lost(id, now)
	case lacks(code):
		s.zone.Given(id, names)
	}
	switch {
	case code == vpc.PrefixFragmented, code == vpc.SubnetFull && want.InPrefixes(): // single addresses may be there
		s.zone.NoPrefix(id, now)
	case code == vpc.SubnetFull:
		s.zone.Refused(id, now)
	}
	return lacks(code)
}

// surveyFailed puts what a map needs off for long where it is refused, and asks for a map where somebody else has reserved.
func (s *State) surveyFailed(a Action, code vpc.Code, now time.Time) {
	switch code {
	case vpc.NotAuthorized, vpc.Invalid, vpc.NotFound, vpc.LimitReached:
		s.tries.Postpone(a.Key, now.Add(time.Hour))
	case vpc.AddressTaken:
		s.zone.Lost(a.Subnet, now)
		s.tries.Postpone(a.Key, now.Add(time.Minute))
	default:
	}
}

func (s *State) assignFailed(a Action, e *ENI, code vpc.Code, now time.Time) {
	if e == nil {
		return
	}
	s.zone.Take(e.Subnet, -a.Want.Size())
	if s.refused(e.Subnet, a.Want, vpc.Blocks(a.Want.Addrs, a.Want.Prefixes), code, now) {
		e.Dirty = false
		s.tries.Done(a.Key) // what is asked for next is another thing
	}
}

// createFailed closes a refused creation, so that another subnet can be tried; an unknown outcome keeps its token.
func (s *State) createFailed(a Action, code vpc.Code, keep bool, now time.Time) []Record {
	if s.refused(a.Create.Subnet, a.Create.Want, a.Create.names(), code, now) {
		s.tries.Done(a.Key)
	}
	if keep {
		return nil
	}
	delete(s.pending, a.Create.Token)
	s.zone.Take(a.Create.Subnet, -a.Create.Want.Size()-1)
	if !lacks(code) {
		s.lastKey = GrowthIn(a.Create.Subnet)
		switch code {
		case vpc.LimitReached:
			s.lastKey = Growth
		case vpc.TooManyGroups:
			s.manyGroups(len(a.Create.Groups), now)
		default:
		}
		s.tries.Fail(s.lastKey, code, now) // the next creation has another token, and waits as this one would
	}
	return []Record{{Closed: &ClosedRecord{Token: a.Create.Token}}}
}

func (s *State) setGroupsFailed(a Action, err error, now time.Time) {
	s.groupsErr = err
	if vpc.CodeOf(err) == vpc.TooManyGroups {
		s.manyGroups(len(a.Groups), now)
	}
}

func (s *State) attachFailed(e *ENI, code vpc.Code, unknown bool, now time.Time) []Record {
	if e == nil {
		return nil
	}
	switch {
	case unknown || code == vpc.InUse: // it may be attached: a read tells
		return nil
	case code == vpc.NotFound && now.Sub(e.SeenAt) > settle:
		s.dropENI(e, now)
		return []Record{{Gone: &GoneRecord{ENI: e.ID, At: now}}}
	}
	e.Phase = Created
	s.resort()
	return []Record{e.record()}
}

func (s *State) forgetLeaked(id vpc.ENIID) {
	s.leaked = slices.DeleteFunc(s.leaked, func(e vpc.ENI) bool { return e.ID == id })
}

package pool

import (
	"net/netip"
	"time"

	"github.com/berth-net/berth/internal/core/vpc"
)

// Record is one line of the journal. Exactly one of its parts is set. Records bear repetition: the last one about an
// object wins, so a journal may be replayed from any snapshot that it continues.
type Record struct {
	Pod      *PodRecord      `json:"pod,omitempty"`
	Freed    *FreedRecord    `json:"freed,omitempty"`
	ENI      *ENIRecord      `json:"eni,omitempty"`
	Gone     *GoneRecord     `json:"gone,omitempty"`
	Pending  *Pending        `json:"pending,omitempty"`
	Closed   *ClosedRecord   `json:"closed,omitempty"`
	Unassign *UnassignRecord `json:"unassign,omitempty"`
	// Doubt is until when addresses that reads bring are in doubt; see State.Doubt.
	Doubt *time.Time `json:"doubt,omitempty"`
}

// PodRecord says that a pod was given an address.
type PodRecord struct {
	Pod  Pod        `json:"pod"`
	Addr netip.Addr `json:"addr"`
	ENI  vpc.ENIID  `json:"eni"`
	At   time.Time  `json:"at"`
}

// FreedRecord says that an attachment gave its address back; it cools until Until.
type FreedRecord struct {
	Key   Key        `json:"key"`
	Addr  netip.Addr `json:"addr"`
	At    time.Time  `json:"at"`
	Until time.Time  `json:"until"`
}

// ENIRecord is an interface as last known. Addresses are all blocks that it holds, the leaving ones included.
type ENIRecord struct {
	ID           vpc.ENIID        `json:"id"`
	MAC          string           `json:"mac"`
	Subnet       vpc.SubnetID     `json:"subnet"`
	SubnetCIDR   netip.Prefix     `json:"subnetCidr"`
	Address      netip.Addr       `json:"address"`
	Type         string           `json:"type,omitempty"`
	Phase        ENIPhase         `json:"phase"`
	Primary      bool             `json:"primary,omitempty"`
	DeviceIndex  int              `json:"device"`
	Card         int              `json:"card,omitempty"`
	Attachment   vpc.AttachmentID `json:"attachment,omitempty"`
	Managed      bool             `json:"managed"`
	Barred       bool             `json:"barred,omitempty"`
	Tagged       bool             `json:"tagged,omitempty"`
	KeptWithNode bool             `json:"deleteOnTermination,omitempty"`
	Addresses    []vpc.Block      `json:"addresses,omitempty"` // prefixes among them
	Leaving      []vpc.Block      `json:"leaving,omitempty"`
	Doubtful     []vpc.Block      `json:"doubtful,omitempty"`
}

// GoneRecord says that an interface is no more.
type GoneRecord struct {
	ENI vpc.ENIID `json:"eni"`
	At  time.Time `json:"at"`
}

// ClosedRecord ends a pending creation; ENI is what it gave, empty when it was refused.
type ClosedRecord struct {
	Token string    `json:"token"`
	ENI   vpc.ENIID `json:"eni,omitempty"`
}

// UnassignRecord says that blocks were given back to EC2 at At.
type UnassignRecord struct {
	ENI    vpc.ENIID   `json:"eni"`
	Blocks []vpc.Block `json:"addrs"`
	At     time.Time   `json:"at"`
}

// record is the interface's present record.
func (e *ENI) record() Record {
	r := &ENIRecord{
		ID: e.ID, MAC: e.MAC, Subnet: e.Subnet, SubnetCIDR: e.SubnetCIDR, Address: e.Primary, Type: e.Type, Phase: e.Phase,
		Primary: e.primary, DeviceIndex: e.DeviceIndex, Card: e.Card, Managed: e.Managed, Barred: e.Barred,
		Tagged: e.Tagged, KeptWithNode: e.DeleteOnTermination,
	}
	if e.Attachment != nil {
		r.Attachment = e.Attachment.ID
	}
	for _, b := range e.Sorted() {
		r.Addresses = append(r.Addresses, b.Block)
		if b.Doubt != "" {
			r.Doubtful = append(r.Doubtful, b.Block)
		}
	}
	r.Leaving = e.Leaving()
	return Record{ENI: r}
}

func podRecord(a Allocation) Record {
	return Record{Pod: &PodRecord{Pod: a.Pod, Addr: a.Addr, ENI: a.ENI, At: a.At}}
}

// Snapshot returns the records that restore the present state.
func (s *State) Snapshot(now time.Time) []Record {
	var records []Record
	if until := s.book.DoubtUntil(); now.Before(until) { // first: what interfaces say of their addresses is younger
		records = append(records, Record{Doubt: &until})
	}
	for _, e := range s.order {
		records = append(records, e.record())
	}
	for id, at := range s.gone {
		records = append(records, Record{Gone: &GoneRecord{ENI: id, At: at}})
	}
	for _, p := range s.pending {
		records = append(records, Record{Pending: p})
	}
	for _, a := range s.Allocations() {
		records = append(records, podRecord(a))
	}
	for _, e := range s.order {
		for _, a := range e.Cooling() {
			records = append(records, Record{Freed: &FreedRecord{Addr: a.IP, At: a.FreedAt, Until: a.Until}})
		}
	}
	s.book.EachRemoved(func(eni vpc.ENIID, id vpc.Block, at time.Time) {
		records = append(records, Record{Unassign: &UnassignRecord{ENI: eni, Blocks: []vpc.Block{id}, At: at}})
	})
	return records
}

// Restore replays a journal into a new State. Nothing of it is believed beyond this: pods keep their addresses, what was
// begun is finished, what cooled goes on cooling. Interfaces and free addresses wait for EC2's word, or metadata's.
func (s *State) Restore(records []Record) {
	for _, r := range records {
		switch {
		case r.Pod != nil:
			s.book.RestorePod(Allocation{Pod: r.Pod.Pod, Addr: r.Pod.Addr, ENI: r.Pod.ENI, At: r.Pod.At})
		case r.Freed != nil:
			s.book.RestoreReleased(r.Freed.Key, r.Freed.Addr, r.Freed.At, r.Freed.Until)
		case r.ENI != nil:
			s.restoreENI(*r.ENI)
		case r.Gone != nil:
			delete(s.enis, r.Gone.ENI)
			s.book.Drop(r.Gone.ENI)
			s.gone[r.Gone.ENI] = r.Gone.At
		case r.Pending != nil:
			p := *r.Pending
			s.pending[p.Token] = &p
		case r.Closed != nil:
			delete(s.pending, r.Closed.Token)
		case r.Doubt != nil:
			s.book.RestoreDoubt(*r.Doubt, s.at.Started)
		case r.Unassign != nil:
			s.book.RestoreRemoved(r.Unassign.ENI, r.Unassign.Blocks, r.Unassign.At)
		}
	}
	s.resort()
}

func (s *State) restoreENI(r ENIRecord) {
	s.restored = true
	delete(s.gone, r.ID)
	e := &ENI{
		ENI: vpc.ENI{
			ID: r.ID, MAC: r.MAC, Subnet: r.Subnet, VPC: s.Instance.VPC, Zone: s.Instance.Zone, Type: r.Type, Primary: r.Address,
		},
		Interface: s.book.RestoreInterface(r.ID, r.Addresses, r.Leaving, r.Doubtful, s.at.Started),
		Phase:     r.Phase, SubnetCIDR: r.SubnetCIDR, DeviceIndex: r.DeviceIndex, Card: r.Card, Managed: r.Managed, Barred: r.Barred,
		primary: r.Primary, Tagged: r.Tagged, DeleteOnTermination: r.KeptWithNode, SeenAt: s.at.Started,
	}
	e.Dirty = r.Phase == Detaching
	if r.Attachment != "" {
		e.Attachment = &vpc.Attachment{ID: r.Attachment, Instance: s.Instance.ID, DeviceIndex: r.DeviceIndex, NetworkCard: r.Card}
	}
	s.enis[e.ID] = e
}

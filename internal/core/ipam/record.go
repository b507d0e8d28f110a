package ipam

import (
	"net/netip"
	"slices"
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
	// Doubt is until when addresses that reads bring are doubtful; see State.Doubt.
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

// ENIRecord is an interface as last known. Addresses are all that it holds, the leaving ones included.
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
	Addresses    []netip.Addr     `json:"addresses,omitempty"`
	Leaving      []netip.Addr     `json:"leaving,omitempty"`
	Doubtful     []netip.Addr     `json:"doubtful,omitempty"`
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

// UnassignRecord says that addresses were given back to EC2 at At.
type UnassignRecord struct {
	ENI   vpc.ENIID    `json:"eni"`
	Addrs []netip.Addr `json:"addrs"`
	At    time.Time    `json:"at"`
}

// eniRecord is the interface's present record.
func (e *ENI) record() Record {
	r := &ENIRecord{
		ID: e.ID, MAC: e.MAC, Subnet: e.Subnet, SubnetCIDR: e.SubnetCIDR, Address: e.Primary, Type: e.Type, Phase: e.Phase,
		Primary: e.primary, DeviceIndex: e.DeviceIndex, Card: e.Card, Managed: e.Managed, Barred: e.Barred,
		Tagged: e.Tagged, KeptWithNode: e.DeleteOnTermination,
	}
	if e.Attachment != nil {
		r.Attachment = e.Attachment.ID
	}
	for _, a := range e.Sorted() {
		r.Addresses = append(r.Addresses, a.IP)
		if a.Phase == Leaving {
			r.Leaving = append(r.Leaving, a.IP)
		}
		if a.Doubtful {
			r.Doubtful = append(r.Doubtful, a.IP)
		}
	}
	return Record{ENI: r}
}

// Snapshot returns the records that restore the present state.
func (s *State) Snapshot(now time.Time) []Record {
	var records []Record
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
		records = append(records, Record{Pod: &PodRecord{Pod: a.Pod, Addr: a.Addr, ENI: a.ENI, At: a.At}})
	}
	for _, e := range s.order {
		for _, a := range e.Sorted() {
			if a.Phase == Cooling {
				records = append(records, Record{Freed: &FreedRecord{Addr: a.IP, At: a.FreedAt, Until: a.Until}})
			}
		}
	}
	if !s.doubtUntil.IsZero() {
		records = append(records, Record{Doubt: &s.doubtUntil})
	}
	for p, at := range s.removed {
		records = append(records, Record{Unassign: &UnassignRecord{ENI: p.eni, Addrs: []netip.Addr{p.ip}, At: at}})
	}
	return records
}

// Restore replays a journal into a new State. Nothing of it is believed beyond this: pods keep their addresses, what was
// begun is finished, what cooled goes on cooling. Interfaces and free addresses wait for EC2's word, or metadata's.
func (s *State) Restore(records []Record) {
	for _, r := range records {
		switch {
		case r.Pod != nil:
			s.restorePod(*r.Pod)
		case r.Freed != nil:
			s.restoreFreed(*r.Freed)
		case r.ENI != nil:
			s.restoreENI(*r.ENI)
		case r.Gone != nil:
			delete(s.enis, r.Gone.ENI)
			s.gone[r.Gone.ENI] = r.Gone.At
		case r.Pending != nil:
			p := *r.Pending
			s.pending[p.Token] = &p
		case r.Closed != nil:
			delete(s.pending, r.Closed.Token)
		case r.Doubt != nil:
			s.doubtUntil = *r.Doubt
		case r.Unassign != nil:
			s.restoreUnassign(*r.Unassign)
		}
	}
	s.resort()
}

func (s *State) restorePod(r PodRecord) {
	if old, ok := s.pods[r.Pod.Key]; ok && old.Addr != r.Addr {
		s.setFree(old.Addr, old.At)
	}
	for k, p := range s.pods { // its release was not recorded any more; the later word counts
		if p.Addr == r.Addr && k != r.Pod.Key {
			delete(s.pods, k)
		}
	}
	s.pods[r.Pod.Key] = &Allocation{Pod: r.Pod, Addr: r.Addr, ENI: r.ENI, At: r.At}
	if a := s.address(r.Addr); a != nil {
		*a = Address{IP: r.Addr, Phase: InUse, Owner: r.Pod.Key}
	}
}

func (s *State) restoreFreed(r FreedRecord) {
	if p, ok := s.pods[r.Key]; ok && p.Addr == r.Addr {
		delete(s.pods, r.Key)
	}
	if a := s.address(r.Addr); a != nil && (a.Phase != InUse || a.Owner == r.Key) && a.Phase != Leaving {
		*a = Address{IP: r.Addr, Phase: Cooling, Until: r.Until, FreedAt: r.At}
	}
}

func (s *State) setFree(addr netip.Addr, at time.Time) {
	if a := s.address(addr); a != nil && a.Phase == InUse {
		*a = Address{IP: addr, Phase: Cooling, Until: at.Add(s.Config.Cooldown), FreedAt: at}
	}
}

func (s *State) restoreENI(r ENIRecord) {
	s.restored = true
	delete(s.gone, r.ID)
	old := s.enis[r.ID]
	e := &ENI{
		ENI: vpc.ENI{
			ID: r.ID, MAC: r.MAC, Subnet: r.Subnet, VPC: s.Instance.VPC, Zone: s.Instance.Zone, Type: r.Type, Primary: r.Address,
		},
		Phase: r.Phase, SubnetCIDR: r.SubnetCIDR, DeviceIndex: r.DeviceIndex, Card: r.Card, Managed: r.Managed, Barred: r.Barred,
		primary: r.Primary, Tagged: r.Tagged, DeleteOnTermination: r.KeptWithNode,
		Addresses: make(map[netip.Addr]*Address), SeenAt: s.startedAt, WroteAt: s.startedAt,
	}
	e.Dirty = r.Phase == Detaching
	if r.Attachment != "" {
		e.Attachment = &vpc.Attachment{ID: r.Attachment, Instance: s.Instance.ID, DeviceIndex: r.DeviceIndex, NetworkCard: r.Card}
	}
	for _, ip := range r.Addresses {
		a := &Address{IP: ip, Phase: Free}
		if old != nil && old.Addresses[ip] != nil && !slices.Contains(r.Leaving, ip) {
			a = old.Addresses[ip]
		}
		if a.Phase == Leaving || slices.Contains(r.Leaving, ip) {
			a = &Address{IP: ip, Phase: Free}
		}
		if slices.Contains(r.Leaving, ip) {
			a.Phase = Leaving
		}
		a.Doubtful = slices.Contains(r.Doubtful, ip)
		e.Addresses[ip] = a
	}
	s.enis[e.ID] = e
	s.relink(e)
}

// relink gives an interface's addresses to the pods whose records name them.
func (s *State) relink(e *ENI) {
	for k, p := range s.pods {
		if a := e.Addresses[p.Addr]; a != nil {
			*a = Address{IP: p.Addr, Phase: InUse, Owner: k, MissingSince: a.MissingSince}
			p.ENI = e.ID
		}
	}
}

func (s *State) restoreUnassign(r UnassignRecord) {
	e := s.enis[r.ENI]
	for _, ip := range r.Addrs {
		s.removed[place{r.ENI, ip}] = r.At
		if e != nil && e.Addresses[ip] != nil && e.Addresses[ip].Phase != InUse {
			delete(e.Addresses, ip)
		}
	}
}

// address finds a secondary address on any interface.
func (s *State) address(ip netip.Addr) *Address {
	for _, e := range s.enis {
		if a := e.Addresses[ip]; a != nil {
			return a
		}
	}
	return nil
}

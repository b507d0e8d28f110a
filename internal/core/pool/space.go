package pool

import (
	"time"

	"github.com/berth-net/berth/internal/core/subnet"
	"github.com/berth-net/berth/internal/core/vpc"
)

// observeSpace folds a read of what occupies a subnet.
func (s *State) observeSpace(id vpc.SubnetID, occupants []vpc.ENI, reserved []vpc.Reservation, askedAt time.Time) {
	sn, ok := s.zone.Find(id)
	if !ok {
		return
	}
	if old := s.zone.MapOf(id); old != nil && !askedAt.After(old.At()) {
		return
	}
	m := subnet.NewSpace(sn, occupants, reserved, askedAt)
	for _, e := range s.order { // what we have and an answer that lags does not show
		if e.Subnet == id {
			m.Take(vpc.Single(e.Primary))
			for b := range e.Blocks {
				m.Take(b)
			}
		}
	}
	for _, a := range s.inflight {
		if e := s.enis[a.ENI]; a.Kind == AssignAddresses && e != nil && e.Subnet == id {
			takeAll(m, vpc.Blocks(a.Want.Addrs, a.Want.Prefixes))
		}
	}
	for _, p := range s.pending {
		if p.Subnet == id {
			takeAll(m, p.names())
		}
	}
	s.zone.Map(id, m)
}

func takeAll(m *subnet.Space, blocks []vpc.Block) {
	for _, b := range blocks {
		m.Take(b)
	}
}

// names are the blocks that a creation names, the interface's own address included.
func (p *Pending) names() []vpc.Block {
	blocks := vpc.Blocks(p.Want.Addrs, p.Want.Prefixes)
	if p.Primary.IsValid() {
		blocks = append(blocks, vpc.Single(p.Primary))
	}
	return blocks
}

package ipam

import (
	"net/netip"
	"time"

	"github.com/berth-net/berth/internal/core/pool"
	"github.com/berth-net/berth/internal/core/subnet"
	"github.com/berth-net/berth/internal/core/vpc"
)

const (
	// mapEvery is the interval of reads of a subnet's map while prefixes are scarce in it, and up to a quarter longer by node.
	mapEvery = 8 * time.Minute
	// mapAfter is the least time between two reads of it, whatever happened.
	mapAfter = 500 * time.Millisecond
	// reservedPart of a subnet is set aside for prefixes when the agent is told to.
	reservedPart = 2
)

// A map of a subnet costs reads of all its interfaces, a thousand a page, by every node that wants one. So it is read only
// where names pay: in prefix mode, in a subnet that is half used or that EC2 found no prefix in, and before an interface is
// made, whose own address breaks a block wherever it falls. Elsewhere EC2 chooses.

// tight tells whether a subnet is so full that it matters which addresses are taken.
func (p *planner) tight(id vpc.SubnetID) bool {
	sn, ok := p.zone.Find(id)
	if !ok || !sn.CIDR.IsValid() {
		return false
	}
	return p.Broken(id) || sn.Free*2 < 1<<(32-sn.CIDR.Bits())
}

// survey asks for the map of a subnet where it pays, unless there is one that is young enough.
func (p *planner) survey(id vpc.SubnetID, making bool) {
	if !p.Prefixes() || !making && !p.tight(id) && p.zone.Naming(id, p.now) != subnet.Reread {
		return
	}
	every := mapEvery + p.tries.Spread(mapEvery/4)
	m := p.zone.MapOf(id)
	switch {
	case m == nil, p.now.Sub(m.At()) >= every:
	case p.zone.Naming(id, p.now) == subnet.Reread, p.zone.BrokenAt(id).After(m.At()) && !p.zone.Belied(id, p.now):
		if p.now.Sub(m.At()) < mapAfter {
			return
		}
	default:
		return
	}
	why := pool.Fragmentation
	if p.rereading && p.tally.Waiting > 0 {
		why = pool.PodsWaiting
	}
	p.do(pool.Action{Kind: pool.ReadSpace, Key: "read-space/" + string(id), Why: why, Subnet: id})
}

// space is the map that names in a subnet are chosen by, less what this plan names; nil when EC2 chooses. It is not told
// when the map has to be read first, after a lost race.
func (p *planner) space(id vpc.SubnetID) (m *subnet.Space, told bool) {
	switch p.zone.Naming(id, p.now) {
	case subnet.Reread:
		told = p.tries.Failed("read-space/" + string(id))
		p.rereading = p.rereading || !told
		return nil, told
	case subnet.ByMap:
		if p.named[id] == nil {
			p.named[id] = p.zone.MapOf(id).Clone()
		}
		return p.named[id], true
	default:
		return nil, true
	}
}

// seed makes nodes choose differently.
func (p *planner) seed() string { return string(p.Instance.ID) }

// nameAddrs is a request for n single addresses.
func (p *planner) nameAddrs(id vpc.SubnetID, n int) vpc.Want {
	if m, told := p.space(id); !told {
		return vpc.Want{}
	} else if m != nil {
		if addrs := m.Addresses(n, p.seed()); len(addrs) > 0 {
			return vpc.Want{Addrs: addrs}
		}
	}
	return vpc.Want{Count: n}
}

// namePrefixes is a request for n prefixes.
func (p *planner) namePrefixes(id vpc.SubnetID, n int) vpc.Want {
	if m, told := p.space(id); !told {
		return vpc.Want{}
	} else if m != nil {
		if prefixes := m.Prefixes(n, p.seed()); len(prefixes) > 0 {
			return vpc.Want{Prefixes: prefixes}
		}
	}
	return vpc.Want{PrefixCount: n}
}

// namePrimary is the address of a new interface itself, and counts it; it is not valid when EC2 chooses it.
func (p *planner) namePrimary(id vpc.SubnetID) netip.Addr {
	p.planned[id]++
	m, _ := p.space(id)
	if m == nil {
		return netip.Addr{}
	}
	primary := m.Primary(p.seed())
	if primary.IsValid() {
		m.Take(vpc.Single(primary))
	}
	return primary
}

// name counts what this plan asks for in a subnet.
func (p *planner) name(id vpc.SubnetID, want vpc.Want) {
	p.planned[id] += want.Size()
	if m := p.named[id]; m != nil {
		for _, b := range vpc.Blocks(want.Addrs, want.Prefixes) {
			m.Take(b)
		}
	}
}

// reserve sets a part of a subnet aside for prefixes, once for all nodes: each would choose the same.
func (p *planner) reserve(id vpc.SubnetID) {
	m := p.zone.MapOf(id)
	if !p.Config.ReservePrefixes || !p.Prefixes() || m == nil || m.Reserved() {
		return
	}
	if cidr := m.Reserve(m.Blocks() / reservedPart); cidr.IsValid() {
		p.do(pool.Action{Kind: pool.ReservePrefixes, Key: "reserve/" + string(id), Why: pool.Fragmentation, Subnet: id, CIDR: cidr, Tags: p.reservationTags()})
	}
}

func (v view) reservationTags() vpc.Tags {
	tags := vpc.Tags{vpc.TagENIOwner: vpc.ENIOwner}
	if v.Config.Cluster != "" {
		tags[vpc.TagENICluster] = v.Config.Cluster
	}
	return tags
}

// surveyAll keeps the maps of the subnets that matter, and their reservations.
func (p *planner) surveyAll() {
	seen := make(map[vpc.SubnetID]bool)
	look := func(id vpc.SubnetID) {
		if !seen[id] {
			seen[id] = true
			p.survey(id, p.Config.ReservePrefixes)
			p.reserve(id)
		}
	}
	for _, e := range p.ENIs() {
		if e.Managed && e.Phase == pool.Attached && !e.Barred {
			look(e.Subnet)
		}
	}
	if p.FreeSlots() > 0 {
		for _, sn := range p.zone.Candidates(p.now) {
			look(sn.ID)
		}
	}
}

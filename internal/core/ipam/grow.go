package ipam

import (
	"net/netip"
	"time"

	"github.com/berth-net/berth/internal/core/subnet"
	"github.com/berth-net/berth/internal/core/target"
	"github.com/berth-net/berth/internal/core/vpc"
)

// grow adds addresses: first on interfaces that have slots, then with new interfaces, side by side.
func (p *planner) grow() {
	if p.holdsGrowth() {
		return
	}
	if !p.restored && p.zone.ReadAt().IsZero() && !p.tries.Failed(keyReadSubnets) {
		return // a first start waits for the tags once; an error lets it go on
	}
	need := p.Config.targets().Short(p.tally, p.perENI(), p.maxPods())
	if need.Count <= 0 {
		return
	}
	rest := p.growExisting(need)
	if rest > 0 {
		p.growNew(need, rest)
	}
}

// holdsGrowth tells whether the node's pool is left as it is: no new pod will come.
func (s *State) holdsGrowth() bool { return s.Unschedulable && !s.Config.ManageUnschedulable }

// why says what growth is for.
func why(need target.Short) Why {
	if need.Demand > 0 {
		return PodsWaiting
	}
	return WarmTarget
}

// growExisting assigns addresses on interfaces that have room and returns what is still short.
func (p *planner) growExisting(need target.Short) int {
	rest := need.Count
	for _, e := range p.order {
		room := p.assignable(e)
		if rest <= 0 || room <= 0 {
			continue
		}
		n := room
		if !need.Fill {
			n = min(room, rest)
		}
		refused := p.tries.Refused("assign/" + string(e.ID)) // it is tried again, but nothing relies on it
		if e.Dirty {
			p.needRead = AfterDoubt
			if !refused {
				rest -= n
			}
			continue
		}
		if p.do(Action{Kind: AssignAddresses, Key: "assign/" + string(e.ID), Why: why(need), ENI: e.ID, Count: n}) {
			p.planned[e.Subnet] += n
		}
		if !refused {
			rest -= n // also when it waits for its turn: the slot is there
		}
	}
	return max(rest-p.comingRoom(), 0)
}

// comingRoom is how many more addresses interfaces can take once the call about them that is under way has ended: those
// that are being made, and those that just get addresses. That is sooner than another interface would be, and spends no
// slot. One whose making has failed before is not waited for.
func (p *planner) comingRoom() int {
	room := 0
	add := func(sn vpc.SubnetID, slots int) {
		if free, known := p.room(sn); known {
			slots = min(slots, free)
		}
		room += max(slots, 0)
	}
	for token, c := range p.pending {
		if !p.tries.Failed("create/" + token) {
			add(c.Subnet, p.perENI()-c.Secondary)
		}
	}
	for _, e := range p.order {
		if !e.Managed || e.Barred {
			continue
		}
		assign, flying := p.inflight["assign/"+string(e.ID)]
		switch {
		case e.Phase == Attached && flying,
			(e.Phase == Created || e.Phase == Attaching) && !p.tries.Failed("attach/"+string(e.ID)):
			add(e.Subnet, p.perENI()-len(e.Addresses)-assign.Count)
		}
	}
	return room
}

// assignable is how many addresses can be added to an interface, by its slots and its subnet's room.
func (p *planner) assignable(e *ENI) int {
	if !e.Managed || e.Phase != Attached || e.Barred || !e.MissingSince.IsZero() || e.Type == vpc.ENITypeTrunk || e.Type == vpc.ENITypeEFAOnly {
		return 0
	}
	if _, flying := p.inflight["assign/"+string(e.ID)]; flying {
		return 0 // what it adds is counted as coming
	}
	slots := p.perENI() - len(e.Addresses)
	if free, known := p.room(e.Subnet); known {
		slots = min(slots, free)
	}
	return max(slots, 0)
}

// room is how many addresses a subnet has left for growth; known is false when nothing is known that would forbid it.
func (p *planner) room(id vpc.SubnetID) (free int, known bool) {
	free, known = p.zone.Room(id, p.now)
	if known && free == 0 {
		p.wantSubnets()
	}
	return max(free-p.planned[id], 0), known
}

// wantSubnets asks for newer facts about the subnets, sooner while pods wait.
func (p *planner) wantSubnets() {
	every := subnetsWarm
	if p.tally.Waiting > 0 {
		every = p.searchInterval()
	}
	if p.needSubnets == 0 || every < p.needSubnets {
		p.needSubnets = every
	}
}

// searchInterval is the time between two reads of the subnets while pods wait for one.
func (p *planner) searchInterval() time.Duration {
	every := min(max(p.now.Sub(p.searchedFrom)/searchPart, searchFirst), searchLast)
	return every + p.tries.Spread(every/4)
}

// growNew creates interfaces for what existing ones cannot hold.
func (p *planner) growNew(need target.Short, rest int) {
	slots := p.freeSlots()
	if slots <= 0 || !p.tries.May(keyGrow, p.now) {
		return
	}
	for i := 0; rest > 0 && slots > 0; i++ {
		sn, n, ok := p.place(need, rest, slots)
		if !ok {
			p.wantSubnets()
			return
		}
		p.create(sn, n, why(need), i)
		rest -= n
		slots--
	}
}

// freeSlots is how many interfaces the node may still get.
func (s *State) freeSlots() int {
	used := len(s.pending)
	for _, e := range s.order {
		if e.Card == 0 {
			used++
		}
	}
	return s.MaxENIs() - used
}

// place chooses the subnet of a new interface and how many addresses it brings.
//
// The fullest choice wins: the subnet with most room. For a warm target an interface is only spent on a subnet that can
// fill it. For pods that wait a partly filled one will do, except in the node's last slot: that one is kept for a subnet
// that can fill it, since the node could never grow again.
func (p *planner) place(need target.Short, rest, slots int) (vpc.Subnet, int, bool) {
	per := p.perENI()
	if per == 0 {
		return vpc.Subnet{}, 0, false
	}
	want := per
	if !need.Fill {
		want = min(per, rest)
	}
	whole := p.wholeENI(rest)
	for _, sn := range p.zone.Candidates(p.now) {
		if sn.Free == subnet.Unknown { // EC2 will tell
			sn.CIDR = p.primaryCIDR()
			return sn, want, true
		}
		free := sn.Free - p.planned[sn.ID] - 1 // one is the interface's own
		switch {
		case free < 1:
			continue
		case (slots == 1 || need.Demand == 0) && free < whole:
			continue
		}
		return sn, min(want, free), true
	}
	return vpc.Subnet{}, 0, false
}

// wholeENI is how many addresses fill an interface as far as this node can ever use them.
func (s *State) wholeENI(rest int) int {
	t := s.Tally()
	still := max(s.maxPods()-t.InUse-t.Held-t.Free-t.Coming, rest)
	return min(s.perENI(), still)
}

// primaryCIDR is the block of the primary subnet, zero while unknown.
func (s *State) primaryCIDR() netip.Prefix {
	if e := s.enis[s.Instance.PrimaryENI]; e != nil {
		return e.SubnetCIDR
	}
	return netip.Prefix{}
}

func (p *planner) create(sn vpc.Subnet, n int, why Why, i int) {
	tags := p.eniTags()
	tags[vpc.TagENICreatedAt] = p.now.UTC().Format(time.RFC3339)
	pending := &Pending{
		Token: p.token(i), Subnet: sn.ID, SubnetCIDR: sn.CIDR, Secondary: n, Groups: p.Instance.Groups,
		Description: vpc.ENIDescriptionPrefix + string(p.Instance.ID), Tags: tags, At: p.now,
	}
	p.planned[sn.ID] += n + 1
	p.do(Action{Kind: CreateENI, Key: "create/" + pending.Token, Why: why, Create: pending})
}

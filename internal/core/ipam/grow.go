package ipam

import (
	"slices"
	"time"

	"github.com/berth-net/berth/internal/core/pool"
	"github.com/berth-net/berth/internal/core/subnet"
	"github.com/berth-net/berth/internal/core/target"
	"github.com/berth-net/berth/internal/core/vpc"
)

// grow adds addresses: first on interfaces that have slots, then with new interfaces, side by side.
func (p *planner) grow() {
	if p.holdsGrowth() || !p.told() {
		return
	}
	need := p.short
	rest := 0
	if need.Count > 0 {
		rest = p.growExisting(need)
	}
	if need.Reach && p.comingRoom() == 0 {
		rest = max(rest, 1)
	}
	if rest > 0 {
		p.growNew(need, rest)
	}
}

// told tells whether all is known that growth needs. A first start waits for the subnets' tags once, and an error lets it go
// on; custom networking waits for an ENIConfig.
func (p *planner) told() bool {
	if p.Config.CustomNetworking && p.Custom().Subnet == "" {
		return false
	}
	return p.Restored() || !p.zone.ReadAt().IsZero() || p.tries.Failed(keyReadSubnets)
}

// why says what growth is for.
func (p *planner) why(need target.Short) pool.Why {
	switch {
	case need.Demand > 0:
		return pool.PodsWaiting
	case p.Expected() > 0 && (p.warm.Follows() || p.Expected() > p.tally.Free):
		return pool.PodsBound
	case p.noneFree():
		return pool.NoneFree
	case !p.warm.Follows():
		return pool.WarmTarget
	}
	return pool.AheadOfDemand
}

// noneFree tells whether the next pod would wait and nothing comes, on a node that has pods.
func (p *planner) noneFree() bool {
	return p.Running() > 0 && p.tally.Free+p.tally.Other+p.tally.Coming == 0
}

// growExisting assigns blocks on interfaces that have room and returns how many addresses are still short. In prefix mode
// single addresses are for pods that wait, unless no subnet has a prefix left.
func (p *planner) growExisting(need target.Short) int {
	rest := need.Count
	for _, e := range p.ENIs() {
		if !p.Broken(e.Subnet) || !p.Prefixes() || !p.warm.InPrefixes {
			rest = p.growOn(e, need, rest)
		}
	}
	if spared := need.Count - need.Demand; rest > spared && p.warm.InPrefixes {
		waiting := rest - spared
		for _, e := range p.ENIs() {
			if p.Broken(e.Subnet) {
				waiting = p.growOn(e, need, waiting)
			}
		}
		rest = spared + waiting
	}
	return max(rest-p.comingRoom()-p.reclaimable(need), 0)
}

// growOn assigns blocks on one interface and returns what is left of rest.
func (p *planner) growOn(e *pool.ENI, need target.Short, rest int) int {
	if rest <= 0 || !p.assignable(e) {
		return rest
	}
	n := rest
	if need.Fill {
		n = p.PerENI()
	}
	want := p.fit(e.Subnet, n, p.Slots()-len(e.Blocks))
	if want.Slots() == 0 {
		if _, told := p.space(e.Subnet); !told { // its map is being read; what it will bring is not asked for elsewhere
			return max(rest-p.roomOn(e), 0)
		}
		return rest
	}
	refused := p.tries.Refused("assign/" + string(e.ID)) // it is tried again, but nothing relies on it
	switch {
	case e.Dirty:
		p.needRead = pool.AfterDoubt
	case p.do(pool.Action{Kind: pool.AssignAddresses, Key: "assign/" + string(e.ID), Why: p.why(need), ENI: e.ID, Want: want}):
		p.name(e.Subnet, want)
	}
	if refused {
		return rest
	}
	return rest - want.Size() // also when it waits for its turn: the slot is there
}

// fit is the request that brings n addresses, or as many as there are, to an interface with free slots in a subnet.
func (p *planner) fit(id vpc.SubnetID, n, slots int) vpc.Want {
	free, known := p.room(id)
	if p.Prefixes() && !p.Broken(id) {
		k := min(slots, (n+vpc.PrefixSize-1)/vpc.PrefixSize)
		if known {
			k = min(k, free/vpc.PrefixSize)
		}
		if k > 0 {
			return p.namePrefixes(id, k)
		}
	}
	k := min(slots, n)
	if known {
		k = min(k, free)
	}
	if k <= 0 {
		return vpc.Want{}
	}
	return p.nameAddrs(id, k)
}

// holds is how many addresses slots of an interface in a subnet hold.
func (p *planner) holds(id vpc.SubnetID, slots int) int {
	if p.Broken(id) {
		return slots
	}
	return slots * p.Unit()
}

// comingRoom is how many more addresses interfaces can take once the call about them that is under way has ended: those
// that are being made, and those that just get addresses. That is sooner than another interface would be, and spends no
// slot. One whose making has failed before is not waited for.
func (p *planner) comingRoom() int {
	room := 0
	for sn, slots := range p.comingSlots() {
		room += p.roomFor(sn, slots)
	}
	return room
}

// roomFor is how many addresses slots of interfaces in a subnet can take, by the subnet's room.
func (p *planner) roomFor(sn vpc.SubnetID, slots int) int {
	n := p.holds(sn, slots)
	if free, known := p.room(sn); known {
		n = min(n, free)
	}
	return n
}

// comingSlots are the slots of those interfaces that nothing is asked for yet, by subnet.
func (p *planner) comingSlots() map[vpc.SubnetID]int {
	slots := make(map[vpc.SubnetID]int)
	for token, c := range p.Pending() {
		if !p.tries.Failed("create/" + token) {
			slots[c.Subnet] += max(p.Slots()-c.Want.Slots(), 0)
		}
	}
	for _, e := range p.ENIs() {
		if !e.Managed || e.Barred {
			continue
		}
		assign, flying := p.Flying("assign/" + string(e.ID))
		switch {
		case e.Phase == pool.Attached && flying,
			(e.Phase == pool.Created || e.Phase == pool.Attaching) && !p.tries.Failed("attach/"+string(e.ID)):
			slots[e.Subnet] += max(p.Slots()-len(e.Blocks)-assign.Want.Slots(), 0)
		}
	}
	return slots
}

// reclaimable is how many addresses fit where blocks of the other kind are about to leave; a pod does not wait for that.
func (p *planner) reclaimable(need target.Short) int {
	n := 0
	if need.Demand > 0 {
		return 0
	}
	for _, e := range p.ENIs() {
		if e.Serves() {
			n += p.holds(e.Subnet, len(p.others(e)))
		}
	}
	return n
}

// assignable tells whether blocks can be added to an interface.
func (p *planner) assignable(e *pool.ENI) bool {
	if !e.Managed || e.Phase != pool.Attached || e.Barred || !e.MissingSince.IsZero() || e.Type == vpc.ENITypeTrunk || e.Type == vpc.ENITypeEFAOnly {
		return false
	}
	_, flying := p.Flying("assign/" + string(e.ID))
	return !flying // what it adds is counted as coming
}

// roomOn is how many addresses can be added to an interface, by its slots and its subnet's room.
func (p *planner) roomOn(e *pool.ENI) int {
	if !p.assignable(e) {
		return 0
	}
	n := p.holds(e.Subnet, p.Slots()-len(e.Blocks))
	if free, listed := p.zone.Room(e.Subnet, p.now); listed {
		n = min(n, free)
	}
	return max(n, 0)
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
	every := min(max(p.now.Sub(p.at.Searched)/searchPart, searchFirst), searchLast)
	return every + p.tries.Spread(every/4)
}

// growNew creates interfaces for what existing ones cannot hold.
func (p *planner) growNew(need target.Short, rest int) {
	slots := p.FreeSlots()
	if slots <= 0 || !p.tries.May(pool.Growth, p.now) || p.unattachable() {
		return
	}
	for i := 0; rest > 0 && slots > 0; i++ {
		sn, want, ok := p.place(need, rest, slots)
		if !ok {
			if !p.wantGroups {
				p.wantSubnets()
			}
			return
		}
		p.survey(sn.ID, true)
		p.create(sn, want, p.why(need), i)
		rest -= want.Size()
		slots--
	}
}

// unattachable tells whether EC2 refuses to attach an interface that was made: it would refuse the next one.
func (p *planner) unattachable() bool {
	return slices.ContainsFunc(p.ENIs(), func(e *pool.ENI) bool {
		return e.Phase == pool.Created && p.tries.Refused("attach/"+string(e.ID))
	})
}

// place chooses the subnet of a new interface and what it brings.
//
// The fullest choice wins: the subnet with most room, in prefix mode one that has prefixes. For a warm target an interface is
// only spent on a subnet that can fill it. For pods that wait a partly filled one will do, except in the node's last slot:
// that one is kept for a subnet that can fill it, since the node could never grow again.
func (p *planner) place(need target.Short, rest, slots int) (vpc.Subnet, vpc.Want, bool) {
	if p.Slots() == 0 {
		return vpc.Subnet{}, vpc.Want{}, false
	}
	candidates := p.zone.Candidates(p.now)
	for _, broken := range []bool{false, true} {
		if broken && p.warm.InPrefixes && need.Demand == 0 {
			break
		}
		for _, sn := range candidates {
			if p.Broken(sn.ID) != broken || !p.tries.May(pool.GrowthIn(sn.ID), p.now) {
				continue
			}
			switch _, known, err := p.Groups(sn.ID); {
			case err != nil: // tags select too many: Problems says so
				p.manyGroups = true
				continue
			case !known:
				p.wantGroups = true
				if p.tries.Failed(keyReadGroups) {
					continue
				}
				return vpc.Subnet{}, vpc.Want{}, false // a call that is soon over: no worse subnet is taken meanwhile
			}
			if want, ok := p.fitNew(sn, need, rest, slots); ok {
				if sn.Free == subnet.Unknown {
					sn.CIDR = p.primaryCIDR()
				}
				return sn, want, true
			}
		}
	}
	return vpc.Subnet{}, vpc.Want{}, false
}

// fitNew is what a new interface in a subnet brings; ok is false when it is not worth it there.
func (p *planner) fitNew(sn vpc.Subnet, need target.Short, rest, slots int) (want vpc.Want, ok bool) {
	n := rest
	if need.Fill {
		n = p.PerENI()
	}
	if sn.Free == subnet.Unknown { // EC2 will tell
		return p.fit(sn.ID, n, p.Slots()), true
	}
	free := sn.Free - p.planned[sn.ID] - 1 // one is the interface's own
	whole := min(p.wholeENI(rest), p.holds(sn.ID, p.Slots()))
	if slots == 1 { // the slots before it come first
		free -= p.roomFor(sn.ID, p.comingSlots()[sn.ID])
	}
	if free < 1 || (slots == 1 || need.Demand == 0) && free < whole {
		return vpc.Want{}, false
	}
	p.planned[sn.ID]++
	want = p.fit(sn.ID, n, p.Slots())
	p.planned[sn.ID]--
	return want, want.Slots() > 0
}

func (p *planner) create(sn vpc.Subnet, want vpc.Want, why pool.Why, i int) {
	tags := p.ENITags()
	tags[vpc.TagENICreatedAt] = p.now.UTC().Format(time.RFC3339)
	groups, _, _ := p.Groups(sn.ID)
	p.name(sn.ID, want) // before its own address, which is none of them
	primary := p.namePrimary(sn.ID)
	pending := &pool.Pending{
		Token: p.Token(i), Subnet: sn.ID, SubnetCIDR: sn.CIDR, Primary: primary, Want: want, Groups: groups,
		Description: vpc.ENIDescriptionPrefix + string(p.Instance.ID), Tags: tags, At: p.now, Why: why,
	}
	p.do(pool.Action{Kind: pool.CreateENI, Key: "create/" + pending.Token, Why: why, Create: pending})
}

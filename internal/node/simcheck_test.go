package node_test

import (
	"context"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/berth-net/berth/internal/core/ipam"
	"github.com/berth-net/berth/internal/core/pool"
	"github.com/berth-net/berth/internal/core/subnet"
	"github.com/berth-net/berth/internal/core/target"
	"github.com/berth-net/berth/internal/core/vpc"
	"github.com/berth-net/berth/internal/node"
)

// pump does what the loop does after each event.
func (s *simulation) pump() {
	if s.dead {
		s.restart(0, false, time.Second)
	}
	s.configure()
	for _, g := range s.state.Satisfy(s.now) {
		if !s.dead {
			s.wire(g)
		}
	}
	if s.dead {
		return
	}
	plan := ipam.Decide(s.state, s.now)
	s.wake = plan.Wake
	for _, a := range plan.Actions {
		if !s.dead {
			s.start(a)
		}
	}
	if s.rng.IntN(200) == 0 { // the loop compares with the kernel now and then
		s.state.SetLive(slices.Collect(maps.Keys(s.kernel)), s.now)
	}
}

// configure marks the interfaces whose link has appeared.
func (s *simulation) configure() {
	for _, e := range s.state.ENIs() {
		if e.Phase == pool.Attached && !e.Configured {
			s.state.Configured(e.ID, s.truth()[e.ID].status == "attached")
		}
	}
}

func (s *simulation) start(a pool.Action) {
	if a.Kind == pool.UnassignAddresses && a.Why != pool.Unfinished && len(s.state.Waiting()) > 0 {
		s.fail("%s while %d pods wait", a, len(s.state.Waiting()))
	}
	s.volatile = append(s.volatile, s.state.Begin(a, s.now)...)
	s.say("begin %s", a)
	if s.dies("begun " + string(a.Kind)) {
		return
	}
	s.flush() // the call waits for it
	if s.dies("recorded " + string(a.Kind)) {
		return
	}
	life, asked, inst := s.life, s.now, s.inst
	what := s.fateOf(a)
	s.after(s.between(20*time.Millisecond, 400*time.Millisecond), func() {
		var r pool.Result
		if !what.before {
			r = node.Execute(context.Background(), s.cloud, s.meta, a, inst, s.cfg.Cluster)
		}
		if what.code != "" {
			r = pool.Result{Err: &vpc.Error{Code: what.code, Op: string(a.Kind)}}
		}
		r.AskedAt = asked
		if life == s.life && s.dies("done "+string(a.Kind)) {
			return
		}
		s.after(s.between(0, 400*time.Millisecond), func() {
			if life != s.life {
				return
			}
			s.say("end %s: %v", a, r.Err)
			s.volatile = append(s.volatile, s.state.Finish(a, r, s.now)...)
			s.dies("finished " + string(a.Kind))
		})
	})
}

// fate is what becomes of a call: an error code instead of its answer, and whether it has an effect before.
type fate struct {
	code   vpc.Code
	before bool // lost or refused before it had an effect
}

func (s *simulation) fateOf(a pool.Action) fate {
	if s.fate != nil {
		return s.fate(a)
	}
	switch p := s.rng.IntN(100); {
	case !s.faulty || p >= 9:
		return fate{}
	case p < 4:
		return fate{vpc.Throttled, true}
	case p < 6:
		return fate{vpc.Internal, true}
	}
	return fate{vpc.Internal, false}
}

// dies tells whether the agent dies at this point. What it would do next in the same step does not happen.
func (s *simulation) dies(point string) bool {
	if s.dead {
		return true
	}
	s.dead = s.point != nil && s.point(point)
	if s.dead {
		s.say("dies at: %s", point)
		s.life++
	}
	return s.dead
}

type truth struct {
	status string
	addrs  map[netip.Addr]bool
	blocks []vpc.Block // the prefixes
	ours   bool
}

// truth is what EC2 really has for this instance, without lag.
func (s *simulation) truth() map[vpc.ENIID]truth {
	t := map[vpc.ENIID]truth{}
	for _, i := range s.sim.Topology().Interfaces {
		e := truth{addrs: map[netip.Addr]bool{}, ours: i.Instance == s.inst.ID}
		if e.ours {
			e.status = "attached"
		}
		for _, a := range i.Addresses {
			e.addrs[a] = true
		}
		e.blocks = vpc.Blocks(nil, i.Prefixes)
		for _, b := range e.blocks {
			for _, a := range b.Addrs() {
				e.addrs[a] = true
			}
		}
		t[i.ID] = e
	}
	return t
}

// assigned tells whether EC2 has an address on this instance, without lag.
func (s *simulation) assigned() func(netip.Addr) bool {
	single := map[netip.Addr]bool{}
	var prefixes []netip.Prefix
	for _, i := range s.sim.Topology().Interfaces {
		if i.Instance != s.inst.ID {
			continue
		}
		for _, a := range i.Addresses {
			single[a] = true
		}
		prefixes = append(prefixes, i.Prefixes...)
	}
	return func(addr netip.Addr) bool {
		return single[addr] || slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(addr) })
	}
}

// check holds at every moment.
func (s *simulation) check() {
	assigned := s.assigned()
	for addr, k := range s.kernel {
		if !assigned(addr) {
			s.fail("pod %s lives on %s, which is no address of the instance in EC2", k.ContainerID, addr)
		}
	}
	s.checkMemory()
	seen := map[netip.Addr]pool.Key{}
	for _, a := range s.state.Allocations() {
		if other, twice := seen[a.Addr]; twice {
			s.fail("%s is recorded for %s and %s", a.Addr, other.ContainerID, a.Pod.Key.ContainerID)
		}
		seen[a.Addr] = a.Pod.Key
	}
}

// checkMemory holds that no interface is forgotten that is attached: the host's network would lose its routes, and pods theirs.
func (s *simulation) checkMemory() {
	for id := range s.knew {
		if s.state.ENI(id) != nil {
			continue
		}
		if s.truth()[id].ours {
			s.fail("%s is forgotten while it is attached", id)
		}
		delete(s.knew, id)
	}
	for _, e := range s.state.ENIs() {
		if e.Phase == pool.Attached {
			s.knew[e.ID] = true
		}
	}
}

// quiet ends the faults and gives everything time to settle.
func (s *simulation) quiet() {
	s.faulty = false
	for range 80 {
		s.advance(time.Minute)
		s.check()
		s.state.SetLive(slices.Collect(maps.Keys(s.kernel)), s.now)
	}
	if s.err != nil {
		return
	}
	plan := ipam.Decide(s.state, s.now)
	switch plan.Blocked {
	case "", ipam.NodeFull, ipam.SubnetsFull, ipam.LastSlotKept, ipam.NoENIConfig, ipam.InterfacesStuck:
	default:
		s.fail("pods still wait: %s", ipam.Explain(s.state, plan))
	}
	orphans := 0 // live pods whose record was lost: their addresses stay held
	for _, k := range s.kernel {
		if _, ok := s.state.Allocation(k); !ok {
			orphans++
		}
	}
	if t := s.state.Tally(); t.Waiting == 0 && (t.Leaving+t.Coming > 0 || t.Held != orphans) {
		s.fail("not settled, %d pods without a record: %+v", orphans, t)
	}
	s.checkLeaks()
	s.checkTargets(plan)
}

func (s *simulation) checkLeaks() {
	all := s.truth()
	for id, e := range all {
		known := s.state.ENI(id)
		if s.foreign[id] {
			continue
		}
		if known == nil {
			s.fail("%s is leaked: attached %t, %v", id, e.ours, slices.Collect(maps.Keys(e.addrs)))
			continue
		}
		for addr := range e.addrs {
			if addr != known.Primary && known.Addresses[addr] == nil {
				s.fail("%s of %s is leaked", addr, id)
			}
		}
		for addr := range known.Addresses {
			if !e.addrs[addr] {
				s.fail("%s is thought to be on %s", addr, id)
			}
		}
	}
	for _, e := range s.state.ENIs() {
		if _, ok := all[e.ID]; !ok {
			s.fail("%s is thought to exist", e.ID)
		}
	}
}

// loose are the interfaces in EC2 that nothing is attached to, and that are not others'.
func (s *simulation) loose() map[vpc.ENIID]bool {
	loose := map[vpc.ENIID]bool{}
	for id, e := range s.truth() {
		if !e.ours && !s.foreign[id] {
			loose[id] = true
		}
	}
	return loose
}

// checkCreations holds when the agent has read its journal, and nothing else yet: each interface that its last lives made is in
// there, or the creation is. Otherwise only the hourly search for what leaked would find it.
func (s *simulation) checkCreations(lost bool) {
	if lost { // and with it what was being created then
		s.forgot = s.loose()
		return
	}
	unknown := 0
	for id := range s.loose() {
		if s.state.ENI(id) == nil && !s.forgot[id] {
			unknown++
		}
	}
	if n := len(s.state.Pending()); unknown > n {
		s.fail("%d interfaces that the journal does not name, and %d creations in it", unknown, n)
	}
}

func (s *simulation) checkTargets(plan ipam.Plan) {
	t := s.state.Tally()
	if s.cfg.Prefixes || s.cfg.CustomNetworking {
		s.checkMode(t)
		return
	}
	full := len(s.state.ENIs()) >= s.state.MaxENIs() || plan.Blocked != ""
	if s.cfg.WarmIP > 0 && t.Free < s.cfg.WarmIP && !full && t.InUse+t.Held+t.Free < s.state.Limits.MaxPods() && s.roomy() {
		s.fail("fewer than WARM_IP_TARGET=%d free: %+v\n%s", s.cfg.WarmIP, t, plan)
	}
	if s.cfg.WarmIP > 0 && s.cfg.MinimumIP <= t.Total()-1 && t.Free > s.cfg.WarmIP {
		s.fail("more than WARM_IP_TARGET=%d free: %+v\n%s", s.cfg.WarmIP, t, plan)
	}
}

// checkMode holds the pool against the targets in prefix mode, and where an ENIConfig says.
func (s *simulation) checkMode(t target.Tally) {
	if s.cfg.WarmIP > 0 && s.cfg.MinimumIP <= t.Total()-vpc.PrefixSize && t.Free-s.cfg.WarmIP >= vpc.PrefixSize && t.Idle > 0 && t.Waiting == 0 {
		s.fail("a prefix more than WARM_IP_TARGET=%d asks for: %+v", s.cfg.WarmIP, t)
	}
	if !s.cfg.CustomNetworking || s.custom.Subnet == "" || t.Waiting > 0 {
		return
	}
	for _, e := range s.state.ENIs() {
		if (e.IsPrimary() || e.Subnet != s.custom.Subnet) && len(e.Idle()) > 0 {
			s.fail("%s in %s keeps free addresses under custom networking", e.ID, e.Subnet)
		}
	}
}

// roomy tells whether some usable subnet could fill an interface.
func (s *simulation) roomy() bool {
	return slices.ContainsFunc(s.state.Zone().Subnets(), func(sn vpc.Subnet) bool {
		usable, _ := subnet.Judge(s.state.Zone().Rules(), sn)
		return usable && s.state.Zone().Left(sn) > s.state.Limits.IPv4PerENI
	})
}

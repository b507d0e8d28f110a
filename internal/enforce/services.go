package enforce

import (
	"net/netip"
	"slices"

	"github.com/berth-net/berth/internal/core/policy/tables"
	"github.com/berth-net/berth/internal/run"
)

// Service is a Service as policies need it: what pods send to its addresses is translated by the node.
type Service struct {
	Namespace, Name string
	Addrs           []netip.Addr // cluster's, external and of load balancers
}

func (s Service) name() name { return name{s.Namespace, s.Name} }

// services are the addresses that the node translates, or has itself.
type services struct {
	of      map[name][]netip.Addr
	count   map[netip.Addr]int
	changed map[netip.Addr]addrKind // what they were
}

// addrKind is what an address is.
type addrKind int

const (
	ofNobody addrKind = iota
	ofService
	ofNode
)

func newServices() services {
	return services{of: map[name][]netip.Addr{}, count: map[netip.Addr]int{}, changed: map[netip.Addr]addrKind{}}
}

// ownNode stands for the node itself, which has no name of a Service.
func ownNode() name { return name{} }

func (s *services) kind(a netip.Addr) addrKind {
	switch {
	case slices.Contains(s.of[ownNode()], a):
		return ofNode
	case s.count[a] > 0:
		return ofService
	}
	return ofNobody
}

func (s *services) set(of name, addrs []netip.Addr) {
	was := s.of[of]
	for _, a := range slices.Concat(was, addrs) {
		if _, ok := s.changed[a]; !ok {
			s.changed[a] = s.kind(a)
		}
	}
	for _, a := range addrs {
		s.count[a]++
	}
	for _, a := range was {
		if s.count[a]--; s.count[a] == 0 {
			delete(s.count, a)
		}
	}
	s.of[of] = slices.Clone(addrs)
	if len(addrs) == 0 {
		delete(s.of, of)
	}
}

// flush says what has changed since the last time.
func (s *services) flush() []tables.Change {
	lists := make([][]netip.Addr, ofNode+1)
	for a, was := range s.changed {
		if now := s.kind(a); now != was {
			lists[now] = append(lists[now], a)
		}
	}
	clear(s.changed)
	var changes []tables.Change
	for kind, addrs := range lists {
		if len(addrs) > 0 {
			slices.SortFunc(addrs, netip.Addr.Compare)
			changes = append(changes, tables.Change{Services: &tables.ServicesChange{
				Addrs: addrs, Node: addrKind(kind) == ofNode, Delete: addrKind(kind) == ofNobody,
			}})
		}
	}
	if len(changes) > 0 {
		changes = append(changes, tables.Change{Epoch: true})
	}
	return changes
}

// Services tells of all Services.
func (e *Enforcer) Services(all []Service) {
	e.tell(func() {
		gone := map[name]bool{}
		for n := range e.services.of {
			gone[n] = n != ownNode()
		}
		for _, s := range all {
			gone[s.name()] = false
			e.services.set(s.name(), s.Addrs)
		}
		for n, is := range gone {
			if is {
				e.services.set(n, nil)
			}
		}
		e.known.listed[listedServices] = true
	})
}

// Service tells of one.
func (e *Enforcer) Service(s Service, gone bool) {
	e.tell(func() {
		if gone {
			s.Addrs = nil
		}
		e.services.set(s.name(), s.Addrs)
	})
}

// Host is what of the node's own network matters to policies.
type Host struct {
	// Exits are all links by which packets of pods may leave but those of pods.
	Exits []int
	// Addrs are the node's addresses: a pod always reaches its own node, but not what the node translates them to.
	Addrs []netip.Addr
}

// setHost takes what the node is like by now.
func (e *Enforcer) setHost(h Host) {
	e.services.set(ownNode(), h.Addrs)
	for _, ifindex := range h.Exits {
		if !e.exits[ifindex] {
			e.exits[ifindex] = false
		}
	}
	for ifindex := range e.exits {
		if !slices.Contains(h.Exits, ifindex) {
			delete(e.exits, ifindex)
			e.detach(ifindex)
		}
	}
}

func (e *Enforcer) detach(ifindex int) {
	if err := e.ports.Datapath.Detach(ifindex); err != nil {
		e.log.Warn("take policy off an interface", "ifindex", ifindex, run.KeyErr, err)
	}
}

// attachExits comes before pods: what a pod's program leaves to an exit is judged there.
func (e *Enforcer) attachExits() bool {
	all := true
	for ifindex, attached := range e.exits {
		if attached {
			continue
		}
		err := e.ports.Datapath.AttachExit(ifindex)
		if err != nil {
			e.log.Error("enforce policy where packets leave", "ifindex", ifindex, run.KeyErr, err)
			all = false
		}
		e.exits[ifindex] = err == nil
	}
	return all
}

package pool

import (
	"slices"
	"time"

	"github.com/berth-net/berth/internal/core/ledger"
	"github.com/berth-net/berth/internal/core/subnet"
	"github.com/berth-net/berth/internal/core/vpc"
)

// Custom is what custom networking asks of a node: the subnet of its interfaces and their groups. It is unknown while no
// ENIConfig of the name exists.
type Custom struct {
	Name   string // of the ENIConfig
	Found  bool
	Subnet vpc.SubnetID
	Groups []vpc.SecurityGroupID // none: those of the primary interface
	Why    string                // why there is no subnet, in words; empty when nothing is known of it
}

// SetConfig changes the settings of a node that runs: no pod is touched, and what does not suit them any more goes as its
// pods go.
func (s *State) SetConfig(c Config) {
	if s.Config.Cooldown != c.Cooldown {
		s.book.SetCooldown(c.Cooldown)
	}
	s.Config = c
	s.rule()
}

// Custom is what custom networking asks of the node, as far as it is known.
func (s *State) Custom() Custom { return s.custom }

// SetCustom tells which ENIConfig the node has.
func (s *State) SetCustom(c Custom) {
	if c.Name == s.custom.Name && c.Why == s.custom.Why && c.Found == s.custom.Found && c.Subnet == s.custom.Subnet && slices.Equal(c.Groups, s.custom.Groups) {
		return
	}
	s.custom = c
	s.rule()
}

// rule applies the settings to the subnets, and the subnets to the interfaces.
func (s *State) rule() {
	was := s.zone.Rules()
	now := subnet.Rules{
		VPC: s.Instance.VPC, Zone: s.Instance.Zone, Primary: s.Instance.Subnet, Cluster: s.Config.Cluster, Discovery: s.Config.Discovery,
		Custom: s.Config.CustomNetworking,
	}
	if now.Custom {
		now.CustomSubnet = s.custom.Subnet
	}
	if was == now {
		return
	}
	s.zone.SetRules(now)
	for _, e := range s.order {
		s.applySubnet(e)
	}
}

// Prefixes tells whether interfaces get prefixes: it is asked for, and the instance type takes them.
func (s *State) Prefixes() bool { return s.Config.Prefixes && s.Limits.Nitro() }

// Unit is how many addresses a slot of an interface holds.
func (s *State) Unit() int {
	if s.Prefixes() {
		return vpc.PrefixSize
	}
	return 1
}

// Slots is how many blocks an interface holds.
func (s *State) Slots() int { return max(s.Limits.IPv4PerENI-1, 0) }

// PerENI is how many pod addresses an interface holds.
func (s *State) PerENI() int { return s.Slots() * s.Unit() }

// Suits tells whether a block is of the kind that the mode asks for. Where a subnet has no prefix left, single addresses stand
// in for them.
func (s *State) Suits(e *ENI, b *ledger.Block) bool {
	return b.IsPrefix() == s.Prefixes() || s.Prefixes() && s.broken[e.Subnet]
}

// breakSubnets notes which subnets have no prefix left.
func (s *State) breakSubnets(now time.Time) {
	clear(s.broken)
	if !s.Prefixes() {
		return
	}
	for _, e := range s.order { // also while the subnets have not been read
		s.broken[e.Subnet] = s.zone.Broken(e.Subnet, now)
	}
	for _, sn := range s.zone.Candidates(now) { // among them one that may not be read
		s.broken[sn.ID] = s.zone.Broken(sn.ID, now)
	}
	for _, sn := range s.zone.Subnets() {
		free, _ := s.zone.Room(sn.ID, now)
		s.broken[sn.ID] = s.zone.Broken(sn.ID, now) || free < vpc.PrefixSize
	}
}

// Broken tells whether a subnet had no prefix left at the last Tick. It is told in prefix mode only.
func (s *State) Broken(id vpc.SubnetID) bool { return s.broken[id] }

// usable is how many interfaces may give addresses to pods: custom networking leaves the primary one out.
func (s *State) usable() int {
	n := s.MaxENIs() - s.unmanaged()
	if s.Config.CustomNetworking {
		n--
	}
	return max(n, 0)
}

// Capacity is how many pods the node can give an address to, by its type, its mode and MAX_ENI. Subnets may allow fewer.
func (s *State) Capacity() int { return s.usable() * s.PerENI() }

// FreeSlots is how many interfaces the node may still get.
func (s *State) FreeSlots() int {
	used := len(s.pending)
	for _, e := range s.order {
		if e.Card == 0 {
			used++
		}
	}
	return s.MaxENIs() - used
}

// MaxENIs is how many interfaces the node may have by its type and MAX_ENI. The unmanaged ones count, as they always did.
func (s *State) MaxENIs() int {
	if s.Config.MaxENI >= 1 {
		return min(s.Config.MaxENI, s.Limits.ENIs)
	}
	return s.Limits.ENIs
}

func (s *State) unmanaged() int {
	n := 0
	for _, e := range s.order {
		if !e.Managed && e.Card == 0 {
			n++
		}
	}
	return n
}

// prefixPods is the most pods that EKS recommends for a node with prefixes of less than 30 vCPUs.
const prefixPods = 110

// PodLimit is the kubelet's limit; before the Node object is known the type's, or with prefixes what EKS recommends at most.
func (s *State) PodLimit() int {
	switch {
	case s.MaxPods > 0:
		return s.MaxPods
	case s.Prefixes():
		return max(min(s.Capacity(), prefixPods), s.Limits.MaxPods())
	}
	return s.Limits.MaxPods()
}

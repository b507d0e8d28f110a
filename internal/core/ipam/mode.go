package ipam

import (
	"slices"
	"time"

	"github.com/berth-net/berth/internal/core/ledger"
	"github.com/berth-net/berth/internal/core/subnet"
	"github.com/berth-net/berth/internal/core/target"
	"github.com/berth-net/berth/internal/core/vpc"
)

// Custom is what custom networking asks of a node: the subnet of its interfaces and their groups. It is unknown while no
// ENIConfig of the name exists.
type Custom struct {
	Name   string // of the ENIConfig
	Found  bool
	Subnet vpc.SubnetID
	Groups []vpc.SecurityGroupID // none: those of the primary interface
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

// SetCustom tells which ENIConfig the node has.
func (s *State) SetCustom(c Custom) {
	if c.Name == s.custom.Name && c.Found == s.custom.Found && c.Subnet == s.custom.Subnet && slices.Equal(c.Groups, s.custom.Groups) {
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

// prefixes tells whether interfaces get prefixes: it is asked for, and the instance type takes them.
func (s *State) prefixes() bool { return s.Config.Prefixes && s.Limits.Nitro() }

// unit is how many addresses a slot of an interface holds.
func (s *State) unit() int {
	if s.prefixes() {
		return vpc.PrefixSize
	}
	return 1
}

// slots is how many blocks an interface holds.
func (s *State) slots() int { return max(s.Limits.IPv4PerENI-1, 0) }

// perENI is how many pod addresses an interface holds.
func (s *State) perENI() int { return s.slots() * s.unit() }

// suits tells whether a block is of the kind that the mode asks for. Where a subnet has no prefix left, single addresses stand
// in for them.
func (s *State) suits(e *ENI, b *ledger.Block) bool {
	return b.IsPrefix() == s.prefixes() || s.prefixes() && s.broken[e.Subnet]
}

// breakSubnets notes which subnets have no prefix left.
func (s *State) breakSubnets(now time.Time) {
	clear(s.broken)
	if !s.prefixes() {
		return
	}
	for _, sn := range s.zone.Subnets() {
		free, _ := s.zone.Room(sn.ID, now)
		s.broken[sn.ID] = s.zone.Broken(sn.ID, now) || free < vpc.PrefixSize
	}
}

// anyPrefix tells whether some subnet that the node may use has, or may have, a prefix left.
func (s *State) anyPrefix() bool {
	if len(s.zone.Subnets()) == 0 {
		return true
	}
	for _, sn := range s.zone.Subnets() {
		if usable, _ := subnet.Judge(s.zone.Rules(), sn); usable && !s.broken[sn.ID] {
			return true
		}
	}
	return false
}

// targets are the warm targets now.
func (s *State) targets(now time.Time) target.Warm {
	inPrefixes := s.prefixes() && s.anyPrefix()
	w := target.Warm{
		ENIs: s.Config.WarmENI, IPs: s.Config.WarmIP, Minimum: s.Config.MinimumIP, Prefixes: s.Config.WarmPrefix,
		InPrefixes: inPrefixes, Unit: 1,
	}
	switch {
	case inPrefixes:
		w.Unit = vpc.PrefixSize
	case s.prefixes(): // single addresses stand in: a few ahead of the demand, not prefixes' worth
		w.ENIs = target.NotSet
	}
	if w.Follows() {
		w.Ahead = s.ahead(now)
	}
	return w
}

// usable is how many interfaces may give addresses to pods: custom networking leaves the primary one out.
func (s *State) usable() int {
	n := s.MaxENIs() - s.unmanaged()
	if s.Config.CustomNetworking {
		n--
	}
	return max(n, 0)
}

// Capacity is how many pods the node can give an address to, by its type, its mode and MAX_ENI. Subnets may allow fewer.
func (s *State) Capacity() int { return s.usable() * s.perENI() }

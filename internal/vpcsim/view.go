package vpcsim

import (
	"maps"
	"net/netip"
	"slices"

	"github.com/berth-net/berth/internal/core/vpc"
	"github.com/berth-net/berth/internal/vpcsim/gateways"
	"github.com/berth-net/berth/internal/vpcsim/world"
)

// Topology is the world as packets meet it. The value is shared: callers only read it.
func (s *Sim) Topology() Topology {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.advance()
	if s.topology == nil || s.topology.Revision != s.acts.State.Revision {
		t := s.buildTopology()
		s.topology = &t
	}
	return *s.topology
}

func (s *Sim) buildTopology() Topology {
	t := Topology{Revision: s.acts.State.Revision}
	for n := range s.acts.State.VPCs.All() {
		t.VPCs = append(t.VPCs, TopologyVPC{ID: vpc.ID(n.ID), CIDRs: n.AssociatedBlocks()})
	}
	for n := range s.acts.State.Subnets.All() {
		t.Subnets = append(t.Subnets, TopologySubnet{
			ID: vpc.SubnetID(n.ID), VPC: vpc.ID(n.VPC), CIDR: n.V4.CIDR(), Routes: s.topologyRoutes(n),
		})
	}
	for e := range s.acts.State.ENIs.All() {
		if e.Managed == "" { // a NAT gateway's own interface is the gateway
			t.Interfaces = append(t.Interfaces, topologyInterface(e))
		}
	}
	for g := range s.acts.State.Groups.All() {
		group := TopologyGroup{ID: vpc.SecurityGroupID(g.ID), VPC: vpc.ID(g.VPC)}
		for _, r := range g.Rules {
			group.Rules = append(group.Rules, GroupRule{
				Egress: r.Egress, Protocol: r.Protocol, From: r.From, To: r.To, CIDR: r.CIDR, Group: vpc.SecurityGroupID(r.Group),
			})
		}
		t.Groups = append(t.Groups, group)
	}
	for n := range s.acts.State.NATs.All() {
		if n.State == gateways.NatAvailable {
			t.NATGateways = append(t.NATGateways, TopologyNAT{
				ID: n.ID, VPC: vpc.ID(n.VPC), Subnet: vpc.SubnetID(n.Subnet), Private: n.Private, Public: n.Public,
			})
		}
	}
	for i := range s.acts.State.Instances.All() {
		if i.State == world.Pending || i.State == world.Running {
			t.Instances = append(t.Instances, TopologyInstance{ID: vpc.InstanceID(i.ID), Name: i.Name, Zone: vpc.ZoneName(i.Zone)})
		}
	}
	return t
}

func topologyInterface(e *world.ENI) TopologyInterface {
	out := TopologyInterface{
		ID: vpc.ENIID(e.ID), VPC: vpc.ID(e.VPC), Subnet: vpc.SubnetID(e.Subnet), MAC: e.MAC, SourceDestCheck: e.SourceDestCheck,
		Addresses: slices.Concat(e.Addresses, e.Addresses6), Prefixes: slices.Concat(e.Prefixes, e.Prefixes6),
		Public: make(map[netip.Addr]netip.Addr, len(e.Public)),
	}
	for _, g := range e.Groups {
		out.Groups = append(out.Groups, vpc.SecurityGroupID(g))
	}
	for _, private := range slices.SortedFunc(maps.Keys(e.Public), netip.Addr.Compare) {
		out.Public[private] = e.Public[private].IP
	}
	if a := e.Attachment; a != nil && a.Status == string(vpc.Attached) {
		out.Instance, out.DeviceIndex, out.NetworkCard = vpc.InstanceID(a.Instance), a.Device, a.Card
	}
	return out
}

// topologyRoutes are the routes that apply to what a subnet's interfaces send.
func (s *Sim) topologyRoutes(n *world.Subnet) []TopologyRoute {
	table := s.acts.TableOf(n)
	if table == nil {
		return nil
	}
	var out []TopologyRoute
	for _, r := range table.All(s.acts.Locals(n.VPC)) {
		p, err := netip.ParsePrefix(r.DestinationCidrBlock + r.DestinationIpv6CidrBlock)
		if err != nil {
			continue
		}
		route := TopologyRoute{Destination: p}
		switch {
		case !s.acts.Alive(r):
		case r.GatewayId == "local":
			route.Target = RouteLocal
		case r.GatewayId != "":
			route.Target = RouteInternet
		case r.NatGatewayId != "":
			route.Target, route.Via = RouteNAT, r.NatGatewayId
		}
		out = append(out, route)
	}
	return out
}

package gateways

import (
	"net/netip"
	"slices"
	"strconv"

	"github.com/berth-net/berth/internal/vpcsim/ec2"
	"github.com/berth-net/berth/internal/vpcsim/routing"
	"github.com/berth-net/berth/internal/vpcsim/world"
)

func (s Actions) routeTable(c world.Caller, id string) (*routing.Table, error) {
	return world.Find(&s.State.RouteTables, world.KindTable, id, func(t *routing.Table) bool { return t.Owner == string(c.Account) })
}

// Locals are the destinations of a table's local routes.
func (s Actions) Locals(vpcID string) []netip.Prefix {
	n, ok := s.State.VPCs.Get(vpcID)
	if !ok {
		return nil
	}
	out := n.AssociatedBlocks()
	for _, b := range n.Blocks6 {
		if b.State == world.Associated {
			out = append(out, b.CIDR)
		}
	}
	return out
}

func (s Actions) showTable(c world.Caller, t *routing.Table) ec2.RouteTable {
	out := ec2.RouteTable{
		RouteTableId: t.ID, VpcId: t.VPC, OwnerId: t.Owner, Associations: slices.Clone(t.Associations),
		Routes: t.All(s.Locals(t.VPC)), Tags: s.TagsOf(c, t.ID),
	}
	for i := range out.Routes {
		if !s.Alive(out.Routes[i]) {
			out.Routes[i].State = "blackhole"
		}
	}
	return out
}

// Alive tells whether a route's target is there.
func (s Actions) Alive(r ec2.Route) bool {
	switch {
	case r.GatewayId == "local":
		return true
	case r.GatewayId != "":
		g, ok := s.State.Gateways.Get(r.GatewayId)
		return ok && g.VPC != ""
	case r.NatGatewayId != "":
		n, ok := s.State.NATs.Get(r.NatGatewayId)
		return ok && (n.State == NatAvailable || n.State == natPending)
	case r.NetworkInterfaceId != "":
		_, ok := s.State.ENIs.Get(r.NetworkInterfaceId)
		return ok
	}
	i, ok := s.State.Instances.Get(r.InstanceId)
	return ok && i.State == world.Running
}

// CreateRouteTable is EC2's action of that name.
func (s Actions) CreateRouteTable(c world.Caller, in ec2.CreateRouteTableInput) (ec2.CreateRouteTableOutput, error) {
	var out ec2.CreateRouteTableOutput
	n, err := s.OwnVPC(c, in.VpcId)
	if err != nil {
		return out, err
	}
	if err := s.CheckTags(c, in.TagSpecifications, world.KindTable); err != nil {
		return out, err
	}
	t := s.NewRouteTable(n, false)
	s.Tag(c, world.KindTable, t.ID, in.TagSpecifications)
	out.RouteTable = s.showTable(c, t)
	return out, nil
}

// DeleteRouteTable is EC2's action of that name.
func (s Actions) DeleteRouteTable(c world.Caller, in ec2.DeleteRouteTableInput) (ec2.Done, error) {
	t, err := s.routeTable(c, in.RouteTableId)
	if err != nil {
		return ec2.Done{}, err
	}
	if len(t.Associations) > 0 {
		return ec2.Done{}, ec2.Errorf("DependencyViolation", "The routeTable '%s' has dependencies and cannot be deleted.", t.ID)
	}
	s.State.RouteTables.Remove(t.ID)
	s.State.Tags.Forget(t.ID)
	return ec2.Done{}, nil
}

// DescribeRouteTables is EC2's action of that name.
func (s Actions) DescribeRouteTables(c world.Caller, in ec2.DescribeRouteTablesInput) (ec2.DescribeRouteTablesOutput, error) {
	var out ec2.DescribeRouteTablesOutput
	all, err := world.List(&s.State.RouteTables, in.RouteTableIds, func(id string) (*routing.Table, error) { return s.routeTable(c, id) },
		func(t *routing.Table) bool { return t.Owner == string(c.Account) },
		func(t *routing.Table) ec2.RouteTable { return s.showTable(c, t) })
	if err != nil {
		return out, err
	}
	out.RouteTables, err = ec2.Select(all, in.Filters, tableFields, func(t *ec2.RouteTable) []ec2.Tag { return t.Tags })
	return out, err
}

func ofAssociations(of func(ec2.RouteTableAssociation) string) func(*ec2.RouteTable) []string {
	return func(t *ec2.RouteTable) []string { return world.Collect(t.Associations, of) }
}

func ofRoutes(of func(ec2.Route) string) func(*ec2.RouteTable) []string {
	return func(t *ec2.RouteTable) []string { return world.Collect(t.Routes, of) }
}

var tableFields = ec2.Fields[ec2.RouteTable]{
	"route-table-id":                         func(t *ec2.RouteTable) []string { return []string{t.RouteTableId} },
	"vpc-id":                                 func(t *ec2.RouteTable) []string { return []string{t.VpcId} },
	"owner-id":                               func(t *ec2.RouteTable) []string { return []string{t.OwnerId} },
	"association.subnet-id":                  ofAssociations(func(a ec2.RouteTableAssociation) string { return a.SubnetId }),
	"association.route-table-id":             ofAssociations(func(a ec2.RouteTableAssociation) string { return a.RouteTableId }),
	"association.main":                       ofAssociations(func(a ec2.RouteTableAssociation) string { return strconv.FormatBool(a.Main) }),
	"association.route-table-association-id": ofAssociations(func(a ec2.RouteTableAssociation) string { return a.RouteTableAssociationId }),
	"route.destination-cidr-block":           ofRoutes(func(r ec2.Route) string { return r.DestinationCidrBlock }),
	"route.gateway-id":                       ofRoutes(func(r ec2.Route) string { return r.GatewayId }),
	"route.nat-gateway-id":                   ofRoutes(func(r ec2.Route) string { return r.NatGatewayId }),
	"route.state":                            ofRoutes(func(r ec2.Route) string { return r.State }),
}

// readRoute reads a route of a table, whose target must exist in the table's VPC.
func (s Actions) readRoute(c world.Caller, t *routing.Table, in ec2.CreateRouteInput) (ec2.Route, error) {
	r, err := routing.Read(in)
	if err != nil {
		return r, err
	}
	elsewhere := func(vpcID, id string) error {
		if vpcID == t.VPC {
			return nil
		}
		return ec2.Errorf("InvalidParameterValue", "route table %s and network gateway %s belong to different networks", t.ID, id)
	}
	switch {
	case r.GatewayId != "":
		var g *world.Gateway
		if g, err = s.gateway(c, r.GatewayId); err == nil {
			err = elsewhere(g.VPC, g.ID)
		}
	case r.NatGatewayId != "":
		var n *world.NATGateway
		if n, err = s.nat(c, r.NatGatewayId); err == nil {
			err = elsewhere(n.VPC, n.ID)
		}
	case r.NetworkInterfaceId != "":
		_, err = s.OwnENI(c, r.NetworkInterfaceId)
	default:
		_, err = s.OwnInstance(c, r.InstanceId)
	}
	return r, err
}

// CreateRoute is EC2's action of that name.
func (s Actions) CreateRoute(c world.Caller, in ec2.CreateRouteInput) (ec2.CreateRouteOutput, error) {
	t, err := s.routeTable(c, in.RouteTableId)
	if err != nil {
		return ec2.CreateRouteOutput{}, err
	}
	r, err := s.readRoute(c, t, in)
	if err != nil {
		return ec2.CreateRouteOutput{}, err
	}
	return ec2.CreateRouteOutput{Return: true}, t.Add(r, s.Locals(t.VPC))
}

// ReplaceRoute is EC2's action of that name.
func (s Actions) ReplaceRoute(c world.Caller, in ec2.CreateRouteInput) (ec2.Done, error) {
	t, err := s.routeTable(c, in.RouteTableId)
	if err != nil {
		return ec2.Done{}, err
	}
	r, err := s.readRoute(c, t, in)
	if err != nil {
		return ec2.Done{}, err
	}
	return ec2.Done{}, t.Replace(r)
}

// DeleteRoute is EC2's action of that name.
func (s Actions) DeleteRoute(c world.Caller, in ec2.DeleteRouteInput) (ec2.Done, error) {
	t, err := s.routeTable(c, in.RouteTableId)
	if err != nil {
		return ec2.Done{}, err
	}
	p, err := routing.Destination(in.DestinationCidrBlock, in.DestinationIpv6CidrBlock)
	if err != nil {
		return ec2.Done{}, err
	}
	return ec2.Done{}, t.Remove(p)
}

// AssociateRouteTable is EC2's action of that name.
func (s Actions) AssociateRouteTable(c world.Caller, in ec2.AssociateRouteTableInput) (ec2.AssociateRouteTableOutput, error) {
	var out ec2.AssociateRouteTableOutput
	t, err := s.routeTable(c, in.RouteTableId)
	if err != nil {
		return out, err
	}
	n, err := s.OwnSubnet(c, in.SubnetId)
	if err != nil {
		return out, err
	}
	if n.VPC != t.VPC {
		return out, ec2.Errorf("InvalidParameterValue", "route table %s and subnet %s belong to different networks", t.ID, n.ID)
	}
	for other := range s.State.RouteTables.All() {
		if other.Serves(n.ID) {
			return out, ec2.Errorf("Resource.AlreadyAssociated", "the specified association for route table %s conflicts with an existing association", t.ID)
		}
	}
	out.AssociationId = s.NewID(world.KindTableAssoc)
	t.Associate(out.AssociationId, n.ID)
	out.AssociationState.State = world.Associated
	return out, nil
}

// DisassociateRouteTable is EC2's action of that name.
func (s Actions) DisassociateRouteTable(c world.Caller, in ec2.DisassociateRouteTableInput) (ec2.Done, error) {
	if err := world.KindTableAssoc.Check(in.AssociationId); err != nil {
		return ec2.Done{}, err
	}
	for t := range s.State.RouteTables.All() {
		for _, a := range t.Associations {
			if a.RouteTableAssociationId != in.AssociationId || t.Owner != string(c.Account) {
				continue
			}
			if a.Main {
				return ec2.Done{}, ec2.Errorf("InvalidParameterValue", "cannot disassociate the main route table association %s", in.AssociationId)
			}
			t.Drop(a.SubnetId)
			return ec2.Done{}, nil
		}
	}
	return ec2.Done{}, world.KindTableAssoc.Missing(in.AssociationId)
}

// TableOf is the table that a subnet uses: its own or the VPC's main one.
func (s Actions) TableOf(n *world.Subnet) *routing.Table {
	var main *routing.Table
	for t := range s.State.RouteTables.All() {
		if t.Serves(n.ID) {
			return t
		}
		if t.VPC == n.VPC && t.Main() {
			main = t
		}
	}
	return main
}

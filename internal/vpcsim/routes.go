package vpcsim

import (
	"net/netip"
	"slices"
	"strconv"

	"github.com/berth-net/berth/internal/vpcsim/ec2"
	"github.com/berth-net/berth/internal/vpcsim/routing"
)

// newRouteTable makes a table of a VPC.
func (s *Sim) newRouteTable(n *network, main bool) *routing.Table {
	t := &routing.Table{ID: s.newID(kindTable), VPC: n.ID, Owner: n.Owner}
	if main {
		t.Associate(s.newID(kindTableAssoc), "")
	}
	s.st.RouteTables.put(t.ID, t)
	return t
}

func (s *Sim) routeTable(c Caller, id string) (*routing.Table, error) {
	return find(&s.st.RouteTables, kindTable, id, func(t *routing.Table) bool { return t.Owner == string(c.Account) })
}

// locals are the destinations of a table's local routes.
func (s *Sim) locals(vpcID string) []netip.Prefix {
	n, ok := s.st.VPCs.get(vpcID)
	if !ok {
		return nil
	}
	out := n.blocks()
	for _, b := range n.Blocks6 {
		if b.State == associated {
			out = append(out, b.CIDR)
		}
	}
	return out
}

func (s *Sim) showTable(c Caller, t *routing.Table) ec2.RouteTable {
	out := ec2.RouteTable{
		RouteTableId: t.ID, VpcId: t.VPC, OwnerId: t.Owner, Associations: slices.Clone(t.Associations),
		Routes: t.All(s.locals(t.VPC)), Tags: s.tagsOf(c, t.ID),
	}
	for i := range out.Routes {
		if !s.alive(out.Routes[i]) {
			out.Routes[i].State = "blackhole"
		}
	}
	return out
}

// alive tells whether a route's target is there.
func (s *Sim) alive(r ec2.Route) bool {
	switch {
	case r.GatewayId == "local":
		return true
	case r.GatewayId != "":
		g, ok := s.st.Gateways.get(r.GatewayId)
		return ok && g.VPC != ""
	case r.NatGatewayId != "":
		n, ok := s.st.NATs.get(r.NatGatewayId)
		return ok && (n.State == natAvailable || n.State == natPending)
	case r.NetworkInterfaceId != "":
		_, ok := s.st.ENIs.get(r.NetworkInterfaceId)
		return ok
	}
	i, ok := s.st.Instances.get(r.InstanceId)
	return ok && i.State == running
}

func (s *Sim) createRouteTable(c Caller, in ec2.CreateRouteTableInput) (ec2.CreateRouteTableOutput, error) {
	var out ec2.CreateRouteTableOutput
	n, err := s.ownVPC(c, in.VpcId)
	if err != nil {
		return out, err
	}
	if err := s.checkTags(c, in.TagSpecifications, kindTable); err != nil {
		return out, err
	}
	t := s.newRouteTable(n, false)
	s.tag(c, kindTable, t.ID, in.TagSpecifications)
	out.RouteTable = s.showTable(c, t)
	return out, nil
}

func (s *Sim) deleteRouteTable(c Caller, in ec2.DeleteRouteTableInput) (ec2.Done, error) {
	t, err := s.routeTable(c, in.RouteTableId)
	if err != nil {
		return ec2.Done{}, err
	}
	if len(t.Associations) > 0 {
		return ec2.Done{}, ec2.Errorf("DependencyViolation", "The routeTable '%s' has dependencies and cannot be deleted.", t.ID)
	}
	s.st.RouteTables.remove(t.ID)
	s.st.Tags.Forget(t.ID)
	return ec2.Done{}, nil
}

func (s *Sim) describeRouteTables(c Caller, in ec2.DescribeRouteTablesInput) (ec2.DescribeRouteTablesOutput, error) {
	var out ec2.DescribeRouteTablesOutput
	all, err := list(&s.st.RouteTables, in.RouteTableIds, func(id string) (*routing.Table, error) { return s.routeTable(c, id) },
		func(t *routing.Table) bool { return t.Owner == string(c.Account) },
		func(t *routing.Table) ec2.RouteTable { return s.showTable(c, t) })
	if err != nil {
		return out, err
	}
	out.RouteTables, err = ec2.Select(all, in.Filters, tableFields, func(t *ec2.RouteTable) []ec2.Tag { return t.Tags })
	return out, err
}

func ofAssociations(of func(ec2.RouteTableAssociation) string) func(*ec2.RouteTable) []string {
	return func(t *ec2.RouteTable) []string { return collect(t.Associations, of) }
}

func ofRoutes(of func(ec2.Route) string) func(*ec2.RouteTable) []string {
	return func(t *ec2.RouteTable) []string { return collect(t.Routes, of) }
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

// readRoute reads a route whose target must exist.
func (s *Sim) readRoute(c Caller, in ec2.CreateRouteInput) (ec2.Route, error) {
	r, err := routing.Read(in)
	if err != nil {
		return r, err
	}
	switch {
	case r.GatewayId != "":
		_, err = s.gateway(c, r.GatewayId)
	case r.NatGatewayId != "":
		_, err = s.nat(c, r.NatGatewayId)
	case r.NetworkInterfaceId != "":
		_, err = s.ownENI(c, r.NetworkInterfaceId)
	default:
		_, err = s.ownInstance(c, r.InstanceId)
	}
	return r, err
}

func (s *Sim) createRoute(c Caller, in ec2.CreateRouteInput) (ec2.CreateRouteOutput, error) {
	t, err := s.routeTable(c, in.RouteTableId)
	if err != nil {
		return ec2.CreateRouteOutput{}, err
	}
	r, err := s.readRoute(c, in)
	if err != nil {
		return ec2.CreateRouteOutput{}, err
	}
	if g, ok := s.st.Gateways.get(r.GatewayId); ok && g.VPC != t.VPC {
		return ec2.CreateRouteOutput{}, ec2.Errorf("InvalidParameterValue",
			"route table %s and network gateway %s belong to different networks", t.ID, g.ID)
	}
	return ec2.CreateRouteOutput{Return: true}, t.Add(r, s.locals(t.VPC))
}

func (s *Sim) replaceRoute(c Caller, in ec2.CreateRouteInput) (ec2.Done, error) {
	t, err := s.routeTable(c, in.RouteTableId)
	if err != nil {
		return ec2.Done{}, err
	}
	r, err := s.readRoute(c, in)
	if err != nil {
		return ec2.Done{}, err
	}
	return ec2.Done{}, t.Replace(r)
}

func (s *Sim) deleteRoute(c Caller, in ec2.DeleteRouteInput) (ec2.Done, error) {
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

func (s *Sim) associateRouteTable(c Caller, in ec2.AssociateRouteTableInput) (ec2.AssociateRouteTableOutput, error) {
	var out ec2.AssociateRouteTableOutput
	t, err := s.routeTable(c, in.RouteTableId)
	if err != nil {
		return out, err
	}
	n, err := s.ownSubnet(c, in.SubnetId)
	if err != nil {
		return out, err
	}
	if n.VPC != t.VPC {
		return out, ec2.Errorf("InvalidParameterValue", "route table %s and subnet %s belong to different networks", t.ID, n.ID)
	}
	for other := range s.st.RouteTables.all() {
		if other.Serves(n.ID) {
			return out, ec2.Errorf("Resource.AlreadyAssociated", "the specified association for route table %s conflicts with an existing association", t.ID)
		}
	}
	out.AssociationId = s.newID(kindTableAssoc)
	t.Associate(out.AssociationId, n.ID)
	out.AssociationState.State = associated
	return out, nil
}

func (s *Sim) disassociateRouteTable(c Caller, in ec2.DisassociateRouteTableInput) (ec2.Done, error) {
	if err := kindTableAssoc.check(in.AssociationId); err != nil {
		return ec2.Done{}, err
	}
	for t := range s.st.RouteTables.all() {
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
	return ec2.Done{}, kindTableAssoc.missing(in.AssociationId)
}

// tableOf is the table that a subnet uses: its own or the VPC's main one.
func (s *Sim) tableOf(n *subnet) *routing.Table {
	var main *routing.Table
	for t := range s.st.RouteTables.all() {
		if t.Serves(n.ID) {
			return t
		}
		if t.VPC == n.VPC && t.Main() {
			main = t
		}
	}
	return main
}

// Package routing knows route tables: which routes a table has besides those of its VPC, what a request may add, and
// which subnets use it. Whether a target exists is not known here.
package routing

import (
	"net/netip"
	"slices"

	"github.com/berth-net/berth/internal/vpcsim/ec2"
)

// maxRoutes is the quota of routes in a table.
const maxRoutes = 50

// Table is a route table. Routes has no local routes: those follow the VPC's blocks.
type Table struct {
	ID, VPC, Owner string
	Routes         []ec2.Route                 `json:",omitempty"`
	Associations   []ec2.RouteTableAssociation `json:",omitempty"`
}

// Main tells whether the table is its VPC's main one.
func (t *Table) Main() bool {
	return slices.ContainsFunc(t.Associations, func(a ec2.RouteTableAssociation) bool { return a.Main })
}

// Serves tells whether a subnet uses the table by an association of its own.
func (t *Table) Serves(subnet string) bool {
	return slices.ContainsFunc(t.Associations, func(a ec2.RouteTableAssociation) bool { return a.SubnetId == subnet })
}

// Associate makes a subnet use the table, or makes the table the main one when subnet is empty.
func (t *Table) Associate(id, subnet string) {
	t.Associations = append(t.Associations, ec2.RouteTableAssociation{
		RouteTableAssociationId: id, RouteTableId: t.ID, SubnetId: subnet, Main: subnet == "",
		AssociationState: ec2.RouteTableAssociationState{State: "associated"},
	})
}

// Drop removes a subnet from the table.
func (t *Table) Drop(subnet string) {
	t.Associations = slices.DeleteFunc(t.Associations, func(a ec2.RouteTableAssociation) bool { return a.SubnetId == subnet && !a.Main })
}

// All are the table's routes with the local ones first.
func (t *Table) All(blocks []netip.Prefix) []ec2.Route {
	out := make([]ec2.Route, 0, len(blocks)+len(t.Routes))
	for _, b := range blocks {
		r := ec2.Route{GatewayId: "local", Origin: "CreateRouteTable", State: "active"}
		setDestination(&r, b)
		out = append(out, r)
	}
	return append(out, t.Routes...)
}

func setDestination(r *ec2.Route, p netip.Prefix) {
	if p.Addr().Is4() {
		r.DestinationCidrBlock = p.String()
	} else {
		r.DestinationIpv6CidrBlock = p.String()
	}
}

// Destination reads the destination of a request.
func Destination(v4, v6 string) (netip.Prefix, error) {
	text := v4
	if v4 == "" {
		text = v6
	}
	p, err := netip.ParsePrefix(text)
	switch {
	case v4 == "" && v6 == "":
		return p, ec2.Errorf("MissingParameter", "The request must contain the parameter destinationCidrBlock")
	case v4 != "" && v6 != "":
		return p, ec2.Errorf("InvalidParameterCombination", "Only one destination may be specified.")
	case err != nil || p.Addr().Is4() != (v4 != ""):
		return p, ec2.Errorf("InvalidParameterValue", "Value (%s) for parameter destinationCidrBlock is invalid. This is not a valid CIDR block.", text)
	}
	return p.Masked(), nil
}

// Read makes a route of a request; it must have exactly one target.
func Read(in ec2.CreateRouteInput) (ec2.Route, error) {
	r := ec2.Route{
		GatewayId: in.GatewayId, NatGatewayId: in.NatGatewayId, NetworkInterfaceId: in.NetworkInterfaceId, InstanceId: in.InstanceId,
		Origin: "CreateRoute", State: "active",
	}
	p, err := Destination(in.DestinationCidrBlock, in.DestinationIpv6CidrBlock)
	if err != nil {
		return r, err
	}
	setDestination(&r, p)
	targets := 0
	for _, t := range []string{in.GatewayId, in.NatGatewayId, in.NetworkInterfaceId, in.InstanceId} {
		if t != "" {
			targets++
		}
	}
	if targets != 1 {
		return r, ec2.Errorf("InvalidParameterCombination", "Exactly one target must be specified for a route.")
	}
	return r, nil
}

func (t *Table) find(r ec2.Route) int {
	return slices.IndexFunc(t.Routes, func(o ec2.Route) bool {
		return o.DestinationCidrBlock == r.DestinationCidrBlock && o.DestinationIpv6CidrBlock == r.DestinationIpv6CidrBlock
	})
}

// Add adds a route.
func (t *Table) Add(r ec2.Route, blocks []netip.Prefix) error {
	to := r.DestinationCidrBlock + r.DestinationIpv6CidrBlock
	for _, b := range blocks {
		if b.String() == to {
			return ec2.Errorf("RouteAlreadyExists", "The route identified by %s already exists.", to)
		}
		p, err := netip.ParsePrefix(to)
		if err == nil && b.Addr().BitLen() == p.Addr().BitLen() && b.Bits() < p.Bits() && b.Contains(p.Addr()) && r.GatewayId != "" {
			return ec2.Errorf("InvalidParameterValue", "The destination CIDR block %s is equal to or more specific than one of this VPC's CIDR blocks.", to)
		}
	}
	switch {
	case t.find(r) >= 0:
		return ec2.Errorf("RouteAlreadyExists", "The route identified by %s already exists.", to)
	case len(t.Routes)+len(blocks) >= maxRoutes:
		return ec2.Errorf("RouteLimitExceeded", "The maximum number of routes has been reached.")
	}
	t.Routes = append(t.Routes, r)
	return nil
}

// Replace changes the target of a route.
func (t *Table) Replace(r ec2.Route) error {
	i := t.find(r)
	if i < 0 {
		return ec2.Errorf("InvalidParameterValue", "There is no route defined for '%s' in the route table.", r.DestinationCidrBlock+r.DestinationIpv6CidrBlock)
	}
	t.Routes[i] = r
	return nil
}

// Remove removes a route by its destination.
func (t *Table) Remove(p netip.Prefix) error {
	var r ec2.Route
	setDestination(&r, p)
	i := t.find(r)
	if i < 0 {
		return ec2.Errorf("InvalidRoute.NotFound", "no route with destination-cidr-block %s in route table %s", p, t.ID)
	}
	t.Routes = slices.Delete(t.Routes, i, i+1)
	return nil
}

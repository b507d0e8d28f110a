package cluster

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/berth-net/berth/internal/core/vpc"
)

// What every cluster of the lab has.
const (
	serviceCIDR = "172.20.0.0/16"
	// parts is how many equal pieces eksctl cuts a VPC into for up to four zones.
	parts    = 8
	partBits = 3
)

// Plan is what will be built.
type Plan struct {
	Config
	Subnets []Subnet
	Nodes   []Node
	// ControlPlane are the subnets of the control plane's interfaces, by index into Subnets: EKS puts them into two zones.
	ControlPlane []int
}

// Subnet is a planned subnet.
type Subnet struct {
	Name   string // the last part of its Name tag, for example SubnetPrivateUSWEST2A
	CIDR   netip.Prefix
	Zone   vpc.ZoneName
	Public bool
}

// Node is a planned node: the group and the subnet by their index, and how many pods it takes.
type Node struct {
	Group, Subnet, MaxPods int
}

// NewPlan plans what eksctl would make.
func NewPlan(c Config) (Plan, error) {
	p := Plan{Config: c}
	for _, public := range []bool{true, false} {
		for i, zone := range c.Zones {
			kind, part := "SubnetPrivate", i+len(c.Zones)
			if public {
				kind, part = "SubnetPublic", i
			}
			p.Subnets = append(p.Subnets, Subnet{Name: kind + zoneSuffix(zone), CIDR: piece(c.CIDR, part), Zone: zone, Public: public})
		}
	}
	for g, group := range c.NodeGroups {
		p.spread(g, group)
	}
	for _, s := range p.Subnets {
		if used := p.planned(s); used > free(s.CIDR) {
			return Plan{}, fmt.Errorf("plan cluster %s: subnet %s has %d addresses and %d nodes would start in it: choose a larger vpc.cidr",
				c.Name, s.CIDR, free(s.CIDR), used)
		}
	}
	// The last two zones: the first ones are where small node groups go.
	last := len(p.Subnets)
	p.ControlPlane = []int{last - 1, last - 2}
	return p, nil
}

// spread puts a group's nodes into its zones in turn, as an auto scaling group balances them.
func (p *Plan) spread(index int, group NodeGroup) {
	var subnets []int
	for i, s := range p.Subnets {
		if s.Public != group.Private && (len(group.Zones) == 0 || slices.Contains(group.Zones, s.Zone)) {
			subnets = append(subnets, i)
		}
	}
	maxPods := group.MaxPods
	if limits, _ := vpc.Limits(group.InstanceType); maxPods == 0 {
		maxPods = limits.MaxPods()
	}
	for n := range group.Desired {
		p.Nodes = append(p.Nodes, Node{Group: index, Subnet: subnets[n%len(subnets)], MaxPods: maxPods})
	}
}

func (p *Plan) planned(s Subnet) int {
	used := 0
	for _, n := range p.Nodes {
		if p.Subnets[n.Subnet] == s {
			used++
		}
	}
	return used
}

// free is how many addresses of a subnet can be used: EC2 keeps five.
func free(p netip.Prefix) int { return 1<<(32-p.Bits()) - 5 }

// piece is the i-th of the equal pieces of block.
func piece(block netip.Prefix, i int) netip.Prefix {
	bits := block.Bits() + partBits
	a := block.Addr().As4()
	n := uint32(a[0])<<24 | uint32(a[1])<<16 | uint32(a[2])<<8 | uint32(a[3])
	n += uint32(i) << (32 - bits)
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}), bits)
}

// zoneSuffix writes a zone as eksctl's resource names have it: us-west-2a becomes USWEST2A.
func zoneSuffix(zone vpc.ZoneName) string {
	return strings.ToUpper(strings.ReplaceAll(string(zone), "-", ""))
}

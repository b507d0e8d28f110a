package cluster

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/berth-net/berth/internal/core/vpc"
	"github.com/berth-net/berth/internal/vpcsim"
	"github.com/berth-net/berth/internal/vpcsim/ec2"
)

// Built is a cluster's part of the simulated VPC.
type Built struct {
	Name, Region string
	VPC          vpc.ID
	CIDR         netip.Prefix
	Subnets      []BuiltSubnet
	// ClusterGroup is the security group that EKS makes for nodes and control plane, ControlPlaneGroup eksctl's second
	// one of the control plane.
	ClusterGroup, ControlPlaneGroup vpc.SecurityGroupID
	ControlPlane                    []Instance
	Nodes                           []Instance
	NodeGroups                      []BuiltNodeGroup
}

// BuiltSubnet is a subnet with its id.
type BuiltSubnet struct {
	Subnet
	ID vpc.SubnetID
}

// BuiltNodeGroup is a node group with its role.
type BuiltNodeGroup struct {
	NodeGroup
	Role string
}

// Instance is a launched instance.
type Instance struct {
	ID      vpc.InstanceID
	ENI     vpc.ENIID
	MAC     string
	Name    string // the private DNS name, which is the node's name
	Address netip.Addr
	Subnet  netip.Prefix
	Zone    vpc.ZoneName
	Type    string
	Group   string // the node group, empty for the control plane
	Labels  map[string]string
	MaxPods int
}

// Image is the machine image that every instance says it runs.
const Image = "ami-0b3f1a2c4d5e6f708"

// builder makes one cluster's resources.
type builder struct {
	sim    *vpcsim.Sim
	caller vpcsim.Caller
	plan   Plan
	built  Built
	stack  string
}

// Build makes a plan's resources in an empty region. The region should still be without latency: what EC2 takes time
// for is expected to be done at once.
func Build(sim *vpcsim.Sim, caller vpcsim.Caller, plan Plan) (Built, error) {
	b := &builder{
		sim: sim, caller: caller, plan: plan,
		built: Built{Name: plan.Name, Region: plan.Region, CIDR: plan.CIDR},
		stack: "eksctl-" + plan.Name + "-cluster",
	}
	for _, step := range []struct {
		name string
		run  func() error
	}{
		{"VPC", b.network},
		{"subnets", b.subnets},
		{"routes", b.routes},
		{"security groups", b.groups},
		{"control plane", b.controlPlane},
		{"node groups", b.nodeGroups},
	} {
		if err := step.run(); err != nil {
			return Built{}, fmt.Errorf("build %s of cluster %s: %w", step.name, plan.Name, err)
		}
	}
	return b.built, nil
}

// tags are the tags of a resource of the cluster's stack, the given pairs on top.
func (b *builder) tags(kind, name string, pairs ...string) []ec2.TagSpecification {
	all := map[string]string{
		"Name":                         b.stack + "/" + name,
		"alpha.eksctl.io/cluster-name": b.plan.Name,
		"eksctl.cluster.k8s.io/v1alpha1/cluster-name": b.plan.Name,
	}
	maps.Copy(all, b.plan.Tags)
	for i := 0; i+1 < len(pairs); i += 2 {
		all[pairs[i]] = pairs[i+1]
	}
	return specification(kind, all)
}

func specification(kind string, tags map[string]string) []ec2.TagSpecification {
	s := ec2.TagSpecification{ResourceType: kind}
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		s.Tags = append(s.Tags, ec2.Tag{Key: key, Value: tags[key]})
	}
	return []ec2.TagSpecification{s}
}

func (b *builder) network() error {
	made, err := b.sim.CreateVpc(b.caller, ec2.CreateVpcInput{
		CidrBlock: b.plan.CIDR.String(), TagSpecifications: b.tags("vpc", "VPC"),
	})
	if err != nil {
		return fmt.Errorf("create VPC %s: %w", b.plan.CIDR, err)
	}
	b.built.VPC = vpc.ID(made.Vpc.VpcId)
	for _, in := range []ec2.ModifyVpcAttributeInput{
		{VpcId: made.Vpc.VpcId, EnableDnsSupport: &ec2.AttributeBooleanValue{Value: true}},
		{VpcId: made.Vpc.VpcId, EnableDnsHostnames: &ec2.AttributeBooleanValue{Value: true}},
	} {
		if _, err := b.sim.ModifyVpcAttribute(b.caller, in); err != nil {
			return fmt.Errorf("modify VPC %s: %w", made.Vpc.VpcId, err)
		}
	}
	return nil
}

func (b *builder) subnets() error {
	for _, s := range b.plan.Subnets {
		role := "kubernetes.io/role/internal-elb"
		if s.Public {
			role = "kubernetes.io/role/elb"
		}
		made, err := b.sim.CreateSubnet(b.caller, ec2.CreateSubnetInput{
			VpcId: string(b.built.VPC), CidrBlock: s.CIDR.String(), AvailabilityZone: string(s.Zone),
			TagSpecifications: b.tags("subnet", s.Name, role, "1"),
		})
		if err != nil {
			return fmt.Errorf("create subnet %s: %w", s.CIDR, err)
		}
		if s.Public {
			_, err := b.sim.ModifySubnetAttribute(b.caller, ec2.ModifySubnetAttributeInput{
				SubnetId: made.Subnet.SubnetId, MapPublicIpOnLaunch: &ec2.AttributeBooleanValue{Value: true},
			})
			if err != nil {
				return fmt.Errorf("modify subnet %s: %w", made.Subnet.SubnetId, err)
			}
		}
		b.built.Subnets = append(b.built.Subnets, BuiltSubnet{Subnet: s, ID: vpc.SubnetID(made.Subnet.SubnetId)})
	}
	return nil
}

// routes gives the public subnets one table to the internet gateway and each private subnet a table of its own to a NAT
// gateway.
func (b *builder) routes() error {
	gateway, err := b.sim.CreateInternetGateway(b.caller, ec2.CreateInternetGatewayInput{
		TagSpecifications: b.tags("internet-gateway", "InternetGateway"),
	})
	if err != nil {
		return fmt.Errorf("create internet gateway: %w", err)
	}
	id := gateway.InternetGateway.InternetGatewayId
	if _, err := b.sim.AttachInternetGateway(b.caller, ec2.InternetGatewayInput{InternetGatewayId: id, VpcId: string(b.built.VPC)}); err != nil {
		return fmt.Errorf("attach internet gateway %s: %w", id, err)
	}
	public, err := b.table("PublicRouteTable", ec2.CreateRouteInput{GatewayId: id})
	if err != nil {
		return err
	}
	var nat string
	for _, s := range b.built.Subnets {
		if !s.Public {
			continue
		}
		if err := b.associate(public, s); err != nil {
			return err
		}
	}
	for i, s := range b.built.Subnets {
		if s.Public {
			continue
		}
		if b.plan.NAT == NATPerZone || b.plan.NAT == NATSingle && nat == "" {
			if nat, err = b.natGateway(b.built.Subnets[i-len(b.plan.Zones)]); err != nil {
				return err
			}
		}
		table, err := b.table("PrivateRouteTable"+zoneSuffix(s.Zone), ec2.CreateRouteInput{NatGatewayId: nat})
		if err != nil {
			return err
		}
		if err := b.associate(table, s); err != nil {
			return err
		}
	}
	return nil
}

// table makes a route table whose default route is the given one, or that has none when it names no target.
func (b *builder) table(name string, route ec2.CreateRouteInput) (string, error) {
	made, err := b.sim.CreateRouteTable(b.caller, ec2.CreateRouteTableInput{
		VpcId: string(b.built.VPC), TagSpecifications: b.tags("route-table", name),
	})
	if err != nil {
		return "", fmt.Errorf("create route table %s: %w", name, err)
	}
	id := made.RouteTable.RouteTableId
	if route == (ec2.CreateRouteInput{}) {
		return id, nil
	}
	route.RouteTableId, route.DestinationCidrBlock = id, "0.0.0.0/0"
	if _, err := b.sim.CreateRoute(b.caller, route); err != nil {
		return "", fmt.Errorf("create default route in %s: %w", id, err)
	}
	return id, nil
}

func (b *builder) associate(table string, s BuiltSubnet) error {
	_, err := b.sim.AssociateRouteTable(b.caller, ec2.AssociateRouteTableInput{RouteTableId: table, SubnetId: string(s.ID)})
	if err != nil {
		return fmt.Errorf("associate route table %s with subnet %s: %w", table, s.ID, err)
	}
	return nil
}

func (b *builder) natGateway(public BuiltSubnet) (string, error) {
	suffix := ""
	if b.plan.NAT == NATPerZone {
		suffix = zoneSuffix(public.Zone)
	}
	address, err := b.sim.AllocateAddress(b.caller, ec2.AllocateAddressInput{
		Domain: "vpc", TagSpecifications: b.tags("elastic-ip", "NATIP"+suffix),
	})
	if err != nil {
		return "", fmt.Errorf("allocate address of NAT gateway: %w", err)
	}
	made, err := b.sim.CreateNatGateway(b.caller, ec2.CreateNatGatewayInput{
		SubnetId: string(public.ID), AllocationId: address.AllocationId, TagSpecifications: b.tags("natgateway", "NATGateway"+suffix),
	})
	if err != nil {
		return "", fmt.Errorf("create NAT gateway in %s: %w", public.ID, err)
	}
	return made.NatGateway.NatGatewayId, nil
}

// one is the only instance of a reply.
func one(r ec2.Reservation) (ec2.Instance, error) {
	if len(r.Instances) != 1 || len(r.Instances[0].NetworkInterfaces) == 0 {
		return ec2.Instance{}, errors.New("run instances: the reply has no instance with an interface")
	}
	return r.Instances[0], nil
}

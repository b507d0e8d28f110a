package cluster

import (
	"fmt"
	"maps"
	"net/netip"

	"github.com/berth-net/berth/internal/core/vpc"
	"github.com/berth-net/berth/internal/vpcsim"
	"github.com/berth-net/berth/internal/vpcsim/ec2"
)

// groups makes the security groups: EKS's own, in which nodes, pods and control plane talk freely, and the one that
// eksctl gives the control plane besides.
func (b *builder) groups() error {
	shared, err := b.group("eks-cluster-sg-"+b.plan.Name+"-1590236071",
		"EKS created security group applied to ENI that is attached to EKS Control Plane master nodes, as well as any managed workloads.",
		map[string]string{
			"Name":                                 "eks-cluster-sg-" + b.plan.Name + "-1590236071",
			"kubernetes.io/cluster/" + b.plan.Name: "owned",
		})
	if err != nil {
		return err
	}
	b.built.ClusterGroup = shared
	_, err = b.sim.AuthorizeSecurityGroupIngress(b.caller, ec2.AuthorizeSecurityGroupInput{
		GroupId:       string(shared),
		IpPermissions: []ec2.IpPermission{{IpProtocol: "-1", UserIdGroupPairs: []ec2.UserIdGroupPair{{GroupId: string(shared)}}}},
	})
	if err != nil {
		return fmt.Errorf("authorize cluster security group %s: %w", shared, err)
	}
	b.built.ControlPlaneGroup, err = b.group(b.stack+"-ControlPlaneSecurityGroup", "Communication between the control plane and worker nodegroups",
		map[string]string{"Name": b.stack + "/ControlPlaneSecurityGroup", "alpha.eksctl.io/cluster-name": b.plan.Name})
	return err
}

func (b *builder) group(name, description string, tags map[string]string) (vpc.SecurityGroupID, error) {
	made, err := b.sim.CreateSecurityGroup(b.caller, ec2.CreateSecurityGroupInput{
		GroupName: name, Description: description, VpcId: string(b.built.VPC), TagSpecifications: specification("security-group", tags),
	})
	if err != nil {
		return "", fmt.Errorf("create security group %s: %w", name, err)
	}
	return vpc.SecurityGroupID(made.GroupId), nil
}

// controlPlane launches the machines of the control plane, one for each of its interfaces.
func (b *builder) controlPlane() error {
	for _, subnet := range b.plan.ControlPlane {
		instance, err := Launch(b.sim, b.caller, Request{
			Subnet: b.built.Subnets[subnet], Type: "m5.large", Description: "Amazon EKS " + b.plan.Name,
			Groups: []vpc.SecurityGroupID{b.built.ClusterGroup, b.built.ControlPlaneGroup},
			Tags:   map[string]string{"Name": b.plan.Name + "-control-plane"},
		})
		if err != nil {
			return err
		}
		b.built.ControlPlane = append(b.built.ControlPlane, instance)
	}
	return nil
}

// nodePolicy is the sum of what eksctl attaches to the role of a node group.
const nodePolicy = `{"Version":"2012-10-17","Statement":[
{"Effect":"Allow","Resource":"*","Action":["ec2:AssignPrivateIpAddresses","ec2:AttachNetworkInterface","ec2:CreateNetworkInterface",
"ec2:DeleteNetworkInterface","ec2:DescribeInstances","ec2:DescribeTags","ec2:DescribeNetworkInterfaces","ec2:DescribeInstanceTypes",
"ec2:DescribeSubnets","ec2:DetachNetworkInterface","ec2:ModifyNetworkInterfaceAttribute","ec2:UnassignPrivateIpAddresses"]},
{"Effect":"Allow","Resource":"arn:aws:ec2:*:*:network-interface/*","Action":["ec2:CreateTags"]},
{"Effect":"Allow","Resource":"*","Action":["ec2:DescribeRouteTables","ec2:DescribeSecurityGroups","ec2:DescribeVpcs","sts:GetCallerIdentity"]}]}`

func (b *builder) nodeGroups() error {
	for _, g := range b.plan.NodeGroups {
		role := "eksctl-" + b.plan.Name + "-nodegroup-" + g.Name + "-NodeInstanceRole"
		if len(role) > 64 { // IAM's limit
			role = role[:64]
		}
		if err := b.sim.SetPolicies(role, nodePolicy); err != nil {
			return fmt.Errorf("attach policy to role %s: %w", role, err)
		}
		b.built.NodeGroups = append(b.built.NodeGroups, BuiltNodeGroup{NodeGroup: g, Role: role})
	}
	for _, n := range b.plan.Nodes {
		if err := b.node(n); err != nil {
			return err
		}
	}
	return nil
}

func (b *builder) node(n Node) error {
	g := b.built.NodeGroups[n.Group]
	tags := map[string]string{
		"Name":                                     b.plan.Name + "-" + g.Name + "-Node",
		"eks:cluster-name":                         b.plan.Name,
		"eks:nodegroup-name":                       g.Name,
		"kubernetes.io/cluster/" + b.plan.Name:     "owned",
		"k8s.io/cluster-autoscaler/enabled":        "true",
		"k8s.io/cluster-autoscaler/" + b.plan.Name: "owned",
		"alpha.eksctl.io/cluster-name":             b.plan.Name,
		"alpha.eksctl.io/nodegroup-name":           g.Name,
		"alpha.eksctl.io/nodegroup-type":           "managed",
	}
	maps.Copy(tags, g.Tags)
	instance, err := Launch(b.sim, b.caller, Request{
		Subnet: b.built.Subnets[n.Subnet], Type: g.InstanceType, Role: g.Role,
		Groups: []vpc.SecurityGroupID{b.built.ClusterGroup}, Tags: tags,
	})
	if err != nil {
		return err
	}
	instance.Group, instance.MaxPods = g.Name, n.MaxPods
	instance.Labels = map[string]string{
		"eks.amazonaws.com/nodegroup":       g.Name,
		"eks.amazonaws.com/capacityType":    "ON_DEMAND",
		"eks.amazonaws.com/nodegroup-image": Image,
		"alpha.eksctl.io/cluster-name":      b.plan.Name,
		"alpha.eksctl.io/nodegroup-name":    g.Name,
	}
	maps.Copy(instance.Labels, g.Labels)
	b.built.Nodes = append(b.built.Nodes, instance)
	return nil
}

// Request is an instance to launch.
type Request struct {
	Subnet      BuiltSubnet
	Type        string
	Role        string
	Description string // of the primary interface
	Groups      []vpc.SecurityGroupID
	Tags        map[string]string
}

// Launch launches one instance with EKS's settings of the metadata service.
func Launch(sim *vpcsim.Sim, caller vpcsim.Caller, r Request) (Instance, error) {
	in := ec2.RunInstancesInput{
		ImageId: Image, InstanceType: r.Type, MinCount: new(1), MaxCount: new(1),
		MetadataOptions:   &ec2.InstanceMetadataOptions{HttpTokens: "required", HttpEndpoint: "enabled", HttpPutResponseHopLimit: new(2)},
		TagSpecifications: specification("instance", r.Tags),
		NetworkInterfaces: []ec2.InstanceNetworkInterfaceSpecification{{
			DeviceIndex: new(0), SubnetId: string(r.Subnet.ID), Description: r.Description, DeleteOnTermination: new(true),
		}},
	}
	for _, g := range r.Groups {
		in.NetworkInterfaces[0].Groups = append(in.NetworkInterfaces[0].Groups, string(g))
	}
	if r.Role != "" {
		in.IamInstanceProfile = &ec2.IamInstanceProfileSpecification{Name: r.Role}
	}
	out, err := sim.RunInstances(caller, in)
	if err != nil {
		return Instance{}, fmt.Errorf("run instance in subnet %s: %w", r.Subnet.ID, err)
	}
	made, err := one(out)
	if err != nil {
		return Instance{}, err
	}
	return describe(made, r.Subnet.CIDR)
}

func describe(made ec2.Instance, subnet netip.Prefix) (Instance, error) {
	address, err := netip.ParseAddr(made.PrivateIpAddress)
	if err != nil {
		return Instance{}, fmt.Errorf("read address of instance %s: %w", made.InstanceId, err)
	}
	primary := made.NetworkInterfaces[0]
	return Instance{
		ID: vpc.InstanceID(made.InstanceId), ENI: vpc.ENIID(primary.NetworkInterfaceId), MAC: primary.MacAddress,
		Name: made.PrivateDnsName, Address: address, Subnet: subnet,
		Zone: vpc.ZoneName(made.Placement.AvailabilityZone), Type: made.InstanceType,
	}, nil
}

// Terminate ends an instance.
func Terminate(sim *vpcsim.Sim, caller vpcsim.Caller, id vpc.InstanceID) error {
	if _, err := sim.TerminateInstances(caller, ec2.TerminateInstancesInput{InstanceIds: []string{string(id)}}); err != nil {
		return fmt.Errorf("terminate instance %s: %w", id, err)
	}
	return nil
}

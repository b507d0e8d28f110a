package main

import (
	"context"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/berth-net/berth/internal/aws"
	"github.com/berth-net/berth/internal/core/budget"
	"github.com/berth-net/berth/internal/core/vpc"
	"github.com/berth-net/berth/internal/kube"
	"github.com/berth-net/berth/internal/node"
)

// metadata is the metadata service. The first answer names the region, with which the client of EC2 is made.
type metadata struct {
	*aws.Metadata
	config aws.Config
	cloud  *cloud
}

// Instance implements node.Metadata.
func (m metadata) Instance(ctx context.Context) (vpc.Instance, error) {
	in, err := m.Metadata.Instance(ctx)
	if err != nil || m.cloud.client.Load() != nil {
		return in, err
	}
	config := m.config
	config.Region, config.Node = in.Region, string(in.ID)
	client, err := aws.New(ctx, config)
	if err != nil {
		return in, err
	}
	m.cloud.client.Store(client)
	return in, nil
}

// cloud is EC2 once the region is known.
type cloud struct {
	client atomic.Pointer[aws.Client]
}

// ec2 returns the client. The loop asks for the instance before anything else, so that it is there.
func (c *cloud) ec2() (*aws.Client, error) {
	if client := c.client.Load(); client != nil {
		return client, nil
	}
	return nil, &vpc.Error{Code: vpc.Internal, Op: "EC2", Hint: "the instance metadata service has not said which region this is"}
}

// budgets is the state of the request budgets, none before the region is known.
func (c *cloud) budgets() []budget.Status {
	if client := c.client.Load(); client != nil {
		return client.Budgets()
	}
	return nil
}

// divide makes the calls follow the controller's division.
func (c *cloud) divide(d budget.Division, hungry bool, until time.Time) error {
	return c.tell(func(a *aws.Client) error { a.Divide(d, hungry, until); return nil })
}

func ask[T any](c *cloud, f func(*aws.Client) (T, error)) (T, error) {
	client, err := c.ec2()
	if err != nil {
		var none T
		return none, err
	}
	return f(client)
}

func (c *cloud) tell(f func(*aws.Client) error) error {
	client, err := c.ec2()
	if err != nil {
		return err
	}
	return f(client)
}

// AttachedENIs implements node.CloudReader.
func (c *cloud) AttachedENIs(ctx context.Context, instance vpc.InstanceID) ([]vpc.ENI, error) {
	return ask(c, func(a *aws.Client) ([]vpc.ENI, error) { return a.AttachedENIs(ctx, instance) })
}

// ENIs implements node.CloudReader.
func (c *cloud) ENIs(ctx context.Context, ids []vpc.ENIID) ([]vpc.ENI, error) {
	return ask(c, func(a *aws.Client) ([]vpc.ENI, error) { return a.ENIs(ctx, ids) })
}

// AvailableENIs implements node.CloudReader.
func (c *cloud) AvailableENIs(ctx context.Context, id vpc.ID, cluster string, instance vpc.InstanceID) ([]vpc.ENI, error) {
	return ask(c, func(a *aws.Client) ([]vpc.ENI, error) { return a.AvailableENIs(ctx, id, cluster, instance) })
}

// Subnets implements node.CloudReader.
func (c *cloud) Subnets(ctx context.Context, id vpc.ID, zone vpc.ZoneName) ([]vpc.Subnet, error) {
	return ask(c, func(a *aws.Client) ([]vpc.Subnet, error) { return a.Subnets(ctx, id, zone) })
}

// InstanceLimits implements node.CloudReader.
func (c *cloud) InstanceLimits(ctx context.Context, instanceType string) (vpc.InstanceLimits, error) {
	return ask(c, func(a *aws.Client) (vpc.InstanceLimits, error) { return a.InstanceLimits(ctx, instanceType) })
}

// CreateENI implements node.ENIWriter.
func (c *cloud) CreateENI(ctx context.Context, req node.CreateENI) (vpc.ENI, error) {
	return ask(c, func(a *aws.Client) (vpc.ENI, error) { return a.CreateENI(ctx, aws.CreateENI(req)) })
}

// AttachENI implements node.ENIWriter.
func (c *cloud) AttachENI(ctx context.Context, req node.AttachENI) (vpc.AttachmentID, error) {
	return ask(c, func(a *aws.Client) (vpc.AttachmentID, error) { return a.AttachENI(ctx, aws.AttachENI(req)) })
}

// SetDeleteOnTermination implements node.ENIWriter.
func (c *cloud) SetDeleteOnTermination(ctx context.Context, eni vpc.ENIID, attachment vpc.AttachmentID) error {
	return c.tell(func(a *aws.Client) error { return a.SetDeleteOnTermination(ctx, eni, attachment) })
}

// DetachENI implements node.ENIWriter.
func (c *cloud) DetachENI(ctx context.Context, eni vpc.ENIID, attachment vpc.AttachmentID) error {
	return c.tell(func(a *aws.Client) error { return a.DetachENI(ctx, eni, attachment) })
}

// DeleteENI implements node.ENIWriter.
func (c *cloud) DeleteENI(ctx context.Context, eni vpc.ENIID) error {
	return c.tell(func(a *aws.Client) error { return a.DeleteENI(ctx, eni) })
}

// TagENI implements node.ENIWriter.
func (c *cloud) TagENI(ctx context.Context, eni vpc.ENIID, tags vpc.Tags) error {
	return c.tell(func(a *aws.Client) error { return a.TagENI(ctx, eni, tags) })
}

// Assign implements node.AddressWriter.
func (c *cloud) Assign(ctx context.Context, eni vpc.ENIID, want vpc.Want) ([]vpc.Block, error) {
	return ask(c, func(a *aws.Client) ([]vpc.Block, error) { return a.Assign(ctx, eni, want) })
}

// Unassign implements node.AddressWriter.
func (c *cloud) Unassign(ctx context.Context, eni vpc.ENIID, blocks []vpc.Block) error {
	return c.tell(func(a *aws.Client) error { return a.Unassign(ctx, eni, blocks) })
}

// SetGroups implements node.AddressWriter.
func (c *cloud) SetGroups(ctx context.Context, eni vpc.ENIID, groups []vpc.SecurityGroupID) error {
	return c.tell(func(a *aws.Client) error { return a.SetGroups(ctx, eni, groups) })
}

// Occupants implements node.SubnetCloud.
func (c *cloud) Occupants(ctx context.Context, subnet vpc.SubnetID) ([]vpc.ENI, []vpc.Reservation, error) {
	client, err := c.ec2()
	if err != nil {
		return nil, nil, err
	}
	return client.Occupants(ctx, subnet)
}

// ReservePrefixes implements node.SubnetCloud.
func (c *cloud) ReservePrefixes(ctx context.Context, subnet vpc.SubnetID, cidr netip.Prefix, tags vpc.Tags) (vpc.Reservation, error) {
	return ask(c, func(a *aws.Client) (vpc.Reservation, error) { return a.ReservePrefixes(ctx, subnet, cidr, tags) })
}

// SecurityGroups implements node.SubnetCloud.
func (c *cloud) SecurityGroups(ctx context.Context, id vpc.ID) ([]vpc.SecurityGroup, error) {
	return ask(c, func(a *aws.Client) ([]vpc.SecurityGroup, error) { return a.SecurityGroups(ctx, id) })
}

// cluster is the Kubernetes API.
type cluster struct {
	*kube.Client
}

// Node implements node.Cluster.
func (c cluster) Node() (node.Facts, bool) {
	f, ok := c.Client.Node()
	out := node.Facts{
		MaxPods: f.MaxPods, Schedulable: f.Schedulable, ENIConfig: node.ENIConfig(f.ENIConfig), Overrides: f.Overrides, Refused: f.Refused,
		Unscheduled: f.Unscheduled, Nodes: f.Nodes,
	}
	for _, b := range f.Bound {
		out.Bound = append(out.Bound, node.Bound{PodName: node.PodName{Namespace: b.Namespace, Name: b.Name}, UID: b.UID, Leaving: b.Leaving})
	}
	return out, ok
}

// Event implements node.Cluster.
func (c cluster) Event(e node.Event) {
	c.Client.Event(kube.Event{
		Namespace: e.Pod.Namespace, Pod: e.Pod.Name, UID: e.UID, Node: e.Node, Warning: e.Warning, Reason: e.Reason, Message: e.Message, Action: e.Action,
	})
}

// Condition implements node.Cluster.
func (c cluster) Condition(x node.Condition) { c.Client.Condition(kube.Condition(x)) }

// clock is real time.
type clock struct{}

// Now implements node.Clock.
func (clock) Now() time.Time { return time.Now() }

// After implements node.Clock.
func (clock) After(d time.Duration) <-chan time.Time { return time.After(d) }

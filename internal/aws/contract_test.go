package aws_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/berth-net/berth/internal/aws"
	"github.com/berth-net/berth/internal/core/vpc"
	"github.com/berth-net/berth/internal/node"
	"github.com/berth-net/berth/internal/testkit/simcloud"
	"github.com/berth-net/berth/internal/vpcsim"
	"github.com/berth-net/berth/internal/vpcsim/ec2"
	"github.com/berth-net/berth/internal/vpcsim/pacing"
	"github.com/berth-net/berth/internal/vpcsim/wire"
)

// overWire is the client as the node's loop sees it.
type overWire struct{ *aws.Client }

func (w overWire) CreateENI(ctx context.Context, req node.CreateENI) (vpc.ENI, error) {
	return w.Client.CreateENI(ctx, aws.CreateENI(req))
}

func (w overWire) AttachENI(ctx context.Context, req node.AttachENI) (vpc.AttachmentID, error) {
	return w.Client.AttachENI(ctx, aws.AttachENI(req))
}

var _ node.Cloud = overWire{}

// world is a simulated VPC with one instance, and EC2 and metadata as a node sees them.
type world struct {
	sim      *vpcsim.Sim
	server   *wire.Server
	cloud    node.Cloud
	metadata node.Metadata
	vpc      vpc.ID
	subnet   vpc.SubnetID
	small    vpc.SubnetID // a /28
	instance vpc.InstanceID
}

func newWorld(t *testing.T) *world {
	t.Helper()
	sim := vpcsim.New(vpcsim.Options{Seed: 7, Settings: vpcsim.Settings{}})
	operator := vpcsim.Caller{Source: "operator"}
	w := &world{sim: sim}
	v, err := sim.CreateVpc(operator, ec2.CreateVpcInput{CidrBlock: "10.0.0.0/16"})
	if err != nil {
		t.Fatal(err)
	}
	w.vpc = vpc.ID(v.Vpc.VpcId)
	w.subnet, w.small = w.addSubnet(t, "10.0.0.0/24"), w.addSubnet(t, "10.0.1.0/28")
	one := 1
	out, err := sim.RunInstances(operator, ec2.RunInstancesInput{ImageId: "ami-0123456789abcdef0", InstanceType: "m5.large", SubnetId: string(w.subnet), MinCount: &one, MaxCount: &one})
	if err != nil {
		t.Fatal(err)
	}
	w.instance = vpc.InstanceID(out.Instances[0].InstanceId)
	return w
}

func (w *world) addSubnet(t *testing.T, cidr string) vpc.SubnetID {
	t.Helper()
	out, err := w.sim.CreateSubnet(vpcsim.Caller{Source: "operator"}, ec2.CreateSubnetInput{
		VpcId: string(w.vpc), CidrBlock: cidr, AvailabilityZone: "us-west-2a",
		TagSpecifications: []ec2.TagSpecification{{ResourceType: "subnet", Tags: []ec2.Tag{{Key: vpc.TagCNIRole, Value: "1"}}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return vpc.SubnetID(out.Subnet.SubnetId)
}

// inProcess reaches the simulator by calls.
func inProcess(t *testing.T) *world {
	w := newWorld(t)
	w.cloud, w.metadata = simcloud.Cloud{Sim: w.sim, Caller: vpcsim.Caller{Source: "node"}}, simcloud.Metadata{Sim: w.sim, ID: w.instance}
	return w
}

// overHTTP reaches it as in AWS: by the SDK and HTTP.
func overHTTP(t *testing.T) *world {
	w := newWorld(t)
	w.server = wire.New(w.sim, wire.Options{})
	api := httptest.NewServer(w.server.Handler(vpcsim.Caller{Source: "node"}))
	t.Cleanup(api.Close)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.server.ServeIMDS(ctx, l, w.instance) }()
	t.Cleanup(func() { cancel(); <-done })
	t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://"+l.Addr().String())
	t.Setenv("AWS_ACCESS_KEY_ID", "AKID")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	t.Setenv("AWS_CONFIG_FILE", filepath.Join(t.TempDir(), "none"))
	client, err := aws.New(ctx, aws.Config{Region: "us-west-2", Endpoint: api.URL, HTTPTimeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	w.cloud, w.metadata = overWire{client}, aws.NewMetadata(nil)
	return w
}

// show makes values of two runs comparable: errors become their code.
func show(v any, err error) string {
	if err != nil {
		if _, ok := errors.AsType[*vpc.Error](err); !ok {
			return "not a *vpc.Error: " + err.Error()
		}
		return "error " + string(vpc.CodeOf(err))
	}
	return fmt.Sprintf("%+v", v)
}

func sorted(enis []vpc.ENI, err error) ([]vpc.ENI, error) {
	slices.SortFunc(enis, func(a, b vpc.ENI) int { return strings.Compare(string(a.ID), string(b.ID)) })
	return enis, err
}

// story drives a cloud through what a node does, and what it does wrong; each step's outcome is a line.
func story(t *testing.T, w *world) (lines []string, enis []vpc.ENI) {
	ctx := t.Context()
	note := func(step string, v any, err error) {
		t.Helper()
		lines = append(lines, step+": "+show(v, err))
	}
	inst, err := w.metadata.Instance(ctx)
	if err != nil {
		t.Fatal(err)
	}
	note("instance", inst, nil)
	subnets, err := w.cloud.Subnets(ctx, w.vpc, "us-west-2a")
	slices.SortFunc(subnets, func(a, b vpc.Subnet) int { return strings.Compare(string(a.ID), string(b.ID)) })
	note("subnets", subnets, err)
	none, err := w.cloud.Subnets(ctx, w.vpc, "us-west-2b")
	note("subnets of another zone", len(none), err)

	req := node.CreateENI{
		Token: "token-1", Subnet: w.subnet, Groups: inst.Groups, Description: vpc.ENIDescriptionPrefix + string(w.instance), Secondary: 3,
		Tags: vpc.Tags{vpc.TagENIInstance: string(w.instance), vpc.TagENICluster: "demo", "empty": ""},
	}
	created, err := w.cloud.CreateENI(ctx, req)
	note("create", len(created.Secondary), err)
	again, err := w.cloud.CreateENI(ctx, req)
	note("create again with the token gives the same", again.ID == created.ID, err)
	other := req
	other.Secondary = 4
	_, err = w.cloud.CreateENI(ctx, other)
	note("create another with the token", nil, err)
	available, err := w.cloud.AvailableENIs(ctx, w.vpc, "demo", "")
	note("available", len(available), err)
	ofOthers, err := w.cloud.AvailableENIs(ctx, w.vpc, "demo", "i-0ffffffffffffffff")
	note("available of another instance", len(ofOthers), err)

	attachment, err := w.cloud.AttachENI(ctx, node.AttachENI{ENI: created.ID, Instance: w.instance, DeviceIndex: 1})
	note("attach", attachment != "", err)
	_, err = w.cloud.AttachENI(ctx, node.AttachENI{ENI: created.ID, Instance: w.instance, DeviceIndex: 2})
	note("attach again", nil, err)
	note("keep with the instance", nil, w.cloud.SetDeleteOnTermination(ctx, created.ID, attachment))
	note("tag", nil, w.cloud.TagENI(ctx, created.ID, vpc.Tags{"team": "a"}))
	note("delete while attached", nil, w.cloud.DeleteENI(ctx, created.ID))
	note("groups", nil, w.cloud.SetGroups(ctx, created.ID, inst.Groups))
	note("groups that do not exist", nil, w.cloud.SetGroups(ctx, created.ID, []vpc.SecurityGroupID{"sg-0ffffffffffffffff"}))

	assigned, err := w.cloud.AssignAddresses(ctx, created.ID, 6)
	note("assign", len(assigned), err)
	_, err = w.cloud.AssignAddresses(ctx, created.ID, 1)
	note("assign beyond the type's limit", nil, err)
	note("unassign", nil, w.cloud.UnassignAddresses(ctx, created.ID, assigned[:2]))
	note("unassign some that are gone", nil, w.cloud.UnassignAddresses(ctx, created.ID, assigned[:3]))
	note("unassign the primary address", nil, w.cloud.UnassignAddresses(ctx, created.ID, []netip.Addr{created.Primary}))
	enis, err = sorted(w.cloud.AttachedENIs(ctx, w.instance))
	note("attached", len(enis), err)

	small, err := w.cloud.CreateENI(ctx, node.CreateENI{Token: "token-2", Subnet: w.small, Groups: inst.Groups, Secondary: 9})
	note("fill the small subnet", len(small.Secondary), err)
	_, err = w.cloud.CreateENI(ctx, node.CreateENI{Token: "token-3", Subnet: w.small, Groups: inst.Groups, Secondary: 9})
	note("create in a full subnet", nil, err)
	_, err = w.cloud.CreateENI(ctx, node.CreateENI{Token: "token-4", Subnet: "subnet-0ffffffffffffffff", Groups: inst.Groups})
	note("create in no subnet", nil, err)
	named, err := w.cloud.ENIs(ctx, []vpc.ENIID{small.ID})
	note("named", len(named), err)
	named, err = w.cloud.ENIs(ctx, []vpc.ENIID{"eni-0ffffffffffffffff"})
	note("named and not there", len(named), err)

	note("detach", nil, w.cloud.DetachENI(ctx, created.ID, attachment))
	note("detach what is gone", nil, w.cloud.DetachENI(ctx, created.ID, "eni-attach-0fffffffffffffff"))
	note("delete", nil, w.cloud.DeleteENI(ctx, small.ID))
	note("delete what is gone", nil, w.cloud.DeleteENI(ctx, small.ID))
	note("assign to what is gone", nil, assign(ctx, w.cloud, small.ID))
	limits, err := w.cloud.InstanceLimits(ctx, "m5.large")
	note("limits", [2]int{limits.ENIs, limits.IPv4PerENI}, err)
	md, err := w.metadata.ENIs(ctx)
	note("metadata", md, err)
	return lines, enis
}

func assign(ctx context.Context, c node.Cloud, eni vpc.ENIID) error {
	_, err := c.AssignAddresses(ctx, eni, 1)
	return err
}

// The node's loop is tested against the simulator in process; what ships speaks HTTP. Both must look the same to the loop.
func TestContract(t *testing.T) {
	want, wantENIs := story(t, inProcess(t))
	got, gotENIs := story(t, overHTTP(t))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the two ways to EC2 differ (-in process +over HTTP):\n%s", diff)
	}
	if diff := cmp.Diff(wantENIs, gotENIs, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("attached interfaces differ (-in process +over HTTP):\n%s", diff)
	}
	t.Log(strings.Join(got, "\n"))
}

func TestFaults(t *testing.T) {
	tests := []struct {
		name  string
		fault pacing.Fault
		want  vpc.Code
	}{
		{"denied", pacing.Fault{Code: "UnauthorizedOperation"}, vpc.NotAuthorized},
		{"throttled once", pacing.Fault{Code: "RequestLimitExceeded", Count: 1}, ""},
		{"down", pacing.Fault{Code: "InternalError"}, vpc.Internal},
		{"down once", pacing.Fault{Code: "Unavailable", Count: 1}, ""},
		{"no answer once", pacing.Fault{DropResponse: true, Count: 1}, ""},
		{"garbage", pacing.Fault{Garbage: "<html>maintenance</html>"}, vpc.Internal},
		{"half an answer", pacing.Fault{Garbage: "<DescribeSubnetsResponse><subnetSet><item><subnetId>"}, vpc.Internal},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := overHTTP(t)
			tt.fault.Action = "DescribeSubnets"
			w.sim.AddFault(tt.fault)
			got, err := w.cloud.Subnets(t.Context(), w.vpc, "us-west-2a")
			if vpc.CodeOf(err) != tt.want || err == nil && len(got) != 2 {
				t.Errorf("%d subnets, error %v; want %q", len(got), err, tt.want)
			}
		})
	}
}

// A lost answer of CreateNetworkInterface makes no second interface.
func TestLostAnswer(t *testing.T) {
	w := overHTTP(t)
	w.sim.AddFault(pacing.Fault{Action: "CreateNetworkInterface", Count: 1, DropResponse: true})
	created, err := w.cloud.CreateENI(t.Context(), node.CreateENI{Token: "t", Subnet: w.subnet, Secondary: 1, Tags: vpc.Tags{vpc.TagENIInstance: string(w.instance)}})
	if err != nil {
		t.Fatal(err)
	}
	all, err := w.cloud.AvailableENIs(t.Context(), w.vpc, "", w.instance)
	if err != nil || len(all) != 1 || all[0].ID != created.ID {
		t.Errorf("%d interfaces, %v", len(all), err)
	}
}

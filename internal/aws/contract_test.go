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
	slash28  vpc.SubnetID
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
	w.subnet, w.slash28 = w.addSubnet(t, "10.0.0.0/24"), w.addSubnet(t, "10.0.1.0/28")
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
	ctx, cancel := context.WithCancel(t.Context())
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

// notes are the outcomes of a story's steps, a line each.
type notes struct {
	*world
	t     *testing.T
	inner simcloud.Cloud // the simulator in process, whichever way is tested
	lines []string
	inst  vpc.Instance
}

func (n *notes) note(step string, v any, err error) {
	n.lines = append(n.lines, step+": "+show(v, err))
}

// story drives a cloud through what a node does, and what it does wrong.
func story(t *testing.T, w *world) (lines []string, enis []vpc.ENI) {
	ctx := t.Context()
	n := &notes{world: w, t: t}
	var err error
	if n.inst, err = w.metadata.Instance(ctx); err != nil {
		t.Fatal(err)
	}
	n.note("instance", n.inst, nil)
	subnets, err := w.cloud.Subnets(ctx, w.vpc, "us-west-2a")
	slices.SortFunc(subnets, func(a, b vpc.Subnet) int { return strings.Compare(string(a.ID), string(b.ID)) })
	n.note("subnets", subnets, err)
	none, err := w.cloud.Subnets(ctx, w.vpc, "us-west-2b")
	n.note("subnets of another zone", len(none), err)
	limits, err := w.cloud.InstanceLimits(ctx, "m5.large")
	n.note("limits", [2]int{limits.ENIs, limits.IPv4PerENI}, err)

	created := n.create(ctx)
	attachment := n.attach(ctx, created)
	n.addresses(ctx, created)
	enis, err = sorted(w.cloud.AttachedENIs(ctx, w.instance))
	n.note("attached", len(enis), err)
	md, err := w.metadata.ENIs(ctx)
	slices.SortFunc(md, func(a, b vpc.MetadataENI) int { return strings.Compare(string(a.ID), string(b.ID)) })
	n.note("metadata", md, err)
	n.small(ctx)
	n.note("detach", nil, w.cloud.DetachENI(ctx, created.ID, attachment))
	n.note("detach what is gone", nil, w.cloud.DetachENI(ctx, created.ID, "eni-attach-0fffffffffffffff"))
	return n.lines, enis
}

func (n *notes) create(ctx context.Context) vpc.ENI {
	req := node.CreateENI{
		Token: "token-1", Subnet: n.subnet, Groups: n.inst.Groups, Description: vpc.ENIDescriptionPrefix + string(n.instance), Want: vpc.Want{Count: 3},
		Tags: vpc.Tags{vpc.TagENIInstance: string(n.instance), vpc.TagENICluster: "demo", "empty": ""},
	}
	created, err := n.cloud.CreateENI(ctx, req)
	n.note("create", len(created.Secondary), err)
	again, err := n.cloud.CreateENI(ctx, req)
	n.note("create again with the token gives the same", again.ID == created.ID, err)
	req.Want.Count = 4
	_, err = n.cloud.CreateENI(ctx, req)
	n.note("create another with the token", nil, err)
	available, err := n.cloud.AvailableENIs(ctx, n.vpc, "demo", "")
	n.note("available", len(available), err)
	ofOthers, err := n.cloud.AvailableENIs(ctx, n.vpc, "demo", "i-0ffffffffffffffff")
	n.note("available of another instance", len(ofOthers), err)
	return created
}

func (n *notes) attach(ctx context.Context, eni vpc.ENI) vpc.AttachmentID {
	attachment, err := n.cloud.AttachENI(ctx, node.AttachENI{ENI: eni.ID, Instance: n.instance, DeviceIndex: 1})
	n.note("attach", attachment != "", err)
	_, err = n.cloud.AttachENI(ctx, node.AttachENI{ENI: eni.ID, Instance: n.instance, DeviceIndex: 2})
	n.note("attach again", nil, err)
	n.note("keep with the instance", nil, n.cloud.SetDeleteOnTermination(ctx, eni.ID, attachment))
	n.note("tag", nil, n.cloud.TagENI(ctx, eni.ID, vpc.Tags{"team": "a"}))
	n.note("delete while attached", nil, n.cloud.DeleteENI(ctx, eni.ID))
	n.note("groups", nil, n.cloud.SetGroups(ctx, eni.ID, n.inst.Groups))
	n.note("groups that do not exist", nil, n.cloud.SetGroups(ctx, eni.ID, []vpc.SecurityGroupID{"sg-0ffffffffffffffff"}))
	return attachment
}

func (n *notes) addresses(ctx context.Context, eni vpc.ENI) {
	assigned, err := n.cloud.Assign(ctx, eni.ID, vpc.Want{Count: 6})
	n.note("assign", len(assigned), err)
	n.note("assign beyond the type's limit", nil, assign(ctx, n.cloud, eni.ID))
	if len(assigned) < 3 {
		return
	}
	n.note("unassign", nil, n.cloud.Unassign(ctx, eni.ID, assigned[:2]))
	n.note("unassign some that are gone", nil, n.cloud.Unassign(ctx, eni.ID, assigned[:3]))
}

// small fills the /28 and then lets its interface go.
func (n *notes) small(ctx context.Context) {
	eni, err := n.cloud.CreateENI(ctx, node.CreateENI{Token: "token-2", Subnet: n.slash28, Groups: n.inst.Groups, Want: vpc.Want{Count: 9}})
	n.note("fill the small subnet", len(eni.Secondary), err)
	_, err = n.cloud.CreateENI(ctx, node.CreateENI{Token: "token-3", Subnet: n.slash28, Groups: n.inst.Groups, Want: vpc.Want{Count: 9}})
	n.note("create in a full subnet", nil, err)
	_, err = n.cloud.CreateENI(ctx, node.CreateENI{Token: "token-4", Subnet: "subnet-0ffffffffffffffff", Groups: n.inst.Groups})
	n.note("create in no subnet", nil, err)
	named, err := n.cloud.ENIs(ctx, []vpc.ENIID{eni.ID})
	n.note("named", len(named), err)
	named, err = n.cloud.ENIs(ctx, []vpc.ENIID{"eni-0ffffffffffffffff"})
	n.note("named and not there", len(named), err)
	n.note("delete", nil, n.cloud.DeleteENI(ctx, eni.ID))
	n.note("delete what is gone", nil, n.cloud.DeleteENI(ctx, eni.ID))
	n.note("assign to what is gone", nil, assign(ctx, n.cloud, eni.ID))
}

func assign(ctx context.Context, c node.Cloud, eni vpc.ENIID) error {
	_, err := c.Assign(ctx, eni, vpc.Want{Count: 1})
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

// EC2 refuses to take an interface's primary address away: whoever asks for it is mistaken and must be told.
func TestUnassignOfThePrimaryAddressIsRefused(t *testing.T) {
	for name, w := range map[string]*world{"in process": inProcess(t), "over HTTP": overHTTP(t)} {
		enis, err := w.cloud.AttachedENIs(t.Context(), w.instance)
		if err != nil || len(enis) != 1 {
			t.Fatalf("%s: %d interfaces, %v", name, len(enis), err)
		}
		assigned, err := w.cloud.Assign(t.Context(), enis[0].ID, vpc.Want{Count: 1})
		if err != nil {
			t.Fatal(err)
		}
		for _, blocks := range [][]vpc.Block{{vpc.Single(enis[0].Primary)}, {assigned[0], vpc.Single(enis[0].Primary)}} {
			if err := w.cloud.Unassign(t.Context(), enis[0].ID, blocks); vpc.CodeOf(err) != vpc.Invalid {
				t.Errorf("%s: %v: error %v", name, blocks, err)
			}
		}
		if after, err := w.cloud.AttachedENIs(t.Context(), w.instance); err != nil || !slices.Contains(after[0].Secondary, assigned[0].First()) {
			t.Errorf("%s: the secondary address that was named beside it is gone, %v", name, err)
		}
	}
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
	created, err := w.cloud.CreateENI(t.Context(), node.CreateENI{Token: "t", Subnet: w.subnet, Want: vpc.Want{Count: 1}, Tags: vpc.Tags{vpc.TagENIInstance: string(w.instance)}})
	if err != nil {
		t.Fatal(err)
	}
	all, err := w.cloud.AvailableENIs(t.Context(), w.vpc, "", w.instance)
	if err != nil || len(all) != 1 || all[0].ID != created.ID {
		t.Errorf("%d interfaces, %v", len(all), err)
	}
}

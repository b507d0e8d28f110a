package vpcsim_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/berth-net/berth/internal/core/vpc"
	"github.com/berth-net/berth/internal/vpcsim"
	"github.com/berth-net/berth/internal/vpcsim/ec2"
	"github.com/berth-net/berth/internal/vpcsim/pacing"
)

func TestAttachAndDetachTakeTime(t *testing.T) {
	w := newWorld(t, vpcsim.Options{Settings: vpcsim.Settings{
		Attach: pacing.Fixed(3 * time.Second), Detach: pacing.Fixed(5 * time.Second),
	}})
	e := w.newENI(t, ec2.CreateNetworkInterfaceInput{})
	var trace []string
	look := func() {
		v := w.describe(t, e.NetworkInterfaceId)
		status, instance := "none", ""
		if v.Attachment != nil {
			status = v.Attachment.Status
		}
		for _, i := range w.Topology().Interfaces {
			if string(i.ID) == e.NetworkInterfaceId && i.Instance != "" {
				instance = " linked"
			}
		}
		trace = append(trace, v.Status+" "+status+instance)
	}
	id := w.attach(t, e.NetworkInterfaceId, 1)
	look()
	if at, ok := w.NextEvent(); !ok || at != w.clock.now.Add(3*time.Second) {
		t.Errorf("next event: %v %t", at, ok)
	}
	w.clock.add(3 * time.Second)
	look()
	must(t, result(w.DetachNetworkInterface(operator, ec2.DetachNetworkInterfaceInput{AttachmentId: id})))
	look()
	if err := result(w.DetachNetworkInterface(operator, ec2.DetachNetworkInterfaceInput{AttachmentId: id})); code(err) != "IncorrectState" {
		t.Errorf("detach again: %v", err)
	}
	if err := result(w.DeleteNetworkInterface(operator, ec2.DeleteNetworkInterfaceInput{NetworkInterfaceId: e.NetworkInterfaceId})); code(err) != "InvalidParameterValue" {
		t.Errorf("delete while detaching: %v", err)
	}
	w.clock.add(5 * time.Second)
	look()
	want := []string{"in-use attaching", "in-use attached linked", "in-use detaching", "available none"}
	if diff := cmp.Diff(want, trace); diff != "" {
		t.Error(diff)
	}
	must(t, result(w.DeleteNetworkInterface(operator, ec2.DeleteNetworkInterfaceInput{NetworkInterfaceId: e.NetworkInterfaceId})))
}

func TestTerminationDeletesOrFrees(t *testing.T) {
	w := newWorld(t, vpcsim.Options{})
	before := w.free(t, w.subnet) + 1
	kept := w.newENI(t, ec2.CreateNetworkInterfaceInput{}).NetworkInterfaceId
	gone := w.newENI(t, ec2.CreateNetworkInterfaceInput{}).NetworkInterfaceId
	w.attach(t, kept, 1)
	id := w.attach(t, gone, 2)
	if v := w.describe(t, gone); v.Attachment.DeleteOnTermination {
		t.Error("an attached interface is deleted on termination by default")
	}
	if v := w.primary(t); !v.Attachment.DeleteOnTermination {
		t.Error("the primary interface outlives its instance by default")
	}
	must(t, result(w.ModifyNetworkInterfaceAttribute(operator, ec2.ModifyNetworkInterfaceAttributeInput{
		NetworkInterfaceId: gone, Attachment: &ec2.NetworkInterfaceAttachmentChanges{AttachmentId: id, DeleteOnTermination: new(true)},
	})))
	must(t, result(w.TerminateInstances(operator, ec2.TerminateInstancesInput{InstanceIds: []string{w.node}})))
	out, err := w.DescribeNetworkInterfaces(operator, ec2.DescribeNetworkInterfacesInput{})
	must(t, err)
	if len(out.NetworkInterfaces) != 1 || out.NetworkInterfaces[0].NetworkInterfaceId != kept || out.NetworkInterfaces[0].Status != "available" {
		t.Errorf("left over: %+v", out.NetworkInterfaces)
	}
	if got := w.free(t, w.subnet); got != before-1 {
		t.Errorf("%d free, want %d", got, before-1)
	}
	if _, ok := w.Metadata(vpc.InstanceID(w.node)); ok {
		t.Error("a terminated instance has metadata")
	}
	w.clock.add(time.Hour)
	if err := result(w.DescribeInstances(operator, ec2.DescribeInstancesInput{InstanceIds: []string{w.node}})); code(err) != "InvalidInstanceID.NotFound" {
		t.Errorf("an hour later: %v", err)
	}
}

func TestReassignment(t *testing.T) {
	w := newWorld(t, vpcsim.Options{})
	from := w.newENI(t, ec2.CreateNetworkInterfaceInput{SecondaryPrivateIpAddressCount: new(1)})
	to := w.newENI(t, ec2.CreateNetworkInterfaceInput{})
	in := ec2.AssignPrivateIpAddressesInput{
		NetworkInterfaceId: to.NetworkInterfaceId, PrivateIpAddresses: []string{from.PrivateIpAddresses[1].PrivateIpAddress},
	}
	if err := result(w.AssignPrivateIpAddresses(operator, in)); code(err) != "InvalidParameterValue" {
		t.Errorf("without reassignment: %v", err)
	}
	in.AllowReassignment = true
	must(t, result(w.AssignPrivateIpAddresses(operator, in)))
	if a, b := len(w.describe(t, from.NetworkInterfaceId).PrivateIpAddresses), len(w.describe(t, to.NetworkInterfaceId).PrivateIpAddresses); a != 1 || b != 2 {
		t.Errorf("%d and %d addresses, want 1 and 2", a, b)
	}
}

func TestClientToken(t *testing.T) {
	w := newWorld(t, vpcsim.Options{})
	in := ec2.CreateNetworkInterfaceInput{SubnetId: w.subnet, ClientToken: "t-1"}
	first, err := w.CreateNetworkInterface(operator, in)
	must(t, err)
	again, err := w.CreateNetworkInterface(operator, in)
	must(t, err)
	if diff := cmp.Diff(first, again); diff != "" {
		t.Errorf("another answer: %s", diff)
	}
	if err := result(w.CreateNetworkInterface(vpcsim.Caller{Account: "999999999999"}, in)); code(err) != "InvalidSubnetID.NotFound" {
		t.Errorf("another account's token: %v", err)
	}
	in.Description = "other"
	if err := result(w.CreateNetworkInterface(operator, in)); code(err) != "IdempotentParameterMismatch" {
		t.Errorf("other parameters: %v", err)
	}
	w.clock.add(24 * time.Hour)
	later, err := w.CreateNetworkInterface(operator, in)
	must(t, err)
	if later.NetworkInterface.NetworkInterfaceId == first.NetworkInterface.NetworkInterfaceId {
		t.Error("the token still counts a day later")
	}
}

func TestSharedSubnet(t *testing.T) {
	w := newWorld(t, vpcsim.Options{Account: "111111111111"})
	guest := vpcsim.Caller{Account: "222222222222", Source: "guest"}
	tags := []ec2.Tag{{Key: vpc.TagCNIRole, Value: "1"}}
	must(t, result(w.CreateTags(operator, ec2.CreateTagsInput{Resources: []string{w.subnet}, Tags: tags})))
	see := func(c vpcsim.Caller) []ec2.Subnet {
		out, err := w.DescribeSubnets(c, ec2.DescribeSubnetsInput{})
		must(t, err)
		return out.Subnets
	}
	if got := see(guest); len(got) != 0 {
		t.Fatalf("a guest sees %v before the share", got)
	}
	must(t, w.ShareSubnet(vpc.SubnetID(w.subnet), guest.Account))
	got := see(guest)
	if len(got) != 1 || len(got[0].Tags) != 0 || got[0].OwnerId != "111111111111" {
		t.Fatalf("a guest sees %+v", got)
	}
	must(t, result(w.CreateTags(guest, ec2.CreateTagsInput{Resources: []string{w.subnet}, Tags: []ec2.Tag{{Key: "mine"}}})))
	if got := see(operator); len(got[0].Tags) != 1 || got[0].Tags[0].Key != vpc.TagCNIRole {
		t.Errorf("the owner sees %v", got[0].Tags)
	}
	e, err := w.CreateNetworkInterface(guest, ec2.CreateNetworkInterfaceInput{SubnetId: w.subnet})
	must(t, err)
	if e.NetworkInterface.OwnerId != string(guest.Account) {
		t.Errorf("interface of %s", e.NetworkInterface.OwnerId)
	}
	if err := result(w.CreateSubnet(guest, ec2.CreateSubnetInput{VpcId: w.vpc, CidrBlock: "10.0.9.0/24"})); code(err) != "UnauthorizedOperation" {
		t.Errorf("a guest creates a subnet: %v", err)
	}
	if err := result(w.DeleteNetworkInterface(operator, ec2.DeleteNetworkInterfaceInput{NetworkInterfaceId: e.NetworkInterface.NetworkInterfaceId})); code(err) != "InvalidNetworkInterfaceID.NotFound" {
		t.Errorf("the owner of the subnet deletes a guest's interface: %v", err)
	}
}

func TestDescribeLag(t *testing.T) {
	w := newWorld(t, vpcsim.Options{Settings: vpcsim.Settings{DescribeLag: pacing.Fixed(2 * time.Second), FreeCountLag: pacing.Fixed(10 * time.Second)}})
	w.clock.add(time.Minute)
	e := w.newENI(t, ec2.CreateNetworkInterfaceInput{}).NetworkInterfaceId
	describe := func() string {
		out, err := w.DescribeNetworkInterfaces(operator, ec2.DescribeNetworkInterfacesInput{NetworkInterfaceIds: []string{e}})
		if err != nil {
			return code(err)
		}
		return fmt.Sprint(len(out.NetworkInterfaces[0].PrivateIpAddresses))
	}
	check := func(what, want string) {
		t.Helper()
		if got := describe(); got != want {
			t.Errorf("%s: %s, want %s", what, got, want)
		}
	}
	check("just created", "InvalidNetworkInterfaceID.NotFound")
	must(t, result(w.AssignPrivateIpAddresses(operator, ec2.AssignPrivateIpAddressesInput{NetworkInterfaceId: e, SecondaryPrivateIpAddressCount: new(3)})))
	if got := w.free(t, w.subnet); got != 250 {
		t.Errorf("%d free at once", got)
	}
	w.clock.add(2 * time.Second)
	check("after the lag", "4")
	must(t, result(w.AssignPrivateIpAddresses(operator, ec2.AssignPrivateIpAddressesInput{NetworkInterfaceId: e, SecondaryPrivateIpAddressCount: new(1)})))
	check("assigned just now", "4")
	w.clock.add(2 * time.Second)
	check("assigned a while ago", "5")
	must(t, result(w.DeleteNetworkInterface(operator, ec2.DeleteNetworkInterfaceInput{NetworkInterfaceId: e})))
	check("deleted just now", "5")
	w.clock.add(2 * time.Second)
	check("deleted a while ago", "InvalidNetworkInterfaceID.NotFound")
	w.clock.add(6 * time.Second)
	if got := w.free(t, w.subnet); got != 245 {
		t.Errorf("%d free ten seconds after the last assignment", got)
	}
	w.clock.add(10 * time.Second)
	if got := w.free(t, w.subnet); got != 250 {
		t.Errorf("%d free at last", got)
	}
}

// A tag that was just set or removed is not seen, or still seen, for a while; filters and DescribeTags agree.
func TestTagLag(t *testing.T) {
	w := newWorld(t, vpcsim.Options{Settings: vpcsim.Settings{TagLag: pacing.Fixed(2 * time.Second)}})
	tag := ec2.Tag{Key: "kubernetes.io/role/cni", Value: "1"}
	seen := func() string {
		byFilter, err := w.DescribeSubnets(operator, ec2.DescribeSubnetsInput{Filters: []ec2.Filter{{Name: "tag-key", Values: []string{tag.Key}}}})
		must(t, err)
		all, err := w.DescribeTags(operator, ec2.DescribeTagsInput{})
		must(t, err)
		return fmt.Sprint(len(byFilter.Subnets), len(all.Tags))
	}
	set := func(value string) {
		must(t, result(w.CreateTags(operator, ec2.CreateTagsInput{Resources: []string{w.subnet}, Tags: []ec2.Tag{{Key: tag.Key, Value: value}}})))
	}
	var got []string
	set("1")
	got = append(got, seen())
	w.clock.add(time.Second)
	set("0")
	got = append(got, seen())
	w.clock.add(time.Second) // the first change shows
	got = append(got, seen())
	must(t, result(w.DeleteTags(operator, ec2.DeleteTagsInput{Resources: []string{w.subnet}, Tags: []ec2.TagToDelete{{Key: tag.Key}}})))
	data, err := w.Snapshot()
	must(t, err)
	must(t, w.Restore(data))
	got = append(got, seen())
	w.clock.add(2 * time.Second)
	got = append(got, seen())
	if diff := cmp.Diff([]string{"0 0", "0 0", "1 1", "1 1", "0 0"}, got); diff != "" {
		t.Errorf("subnets by filter and tags:\n%s", diff)
	}
}

func TestLagTurnedOnLater(t *testing.T) {
	w := newWorld(t, vpcsim.Options{})
	e := w.newENI(t, ec2.CreateNetworkInterfaceInput{}).NetworkInterfaceId
	w.SetSettings(vpcsim.Settings{DescribeLag: pacing.Fixed(time.Hour), FreeCountLag: pacing.Fixed(time.Hour)})
	must(t, result(w.AssignPrivateIpAddresses(operator, ec2.AssignPrivateIpAddressesInput{NetworkInterfaceId: e, SecondaryPrivateIpAddressCount: new(2)})))
	if n, free := len(w.describe(t, e).PrivateIpAddresses), w.free(t, w.subnet); n != 1 || free != 249 {
		t.Errorf("%d addresses and %d free, want what was true before: 1 and 249", n, free)
	}
	w.SetSettings(vpcsim.Settings{})
	must(t, result(w.AssignPrivateIpAddresses(operator, ec2.AssignPrivateIpAddressesInput{NetworkInterfaceId: e, SecondaryPrivateIpAddressCount: new(1)})))
	if n, free := len(w.describe(t, e).PrivateIpAddresses), w.free(t, w.subnet); n != 4 || free != 246 {
		t.Errorf("%d addresses and %d free without lag, want 4 and 246", n, free)
	}
}

func TestMetadataLag(t *testing.T) {
	w := newWorld(t, vpcsim.Options{Settings: vpcsim.Settings{MetadataAdd: pacing.Fixed(2 * time.Second), MetadataRemove: pacing.Fixed(3 * time.Second)}})
	p := w.primary(t)
	count := func() int {
		m, _ := w.Metadata(vpc.InstanceID(w.node))
		return len(strings.Fields(m.Values["network/interfaces/macs/"+p.MacAddress+"/local-ipv4s"]))
	}
	if got := count(); got != 1 {
		t.Fatalf("%d addresses at launch", got)
	}
	out, err := w.AssignPrivateIpAddresses(operator, ec2.AssignPrivateIpAddressesInput{NetworkInterfaceId: p.NetworkInterfaceId, SecondaryPrivateIpAddressCount: new(2)})
	must(t, err)
	steps := []int{count()}
	w.clock.add(2 * time.Second)
	steps = append(steps, count())
	must(t, result(w.UnassignPrivateIpAddresses(operator, ec2.UnassignPrivateIpAddressesInput{
		NetworkInterfaceId: p.NetworkInterfaceId, PrivateIpAddresses: []string{out.AssignedPrivateIpAddresses[0].PrivateIpAddress},
	})))
	w.clock.add(2 * time.Second)
	steps = append(steps, count())
	w.clock.add(time.Second)
	steps = append(steps, count())
	if diff := cmp.Diff([]int{1, 3, 3, 2}, steps); diff != "" {
		t.Error(diff)
	}
}

const readOnlyPolicy = `{"Version":"2012-10-17","Statement":[
	{"Effect":"Allow","Action":["ec2:Describe*"],"Resource":"*"},
	{"Effect":"Allow","Action":"ec2:CreateNetworkInterface","Resource":"*"},
	{"Effect":"Allow","Action":"ec2:CreateTags","Resource":"arn:aws:ec2:*:*:network-interface/*",
	 "Condition":{"StringEquals":{"ec2:CreateAction":"CreateNetworkInterface"}}},
	{"Effect":"Allow","Action":"ec2:DeleteNetworkInterface","Resource":"*",
	 "Condition":{"StringEquals":{"aws:ResourceTag/cluster.k8s.amazonaws.com/name":"demo"}}}]}`

func TestAuthorization(t *testing.T) {
	w := newWorld(t, vpcsim.Options{Settings: vpcsim.Settings{Authorize: true}})
	must(t, w.SetPolicies("node-role", readOnlyPolicy))
	node := vpcsim.Caller{Principal: "node-role", Source: "node:" + w.node}
	create := func(tags ...ec2.Tag) (ec2.CreateNetworkInterfaceOutput, error) {
		in := ec2.CreateNetworkInterfaceInput{SubnetId: w.subnet}
		if len(tags) > 0 {
			in.TagSpecifications = []ec2.TagSpecification{{ResourceType: "network-interface", Tags: tags}}
		}
		return w.CreateNetworkInterface(node, in)
	}
	ours, err := create(ec2.Tag{Key: vpc.TagENICluster, Value: "demo"})
	must(t, err)
	other, err := create()
	must(t, err)
	must(t, result(w.DescribeSubnets(node, ec2.DescribeSubnetsInput{})))
	err = result(w.CreateTags(node, ec2.CreateTagsInput{Resources: []string{other.NetworkInterface.NetworkInterfaceId}, Tags: []ec2.Tag{{Key: vpc.TagENICluster, Value: "demo"}}}))
	if code(err) != "UnauthorizedOperation" {
		t.Errorf("tag an existing interface: %v", err)
	}
	err = result(w.DeleteNetworkInterface(node, ec2.DeleteNetworkInterfaceInput{NetworkInterfaceId: other.NetworkInterface.NetworkInterfaceId}))
	want := "You are not authorized to perform this operation. User: arn:aws:sts::111122223333:assumed-role/node-role/" + w.node +
		" is not authorized to perform: ec2:DeleteNetworkInterface on resource: arn:aws:ec2:us-west-2:111122223333:network-interface/" +
		other.NetworkInterface.NetworkInterfaceId + " because no identity-based policy allows the ec2:DeleteNetworkInterface action"
	if e, ok := errors.AsType[*vpcsim.APIError](err); !ok || e.Status != 403 || e.Message != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	must(t, result(w.DeleteNetworkInterface(node, ec2.DeleteNetworkInterfaceInput{NetworkInterfaceId: ours.NetworkInterface.NetworkInterfaceId})))
	if err := result(w.DescribeVpcs(vpcsim.Caller{AccessKey: "AKIA"}, ec2.DescribeVpcsInput{})); code(err) != "UnauthorizedOperation" {
		t.Errorf("a key without policies: %v", err)
	}
	must(t, result(w.DeleteNetworkInterface(operator, ec2.DeleteNetworkInterfaceInput{NetworkInterfaceId: other.NetworkInterface.NetworkInterfaceId})))
	if err := w.SetPolicies("x", "{}"+"{"); err == nil {
		t.Error("a broken policy was accepted")
	}
}

func TestAdmitAndCalls(t *testing.T) {
	w := newWorld(t, vpcsim.Options{})
	w.SetSettings(vpcsim.Settings{
		Throttle: true, Buckets: map[string]pacing.Bucket{"AttachNetworkInterface": {Size: 1, Refill: 1}},
		Latency: map[string]pacing.Distribution{"*": pacing.Fixed(100 * time.Millisecond)},
	})
	node := vpcsim.Caller{Source: "node:" + w.node}
	w.Mark("start")
	a := w.Admit(node, vpcsim.Request{Action: "AttachNetworkInterface"})
	if a.Err != nil || a.Before != 50*time.Millisecond || a.After != 50*time.Millisecond {
		t.Errorf("first: %+v", a)
	}
	a = w.Admit(node, vpcsim.Request{Action: "AttachNetworkInterface"})
	if a.Err == nil || a.Err.Code != "RequestLimitExceeded" || a.Err.Status != 503 {
		t.Errorf("second: %+v", a)
	}
	w.AddFault(pacing.Fault{Action: "Describe*", Caller: "node:*", DropRequest: true})
	if a = w.Admit(node, vpcsim.Request{Action: "DescribeVpcs"}); !a.DropRequest {
		t.Errorf("fault: %+v", a)
	}
	if a = w.Admit(operator, vpcsim.Request{Action: "DescribeVpcs"}); a.DropRequest {
		t.Errorf("fault for another caller: %+v", a)
	}
	must(t, result(w.DescribeVpcs(operator, ec2.DescribeVpcsInput{})))
	_ = result(w.DescribeVpcs(operator, ec2.DescribeVpcsInput{VpcIds: []string{"vpc-" + absent}}))
	got, _ := w.Calls("start")
	want := []pacing.CallCount{
		{Action: "AttachNetworkInterface", Caller: node.Source, Outcome: "RequestLimitExceeded", Count: 1},
		{Action: "DescribeVpcs", Caller: node.Source, Outcome: "dropped", Count: 1},
		{Action: "DescribeVpcs", Caller: "operator", Outcome: "InvalidVpcID.NotFound", Count: 1},
		{Action: "DescribeVpcs", Caller: "operator", Outcome: "ok", Count: 1},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	w.ClearFault(0)
	if got := w.Faults(); len(got) != 0 {
		t.Errorf("faults left: %v", got)
	}
}

func TestGatewaysInTopology(t *testing.T) {
	w := newWorld(t, vpcsim.Options{})
	igw, err := w.CreateInternetGateway(operator, ec2.CreateInternetGatewayInput{})
	must(t, err)
	gateway := ec2.InternetGatewayInput{InternetGatewayId: igw.InternetGateway.InternetGatewayId, VpcId: w.vpc}
	must(t, result(w.AttachInternetGateway(operator, gateway)))
	public := w.newSubnet(t, "10.0.1.0/24")
	table, err := w.CreateRouteTable(operator, ec2.CreateRouteTableInput{VpcId: w.vpc})
	must(t, err)
	id := table.RouteTable.RouteTableId
	must(t, result(w.CreateRoute(operator, ec2.CreateRouteInput{RouteTableId: id, DestinationCidrBlock: "0.0.0.0/0", GatewayId: gateway.InternetGatewayId})))
	must(t, result(w.AssociateRouteTable(operator, ec2.AssociateRouteTableInput{RouteTableId: id, SubnetId: public})))
	eip, err := w.AllocateAddress(operator, ec2.AllocateAddressInput{Domain: "vpc"})
	must(t, err)
	nat, err := w.CreateNatGateway(operator, ec2.CreateNatGatewayInput{SubnetId: public, AllocationId: eip.AllocationId})
	must(t, err)
	main, err := w.DescribeRouteTables(operator, ec2.DescribeRouteTablesInput{Filters: []ec2.Filter{{Name: "association.main", Values: []string{"true"}}}})
	must(t, err)
	must(t, result(w.CreateRoute(operator, ec2.CreateRouteInput{
		RouteTableId: main.RouteTables[0].RouteTableId, DestinationCidrBlock: "0.0.0.0/0", NatGatewayId: nat.NatGateway.NatGatewayId,
	})))
	var got []string
	top := w.Topology()
	for _, n := range top.Subnets {
		for _, r := range n.Routes {
			got = append(got, fmt.Sprintf("%s %s %s", n.CIDR, r.Destination, r.Target))
		}
	}
	slices.Sort(got)
	want := []string{
		"10.0.0.0/24 0.0.0.0/0 nat-gateway", "10.0.0.0/24 10.0.0.0/16 local",
		"10.0.1.0/24 0.0.0.0/0 internet-gateway", "10.0.1.0/24 10.0.0.0/16 local",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if len(top.NATGateways) != 1 || top.NATGateways[0].Public.String() != eip.PublicIp || len(top.Interfaces) != 1 {
		t.Errorf("nat gateways %+v, %d interfaces", top.NATGateways, len(top.Interfaces))
	}
	if err := result(w.ReleaseAddress(operator, ec2.ReleaseAddressInput{AllocationId: eip.AllocationId})); code(err) != "InvalidIPAddress.InUse" {
		t.Errorf("release in use: %v", err)
	}
	must(t, result(w.DeleteNatGateway(operator, ec2.DeleteNatGatewayInput{NatGatewayId: nat.NatGateway.NatGatewayId})))
	must(t, result(w.ReleaseAddress(operator, ec2.ReleaseAddressInput{AllocationId: eip.AllocationId})))
	if n := len(w.Topology().NATGateways); n != 0 {
		t.Errorf("%d nat gateways after deletion", n)
	}
}

func TestPublicAddressOnLaunch(t *testing.T) {
	w := newWorld(t, vpcsim.Options{})
	must(t, result(w.ModifySubnetAttribute(operator, ec2.ModifySubnetAttributeInput{SubnetId: w.subnet, MapPublicIpOnLaunch: &ec2.AttributeBooleanValue{Value: true}})))
	id := w.launch(t, "t3.medium")
	out, err := w.DescribeInstances(operator, ec2.DescribeInstancesInput{InstanceIds: []string{id}})
	must(t, err)
	i := out.Reservations[0].Instances[0]
	m, _ := w.Metadata(vpc.InstanceID(id))
	if i.PublicIpAddress == "" || m.Values["public-ipv4"] != i.PublicIpAddress {
		t.Errorf("public address %q, in metadata %q", i.PublicIpAddress, m.Values["public-ipv4"])
	}
}

func TestTrunk(t *testing.T) {
	w := newWorld(t, vpcsim.Options{})
	trunk := w.newENI(t, ec2.CreateNetworkInterfaceInput{InterfaceType: "trunk"}).NetworkInterfaceId
	attachment := w.attach(t, trunk, 1)
	branch := w.newENI(t, ec2.CreateNetworkInterfaceInput{InterfaceType: "branch"}).NetworkInterfaceId
	out, err := w.AssociateTrunkInterface(operator, ec2.AssociateTrunkInterfaceInput{BranchInterfaceId: branch, TrunkInterfaceId: trunk, VlanId: new(7), ClientToken: "t"})
	must(t, err)
	if got := w.describe(t, branch).Status; got != "associated" {
		t.Errorf("branch is %s", got)
	}
	second := w.newENI(t, ec2.CreateNetworkInterfaceInput{InterfaceType: "branch"}).NetworkInterfaceId
	in := ec2.AssociateTrunkInterfaceInput{BranchInterfaceId: second, TrunkInterfaceId: trunk, VlanId: new(7)}
	if err := result(w.AssociateTrunkInterface(operator, in)); code(err) != "InvalidParameterValue" {
		t.Errorf("same VLAN: %v", err)
	}
	if err := result(w.DetachNetworkInterface(operator, ec2.DetachNetworkInterfaceInput{AttachmentId: attachment})); code(err) != "OperationNotPermitted" {
		t.Errorf("detach a trunk with branches: %v", err)
	}
	list, err := w.DescribeTrunkInterfaceAssociations(operator, ec2.DescribeTrunkInterfaceAssociationsInput{
		Filters: []ec2.Filter{{Name: "trunk-interface-association.trunk-interface-id", Values: []string{trunk}}},
	})
	must(t, err)
	if len(list.InterfaceAssociations) != 1 {
		t.Errorf("associations: %+v", list)
	}
	must(t, result(w.DisassociateTrunkInterface(operator, ec2.DisassociateTrunkInterfaceInput{AssociationId: out.InterfaceAssociation.AssociationId})))
	must(t, result(w.DeleteNetworkInterface(operator, ec2.DeleteNetworkInterfaceInput{NetworkInterfaceId: branch})))
}

func TestIPv6(t *testing.T) {
	w := newWorld(t, vpcsim.Options{})
	out, err := w.AssociateVpcCidrBlock(operator, ec2.AssociateVpcCidrBlockInput{VpcId: w.vpc, AmazonProvidedIpv6CidrBlock: true})
	must(t, err)
	block := strings.Replace(out.Ipv6CidrBlockAssociation.Ipv6CidrBlock, "/56", "/64", 1)
	must(t, result(w.AssociateSubnetCidrBlock(operator, ec2.AssociateSubnetCidrBlockInput{SubnetId: w.subnet, Ipv6CidrBlock: block})))
	e := w.newENI(t, ec2.CreateNetworkInterfaceInput{Ipv6AddressCount: new(1)})
	got, err := w.AssignIpv6Addresses(operator, ec2.AssignIpv6AddressesInput{NetworkInterfaceId: e.NetworkInterfaceId, Ipv6PrefixCount: new(2)})
	must(t, err)
	if v := w.describe(t, e.NetworkInterfaceId); len(v.Ipv6Addresses) != 1 || len(v.Ipv6Prefixes) != 2 {
		t.Errorf("interface: %+v", v)
	}
	must(t, result(w.UnassignIpv6Addresses(operator, ec2.UnassignIpv6AddressesInput{NetworkInterfaceId: e.NetworkInterfaceId, Ipv6Prefixes: got.AssignedIpv6Prefixes})))
	if v := w.describe(t, e.NetworkInterfaceId); len(v.Ipv6Prefixes) != 0 {
		t.Errorf("interface: %+v", v)
	}
}

// TestRunFollowsTime shows Run and Changed under virtual time.
func TestRunFollowsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := vpcsim.New(vpcsim.Options{Settings: vpcsim.Settings{AssociateBlock: pacing.Fixed(time.Minute)}})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		done := make(chan error)
		go func() { done <- s.Run(ctx) }()
		v, err := s.CreateVpc(operator, ec2.CreateVpcInput{CidrBlock: "10.0.0.0/16"})
		must(t, err)
		must(t, result(s.AssociateVpcCidrBlock(operator, ec2.AssociateVpcCidrBlockInput{VpcId: v.Vpc.VpcId, CidrBlock: "10.1.0.0/16"})))
		synctest.Wait()
		<-s.Changed()
		start := time.Now()
		<-s.Changed()
		if got := time.Since(start); got != time.Minute {
			t.Errorf("changed after %s", got)
		}
		if got := s.Topology().VPCs[0].CIDRs; len(got) != 2 {
			t.Errorf("blocks: %v", got)
		}
		cancel()
		must(t, <-done)
	})
}

func TestConcurrentCallers(t *testing.T) {
	w := newWorld(t, vpcsim.Options{})
	var wg sync.WaitGroup
	for n := range 8 {
		wg.Go(func() {
			c := vpcsim.Caller{Source: fmt.Sprint("node:", n)}
			for range 25 {
				out, err := w.CreateNetworkInterface(c, ec2.CreateNetworkInterfaceInput{SubnetId: w.subnet, SecondaryPrivateIpAddressCount: new(5)})
				if err != nil {
					t.Error(err)
					return
				}
				_, _ = w.DescribeNetworkInterfaces(c, ec2.DescribeNetworkInterfacesInput{})
				w.Topology()
				if err := result(w.DeleteNetworkInterface(c, ec2.DeleteNetworkInterfaceInput{NetworkInterfaceId: out.NetworkInterface.NetworkInterfaceId})); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if got := w.free(t, w.subnet); got != 250 {
		t.Errorf("%d free, want 250", got)
	}
}

// TestTearDown shows that nothing stays behind that would keep the rest from being deleted.
func TestTearDown(t *testing.T) {
	w := newWorld(t, vpcsim.Options{})
	g, err := w.CreateSecurityGroup(operator, ec2.CreateSecurityGroupInput{GroupName: "x", Description: "x", VpcId: w.vpc})
	must(t, err)
	e := w.newENI(t, ec2.CreateNetworkInterfaceInput{Groups: []string{g.GroupId}}).NetworkInterfaceId
	must(t, result(w.ModifyNetworkInterfaceAttribute(operator, ec2.ModifyNetworkInterfaceAttributeInput{
		NetworkInterfaceId: e, Description: &ec2.AttributeValue{Value: "y"},
	})))
	must(t, result(w.DeleteNetworkInterface(operator, ec2.DeleteNetworkInterfaceInput{NetworkInterfaceId: e})))
	must(t, result(w.DeleteSecurityGroup(operator, ec2.DeleteSecurityGroupInput{GroupId: g.GroupId})))
	must(t, result(w.TerminateInstances(operator, ec2.TerminateInstancesInput{InstanceIds: []string{w.node}})))
	must(t, result(w.DeleteSubnet(operator, ec2.DeleteSubnetInput{SubnetId: w.subnet})))
	must(t, result(w.DeleteVpc(operator, ec2.DeleteVpcInput{VpcId: w.vpc})))
	top := w.Topology()
	if len(top.VPCs)+len(top.Subnets)+len(top.Interfaces)+len(top.Groups)+len(top.Instances) != 0 {
		t.Errorf("left over: %+v", top)
	}
}

func TestAttachLimitMessage(t *testing.T) {
	w := newWorld(t, vpcsim.Options{})
	for device := range 2 {
		w.attach(t, w.newENI(t, ec2.CreateNetworkInterfaceInput{}).NetworkInterfaceId, device+1)
	}
	e := w.newENI(t, ec2.CreateNetworkInterfaceInput{}).NetworkInterfaceId
	err := result(w.AttachNetworkInterface(operator, ec2.AttachNetworkInterfaceInput{NetworkInterfaceId: e, InstanceId: w.node, DeviceIndex: new(3)}))
	if want := "AttachmentLimitExceeded: Interface count 4 exceeds the limit for m6a.large"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

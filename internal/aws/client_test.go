package aws

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/berth-net/berth/internal/core/subnet"
	"github.com/berth-net/berth/internal/core/vpc"
)

var values = cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func TestAttachedENIs(t *testing.T) {
	c, e, calls := connect(t, map[string][]answer{"DescribeNetworkInterfaces": {golden(t, "interfaces.xml")}})
	got, err := c.AttachedENIs(t.Context(), "i-0123")
	if err != nil {
		t.Fatal(err)
	}
	want := []vpc.ENI{
		{
			ID: "eni-0aaa", Subnet: "subnet-0001", VPC: "vpc-0001", Zone: "us-west-2a", MAC: "02:aa:00:00:00:01", Type: "interface",
			Primary: addr("10.0.0.155"), Secondary: []netip.Addr{addr("10.0.0.140"), addr("10.0.0.141")}, Groups: []vpc.SecurityGroupID{"sg-1"},
			Tags:       vpc.Tags{vpc.TagENIInstance: "i-0123"},
			Attachment: &vpc.Attachment{ID: "eni-attach-0a", Instance: "i-0123", State: vpc.Attached, DeleteOnTermination: true},
		},
		{
			ID: "eni-0bbb", Subnet: "subnet-0002", VPC: "vpc-0001", Zone: "us-west-2a", MAC: "02:aa:00:00:00:02", Type: "interface",
			Description: "aws-K8S-i-0123", Primary: addr("10.1.3.9"), Prefixes: []netip.Prefix{netip.MustParsePrefix("10.1.4.16/28")}, Tags: vpc.Tags{},
			Attachment: &vpc.Attachment{ID: "eni-attach-0b", Instance: "i-0123", DeviceIndex: 1, State: vpc.Attaching},
		},
		{
			ID: "eni-0ccc", Subnet: "subnet-0001", VPC: "vpc-0001", MAC: "02:aa:00:00:00:03", Type: "efa-only", Tags: vpc.Tags{},
			Attachment: &vpc.Attachment{ID: "eni-attach-0c", Instance: "i-0123", DeviceIndex: 1, NetworkCard: 1, State: vpc.Attached},
		},
	}
	if diff := cmp.Diff(want, got, values); diff != "" {
		t.Errorf("interfaces (-want +got):\n%s", diff)
	}
	form := e.forms("DescribeNetworkInterfaces")[0]
	if form.Get("Filter.1.Name") != "attachment.instance-id" || form.Get("Filter.1.Value.1") != "i-0123" || form.Get("Version") != "2016-11-15" {
		t.Errorf("asked %v", form)
	}
	if ua := e.headers[0].Get("User-Agent"); !strings.Contains(ua, "amazon-vpc-cni-k8s/v9") {
		t.Errorf("user agent %q", ua)
	}
	if len(*calls) != 1 || (*calls)[0].Action != "DescribeNetworkInterfaces" || (*calls)[0].Err != nil || (*calls)[0].Status != 200 {
		t.Errorf("observed %+v", *calls)
	}
}

// An interface that cannot be understood must not look like one that is gone.
func TestGarbage(t *testing.T) {
	eni := func(members string) answer {
		return reply("DescribeNetworkInterfaces", "<networkInterfaceSet><item>"+members+"</item></networkInterfaceSet>")
	}
	const attached = `<attachment><attachmentId>a</attachmentId><instanceId>i-0123</instanceId><deviceIndex>1</deviceIndex><status>attached</status></attachment>`
	tests := []struct {
		name string
		give answer
		text string
	}{
		{"no id", eni(attached), "no id"},
		{"no address", eni(`<networkInterfaceId>eni-1</networkInterfaceId>` + attached), "eni-1"},
		{"address is none", eni(`<networkInterfaceId>eni-1</networkInterfaceId><privateIpAddress>10.0.0</privateIpAddress>` + attached), "10.0.0"},
		{"prefix is none", eni(`<networkInterfaceId>eni-1</networkInterfaceId><privateIpAddress>10.0.0.1</privateIpAddress><ipv4PrefixSet><item><ipv4Prefix>x</ipv4Prefix></item></ipv4PrefixSet>` + attached), "prefix"},
		{"unknown state", eni(`<networkInterfaceId>eni-1</networkInterfaceId><privateIpAddress>10.0.0.1</privateIpAddress><attachment><status>flying</status></attachment>`), "flying"},
		{"device index missing", eni(`<networkInterfaceId>eni-1</networkInterfaceId><privateIpAddress>10.0.0.1</privateIpAddress><attachment><attachmentId>a</attachmentId><instanceId>i-0123</instanceId><status>attached</status></attachment>`), "device index"},
		{"truncated", ok(`<?xml version="1.0"?><DescribeNetworkInterfacesResponse><networkInterfaceSet><item>`), ""},
		{"no XML", ok("<html>proxy says hello"), ""},
		{"JSON", ok(`{"message":"no"}`), "no EC2 response"},
		{"empty", ok(""), "no EC2 response"},
		{"comment only", ok("<?xml version=\"1.0\"?><!-- maintenance -->"), "no EC2 response"},
		{"error page", answer{http.StatusBadGateway, "<html><body>502</body></html>"}, ""},
		{"hang up", answer{}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, _, _ := connect(t, map[string][]answer{"DescribeNetworkInterfaces": {tt.give}})
			got, err := c.AttachedENIs(t.Context(), "i-0123")
			if vpc.CodeOf(err) != vpc.Internal || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("got %+v, error %v; want an Internal error with %q", got, err, tt.text)
			}
			if _, isOurs := errors.AsType[*vpc.Error](err); !isOurs {
				t.Errorf("error is no *vpc.Error: %T", err)
			}
		})
	}
}

func TestEmptyAnswerIsEmpty(t *testing.T) {
	c, _, _ := connect(t, map[string][]answer{"DescribeNetworkInterfaces": {reply("DescribeNetworkInterfaces", "<networkInterfaceSet/>")}})
	if got, err := c.AttachedENIs(t.Context(), "i-0123"); err != nil || len(got) != 0 {
		t.Errorf("%v, %v", got, err)
	}
}

func TestSubnets(t *testing.T) {
	page1 := reply("DescribeSubnets", `<subnetSet><item><subnetId>subnet-1</subnetId><state>available</state><vpcId>vpc-1</vpcId><cidrBlock>10.0.0.96/27</cidrBlock>
		<availableIpAddressCount>7</availableIpAddressCount><availabilityZone>us-west-2a</availabilityZone><ownerId>1</ownerId>
		<tagSet><item><key>kubernetes.io/role/cni</key><value>1</value></item><item><key>empty</key><value/></item></tagSet></item></subnetSet><nextToken>p2</nextToken>`)
	page2 := reply("DescribeSubnets", `<subnetSet><item><subnetId>subnet-2</subnetId><state>pending</state><vpcId>vpc-1</vpcId><cidrBlock>10.1.0.0/19</cidrBlock>
		<availableIpAddressCount>8187</availableIpAddressCount><availabilityZone>us-west-2a</availabilityZone></item></subnetSet>`)
	c, e, _ := connect(t, map[string][]answer{"DescribeSubnets": {page1, page2}})
	got, err := c.Subnets(t.Context(), "vpc-1", "us-west-2a")
	if err != nil {
		t.Fatal(err)
	}
	want := []vpc.Subnet{
		{ID: "subnet-1", VPC: "vpc-1", Zone: "us-west-2a", CIDR: netip.MustParsePrefix("10.0.0.96/27"), Free: 7, Available: true, Owner: "1", Tags: vpc.Tags{vpc.TagCNIRole: "1", "empty": ""}},
		{ID: "subnet-2", VPC: "vpc-1", Zone: "us-west-2a", CIDR: netip.MustParsePrefix("10.1.0.0/19"), Free: 8187, Tags: vpc.Tags{}},
	}
	if diff := cmp.Diff(want, got, values); diff != "" {
		t.Errorf("subnets (-want +got):\n%s", diff)
	}
	forms := e.forms("DescribeSubnets")
	if len(forms) != 2 || forms[1].Get("NextToken") != "p2" {
		t.Errorf("asked %v", forms)
	}
	for name, give := range map[string]string{
		"no count": `<subnetId>subnet-1</subnetId><cidrBlock>10.0.0.0/27</cidrBlock>`,
		"no id":    `<cidrBlock>10.0.0.0/27</cidrBlock><availableIpAddressCount>7</availableIpAddressCount>`,
		"no block": `<subnetId>subnet-1</subnetId><availableIpAddressCount>7</availableIpAddressCount>`,
	} {
		c, _, _ := connect(t, map[string][]answer{"DescribeSubnets": {reply("DescribeSubnets", "<subnetSet><item>"+give+"</item></subnetSet>")}})
		if got, err := c.Subnets(t.Context(), "vpc-1", "us-west-2a"); vpc.CodeOf(err) != vpc.Internal {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

func TestEndlessPages(t *testing.T) {
	c, _, _ := connect(t, map[string][]answer{"DescribeSubnets": {reply("DescribeSubnets", `<subnetSet/><nextToken>again</nextToken>`)}})
	if _, err := c.Subnets(t.Context(), "vpc-1", "z"); vpc.CodeOf(err) != vpc.Internal || !strings.Contains(err.Error(), "twice") {
		t.Errorf("error %v", err)
	}
}

func TestCreateENI(t *testing.T) {
	c, e, _ := connect(t, map[string][]answer{"CreateNetworkInterface": {
		{}, // the first answer is lost: the same token must be sent again
		reply("CreateNetworkInterface", `<networkInterface><networkInterfaceId>eni-1</networkInterfaceId><subnetId>subnet-1</subnetId><status>pending</status>
			<privateIpAddress>10.0.0.5</privateIpAddress><privateIpAddressesSet><item><privateIpAddress>10.0.0.5</privateIpAddress><primary>true</primary></item>
			<item><privateIpAddress>10.0.0.6</privateIpAddress></item></privateIpAddressesSet></networkInterface><clientToken>tok</clientToken>`),
	}})
	got, err := c.CreateENI(t.Context(), CreateENI{
		Token: "tok", Subnet: "subnet-1", Groups: []vpc.SecurityGroupID{"sg-1", "sg-2"}, Description: "aws-K8S-i-1", Want: vpc.Want{Count: 1},
		Tags: vpc.Tags{"b": "2", "a": ""},
	})
	if err != nil {
		t.Fatal(err)
	}
	if got.ID != "eni-1" || got.Primary != addr("10.0.0.5") || len(got.Secondary) != 1 || got.Secondary[0] != addr("10.0.0.6") {
		t.Errorf("created %+v", got)
	}
	forms := e.forms("CreateNetworkInterface")
	if len(forms) != 2 {
		t.Fatalf("%d attempts", len(forms))
	}
	for _, f := range forms {
		for k, want := range map[string]string{
			"ClientToken": "tok", "SubnetId": "subnet-1", "SecurityGroupId.1": "sg-1", "SecurityGroupId.2": "sg-2", "Description": "aws-K8S-i-1",
			"SecondaryPrivateIpAddressCount": "1", "TagSpecification.1.ResourceType": "network-interface",
			"TagSpecification.1.Tag.1.Key": "a", "TagSpecification.1.Tag.2.Value": "2",
		} {
			if f.Get(k) != want {
				t.Errorf("%s is %q, want %q", k, f.Get(k), want)
			}
		}
	}
}

// Calls without a token are not repeated after an outcome that is not known.
func TestOnce(t *testing.T) {
	c, e, _ := connect(t, map[string][]answer{"AssignPrivateIpAddresses": {{}}, "AttachNetworkInterface": {apiError(500, "InternalError", "boom")}})
	if _, err := c.Assign(t.Context(), "eni-1", vpc.Want{Count: 9}); vpc.CodeOf(err) != vpc.Internal {
		t.Errorf("assign: %v", err)
	}
	if _, err := c.AttachENI(t.Context(), AttachENI{ENI: "eni-1", Instance: "i-1", DeviceIndex: 1}); vpc.CodeOf(err) != vpc.Internal {
		t.Errorf("attach: %v", err)
	}
	if a, b := len(e.forms("AssignPrivateIpAddresses")), len(e.forms("AttachNetworkInterface")); a != 1 || b != 1 {
		t.Errorf("%d assigns, %d attaches; want one each", a, b)
	}
}

// The first try hangs up, perhaps after its effect; that the second is throttled does not tell that nothing happened.
func TestThrottledAfterAnUnknownOutcomeIsInDoubt(t *testing.T) {
	c, _, _ := connect(t, map[string][]answer{"DetachNetworkInterface": {{}, apiError(503, "RequestLimitExceeded", "Request limit exceeded.")}})
	ctx, cancel := context.WithTimeout(t.Context(), 600*time.Millisecond)
	defer cancel()
	if err := c.DetachENI(ctx, "eni-1", "eni-attach-1"); vpc.CodeOf(err) != vpc.Internal {
		t.Errorf("detach: %v", err)
	}
}

func TestAssign(t *testing.T) {
	c, e, _ := connect(t, map[string][]answer{"AssignPrivateIpAddresses": {
		apiError(503, "RequestLimitExceeded", "Request limit exceeded."), // was not executed: may be repeated
		reply("AssignPrivateIpAddresses", `<return>true</return><networkInterfaceId>eni-1</networkInterfaceId><assignedPrivateIpAddressesSet><item><privateIpAddress>10.0.0.7</privateIpAddress></item></assignedPrivateIpAddressesSet>`),
	}})
	got, err := c.Assign(t.Context(), "eni-1", vpc.Want{Count: 1})
	if err != nil || len(got) != 1 || got[0] != vpc.Single(addr("10.0.0.7")) {
		t.Errorf("%v, %v", got, err)
	}
	if n := len(e.forms("AssignPrivateIpAddresses")); n != 2 {
		t.Errorf("%d attempts", n)
	}
}

// Asked for prefixes, EC2 cannot mean that no single address is left.
func TestNoRoomForPrefixesIsNoFullSubnet(t *testing.T) {
	answers := []answer{
		apiError(400, "InvalidParameterValue", "There aren't sufficient free Ipv4 addresses or prefixes"),
		apiError(400, "InsufficientFreeAddressesInSubnet", "The specified subnet does not have enough free addresses to satisfy the request."),
		apiError(400, "InsufficientCidrBlocks", "The specified subnet does not have enough free cidr blocks to satisfy the request"),
	}
	for _, a := range answers {
		c, _, _ := connect(t, map[string][]answer{"CreateNetworkInterface": {a}, "AssignPrivateIpAddresses": {a}})
		for _, want := range []vpc.Want{{PrefixCount: 1}, {Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.16/28")}}} {
			if _, err := c.CreateENI(t.Context(), CreateENI{Token: "t", Subnet: "subnet-1", Want: want}); vpc.CodeOf(err) != vpc.PrefixFragmented {
				t.Errorf("create with %+v: %v", want, err)
			}
			if _, err := c.Assign(t.Context(), "eni-1", want); vpc.CodeOf(err) != vpc.PrefixFragmented {
				t.Errorf("assign %+v: %v", want, err)
			}
		}
	}
}

// EC2 does not document whether an interface's own address may be named beside prefixes.
func TestPrimaryThatIsRefusedBesidePrefixesIsLeftToEC2(t *testing.T) {
	eni := `<networkInterface><networkInterfaceId>eni-1</networkInterfaceId><privateIpAddress>10.0.0.9</privateIpAddress></networkInterface>`
	refused := apiError(400, "InvalidParameterCombination", "The parameters cannot be used together")
	primary := addr("10.0.0.4")
	c, e, _ := connect(t, map[string][]answer{"CreateNetworkInterface": {refused, reply("CreateNetworkInterface", eni)}})
	got, err := c.CreateENI(t.Context(), CreateENI{Token: "t", Subnet: "subnet-1", Primary: primary, Want: vpc.Want{PrefixCount: 1}})
	if err != nil || got.Primary != addr("10.0.0.9") {
		t.Errorf("%v, %v", got.Primary, err)
	}
	forms := e.forms("CreateNetworkInterface")
	if len(forms) != 2 || forms[0].Get("PrivateIpAddress") != "10.0.0.4" || forms[1].Has("PrivateIpAddress") || forms[1].Get("Ipv4PrefixCount") != "1" {
		t.Errorf("asked for %v", forms)
	}
	c, e, _ = connect(t, map[string][]answer{"CreateNetworkInterface": {refused}})
	if _, err := c.CreateENI(t.Context(), CreateENI{Token: "t", Subnet: "subnet-1", Primary: primary, Want: vpc.Want{Count: 1}}); vpc.CodeOf(err) != vpc.Invalid {
		t.Errorf("beside a count: %v", err)
	}
	if n := len(e.forms("CreateNetworkInterface")); n != 1 {
		t.Errorf("beside a count: %d requests", n)
	}
}

func TestPrefixesThatMakeNoSenseAreRefused(t *testing.T) {
	for _, bad := range []string{"", "10.0.0.16", "10.0.0.16/27", "10.0.0.17/28", "2001:db8::/28"} {
		c, _, _ := connect(t, map[string][]answer{"AssignPrivateIpAddresses": {
			reply("AssignPrivateIpAddresses", `<assignedIpv4PrefixSet><item><ipv4Prefix>`+bad+`</ipv4Prefix></item></assignedIpv4PrefixSet>`),
		}})
		if got, err := c.Assign(t.Context(), "eni-1", vpc.Want{PrefixCount: 1}); vpc.CodeOf(err) != vpc.Internal {
			t.Errorf("%q: %v, %v", bad, got, err)
		}
	}
}

func TestUnassignWhatIsGone(t *testing.T) {
	eni := reply("DescribeNetworkInterfaces", `<networkInterfaceSet><item><networkInterfaceId>eni-1</networkInterfaceId><privateIpAddress>10.0.0.4</privateIpAddress>
		<privateIpAddressesSet><item><privateIpAddress>10.0.0.4</privateIpAddress><primary>true</primary></item><item><privateIpAddress>10.0.0.6</privateIpAddress></item></privateIpAddressesSet></item></networkInterfaceSet>`)
	refused := apiError(400, "InvalidParameterValue", "Some of the specified addresses are not assigned to interface eni-1")
	done := reply("UnassignPrivateIpAddresses", "<return>true</return>")
	tests := []struct {
		name    string
		answers []answer
		addrs   []netip.Addr
		want    vpc.Code
		last    string
	}{
		{"one of two is gone", []answer{refused, done}, []netip.Addr{addr("10.0.0.5"), addr("10.0.0.6")}, "", "10.0.0.6"},
		{"all are gone", []answer{refused}, []netip.Addr{addr("10.0.0.5")}, "", "10.0.0.5"},
		{"refused for another reason", []answer{refused}, []netip.Addr{addr("10.0.0.6")}, vpc.Invalid, "10.0.0.6"},
		{"with its interface", []answer{apiError(400, "InvalidNetworkInterfaceID.NotFound", "eni-1")}, []netip.Addr{addr("10.0.0.6")}, "", "10.0.0.6"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, e, _ := connect(t, map[string][]answer{"UnassignPrivateIpAddresses": tt.answers, "DescribeNetworkInterfaces": {eni}})
			if err := c.Unassign(t.Context(), "eni-1", vpc.Blocks(tt.addrs, nil)); vpc.CodeOf(err) != tt.want {
				t.Errorf("error %v, want %q", err, tt.want)
			}
			forms := e.forms("UnassignPrivateIpAddresses")
			last := forms[len(forms)-1]
			if last.Get("PrivateIpAddress.1") != tt.last && last.Get("PrivateIpAddress.2") != tt.last {
				t.Errorf("last asked for %v", last)
			}
		})
	}
}

func TestGoneIsSuccess(t *testing.T) {
	c, _, _ := connect(t, map[string][]answer{
		"DetachNetworkInterface": {apiError(400, "InvalidAttachmentID.NotFound", "eni-attach-1")},
		"DeleteNetworkInterface": {apiError(400, "InvalidNetworkInterfaceID.NotFound", "eni-1"), apiError(400, "InvalidParameterValue", "Network interface 'eni-1' is currently in use.")},
	})
	if err := c.DetachENI(t.Context(), "eni-1", "eni-attach-1"); err != nil {
		t.Error(err)
	}
	if err := c.DeleteENI(t.Context(), "eni-1"); err != nil {
		t.Error(err)
	}
	if err := c.DeleteENI(t.Context(), "eni-1"); vpc.CodeOf(err) != vpc.InUse {
		t.Errorf("delete of an interface in use: %v", err)
	}
}

func TestThrottledActionReturnsInTime(t *testing.T) {
	c, e, calls := connect(t, map[string][]answer{
		"DescribeSubnets":           {apiError(503, "RequestLimitExceeded", "Request limit exceeded.")},
		"DescribeNetworkInterfaces": {reply("DescribeNetworkInterfaces", "<networkInterfaceSet/>")},
	})
	ctx, cancel := context.WithTimeout(t.Context(), 400*time.Millisecond)
	defer cancel()
	start := time.Now()
	_, err := c.Subnets(ctx, "vpc-1", "z")
	if vpc.CodeOf(err) != vpc.Throttled || time.Since(start) > 3*time.Second {
		t.Errorf("after %v: %v", time.Since(start), err)
	}
	start = time.Now()
	if _, err := c.AttachedENIs(t.Context(), "i-1"); err != nil || time.Since(start) > time.Second {
		t.Errorf("another action waited %v: %v", time.Since(start), err)
	}
	if n := len(e.forms("DescribeSubnets")); n < 1 || n > 3 {
		t.Errorf("%d attempts", n)
	}
	if (*calls)[0].Wire != "RequestLimitExceeded" || (*calls)[0].Status != 503 {
		t.Errorf("observed %+v", (*calls)[0])
	}
}

func TestNotAuthorizedSaysWhat(t *testing.T) {
	c, e, calls := connect(t, map[string][]answer{"CreateTags": {apiError(403, "UnauthorizedOperation", "You are not authorized to perform this operation.")}})
	err := c.TagENI(t.Context(), "eni-1", vpc.Tags{"a": "b"})
	if vpc.CodeOf(err) != vpc.NotAuthorized || !strings.Contains(err.Error(), "ec2:CreateTags") {
		t.Errorf("error %v", err)
	}
	if len(e.forms("CreateTags")) != 1 || (*calls)[0].Err.Code != vpc.NotAuthorized {
		t.Error("a denial was repeated or not observed")
	}
}

func TestInstanceLimits(t *testing.T) {
	card := func(i, n string) string {
		return "<item><networkCardIndex>" + i + "</networkCardIndex><maximumNetworkInterfaces>" + n + "</maximumNetworkInterfaces></item>"
	}
	c, _, _ := connect(t, map[string][]answer{"DescribeInstanceTypes": {
		reply("DescribeInstanceTypes", `<instanceTypeSet><item><instanceType>x9.huge</instanceType><bareMetal>false</bareMetal><hypervisor>nitro</hypervisor><networkInfo>
			<maximumNetworkInterfaces>14</maximumNetworkInterfaces><ipv4AddressesPerInterface>50</ipv4AddressesPerInterface><defaultNetworkCardIndex>0</defaultNetworkCardIndex>
			<networkCards>`+card("1", "7")+card("0", "8")+`</networkCards></networkInfo></item></instanceTypeSet>`),
		reply("DescribeInstanceTypes", `<instanceTypeSet><item><instanceType>x9.huge</instanceType></item></instanceTypeSet>`),
		apiError(400, "InvalidInstanceType", "The following supplied instance types do not exist: [x9.huge]"),
	}})
	want := vpc.InstanceLimits{Type: "x9.huge", ENIs: 8, IPv4PerENI: 50, ENIsPerCard: []int{8, 7}, Hypervisor: "nitro"}
	got, err := c.InstanceLimits(t.Context(), "x9.huge")
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	if _, err := c.InstanceLimits(t.Context(), "x9.huge"); vpc.CodeOf(err) != vpc.Internal {
		t.Errorf("without limits: %v", err)
	}
	if _, err := c.InstanceLimits(t.Context(), "x9.huge"); vpc.CodeOf(err) != vpc.Invalid {
		t.Errorf("unknown type: %v", err)
	}
}

func TestCodeOf(t *testing.T) {
	tests := []struct {
		code, message string
		want          vpc.Code
	}{
		{"RequestLimitExceeded", "", vpc.Throttled},
		{"InsufficientFreeAddressesInSubnet", "", vpc.SubnetFull},
		{"InvalidParameterValue", "There aren't sufficient free Ipv4 addresses or prefixes", vpc.SubnetFull},
		{"InvalidIPAddress.InUse", "Address 10.0.0.5 is in use.", vpc.AddressTaken},
		{"PrivateIPAddressInUse", "", vpc.AddressTaken},
		{"InvalidParameterValue", "Address is in use", vpc.AddressTaken},
		{"InvalidParameterValue", "[10.0.0.5] assigned, but move is not allowed.", vpc.AddressTaken},
		{"InvalidParameterValue", "Prefix 10.0.0.16/28 contains addresses that are in use", vpc.AddressTaken},
		{"InvalidParameterValue", "Address does not fall within the subnet's address range", vpc.Invalid},
		{"InvalidParameterValue", "Instance 'i-1' already has an interface attached at device index '1'.", vpc.InUse},
		{"InsufficientCidrBlocks", "", vpc.PrefixFragmented},
		{"PrivateIpAddressLimitExceeded", "", vpc.LimitReached},
		{"AttachmentLimitExceeded", "", vpc.LimitReached},
		{"NetworkInterfaceLimitExceeded", "", vpc.LimitReached},
		{"InvalidNetworkInterfaceID.NotFound", "", vpc.NotFound},
		{"InvalidSubnetID.NotFound", "", vpc.NotFound},
		{"InvalidGroup.NotFound", "", vpc.NotFound},
		{"InvalidNetworkInterface.InUse", "", vpc.InUse},
		{"IncorrectState", "", vpc.InUse},
		{"UnauthorizedOperation", "", vpc.NotAuthorized},
		{"AuthFailure", "", vpc.NotAuthorized},
		{"InvalidParameterCombination", "", vpc.Invalid},
		{"InvalidSubnetID.Malformed", "", vpc.Invalid},
		{"IdempotentParameterMismatch", "", vpc.Invalid},
		{"OperationNotPermitted", "", vpc.Invalid},
		{"InternalError", "", vpc.Internal},
		{"Unavailable", "", vpc.Internal},
		{"SomethingNew", "", vpc.Internal},
		{"", "", vpc.Internal},
	}
	for _, tt := range tests {
		if got := codeOf(tt.code, tt.message); got != tt.want {
			t.Errorf("codeOf(%q, %q) = %s, want %s", tt.code, tt.message, got, tt.want)
		}
	}
}

// What EC2 says of a subnet's ranges is either refused or something that a map of the subnet can be made of.
func FuzzRanges(f *testing.F) {
	for _, seed := range []string{"10.0.0.64/27", "10.0.0.17/28", "10.0.0.0/0", "2001:db8::/80", "10.0.0.1", "", "10.0.0.0/33", "0.0.0.0/0"} {
		f.Add(seed, "prefix")
		f.Add(seed, "explicit")
	}
	f.Fuzz(func(t *testing.T, text, kind string) {
		sn := vpc.Subnet{ID: "subnet-1", CIDR: netip.MustParsePrefix("10.0.0.0/24"), Free: 251}
		var reservations []vpc.Reservation
		if r, err := toReservation(types.SubnetCidrReservation{SubnetCidrReservationId: &text, Cidr: &text, ReservationType: types.SubnetCidrReservationType(kind)}); err == nil {
			if r.CIDR != r.CIDR.Masked() || !r.CIDR.IsValid() {
				t.Errorf("reservation of %v", r.CIDR)
			}
			reservations = append(reservations, r)
		}
		e := vpc.ENI{Subnet: sn.ID}
		if p, err := toPrefix(&text); err == nil {
			if p.Bits() != vpc.PrefixBits || p != p.Masked() {
				t.Errorf("prefix %v", p)
			}
			e.Prefixes = append(e.Prefixes, p)
		}
		s := subnet.NewSpace(sn, []vpc.ENI{e}, reservations, time.Time{})
		for _, a := range s.Addresses(300, "i-1") {
			if !sn.CIDR.Contains(a) || vpc.Reserved(sn.CIDR, a) || len(e.Prefixes) > 0 && e.Prefixes[0].Contains(a) {
				t.Errorf("%v is named", a)
			}
		}
	})
}

// The first try hangs up, perhaps after its effect, and the second is denied: the credentials expired in between. That the
// addresses are still the interface's is not certain.
func TestDeniedAfterAnUnknownOutcomeIsInDoubt(t *testing.T) {
	c, _, _ := connect(t, map[string][]answer{"UnassignPrivateIpAddresses": {{}, apiError(400, "RequestExpired", "Request has expired.")}})
	if err := c.Unassign(t.Context(), "eni-1", vpc.Blocks([]netip.Addr{addr("10.0.0.5")}, nil)); vpc.CodeOf(err) != vpc.Internal {
		t.Errorf("unassign: %v", err)
	}
}

// Addresses were given back, and the call for the prefixes is denied: not all is as it was.
func TestUnassignmentOfHalfIsInDoubt(t *testing.T) {
	done := reply("UnassignPrivateIpAddresses", "<return>true</return>")
	blocks := vpc.Blocks([]netip.Addr{addr("10.0.0.5")}, []netip.Prefix{netip.MustParsePrefix("10.0.1.16/28")})
	for _, refusal := range []answer{apiError(400, "RequestExpired", "Request has expired."), apiError(503, "RequestLimitExceeded", "Request limit exceeded.")} {
		c, _, _ := connect(t, map[string][]answer{"UnassignPrivateIpAddresses": {done, refusal}})
		ctx, cancel := context.WithTimeout(t.Context(), 600*time.Millisecond)
		if err := c.Unassign(ctx, "eni-1", blocks); vpc.CodeOf(err) != vpc.Internal {
			t.Errorf("unassign: %v", err)
		}
		cancel()
	}
}

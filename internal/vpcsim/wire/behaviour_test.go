package wire_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/google/go-cmp/cmp"

	"github.com/berth-net/berth/internal/vpcsim"
	"github.com/berth-net/berth/internal/vpcsim/pacing"
)

// TestErrors reads errors with the SDK: status, code and the parts of messages that clients parse.
func TestErrors(t *testing.T) {
	w := start(t, vpcsim.Options{})
	n := w.network(t)
	c, ctx := w.once(), t.Context()
	tests := []struct {
		name string
		call func() error
		want string // status and code; then what the message holds
		has  string
	}{
		{"subnet not found", func() error {
			_, err := c.DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{SubnetIds: []string{"subnet-0123456789abcdef0"}})
			return err
		}, "400 InvalidSubnetID.NotFound", "subnet-0123456789abcdef0"},
		{"interface not found names it", func() error {
			_, err := c.DescribeNetworkInterfaces(ctx, &ec2.DescribeNetworkInterfacesInput{NetworkInterfaceIds: []string{"eni-0123456789abcdef0"}})
			return err
		}, "400 InvalidNetworkInterfaceID.NotFound", "eni-0123456789abcdef0"},
		{"dry run", func() error {
			_, err := c.CreateSubnet(ctx, &ec2.CreateSubnetInput{VpcId: &n.vpc, CidrBlock: aws.String("10.0.9.0/24"), DryRun: aws.Bool(true)})
			return err
		}, "412 DryRunOperation", "Request would have succeeded"},
		{"subnet conflict", func() error {
			_, err := c.CreateSubnet(ctx, &ec2.CreateSubnetInput{VpcId: &n.vpc, CidrBlock: aws.String("10.0.1.0/25")})
			return err
		}, "400 InvalidSubnet.Conflict", "10.0.1.0/25"},
		{"too many addresses for the type", func() error {
			_, err := c.AssignPrivateIpAddresses(ctx, &ec2.AssignPrivateIpAddressesInput{NetworkInterfaceId: &n.eni, SecondaryPrivateIpAddressCount: aws.Int32(10)})
			return err
		}, "400 PrivateIpAddressLimitExceeded", "exceed limit"},
		{"page size too small", func() error {
			_, err := c.DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{MaxResults: aws.Int32(4)})
			return err
		}, "400 InvalidParameterValue", "maxResults"},
		{"page size with ids", func() error {
			_, err := c.DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{MaxResults: aws.Int32(5), SubnetIds: []string{n.subnet}})
			return err
		}, "400 InvalidParameterCombination", "MaxResults"},
		{"bad token", func() error {
			_, err := c.DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{NextToken: aws.String("x")})
			return err
		}, "400 InvalidPaginationToken", ""},
		{"unknown filter", func() error {
			_, err := c.DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{Filters: []types.Filter{{Name: aws.String("colour"), Values: []string{"red"}}}})
			return err
		}, "400 InvalidParameterValue", "colour"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.call()
			if got := fmt.Sprintf("%d %s", statusOf(err), codeOf(err)); got != tt.want || !strings.Contains(fmt.Sprint(err), tt.has) {
				t.Errorf("got %s (%v), want %s with %q", got, err, tt.want, tt.has)
			}
		})
	}
}

func TestPaginator(t *testing.T) {
	w := start(t, vpcsim.Options{})
	n := w.network(t)
	c, ctx := w.operator(), t.Context()
	for i := range 12 {
		_, err := c.CreateSubnet(ctx, &ec2.CreateSubnetInput{VpcId: &n.vpc, CidrBlock: aws.String(fmt.Sprintf("10.0.%d.0/24", 10+i))})
		must(t, err)
	}
	seen, pages := make(map[string]int), 0
	p := ec2.NewDescribeSubnetsPaginator(c, &ec2.DescribeSubnetsInput{MaxResults: aws.Int32(5)})
	for p.HasMorePages() {
		out, err := p.NextPage(ctx)
		must(t, err)
		pages++
		for _, s := range out.Subnets {
			seen[*s.SubnetId]++
		}
		// A subnet that comes into being between pages neither repeats nor hides another.
		_, err = c.CreateSubnet(ctx, &ec2.CreateSubnetInput{VpcId: &n.vpc, CidrBlock: aws.String(fmt.Sprintf("10.0.%d.0/24", 100+pages))})
		must(t, err)
	}
	for id, times := range seen {
		if times != 1 {
			t.Errorf("%s seen %d times", id, times)
		}
	}
	if pages < 3 || len(seen) < 13 {
		t.Errorf("%d subnets on %d pages", len(seen), pages)
	}
}

func TestReservationsAreListedByPages(t *testing.T) {
	w := start(t, vpcsim.Options{})
	n := w.network(t)
	c, ctx := w.operator(), t.Context()
	for i := range 7 {
		_, err := c.CreateSubnetCidrReservation(ctx, &ec2.CreateSubnetCidrReservationInput{
			SubnetId: &n.subnet, Cidr: aws.String(fmt.Sprintf("10.0.1.%d/28", 16*(i+2))), ReservationType: types.SubnetCidrReservationTypePrefix,
		})
		must(t, err)
	}
	seen, token := 0, (*string)(nil)
	for pages := 1; ; pages++ {
		out, err := c.GetSubnetCidrReservations(ctx, &ec2.GetSubnetCidrReservationsInput{SubnetId: &n.subnet, MaxResults: aws.Int32(5), NextToken: token})
		must(t, err)
		seen += len(out.SubnetIpv4CidrReservations)
		if token = out.NextToken; token == nil {
			if pages != 2 || seen != 7 {
				t.Errorf("%d reservations on %d pages", seen, pages)
			}
			break
		}
	}
	_, err := w.once().GetSubnetCidrReservations(ctx, &ec2.GetSubnetCidrReservationsInput{SubnetId: &n.subnet, MaxResults: aws.Int32(4)})
	if codeOf(err) != "InvalidParameterValue" {
		t.Errorf("a page of four: %v", err)
	}
}

// TestLostAnswer: the SDK sends the same ClientToken again after a reset, so there is one interface, not two.
func TestLostAnswer(t *testing.T) {
	w := start(t, vpcsim.Options{})
	n := w.network(t)
	w.server.AddFault(pacing.Fault{Action: "CreateNetworkInterface", DropResponse: true, Count: 1})
	e, err := w.operator().CreateNetworkInterface(t.Context(), &ec2.CreateNetworkInterfaceInput{SubnetId: &n.subnet, Description: aws.String("once")})
	must(t, err)
	d, err := w.operator().DescribeNetworkInterfaces(t.Context(), &ec2.DescribeNetworkInterfacesInput{
		Filters: []types.Filter{{Name: aws.String("description"), Values: []string{"once"}}},
	})
	must(t, err)
	if len(d.NetworkInterfaces) != 1 || *d.NetworkInterfaces[0].NetworkInterfaceId != *e.NetworkInterface.NetworkInterfaceId {
		t.Errorf("%d interfaces after a lost answer", len(d.NetworkInterfaces))
	}
}

func TestFaults(t *testing.T) {
	w := start(t, vpcsim.Options{})
	n := w.network(t)
	ctx := t.Context()
	describe := func(c *ec2.Client) string {
		_, err := c.DescribeVpcs(ctx, &ec2.DescribeVpcsInput{VpcIds: []string{n.vpc}})
		return fmt.Sprintf("%d %s", statusOf(err), codeOf(err))
	}
	tests := []struct {
		name  string
		fault pacing.Fault
		c     *ec2.Client
		want  string
	}{
		{"throttled", pacing.Fault{Action: "DescribeVpcs", Code: "RequestLimitExceeded", Count: 1}, w.once(), "503 RequestLimitExceeded"},
		{"throttled twice, then served", pacing.Fault{Action: "Describe*", Code: "RequestLimitExceeded", Count: 2}, w.operator(), "200 ok"},
		{"reset twice, then served", pacing.Fault{Action: "DescribeVpcs", DropRequest: true, Count: 2}, w.operator(), "200 ok"},
		{"denied", pacing.Fault{Caller: "oper*", Code: "UnauthorizedOperation", Count: 1}, w.once(), "403 UnauthorizedOperation"},
		{"other caller", pacing.Fault{Caller: "node:*", Code: "UnauthorizedOperation"}, w.once(), "200 ok"},
		{"side services have faults of their own", pacing.Fault{Action: "imds:*", Code: "InternalError"}, w.once(), "200 ok"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w.server.AddFault(tt.fault)
			if got := describe(tt.c); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
			w.control(t, http.MethodDelete, "faults", "", nil)
		})
	}
	t.Run("garbage", func(t *testing.T) {
		w.server.AddFault(pacing.Fault{Action: "DescribeVpcs", Garbage: "<html>it works", Count: 1})
		if _, err := w.once().DescribeVpcs(ctx, &ec2.DescribeVpcsInput{}); err == nil {
			t.Error("the SDK read garbage as an answer")
		}
	})
	t.Run("delay", func(t *testing.T) {
		w.server.AddFault(pacing.Fault{Action: "DescribeVpcs", Delay: 50 * time.Millisecond, Count: 1})
		began := time.Now()
		if got := describe(w.once()); got != "200 ok" || time.Since(began) < 50*time.Millisecond {
			t.Errorf("%s after %s", got, time.Since(began))
		}
	})
}

func TestControlFaults(t *testing.T) {
	w := start(t, vpcsim.Options{})
	var ec2Fault, side struct{ ID int }
	w.control(t, "POST", "faults", `{"action":"DescribeRegions","code":"Unavailable"}`, &ec2Fault)
	w.control(t, "POST", "faults", `{"action":"eks:*","code":"ServerException","status":500}`, &side)
	var all []pacing.Fault
	w.control(t, "GET", "faults", "", &all)
	if len(all) != 2 || ec2Fault.ID == side.ID {
		t.Errorf("faults %+v, ids %d and %d", all, ec2Fault.ID, side.ID)
	}
	w.control(t, "DELETE", fmt.Sprintf("faults/%d", side.ID), "", nil)
	w.control(t, "GET", "faults", "", &all)
	if len(all) != 1 || all[0].ID != ec2Fault.ID {
		t.Errorf("left: %+v", all)
	}
	w.control(t, "DELETE", "faults", "", nil)
}

// A fault that would never hit, or not as its writer thinks, is refused and not kept.
func TestMistakenFaultsAreRefused(t *testing.T) {
	w := start(t, vpcsim.Options{})
	for name, body := range map[string]string{
		"misspelt member":         `{"acton":"DescribeSubnets","code":"Unavailable"}`,
		"misspelt action":         `{"action":"DescribeSubnet","code":"Unavailable"}`,
		"action of another case":  `{"action":"describesubnets","code":"Unavailable"}`,
		"glob of nothing":         `{"action":"Destroy*","code":"Unavailable"}`,
		"misspelt other service":  `{"action":"imds:Read","code":"InternalError"}`,
		"unknown service":         `{"action":"s3:*","code":"InternalError"}`,
		"no effect":               `{"action":"DescribeSubnets"}`,
		"share of all and more":   `{"action":"DescribeSubnets","code":"Unavailable","share":50}`,
		"negative count":          `{"action":"DescribeSubnets","code":"Unavailable","count":-1}`,
		"negative delay":          `{"action":"DescribeSubnets","delay":-1}`,
		"over before it begins":   `{"action":"DescribeSubnets","code":"Unavailable","until":"2020-01-01T00:00:00Z"}`,
		"stale, but not metadata": `{"action":"DescribeSubnets","code":"Stale"}`,
	} {
		var answer struct{ Error string }
		if code := w.control(t, "POST", "faults", body, &answer); code != http.StatusBadRequest || answer.Error == "" {
			t.Errorf("%s: %d %q", name, code, answer.Error)
		}
	}
	for _, action := range []string{"", "*", "Describe*", "RunInstances", "imds:*", "imds:Get", "imds:PutToken", "eks:UpdateAddon", "eks:*", "sts:GetCallerIdentity"} {
		if code := w.control(t, "POST", "faults", `{"code":"Unavailable","count":1,"action":"`+action+`"}`, nil); code != http.StatusOK {
			t.Errorf("action %q: %d", action, code)
		}
	}
	if n := len(w.sim.Faults()); n != 10 {
		t.Errorf("%d faults are kept", n)
	}
}

func TestControlCalls(t *testing.T) {
	w := start(t, vpcsim.Options{})
	ctx := t.Context()
	w.control(t, "POST", "marks/here", "", nil)
	_, err := w.operator().DescribeVpcs(ctx, &ec2.DescribeVpcsInput{})
	must(t, err)
	_, err = w.once().DescribeVpcs(ctx, &ec2.DescribeVpcsInput{VpcIds: []string{"vpc-0123456789abcdef0"}})
	if err == nil {
		t.Error("no error")
	}
	_, err = w.once().DescribeVpcs(ctx, &ec2.DescribeVpcsInput{MaxResults: aws.Int32(2000)})
	if err == nil {
		t.Error("no error")
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, w.url+"/clusters/none", nil)
	must(t, err)
	send(t, r)
	r, err = http.NewRequestWithContext(ctx, http.MethodPost, w.url, strings.NewReader("Action=DescribeVpcs&Bogus=1"))
	must(t, err)
	send(t, r)
	var got []pacing.CallCount
	w.control(t, "GET", "calls?mark=here", "", &got)
	want := []pacing.CallCount{
		{Action: "DescribeVpcs", Caller: "operator", Outcome: "InvalidParameterValue", Count: 1},
		{Action: "DescribeVpcs", Caller: "operator", Outcome: "InvalidVpcID.NotFound", Count: 1},
		{Action: "DescribeVpcs", Caller: "operator", Outcome: "UnknownParameter", Count: 1},
		{Action: "DescribeVpcs", Caller: "operator", Outcome: "ok", Count: 1},
		{Action: "eks:DescribeCluster", Caller: "operator", Outcome: "ResourceNotFoundException", Count: 1},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if code := w.control(t, "GET", "calls?mark=nowhere", "", nil); code != http.StatusNotFound {
		t.Errorf("an unknown mark: %d", code)
	}
}

func TestControlSettings(t *testing.T) {
	w := start(t, vpcsim.Options{})
	var got vpcsim.Settings
	w.control(t, "PATCH", "settings", `{"Sequential":true}`, &got)
	w.control(t, "PATCH", "settings", `{"Throttle":true}`, &got)
	if !got.Sequential || !got.Throttle {
		t.Errorf("got %+v", got)
	}
	w.control(t, "PUT", "settings", `{}`, &got)
	if got.Sequential || got.Throttle {
		t.Errorf("got %+v", got)
	}
}

func TestControlSnapshot(t *testing.T) {
	w := start(t, vpcsim.Options{})
	n := w.network(t)
	ctx := t.Context()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, w.url+"/_berth/snapshot", nil)
	must(t, err)
	state := send(t, r).body
	s, err := w.operator().CreateSubnet(ctx, &ec2.CreateSubnetInput{VpcId: &n.vpc, CidrBlock: aws.String("10.0.77.0/24")})
	must(t, err)
	w.control(t, "PUT", "snapshot", state, nil)
	_, err = w.once().DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{SubnetIds: []string{*s.Subnet.SubnetId}})
	if codeOf(err) != "InvalidSubnetID.NotFound" {
		t.Errorf("after loading: %v", err)
	}
	var topology vpcsim.Topology
	w.control(t, "GET", "topology", "", &topology)
	if len(topology.Instances) != 1 {
		t.Errorf("topology: %+v", topology)
	}
}

func TestControlIsNotForWebPages(t *testing.T) {
	w := start(t, vpcsim.Options{})
	ctx := t.Context()
	for _, change := range []func(*http.Request){
		func(r *http.Request) { r.Header.Set("Origin", "http://evil.example") },
		func(r *http.Request) { r.Host = "evil.example" },
	} {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, w.url+"/_berth/faults", nil)
		must(t, err)
		change(r)
		if got := send(t, r).status; got != http.StatusForbidden {
			t.Errorf("status %d", got)
		}
	}
}

// TestMetadata reads an instance's metadata through the server, also when it is made to fail.
func TestMetadata(t *testing.T) {
	w := start(t, vpcsim.Options{})
	n := w.network(t)
	_, err := w.operator().ModifyInstanceMetadataOptions(t.Context(), &ec2.ModifyInstanceMetadataOptionsInput{
		InstanceId: &n.instance, HttpTokens: types.HttpTokensStateOptional,
	})
	must(t, err)
	base := w.metadata(t, n.instance)
	get := func(path string) string {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+path, nil)
		must(t, err)
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			return "reset"
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Sprint(resp.StatusCode)
		}
		body, err := io.ReadAll(resp.Body)
		must(t, err)
		return string(body)
	}
	if got := get("/latest/meta-data/instance-id"); got != n.instance {
		t.Errorf("instance-id %q", got)
	}
	mac := get("/latest/meta-data/mac")
	addresses := "/latest/meta-data/network/interfaces/macs/" + mac + "/local-ipv4s"
	one := get(addresses)
	w.server.AddFault(pacing.Fault{Action: "imds:Get", Code: "Stale"})
	if got := get(addresses); got != one {
		t.Errorf("stale: %q", got)
	}
	_, err = w.operator().AssignPrivateIpAddresses(t.Context(), &ec2.AssignPrivateIpAddressesInput{NetworkInterfaceId: &n.eni, SecondaryPrivateIpAddressCount: aws.Int32(1)})
	must(t, err)
	if got := get(addresses); got != one {
		t.Errorf("stale metadata shows a change: %q", got)
	}
	w.control(t, "DELETE", "faults", "", nil)
	if got := get(addresses); !strings.HasPrefix(got, one+"\n") {
		t.Errorf("fresh metadata: %q", got)
	}
	w.server.AddFault(pacing.Fault{Action: "imds:*", Code: "InternalError", Count: 1})
	if got := get("/latest/meta-data/mac"); got != "500" {
		t.Errorf("faulty: %s", got)
	}
	if got := get("/latest/meta-data/iam/security-credentials/"); got != "node" {
		t.Errorf("role %q", got)
	}
	calls, _ := w.server.Calls("")
	var outcomes []string
	for _, c := range calls {
		if strings.HasPrefix(c.Action, "imds:") {
			outcomes = append(outcomes, c.Action+" "+c.Caller+" "+c.Outcome)
		}
	}
	if diff := cmp.Diff([]string{
		"imds:Get node:" + n.instance + " InternalError", "imds:Get node:" + n.instance + " Stale", "imds:Get node:" + n.instance + " ok",
	}, outcomes); diff != "" {
		t.Error(diff)
	}
}

// TestConcurrentCalls: calls that wait do not hold up others.
func TestConcurrentCalls(t *testing.T) {
	w := start(t, vpcsim.Options{})
	settings := w.sim.Settings()
	settings.Latency = map[string]pacing.Distribution{"DescribeVpcs": pacing.Fixed(200 * time.Millisecond)}
	w.sim.SetSettings(settings)
	began := time.Now()
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() {
			if _, err := w.once().DescribeVpcs(t.Context(), &ec2.DescribeVpcsInput{}); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if took := time.Since(began); took < 200*time.Millisecond || took > 3*time.Second {
		t.Errorf("20 calls of 200 ms side by side took %s", took)
	}
}

package eks_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/berth-net/berth/internal/core/vpc"
	"github.com/berth-net/berth/internal/vpcsim/wire/eks"
)

type world struct {
	memory *eks.Memory
	svc    *eks.Service
	now    time.Time
}

const clusterARN = "arn:aws:eks:us-west-2:111122223333:cluster/demo"

func start() *world {
	w := &world{now: time.Unix(1_700_000_000, 500_000_000)}
	clock := func() time.Time { return w.now }
	w.memory = eks.NewMemory(clock, 10*time.Second,
		eks.AddonVersion{Addon: "vpc-cni", Version: "v1.19.0", ClusterVersions: []string{"1.35"}, DefaultFor: []string{"1.35"}, Type: "networking", Schema: eks.VPCCNISchema},
		eks.AddonVersion{Addon: "vpc-cni", Version: "v1.18.0", ClusterVersions: []string{"1.34", "1.35"}, Type: "networking", Schema: eks.VPCCNISchema},
		eks.AddonVersion{Addon: "coredns", Version: "v1.12", ClusterVersions: []string{"1.35"}, DefaultFor: []string{"1.35"}},
	)
	w.memory.AddCluster(
		eks.Cluster{
			Name: "demo", ARN: clusterARN, Version: "1.35", Status: "ACTIVE", CreatedAt: w.now, Endpoint: "https://x",
			CertificateAuthority: []byte("pem"), VPC: eks.VPCConfig{VPC: "vpc-1", Subnets: []vpc.SubnetID{"subnet-1"}},
			Tags: map[string]string{"env": "test"},
		},
		[]eks.NodeGroup{{Name: "ng", Status: "ACTIVE", DesiredSize: 2, InstanceTypes: []string{"m6a.large"}}},
		[]eks.Addon{{Name: "vpc-cni", Version: "v1.18.0", Status: eks.Active, CreatedAt: w.now}},
	)
	w.svc = eks.New(w.memory, clock)
	return w
}

func (w *world) call(t *testing.T, method, target, body string) string {
	t.Helper()
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	rec := httptest.NewRecorder()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	_ = w.svc.Serve(rec, r, b)
	if rec.Code != http.StatusOK {
		var e struct{ Message string }
		if err := json.Unmarshal(rec.Body.Bytes(), &e); err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("%d %s: %s", rec.Code, rec.Header().Get("X-Amzn-Errortype"), e.Message)
	}
	return rec.Body.String()
}

// pick reads one value out of a JSON answer, for example "addon.status".
func pick(t *testing.T, answer, path string) string {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(answer), &v); err != nil {
		t.Fatalf("%q: %v", answer, err)
	}
	for key := range strings.SplitSeq(path, ".") {
		m, ok := v.(map[string]any)
		if !ok {
			return fmt.Sprintf("no %s in %s", path, answer)
		}
		v = m[key]
	}
	return fmt.Sprint(v)
}

func TestDescribe(t *testing.T) {
	w := start()
	c := w.call(t, "GET", "/clusters/demo", "")
	for path, want := range map[string]string{
		"cluster.resourcesVpcConfig.vpcId": "vpc-1", "cluster.certificateAuthority.data": "cGVt",
		"cluster.createdAt": "1.7000000005e+09", "cluster.status": "ACTIVE", "cluster.tags.env": "test",
	} {
		if got := pick(t, c, path); got != want {
			t.Errorf("%s: got %s, want %s", path, got, want)
		}
	}
	tests := []struct{ name, target, want string }{
		{"clusters", "/clusters", `{"clusters":["demo"]}`},
		{"add-ons", "/clusters/demo/addons", `{"addons":["vpc-cni"]}`},
		{"node groups", "/clusters/demo/node-groups", `{"nodegroups":["ng"]}`},
		{"no cluster", "/clusters/other", "404 ResourceNotFoundException: No cluster found for name: other."},
		{"no add-on", "/clusters/demo/addons/x", "404 ResourceNotFoundException: No addon: x found in cluster: demo"},
		{"no node group", "/clusters/demo/node-groups/x", "404 ResourceNotFoundException: No node group found for name: x."},
		{"no operation", "/clusters/demo/fly", "404 ResourceNotFoundException: no such operation: GET /clusters/demo/fly"},
		{"bad page", "/clusters?maxResults=0", "400 InvalidParameterException: maxResults must be between 1 and 100"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := strings.TrimSpace(w.call(t, "GET", tt.target, "")); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
	if got := pick(t, w.call(t, "GET", "/clusters/demo/node-groups/ng", ""), "nodegroup.scalingConfig.desiredSize"); got != "2" {
		t.Errorf("node group: %s", got)
	}
}

func TestUpdateLifeCycle(t *testing.T) {
	w := start()
	const body = `{"configurationValues":"{\"env\":{\"ENABLE_SUBNET_DISCOVERY\":\"true\"}}\n","clientRequestToken":"t1"}`
	update := w.call(t, "POST", "/clusters/demo/addons/vpc-cni/update", body)
	id := pick(t, update, "update.id")
	status := func() string {
		return pick(t, w.call(t, "GET", "/clusters/demo/updates/"+id+"?addonName=vpc-cni", ""), "update.status") + ", add-on " +
			pick(t, w.call(t, "GET", "/clusters/demo/addons/vpc-cni", ""), "addon.status")
	}
	var got []string
	got = append(got, status())
	if again := w.call(t, "POST", "/clusters/demo/addons/vpc-cni/update", body); pick(t, again, "update.id") != id {
		t.Errorf("the same token made another update: %s", again)
	}
	got = append(got, w.call(t, "POST", "/clusters/demo/addons/vpc-cni/update", `{}`))
	got = append(got, w.call(t, "POST", "/clusters/demo/addons/vpc-cni/update", `{"addonVersion":"v1.19.0","clientRequestToken":"t1"}`))
	w.now = w.now.Add(10 * time.Second)
	got = append(got, status())
	if v := pick(t, w.call(t, "GET", "/clusters/demo/addons/vpc-cni", ""), "addon.configurationValues"); !strings.HasSuffix(v, "}}\n") {
		t.Errorf("configuration values are not the user's text: %q", v)
	}
	w.memory.FailChanges(&eks.Issue{Code: "InsufficientNumberOfReplicas", Message: "1 of 2 pods"})
	id = pick(t, w.call(t, "POST", "/clusters/demo/addons/vpc-cni/update", `{"addonVersion":"v1.19.0"}`), "update.id")
	w.now = w.now.Add(10 * time.Second)
	got = append(got, status())
	want := []string{
		"InProgress, add-on UPDATING",
		"409 ResourceInUseException: Addon vpc-cni cannot be updated as it is currently in UPDATING state",
		"400 InvalidParameterException: The clientRequestToken was used with other parameters.",
		"Successful, add-on ACTIVE",
		"Failed, add-on DEGRADED",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestCreateAndDelete(t *testing.T) {
	w := start()
	var got []string
	step := func(s string) { got = append(got, strings.TrimSpace(s)) }
	step(w.call(t, "POST", "/clusters/demo/addons", `{"addonName":"vpc-cni"}`))
	step(w.call(t, "POST", "/clusters/demo/addons", `{"addonName":"nope"}`))
	step(w.call(t, "POST", "/clusters/demo/addons", `{"addonName":"coredns","addonVersion":"v0"}`))
	step(w.call(t, "POST", "/clusters/demo/addons", `{`))
	step(pick(t, w.call(t, "POST", "/clusters/demo/addons", `{"addonName":"coredns"}`), "addon.status"))
	w.now = w.now.Add(time.Minute)
	step(w.call(t, "GET", "/clusters/demo/addons", ""))
	step(pick(t, w.call(t, "DELETE", "/clusters/demo/addons/coredns?preserve=true", ""), "addon.status"))
	w.now = w.now.Add(time.Minute)
	step(w.call(t, "GET", "/clusters/demo/addons", ""))
	want := []string{
		"409 ResourceInUseException: Addon already exists.",
		"400 InvalidParameterException: Addon nope specified is not supported",
		"400 InvalidParameterException: Addon version specified is not supported: v0",
		"400 InvalidParameterException: the body is not valid JSON: unexpected end of JSON input",
		"CREATING", `{"addons":["coredns","vpc-cni"]}`, "DELETING", `{"addons":["vpc-cni"]}`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// A client that has lost the answer asks again with the same token, and must not be told that its own add-on is in the way.
func TestCreateIsRepeatedAfterALostAnswer(t *testing.T) {
	w := start()
	const body = `{"addonName":"coredns","clientRequestToken":"t1"}`
	first := pick(t, w.call(t, "POST", "/clusters/demo/addons", body), "addon.addonArn")
	if again := pick(t, w.call(t, "POST", "/clusters/demo/addons", body), "addon.addonArn"); again != first || first == "" {
		t.Errorf("the same request again: %q, then %q", first, again)
	}
	var got []string
	for _, other := range []string{
		`{"addonName":"coredns","clientRequestToken":"t1","configurationValues":"{}"}`, `{"addonName":"coredns","clientRequestToken":"t2"}`, `{"addonName":"coredns"}`,
	} {
		got = append(got, strings.TrimSpace(w.call(t, "POST", "/clusters/demo/addons", other)))
	}
	want := []string{
		"400 InvalidParameterException: The clientRequestToken was used with other parameters.",
		"409 ResourceInUseException: Addon already exists.", "409 ResourceInUseException: Addon already exists.",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// A page whose last add-on was deleted meanwhile is followed by the next one, not by the first again.
func TestPagesGoOnAfterADeletion(t *testing.T) {
	w := start()
	w.call(t, "POST", "/clusters/demo/addons", `{"addonName":"coredns"}`)
	w.now = w.now.Add(time.Minute)
	first := w.call(t, "GET", "/clusters/demo/addons?maxResults=1", "")
	w.call(t, "DELETE", "/clusters/demo/addons/coredns", "")
	w.now = w.now.Add(time.Minute)
	second := w.call(t, "GET", "/clusters/demo/addons?maxResults=1&nextToken="+pick(t, first, "nextToken"), "")
	if got := pick(t, first, "addons") + pick(t, second, "addons"); got != "[coredns][vpc-cni]" {
		t.Errorf("pages %s", got)
	}
}

func TestValidateConfiguration(t *testing.T) {
	const prefix = "InvalidParameterException: ConfigurationValue provided in request is not supported: Json schema validation failed with error: "
	tests := []struct{ name, values, want string }{
		{"JSON", `{"env":{"WARM_IP_TARGET":"2"}}`, ""},
		{"YAML", "env:\n  WARM_IP_TARGET: \"2\"\nresources:\n  limits: {cpu: 100m}\n", ""},
		{"empty", " \n", ""},
		{"unknown key", `{"envs":{}}`, prefix + "[$.envs: is not defined in the schema and the schema does not allow additional properties]"},
		{"unknown variable", `{"env":{"NOPE":"1"}}`, prefix + "[$.env.NOPE: is not defined in the schema and the schema does not allow additional properties]"},
		{"wrong type", `{"env":{"WARM_IP_TARGET":2}}`, prefix + "[$.env.WARM_IP_TARGET: integer found, string expected]"},
		{"wrong text", `{"env":{"ENABLE_SUBNET_DISCOVERY":"yes"}}`, prefix + "[$.env.ENABLE_SUBNET_DISCOVERY: does not match the regex pattern ^(1|t|T|TRUE|true|True|0|f|F|FALSE|false|False)$]"},
		{"below a reference", `{"resources":{"cpu":1}}`, prefix + "[$.resources.cpu: is not defined in the schema and the schema does not allow additional properties]"},
		{"out of range", `{"branchENICooldown":-1}`, prefix + "[$.branchENICooldown: -1 is out of range]"},
		{"in a list", `{"tolerations":[{},1]}`, prefix + "[$.tolerations[1]: integer found, object expected]"},
		{"no object", `7`, prefix + "[$: integer found, object expected]"},
		{"neither JSON nor YAML", "a: [", "InvalidParameterException: ConfigurationValue is not in valid JSON or YAML format."},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := ""
			if err := eks.ValidateConfiguration(eks.VPCCNISchema, tt.values); err != nil {
				got = err.Error()
			}
			if got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestAddonVersions(t *testing.T) {
	w := start()
	got := w.call(t, "GET", "/addons/supported-versions?addonName=vpc-cni&kubernetesVersion=1.34", "")
	if strings.Contains(got, "v1.19.0") || !strings.Contains(got, "v1.18.0") {
		t.Error(got)
	}
	schema := pick(t, w.call(t, "GET", "/addons/configuration-schemas?addonName=vpc-cni&addonVersion=v1.18.0", ""), "configurationSchema")
	if !strings.Contains(schema, "ENABLE_SUBNET_DISCOVERY") {
		t.Error(schema)
	}
}

func TestTags(t *testing.T) {
	w := start()
	target := "/tags/" + url.PathEscape(clusterARN)
	addon := "/tags/" + url.PathEscape(pick(t, w.call(t, "GET", "/clusters/demo/addons/vpc-cni", ""), "addon.addonArn"))
	var got []string
	step := func(s string) { got = append(got, strings.TrimSpace(s)) }
	step(w.call(t, "GET", target, ""))
	step(w.call(t, "POST", target, `{"tags":{"a":"1","b":"2"}}`))
	step(w.call(t, "DELETE", target+"?tagKeys=a&tagKeys=env", ""))
	step(w.call(t, "GET", target, ""))
	step(pick(t, w.call(t, "GET", "/clusters/demo", ""), "cluster.tags"))
	step(w.call(t, "POST", addon, `{"tags":{"x":"y"}}`))
	step(w.call(t, "GET", addon, ""))
	step(w.call(t, "GET", "/tags/arn%3Aaws%3Ax", ""))
	want := []string{
		`{"tags":{"env":"test"}}`, `{}`, `{}`, `{"tags":{"b":"2"}}`, "map[b:2]", `{}`, `{"tags":{"x":"y"}}`,
		"404 NotFoundException: The resource arn:aws:x was not found.",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// FuzzValidateConfiguration: no text of a user panics the validator.
func FuzzValidateConfiguration(f *testing.F) {
	f.Add(`{"env":{"A":"b"}}`)
	f.Add("a: &x [*x]")
	f.Add("? {}\n: 1")
	f.Fuzz(func(_ *testing.T, values string) {
		_ = eks.ValidateConfiguration(eks.VPCCNISchema, values)
	})
}

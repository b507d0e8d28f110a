package main

import (
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/berth-net/berth/deploy"
	"github.com/berth-net/berth/internal/core/hostnet"
	"github.com/berth-net/berth/internal/core/pool"
	"github.com/berth-net/berth/internal/core/target"
	"github.com/berth-net/berth/internal/core/vpc"
)

func env(pairs ...string) lookup {
	m := map[string]string{}
	for _, p := range pairs {
		k, v, _ := strings.Cut(p, "=")
		m[k] = v
	}
	return func(name string) string { return m[name] }
}

// What counts without any variable is the manifest.
func TestDefaults(t *testing.T) {
	c, warnings, err := readConfig(env())
	if err != nil || len(warnings) > 0 {
		t.Fatalf("%v %v", warnings, err)
	}
	if diff := cmp.Diff(pool.Defaults(), c.ipam); diff != "" {
		t.Errorf("address management (-pool.Defaults +read):\n%s", diff)
	}
	want := hostnet.Settings{VethPrefix: "eni", ENIMTU: 9001, PodMTU: 9001, SNAT: true, RandomizeSNAT: hostnet.RandomizePRNG, NodePort: true, ConnMark: 0x80}
	if diff := cmp.Diff(want, c.host, cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
		t.Errorf("host network (-want +got):\n%s", diff)
	}
	if c.logFile != "/host/var/log/aws-routed-eni/ipamd.log" || c.logLevel != slog.LevelDebug || !c.introspection || !c.metrics || c.httpTimeout != 10*time.Second {
		t.Errorf("others: %+v", c)
	}
}

// The manifest's own environment is taken without a word.
func TestManifestIsAccepted(t *testing.T) {
	_, warnings, err := readConfig(env(
		"ADDITIONAL_ENI_TAGS={}", "ANNOTATE_POD_IP=false", "AWS_VPC_CNI_NODE_PORT_SUPPORT=true", "AWS_VPC_ENI_MTU=9001",
		"AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG=false", "AWS_VPC_K8S_CNI_EXTERNALSNAT=false", "AWS_VPC_K8S_CNI_LOGLEVEL=DEBUG",
		"AWS_VPC_K8S_CNI_LOG_FILE=/host/var/log/aws-routed-eni/ipamd.log", "AWS_VPC_K8S_CNI_RANDOMIZESNAT=prng", "AWS_VPC_K8S_CNI_VETHPREFIX=eni",
		"AWS_VPC_K8S_PLUGIN_LOG_FILE=/var/log/aws-routed-eni/plugin.log", "AWS_VPC_K8S_PLUGIN_LOG_LEVEL=DEBUG", "CLUSTER_ENDPOINT=",
		"CLUSTER_NAME=demo", "DISABLE_INTROSPECTION=false", "DISABLE_METRICS=false", "DISABLE_NETWORK_RESOURCE_PROVISIONING=false",
		"ENABLE_IMDS_ONLY_MODE=false", "ENABLE_IPv4=true", "ENABLE_IPv6=false", "ENABLE_MULTI_NIC=false", "ENABLE_POD_ENI=false",
		"ENABLE_PREFIX_DELEGATION=false", "ENABLE_SUBNET_DISCOVERY=true", "NETWORK_POLICY_ENFORCING_MODE=standard", "VPC_CNI_VERSION=v1",
		"VPC_ID=vpc-1", "WARM_ENI_TARGET=1", "WARM_PREFIX_TARGET=1", "MY_NODE_NAME=n", "MY_POD_NAME=p",
	))
	if err != nil || len(warnings) > 0 {
		t.Errorf("%v %v", warnings, err)
	}
}

func TestValues(t *testing.T) {
	prefix := netip.MustParsePrefix
	tests := []struct {
		set  string
		want func(*config)
	}{
		{"ENABLE_PREFIX_DELEGATION=true", func(c *config) { c.ipam.Prefixes = true }},
		{"AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG=true", func(c *config) { c.ipam.CustomNetworking = true }},
		{"WARM_ENI_TARGET=0", func(c *config) { c.ipam.WarmENI = 0 }},
		{"WARM_PREFIX_TARGET=3", func(c *config) { c.ipam.WarmPrefix = 3 }},
		{"ENI_CONFIG_ANNOTATION_DEF=example.org/eniConfig", func(c *config) { c.eniconfig.Annotation = "example.org/eniConfig" }},
		{"ENI_CONFIG_LABEL_DEF=topology.kubernetes.io/zone", func(c *config) { c.eniconfig.Label = "topology.kubernetes.io/zone" }},
		{"WARM_IP_TARGET=5", func(c *config) { c.ipam.WarmIP = 5 }},
		{"MINIMUM_IP_TARGET=12", func(c *config) { c.ipam.MinimumIP = 12 }},
		{"MAX_ENI=2", func(c *config) { c.ipam.MaxENI = 2 }},
		{"IP_COOLDOWN_PERIOD=0", func(c *config) { c.ipam.Cooldown = 0 }},
		{"AWS_MANAGE_ENIS_NON_SCHEDULABLE=T", func(c *config) { c.ipam.ManageUnschedulable = true }},
		{"ENABLE_SUBNET_DISCOVERY=0", func(c *config) { c.ipam.Discovery = false }},
		{"DISABLE_NETWORK_RESOURCE_PROVISIONING=true", func(c *config) { c.ipam.Provision, c.ipam.CleanLeaked = false, false }},
		{"ENABLE_IMDS_ONLY_MODE=true", func(c *config) { c.ipam.ReadEC2, c.ipam.Provision, c.ipam.CleanLeaked = false, false, false }},
		{"DISABLE_LEAKED_ENI_CLEANUP=true", func(c *config) { c.ipam.CleanLeaked = false }},
		{"MANAGE_UNTAGGED_ENI=false", func(c *config) { c.ipam.ManageUntagged = false }},
		{`ADDITIONAL_ENI_TAGS={"team":"a"}`, func(c *config) { c.ipam.ExtraTags = vpc.Tags{"team": "a"} }},
		{"CLUSTER_NAME=demo", func(c *config) { c.ipam.Cluster = "demo" }},
		{"AWS_EC2_ENDPOINT=http://x", func(c *config) { c.ec2Endpoint = "http://x" }},
		{"HTTP_TIMEOUT=30", func(c *config) { c.httpTimeout = 30 * time.Second }},
		{"AWS_VPC_ENI_MTU=1500", func(c *config) { c.host.ENIMTU, c.host.PodMTU = 1500, 1500 }},
		{"POD_MTU=8500", func(c *config) { c.host.PodMTU, c.podMTUDefault = 8500, false }},
		{"AWS_VPC_K8S_CNI_EXTERNALSNAT=true", func(c *config) { c.host.SNAT = false }},
		{"AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS=192.168.1.7/16, 10.2.0.0/16", func(c *config) {
			c.host.NoSNATCIDRs = []netip.Prefix{prefix("192.168.0.0/16"), prefix("10.2.0.0/16")}
		}},
		{"AWS_EXTERNAL_SERVICE_CIDRS=10.9.0.0/24", func(c *config) { c.host.ExternalServiceCIDRs = []netip.Prefix{prefix("10.9.0.0/24")} }},
		{"AWS_VPC_K8S_CNI_RANDOMIZESNAT=none", func(c *config) { c.host.RandomizeSNAT = hostnet.RandomizeNone }},
		{"AWS_VPC_CNI_NODE_PORT_SUPPORT=false", func(c *config) { c.host.NodePort = false }},
		{"AWS_VPC_K8S_CNI_CONNMARK=256", func(c *config) { c.host.ConnMark = 256 }},
		{"AWS_VPC_K8S_CNI_VETHPREFIX=pod", func(c *config) { c.host.VethPrefix = "pod" }},
		{"ENABLE_BANDWIDTH_PLUGIN=true", func(c *config) { c.bandwidth = true }},
		{"DISABLE_POD_V6=true", func(c *config) { c.disablePodV6 = true }},
		{"NETWORK_POLICY_ENFORCING_MODE=NONE", func(c *config) { c.policy.Mode = "none" }},
		{"NETWORK_POLICY_ENFORCING_MODE=strict", func(c *config) { c.policy.Mode = "strict" }},
		{"NETWORK_POLICY_MASQUERADED=judge", func(c *config) { c.policy.Masqueraded = "judge" }},
		{"NETWORK_POLICY_EVENT_LOGS=all", func(c *config) { c.policy.EventLogs = "all" }},
		{"NETWORK_POLICY_EVENT_LOG_FILE=/tmp/x", func(c *config) { c.policy.EventLogFile = "/tmp/x" }},
		{"ENABLE_NETWORK_POLICY=true", func(c *config) { c.policy.On = true }},
		{"AWS_VPC_K8S_CNI_LOGLEVEL=warn", func(c *config) { c.logLevel = slog.LevelWarn }},
		{"INTROSPECTION_BIND_ADDRESS=unix:/run/i.sock", func(c *config) { c.introspectionAddress = "unix:/run/i.sock" }},
		{"DISABLE_METRICS=true", func(c *config) { c.metrics = false }},
	}
	for _, tt := range tests {
		t.Run(tt.set, func(t *testing.T) {
			want, _, err := readConfig(env())
			if err != nil {
				t.Fatal(err)
			}
			tt.want(&want)
			got, warnings, err := readConfig(env(tt.set))
			if err != nil || len(warnings) > 0 {
				t.Fatalf("%v %v", warnings, err)
			}
			if diff := cmp.Diff(want, got, cmp.AllowUnexported(config{}), cmpopts.EquateComparable(netip.Prefix{}), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestBadValues(t *testing.T) {
	tests := []struct {
		set  string
		stop bool // else a warning, and the default or the good items count
		text string
	}{
		{"WARM_ENI_TARGET=-1", false, "below 0"},
		{"WARM_IP_TARGET=many", false, "not a whole number"},
		{"MAX_ENI=1.5", false, "not a whole number"},
		{"WARM_PREFIX_TARGET=-1", false, "below 0"},
		{"ENI_CONFIG_LABEL_DEF=a b", false, "not the key of a label"},
		{"ENI_CONFIG_ANNOTATION_DEF=a/b/c", false, "not the key of a label"},
		{"IP_COOLDOWN_PERIOD=-5", true, "below 0"},
		{"IP_COOLDOWN_PERIOD=30s", true, "not a whole number"},
		{"ENABLE_SUBNET_DISCOVERY=yes", false, "true or false"},
		{"AWS_VPC_ENI_MTU=9002", true, "above 9001"},
		{"POD_MTU=500", true, "below 576"},
		{"AWS_VPC_K8S_CNI_VETHPREFIX=ethernet", true, "4 characters"},
		{"AWS_VPC_K8S_CNI_VETHPREFIX=vlan", true, "other interfaces"},
		{"AWS_VPC_K8S_CNI_CONNMARK=0x1ffffffff", false, "32 bits"},
		{"AWS_VPC_K8S_CNI_RANDOMIZESNAT=maybe", false, "prng, hashrandom or none"},
		{"AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS=10.0.0.0/8,nonsense,fd00::/8", false, "nonsense"},
		{"ADDITIONAL_ENI_TAGS={", false, "JSON"},
		{`ADDITIONAL_ENI_TAGS={"k8s.amazonaws.com/x":"y","a":"b"}`, false, "reserved"},
		{"AWS_VPC_K8S_CNI_LOGLEVEL=LOUD", false, "LOUD"},
		{"AWS_VPC_K8S_PLUGIN_LOG_FILE=stdout", true, "result"},
		{"NETWORK_POLICY_ENFORCING_MODE=loose", true, "standard, strict or none"},
		{"POD_SECURITY_GROUP_ENFORCING_MODE=lax", false, "strict or standard"},
		{"HTTP_TIMEOUT=1", false, "below 10"},
		{"ENABLE_IPv4=false", true, "does not exist yet"},
		{"ENABLE_IPv6=true", true, "does not exist yet"},
		{"ENABLE_POD_ENI=true", true, "security groups for pods"},
		{"ENABLE_MULTI_NIC=true", true, "multi-NIC"},
		{"ANNOTATE_POD_IP=true", true, "annotation"},
		{"ENABLE_V6_EGRESS=true", true, "IPv6 egress"},
	}
	for _, tt := range tests {
		t.Run(tt.set, func(t *testing.T) {
			name, value, _ := strings.Cut(tt.set, "=")
			c, warnings, err := readConfig(env(tt.set))
			said := strings.Join(warnings, "\n")
			if tt.stop {
				if err == nil {
					t.Fatalf("accepted; warnings %q", said)
				}
				said = err.Error()
			} else if err != nil {
				t.Fatalf("refused: %v", err)
			}
			for _, part := range []string{name, strconv.Quote(value), tt.text, "allowed"} {
				if !strings.Contains(said, part) {
					t.Errorf("%q does not say %q", said, part)
				}
			}
			if name == "ADDITIONAL_ENI_TAGS" && value != "{" && c.ipam.ExtraTags["a"] != "b" {
				t.Errorf("the good tag is lost: %v", c.ipam.ExtraTags)
			}
			if name == "WARM_ENI_TARGET" && c.ipam.WarmENI != target.NotSet {
				t.Errorf("the default does not count: %d", c.ipam.WarmENI)
			}
			if name == "AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS" && len(c.host.NoSNATCIDRs) != 1 {
				t.Errorf("good items: %v", c.host.NoSNATCIDRs)
			}
		})
	}
}

// One start names all that is wrong.
func TestAllBadValuesAtOnce(t *testing.T) {
	_, _, err := readConfig(env("ENABLE_IPv6=true", "AWS_VPC_ENI_MTU=1", "POD_MTU=x"))
	for _, name := range []string{"ENABLE_IPv6", "AWS_VPC_ENI_MTU", "POD_MTU"} {
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%v does not name %s", err, name)
		}
	}
}

// A target without a value is left open.
func TestOpenTargets(t *testing.T) {
	var c config
	for value, want := range map[string]int{"": target.NotSet, "0": 0, "2": 2} {
		if err := warmTarget(func(c *config) *int { return &c.ipam.WarmENI })(&c, value); err != nil || c.ipam.WarmENI != want {
			t.Errorf("target %q: %d, %v", value, c.ipam.WarmENI, err)
		}
	}
}

// TestChartRefusesWhatTheAgentRefuses: a value that the agent takes is not refused by the chart, and one that stops the agent is.
func TestChartRefusesWhatTheAgentRefuses(t *testing.T) {
	data, err := deploy.Chart.ReadFile("chart/berth/templates/_helpers.tpl")
	if err != nil {
		t.Fatal(err)
	}
	_, list, found := strings.Cut(string(data), "$later := dict")
	list, _, end := strings.Cut(list, "-}}")
	if !found || !end {
		t.Fatal("the chart has no list of features that do not exist yet")
	}
	for _, v := range variables() {
		var later laterError
		refused := errors.As(v.set(new(config), "true"), &later)
		if listed := strings.Contains(list, strconv.Quote(v.name)); listed != refused {
			t.Errorf("%s=true: the agent refuses it: %t, the chart: %t", v.name, refused, listed)
		}
	}
}

func TestVariablesAreWellFormed(t *testing.T) {
	seen := map[string]bool{}
	group, groups := "", map[string]bool{}
	for _, v := range variables() {
		if v.name == "" || v.allowed == "" || v.help == "" || v.set == nil || v.onBad == "" {
			t.Errorf("%s is not complete", v.name)
		}
		if seen[v.name] {
			t.Errorf("%s comes twice", v.name)
		}
		seen[v.name] = true
		if v.group != group && groups[v.group] {
			t.Errorf("group %q is in two places", v.group)
		}
		group, groups[v.group] = v.group, true
		var c config
		var items itemsError
		if err := v.set(&c, v.def); err != nil && !errors.As(err, &items) {
			t.Errorf("%s does not take its default %q: %v", v.name, v.def, err)
		}
	}
}

func FuzzConfig(f *testing.F) {
	f.Add(0, "x")
	f.Add(8, `{"a":1}`)
	f.Add(20, "10.0.0.0/8,,x/33")
	f.Fuzz(func(t *testing.T, i int, value string) {
		all := variables()
		v := all[uint(i)%uint(len(all))]
		c, warnings, err := readConfig(func(name string) string {
			if name == v.name {
				return value
			}
			return ""
		})
		if err == nil && (c.host.VethPrefix == "" || c.host.ENIMTU < 576 || c.ipam.Cooldown < 0) {
			t.Errorf("%s=%q gives %+v, warnings %v", v.name, value, c, warnings)
		}
	})
}

func TestPagesAreFresh(t *testing.T) {
	for name, want := range docs() {
		got, err := os.ReadFile(filepath.Join("..", "..", "docs", "reference", name))
		if err != nil {
			t.Error(err)
			continue
		}
		if diff := cmp.Diff(string(want), string(got)); diff != "" {
			t.Errorf("%s is stale, run go generate ./cmd/berth-agent:\n%s", name, diff)
		}
	}
}

package deploy_test

import (
	"encoding/json"
	"errors"
	"flag"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/berth-net/berth/deploy"
)

var update = flag.Bool("update", false, "write the plain manifest and the golden files anew")

// helm runs the Helm that `make tools` builds, or the user's own.
func helm(t *testing.T, args ...string) (string, error) {
	t.Helper()
	program := "../.cache/bin/helm"
	if _, err := os.Stat(program); err != nil {
		if program, err = exec.LookPath("helm"); err != nil {
			t.Skip("Helm is not there: make tools")
		}
	}
	cmd := exec.CommandContext(t.Context(), program, args...)
	out, err := cmd.Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return string(exit.Stderr), err
	}
	return string(out), err
}

func render(t *testing.T, args ...string) (string, error) {
	t.Helper()
	return helm(t, append([]string{"template", "aws-vpc-cni", "chart/berth", "--namespace", "kube-system", "--kube-version", "1.35.0"}, args...)...)
}

func TestPlainManifestIsRenderedFromTheChart(t *testing.T) {
	got, err := render(t, "--include-crds", "--set", "originalMatchLabels=true")
	if err != nil {
		t.Fatal(got)
	}
	const header = "# Rendered from the chart in chart/berth by `go test ./deploy -update`: change that instead.\n"
	got = header + strings.ReplaceAll(got, "app.kubernetes.io/managed-by: Helm", "app.kubernetes.io/managed-by: kubectl")
	const file = "manifests/berth.yaml"
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s is stale (go test ./deploy -update):\n%s", file, diff)
	}
}

func TestChartLints(t *testing.T) {
	if out, err := helm(t, "lint", "--strict", "--kube-version", "1.35.0", "chart/berth"); err != nil {
		t.Error(out)
	}
}

func TestValues(t *testing.T) {
	for _, test := range []struct {
		name    string
		args    []string
		want    []string
		without []string
	}{
		{"image override", []string{"--set", "image.override=example.org/x:1"}, []string{"image: example.org/x:1\n"}, nil},
		{
			"private registry",
			[]string{"--set", "image.account=111122223333", "--set", "image.tag=v1"},
			[]string{"image: 111122223333.dkr.ecr.us-west-2.amazonaws.com/berth-agent:v1\n", "name: VPC_CNI_VERSION\n          value: \"v1\""},
			nil,
		},
		{
			"numbers become text",
			[]string{"--set", "env.WARM_IP_TARGET=5", "--set-json", "env.MINIMUM_IP_TARGET=1000000"},
			[]string{"name: WARM_IP_TARGET\n          value: \"5\"", "name: MINIMUM_IP_TARGET\n          value: \"1000000\""},
			nil,
		},
		{"no node agent, no enforcing mode", []string{"--set", "nodeAgent.enabled=false"}, nil, []string{"NETWORK_POLICY_ENFORCING_MODE"}},
		{"node agent enabled adds no container", []string{"--set", "nodeAgent.enabled=true"}, []string{"NETWORK_POLICY_ENFORCING_MODE"}, []string{"aws-eks-nodeagent"}},
		{
			"rights of every feature",
			nil,
			[]string{"resources: [nodes/status]\n  verbs: [patch]\n", "resources: [eniconfigs]\n  verbs: [list, watch]\n", "resources: [nodesettings]\n  verbs: [list, watch]\n"},
			[]string{"resources: [\"*\"]", "verbs: [\"*\"]", "secrets", "verbs: [update", "delete"},
		},
		{
			"ENIConfig per zone",
			[]string{"--set", "eniConfig.create=true,eniConfig.subnets.eu-central-1a.id=subnet-a,eniConfig.subnets.eu-central-1b.id=subnet-b,eniConfig.subnets.eu-central-1b.securityGroups={sg-1,sg-2}"},
			[]string{
				"kind: ENIConfig\nmetadata:\n  name: \"eu-central-1a\"\n", "kind: ENIConfig\nmetadata:\n  name: \"eu-central-1b\"\n",
				"spec:\n  subnet: \"subnet-a\"\n---", "spec:\n  subnet: \"subnet-b\"\n  securityGroups:\n    - sg-1\n    - sg-2\n",
			},
			nil,
		},
		{
			"ENIConfig of a values file of the existing CNI is named by its key alone",
			[]string{"--set", "eniConfig.create=true,eniConfig.region=us-west-2,eniConfig.subnets.us-west-2a.id=subnet-a"},
			[]string{"kind: ENIConfig\nmetadata:\n  name: \"us-west-2a\"\n"},
			[]string{"us-west-2us-west-2a"},
		},
		{
			"a default that a values file of the existing CNI takes away",
			[]string{"--set-json", `env={"WARM_ENI_TARGET":null,"ENABLE_PREFIX_DELEGATION":null},init.env={"X":null}`},
			[]string{"name: ENABLE_SUBNET_DISCOVERY\n"},
			[]string{"WARM_ENI_TARGET", "ENABLE_PREFIX_DELEGATION", "name: X\n"},
		},
		{
			"a version in the environment counts, and is there once",
			[]string{"--set", "env.VPC_CNI_VERSION=v9,controller.enabled=true,env.ENABLE_EC2_SHARE=false"},
			[]string{"name: VPC_CNI_VERSION\n          value: \"v9\"", "name: ENABLE_EC2_SHARE\n          value: \"false\""},
			[]string{"name: VPC_CNI_VERSION\n          value: \"0", "name: ENABLE_EC2_SHARE\n          value: \"true\""},
		},
		{
			"prefixes and custom networking",
			[]string{"--set", "env.ENABLE_PREFIX_DELEGATION=true,env.AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG=true,env.WARM_PREFIX_TARGET=2"},
			[]string{
				"name: ENABLE_PREFIX_DELEGATION\n          value: \"true\"", "name: AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG\n          value: \"true\"",
				"name: WARM_PREFIX_TARGET\n          value: \"2\"",
			},
			nil,
		},
		{
			"ENIConfig by the zone's label",
			[]string{"--set", "env.ENI_CONFIG_LABEL_DEF=topology.kubernetes.io/zone"},
			[]string{"name: ENI_CONFIG_LABEL_DEF\n          value: \"topology.kubernetes.io/zone\""},
			[]string{"kind: ENIConfig\nmetadata"},
		},
		{
			"probes of a values file of the existing CNI",
			[]string{"--set", "livenessProbe.exec.command={/app/grpc-health-probe,-addr=:50051}", "--set", "readinessProbe.exec.command={/app/grpc-health-probe,-addr=:50051}"},
			[]string{"exec:\n            command:\n            - /app/berth-agent\n            - probe\n            - -ready\n"},
			[]string{"grpc-health-probe"},
		},
		{"own probe", []string{"--set", "livenessProbe.exec.command={/bin/true}"}, []string{"- /bin/true\n"}, nil},
		{"selector of EKS", []string{"--set", "originalMatchLabels=true"}, []string{"matchLabels:\n      k8s-app: aws-node\n"}, nil},
		{
			"role of the service account",
			[]string{"--set", `serviceAccount.annotations.eks\.amazonaws\.com/role-arn=arn:x`},
			[]string{"eks.amazonaws.com/role-arn: arn:x"},
			nil,
		},
		{"extra environment", []string{"--set", "extraEnv[0].name=A,extraEnv[0].value=b"}, []string{"- name: A\n          value: b"}, nil},
		{
			"network policy",
			[]string{"--set", "enableNetworkPolicy=true"},
			[]string{"- name: ENABLE_NETWORK_POLICY\n          value: \"true\"", `enable-network-policy-controller: "false"`},
			nil,
		},
		{
			"log of network policy",
			[]string{"--set", "enableNetworkPolicy=true,nodeAgent.enablePolicyEventLogs=true,nodeAgent.logLevel=info"},
			[]string{
				"- name: NETWORK_POLICY_EVENT_LOGS\n          value: \"denied\"",
				"- name: NETWORK_POLICY_EVENT_LOG_FILE\n          value: \"/host/var/log/aws-routed-eni/network-policy-agent.log\"",
			},
			nil,
		},
		{"windows", []string{"--set", "enableWindowsIpam=true"}, []string{`enable-windows-ipam: "true"`}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := render(t, test.args...)
			if err != nil {
				t.Fatal(got)
			}
			for _, want := range test.want {
				if !strings.Contains(got, want) {
					t.Errorf("%q is missing in\n%s", want, got)
				}
			}
			for _, not := range test.without {
				if strings.Contains(got, not) {
					t.Errorf("%q should not be in\n%s", not, got)
				}
			}
		})
	}
}

func TestRefusedValues(t *testing.T) {
	for _, test := range []struct {
		name string
		args []string
		want string
	}{
		{"unknown value", []string{"--set", "imge.tag=x"}, "additional properties 'imge' not allowed"},
		{"wrong type", []string{"--set", "hostNetwork=sometimes"}, "hostNetwork"},
		{"ENIConfig resources without subnets", []string{"--set", "eniConfig.create=true"}, "eniConfig.subnets must name a subnet per zone"},
		{"ENIConfig resource without a subnet", []string{"--set", "eniConfig.create=true,eniConfig.subnets.a.securityGroups={sg-1}"}, "id"},
		{"own CNI configuration", []string{"--set", "cniConfig.enabled=true"}, "the agent writes the CNI configuration itself"},
		{"more than the account has", []string{"--set", "controller.ec2Share=2"}, "controller/ec2Share"},
		{"no host network", []string{"--set", "hostNetwork=false"}, "must run in it"},
		{"network policy without an agent of it", []string{"--set", "enableNetworkPolicy=true,nodeAgent.enabled=false"}, "no policy would be enforced"},
		{"a feature that does not exist yet", []string{"--set", "env.ENABLE_POD_ENI=true"}, "env.ENABLE_POD_ENI=true: security groups for pods does not exist yet"},
		{"a feature that does not exist yet, as text", []string{"--set-string", "env.ENABLE_IPv6=True"}, "IPv6 does not exist yet"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := render(t, test.args...)
			if err == nil {
				t.Fatalf("accepted:\n%s", got)
			}
			if !strings.Contains(got, test.want) {
				t.Errorf("got %q, want %q in it", got, test.want)
			}
		})
	}
}

// managed is what Amazon's managed policy AmazonEKS_CNI_Policy allows: an installation that has it needs nothing else.
var managed = []string{
	"ec2:AssignPrivateIpAddresses", "ec2:AttachNetworkInterface", "ec2:CreateNetworkInterface", "ec2:CreateTags",
	"ec2:DeleteNetworkInterface", "ec2:DescribeInstanceTypes", "ec2:DescribeInstances", "ec2:DescribeNetworkInterfaces",
	"ec2:DescribeSubnets", "ec2:DescribeTags", "ec2:DetachNetworkInterface", "ec2:ModifyNetworkInterfaceAttribute",
	"ec2:UnassignPrivateIpAddresses",
}

// beyond is what policies of features that the existing CNI does not have allow besides.
var beyond = map[string][]string{
	"subnet-maps.json":         {"ec2:GetSubnetCidrReservations"},
	"prefix-reservations.json": {"ec2:CreateSubnetCidrReservation"},
	"security-groups.json":     {"ec2:DescribeSecurityGroups"},
}

func TestPoliciesStayWithinTheManagedOne(t *testing.T) {
	files, err := fs.Glob(deploy.IAM, "iam/*.json")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		t.Run(path.Base(file), func(t *testing.T) {
			data, err := deploy.IAM.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var policy struct {
				Version   string
				Statement []struct {
					Sid, Effect string
					Action      []string
					Resource    any
					Condition   map[string]map[string]any
				}
			}
			if err := json.Unmarshal(data, &policy); err != nil {
				t.Fatal(err)
			}
			for _, statement := range policy.Statement {
				for _, action := range statement.Action {
					if !slices.Contains(managed, action) && !slices.Contains(beyond[path.Base(file)], action) {
						t.Errorf("%s: %s is not in AmazonEKS_CNI_Policy", statement.Sid, action)
					}
				}
			}
		})
	}
}

// TestBesideTheExistingCNI: a release under another name shares no object and no pod with the DaemonSet aws-node, whether EKS
// made that or this chart did, and runs on the nodes that are given to it.
func TestBesideTheExistingCNI(t *testing.T) {
	type object struct {
		APIVersion, Kind string
		Metadata         struct{ Name, Namespace string }
		Spec             struct {
			Selector struct{ MatchLabels map[string]string }
			Template struct {
				Metadata struct{ Labels map[string]string }
				Spec     struct {
					ServiceAccountName string
					NodeSelector       map[string]string
				}
			}
		}
	}
	read := func(args ...string) (names []string, daemonSet object) {
		t.Helper()
		out, err := helm(t, append([]string{"template", "chart/berth", "--namespace", "kube-system", "--kube-version", "1.35.0"}, args...)...)
		if err != nil {
			t.Fatal(out)
		}
		for text := range strings.SplitSeq(out, "\n---\n") {
			var o object
			if err := yaml.Unmarshal([]byte(text), &o); err != nil {
				t.Fatal(err)
			}
			if o.Kind == "DaemonSet" {
				daemonSet = o
			}
			if o.Kind != "" {
				names = append(names, o.APIVersion+" "+o.Kind+" "+o.Metadata.Namespace+" "+o.Metadata.Name)
			}
		}
		return names, daemonSet
	}
	theirs, _ := read("--name-template", "aws-vpc-cni")
	ours, set := read("--name-template", "berth", "--set", "nameOverride=berth-node", "--set", "fullnameOverride=berth-node",
		"--set", "serviceAccount.name=berth-node", "--set-string", `nodeSelector.berth-net\.github\.io/cni=berth`)
	for _, name := range ours {
		if slices.Contains(theirs, name) {
			t.Errorf("both releases have %s", name)
		}
	}
	if len(theirs) < 5 || len(ours) < 4 {
		t.Errorf("objects: theirs %q, ours %q", theirs, ours)
	}
	labels := set.Spec.Template.Metadata.Labels
	for key, value := range set.Spec.Selector.MatchLabels {
		if labels[key] != value {
			t.Errorf("the DaemonSet does not select its own pods: %v and %v", set.Spec.Selector.MatchLabels, labels)
		}
	}
	for _, selector := range []map[string]string{
		{"k8s-app": "aws-node"}, // of a DaemonSet that EKS made
		{"app.kubernetes.io/name": "aws-node", "app.kubernetes.io/instance": "aws-vpc-cni"},
	} {
		selects := true
		for key, value := range selector {
			selects = selects && labels[key] == value
		}
		if selects {
			t.Errorf("the other DaemonSet's selector %v selects pods with labels %v", selector, labels)
		}
	}
	if diff := cmp.Diff(map[string]string{"berth-net.github.io/cni": "berth"}, set.Spec.Template.Spec.NodeSelector); diff != "" {
		t.Errorf("node selector:\n%s", diff)
	}
	if name := set.Spec.Template.Spec.ServiceAccountName; name != "berth-node" {
		t.Errorf("service account %q", name)
	}
}

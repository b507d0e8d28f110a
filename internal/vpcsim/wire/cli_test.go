package wire_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/google/go-cmp/cmp"

	"github.com/berth-net/berth/internal/core/vpc"
	"github.com/berth-net/berth/internal/vpcsim"
	"github.com/berth-net/berth/internal/vpcsim/wire"
	"github.com/berth-net/berth/internal/vpcsim/wire/eks"
)

// cliPath is the real AWS CLI, named by BERTH_AWS_CLI: Debian's 2.9.19, which finds the server by AWS_DATA_PATH only, or
// a newer one.
func cliPath(t *testing.T) string {
	t.Helper()
	path := os.Getenv("BERTH_AWS_CLI")
	if path == "" {
		t.Skip("SKIPPED: BERTH_AWS_CLI does not name an aws program, so the real CLI is not tested")
	}
	if _, err := exec.LookPath(path); err != nil {
		if os.Getenv("BERTH_REQUIRE_ROOT") == "1" {
			t.Fatalf("BERTH_AWS_CLI: %v", err)
		}
		t.Skipf("SKIPPED: BERTH_AWS_CLI: %v", err)
	}
	return path
}

// cli runs the real CLI against a world, as an operator's shell does.
type cli struct {
	t    *testing.T
	path string
	env  []string
}

func newCLI(t *testing.T, w *world) *cli {
	t.Helper()
	path := cliPath(t)
	home := t.TempDir()
	env := wire.ClientEnv{
		Endpoint: w.endpoint(), Region: region, AccessKey: "AKIAOPERATOR", Secret: "secret", DataPath: filepath.Join(home, "data"),
	}
	must(t, env.WriteEndpoints())
	return &cli{t: t, path: path, env: append(env.Lines(), "HOME="+home, "PATH=/usr/bin:/bin", "LC_ALL=C.UTF-8")}
}

// run returns standard output; on failure, the exit code and standard error.
func (c *cli) run(args ...string) string {
	c.t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(c.t.Context(), c.path, args...)
	cmd.Env, cmd.Stdout, cmd.Stderr = c.env, &stdout, &stderr
	if err := cmd.Run(); err != nil {
		exit, ok := errors.AsType[*exec.ExitError](err)
		if !ok {
			c.t.Fatal(err)
		}
		return fmt.Sprintf("exit %d: %s", exit.ExitCode(), strings.TrimSpace(stderr.String()))
	}
	return strings.TrimSpace(stdout.String())
}

// story is the network of the walkthrough: three private /27s and an EKS cluster with its CNI add-on.
func (w *world) story(t *testing.T) (vpcID string, subnets []string) {
	t.Helper()
	c, ctx := w.operator(), t.Context()
	v, err := c.CreateVpc(ctx, &ec2.CreateVpcInput{CidrBlock: aws.String("10.0.0.0/24")})
	must(t, err)
	for i, zone := range []string{"a", "b", "c"} {
		s, err := c.CreateSubnet(ctx, &ec2.CreateSubnetInput{
			VpcId: v.Vpc.VpcId, CidrBlock: aws.String(fmt.Sprintf("10.0.0.%d/27", 96+32*i)), AvailabilityZone: aws.String(region + zone),
			TagSpecifications: []types.TagSpecification{{ResourceType: types.ResourceTypeSubnet, Tags: []types.Tag{{
				Key: aws.String("Name"), Value: aws.String("eksctl-demo-cluster/SubnetPrivateUSWEST2" + strings.ToUpper(zone)),
			}}}},
		})
		must(t, err)
		subnets = append(subnets, *s.Subnet.SubnetId)
	}
	w.eks.AddCluster(eks.Cluster{
		Name: "demo", ARN: "arn:aws:eks:us-west-2:111122223333:cluster/demo", Version: "1.35", Status: "ACTIVE",
		VPC: eks.VPCConfig{VPC: vpc.ID(*v.Vpc.VpcId)},
	}, nil, []eks.Addon{{Name: "vpc-cni", Version: "v1.20.0", Status: eks.Active}})
	return *v.Vpc.VpcId, subnets
}

// TestCLIWalkthrough types the aws commands of the walkthrough.
func TestCLIWalkthrough(t *testing.T) {
	w := start(t, vpcsim.Options{})
	vpcID, subnets := w.story(t)
	c := newCLI(t, w)
	at := []string{"--region", region}

	addon := c.run(append(at, "eks", "describe-addon", "--addon-name", "vpc-cni", "--cluster-name", "demo")...)
	if !strings.Contains(addon, `"status": "ACTIVE"`) {
		t.Error(addon)
	}

	table := c.run(append(at, "ec2", "describe-subnets", "--filters", "Name=tag:Name,Values=eksctl-demo-cluster/SubnetPrivate*",
		"--query", "Subnets[].{VPC:VpcId,SubnetId:SubnetId,AvailableIPs:AvailableIpAddressCount}", "--output", "table")...)
	for _, id := range subnets {
		if !strings.Contains(table, "|  27          |  "+id+"  |  "+vpcID+"  |") {
			t.Errorf("no row of %s in\n%s", id, table)
		}
	}
	if !strings.Contains(table, "DescribeSubnets") || !strings.Contains(table, "AvailableIPs |") {
		t.Error(table)
	}

	if got := c.run(append(at, "eks", "describe-cluster", "--name", "demo", "--query", "cluster.resourcesVpcConfig.vpcId", "--output", "text")...); got != vpcID {
		t.Errorf("the cluster's VPC: %s, want %s", got, vpcID)
	}
	state := c.run(append(at, "ec2", "associate-vpc-cidr-block", "--vpc-id", vpcID, "--cidr-block", "10.1.0.0/16",
		"--query", "CidrBlockAssociation.[CidrBlock,CidrBlockState.State]", "--output", "text")...)
	if state != "10.1.0.0/16\tassociating" && state != "10.1.0.0/16\tassociated" {
		t.Error(state)
	}
	for i, zone := range []string{"a", "b", "c"} {
		got := c.run(append(at, "ec2", "create-subnet", "--vpc-id", vpcID, "--availability-zone", region+zone,
			"--cidr-block", fmt.Sprintf("10.1.%d.0/19", 32*i),
			"--tag-specifications", "ResourceType=subnet,Tags=[{Key=kubernetes.io/role/cni,Value=1}]",
			"--query", "Subnet.[AvailableIpAddressCount,Tags[0].Key,Tags[0].Value]", "--output", "text")...)
		if got != "8187\tkubernetes.io/role/cni\t1" {
			t.Error(got)
		}
	}
	c.interfaces(w, subnets[0])

	update := c.run(append(at, "eks", "update-addon", "--cluster-name", "demo", "--addon-name", "vpc-cni",
		"--configuration-values", `{"env":{"ENABLE_SUBNET_DISCOVERY":"true"}}`, "--query", "update.[status,type]", "--output", "text")...)
	if update != "InProgress\tAddonUpdate" {
		t.Error(update)
	}
	wrong := c.run(append(at, "eks", "update-addon", "--cluster-name", "demo", "--addon-name", "vpc-cni",
		"--configuration-values", `{"env":{"ENABLE_SUBNET_DISCOVERIES":"true"}}`)...)
	if !strings.HasPrefix(wrong, "exit 254: ") || !strings.Contains(wrong, "(InvalidParameterException)") || !strings.Contains(wrong, "$.env.ENABLE_SUBNET_DISCOVERIES") {
		t.Error(wrong)
	}
}

// interfaces shows the interfaces of a cluster as the walkthrough does.
func (c *cli) interfaces(w *world, subnet string) {
	c.t.Helper()
	e, err := w.operator().CreateNetworkInterface(c.t.Context(), &ec2.CreateNetworkInterfaceInput{
		SubnetId: &subnet, PrivateIpAddress: aws.String("10.0.0.100"), SecondaryPrivateIpAddressCount: aws.Int32(1),
		TagSpecifications: []types.TagSpecification{{ResourceType: types.ResourceTypeNetworkInterface, Tags: []types.Tag{{
			Key: aws.String("cluster.k8s.amazonaws.com/name"), Value: aws.String("demo"),
		}}}},
	})
	must(c.t, err)
	query := []string{
		"--region", region, "ec2", "describe-network-interfaces",
		"--query", "NetworkInterfaces[*].{ID:NetworkInterfaceId,DNSName:PrivateDnsName,PrimaryIP:PrivateIpAddress,SecondaryIPs:PrivateIpAddresses[].PrivateIpAddress}",
		"--filters", "Name=tag:cluster.k8s.amazonaws.com/name,Values=demo",
	}
	var got []struct {
		ID, DNSName, PrimaryIP string
		SecondaryIPs           []string
	}
	must(c.t, json.Unmarshal([]byte(c.run(append(query, "--output", "json")...)), &got))
	if len(got) != 1 || got[0].ID != *e.NetworkInterface.NetworkInterfaceId || got[0].PrimaryIP != "10.0.0.100" ||
		len(got[0].SecondaryIPs) != 2 || got[0].SecondaryIPs[0] != "10.0.0.100" {
		c.t.Errorf("interfaces %+v", got)
	}
	table := c.run(append(query, "--output", "table")...)
	if !strings.Contains(table, "DescribeNetworkInterfaces") || !strings.Contains(table, "SecondaryIPs") || !strings.Contains(table, "10.0.0.100") {
		c.t.Error(table)
	}
}

// TestCLI covers what differs between clients: exit codes, pages, dry runs, shorthand, empty lists.
func TestCLI(t *testing.T) {
	w := start(t, vpcsim.Options{})
	n := w.network(t)
	w.eks.AddCluster(eks.Cluster{Name: "demo", ARN: "arn:aws:eks:us-west-2:111122223333:cluster/demo", Version: "1.35", Status: "ACTIVE"}, nil, nil)
	for i := range 7 {
		_, err := w.operator().CreateSubnet(t.Context(), &ec2.CreateSubnetInput{VpcId: &n.vpc, CidrBlock: aws.String(fmt.Sprintf("10.0.%d.0/24", 10+i))})
		must(t, err)
	}
	c := newCLI(t, w)
	tests := []struct {
		name string
		args string // separated by spaces
		want string // a prefix after "^", else the whole
	}{
		{"identity", "sts get-caller-identity --query Arn --output text", "arn:aws:iam::111122223333:root"},
		{"service error", "ec2 describe-subnets --subnet-ids subnet-0123456789abcdef0", "^exit 254: An error occurred (InvalidSubnetID.NotFound) when calling the DescribeSubnets operation:"},
		{"usage error", "ec2 describe-subnets --colour red", "^exit 252: "},
		{"too small a page is refused by the CLI", "ec2 describe-subnets --page-size 4", "^exit 252: "},
		{"dry run", "ec2 create-vpc --cidr-block 10.9.0.0/16 --dry-run", "exit 254: An error occurred (DryRunOperation) when calling the CreateVpc operation: Request would have succeeded, but DryRun flag is set."},
		{"pages", "ec2 describe-subnets --page-size 5 --query length(Subnets[])", "8"},
		{"max items", "ec2 describe-subnets --max-items 3 --query length(Subnets[]) --output json", "3"},
		{"an empty list is shown", "ec2 describe-network-interfaces --query NetworkInterfaces[0].[Ipv6Addresses,TagSet] --output json", "[\n    [],\n    []\n]"},
		{"nothing found", "ec2 describe-subnets --filters Name=tag:none,Values=* --query Subnets --output json", "[]"},
		{"shorthand of a rule", "ec2 authorize-security-group-ingress --group-id " + n.group + " --protocol tcp --port 80-90 --cidr 10.0.0.0/8 --query SecurityGroupRules[0].[FromPort,ToPort,CidrIpv4] --output text", "80\t90\t10.0.0.0/8"},
		{"void operation", "ec2 create-tags --resources " + n.subnet + " --tags Key=a,Value=b", ""},
		{"wildcard of a tag", "ec2 describe-tags --filters Name=key,Values=? --query Tags[].Value --output text", "b"},
		{"instance type", "ec2 describe-instance-types --instance-types m6a.large --query InstanceTypes[0].NetworkInfo.[MaximumNetworkInterfaces,Ipv4AddressesPerInterface] --output text", "3\t10"},
		{"state of an instance", "ec2 describe-instances --instance-ids " + n.instance + " --query Reservations[0].Instances[0].[State.Name,SubnetId] --output text", "running\t" + n.subnet},
		{"address names", "ec2 describe-network-interfaces --network-interface-ids " + n.eni + " --query NetworkInterfaces[0].[Status,Attachment.DeviceIndex,SourceDestCheck] --output text", "in-use\t0\tTrue"},
		{"eks list", "eks list-clusters --query clusters --output text", "demo"},
		{"eks error", "eks describe-cluster --name other", "exit 254: An error occurred (ResourceNotFoundException) when calling the DescribeCluster operation: No cluster found for name: other."},
		{"eks tags", "eks tag-resource --resource-arn arn:aws:eks:us-west-2:111122223333:cluster/demo --tags a=b", ""},
		{"eks tags back", "eks list-tags-for-resource --resource-arn arn:aws:eks:us-west-2:111122223333:cluster/demo --query tags.a --output text", "b"},
		{"eks add-on", "eks create-addon --cluster-name demo --addon-name vpc-cni --query addon.addonVersion --output text", "v1.20.0"},
		{"eks versions", "eks describe-addon-versions --addon-name vpc-cni --query addons[].addonVersions[].addonVersion --output text", "v1.20.0"},
		{"regions", "ec2 describe-regions --query Regions[].RegionName --output text", region},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := c.run(append([]string{"--region", region}, strings.Fields(tt.args)...)...)
			if prefix, ok := strings.CutPrefix(tt.want, "^"); ok {
				if !strings.HasPrefix(got, prefix) {
					t.Errorf("got %s, want %s…", got, prefix)
				}
			} else if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestCLISigns: the CLI's own signatures are accepted by all three services, and a wrong secret is refused.
func TestCLISigns(t *testing.T) {
	w := start(t, vpcsim.Options{})
	w.eks.AddCluster(eks.Cluster{Name: "demo", ARN: "arn:aws:eks:us-west-2:111122223333:cluster/demo"}, nil, nil)
	w.network(t)
	c := newCLI(t, w)
	w.control(t, "PUT", "signatures", `{"verify":true}`, nil)
	got := c.run("--region", region, "eks", "list-clusters", "--output", "text") + c.run("--region", region, "sts", "get-caller-identity", "--query", "Account", "--output", "text") +
		c.run("--region", region, "ec2", "describe-vpcs", "--query", "length(Vpcs)")
	if got != "CLUSTERS\tdemo1111222233331" {
		t.Error(got)
	}
	other := *c
	other.env = append(append([]string{}, c.env...), "AWS_SECRET_ACCESS_KEY=guess")
	if got := other.run("--region", region, "ec2", "describe-vpcs"); !strings.HasPrefix(got, "exit 254: An error occurred (AuthFailure)") {
		t.Error(got)
	}
}

// TestCLIOnANode: without keys of its own the CLI takes those of the instance's role.
func TestCLIOnANode(t *testing.T) {
	w := start(t, vpcsim.Options{})
	n := w.network(t)
	c := newCLI(t, w)
	node := *c
	node.env = nil
	for _, e := range c.env {
		if !strings.HasPrefix(e, "AWS_ACCESS") && !strings.HasPrefix(e, "AWS_SECRET") && !strings.HasPrefix(e, "AWS_EC2_METADATA") {
			node.env = append(node.env, e)
		}
	}
	node.env = append(node.env, "AWS_EC2_METADATA_SERVICE_ENDPOINT="+w.metadata(t, n.instance)+"/")
	got := node.run("--region", region, "sts", "get-caller-identity", "--query", "Arn", "--output", "text")
	if want := "arn:aws:sts::111122223333:assumed-role/node/" + n.instance; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

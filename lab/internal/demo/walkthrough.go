package demo

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"
)

const (
	region      = "us-west-2"
	clusterName = "eks-enhsubsel-demo"
	replicas    = 50
)

var (
	firstBlock  = netip.MustParsePrefix("10.0.0.0/24")
	secondBlock = netip.MustParsePrefix("10.1.0.0/16")
)

// walkthrough is the story of a subnet that runs out of addresses.
type walkthrough struct {
	*Story
	vpc    string
	before string // the pods that ran before the fix
	agents string
}

// Walkthrough plays it.
func (s *Story) Walkthrough(ctx context.Context) error {
	w := &walkthrough{Story: s}
	return s.play(ctx, w.start, w.exhaust, w.fix, w.look, w.settings)
}

func (w *walkthrough) start(ctx context.Context) error {
	w.tell("The add-on that gives pods their addresses")
	out, err := w.run(ctx, "aws", "eks", "describe-addon", "--addon-name", "vpc-cni", "--cluster-name", clusterName, "--region", region)
	if err != nil {
		return err
	}
	if err := w.claim(strings.Contains(out, `"status": "ACTIVE"`), "vpc-cni is ACTIVE"); err != nil {
		return err
	}
	return w.subnets(ctx)
}

func (w *walkthrough) subnets(ctx context.Context) error {
	_, err := w.run(ctx, "aws", "ec2", "describe-subnets", "--region", region,
		"--filters", "Name=tag:Name,Values=eksctl-"+clusterName+"-cluster/SubnetPrivate*",
		"--query", "Subnets[].{VPC:VpcId,SubnetId:SubnetId,AvailableIPs:AvailableIpAddressCount}", "--output", "table")
	return err
}

func (w *walkthrough) exhaust(ctx context.Context) error {
	w.tell("%d pods, and private subnets of 27 addresses", replicas)
	if _, err := w.run(ctx, "kubectl", "apply", "-f", "inflate.yaml"); err != nil {
		return err
	}
	var pods []pod
	steady, last := 0, -1
	_, err := w.until(ctx, 2*time.Minute, func() (bool, string, error) {
		var err error
		if pods, err = w.pods(ctx); err != nil {
			return false, "", err
		}
		n := count(pods, pod.running)
		if n == last {
			steady++
		} else {
			steady, last = 0, n
		}
		creating := count(pods, pod.creating)
		return n > 0 && creating > 0 && n+creating == replicas && steady >= 12,
			fmt.Sprintf("%d of %d pods run, %d are in ContainerCreating", n, replicas, creating), nil
	})
	if err != nil {
		return err
	}
	w.before = identities(filter(pods, pod.running))
	all, err := w.pods(ctx, "--all-namespaces")
	if err != nil {
		return err
	}
	w.tabulate(all, firstBlock, secondBlock)
	for node, addresses := range addressed(all) {
		if err := w.claim(len(addresses) == 18, "%s has 18 pod addresses: two interfaces of ten, the first of each its own", node); err != nil {
			return err
		}
	}
	if err := w.claim(count(pods, pod.creating) >= 10, "%d pods wait in ContainerCreating", count(pods, pod.creating)); err != nil {
		return err
	}
	if err := w.event(ctx); err != nil {
		return err
	}
	return w.subnets(ctx)
}

func filter(pods []pod, is func(pod) bool) []pod {
	var out []pod
	for _, p := range pods {
		if is(p) {
			out = append(out, p)
		}
	}
	return out
}

// event shows that a waiting pod says why.
func (w *walkthrough) event(ctx context.Context) error {
	var list struct {
		Items []struct{ Reason, Message string }
	}
	if err := w.read(ctx, &list, "kubectl", "get", "events", "-o", "json", "--field-selector", "type=Warning"); err != nil {
		return err
	}
	for _, e := range list.Items {
		if strings.Contains(e.Message, "subnet") && strings.Contains(e.Message, "address") {
			w.print(indent(e.Reason + ": " + e.Message))
			return w.claim(true, "an event says why")
		}
	}
	return w.claim(false, "an event says why")
}

func (w *walkthrough) fix(ctx context.Context) error {
	w.tell("The fix: a second block, and subnets with the tag kubernetes.io/role/cni=1")
	agents, err := w.pods(ctx, "-n", "kube-system", "-l", "k8s-app=aws-node")
	if err != nil {
		return err
	}
	w.agents = identities(agents)
	out, err := w.run(ctx, "aws", "eks", "describe-cluster", "--name", clusterName, "--region", region,
		"--query", "cluster.resourcesVpcConfig.vpcId", "--output", "text")
	if err != nil {
		return err
	}
	w.vpc = strings.TrimSpace(out)
	if _, err := w.run(ctx, "aws", "ec2", "associate-vpc-cidr-block", "--vpc-id", w.vpc, "--cidr-block", "10.1.0.0/16", "--region", region); err != nil {
		return err
	}
	for _, s := range []struct{ zone, block string }{{"a", "10.1.0.0/19"}, {"b", "10.1.32.0/19"}, {"c", "10.1.64.0/19"}} {
		_, err := w.run(ctx, "aws", "ec2", "create-subnet", "--vpc-id", w.vpc, "--region", region, "--availability-zone", region+s.zone,
			"--cidr-block", s.block, "--tag-specifications", "ResourceType=subnet,Tags=[{Key=kubernetes.io/role/cni,Value=1}]",
			"--query", "Subnet.SubnetId", "--output", "text")
		if err != nil {
			return err
		}
	}
	return w.recovered(ctx)
}

// recovered waits until every pod runs, and shows that nothing was restarted for it.
func (w *walkthrough) recovered(ctx context.Context) error {
	var pods []pod
	took, err := w.until(ctx, 2*time.Minute, func() (bool, string, error) {
		var err error
		if pods, err = w.pods(ctx); err != nil {
			return false, "", err
		}
		n := count(pods, pod.running)
		return n == replicas, fmt.Sprintf("%d of %d pods run", n, replicas), nil
	})
	if err != nil {
		return err
	}
	all, err := w.pods(ctx, "--all-namespaces")
	if err != nil {
		return err
	}
	w.tabulate(all, firstBlock, secondBlock)
	agents, err := w.pods(ctx, "-n", "kube-system", "-l", "k8s-app=aws-node")
	if err != nil {
		return err
	}
	now := identities(pods)
	same := true
	for line := range strings.SplitSeq(w.before, "\n") {
		same = same && strings.Contains(now, line)
	}
	for _, c := range []struct {
		ok   bool
		said string
	}{
		{took <= 30*time.Second, fmt.Sprintf("all %d pods run %.1f s after the last subnet was created", replicas, took.Seconds())},
		{same, "no pod was restarted or replaced"},
		{identities(agents) == w.agents, "no agent was restarted"},
		{unique(all), "no two pods have the same address"},
	} {
		if err := w.claim(c.ok, "%s", c.said); err != nil {
			return err
		}
	}
	return nil
}

func unique(pods []pod) bool {
	seen := map[netip.Addr]bool{}
	for _, addresses := range addressed(pods) {
		for _, a := range addresses {
			if seen[a] {
				return false
			}
			seen[a] = true
		}
	}
	return true
}

func (w *walkthrough) look(ctx context.Context) error {
	w.tell("The interfaces, in both blocks")
	filters := []string{
		"aws", "ec2", "describe-network-interfaces", "--region", region,
		"--query", "NetworkInterfaces[*].{ID:NetworkInterfaceId,DNSName:PrivateDnsName,PrimaryIP:PrivateIpAddress,SecondaryIPs:PrivateIpAddresses[].PrivateIpAddress}",
		"--filters", "Name=tag:cluster.k8s.amazonaws.com/name,Values=" + clusterName, "--output",
	}
	if _, err := w.run(ctx, append(filters, "table")...); err != nil {
		return err
	}
	var interfaces []struct{ PrimaryIP string }
	if err := w.read(ctx, &interfaces, append(filters, "json")...); err != nil {
		return err
	}
	first, second := 0, 0
	for _, i := range interfaces {
		a, err := netip.ParseAddr(i.PrimaryIP)
		if err != nil {
			return fmt.Errorf("read address of an interface: %w", err)
		}
		if firstBlock.Contains(a) {
			first++
		}
		if secondBlock.Contains(a) {
			second++
		}
	}
	return w.claim(first >= 2 && second >= 2, "%d interfaces in %s, %d in %s", first, firstBlock, second, secondBlock)
}

func (w *walkthrough) settings(ctx context.Context) error {
	w.tell("The switch, which is on by default")
	out, err := w.quiet(ctx, "kubectl", "describe", "ds", "aws-node", "-n", "kube-system")
	if err != nil {
		return err
	}
	w.print("$ kubectl describe ds aws-node -n kube-system | grep ENABLE_SUBNET_DISCOVERY")
	on := false
	for l := range strings.SplitSeq(out, "\n") {
		if strings.Contains(l, "ENABLE_SUBNET_DISCOVERY") {
			w.print(indent(l))
			on = strings.HasSuffix(strings.TrimSpace(l), "true")
		}
	}
	if err := w.claim(on, "ENABLE_SUBNET_DISCOVERY is true"); err != nil {
		return err
	}
	if _, err := w.run(ctx, "kubectl", "set", "env", "daemonset", "aws-node", "-n", "kube-system", "ENABLE_SUBNET_DISCOVERY=true", "-c", "aws-node"); err != nil {
		return err
	}
	if _, err := w.run(ctx, "aws", "eks", "update-addon", "--cluster-name", clusterName, "--region", region, "--addon-name", "vpc-cni",
		"--configuration-values", `{"env":{"ENABLE_SUBNET_DISCOVERY":"true"}}`); err != nil {
		return err
	}
	_, err = w.until(ctx, time.Minute, func() (bool, string, error) {
		status, err := w.quiet(ctx, "aws", "eks", "describe-addon", "--addon-name", "vpc-cni", "--cluster-name", clusterName,
			"--region", region, "--query", "addon.status", "--output", "text")
		return strings.TrimSpace(status) == "ACTIVE", "the add-on is " + strings.TrimSpace(status), err
	})
	if err != nil {
		return err
	}
	agents, err := w.pods(ctx, "-n", "kube-system", "-l", "k8s-app=aws-node")
	if err != nil {
		return err
	}
	if err := w.claim(identities(agents) == w.agents, "both leave the agents alone, since nothing differs"); err != nil {
		return err
	}
	_, err = w.quiet(ctx, "aws", "eks", "update-addon", "--cluster-name", clusterName, "--region", region, "--addon-name", "vpc-cni",
		"--configuration-values", `{"env":{"ENABLE_SUBNET_DISCOVERY":true}}`)
	return w.claim(err != nil && strings.Contains(err.Error(), "InvalidParameterException"), "a value of the wrong type is refused as EKS refuses it")
}

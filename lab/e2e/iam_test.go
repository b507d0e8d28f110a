package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// policy is a policy of deploy/iam, for the cluster, in a file.
func (l *lab) policy(name string) string {
	l.Helper()
	data, err := os.ReadFile(filepath.Join(l.repo, "deploy/iam", name+".json"))
	if err != nil {
		l.Fatal(err)
	}
	return l.file(name+".json", strings.ReplaceAll(string(data), "CLUSTER_NAME", "eks-enhsubsel-demo"))
}

// outcomes counts the nodes' calls of an action since a mark, by outcome.
func (l *lab) outcomes(mark, action string) map[string]int {
	l.Helper()
	var counts []struct {
		Action, Caller, Outcome string
		Count                   int
	}
	if err := json.Unmarshal([]byte(l.run("berth-lab", "calls", "--since", mark, "-o", "json")), &counts); err != nil {
		l.Fatal(err)
	}
	out := map[string]int{}
	for _, c := range counts {
		if strings.HasPrefix(c.Caller, "node:") && (c.Action == action || action == "") {
			out[c.Outcome] += c.Count
		}
	}
	return out
}

// managed is AmazonEKS_CNI_Policy as Amazon publishes it.
const managed = `{"Version": "2012-10-17", "Statement": [
	{"Sid": "AmazonEKSCNIPolicy", "Effect": "Allow", "Resource": "*", "Action": [
		"ec2:AssignPrivateIpAddresses", "ec2:AttachNetworkInterface", "ec2:CreateNetworkInterface", "ec2:DeleteNetworkInterface",
		"ec2:DescribeInstances", "ec2:DescribeTags", "ec2:DescribeNetworkInterfaces", "ec2:DescribeInstanceTypes", "ec2:DescribeSubnets",
		"ec2:DetachNetworkInterface", "ec2:ModifyNetworkInterfaceAttribute", "ec2:UnassignPrivateIpAddresses"]},
	{"Sid": "AmazonEKSCNIPolicyENITag", "Effect": "Allow", "Action": ["ec2:CreateTags"], "Resource": ["arn:aws:ec2:*:*:network-interface/*"]}]}`

// TestClusterPolicies runs the agents with no more rights than a policy gives, while policies are enforced: Amazon's own
// and the least ones of deploy/iam as the node's role; then the one that is scoped down to the cluster's tag as the role of
// the service account, at first without a right, which an event names.
func TestClusterPolicies(t *testing.T) {
	l := start(t)
	node := strings.TrimSpace(l.run("aws", "eks", "describe-nodegroup", "--cluster-name", "eks-enhsubsel-demo",
		"--nodegroup-name", "eks-enhsubsel-demo-mng", "--query", "nodegroup.nodeRole", "--output", "text"))
	node = node[strings.LastIndexByte(node, '/')+1:]
	l.run("berth-lab", "iam", "role", node, "--policy", l.file("managed.json", managed))
	l.run("berth-lab", "iam", "enforce", "on")
	l.kubectl("rollout", "restart", "daemonset/aws-node", "-n", "kube-system")
	l.rolledOut()
	l.apply(strings.ReplaceAll(filler, "replicas: 30", "replicas: 20")) // more than the first interfaces hold
	l.ready("app=filler", 20)

	l.run("berth-lab", "iam", "role", node, "--policy", l.policy("addressing"), "--policy", l.policy("subnet-discovery"), "--policy", l.policy("tags"),
		"--policy", l.policy("leaked-clean-up"))
	l.kubectl("rollout", "restart", "daemonset/aws-node", "-n", "kube-system")
	l.rolledOut()
	l.kubectl("scale", "deployment", "filler", "--replicas=30")
	l.ready("app=filler", 30)
	if n := l.outcomes("", "")["UnauthorizedOperation"]; n > 0 {
		t.Errorf("%d calls were refused with the policies as the node's role", n)
	}

	l.run("berth-lab", "iam", "role", node) // nothing left
	scoped := l.policy("scoped-down")
	arn := strings.TrimSpace(l.run("berth-lab", "iam", "role", "cni", "--policy", l.without(scoped, "ec2:CreateNetworkInterface"),
		"--service-account", "kube-system/aws-node"))
	l.run("aws", "eks", "update-addon", "--cluster-name", "eks-enhsubsel-demo", "--addon-name", "vpc-cni", "--service-account-role-arn", arn)
	l.until(2*time.Minute, "the add-on's update", func() error {
		status := strings.TrimSpace(l.run("aws", "eks", "describe-addon", "--cluster-name", "eks-enhsubsel-demo", "--addon-name", "vpc-cni",
			"--query", "addon.status", "--output", "text"))
		if status != "ACTIVE" {
			return fmt.Errorf("it is %s", status)
		}
		return nil
	})
	l.addSecondBlock()
	l.kubectl("scale", "deployment", "filler", "--replicas=44")
	l.until(time.Minute, "an event of each agent about the permission", func() error {
		agents := make(map[string]bool)
		for line := range strings.Lines(l.kubectl("get", "events", "-A", "--field-selector", "reason=MissingIAMPermissions",
			"-o", `jsonpath={range .items[*]}{.involvedObject.name} {.message}{"\n"}{end}`)) {
			if who, message, _ := strings.Cut(line, " "); strings.Contains(message, "CreateNetworkInterface") {
				agents[who] = true
			}
		}
		if len(agents) < 2 {
			return fmt.Errorf("there are those of %v", agents)
		}
		return nil
	})
	l.run("berth-lab", "iam", "role", "cni", "--policy", scoped, "--service-account", "kube-system/aws-node")
	l.run("berth-lab", "mark", "whole")
	l.ready("app=filler", 44)
	if n := l.outcomes("whole", "CreateNetworkInterface")["ok"]; n < 2 {
		t.Errorf("%d interfaces were created by the service account's role, want one on each node", n)
	}
	// Tagged security groups are in a policy of their own; without it a node asks once in ten minutes.
	refused := l.outcomes("whole", "")["UnauthorizedOperation"] - l.outcomes("whole", "DescribeSecurityGroups")["UnauthorizedOperation"]
	if refused > 0 {
		t.Errorf("%d calls were refused with the scoped-down policy", refused)
	}
}

// without is a policy's file without an action.
func (l *lab) without(policy, action string) string {
	l.Helper()
	data, err := os.ReadFile(policy)
	if err != nil {
		l.Fatal(err)
	}
	return l.file("less.json", strings.ReplaceAll(string(data), action, "ec2:DescribeVpcs"))
}

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
	file := filepath.Join(l.TempDir(), name+".json")
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(string(data), "CLUSTER_NAME", "eks-enhsubsel-demo")), 0o644); err != nil {
		l.Fatal(err)
	}
	return file
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

// TestClusterPolicies runs the agents with the least policies of deploy/iam and nothing more, while they are enforced:
// first as the node's role, then, scoped down to the cluster's tag, as the role of the service account.
func TestClusterPolicies(t *testing.T) {
	l := start(t)
	node := strings.TrimSpace(l.run("aws", "eks", "describe-nodegroup", "--cluster-name", "eks-enhsubsel-demo",
		"--nodegroup-name", "eks-enhsubsel-demo-mng", "--query", "nodegroup.nodeRole", "--output", "text"))
	node = node[strings.LastIndexByte(node, '/')+1:]
	l.run("berth-lab", "iam", "role", node, "--policy", l.policy("addressing"), "--policy", l.policy("subnet-discovery"), "--policy", l.policy("tags"),
		"--policy", l.policy("leaked-clean-up"))
	l.run("berth-lab", "iam", "enforce", "on")
	l.run("berth-lab", "mark", "node-role")
	l.kubectl("rollout", "restart", "daemonset/aws-node", "-n", "kube-system")
	l.kubectl("rollout", "status", "daemonset/aws-node", "-n", "kube-system", "--timeout=120s")
	l.apply(filler)
	l.ready("app=filler", 30)
	if n := l.outcomes("node-role", "")["UnauthorizedOperation"]; n > 0 {
		t.Errorf("%d calls were refused with the policies as the node's role", n)
	}

	arn := strings.TrimSpace(l.run("berth-lab", "iam", "role", "cni", "--policy", l.policy("scoped-down"), "--service-account", "kube-system/aws-node"))
	l.run("berth-lab", "iam", "role", node) // nothing left
	l.run("aws", "eks", "update-addon", "--cluster-name", "eks-enhsubsel-demo", "--addon-name", "vpc-cni", "--service-account-role-arn", arn)
	l.until(2*time.Minute, "the add-on's update", func() error {
		status := strings.TrimSpace(l.run("aws", "eks", "describe-addon", "--cluster-name", "eks-enhsubsel-demo", "--addon-name", "vpc-cni",
			"--query", "addon.status", "--output", "text"))
		if status != "ACTIVE" {
			return fmt.Errorf("it is %s", status)
		}
		return nil
	})
	l.run("berth-lab", "mark", "web-identity")
	l.run("aws", "ec2", "associate-vpc-cidr-block", "--vpc-id", string(l.status().VPC), "--cidr-block", secondBlock.String())
	for zone, block := range map[string]string{"a": "10.1.0.0/19", "b": "10.1.32.0/19"} {
		l.run("aws", "ec2", "create-subnet", "--vpc-id", string(l.status().VPC), "--availability-zone", "us-west-2"+zone,
			"--cidr-block", block, "--tag-specifications", "ResourceType=subnet,Tags=[{Key=kubernetes.io/role/cni,Value=1}]")
	}
	l.kubectl("scale", "deployment", "filler", "--replicas=44")
	l.ready("app=filler", 44)
	if n := l.outcomes("web-identity", "CreateNetworkInterface")["ok"]; n < 2 {
		t.Errorf("%d interfaces were created by the service account's role, want one on each node", n)
	}
	if n := l.outcomes("web-identity", "")["UnauthorizedOperation"]; n > 0 {
		t.Errorf("%d calls were refused with the scoped-down policy", n)
	}
}

// TestClusterMissingPermission takes a right away: the agent goes on with what it has, and an event says what is missing.
func TestClusterMissingPermission(t *testing.T) {
	l := start(t)
	l.run("berth-lab", "fault", "add", "CreateNetworkInterface", "UnauthorizedOperation", "--caller", "node:*")
	l.run("aws", "ec2", "associate-vpc-cidr-block", "--vpc-id", string(l.status().VPC), "--cidr-block", secondBlock.String())
	for zone, block := range map[string]string{"a": "10.1.0.0/19", "b": "10.1.32.0/19"} {
		l.run("aws", "ec2", "create-subnet", "--vpc-id", string(l.status().VPC), "--availability-zone", "us-west-2"+zone,
			"--cidr-block", block, "--tag-specifications", "ResourceType=subnet,Tags=[{Key=kubernetes.io/role/cni,Value=1}]")
	}
	l.apply(strings.ReplaceAll(filler, "replicas: 30", "replicas: 44"))
	l.until(time.Minute, "an event about the permission", func() error {
		events := l.kubectl("get", "events", "-A", "--field-selector", "reason=MissingIAMPermissions")
		if !strings.Contains(events, "CreateNetworkInterface") {
			return fmt.Errorf("there is none: %s", events)
		}
		return nil
	})
	l.run("berth-lab", "fault", "clear")
	l.ready("app=filler", 44)
}

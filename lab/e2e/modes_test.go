package e2e

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/berth-net/berth/lab/internal/workload"
)

// sharedSpace is where blocks that may be added to any VPC lie.
var sharedSpace = netip.MustParsePrefix("100.64.0.0/10")

// shop is more than the first block has addresses for: servers, and pods that do nothing.
var shop = workload.Deployment{Name: "web", Replicas: 4, Select: "app: web", More: "of: shop", Spread: "ScheduleAnyway", Servers: true}.String() +
	workload.Deployment{Name: "rest", Replicas: 46, Select: "app: rest", More: "of: shop"}.String() + `---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080}]
`

// TestClusterCustomNetworking is the lesson of a VPC that is too small: /16 blocks out of 100.64.0.0/10, an ENIConfig per zone, custom
// networking with prefixes, and the nodes moved over one by one, with the commands that an operator types.
func TestClusterCustomNetworking(t *testing.T) {
	l := start(t)
	l.apply(shop)
	before := l.tooSmall()
	l.blocksOfSharedSpace()
	l.kubectl("set", "env", "daemonset/aws-node", "-n", "kube-system", "-c", "aws-node", "AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG=true",
		"ENI_CONFIG_LABEL_DEF=topology.kubernetes.io/zone", "ENABLE_PREFIX_DELEGATION=true")
	l.rolledOut()
	after := l.ready("of=shop", 50)
	l.stayed(before, after)
	for _, p := range after {
		old := slices.ContainsFunc(before, func(b pod) bool { return b.Metadata.Name == p.Metadata.Name })
		if in := sharedSpace.Contains(netip.MustParseAddr(p.Status.PodIP)); in == old {
			l.Errorf("%s has %s", p.Metadata.Name, p.Status.PodIP)
		}
	}
	l.reachable(l.ready("app=web", 4))
	for node := range strings.FieldsSeq(l.kubectl("get", "nodes", "-o", "jsonpath={.items[*].metadata.name}")) {
		l.kubectl("drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=90s")
		l.kubectl("uncordon", node)
		l.ready("of=shop", 50)
	}
	l.movedOver(l.ready("of=shop", 50))
}

// tooSmall waits until pods wait for addresses, and returns those that run.
func (l *lab) tooSmall() (run []pod) {
	l.Helper()
	steady, last := time.Now(), -1
	l.until(2*time.Minute, "pods that wait for addresses", func() error {
		run = slices.DeleteFunc(l.pods("of=shop"), func(p pod) bool { return !p.ready() || p.Status.PodIP == "" })
		if len(run) != last {
			steady, last = time.Now(), len(run)
		}
		if len(run) < 20 || time.Since(steady) < 8*time.Second {
			return fmt.Errorf("%d of 50 run", len(run))
		}
		return nil
	})
	if len(run) >= 50 {
		l.Fatalf("all %d pods run: the VPC is not too small", len(run))
	}
	l.until(30*time.Second, "an event that says why", func() error {
		if out := l.kubectl("get", "events", "--field-selector", "type=Warning", "-o", "jsonpath={.items[*].message}"); !strings.Contains(out, "create a subnet in") {
			return fmt.Errorf("there is %s", out)
		}
		return nil
	})
	return run
}

// blocksOfSharedSpace gives the VPC a block for each zone, a subnet in it, and an ENIConfig of the zone's name.
func (l *lab) blocksOfSharedSpace() {
	l.Helper()
	id := string(l.status().VPC)
	for i, zone := range []string{"us-west-2a", "us-west-2b", "us-west-2c"} {
		block := fmt.Sprintf("100.%d.0.0/16", 64+i)
		l.run("aws", "ec2", "associate-vpc-cidr-block", "--vpc-id", id, "--cidr-block", block)
		subnet := strings.TrimSpace(l.run("aws", "ec2", "create-subnet", "--vpc-id", id, "--availability-zone", zone, "--cidr-block", block,
			"--query", "Subnet.SubnetId", "--output", "text"))
		l.apply(fmt.Sprintf("apiVersion: crd.k8s.amazonaws.com/v1alpha1\nkind: ENIConfig\nmetadata: {name: %s}\nspec: {subnet: %s}\n", zone, subnet))
	}
}

// stayed holds that pods run on under their addresses and were not restarted.
func (l *lab) stayed(before, after []pod) {
	l.Helper()
	for _, b := range before {
		i := slices.IndexFunc(after, func(a pod) bool { return a.Metadata.Name == b.Metadata.Name })
		switch {
		case i < 0:
			l.Errorf("%s with %s is gone", b.Metadata.Name, b.Status.PodIP)
		case after[i].Status.PodIP != b.Status.PodIP || after[i].restarts() != b.restarts():
			l.Errorf("%s had %s, now %s, restarted %d times", b.Metadata.Name, b.Status.PodIP, after[i].Status.PodIP, after[i].restarts())
		}
	}
}

// movedOver holds that every pod has an address of its zone's block, that they reach each other, the service and the internet, and
// that the nodes hold nothing of the first block but their own addresses.
func (l *lab) movedOver(pods []pod) {
	l.Helper()
	used := map[string]bool{}
	for _, p := range pods {
		if !sharedSpace.Contains(netip.MustParseAddr(p.Status.PodIP)) || used[p.Status.PodIP] {
			l.Errorf("%s has %s", p.Metadata.Name, p.Status.PodIP)
		}
		used[p.Status.PodIP] = true
	}
	servers := l.ready("app=web", 4)
	l.reachable(servers)
	got, err := l.get(servers[0], "http://web.default.svc.cluster.local/hostname")
	l.want("a service", "web-", got, err)
	got, err = l.get(servers[0], "http://203.0.113.10/")
	l.want("the internet", "203.0.113.", got, err)
	l.until(time.Minute, "the end of the first block's interfaces", func() error {
		out := l.run("aws", "ec2", "describe-network-interfaces", "--filters", "Name=tag:node.k8s.amazonaws.com/createdAt,Values=*",
			"--query", "NetworkInterfaces[].[PrivateIpAddress]", "--output", "text")
		for a := range strings.FieldsSeq(out) {
			if firstBlock.Contains(netip.MustParseAddr(a)) {
				return fmt.Errorf("there are %s", strings.Join(strings.Fields(out), " "))
			}
		}
		return nil
	})
	for status := range strings.FieldsSeq(l.kubectl("get", "nodes", "-o", `jsonpath={.items[*].status.conditions[?(@.type=="BerthAddressing")].status}`)) {
		if status != "True" {
			l.Errorf("BerthAddressing is %s", status)
		}
	}
}

package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/berth-net/berth/lab/internal/workload"
	"github.com/berth-net/berth/lab/internal/world"
)

var (
	firstBlock  = netip.MustParsePrefix("10.0.0.0/24")
	secondBlock = netip.MustParsePrefix("10.1.0.0/16")
)

// web is a Deployment of servers that tell their name, spread over the nodes.
var web = workload.Deployment{Name: "NAME", Replicas: 4, Select: "app: web, set: NAME", Spread: "DoNotSchedule", Servers: true}.String() + `---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  type: NodePort
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080, nodePort: 30080}]
`

// filler is more pods than the first interfaces have addresses for.
var filler = workload.Deployment{Name: "filler", Replicas: 30, Select: "app: filler", Spread: "DoNotSchedule"}.String()

// TestClusterPackets sends packets between everything that can talk: pods with addresses from the first block and from
// the one that was found, in both modes of kube-proxy.
func TestClusterPackets(t *testing.T) {
	for _, mode := range []string{"iptables", "nftables"} {
		t.Run(mode, func(t *testing.T) {
			l := start(t, "--kube-proxy-mode", mode)
			pods := l.bothBlocks()
			l.podsReachEachOther(pods)
			l.podsReachServices(pods)
			l.externalSNAT(onePerBlock(pods))
			outside := l.outside(pods)
			if mode == "iptables" {
				l.wrongInterface(pods, outside)
			}
		})
	}
}

// bothBlocks fills the first block, adds the second, and returns servers with addresses from either.
func (l *lab) bothBlocks() []pod {
	l.Helper()
	l.apply(strings.ReplaceAll(web, "NAME", "early"))
	l.ready("set=early", 4)
	l.apply(filler)
	l.ready("app=filler", 30) // with CoreDNS's two they are the 36 that two interfaces hold
	l.addSecondBlock()
	l.apply(strings.ReplaceAll(web, "NAME", "late"))
	pods := l.ready("app=web", 8)
	counts := map[string]int{}
	for _, p := range pods {
		a := netip.MustParseAddr(p.Status.PodIP)
		counts[fmt.Sprintf("%s %t", p.Spec.NodeName, firstBlock.Contains(a))]++
		if !firstBlock.Contains(a) && !secondBlock.Contains(a) {
			l.Errorf("%s has %s, which is from neither block", p.Metadata.Name, a)
		}
	}
	if len(counts) != 4 {
		l.Errorf("servers by node and first block: %v, want both on each node", counts)
	}
	return pods
}

// addSecondBlock gives the VPC a second block, with a tagged subnet in each node's zone.
func (l *lab) addSecondBlock() {
	l.Helper()
	id := string(l.status().VPC)
	l.run("aws", "ec2", "associate-vpc-cidr-block", "--vpc-id", id, "--cidr-block", secondBlock.String())
	for zone, block := range map[string]string{"a": "10.1.0.0/19", "b": "10.1.32.0/19"} {
		l.run("aws", "ec2", "create-subnet", "--vpc-id", id, "--availability-zone", "us-west-2"+zone,
			"--cidr-block", block, "--tag-specifications", "ResourceType=subnet,Tags=[{Key=kubernetes.io/role/cni,Value=1}]")
	}
}

func (l *lab) podsReachEachOther(pods []pod) {
	l.Helper()
	for _, from := range pods {
		for _, to := range pods {
			got, err := l.get(from, "http://"+to.Status.PodIP+":8080/hostname")
			l.want(from.Status.PodIP+" to "+to.Status.PodIP, to.Metadata.Name, got, err)
		}
	}
}

// podsReachServices tries the API server, a service by its name, and the internet, which sees the NAT gateway.
func (l *lab) podsReachServices(pods []pod) {
	l.Helper()
	for _, p := range pods {
		got, err := l.get(p, "https://kubernetes.default.svc/healthz")
		l.want(p.Status.PodIP+" to the API server", "ok", got, err)
		got, err = l.get(p, "http://web.default.svc.cluster.local/hostname")
		l.want(p.Status.PodIP+" to a service", "", got, err)
		got, err = l.get(p, "http://203.0.113.10/")
		l.want(p.Status.PodIP+" to the internet", "203.0.113.", got, err)
	}
}

// onePerBlock is a pod with an address of the first block, and one of the second, which leaves by another interface.
func onePerBlock(pods []pod) []pod {
	var out []pod
	for _, block := range []netip.Prefix{firstBlock, secondBlock} {
		at := slices.IndexFunc(pods, func(p pod) bool { return block.Contains(netip.MustParseAddr(p.Status.PodIP)) })
		out = append(out, pods[at])
	}
	return out
}

// externalSNAT looks at what leaves the nodes for the internet: packets with the node's address, and with external SNAT
// with the pod's, which the NAT gateway takes, too.
func (l *lab) externalSNAT(pods []pod) {
	l.Helper()
	l.natForSecondBlock()
	for _, external := range []string{"false", "true", "false"} {
		l.kubectl("set", "env", "daemonset/aws-node", "-n", "kube-system", "-c", "aws-node", "AWS_VPC_K8S_CNI_EXTERNALSNAT="+external)
		l.rolledOut()
		for _, p := range pods {
			node := l.nodeOf(p)
			want := node.Address
			if external == "true" {
				want = p.Status.PodIP
			}
			var answer string
			var err error
			seen := l.sources(node, netip.MustParseAddr("203.0.113.10"), func() { answer, err = l.get(p, "http://203.0.113.10/") })
			l.want(p.Status.PodIP+" to the internet", "203.0.113.", answer, err)
			if !slices.Equal(seen, []string{want}) {
				l.Errorf("with external SNAT %s %s leaves the node as %v, want %s", external, p.Status.PodIP, seen, want)
			}
		}
	}
}

// natForSecondBlock gives the new subnets the route table of a node's own: by the VPC's main one, which has no way out, an
// answer comes only to what leaves with the node's address by the primary interface.
func (l *lab) natForSecondBlock() {
	l.Helper()
	status := l.status()
	at := slices.IndexFunc(status.Interfaces, func(i world.InterfaceStatus) bool {
		return i.Instance == status.Nodes[0].ID && i.Address == status.Nodes[0].Address
	})
	table := strings.TrimSpace(l.run("aws", "ec2", "describe-route-tables", "--filters", "Name=association.subnet-id,Values="+string(status.Interfaces[at].Subnet),
		"--query", "RouteTables[0].RouteTableId", "--output", "text"))
	subnets := l.run("aws", "ec2", "describe-subnets", "--filters", "Name=tag:kubernetes.io/role/cni,Values=1", "--query", "Subnets[].SubnetId", "--output", "text")
	for subnet := range strings.FieldsSeq(subnets) {
		l.run("aws", "ec2", "associate-route-table", "--route-table-id", table, "--subnet-id", subnet)
	}
}

// sources are the IPv4 sources of what leaves a node for an address meanwhile.
func (l *lab) sources(node world.InstanceStatus, to netip.Addr, meanwhile func()) []string {
	l.Helper()
	ctx, cancel := context.WithCancel(l.Context())
	defer cancel()
	var captures []*capture
	for _, i := range l.status().Interfaces {
		if i.Instance == node.ID {
			captures = append(captures, l.capture(ctx, string(i.ID)))
		}
	}
	meanwhile()
	var seen []string
	for _, c := range captures {
		for _, p := range c.end() {
			if p.to == to && !slices.Contains(seen, p.from.String()) {
				seen = append(seen, p.from.String())
			}
		}
	}
	return seen
}

// outside launches an instance beside the cluster: nothing reaches a pod until the cluster's group lets it, then each
// pod is reached by its address and by a node port.
func (l *lab) outside(pods []pod) world.InstanceStatus {
	l.Helper()
	fields := strings.Fields(l.run("berth-lab", "run-instance"))
	id := fields[0]
	if got, err := l.getOutside(id, "http://"+pods[0].Status.PodIP+":8080/hostname"); err == nil {
		l.Errorf("an instance outside the cluster's group reaches a pod: %q", got)
	}
	group := strings.TrimSpace(l.run("aws", "ec2", "describe-security-groups", "--filters", "Name=group-name,Values=eks-cluster-sg-*",
		"--query", "SecurityGroups[0].GroupId", "--output", "text"))
	l.run("aws", "ec2", "authorize-security-group-ingress", "--group-id", group, "--protocol", "tcp", "--port", "0-65535", "--cidr", firstBlock.String())
	l.until(30*time.Second, "the rule", func() error {
		_, err := l.getOutside(id, "http://"+pods[0].Status.PodIP+":8080/hostname")
		return err
	})
	for _, p := range pods {
		got, err := l.getOutside(id, "http://"+p.Status.PodIP+":8080/hostname")
		l.want("outside to "+p.Status.PodIP, p.Metadata.Name, got, err)
	}
	status := l.status()
	for _, n := range status.Nodes {
		for range 6 {
			got, err := l.getOutside(id, "http://"+n.Address+":30080/hostname")
			l.want("outside to the node port of "+n.Name, "", got, err)
		}
	}
	for _, i := range status.Instances {
		if string(i.ID) == id {
			return i
		}
	}
	l.Fatalf("instance %s is not listed", id)
	return world.InstanceStatus{}
}

// wrongInterface takes a pod's rule away while its agent sleeps: its packets leave by the primary interface, where its
// address is not assigned, and are dropped. The agent, awake, puts the rule back.
func (l *lab) wrongInterface(pods []pod, outside world.InstanceStatus) {
	l.Helper()
	var victim pod
	for _, p := range pods {
		if secondBlock.Contains(netip.MustParseAddr(p.Status.PodIP)) {
			victim = p
		}
	}
	node := l.nodeOf(victim)
	agent := l.process(node, "berth-agent")
	signal := func(s syscall.Signal) {
		if err := syscall.Kill(agent, s); err != nil {
			l.Fatalf("signal the agent: %v", err)
		}
	}
	reach := func() error {
		_, err := l.getOutside(outside.Address, "http://"+victim.Status.PodIP+":8080/hostname")
		return err
	}
	before := l.spoofed(node)
	signal(syscall.SIGSTOP)
	asleep := true
	defer func() {
		if asleep {
			signal(syscall.SIGCONT)
		}
	}()
	l.run("berth-lab", "exec", string(node.ID), "--", "ip", "rule", "del", "from", victim.Status.PodIP)
	if err := reach(); err == nil {
		l.Error("a pod whose packets leave by the wrong interface is still reached")
	}
	if after := l.spoofed(node); after <= before {
		l.Errorf("the network counted %d packets with a wrong source before and %d after", before, after)
	}
	signal(syscall.SIGCONT)
	asleep = false
	l.until(45*time.Second, "the agent's repair", reach)
}

// nodeOf is the node that a pod is on.
func (l *lab) nodeOf(p pod) world.InstanceStatus {
	l.Helper()
	for _, n := range l.status().Nodes {
		if n.Name == p.Spec.NodeName {
			return n
		}
	}
	l.Fatalf("there is no node %s", p.Spec.NodeName)
	return world.InstanceStatus{}
}

// spoofed is how many packets with a wrong source the network dropped at a node's interfaces.
func (l *lab) spoofed(node world.InstanceStatus) uint64 {
	l.Helper()
	var n uint64
	for _, i := range l.status().Interfaces {
		if i.Instance == node.ID {
			n += i.Drops.AntiSpoof
		}
	}
	return n
}

// process is the one of a program in a node's network namespace.
func (l *lab) process(node world.InstanceStatus, name string) int {
	l.Helper()
	own, err := os.Stat(node.Namespace)
	if err != nil {
		l.Fatal(err)
	}
	processes, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		l.Fatal(err)
	}
	for _, p := range processes {
		program, err := os.Readlink(p + "/exe")
		if err != nil || filepath.Base(program) != name {
			continue
		}
		if ns, err := os.Stat(p + "/ns/net"); err == nil && os.SameFile(own, ns) {
			if pid, err := strconv.Atoi(filepath.Base(p)); err == nil {
				return pid
			}
		}
	}
	l.Fatalf("no %s runs in %s", name, node.Name)
	return 0
}

// TestClusterLeavesNothing kills the lab in the middle of its life, brings it up again on what is left, and looks for
// what remains after a proper end.
func TestClusterLeavesNothing(t *testing.T) {
	l := start(t)
	l.kubectl("create", "configmap", "kept")
	l.kubectl("set", "env", "-n", "kube-system", "daemonset/aws-node", "-c", "aws-node", "AWS_VPC_K8S_CNI_EXTERNALSNAT=true")
	id, running := world.Running()
	if !running {
		t.Fatal("the lab does not run")
	}
	if err := id.Kill(); err != nil {
		t.Fatal(err)
	}
	l.until(30*time.Second, "the lab's end", func() error {
		if id.Alive() {
			return errStill
		}
		return nil
	})
	l.run("berth-lab", "up")
	l.kubectl("get", "configmap", "kept")
	if got := l.agents(`{.spec.containers[0].env[?(@.name=="AWS_VPC_K8S_CNI_EXTERNALSNAT")].value} `); got != "true true " {
		t.Errorf("after a start of the lab the agents' external SNAT is %q", got)
	}
	l.apply(strings.ReplaceAll(web, "NAME", "again"))
	l.ready("set=again", 4)
	l.run("berth-lab", "down")
	for what, pattern := range map[string]string{
		"runtime folder": "/run/berth-lab", "node's disk": filepath.Join(l.repo, ".lab/nodes"), "control group": "/sys/fs/cgroup/*/berth-ip-*",
	} {
		if left, err := filepath.Glob(pattern); err != nil || len(left) > 0 {
			t.Errorf("%s is left: %v %v", what, left, err)
		}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || strings.Contains(string(mounts), "berth-lab") || strings.Contains(string(mounts), filepath.Join(l.repo, ".lab")) {
		t.Errorf("mounts are left: %v", err)
	}
	if out, err := exec.Command("ps", "-eo", "args").Output(); err != nil || strings.Contains(string(out), "kube-apiserver --") {
		t.Errorf("a control plane still runs: %v", err)
	}
}

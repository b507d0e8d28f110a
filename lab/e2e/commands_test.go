package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/berth-net/berth/lab/internal/image"
	"github.com/berth-net/berth/lab/internal/world"
)

// TestClusterCommands uses a lab as its operator does: what `berth lab --help` lists and no other test needs.
func TestClusterCommands(t *testing.T) {
	l := start(t)
	l.apply(strings.ReplaceAll(web, "NAME", "web"))
	l.ready("app=web", 4)
	for _, test := range []struct {
		name string
		run  func(*lab)
	}{
		{"shell, exec and logs", (*lab).shellAndLogs},
		{"snapshot", (*lab).snapshot},
		{"an image that was loaded is rolled out", (*lab).loadImage},
		{"Helm takes over and a value rolls the pods", (*lab).helm},
		{"reboot", (*lab).reboot},
		{"a terminated node goes", (*lab).terminateNode},
	} {
		if !t.Run(test.name, func(t *testing.T) { test.run(&lab{T: t, repo: l.repo, env: l.env}) }) {
			return // what follows would only fail for it
		}
	}
}

func (l *lab) shellAndLogs() {
	node := l.status().Nodes[0]
	short, _, _ := strings.Cut(node.Name, ".")
	out, err := l.feed("hostname; echo $PWD; kubelet --version >/dev/null && exit 7\n", "berth-lab", "shell", short)
	if out != node.Name+"\n/\n" || err == nil || !strings.Contains(err.Error(), "exit status 7") {
		l.Errorf("the shell said %q, %v, want the node's name, its root and exit status 7", out, err)
	}
	if out := l.run("berth-lab", "exec", string(node.ID), "ip", "-o", "-4", "addr", "show", "dev", "eth0"); !strings.Contains(out, node.Address) {
		l.Errorf("eth0 has not %s: %s", node.Address, out)
	}
	if _, err := l.try(l.Context(), "berth-lab", "shell", "nobody"); err == nil || !strings.Contains(err.Error(), "berth lab status lists them") {
		l.Errorf("a shell in an instance that is not there: %v", err)
	}
	for _, name := range []string{"berth-lab", "control-plane/kube-apiserver", short + "/kubelet", short + "/ipamd"} {
		if !strings.Contains(l.run("berth-lab", "logs"), name+" ") {
			l.Errorf("log %s is not listed", name)
		}
		if l.run("berth-lab", "logs", name) == "" {
			l.Errorf("log %s is empty", name)
		}
	}
}

// snapshot goes back to before an instance was launched, and on to when it ran. What is not of this lab is refused.
func (l *lab) snapshot() {
	before, after := filepath.Join(l.TempDir(), "before"), filepath.Join(l.TempDir(), "after")
	l.run("berth-lab", "snapshot", "save", before)
	id := strings.Fields(l.run("berth-lab", "run-instance"))[0]
	l.run("berth-lab", "snapshot", "save", after)
	listed := func() bool { return strings.Contains(l.run("berth-lab", "status"), id) }
	l.run("berth-lab", "snapshot", "load", before)
	if listed() {
		l.Error("the instance is still there")
	}
	l.run("berth-lab", "snapshot", "load", after)
	if !listed() {
		l.Error("the instance is not there again")
	}
	l.until(30*time.Second, "the instance's network", func() error {
		_, err := l.getOutside(id, "http://203.0.113.10/")
		return err
	})
	l.run("berth-lab", "terminate-instance", id)
	state, err := os.ReadFile(after)
	if err != nil {
		l.Fatal(err)
	}
	node := string(l.status().Nodes[0].ID)
	other := strings.ReplaceAll(string(state), node, "i-00000000000000000")
	for name, text := range map[string]string{"is of another lab": other, "restore snapshot": "{"} {
		if _, err := l.try(l.Context(), "berth-lab", "snapshot", "load", l.file("bad", text)); err == nil || !strings.Contains(err.Error(), name) {
			l.Errorf("a snapshot that should be refused with %q: %v", name, err)
		}
	}
	l.reachable(l.ready("app=web", 4))
}

// reachable asks each pod from the first one.
func (l *lab) reachable(pods []pod) {
	l.Helper()
	for _, to := range pods {
		got, err := l.get(pods[0], "http://"+to.Status.PodIP+":8080/hostname")
		l.want(pods[0].Status.PodIP+" to "+to.Status.PodIP, to.Metadata.Name, got, err)
	}
}

// loadImage gives the agent's image another name, as a newly built one has, and rolls it out.
func (l *lab) loadImage() {
	spec := world.AgentImage(world.PathsOf(l.repo))
	spec.Names = []string{"berth-agent:new"}
	archive := filepath.Join(l.TempDir(), "agent.tar")
	if err := image.Write(spec, archive); err != nil {
		l.Fatal(err)
	}
	l.run("berth-lab", "image", "load", archive)
	l.kubectl("set", "image", "-n", "kube-system", "daemonset/aws-node", "aws-node=berth-agent:new", "aws-vpc-cni-init=berth-agent:new")
	l.rolledOut()
	if got := l.agents("{.spec.containers[0].image} "); got != "berth-agent:new berth-agent:new " {
		l.Errorf("the agents run %s", got)
	}
	l.reachable(l.ready("app=web", 4))
	if _, err := l.try(l.Context(), "berth-lab", "image", "load", "/dev/null"); err == nil {
		l.Error("an empty archive is loaded")
	}
}

// rolledOut waits until every agent is as the DaemonSet says.
func (l *lab) rolledOut() {
	l.Helper()
	l.kubectl("rollout", "status", "-n", "kube-system", "daemonset/aws-node", "--timeout=120s")
}

// agents prints something of each agent's pod.
func (l *lab) agents(path string) string {
	l.Helper()
	return l.kubectl("get", "pods", "-n", "kube-system", "-l", "k8s-app=aws-node", "-o", "jsonpath={range .items[*]}"+path+"{end}")
}

// helm removes the add-on and installs the chart in its place: the pods that run keep their addresses.
func (l *lab) helm() {
	before := l.ready("app=web", 4)
	l.run("aws", "eks", "delete-addon", "--cluster-name", "eks-enhsubsel-demo", "--addon-name", "vpc-cni")
	l.until(time.Minute, "the add-on's end", func() error {
		if out := l.kubectl("get", "all,serviceaccount,configmap", "-n", "kube-system", "-l", "app.kubernetes.io/instance=aws-vpc-cni", "-o", "name"); out != "" {
			return fmt.Errorf("left is %s", out)
		}
		return nil
	})
	const gateway = "http://169.254.169.254:8773"
	values := l.file("values.yaml", fmt.Sprintf(`
image: {override: "berth-agent:lab"}
init: {image: {override: "berth-agent:lab"}}
env: {CLUSTER_NAME: eks-enhsubsel-demo}
extraEnv: [{name: AWS_ENDPOINT_URL_EC2, value: %q}, {name: AWS_ENDPOINT_URL_STS, value: %q}]
`, gateway, gateway))
	chart := []string{"aws-vpc-cni", filepath.Join(l.repo, "deploy/chart/berth"), "--namespace", "kube-system", "--values", values}
	l.run("helm", append([]string{"install"}, chart...)...)
	l.rolledOut()
	after := l.ready("app=web", 4)
	for i := range before {
		if before[i].Metadata != after[i].Metadata || before[i].Status.PodIP != after[i].Status.PodIP {
			l.Errorf("%s with %s became %s with %s", before[i].Metadata.Name, before[i].Status.PodIP, after[i].Metadata.Name, after[i].Status.PodIP)
		}
	}
	l.reachable(after)
	names := l.agents("{.metadata.name} ")
	l.run("helm", append(append([]string{"upgrade"}, chart...), "--set", "env.WARM_IP_TARGET=3")...)
	l.rolledOut()
	if again := l.agents("{.metadata.name} "); again == names {
		l.Errorf("a value changed and the pods are still %s", names)
	}
	if got := l.agents(`{.spec.containers[0].env[?(@.name=="WARM_IP_TARGET")].value} `); got != "3 3 " {
		l.Errorf("WARM_IP_TARGET is %q in the agents", got)
	}
	for _, bad := range []string{"env.ENABLE_POD_ENI=true", "imge.tag=x", "hostNetwork=false"} {
		if _, err := l.try(l.Context(), "helm", append(append([]string{"upgrade"}, chart...), "--set", bad)...); err == nil {
			l.Errorf("%s is accepted", bad)
		}
	}
	l.reachable(l.ready("app=web", 4))
}

// reboot takes the power from a node: its pods get addresses again, and no two the same.
func (l *lab) reboot() {
	l.kubectl("scale", "deployment", "web", "--replicas=12")
	pods := l.ready("app=web", 12)
	node := pods[0].Spec.NodeName
	l.run("berth-lab", "reboot", node)
	l.until(time.Minute, "the pods' first restart", func() error {
		for _, p := range l.pods("app=web") {
			if p.Spec.NodeName == node && p.restarts() == 0 {
				return fmt.Errorf("%s has not been restarted", p.Metadata.Name)
			}
		}
		return nil
	})
	pods = l.ready("app=web", 12)
	used := map[string]string{}
	for _, p := range pods {
		if other := used[p.Status.PodIP]; other != "" {
			l.Errorf("%s and %s have %s", other, p.Metadata.Name, p.Status.PodIP)
		}
		used[p.Status.PodIP] = p.Metadata.Name
	}
	l.reachable(pods)
}

// terminateNode ends a node's instance by EC2's own action: Kubernetes has the node no more, nor has the lab, also when
// it is started again.
func (l *lab) terminateNode() {
	node := l.status().Nodes[1]
	l.run("aws", "ec2", "terminate-instances", "--instance-ids", string(node.ID))
	l.until(30*time.Second, "the node's end", func() error {
		if out := l.kubectl("get", "nodes", "-o", "name"); strings.Contains(out, node.Name) || len(l.status().Nodes) != 1 {
			return fmt.Errorf("there are %s", out)
		}
		return nil
	})
	l.run("berth-lab", "down", "--keep")
	l.run("berth-lab", "up")
	if nodes := l.status().Nodes; len(nodes) != 1 {
		l.Errorf("after a start of the lab: %v", nodes)
	}
}

// feed runs a program of the lab with a standard input.
func (l *lab) feed(input, name string, args ...string) (string, error) {
	l.Helper()
	ctx, cancel := context.WithTimeout(l.Context(), time.Minute)
	defer cancel()
	cmd := l.command(ctx, name, args...)
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.Output()
	return string(out), err
}

// bridge gives each node a bridge with the addresses of 10.244.<last octet of the node's address>.0/24: the plugins that
// every node brings, and no agent.
const bridge = `
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: bridge, namespace: kube-system}
spec:
  selector: {matchLabels: {app: bridge}}
  template:
    metadata: {labels: {app: bridge}}
    spec:
      hostNetwork: true
      tolerations: [{operator: Exists}]
      containers:
      - name: bridge
        image: registry.k8s.io/e2e-test-images/agnhost:2.59
        command:
        - sh
        - -c
        - |
          cat >/etc/cni/net.d/10-bridge.conflist <<END
          {"cniVersion": "1.0.0", "name": "bridge", "plugins": [
            {"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": true, "ipam": {"type": "host-local",
             "subnet": "10.244.${NODE##*.}.0/24", "routes": [{"dst": "0.0.0.0/0"}]}},
            {"type": "portmap", "capabilities": {"portMappings": true}}]}
          END
          exec /agnhost pause
        env: [{name: NODE, valueFrom: {fieldRef: {fieldPath: status.hostIP}}}]
        volumeMounts: [{name: conf, mountPath: /etc/cni/net.d}]
      volumes: [{name: conf, hostPath: {path: /etc/cni/net.d}}]
`

// TestClusterWithoutCNI brings the lab up without our CNI, and another one into it.
func TestClusterWithoutCNI(t *testing.T) {
	l := start(t, "--without-cni")
	if out := l.kubectl("get", "nodes", "--no-headers"); strings.Count(out, " NotReady ") != 2 {
		t.Errorf("nodes without a CNI are\n%s", out)
	}
	l.apply(bridge)
	l.kubectl("wait", "--for=condition=Ready", "nodes", "--all", "--timeout=60s")
	l.apply(strings.ReplaceAll(web, "NAME", "web"))
	pods := l.ready("app=web", 4)
	for _, p := range pods {
		if !strings.HasPrefix(p.Status.PodIP, "10.244.") {
			t.Errorf("%s has %s, which is none of the bridge's addresses", p.Metadata.Name, p.Status.PodIP)
		}
		got, err := l.get(p, "https://172.20.0.1/healthz")
		l.want(p.Status.PodIP+" to the API server", "ok", got, err)
		got, err = l.get(p, "http://203.0.113.10/")
		l.want(p.Status.PodIP+" to the internet", "203.0.113.", got, err)
		for _, to := range pods {
			if to.Spec.NodeName != p.Spec.NodeName {
				continue
			}
			got, err := l.get(p, "http://"+to.Status.PodIP+":8080/hostname")
			l.want(p.Status.PodIP+" to "+to.Status.PodIP, to.Metadata.Name, got, err)
		}
	}
	var calls []struct{ Caller string }
	if err := json.Unmarshal([]byte(l.run("berth-lab", "calls", "-o", "json")), &calls); err != nil {
		t.Fatal(err)
	}
	for _, c := range calls {
		if strings.HasPrefix(c.Caller, "node:") {
			t.Errorf("a node called EC2 without our agent: %v", c)
		}
	}
	l.run("berth-lab", "down", "--keep")
	l.run("berth-lab", "up")
	if out := l.kubectl("get", "daemonsets", "-n", "kube-system", "-o", "name"); out != "daemonset.apps/bridge\n" {
		t.Errorf("a lab without a CNI that goes on has %q", out)
	}
	l.ready("app=web", 4)
}

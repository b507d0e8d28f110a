package e2e

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// stuck is a pod on each node that waits for a ConfigMap: until Kubernetes 1.36 it looks as if it waited for an address, so both
// nodes are hungry while addresses are to be had.
const stuck = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: stuck}
spec:
  replicas: 2
  selector: {matchLabels: {app: stuck}}
  template:
    metadata: {labels: {app: stuck}}
    spec:
      terminationGracePeriodSeconds: 0
      topologySpreadConstraints:
      - {maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {app: stuck}}}
      containers:
      - {name: pause, image: "public.ecr.aws/eks-distro/kubernetes/pause:3.7", volumeMounts: [{name: v, mountPath: /v}]}
      volumes: [{name: v, configMap: {name: missing}}]
`

// controlled is a cluster with the controller.
type controlled struct {
	*lab
	chart   []string // how Helm installs it
	fillers int
}

// TestClusterController: the chart's controller leads, divides, hangs, is killed, loses its rights and goes away, with no more rights than
// the chart gives. Meanwhile pods get addresses. The part of the account is so small that two hungry nodes divide it.
func TestClusterController(t *testing.T) {
	c := &controlled{lab: start(t)}
	c.apply(strings.ReplaceAll(web, "NAME", "web"))
	before := c.ready("app=web", 4)
	c.apply(strings.ReplaceAll(filler, "replicas: 30", "replicas: 0"))
	c.install()
	c.more()

	c.apply(stuck)
	c.until(20*time.Second, "a share on both nodes", func() error { return c.hungry(2, 2) })
	if out := c.run("berth", "status"); strings.Count(out, " 2/2\n") != 2 {
		t.Errorf("berth status does not show the share of both nodes:\n%s", out)
	}
	if out := c.kubectl("logs", "-n", "kube-system", "-l", "k8s-app=aws-node", "-c", "aws-node", "--tail=-1"); strings.Count(out, `"divided":true`) != 2 {
		t.Errorf("the agents' logs do not say once each that a share counts:\n%s", out)
	}
	c.more()
	c.leaderHangs()
	c.leaderIsKilled()
	c.rightsAreMissing()
	c.removed()
	c.more()
	c.kubectl("create", "configmap", "missing")
	c.ready("app=stuck", 2)
	c.stayed(before, c.ready("app=web", 4))
	c.reachable(c.ready("app=web", 4))
}

// install puts the chart with the controller in the add-on's place, and holds that one replica leads and the other knows.
func (c *controlled) install() {
	c.Helper()
	c.run("aws", "eks", "delete-addon", "--preserve", "--cluster-name", "eks-enhsubsel-demo", "--addon-name", "vpc-cni")
	const gateway = "http://169.254.169.254:8773"
	values := c.file("values.yaml", fmt.Sprintf(`
image: {override: "berth-agent:lab"}
init: {image: {override: "berth-agent:lab"}}
env: {CLUSTER_NAME: eks-enhsubsel-demo}
extraEnv: [{name: AWS_ENDPOINT_URL_EC2, value: %q}, {name: AWS_ENDPOINT_URL_STS, value: %q}]
`, gateway, gateway))
	c.chart = []string{
		"upgrade", "--install", "--take-ownership", "aws-vpc-cni", filepath.Join(c.repo, "deploy/chart/berth"), "--namespace", "kube-system", "--values", values,
		"--set", "originalMatchLabels=true", "--set", "controller.ec2Share=0.01", "--set",
	}
	c.until(time.Minute, "the add-on's end", func() error {
		_, err := c.try(c.Context(), "helm", append(c.chart, "controller.enabled=true")...)
		return err
	})
	c.rolledOut()
	c.kubectl("rollout", "status", "-n", "kube-system", "deployment/berth-controller", "--timeout=60s")
	leader := c.leads("")
	for _, p := range c.controllers() {
		want := "stands by; " + leader + " leads"
		if p.Metadata.Name == leader {
			want = "leads"
		}
		got, err := c.page(p.Metadata.Name, "readyz")
		c.want("readyz of "+p.Metadata.Name, want, got, err)
	}
	c.until(10*time.Second, "the first word", func() error {
		if word := c.kubectl("get", "configmap", "-n", "kube-system", "berth-ec2-share", "-o", "jsonpath={.data.share}"); !strings.Contains(word, `"hungry":0,"nodes":2`) {
			return fmt.Errorf("it is %q", word)
		}
		return nil
	})
	if out := c.run("berth", "status"); strings.Count(out, " none\n") != 2 {
		c.Errorf("berth status does not say that no share counts:\n%s", out)
	}
	if out := c.logs(); strings.Contains(out, "orbidden") || strings.Contains(out, `"WARN"`) {
		c.Errorf("the controller's log:\n%s", out)
	}
	for _, right := range []string{"create leases", "patch leases/other", "patch configmaps/coredns", "get configmaps/berth-ec2-share", "get secrets", "patch nodes", "get pods"} {
		args := append([]string{"auth", "can-i", "-n", "kube-system", "--as", "system:serviceaccount:kube-system:berth-controller"}, strings.Fields(right)...)
		if out, _ := c.try(c.Context(), "kubectl", args...); strings.TrimSpace(out) != "no" {
			c.Errorf("the controller may %s: %s", right, out)
		}
	}
}

// leaderHangs stops the leader's process: the other replica leads, no agent is without a share meanwhile, and the one that wakes up
// leads no more.
func (c *controlled) leaderHangs() {
	c.Helper()
	old := c.leads("")
	process := c.leaderProcess(old)
	made := c.made()
	if err := syscall.Kill(process, syscall.SIGSTOP); err != nil {
		c.Fatal(err)
	}
	began := time.Now()
	next := c.leads(old)
	c.Logf("another replica leads %s after the leader hung", time.Since(began).Round(time.Second))
	c.until(40*time.Second, "the next leader's word", func() error {
		if err := c.hungry(2, 2); err != nil {
			c.Fatalf("with a leader that hangs: %v", err)
		}
		if c.made() == made {
			return fmt.Errorf("it is still that of %s", made)
		}
		return nil
	})
	c.more()
	_ = syscall.Kill(process, syscall.SIGCONT) // unless the kubelet has killed it
	c.until(time.Minute, "the old leader stands by", func() error {
		got, err := c.page(old, "readyz")
		if err == nil && got != "stands by; "+next+" leads" {
			err = fmt.Errorf("readyz: %q", got)
		}
		return err
	})
	c.leads("")
}

// leaderIsKilled holds that somebody leads on after the leader's end without a word.
func (c *controlled) leaderIsKilled() {
	c.Helper()
	old := c.leads("")
	if err := syscall.Kill(c.leaderProcess(old), syscall.SIGKILL); err != nil {
		c.Fatal(err)
	}
	c.until(30*time.Second, "the leader's restart", func() error {
		for _, p := range c.controllers() {
			if p.Metadata.Name == old && p.restarts() > 0 && p.ready() {
				return nil
			}
		}
		return errStill
	})
	c.leads("")
	if err := c.hungry(2, 2); err != nil {
		c.Errorf("the leader was killed: %v", err)
	}
	c.more()
}

// rightsAreMissing takes a binding away: the replicas say what they lack and who gives it, and what they say helps.
func (c *controlled) rightsAreMissing() {
	c.Helper()
	c.kubectl("delete", "rolebinding", "-n", "kube-system", "berth-controller")
	c.until(time.Minute, "replicas that are not ready", func() error {
		for _, p := range c.controllers() {
			if p.ready() {
				return fmt.Errorf("%s is ready", p.Metadata.Name)
			}
			if got, err := c.page(p.Metadata.Name, "metrics"); err != nil {
				return err
			} else if !strings.Contains(got, "\nberth_controller_degraded 1\n") {
				return fmt.Errorf("%s is not degraded", p.Metadata.Name)
			}
		}
		return nil
	})
	out := c.logs()
	for _, text := range []string{`403 Forbidden: leases.coordination.k8s.io \"berth-controller\" is forbidden`, "controller.enabled=true: run helm upgrade"} {
		if !strings.Contains(out, text) {
			c.Errorf("the log lacks %q:\n%s", text, out)
		}
	}
	if n := strings.Count(out, "the lease cannot be had"); n > 6 {
		c.Errorf("the log says it %d times:\n%s", n, out)
	}
	c.more()
	c.run("helm", append(c.chart, "controller.enabled=true")...)
	c.leads("")
	c.kubectl("rollout", "status", "-n", "kube-system", "deployment/berth-controller", "--timeout=60s")
	c.until(time.Minute, "a share on both nodes again", func() error { return c.hungry(2, 2) })
}

// removed ends all replicas: the last word counts for its time, and the agents go on without one. Then the chart takes the rest away.
func (c *controlled) removed() {
	c.Helper()
	c.kubectl("scale", "-n", "kube-system", "deployment/berth-controller", "--replicas=0")
	c.until(30*time.Second, "the replicas' end", func() error {
		if n := len(c.controllers()); n > 0 {
			return fmt.Errorf("there are %d", n)
		}
		return nil
	})
	if err := c.hungry(2, 2); err != nil {
		c.Errorf("the last word counts no more at once: %v", err)
	}
	c.more()
	began := time.Now()
	c.until(100*time.Second, "the end of the share", func() error { return c.hungry(0, 2) })
	c.Logf("the share ran out %s after the controller's end", time.Since(began).Round(time.Second))
	c.more()
	c.run("helm", append(c.chart, "controller.enabled=false")...)
	c.rolledOut()
	if out := c.kubectl("get", "lease,configmap,deployment,role,rolebinding,serviceaccount,pdb", "-n", "kube-system", "-o", "name"); strings.Contains(out, "berth-controller") ||
		strings.Contains(out, "ec2-share") {
		c.Errorf("left of the controller is %s", out)
	}
	if out := c.agents(`{.spec.containers[0].env[?(@.name=="ENABLE_EC2_SHARE")].value}`); out != "" {
		c.Errorf("ENABLE_EC2_SHARE is %q in the agents", out)
	}
}

// more makes a pod more on each node: they have addresses and run.
func (c *controlled) more() {
	c.Helper()
	c.fillers += 2
	c.kubectl("scale", "deployment", "filler", fmt.Sprintf("--replicas=%d", c.fillers))
	began := time.Now()
	c.ready("app=filler", c.fillers)
	if took := time.Since(began); took > 20*time.Second {
		c.Errorf("two more pods took %s", took)
	}
}

func (c *controlled) controllers() []pod {
	c.Helper()
	var list struct{ Items []pod }
	if err := json.Unmarshal([]byte(c.kubectl("get", "pods", "-n", "kube-system", "-l", "app.kubernetes.io/component=berth-controller", "-o", "json")), &list); err != nil {
		c.Fatal(err)
	}
	return list.Items
}

// logs is what the replicas have said.
func (c *controlled) logs() string {
	c.Helper()
	return c.kubectl("logs", "-n", "kube-system", "-l", "app.kubernetes.io/component=berth-controller", "--tail=-1", "--prefix")
}

// page is one of a replica's.
func (c *controlled) page(replica, page string) (string, error) {
	out, err := c.try(c.Context(), "kubectl", "get", "--raw", "/api/v1/namespaces/kube-system/pods/"+replica+":61680/proxy/"+page)
	return strings.TrimSpace(out), err
}

// leads waits until one replica, not the former one, leads by its own word and the lease, and returns it.
func (c *controlled) leads(former string) (leader string) {
	c.Helper()
	c.until(40*time.Second, "a leader", func() error {
		leader = c.kubectl("get", "lease", "-n", "kube-system", "berth-controller", "-o", "jsonpath={.spec.holderIdentity}")
		if leader == "" || leader == former {
			return fmt.Errorf("the lease is that of %q", leader)
		}
		for _, p := range c.controllers() {
			if p.Metadata.Name == former {
				continue
			}
			got, err := c.page(p.Metadata.Name, "metrics")
			if err != nil {
				return err
			}
			if leads := strings.Contains(got, "\nberth_controller_leading 1\n"); leads != (p.Metadata.Name == leader) {
				return fmt.Errorf("%s leads: %t, by the lease %s", p.Metadata.Name, leads, leader)
			}
		}
		return nil
	})
	return leader
}

// leaderProcess is a replica's process.
func (c *controlled) leaderProcess(replica string) int {
	c.Helper()
	all := c.controllers()
	return c.process(c.nodeOf(all[slices.IndexFunc(all, func(p pod) bool { return p.Metadata.Name == replica })]), "berth-controller")
}

// made is when the word was made that the first node follows.
func (c *controlled) made() string {
	c.Helper()
	for _, n := range c.follows() {
		if n.Share != nil {
			return n.Share.Made
		}
	}
	return ""
}

// follower is what `berth status -o json` says of an agent.
type follower struct {
	Node, Error string
	Share       *struct {
		Made   string
		Hungry int
	}
}

func (c *controlled) follows() []follower {
	c.Helper()
	var status struct{ Nodes []follower }
	if err := json.Unmarshal([]byte(c.run("berth", "status", "-o", "json")), &status); err != nil {
		c.Fatal(err)
	}
	return status.Nodes
}

// hungry says on which agents of so many does not count a share for as many hungry nodes, or any at all when that is 0.
func (c *controlled) hungry(want, agents int) error {
	all := c.follows()
	if len(all) != agents {
		return fmt.Errorf("%d agents", len(all))
	}
	for _, f := range all {
		if got := f.Share; f.Error != "" || (got != nil) != (want > 0) || got != nil && got.Hungry != want {
			return fmt.Errorf("the share on %s is %+v %s", f.Node, got, f.Error)
		}
	}
	return nil
}

package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// talkers are three pods that serve on port 8080, each with a Service on port 80.
var talkers = func() string {
	var b strings.Builder
	for _, name := range []string{"a", "b", "c"} {
		fmt.Fprintf(&b, `---
apiVersion: v1
kind: Pod
metadata: {name: %[1]s, labels: {app: %[1]s, of: talkers}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {name: agnhost, image: "registry.k8s.io/e2e-test-images/agnhost:2.59", args: [netexec, --http-port=8080]}
---
apiVersion: v1
kind: Service
metadata: {name: %[1]s}
spec: {selector: {app: %[1]s}, ports: [{port: 80, targetPort: 8080}]}
`, name)
	}
	return b.String()
}()

// onlyToB lets a out to b's pods alone, and to the cluster's DNS.
const onlyToB = `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: only-to-b}
spec:
  podSelector: {matchLabels: {app: a}}
  policyTypes: [Egress]
  egress:
  - to: [{podSelector: {matchLabels: {app: b}}}]
    ports: [{port: 8080}]
  - to: [{namespaceSelector: {}, podSelector: {matchLabels: {k8s-app: kube-dns}}}]
    ports: [{port: 53, protocol: UDP}, {port: 53, protocol: TCP}]
`

const onlyFromC = `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: only-from-c}
spec:
  podSelector: {matchLabels: {app: b}}
  ingress:
  - from: [{podSelector: {matchLabels: {app: c}}}]
`

// TestClusterNetworkPolicy turns network policy on under pods that run, and off again, as an operator does, with a real kube-proxy.
func TestClusterNetworkPolicy(t *testing.T) {
	l := start(t)
	l.apply(talkers)
	l.ready("of=talkers", 3)
	l.apply(onlyToB)
	l.reaches("a", "c", true) // nobody enforces it
	l.enforce("true")
	for to, want := range map[string]bool{"b": true, "c": false} {
		l.reaches("a", to, want)
	}
	l.reaches("b", "c", true)
	l.apply(onlyFromC)
	l.reaches("a", "b", false)
	l.reaches("c", "b", true)
	l.kubectl("delete", "pod", "b", "--wait")
	l.apply(talkers)
	l.ready("of=talkers", 3)
	l.reaches("a", "b", false)
	l.reaches("c", "b", true)
	if out := l.kubectl("get", "configmap", "-n", "kube-system", "amazon-vpc-cni", "-o", "jsonpath={.data.enable-network-policy-controller}"); out != "false" {
		t.Errorf("the key that starts the vendor's controller is %q", out)
	}
	l.enforce("false")
	for _, to := range []string{"b", "c"} {
		l.reaches("a", to, true)
	}
}

// enforce sets the add-on's value, and waits until all agents have it.
func (l *lab) enforce(value string) {
	l.Helper()
	l.run("aws", "eks", "update-addon", "--cluster-name", "eks-enhsubsel-demo", "--addon-name", "vpc-cni",
		"--configuration-values", fmt.Sprintf(`{"enableNetworkPolicy":%q}`, value))
	want := map[string]string{"true": "true"}[value]
	l.until(time.Minute, "the DaemonSet with the new value", func() error {
		got := l.kubectl("get", "daemonset/aws-node", "-n", "kube-system", "-o", `jsonpath={.spec.template.spec.containers[0].env[?(@.name=="ENABLE_NETWORK_POLICY")].value}`)
		if got != want {
			return fmt.Errorf("ENABLE_NETWORK_POLICY is %q", got)
		}
		return nil
	})
	l.rolledOut()
}

// reaches holds that a pod reaches a Service by its name, and the pod behind it by its address, or neither.
func (l *lab) reaches(from, to string, want bool) {
	l.Helper()
	pod := l.ready("app="+to, 1)[0]
	for _, target := range []string{to + ":80", pod.Status.PodIP + ":8080"} {
		l.until(20*time.Second, fmt.Sprintf("%s reaches %s: %v", from, target, want), func() error {
			_, err := l.try(l.Context(), "kubectl", "exec", from, "--", "/agnhost", "connect", "--timeout=2s", target)
			switch {
			case want:
				return err
			case err == nil:
				return fmt.Errorf("it does")
			case !strings.Contains(err.Error(), "TIMEOUT"):
				return err
			}
			return nil
		})
	}
}

package e2e

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestClusterManagedAddonIsTakenOverAndReturned: the add-on is given up with what it installed, Helm takes that over under the same
// names, and a new add-on takes it back. No pod changes its address meanwhile.
func TestClusterManagedAddonIsTakenOverAndReturned(t *testing.T) {
	l := start(t)
	l.apply(strings.ReplaceAll(web, "NAME", "web"))
	before := l.ready("app=web", 4)
	same := func(when string) {
		t.Helper()
		after := l.ready("app=web", 4)
		for i := range before {
			if before[i].Metadata != after[i].Metadata || before[i].Status.PodIP != after[i].Status.PodIP {
				t.Errorf("%s: %s with %s became %s with %s", when, before[i].Metadata.Name, before[i].Status.PodIP, after[i].Metadata.Name, after[i].Status.PodIP)
			}
		}
		l.reachable(after)
	}
	addon := []string{"--cluster-name", "eks-enhsubsel-demo", "--addon-name", "vpc-cni"}
	l.run("aws", append([]string{"eks", "delete-addon", "--preserve"}, addon...)...)
	l.until(time.Minute, "the add-on's end", func() error {
		if out, err := l.try(t.Context(), "aws", append([]string{"eks", "describe-addon"}, addon...)...); err == nil {
			return fmt.Errorf("there is %s", out)
		}
		return nil
	})
	l.rolledOut() // what it installed is there
	const gateway = "http://169.254.169.254:8773"
	values := l.file("values.yaml", fmt.Sprintf(`
image: {override: "berth-agent:lab"}
init: {image: {override: "berth-agent:lab"}}
env: {CLUSTER_NAME: eks-enhsubsel-demo, WARM_IP_TARGET: "3"}
extraEnv: [{name: AWS_ENDPOINT_URL_EC2, value: %q}, {name: AWS_ENDPOINT_URL_STS, value: %q}]
`, gateway, gateway))
	l.run("helm", "upgrade", "--install", "--take-ownership", "aws-vpc-cni", filepath.Join(l.repo, "deploy/chart/berth"), "--namespace", "kube-system",
		"--values", values, "--set", "originalMatchLabels=true") // the selector of the add-on's DaemonSet cannot be changed
	l.rolledOut()
	if got := l.agents(`{.spec.containers[0].env[?(@.name=="WARM_IP_TARGET")].value} `); got != "3 3 " {
		t.Errorf("WARM_IP_TARGET is %q in the agents", got)
	}
	same("taken over by Helm")

	l.run("aws", append([]string{"eks", "create-addon", "--resolve-conflicts", "OVERWRITE"}, addon...)...)
	l.run("aws", append([]string{"eks", "wait", "addon-active"}, addon...)...)
	l.kubectl("delete", "secret", "-n", "kube-system", "-l", "owner=helm,name=aws-vpc-cni")
	l.rolledOut()
	same("returned to the add-on")
}

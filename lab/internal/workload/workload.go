// Package workload writes the Deployments that the lab's tests apply. Only tests import it.
package workload

import "fmt"

// Deployment has pods that end at once when they are told to: servers that tell their names, or pods that do nothing.
type Deployment struct {
	Name     string
	Replicas int
	// Select are the labels that select the pods, and More further ones of theirs, as YAML writes them between braces.
	Select, More string
	// Spread is what becomes of a pod that would make the nodes unequal by more than one, such as DoNotSchedule; empty lets
	// the scheduler choose.
	Spread string
	// Servers answer by HTTP on port 8080, their names at /hostname.
	Servers bool
}

// String is the Deployment's manifest, which begins a document and ends none.
func (d Deployment) String() string {
	labels, spread := d.Select, ""
	if d.More != "" {
		labels += ", " + d.More
	}
	if d.Spread != "" {
		spread = fmt.Sprintf(`
      topologySpreadConstraints:
      - {maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: %s, labelSelector: {matchLabels: {%s}}}`, d.Spread, d.Select)
	}
	container := `{name: pause, image: "public.ecr.aws/eks-distro/kubernetes/pause:3.7"}`
	if d.Servers {
		container = `name: web
        image: registry.k8s.io/e2e-test-images/agnhost:2.59
        args: [netexec, --http-port=8080]
        readinessProbe: {httpGet: {path: /healthz, port: 8080}, periodSeconds: 1}`
	}
	return fmt.Sprintf(`
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: %s}
spec:
  replicas: %d
  selector: {matchLabels: {%s}}
  template:
    metadata: {labels: {%s}}
    spec:
      terminationGracePeriodSeconds: 0%s
      containers:
      - %s
`, d.Name, d.Replicas, d.Select, labels, spread, container)
}

package addon

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strings"

	"sigs.k8s.io/yaml"
)

// manager is the field manager under which EKS applies add-ons.
const manager = "eks"

// Helm renders this repository's chart.
type Helm struct {
	// Program is Helm, Chart the folder of the chart.
	Program, Chart string
	// Release is the name of the release; EKS installs add-ons without one, so it only shows in labels.
	Release string
	// KubeVersion is the cluster's version.
	KubeVersion string
}

// Template renders the chart with its custom resource definitions.
func (h Helm) Template(ctx context.Context, values map[string]any) ([]byte, error) {
	data, err := json.Marshal(values)
	if err != nil {
		return nil, fmt.Errorf("write values: %w", err)
	}
	return run(ctx, data, h.Program, "template", h.Release, h.Chart, "--namespace", "kube-system", "--include-crds",
		"--kube-version", h.KubeVersion, "--values", "-")
}

// Kubectl changes the cluster by running kubectl. It is an [Installer].
type Kubectl struct {
	Program, Kubeconfig string
}

// Apply applies the manifests one by one on the server's side.
func (k Kubectl) Apply(ctx context.Context, manifests []byte, conflicts Conflicts) error {
	for _, document := range documents(manifests) {
		if err := k.applyOne(ctx, document, conflicts); err != nil {
			return err
		}
	}
	return nil
}

func (k Kubectl) applyOne(ctx context.Context, document map[string]any, conflicts Conflicts) error {
	args := []string{"--kubeconfig", k.Kubeconfig, "apply", "--server-side", "--field-manager", manager, "-f", "-"}
	if conflicts == Overwrite {
		args = append(args, "--force-conflicts")
	}
	data, err := json.Marshal(document)
	if err != nil {
		return fmt.Errorf("write manifest: %w", err)
	}
	if _, err = run(ctx, data, k.Program, args...); err == nil {
		return nil
	}
	name := identify(document)
	fields := conflicting(err.Error())
	if len(fields) == 0 {
		return fmt.Errorf("apply %s: %w", name, err)
	}
	if conflicts != Preserve {
		return &ConflictError{Resource: name, Fields: fields}
	}
	for _, field := range fields {
		remove(document, field)
	}
	if data, err = json.Marshal(document); err != nil {
		return fmt.Errorf("write manifest: %w", err)
	}
	if _, err := run(ctx, data, k.Program, args...); err != nil {
		return fmt.Errorf("apply %s without the fields that others own: %w", name, err)
	}
	return nil
}

// Delete deletes what the manifests name.
func (k Kubectl) Delete(ctx context.Context, manifests []byte) error {
	_, err := run(ctx, manifests, k.Program, "--kubeconfig", k.Kubeconfig, "delete", "--ignore-not-found", "--wait=false", "-f", "-")
	return err
}

// workload is what of a DaemonSet or a Deployment tells how far its rollout is.
type workload struct {
	Metadata struct{ Generation int64 }
	Spec     struct{ Replicas *int }
	Status   struct {
		ObservedGeneration                                          int64
		DesiredNumberScheduled, UpdatedNumberScheduled, NumberReady int // of a DaemonSet
		UpdatedReplicas, ReadyReplicas, Replicas                    int // of a Deployment
	}
}

// Rollout reads a workload of kube-system.
func (k Kubectl) Rollout(ctx context.Context, name string) (bool, string, error) {
	data, err := run(ctx, nil, k.Program, "--kubeconfig", k.Kubeconfig, "--namespace", "kube-system", "get", name, "-o", "json")
	if err != nil {
		return false, "", err
	}
	var w workload
	if err := json.Unmarshal(data, &w); err != nil {
		return false, "", fmt.Errorf("read %s: %w", name, err)
	}
	done, missing := w.rolledOut(name)
	return done, missing, nil
}

func (w workload) rolledOut(name string) (bool, string) {
	want, updated, ready := w.Status.DesiredNumberScheduled, w.Status.UpdatedNumberScheduled, w.Status.NumberReady
	if w.Spec.Replicas != nil {
		want, updated, ready = *w.Spec.Replicas, w.Status.UpdatedReplicas, w.Status.ReadyReplicas
		if w.Status.Replicas > want {
			ready = min(ready, want-1) // the old ones are still there
		}
	}
	switch {
	case w.Status.ObservedGeneration < w.Metadata.Generation:
		return false, name + ": the change has not been seen yet"
	case updated < want:
		return false, fmt.Sprintf("%s: %d of %d pods are updated", name, updated, want)
	case ready < want:
		return false, fmt.Sprintf("%s: %d of %d pods are ready", name, max(ready, 0), want)
	}
	return true, ""
}

// documents splits a stream of YAML documents; the empty ones are left out.
func documents(manifests []byte) []map[string]any {
	var out []map[string]any
	for _, text := range regexp.MustCompile(`(?m)^---.*$`).Split(string(manifests), -1) {
		var document map[string]any
		if err := yaml.Unmarshal([]byte(text), &document); err == nil && document != nil {
			out = append(out, document)
		}
	}
	return out
}

func identify(document map[string]any) string {
	metadata, _ := document["metadata"].(map[string]any)
	return fmt.Sprintf("%v %v", document["kind"], metadata["name"])
}

var conflictField = regexp.MustCompile(`(?m)(?:^- |: )(\.[^\n]+)$`)

// conflicting reads the fields out of kubectl's message about conflicts.
func conflicting(message string) []string {
	if !strings.Contains(message, "conflict with") && !strings.Contains(message, "conflicts with") {
		return nil
	}
	var fields []string
	for _, m := range conflictField.FindAllStringSubmatch(message, -1) {
		fields = append(fields, strings.TrimSpace(m[1]))
	}
	return fields
}

var step = regexp.MustCompile(`^\.([^.\[]+)|^\[([a-zA-Z]+)="([^"]*)"(?:,[^\]]*)?\]`)

// remove takes the field at a path such as .spec.containers[name="x"].image out of a document; the items of lists on
// the way stay, since their keys are owned by all who apply them.
func remove(document map[string]any, path string) {
	var at any = document
	for path != "" {
		m := step.FindStringSubmatch(path)
		if m == nil {
			return
		}
		path = path[len(m[0]):]
		if m[1] == "" {
			at = item(at, m[2], m[3])
			continue
		}
		fields, ok := at.(map[string]any)
		if !ok {
			return
		}
		if path == "" {
			delete(fields, m[1])
			return
		}
		at = fields[m[1]]
	}
}

// item is the item of a list whose key has the value.
func item(list any, key, value string) any {
	items, _ := list.([]any)
	for _, i := range items {
		if fields, ok := i.(map[string]any); ok && fields[key] == value {
			return fields
		}
	}
	return nil
}

func run(ctx context.Context, stdin []byte, program string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Stdin = bytes.NewReader(stdin)
	out, err := cmd.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return nil, errors.New(strings.TrimSpace(string(exit.Stderr)))
	}
	if err != nil {
		return nil, fmt.Errorf("run %s: %w", program, err)
	}
	return out, nil
}

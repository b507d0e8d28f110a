package deploy_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

// part is an object of the chart.
type part struct {
	APIVersion, Kind string
	Metadata         struct{ Name, Namespace string }
	Data             map[string]string
	Rules            []rule
	Subjects         []struct{ Name string }
	RoleRef          struct{ Kind, Name string }
	Spec             json.RawMessage
}

type rule struct{ APIGroups, Resources, ResourceNames, Verbs []string }

func parts(t *testing.T, args ...string) map[string]part {
	t.Helper()
	out, err := render(t, args...)
	if err != nil {
		t.Fatal(out)
	}
	all := map[string]part{}
	for text := range strings.SplitSeq(out, "\n---\n") {
		var p part
		if err := yaml.Unmarshal([]byte(text), &p); err != nil {
			t.Fatal(err)
		}
		if p.Kind != "" {
			all[p.Kind+" "+p.Metadata.Name] = p
		}
	}
	return all
}

func TestControllerIsOptional(t *testing.T) {
	out, err := render(t)
	if err != nil {
		t.Fatal(out)
	}
	for _, word := range []string{"controller\n", "berth-ec2-share", "ENABLE_EC2_SHARE", "MY_POD_NAMESPACE"} {
		if strings.Contains(out, word) {
			t.Errorf("without the controller there is %q", word)
		}
	}
	on, err := render(t, "--set", "controller.enabled=true,controller.ec2Share=0.25")
	if err != nil {
		t.Fatal(on)
	}
	for _, word := range []string{
		"name: ENABLE_EC2_SHARE\n          value: \"true\"", "-ec2-share=0.25", "readOnlyRootFilesystem: true", "runAsNonRoot: true", "drop: [ALL]",
		"priorityClassName: system-cluster-critical", "kind: PodDisruptionBudget", "replicas: 2", "podAntiAffinity",
	} {
		if !strings.Contains(on, word) {
			t.Errorf("with the controller there is no %q", word)
		}
	}
}

// What the controller and the agents may do is what they do, with the two objects by their names.
func TestControllerRights(t *testing.T) {
	all := parts(t, "--set", "controller.enabled=true")
	core := []string{""}
	for name, want := range map[string][]rule{
		"ClusterRole berth-controller": {{APIGroups: core, Resources: []string{"nodes", "pods"}, Verbs: []string{"list", "watch"}}},
		"Role berth-controller": {
			{APIGroups: core, Resources: []string{"configmaps"}, ResourceNames: []string{"berth-ec2-share"}, Verbs: []string{"patch"}},
			{APIGroups: []string{"coordination.k8s.io"}, Resources: []string{"leases"}, ResourceNames: []string{"berth-controller"}, Verbs: []string{"get", "patch"}},
		},
		"Role aws-node-ec2-share": {{APIGroups: core, Resources: []string{"configmaps"}, ResourceNames: []string{"berth-ec2-share"}, Verbs: []string{"list", "watch"}}},
	} {
		if diff := cmp.Diff(want, all[name].Rules); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	for binding, want := range map[string][2]string{
		"ClusterRoleBinding berth-controller": {"berth-controller", "berth-controller"}, "RoleBinding berth-controller": {"berth-controller", "berth-controller"},
		"RoleBinding aws-node-ec2-share": {"aws-node-ec2-share", "aws-node"},
	} {
		b := all[binding]
		if len(b.Subjects) != 1 || b.RoleRef.Name != want[0] || b.Subjects[0].Name != want[1] {
			t.Errorf("%s binds %+v to %+v", binding, b.RoleRef, b.Subjects)
		}
	}
	for _, name := range []string{"Lease berth-controller", "ConfigMap berth-ec2-share", "ServiceAccount berth-controller"} {
		p, ok := all[name]
		if !ok || p.Metadata.Namespace != "kube-system" || len(p.Data) > 0 || len(p.Spec) > 0 {
			t.Errorf("%s: %+v", name, p)
		}
	}
}

// Who has the agents' metrics scraped has the controller's, too.
func TestControllerIsMonitored(t *testing.T) {
	all := parts(t, "--set", "controller.enabled=true,podMonitor.create=true")
	var monitor, deployment struct {
		Selector struct{ MatchLabels map[string]string }
	}
	for name, to := range map[string]any{"PodMonitor berth-controller": &monitor, "Deployment berth-controller": &deployment} {
		if err := json.Unmarshal(all[name].Spec, to); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	if diff := cmp.Diff(deployment, monitor); diff != "" {
		t.Error(diff)
	}
	for _, args := range []string{"controller.enabled=true", "podMonitor.create=true"} {
		if _, ok := parts(t, "--set", args)["PodMonitor berth-controller"]; ok {
			t.Errorf("with %s alone there is a PodMonitor of the controller", args)
		}
	}
}

// The controller's pods are not the DaemonSet's, whatever its selector.
func TestControllerPodsAreNotTheAgents(t *testing.T) {
	for _, args := range [][]string{{}, {"--set", "originalMatchLabels=true"}} {
		all := parts(t, slices.Concat([]string{"--set", "controller.enabled=true"}, args)...)
		type labels struct {
			Selector struct{ MatchLabels map[string]string }
			Template struct {
				Metadata struct{ Labels map[string]string }
			}
		}
		var agents, controller labels
		for name, to := range map[string]*labels{"DaemonSet aws-node": &agents, "Deployment berth-controller": &controller} {
			if err := json.Unmarshal(all[name].Spec, to); err != nil {
				t.Fatal(err)
			}
		}
		for from, to := range map[*labels]*labels{&agents: &controller, &controller: &agents} {
			selected := len(from.Selector.MatchLabels) > 0
			for key, value := range from.Selector.MatchLabels {
				selected = selected && to.Template.Metadata.Labels[key] == value
			}
			if selected || len(from.Selector.MatchLabels) == 0 {
				t.Errorf("the selector %v selects pods with labels %v", from.Selector.MatchLabels, to.Template.Metadata.Labels)
			}
		}
	}
}

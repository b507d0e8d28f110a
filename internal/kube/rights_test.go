package kube_test

import (
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/berth-net/berth/internal/kube"
)

// TestRightsAreThoseThatAreUsed holds the ClusterRole of the manifest, as the chart makes it, against what a client asks.
func TestRightsAreThoseThatAreUsed(t *testing.T) {
	t.Parallel()
	s := newAPIServer()
	s.with(func(s *apiServer) { s.waiting = 3 })
	s.put(eniconfigsPath, "default", object{"spec": object{"subnet": "subnet-1"}})
	c := start(t, kube.Config{Kubeconfig: kubeconfig(t, serve(t, s).URL), CustomNetworking: true})
	becomes(t, c, "pods and nodes counted", [2]int{3, 3}, func(f kube.Facts) [2]int { return [2]int{f.Unscheduled, f.Nodes} })
	c.Condition(kube.Condition{Type: "BerthAddressing", Reason: "r", Message: "m"})
	event := kube.Event{Reason: "r", Message: "m"} // on the agent's pod, whose UID has to be read
	c.Event(event)
	eventually(t, "an event", func() bool { return len(s.seen()) == 1 })
	c.Event(event)
	eventually(t, "a repeat", func() bool { return s.count("PATCH /api/v1/namespaces/kube-system/events/") > 0 })
	eventually(t, "a condition", func() bool { return s.conditions()["BerthAddressing"] != nil })
	eventually(t, "all watches", func() bool {
		return s.count("GET "+settingsPath+"?allowWatch")*s.count("GET "+podsPath+"?allowWatch")*s.count("GET "+eniconfigsPath+"?allowWatch") > 0
	})
	for _, p := range []string{netpolPath, namespacesPath, servicesPath, cnpPath, amazonPath, appPath, nodesPath, definitionsPath} {
		s.with(func(s *apiServer) {
			if s.collections[p] == nil {
				s.collections[p] = &collection{}
			}
		})
	}
	w := newWorld()
	close(w.matter)
	go func() { _ = c.FollowPolicies(t.Context(), w) }()
	eventually(t, "all watches of policies", func() bool {
		return s.count("GET "+netpolPath+"?allowWatch")*s.count("GET "+namespacesPath+"?allowWatch")*s.count("GET "+servicesPath+"?allowWatch")*
			s.count("GET "+cnpPath+"?allowWatch")*s.count("GET "+amazonPath+"?allowWatch")*s.count("GET "+appPath+"?allowWatch") > 0
	})
	used := map[string]bool{}
	s.with(func(s *apiServer) {
		for _, r := range s.requests {
			if right := rightOf(t, r); right != "" {
				used[right] = true
			}
		}
	})
	if diff := cmp.Diff(granted(t), slices.Sorted(maps.Keys(used))); diff != "" {
		t.Errorf("rights (-granted +used):\n%s", diff)
	}
}

// rightOf is what RBAC asks for a request, such as "patch nodes/status"; nothing for what everybody may ask.
func rightOf(t *testing.T, request string) string {
	t.Helper()
	method, rest, _ := strings.Cut(request, " ")
	u, err := url.Parse(rest)
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(strings.Trim(u.Path, "/"), "/")
	group := ""
	switch parts[0] {
	case "api":
		parts = parts[2:]
	case "apis":
		group, parts = "."+parts[1], parts[3:]
	default:
		return ""
	}
	if parts[0] == "namespaces" && len(parts) > 2 {
		parts = parts[2:]
	}
	resource := parts[0] + group
	if len(parts) == 3 {
		resource = parts[0] + "/" + parts[2] + group
	}
	verb := map[string]string{http.MethodPost: "create", http.MethodPatch: "patch"}[method]
	switch {
	case verb != "":
	case u.Query().Get("watch") == "true":
		verb = "watch"
	case len(parts) == 1:
		verb = "list"
	default:
		verb = "get"
	}
	return verb + " " + resource
}

// granted are the rights of the agent's ClusterRole, in the same words.
func granted(t *testing.T) []string {
	t.Helper()
	data, err := os.ReadFile("../../deploy/manifests/berth.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for text := range strings.SplitSeq(string(data), "\n---\n") {
		var role struct {
			Kind  string
			Rules []struct{ APIGroups, Resources, Verbs []string }
		}
		if err := yaml.Unmarshal([]byte(text), &role); err != nil {
			t.Fatal(err)
		}
		if role.Kind != "ClusterRole" {
			continue
		}
		for _, rule := range role.Rules {
			for _, group := range rule.APIGroups {
				for _, resource := range rule.Resources {
					for _, verb := range rule.Verbs {
						all = append(all, verb+" "+strings.TrimSuffix(resource+"."+group, "."))
					}
				}
			}
		}
	}
	slices.Sort(all)
	return all
}

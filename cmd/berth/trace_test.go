package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// policyServer has a web that only friends reach, in pages of one pod each, and one policy that cannot be enforced as it is written. It
// knows one of the kinds that somebody may have installed.
func policyServer(t *testing.T, forbidden string) func(string) string {
	t.Helper()
	lists := map[string][]string{
		"/apis/networking.k8s.io/v1/networkpolicies": {
			`{"metadata":{"name":"web","namespace":"default"},"spec":{"podSelector":{"matchLabels":{"app":"web"}},
			"policyTypes":["Ingress"],"ingress":[{"from":[{"podSelector":{"matchLabels":{"app":"friend"}}}],"ports":[{"port":"http"}]}]}}`,
			`{"metadata":{"name":"bad","namespace":"default"},"spec":{"podSelector":{"matchLabels":{"app":"web"}},"policyTypes":["Ingress"],
			"ingress":[{"from":[{"ipBlock":{"cidr":"10.0.0.0/99"}}]}]}}`,
		},
		"/apis/policy.networking.k8s.io/v1alpha2/clusternetworkpolicies": {`{"metadata":{"name":"quarantine"},"spec":{"tier":"Admin","priority":7,
			"subject":{"pods":{"namespaceSelector":{},"podSelector":{"matchLabels":{"app":"bad"}}}},
			"egress":[{"name":"nothing","action":"Deny","to":[{"namespaces":{}}]}]}}`},
		"/api/v1/namespaces": {`{"metadata":{"name":"default","labels":{"kubernetes.io/metadata.name":"default"}}}`},
		"/api/v1/nodes":      {`{"metadata":{"name":"n"},"status":{"addresses":[{"type":"InternalIP","address":"10.0.1.1"}]}}`},
		"/api/v1/pods": {
			traced("web", "web", "10.0.0.1"), traced("friend", "friend", "10.0.0.2"), traced("other", "other", "10.0.0.3"), traced("bad", "bad", "10.0.0.4"),
			strings.Replace(traced("new", "friend", "10.0.0.9"), `"podIPs":[{"ip":"10.0.0.9"}]`, `"podIPs":[]`, 1),
			strings.Replace(traced("ended", "web", "10.0.0.2"), "Running", "Succeeded", 1),
			`{"metadata":{"name":"aws-node-x","namespace":"kube-system","labels":{"app.kubernetes.io/component":"berth-agent"}},"spec":{"nodeName":"n","hostNetwork":true,
				"containers":[{"env":[{"name":"ENABLE_NETWORK_POLICY","value":"true"}]}]},"status":{"podIPs":[{"ip":"10.0.1.1"}]}}`,
		},
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		items, ok := lists[r.URL.Path]
		switch {
		case r.URL.Path == forbidden:
			w.WriteHeader(http.StatusForbidden)
			_, _ = w.Write([]byte(`{"kind":"Status","apiVersion":"v1","status":"Failure","message":"pods is forbidden","reason":"Forbidden","code":403}`))
			return
		case !ok:
			w.WriteHeader(http.StatusNotFound)
			return
		}
		if r.URL.Path != "/api/v1/pods" {
			_, _ = w.Write([]byte(`{"metadata":{},"items":[` + strings.Join(items, ",") + `]}`))
			return
		}
		at := len(r.URL.Query().Get("continue"))
		next := strings.Repeat("x", at+1)
		if at+1 == len(items) {
			next = ""
		}
		_, _ = w.Write([]byte(`{"metadata":{"continue":"` + next + `"},"items":[` + items[at] + `]}`))
	}))
	t.Cleanup(server.Close)
	file := filepath.Join(t.TempDir(), "kubeconfig")
	config := `{"apiVersion":"v1","kind":"Config","current-context":"x","clusters":[{"name":"x","cluster":{"server":"` + server.URL + `"}}],
		"users":[{"name":"x","user":{}}],"contexts":[{"name":"x","context":{"cluster":"x","user":"x"}}]}`
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	return func(name string) string { return map[string]string{"KUBECONFIG": file}[name] }
}

func traced(name, app, addr string) string {
	return `{"metadata":{"name":"` + name + `","namespace":"default","labels":{"app":"` + app + `"}},"spec":{"nodeName":"n",
		"containers":[{"ports":[{"name":"http","containerPort":80}]}]},"status":{"phase":"Running","podIPs":[{"ip":"` + addr + `"}]}}`
}

func TestTrace(t *testing.T) {
	env := policyServer(t, "")
	for name, test := range map[string]struct {
		args string
		code int
		want []string
	}{
		"accepted": {"--from default/friend --to default/web --port 80", 0, []string{
			"allowed: default/friend -> default/web, tcp 80\n", "egress of default/friend: allowed: no policy selects it for egress",
			"ingress of default/web: allowed by NetworkPolicy default/web\n    spec.ingress[0]: accept tcp \"http\" from pods [app in (friend)] of namespace default\n",
			"problem: NetworkPolicy default/bad: spec.ingress[0].from[0].ipBlock.cidr: ",
		}},
		"by name":          {"--from default/friend --to default/web --port http", 0, []string{"tcp 80\n"}},
		"denied":           {"--from default/other --to default/web --port 80", 1, []string{"denied: default/other", "isolated, and no rule of a policy that selects it accepts this ingress\n    policies: NetworkPolicy default/bad, NetworkPolicy default/web\n"}},
		"denied by a tier": {"--from default/bad --to default/other --port 80", 1, []string{"denied by ClusterNetworkPolicy.policy.networking.k8s.io quarantine, Admin tier, priority 7\n    spec.egress[0] \"nothing\": deny"}},
		"an address":       {"--from 192.0.2.1 --to default/web --port 80", 1, []string{"no policy is asked: the address is no pod's"}},
		"udp":              {"--from default/friend --to default/web --port 80 --proto UDP", 1, []string{"udp 80"}},
		"as JSON":          {"--from default/other --to default/web --port 80 -o json", 1, []string{`"allowed": false`, `"tier": "Network"`, `"problems": [`}},
		"no such pod":      {"--from default/frien --to default/web --port 80", 2, []string{"berth: --from: there is no pod default/frien: namespace default has friend\n"}},
		"no such name":     {"--from default/friend --to default/web --port https", 2, []string{"it has http (tcp 80)"}},
		"no such protocol": {"--from default/friend --to default/web --port 80 --proto icmp", 2, []string{"want tcp, udp or sctp"}},
		"no port":          {"--from default/friend --to default/web", 2, []string{"port"}},
		"no such flag":     {"--form default/friend", 2, []string{"unknown flag"}},
		"no such format":   {"--from default/friend --to default/web --port 80 -o yaml", 2, []string{"want json"}},
	} {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			code := run(append([]string{"berth", "trace"}, strings.Fields(test.args)...), env, nil, &out, &out)
			if code != test.code {
				t.Errorf("exit code %d, want %d", code, test.code)
			}
			for _, want := range test.want {
				if !strings.Contains(out.String(), want) {
					t.Errorf("%q is missing in\n%s", want, out.String())
				}
			}
		})
	}
}

func TestTraceThatMayNotList(t *testing.T) {
	var out strings.Builder
	code := run([]string{"berth", "trace", "--from", "default/a", "--to", "default/b", "--port", "80"}, policyServer(t, "/api/v1/pods"), nil, &out, &out)
	if code != 2 || !strings.Contains(out.String(), "list /api/v1/pods: ") || !strings.Contains(out.String(), "use a kubeconfig that may list it") {
		t.Errorf("%d %s", code, out.String())
	}
}

func TestPolicyMatrix(t *testing.T) {
	env := policyServer(t, "")
	var out, problem strings.Builder
	if code := run([]string{"berth", "policy", "matrix", "-n", "default", "--port", "80"}, env, nil, &out, &problem); code != 0 {
		t.Fatal(problem.String())
	}
	var lines []string
	for line := range strings.Lines(out.String()) {
		lines = append(lines, strings.Join(strings.Fields(line), " "))
	}
	for _, want := range []string{`FROM \ TO PODS ISOLATED WHO 1 2 3 4`, "1 2 no default/friend, default/new yes yes yes yes", "2 1 no default/other yes - yes no"} {
		if !strings.Contains(strings.Join(lines, "\n"), want) {
			t.Errorf("%q is missing in\n%s", want, out.String())
		}
	}
	out.Reset()
	if code := run([]string{"berth", "policy", "matrix", "-o", "json"}, env, nil, &out, &problem); code != 0 {
		t.Fatal(problem.String())
	}
	var got struct {
		Groups []struct{ Pods int }
		Cells  [][]string
	}
	if err := json.Unmarshal([]byte(out.String()), &got); err != nil || len(got.Groups) != 4 || len(got.Cells) != 4 {
		t.Errorf("%v\n%s", err, out.String())
	}
	for _, args := range []string{"-n none", "-n default -A", "--port 0", "--proto icmp", "-o yaml"} {
		if code := run(append([]string{"berth", "policy", "matrix"}, strings.Fields(args)...), env, nil, &out, &problem); code != 1 {
			t.Errorf("%s: exit code %d, want 1", args, code)
		}
	}
}

package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestTraceSaysWhereTheMapsDiffer asks an agent that has pod web alone, whose maps are right, wrong, or that cannot tell.
func TestTraceSaysWhereTheMapsDiffer(t *testing.T) {
	env := policyServer(t, "")
	for name, test := range map[string]struct {
		from, say string
		status    int
		code      int
		want      string
	}{
		"both allow":             {"friend", `{"interface":"eni1","allowed":true,"by":"a NetworkPolicy"}`, 200, 0, "the node's maps say allowed by a NetworkPolicy for ingress of default/web (10.0.0.2), as the policies do"},
		"both deny":              {"other", `{"interface":"eni1","allowed":false,"by":"isolation"}`, 200, 1, "denied by isolation for ingress of default/web (10.0.0.3), as the policies do"},
		"the maps deny":          {"friend", `{"interface":"eni1","allowed":false,"by":"isolation"}`, 200, 1, "NOT as the policies do"},
		"the maps allow":         {"other", `{"interface":"eni1","allowed":true,"by":"default"}`, 200, 1, "NOT as the policies do"},
		"the agent cannot tell":  {"friend", "maps are damaged", 503, 2, "maps are damaged"},
		"an agent without pages": {"friend", `{"AvailableCommands":[]}`, 200, 2, "has no page /v1/policy"},
		"an agent of other pods": {"friend", "not here", 404, 0, "no agent given by --maps has default/web on its node"},
	} {
		t.Run(name, func(t *testing.T) {
			agent := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				q := r.URL.Query()
				if q.Get("pod") != "web" {
					http.Error(w, "not here", http.StatusNotFound)
					return
				}
				if q.Get("direction") != "ingress" || q.Get("protocol") != "tcp" || q.Get("port") != "80" || r.URL.Path != mapsPath {
					t.Errorf("asked for %s", r.URL)
				}
				w.WriteHeader(test.status)
				_, _ = fmt.Fprint(w, test.say)
			}))
			defer agent.Close()
			var out strings.Builder
			code := run([]string{"berth", "trace", "--from", "default/" + test.from, "--to", "default/web", "--port", "80", "--maps", agent.URL}, env, nil, &out, &out)
			if code != test.code || !strings.Contains(out.String(), test.want) {
				t.Errorf("exit code %d, want %d, and %q in\n%s", code, test.code, test.want, out.String())
			}
		})
	}
}

// TestMapsAreNotAskedAboutAnAddressThatNobodyHas: a pod without an address was asked about by a made-up one, and the maps said that they
// differ.
func TestMapsAreNotAskedAboutAnAddressThatNobodyHas(t *testing.T) {
	env := policyServer(t, "")
	agent := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		t.Errorf("asked for %s", r.URL)
		_, _ = fmt.Fprint(w, `{"interface":"eni1","allowed":false,"by":"isolation"}`)
	}))
	defer agent.Close()
	var out strings.Builder
	code := run([]string{"berth", "trace", "--from", "default/new", "--to", "default/web", "--port", "80", "--maps", agent.URL}, env, nil, &out, &out)
	if code != 0 || !strings.Contains(out.String(), "note: default/new or default/web has no address yet: the maps were not asked") {
		t.Errorf("exit code %d\n%s", code, out.String())
	}
}

package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/berth-net/berth/internal/core/subnet"
	"github.com/berth-net/berth/internal/node"
)

// apiServer answers what `berth status` asks: three agents, of which one is silent and one follows a share.
func apiServer(t *testing.T) string {
	t.Helper()
	mux := http.NewServeMux()
	answer := func(body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write([]byte(body))
		}
	}
	mux.HandleFunc("GET /api/v1/namespaces/kube-system/pods", answer(`{"kind":"PodList","apiVersion":"v1","items":[
		{"metadata":{"name":"aws-node-b","namespace":"kube-system"},"spec":{"nodeName":"node-b"},
		 "status":{"containerStatuses":[{"name":"aws-node","state":{"waiting":{"reason":"CrashLoopBackOff","message":"back-off 10s"}}}]}},
		{"metadata":{"name":"aws-node-c","namespace":"kube-system"},"spec":{"nodeName":"node-c"}},
		{"metadata":{"name":"aws-node-a","namespace":"kube-system"},"spec":{"nodeName":"node-a"}}]}`))
	mux.HandleFunc("GET /api/v1/namespaces/kube-system/pods/aws-node-c:61678/proxy/v1/status", answer(`{"version":"v0.1.0","node":{"ready":true,"maxENIs":3}}`))
	mux.HandleFunc("GET /api/v1/namespaces/kube-system/pods/aws-node-a:61678/proxy/v1/status", answer(`{"version":"v0.1.0",
		"share":{"made":"2026-11-23T20:25:06Z","seconds":90,"hungry":1000,"nodes":1500,"portions":[{"action":"AttachNetworkInterface","hungry":{"rate":0.0049,"burst":0.05}}]},
		"shareUntil":"2026-11-23T20:26:36Z","node":{"ready":true,"maxENIs":3,
		"tally":{"InUse":18,"Free":0,"Cooling":1,"Waiting":7},
		"enis":[{"id":"eni-1","subnetCidr":"10.0.0.96/27"},{"id":"eni-2","subnetCidr":"10.0.0.96/27"},{"id":"eni-efa","subnetCidr":""}],
		"degraded":["host network: x"],
		"subnets":[{"id":"subnet-1","cidr":"10.0.0.96/27","free":7,"ours":20,"usable":true,"why":"primary"}],
		"blocked":{"Why":"subnets full","Detail":"none of 1 subnets has room","Hint":"tag a subnet"}}}`))
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	file := filepath.Join(t.TempDir(), "kubeconfig")
	config := `{"apiVersion":"v1","kind":"Config","current-context":"x","clusters":[{"name":"x","cluster":{"server":"` + server.URL + `"}}],
		"users":[{"name":"x","user":{}}],"contexts":[{"name":"x","context":{"cluster":"x","user":"x"}}]}`
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestStatus(t *testing.T) {
	file := apiServer(t)
	var out, problem strings.Builder
	env := func(name string) string { return map[string]string{"KUBECONFIG": file}[name] }
	if code := run([]string{"berth", "status"}, env, nil, &out, &problem); code != 0 {
		t.Fatal(problem.String())
	}
	var got []string
	for line := range strings.SplitSeq(out.String(), "\n") {
		got = append(got, strings.Join(strings.Fields(line), " "))
	}
	for _, want := range []string{
		"node-a degraded 3/3 10.0.0.96/27 18 0 1 0 7 1000/1500", "node-b unknown - - - - - - - -", "node-c ready 0/3 0 0 0 0 0 none", "subnet-1 10.0.0.96/27 7 20 0 true primary",
		"node-a: subnets full: none of 1 subnets has room; tag a subnet; host network: x", "node-b: agent is in CrashLoopBackOff: back-off 10s",
	} {
		if !slices.Contains(got, want) {
			t.Errorf("%q is missing in\n%s", want, out.String())
		}
	}
}

func TestStatusAsJSONHasTheShareThatCounts(t *testing.T) {
	file := apiServer(t)
	var out, problem strings.Builder
	if code := run([]string{"berth", "status", "-o", "json", "--kubeconfig", file}, func(string) string { return "" }, nil, &out, &problem); code != 0 {
		t.Fatal(problem.String())
	}
	var got struct {
		Nodes []struct {
			Node  string
			Share *struct {
				Hungry   int
				Portions []struct{ Hungry struct{ Rate float64 } }
			}
			ShareUntil string
		}
	}
	if err := json.Unmarshal([]byte(out.String()), &got); err != nil || len(got.Nodes) != 3 {
		t.Fatalf("%v\n%s", err, out.String())
	}
	a, c := got.Nodes[0], got.Nodes[2]
	if a.Share == nil || a.Share.Hungry != 1000 || len(a.Share.Portions) != 1 || a.Share.Portions[0].Hungry.Rate != .0049 || a.ShareUntil != "2026-11-23T20:26:36Z" {
		t.Errorf("%+v", a)
	}
	if c.Share != nil || c.ShareUntil != "" {
		t.Errorf("%+v", c)
	}
}

func TestStatusWithoutACluster(t *testing.T) {
	var out, problem strings.Builder
	code := run([]string{"kubectl-berth", "status", "--kubeconfig", filepath.Join(t.TempDir(), "none")}, func(string) string { return "" }, nil, &out, &problem)
	if code == 0 || !strings.HasPrefix(problem.String(), "kubectl berth: find the cluster: ") {
		t.Errorf("%d %s", code, problem.String())
	}
}

func TestTotals(t *testing.T) {
	agents := []agent{{Node: "a", Report: report(t, 5, 10)}, {Node: "b", Report: report(t, 4, 12)}, {Node: "c"}}
	want := []subnetTotal{{ID: "subnet-1", CIDR: netip.MustParsePrefix("10.0.0.96/27"), Free: 4, Ours: 22, Others: 1, Usable: true, Why: "tagged"}}
	if diff := cmp.Diff(want, totals(agents), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Error(diff)
	}
}

func TestLabRunsItsOwnProgram(t *testing.T) {
	program := filepath.Join(t.TempDir(), "berth-lab")
	if err := os.WriteFile(program, []byte("#!/bin/sh\necho \"$@\"\nexit 7\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	var out, problem strings.Builder
	env := func(name string) string { return map[string]string{"BERTH_LAB_BIN": program}[name] }
	code := run([]string{"berth", "lab", "up", "-f", "x.yaml"}, env, nil, &out, &problem)
	if code != 7 || out.String() != "up -f x.yaml\n" {
		t.Errorf("%d %q %q", code, out.String(), problem.String())
	}
}

func report(t *testing.T, free, ours int) *node.Report {
	t.Helper()
	return &node.Report{Subnets: []node.ReportSubnet{{
		ID: "subnet-1", CIDR: netip.MustParsePrefix("10.0.0.96/27"), Free: free, Ours: ours, Usable: true, Why: subnet.Tagged,
	}}}
}

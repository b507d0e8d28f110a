package main

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/berth-net/berth/internal/cluster"
	"github.com/berth-net/berth/internal/core/budget"
)

func TestOptions(t *testing.T) {
	env := func(name string) string {
		return map[string]string{"MY_POD_NAME": "berth-controller-x", "MY_POD_NAMESPACE": "networking"}[name]
	}
	o, err := parseOptions([]string{"-ec2-share=0.25", "-log-level=DEBUG"}, env, nil)
	if err != nil || o.part != .25 || o.identity != "berth-controller-x" || o.namespace != "networking" || o.listen != ":61680" {
		t.Errorf("%+v, %v", o, err)
	}
	none := func(string) string { return "" }
	if o, err := parseOptions(nil, none, nil); err != nil || o.part != 1 || o.identity == "" || o.namespace != "kube-system" {
		t.Errorf("without anything: %+v, %v", o, err)
	}
	for args, want := range map[string]string{
		"-ec2-share=0": "0.25 for one of four clusters", "-ec2-share=1.01": "0.25 for one of four clusters", "-ec2-share=NaN": "0.25 for one of four clusters",
		"-ec2-share=x": "invalid value", "-log-level=loud": "-log-level", "lead": "unexpected argument",
	} {
		if _, err := parseOptions([]string{args}, none, &bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", args, err)
		}
	}
}

func TestBadFlagEndsTheProgram(t *testing.T) {
	var out, errs bytes.Buffer
	none := func(string) string { return "" }
	if code := runMain([]string{"-ec2-share=7"}, none, &out, &errs); code != 1 || !strings.Contains(errs.String(), "berth-controller: -ec2-share=7") {
		t.Errorf("%d: %s", code, errs.String())
	}
	if code := runMain([]string{"-version"}, none, &out, &errs); code != 0 || out.Len() == 0 {
		t.Errorf("%d: %s", code, out.String())
	}
}

func TestPages(t *testing.T) {
	status := cluster.Status{Leading: true, Nodes: 1500, Hungry: 1000, Words: 3, Division: budget.Divide(1000, 1500, 1)}
	server := httptest.NewServer(pages(func() cluster.Status { return status }))
	defer server.Close()
	get := func(path string) string {
		t.Helper()
		req, err := http.NewRequestWithContext(context.WithoutCancel(t.Context()), http.MethodGet, server.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		var b bytes.Buffer
		if _, err := b.ReadFrom(resp.Body); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	if got := get("/healthz"); got != "ok\n" {
		t.Errorf("healthz: %q", got)
	}
	text := get("/metrics")
	for _, want := range []string{
		"berth_controller_leading 1\n", "berth_controller_nodes 1500\n", "berth_controller_hungry_nodes 1000\n", "berth_controller_divided 1\n",
		"berth_controller_degraded 0\n", "berth_controller_words_total 3\n", `berth_controller_rate{action="AttachNetworkInterface",node="hungry"} 0.0049`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("metrics lack %q", want)
		}
	}
	for want, s := range map[string]cluster.Status{
		"leads\n": {Leading: true}, "stands by; berth-controller-y leads\n": {Leader: "berth-controller-y"},
		"list: 403 Forbidden\n": {Leading: true, Trouble: errors.New("list: 403 Forbidden")},
	} {
		if status = s; get("/readyz") != want {
			t.Errorf("readyz: %q, want %q", get("/readyz"), want)
		}
	}
	status = cluster.Status{Trouble: errors.New("x")}
	resp := httptest.NewRecorder()
	server.Config.Handler.ServeHTTP(resp, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/readyz", nil))
	if resp.Code != http.StatusServiceUnavailable {
		t.Errorf("readyz in trouble: %d", resp.Code)
	}
	if !strings.Contains(get("/metrics"), "berth_controller_degraded 1\n") {
		t.Error("the metrics tell no trouble")
	}
	status = cluster.Status{}
	if text := get("/metrics"); strings.Contains(text, "berth_controller_nodes") || !strings.Contains(text, "berth_controller_leading 0\n") {
		t.Error("a replica that does not lead tells what it cannot know")
	}
}

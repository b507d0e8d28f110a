package main

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/berth-net/berth/internal/aws"
	"github.com/berth-net/berth/internal/core/budget"
	"github.com/berth-net/berth/internal/core/ipam"
	"github.com/berth-net/berth/internal/core/pool"
	"github.com/berth-net/berth/internal/core/target"
	"github.com/berth-net/berth/internal/core/vpc"
	"github.com/berth-net/berth/internal/kube"
	"github.com/berth-net/berth/internal/node"
)

// advance lets virtual time pass.
func advance(d time.Duration) {
	time.Sleep(d + time.Millisecond) //nolint:forbidigo // virtual time
}

func sample(context.Context) (agentReport, error) {
	at := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	pod := &pool.Pod{Key: pool.Key{Network: "aws-cni", ContainerID: "c1", IfName: "eth0"}, Namespace: "default", Name: "web"}
	return agentReport{
		Version: "v1", Name: "node-1", Started: at, QueuedDeletes: 2, Degraded: []string{"API server: away"},
		Node: node.Report{
			At: at, Ready: true, MaxENIs: 3, Limits: vpc.InstanceLimits{Type: "m5.large", ENIs: 3, IPv4PerENI: 10},
			Tally: target.Tally{Free: 1, InUse: 1, Cooling: 1, Held: 1, Waiting: 4},
			ENIs: []node.ReportENI{
				{
					ID: "eni-1", Subnet: "subnet-1", Type: "interface", Primary: true, Managed: true, Configured: true,
					Addresses: []node.ReportAddress{
						{IP: netip.MustParseAddr("10.0.0.5"), Phase: pool.InUse, Pod: pod, AssignedAt: at},
						{IP: netip.MustParseAddr("10.0.0.6"), Phase: pool.Free},
					},
				},
				{
					ID: "eni-2", Subnet: "subnet-2", Type: "interface", DeviceIndex: 1, Managed: true, Barred: true,
					Addresses: []node.ReportAddress{
						{IP: netip.MustParseAddr("10.1.0.5"), Phase: pool.Cooling, FreedAt: at},
						{IP: netip.MustParseAddr("10.1.0.6"), Phase: pool.Held},
					},
				},
				{ID: "eni-3", Type: "interface", DeviceIndex: 2},
			},
			Subnets: []node.ReportSubnet{{ID: "subnet-1", CIDR: netip.MustParsePrefix("10.0.0.0/27"), Free: 7, Usable: true, Why: "tagged"}},
			Blocked: ipam.Blocked{Why: ipam.SubnetsFull, Detail: "d", Hint: "h"},
			Acting:  []string{"create-eni in subnet-1 with 9: pods-waiting", "read-enis: resync", "detach-eni eni-2: interface-empty"},
		},
	}, nil
}

func get(t *testing.T, h http.Handler, path string) (int, string) {
	t.Helper()
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, path, nil))
	return rec.Code, rec.Body.String()
}

// golden compares with a file; with BERTH_UPDATE=1 it writes it.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if os.Getenv("BERTH_UPDATE") == "1" {
		write(t, path, got)
	}
	if diff := cmp.Diff(read(t, path), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

func TestIntrospection(t *testing.T) {
	h := introspection(sample, settings(env()))
	_, enis := get(t, h, "/v1/enis")
	golden(t, "enis.json", enis)
	for path, text := range map[string]string{
		"/v1/eni-configs": `""`, "/v1/networkutils-env-settings": `"AWS_VPC_ENI_MTU": "9001"`, "/v1/ipamd-env-settings": `"WARM_ENI_TARGET": ""`,
		"/v1/berth": `"queuedDeletes": 2`, "/v1/settings": `"name": "POD_MTU"`, "/": "AvailableCommands", "/v1/pods": "/v1/enis",
	} {
		if code, body := get(t, h, path); code != http.StatusOK || !strings.Contains(body, text) {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
	// Every variable is on one of the two pages, as with the Amazon VPC CNI, but those of the process.
	_, ipamd := get(t, h, "/v1/ipamd-env-settings")
	_, network := get(t, h, "/v1/networkutils-env-settings")
	for _, v := range variables() {
		if v.group != groupRun && !strings.Contains(ipamd+network, strconv.Quote(v.name)) {
			t.Errorf("%s is on no page", v.name)
		}
	}
	custom := introspection(func(context.Context) (agentReport, error) {
		var r agentReport
		r.tell(kube.Facts{ENIConfig: kube.ENIConfig{Name: "us-west-2a", Found: true, Subnet: "subnet-1"}, Overrides: []pool.Overrides{{Name: "jobs"}}})
		return r, nil
	}, nil)
	for path, text := range map[string]string{"/v1/eni-configs": `"us-west-2a"`, "/v1/berth": `"jobs"`} {
		if _, body := get(t, custom, path); !strings.Contains(body, text) {
			t.Errorf("%s has no %s: %s", path, text, body)
		}
	}
	stopping := introspection(func(context.Context) (agentReport, error) { return agentReport{}, errors.New("the agent is stopping") }, nil)
	if code, _ := get(t, stopping, "/v1/enis"); code != http.StatusServiceUnavailable {
		t.Errorf("a stopping agent answers %d", code)
	}
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, httptest.NewRequest(http.MethodPost, "/v1/enis", nil))
	if rec.Code != http.StatusMethodNotAllowed {
		t.Errorf("POST answers %d", rec.Code)
	}
}

// The names are what dashboards of the existing CNI ask for.
func TestMetrics(t *testing.T) {
	p := newPages("v1")
	m := newMetrics("v1", p.registry)
	p.registry.MustRegister(gauges{report: sample, budgets: func() []budget.Status {
		return []budget.Status{{Action: "DescribeSubnets", Rate: 2.5, Full: 5, Waiting: [4]int{budget.Waiting: 3, budget.Warm: 1}}}
	}})
	m.Added(3*time.Millisecond, "")
	m.Added(10*time.Second, string(ipam.SubnetsFull))
	m.Added(time.Second, string(node.WiringError))
	m.Deleted(2*time.Millisecond, nil)
	m.Acted(pool.CreateENI, pool.PodsWaiting, time.Second, &vpc.Error{Code: vpc.SubnetFull})
	m.Acted(pool.ReadENIs, pool.Resync, time.Second, nil)
	m.called(aws.Call{Action: "DescribeSubnets", Status: 200, Elapsed: 20 * time.Millisecond})
	m.called(aws.Call{Action: "DescribeSubnets", Status: 503, Wire: "RequestLimitExceeded", Err: &vpc.Error{Code: vpc.Throttled}})
	m.ready(300*time.Millisecond, true)
	_, body := get(t, p.metrics(nil), "/metrics")
	var lines []string
	for line := range strings.Lines(body) {
		if (strings.HasPrefix(line, "awscni_") || strings.HasPrefix(line, "berth_")) && !strings.Contains(line, "_bucket{") && !strings.Contains(line, "goversion") {
			lines = append(lines, line)
		}
	}
	golden(t, "metrics.txt", strings.Join(lines, ""))
}

func TestThrottledForHowLong(t *testing.T) {
	p := newPages("v1")
	p.registry.MustRegister(gauges{report: sample, budgets: func() []budget.Status {
		return []budget.Status{{Action: "CreateTags", Since: time.Now().Add(-90 * time.Second)}}
	}})
	if _, body := get(t, p.metrics(nil), "/metrics"); !strings.Contains(body, "berth_ec2_budget_throttled_seconds{action=\"CreateTags\"} 9") {
		t.Error(body)
	}
}

func TestStatusPageNamesNoPod(t *testing.T) {
	report := func(context.Context) (agentReport, error) {
		pod := &pool.Pod{Namespace: "secret", Name: "secret-pod"}
		return agentReport{Version: "v1", Share: &kube.Share{Seconds: 90, Division: budget.Divide(7, 9, 1)}, Node: node.Report{
			Ready: true, Tally: target.Tally{InUse: 1, Waiting: 1}, Lost: []string{"EC2 does not list 10.0.0.9 of pod secret/secret-pod: delete the pod"},
			ENIs:    []node.ReportENI{{ID: "eni-1", Addresses: []node.ReportAddress{{Pod: pod}}}},
			Waiting: []node.ReportWaiting{{Pod: *pod}},
		}}, nil
	}
	_, body := get(t, newPages("v1").metrics(report), "/v1/status")
	if !strings.Contains(body, `"eni-1"`) || !strings.Contains(body, "addresses of 1 pods") || !strings.Contains(body, `"hungry": 7`) || strings.Contains(body, "secret") {
		t.Error(body)
	}
}

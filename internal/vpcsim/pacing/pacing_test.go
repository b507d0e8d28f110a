package pacing

import (
	"encoding/json"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func source() *rand.Rand { return rand.New(rand.NewPCG(1, 2)) }

func TestDistribution(t *testing.T) {
	rng := source()
	if got := Fixed(time.Second).Sample(rng); got != time.Second {
		t.Errorf("fixed: %s", got)
	}
	d := Distribution{P50: 200 * time.Millisecond, P99: time.Second, Max: 2 * time.Second}
	var samples []time.Duration
	for range 10000 {
		samples = append(samples, d.Sample(rng))
	}
	slices.Sort(samples)
	within := func(name string, got, want time.Duration) {
		if got < want*9/10 || got > want*11/10 {
			t.Errorf("%s: %s, want about %s", name, got, want)
		}
	}
	within("p50", samples[5000], d.P50)
	within("p99", samples[9900], d.P99)
	if last := samples[9999]; last > d.Max {
		t.Errorf("longest: %s, want at most %s", last, d.Max)
	}
}

func TestDefaultBucket(t *testing.T) {
	tests := map[string]Bucket{
		"DescribeSubnets":                      {100, 20},
		"DescribeNetworkInterfaces/unfiltered": {50, 10},
		"GetSubnetCidrReservations":            {100, 20},
		"CreateNetworkInterface":               {100, 5},
		"AttachNetworkInterface":               {50, 5},
		"CreateSubnetCidrReservation":          {5, 1},
	}
	for action, want := range tests {
		if got := DefaultBucket(action); got != want {
			t.Errorf("%s: %v, want %v", action, got, want)
		}
	}
}

func TestThrottle(t *testing.T) {
	g := Gate{Throttle: true, Sizes: map[string]Bucket{"AttachNetworkInterface": {2, 1}}}
	rng := source()
	admit := func(account string, at time.Duration) string {
		return g.Admit(Call{Account: account, Action: "AttachNetworkInterface"}, start.Add(at), rng).Code
	}
	got := []string{
		admit("1", 0), admit("1", 0), admit("1", 0), admit("2", 0),
		admit("1", 999*time.Millisecond), admit("1", time.Second), admit("1", time.Second),
	}
	full := "RequestLimitExceeded"
	if diff := cmp.Diff([]string{"", "", full, "", full, "", full}, got); diff != "" {
		t.Error(diff)
	}
	launch := Call{Account: "1", Action: "RunInstances", Resources: 600}
	if c := g.Admit(launch, start, rng).Code; c != "" {
		t.Errorf("600 instances: %s", c)
	}
	if c := g.Admit(launch, start, rng).Code; c != full {
		t.Errorf("600 instances more: %q", c)
	}
}

func TestFaults(t *testing.T) {
	call := Call{Account: "1", Source: "node:i-1", Action: "DescribeSubnets"}
	tests := []struct {
		name  string
		fault Fault
		call  Call
		want  []Verdict // of calls a second apart
	}{
		{"matching", Fault{Action: "Describe*", Caller: "node:*", Code: "Unavailable"}, call, []Verdict{
			{Code: "Unavailable", Status: 503, Message: "The service is unavailable. Please try again shortly."},
		}},
		{"other action", Fault{Action: "Create*", Code: "Unavailable"}, call, []Verdict{{}}},
		{"other caller", Fault{Caller: "operator", Code: "Unavailable"}, call, []Verdict{{}}},
		{"counted", Fault{Count: 2, DropRequest: true}, call, []Verdict{{DropRequest: true}, {DropRequest: true}, {}}},
		{"until", Fault{Until: start.Add(time.Second), Garbage: "<html>"}, call, []Verdict{{Garbage: "<html>"}, {}}},
		{"slow", Fault{Delay: time.Second}, call, []Verdict{{Delay: time.Second}}},
		{"own text", Fault{Code: "X", Status: 418, Message: "no"}, call, []Verdict{{Code: "X", Status: 418, Message: "no"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var g Gate
			g.Faults.Add(tt.fault)
			for i, want := range tt.want {
				got := g.Admit(tt.call, start.Add(time.Duration(i)*time.Second), source())
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("call %d: %s", i, diff)
				}
			}
		})
	}
}

func TestFaultShare(t *testing.T) {
	var g Gate
	id := g.Faults.Add(Fault{Code: "InternalError", Share: 0.25})
	rng, hits := source(), 0
	for range 10000 {
		if g.Admit(Call{}, start, rng).Code != "" {
			hits++
		}
	}
	if hits < 2300 || hits > 2700 {
		t.Errorf("%d of 10000 calls hit, want about 2500", hits)
	}
	if got := g.Faults.Active(start); len(got) != 1 || got[0].ID != id {
		t.Errorf("active: %v", got)
	}
	g.Faults.Clear(id)
	if got := g.Faults.Active(start); len(got) != 0 {
		t.Errorf("after clear: %v", got)
	}
}

func TestLog(t *testing.T) {
	var l Log
	l.Count("A", "n1", "ok")
	l.Mark("m")
	l.Count("A", "n1", "ok")
	l.Count("A", "n0", "Throttled")
	got, ok := l.Since("m")
	want := []CallCount{{"A", "n0", "Throttled", 1}, {"A", "n1", "ok", 1}}
	if diff := cmp.Diff(want, got); diff != "" || !ok {
		t.Error(ok, diff)
	}
	if got, _ := l.Since(""); got[1].Count != 2 {
		t.Errorf("since the start: %v", got)
	}
	if _, ok := l.Since("other"); ok {
		t.Error("unknown mark accepted")
	}
}

// Calls beside EC2 have faults and latencies of their own, and no request buckets.
func TestOtherServicesArePacedApart(t *testing.T) {
	g := Gate{Throttle: true, Sizes: map[string]Bucket{"imds:Get": {}}, Latency: map[string]Distribution{"*": Fixed(time.Hour), "imds:*": Fixed(time.Second)}}
	get := Call{Account: "1", Source: "node:i-1", Action: "imds:Get"}
	for _, f := range []Fault{{Code: "A"}, {Action: "*", Code: "B"}, {Action: "eks:*", Code: "C"}} {
		g.Faults.Add(f)
	}
	if diff := cmp.Diff(Verdict{Delay: time.Second}, g.Admit(get, start, source())); diff != "" {
		t.Errorf("faults of EC2 and EKS, and metadata: %s", diff)
	}
	g.Faults.Clear(0)
	g.Faults.Add(Fault{Action: "imds:*", Code: "Stale"})
	if v := g.Admit(get, start, source()); v.Code != "Stale" {
		t.Errorf("its own fault: %+v", v)
	}
	if v := g.Admit(Call{Account: "1", Action: "DescribeVpcs"}, start, source()); v.Code != "" || v.Delay != time.Hour {
		t.Errorf("a fault of metadata, and EC2: %+v", v)
	}
	g.Latency["imds:Get"] = Fixed(time.Minute)
	if v := g.Admit(get, start, source()); v.Delay != time.Minute {
		t.Errorf("a latency of the action itself: %+v", v)
	}
}

// An operator writes a time as such; what a snapshot has written is read as well.
func TestDistributionIsReadFromATime(t *testing.T) {
	for text, want := range map[string]Distribution{
		`"2s"`:                          Fixed(2 * time.Second),
		`{"p50":1000000}`:               Fixed(time.Millisecond),
		`{"p50":1000000,"p99":2000000}`: {P50: time.Millisecond, P99: 2 * time.Millisecond},
		`{}`:                            {},
	} {
		var got Distribution
		if err := json.Unmarshal([]byte(text), &got); err != nil || got != want {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
	for _, bad := range []string{`"2"`, `"-2s"`, `2`, `{"p5":1}`, `{"p50":"x"}`} {
		var got Distribution
		if err := json.Unmarshal([]byte(bad), &got); err == nil {
			t.Errorf("%s is read as %+v", bad, got)
		}
	}
}

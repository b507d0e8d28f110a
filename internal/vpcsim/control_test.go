package vpcsim_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/berth-net/berth/internal/core/vpc"
	"github.com/berth-net/berth/internal/vpcsim"
	"github.com/berth-net/berth/internal/vpcsim/ec2"
	"github.com/berth-net/berth/internal/vpcsim/pacing"
)

// Whoever changes what Settings returned, as a PATCH of one member does, must not change what calls are paced by meanwhile.
func TestSettingsHandedOutAreNotThoseInForce(t *testing.T) {
	given := vpcsim.Settings{
		Latency: map[string]pacing.Distribution{"*": pacing.Fixed(time.Second)}, Buckets: map[string]pacing.Bucket{"A": {Size: 1}},
	}
	w := vpcsim.New(vpcsim.Options{Settings: given})
	want := w.Settings()
	for _, mine := range []vpcsim.Settings{given, w.Settings()} {
		mine.Latency["*"] = pacing.Fixed(time.Hour)
		mine.Buckets["B"] = pacing.Bucket{Size: 2}
	}
	if diff := cmp.Diff(vpcsim.Settings{
		Latency: map[string]pacing.Distribution{"*": pacing.Fixed(time.Second)}, Buckets: map[string]pacing.Bucket{"A": {Size: 1}},
	}, w.Settings()); diff != "" {
		t.Errorf("settings in force:\n%s", diff)
	}
	if want.Latency["*"] != pacing.Fixed(time.Second) {
		t.Error("settings handed out earlier have changed")
	}
}

// A lab writes its VPC to the disk at each change: what is no change is lost when it dies.
func TestWhatASnapshotHoldsIsAChange(t *testing.T) {
	w := newWorld(t, vpcsim.Options{})
	changed := func() bool {
		select {
		case <-w.Changed():
			return true
		default:
			return false
		}
	}
	changed()
	tag := ec2.Tag{Key: "kubernetes.io/role/cni", Value: "1"}
	for name, change := range map[string]func() error{
		"tag": func() error {
			return result(w.CreateTags(operator, ec2.CreateTagsInput{Resources: []string{w.subnet}, Tags: []ec2.Tag{tag}}))
		},
		"policy":   func() error { return w.SetPolicies("role", readOnlyPolicy) },
		"settings": func() error { w.SetSettings(vpcsim.Settings{Sequential: true}); return nil },
		"fault":    func() error { w.AddFault(pacing.Fault{Code: "Unavailable", Action: "RunInstances"}); return nil },
		"no fault": func() error { w.ClearFault(0); return nil },
		"share":    func() error { return w.ShareSubnet(vpc.SubnetID(w.subnet), "444455556666") },
		"mark":     func() error { w.Mark("m"); return nil },
	} {
		must(t, change())
		if !changed() {
			t.Errorf("%s: no change", name)
		}
	}
	must(t, result(w.DescribeSubnets(operator, ec2.DescribeSubnetsInput{})))
	must(t, result(w.DescribeTags(operator, ec2.DescribeTagsInput{})))
	if changed() {
		t.Error("a read is a change")
	}
}

// Marks and counts are in a snapshot, those of the metadata service, EKS and STS too.
func TestCallsAreCountedOnAfterARestart(t *testing.T) {
	w := newWorld(t, vpcsim.Options{})
	w.CountCall("imds:Get", "node:i-1", "ok")
	w.Mark("m")
	must(t, result(w.DescribeVpcs(operator, ec2.DescribeVpcsInput{})))
	w.AddFault(pacing.Fault{Action: "imds:*", Code: "Stale"})
	data, err := w.Snapshot()
	must(t, err)
	again := vpcsim.New(vpcsim.Options{})
	must(t, again.Restore(data))
	again.CountCall("imds:Get", "node:i-1", "ok")
	got, ok := again.Calls("m")
	want := []pacing.CallCount{
		{Action: "DescribeVpcs", Caller: "operator", Outcome: "ok", Count: 1}, {Action: "imds:Get", Caller: "node:i-1", Outcome: "ok", Count: 1},
	}
	if diff := cmp.Diff(want, got); diff != "" || !ok {
		t.Errorf("since the mark (%v):\n%s", ok, diff)
	}
	if a := again.Admit(operator, vpcsim.Request{Action: "imds:Get"}); a.Err == nil || a.Err.Code != "Stale" {
		t.Errorf("the fault of the metadata service: %+v", a)
	}
}

package enforcement

import (
	"testing"
	"time"

	"github.com/berth-net/berth/internal/enforce"
	"github.com/berth-net/berth/internal/kube"
)

func TestConditionOfTheNode(t *testing.T) {
	t.Parallel()
	missing := enforce.Report{Missing: []string{"pods"}}
	for name, tt := range map[string]struct {
		r       enforce.Report
		running time.Duration
		reason  string
		good    bool
	}{
		"all is known":             {enforce.Report{Pods: 3}, time.Second, "PoliciesInForce", true},
		"a bad policy":             {enforce.Report{Problems: []string{"x"}}, time.Hour, "PoliciesInForce", true},
		"a start":                  {missing, time.Second, "", false},
		"a start that takes long":  {missing, time.Minute, "PoliciesUnknown", false},
		"maps are full at a start": {enforce.Report{Missing: []string{"pods"}, Refused: "no room"}, time.Second, "PoliciesRefused", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, say := conditionOf(tt.r, tt.running)
			if say != (tt.reason != "") || c.Reason != tt.reason || c.Status != tt.good || say && c.Message == "" {
				t.Errorf("%+v, %v", c, say)
			}
		})
	}
}

func TestPolicyOfATrouble(t *testing.T) {
	t.Parallel()
	for _, k := range []enforce.Kind{enforce.NetworkPolicy, enforce.ClusterNetworkPolicy, enforce.AmazonClusterNetworkPolicy, enforce.ApplicationNetworkPolicy} {
		if o := policyOf(enforce.Trouble{Kind: k, Name: "x"}); o.Kind == (kube.PolicyKind{}) || o.Kind.Name() != string(k) {
			t.Errorf("%s is %+v", k, o.Kind)
		}
	}
}

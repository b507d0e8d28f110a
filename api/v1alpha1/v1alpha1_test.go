package v1alpha1_test

import (
	"encoding/json"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/berth-net/berth/api/v1alpha1"
)

// TestCleanAgreesWithTheDefinition: what the API server refuses and what the agent leaves out is the same.
func TestCleanAgreesWithTheDefinition(t *testing.T) {
	t.Parallel()
	type schema struct {
		Properties       map[string]schema
		Minimum, Maximum *int
	}
	var crd struct {
		Spec struct {
			Versions []struct {
				Schema struct{ OpenAPIV3Schema schema }
			}
		}
	}
	data, err := os.ReadFile("../../deploy/chart/berth/crds/nodesettings.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(data, &crd); err != nil {
		t.Fatal(err)
	}
	numbers := 0
	for name, field := range crd.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"].Properties["pool"].Properties {
		if field.Minimum == nil {
			continue
		}
		numbers++
		for value, want := range map[int]int{*field.Minimum - 1: 1, *field.Minimum: 0, *field.Maximum: 0, *field.Maximum + 1: 1} {
			var spec v1alpha1.NodeSettingsSpec
			if err := json.Unmarshal(fmt.Appendf(nil, `{"pool":{%q:%d}}`, name, value), &spec); err != nil {
				t.Fatal(err)
			}
			refused := spec.Clean()
			if len(refused) != want {
				t.Errorf("%s=%d: refused %q", name, value, refused)
			}
			if left, _ := json.Marshal(spec.Pool); want == 1 && string(left) != "{}" {
				t.Errorf("%s=%d: %s is left", name, value, left)
			}
		}
	}
	if numbers != 5 {
		t.Errorf("%d numbers in the definition", numbers)
	}
}

func TestCleanCooldown(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]int{-1: 1, 0: 0, time.Minute: 0, time.Hour: 0, time.Hour + 1: 1} {
		spec := v1alpha1.NodeSettingsSpec{Pool: v1alpha1.PoolSettings{IPCooldownPeriod: &metav1.Duration{Duration: d}}}
		if refused := spec.Clean(); len(refused) != want || (spec.Pool.IPCooldownPeriod == nil) != (want == 1) {
			t.Errorf("%s: refused %q", d, refused)
		}
	}
}

func TestDeepCopySharesNothing(t *testing.T) {
	t.Parallel()
	example := func() *v1alpha1.NodeSettingsList {
		return &v1alpha1.NodeSettingsList{Items: []v1alpha1.NodeSettings{{
			ObjectMeta: metav1.ObjectMeta{Name: "a", Labels: map[string]string{"k": "v"}},
			Spec: v1alpha1.NodeSettingsSpec{
				NodeSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"k": "v"}}, Priority: 1,
				Pool: v1alpha1.PoolSettings{
					WarmENITarget: new(int32(1)), WarmIPTarget: new(int32(2)), MinimumIPTarget: new(int32(3)), WarmPrefixTarget: new(int32(4)),
					MaxENI: new(int32(5)), IPCooldownPeriod: &metav1.Duration{Duration: time.Second},
				},
				PrefixDelegation: new(true), SubnetDiscovery: new(true), ReservePrefixes: new(true),
			},
		}}}
	}
	original := example()
	c := original.DeepCopyObject().(*v1alpha1.NodeSettingsList)
	if diff := cmp.Diff(original, c); diff != "" {
		t.Errorf("the copy differs:\n%s", diff)
	}
	s := &c.Items[0]
	s.Labels["k"], s.Spec.NodeSelector.MatchLabels["k"] = "x", "x"
	p := &s.Spec.Pool
	*p.WarmENITarget, *p.WarmIPTarget, *p.MinimumIPTarget, *p.WarmPrefixTarget, *p.MaxENI, p.IPCooldownPeriod.Duration = 9, 9, 9, 9, 9, 9
	*s.Spec.PrefixDelegation, *s.Spec.SubnetDiscovery, *s.Spec.ReservePrefixes = false, false, false
	if diff := cmp.Diff(example(), original); diff != "" {
		t.Errorf("changing the copy changed the original:\n%s", diff)
	}
}

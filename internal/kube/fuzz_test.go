package kube

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/labels"
)

// FuzzReadSettings: whatever a spec says, settings that count select nodes and are in range, and what is left out is told.
func FuzzReadSettings(f *testing.F) {
	for _, seed := range []string{
		`{}`, `null`, `"x"`, `{"nodeSelector":{},"pool":{"warmIPTarget":5,"ipCooldownPeriod":"30s"},"prefixDelegation":true,"priority":7}`,
		`{"nodeSelector":{"matchExpressions":[{"key":"a","operator":"In","values":["b"]}]},"pool":{"maxENI":-1}}`, `{"nodeSelector":{"matchLabels":{"a":"b"}},"pool":7}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, spec []byte) {
		if !json.Valid(spec) {
			return // the server's own JSON
		}
		var o nodeSettings
		o.Metadata.Name, o.Spec = "x", spec
		s := readSettings(o)
		if s.usable && s.selector == nil || !s.usable && len(s.refused) == 0 {
			t.Fatalf("%s gives %+v", spec, s)
		}
		for _, n := range []*int{s.overrides.WarmENI, s.overrides.WarmIP, s.overrides.MinimumIP, s.overrides.WarmPrefix, s.overrides.MaxENI} {
			if n != nil && (*n < 0 || *n > 10_000) {
				t.Errorf("%s gives %d", spec, *n)
			}
		}
		if d := s.overrides.Cooldown; d != nil && (*d < 0 || *d > time.Hour) {
			t.Errorf("%s gives a period of %s", spec, *d)
		}
		overrides, refused := selected(map[string]settings{"x": s}, labels.Set{"a": "b"})
		if len(overrides) > 0 && !s.usable || len(refused) > len(s.refused) {
			t.Errorf("%s selects %v, refused %q", spec, overrides, refused)
		}
	})
}

// FuzzReadENIConfig: a spec gives a subnet and groups that look like ids, or a reason and neither.
func FuzzReadENIConfig(f *testing.F) {
	for _, seed := range []string{``, `null`, `{}`, `{"subnet":"subnet-1"}`, `{"subnet":"subnet-1","securityGroups":["sg-1","sg-1",""]}`, `{"subnet":["subnet-1"]}`, `[]`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, spec []byte) {
		var o eniConfig
		o.Metadata.Name, o.Spec = "x", spec
		e := readENIConfig(o)
		if !e.Found || (e.Why == "") != (e.Subnet != "") || e.Why != "" && len(e.Groups) > 0 {
			t.Fatalf("%q gives %+v", spec, e)
		}
		if e.Subnet != "" && !strings.HasPrefix(string(e.Subnet), "subnet-") {
			t.Errorf("%q gives subnet %q", spec, e.Subnet)
		}
	})
}

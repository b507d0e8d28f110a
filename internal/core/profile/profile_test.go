package profile_test

import (
	"strings"
	"testing"

	"github.com/berth-net/berth/internal/core/profile"
)

func TestENIConfig(t *testing.T) {
	t.Parallel()
	type m = map[string]string
	zone := profile.Keys{Label: "topology.kubernetes.io/zone"}
	for _, test := range []struct {
		name                string
		labels, annotations m
		keys                profile.Keys
		want, from          string
	}{
		{"nothing", nil, nil, profile.Keys{}, "default", "no label or annotation names one"},
		{"label", m{"k8s.amazonaws.com/eniConfig": "a"}, nil, profile.Keys{}, "a", "label k8s.amazonaws.com/eniConfig"},
		{"annotation before label", m{"k8s.amazonaws.com/eniConfig": "a"}, m{"k8s.amazonaws.com/eniConfig": "b"}, profile.Keys{}, "b", "annotation k8s.amazonaws.com/eniConfig"},
		{
			"external label before both",
			m{"vpc.amazonaws.com/externalEniConfig": "c", "k8s.amazonaws.com/eniConfig": "a"},
			m{"k8s.amazonaws.com/eniConfig": "b"},
			profile.Keys{},
			"c", "label vpc.amazonaws.com/externalEniConfig",
		},
		{"external is a label, not an annotation", nil, m{"vpc.amazonaws.com/externalEniConfig": "c"}, profile.Keys{}, "default", "no label or annotation names one"},
		{"the zone's label", m{"topology.kubernetes.io/zone": "us-west-2a"}, nil, zone, "us-west-2a", "label topology.kubernetes.io/zone"},
		{"with another label the usual one does not count", m{"k8s.amazonaws.com/eniConfig": "a"}, nil, zone, "default", "no label or annotation names one"},
		{"own annotation", nil, m{"example.org/x": "y"}, profile.Keys{Annotation: "example.org/x"}, "y", "annotation example.org/x"},
		{"a label with an empty value names nothing", m{"k8s.amazonaws.com/eniConfig": ""}, nil, profile.Keys{}, "default", "no label or annotation names one"},
		{
			"an empty external label lets the annotation count",
			m{"vpc.amazonaws.com/externalEniConfig": ""},
			m{"k8s.amazonaws.com/eniConfig": "b"},
			profile.Keys{},
			"b", "annotation k8s.amazonaws.com/eniConfig",
		},
		{"an empty annotation lets the label count", m{"k8s.amazonaws.com/eniConfig": "a"}, m{"k8s.amazonaws.com/eniConfig": ""}, profile.Keys{}, "a", "label k8s.amazonaws.com/eniConfig"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			name, from := profile.ENIConfig(test.labels, test.annotations, test.keys)
			if name != test.want || from != test.from {
				t.Errorf("%q by %q, want %q by %q", name, from, test.want, test.from)
			}
		})
	}
}

func TestNameable(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]bool{
		"default": true, "us-west-2a": true, "pods.us-west-2a": true, "0": true, strings.Repeat("a", 253): true,
		"": false, "Pods": false, "a_b": false, "-a": false, "a-": false, "a..b": false, "a/b": false, "../nodes": false, "a,b=c": false, "ä": false,
		strings.Repeat("a", 254): false, "a\nb": false,
	} {
		if got := profile.Nameable(name); got != want {
			t.Errorf("Nameable(%q) is %t", name, got)
		}
	}
}

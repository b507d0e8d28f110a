package profile_test

import (
	"strings"
	"testing"

	"github.com/berth-net/berth/internal/core/profile"
	"github.com/berth-net/berth/internal/core/vpc"
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

func TestMaxPods(t *testing.T) {
	t.Parallel()
	none, prefixes, custom := profile.Mode{}, profile.Mode{Prefixes: true}, profile.Mode{CustomNetworking: true}
	both := profile.Mode{Prefixes: true, CustomNetworking: true}
	for _, test := range []struct {
		kind  string
		mode  profile.Mode
		vcpus int
		want  int
	}{
		// Secondary addresses, as published: ENIs·(addresses-1)+2.
		{"t3.nano", none, 2, 4},
		{"t3.medium", none, 2, 17},
		{"m5.large", none, 2, 29},
		{"m6a.large", none, 2, 29},
		{"m5.xlarge", none, 4, 58},
		{"c5.4xlarge", none, 16, 234},
		{"c5.12xlarge", none, 48, 234},
		{"m5.24xlarge", none, 96, 737},
		{"m7i.48xlarge", none, 192, 737},
		{"p5.48xlarge", none, 192, 100},
		// Custom networking: the primary interface has no pods.
		{"t3.nano", custom, 2, 3},
		{"m5.large", custom, 2, 20},
		{"m5.xlarge", custom, 4, 44},
		{"m5.24xlarge", custom, 96, 688},
		// Prefixes: 16 addresses a slot, and no more than EKS recommends.
		{"t3.nano", prefixes, 2, 34},
		{"t3.medium", prefixes, 2, 110},
		{"m5.large", prefixes, 2, 110},
		{"c5.4xlarge", prefixes, 16, 110},
		{"c5.12xlarge", prefixes, 48, 250},
		{"m5.24xlarge", prefixes, 96, 250},
		{"m5.large", prefixes, 0, 250}, // vCPUs are not known
		{"t3.nano", both, 2, 18},
		{"m5.large", both, 2, 110},
		{"c5.12xlarge", both, 48, 250},
		// No Nitro, no prefixes.
		{"m4.large", prefixes, 2, 20},
		// MAX_ENI counts the primary interface.
		{"m5.24xlarge", profile.Mode{MaxENI: 4}, 96, 198},
		{"m5.large", profile.Mode{MaxENI: 10}, 2, 29},
		{"m5.large", profile.Mode{MaxENI: -1}, 2, 29},
		{"m5.large", profile.Mode{MaxENI: 2, CustomNetworking: true}, 2, 11},
		{"m5.large", profile.Mode{MaxENI: 1, CustomNetworking: true}, 2, 2},
		{"m5.large", profile.Mode{MaxENI: 1, Prefixes: true}, 2, 110},
		{"t3.nano", profile.Mode{MaxENI: 1, Prefixes: true}, 2, 18},
	} {
		l, ok := vpc.Limits(test.kind)
		if !ok {
			t.Errorf("no limits of %s", test.kind)
			continue
		}
		if got := profile.MaxPods(l, test.mode, test.vcpus); got != test.want {
			t.Errorf("%s with %+v and %d vCPUs: %d pods, want %d", test.kind, test.mode, test.vcpus, got, test.want)
		}
	}
	if got := profile.MaxPods(vpc.InstanceLimits{}, custom, 0); got != 2 {
		t.Errorf("unknown limits give %d pods", got)
	}
}

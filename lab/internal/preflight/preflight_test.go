package preflight

import (
	"strings"
	"testing"
)

func TestOlder(t *testing.T) {
	for _, tc := range []struct {
		version, than string
		want          bool
	}{
		{"6.1.0-56-cloud-amd64", "5.10", false},
		{"5.9.99", "5.10", true},
		{"5.10.0", "5.10", false},
		{"4.19.0-27-amd64", "5.10", true},
		{"10.0", "5.10", false},
		{"odd", "5.10", true},
	} {
		if got := older(tc.version, tc.than); got != tc.want {
			t.Errorf("older(%q, %q) is %v, want %v", tc.version, tc.than, got, tc.want)
		}
	}
}

func TestAmount(t *testing.T) {
	for _, tc := range []struct {
		have, want uint64
		verdict    Verdict
	}{{20 * gib, 10 * gib, OK}, {10 * gib, 10 * gib, OK}, {9 * gib, 10 * gib, Warn}, {7 * gib, 10 * gib, Fail}} {
		if got := amount("memory", tc.have, tc.want, "fix"); got.Verdict != tc.verdict {
			t.Errorf("%d of %d is %s, want %s", tc.have, tc.want, got.Verdict, tc.verdict)
		}
	}
}

func TestEveryCheckAnswersAndEveryLackHasAFix(t *testing.T) {
	results := Run(t.Context(), Needs{Dir: t.TempDir(), Path: "/nonexistent", Nodes: 100000})
	seen := map[string]bool{}
	for _, r := range results {
		if seen[r.Name] {
			t.Errorf("two checks are named %s", r.Name)
		}
		seen[r.Name] = true
		if r.Verdict != OK && r.Fix == "" && r.Name != "system" {
			t.Errorf("%s is %s without a fix", r.Name, r.Verdict)
		}
	}
	err := Error(results)
	if err == nil {
		t.Fatal("a machine without programs and memory for 100,000 nodes passes")
	}
	for _, want := range []string{"programs: no apt-get", "memory:"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in %v", want, err)
		}
	}
	var b strings.Builder
	if err := Print(&b, results); err != nil || !strings.Contains(b.String(), "fix: ") {
		t.Errorf("table is %q, %v", b.String(), err)
	}
}

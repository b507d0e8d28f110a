package reach_test

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/berth-net/berth/internal/core/policy"
	"github.com/berth-net/berth/internal/core/policy/reach"
)

func names(m reach.Matrix) []string {
	var out []string
	for _, g := range m.Groups {
		text := ""
		for _, w := range g.Workloads {
			text += fmt.Sprintf("%s/%s %d of %d;", w.Namespace, w.Workload, w.Pods, w.Of)
		}
		out = append(out, text)
	}
	return out
}

func TestMatrix(t *testing.T) {
	w := world()
	for i := range 1000 {
		p := pod(fmt.Sprintf("many-5d5f-%d", i), "other", netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}).String())
		p.Labels["pod-template-hash"] = "5d5f"
		w.Pods = append(w.Pods, p)
	}
	m := reach.NewMatrix(w, "", reach.Ports{Protocol: policy.TCP, Number: 80})
	if d := cmp.Diff([]string{"x/friend 1 of 1;x/new 1 of 1;", "x/many 1000 of 1000;x/other 1 of 1;", "x/bad 1 of 1;", "x/web 1 of 1;"}, names(m)); d != "" {
		t.Fatal(d)
	}
	want := [][]string{
		{"yes", "yes", "yes", "yes"},
		{"yes", "yes", "yes", "no"},
		{"no", "no", "", "no"}, // one pod has no other of its kind to reach
		{"yes", "yes", "yes", ""},
	}
	if d := cmp.Diff(want, m.Cells); d != "" {
		t.Error(d)
	}
	if m.HostNetwork != 2 || m.Placed != 1 {
		t.Errorf("%d pods of the host's network, %d without address", m.HostNetwork, m.Placed)
	}
}

func TestMatrixOfAllPorts(t *testing.T) {
	m := reach.NewMatrix(world(), "", reach.Ports{})
	// friend reaches web at one port.
	if got := m.Cells[0][len(m.Cells)-1]; got != "tcp 80" {
		t.Errorf("%q: %v %v", got, names(m), m.Cells)
	}
}

package reach

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/berth-net/berth/internal/core/policy"
	"github.com/berth-net/berth/internal/testkit/policyworld"
)

// TestCellsSayWhatEveryPairOfPodsIsTold: pods that are taken for alike are treated alike.
func TestCellsSayWhatEveryPairOfPodsIsTold(t *testing.T) {
	pairs := 0
	for seed := range uint64(80) {
		w := policyworld.New(seed, policyworld.Small())
		w.Resolved = nil // what domains stand for is not in the API
		m := &matrix{World: w, ask: Ports{Protocol: policy.TCP, Number: 80}, ids: make(map[string]uint32)}
		m.id("")
		m.classify("")
		for i, row := range m.cells() {
			for j, cell := range row {
				for _, a := range m.classes[i].pods {
					for _, b := range m.classes[j].pods {
						if a != b {
							pairs++
							if want := told(w, a, b); m.texts[cell] != want {
								t.Fatalf("seed %d: %s to %s: %q, want %q", seed, PodName(*a), PodName(*b), m.texts[cell], want)
							}
						}
					}
				}
			}
		}
	}
	if pairs < 500 {
		t.Fatalf("only %d pairs", pairs)
	}
}

// told asks the whole world.
func told(w *policy.World, a, b *policy.Pod) string {
	var texts []string
	for _, four := range []bool{true, false} {
		is := func(x netip.Addr) bool { return x.Is4() == four }
		i, j := slices.IndexFunc(a.Addrs, is), slices.IndexFunc(b.Addrs, is)
		if i < 0 || j < 0 {
			continue
		}
		text := No
		if policy.Evaluate(w, policy.Packet{From: a.Addrs[i], To: b.Addrs[j], Protocol: policy.TCP, Port: 80}).Allowed {
			text = Yes
		}
		texts = append(texts, text)
	}
	switch {
	case len(texts) == 0:
		return NoFamily
	case len(texts) == 1 || texts[0] == texts[1]:
		return texts[0]
	}
	return "IPv4 " + texts[0] + "; IPv6 " + texts[1]
}

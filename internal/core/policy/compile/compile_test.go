package compile_test

import (
	"flag"
	"strconv"
	"testing"

	"github.com/berth-net/berth/internal/testkit/policyworld"
)

var clusters = flag.Int("clusters", 2000, "how many generated clusters are compiled and compared with the reference")

// TestTablesAgreeWithReference compiles clusters from nothing.
func TestTablesAgreeWithReference(t *testing.T) {
	for seed := range uint64(*clusters) {
		size := policyworld.Small()
		if seed%8 == 0 {
			size = policyworld.Large()
		}
		w := policyworld.New(seed, size)
		r := newRig(t, seed, w.Strict)
		r.said = "seed " + strconv.FormatUint(seed, 10)
		r.become(w, everyPod(w))
		r.flush()
		r.agree(r.questions(w, 150))
		if again := r.flush(); len(again) > 0 {
			t.Fatalf("seed %d: a flush after nothing makes %d changes", seed, len(again))
		}
	}
}

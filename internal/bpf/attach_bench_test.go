package bpf_test

import (
	"testing"

	"github.com/berth-net/berth/internal/testkit"
)

// BenchmarkAttach puts both programs on an interface and takes them off again, by either way.
func BenchmarkAttach(b *testing.B) {
	for _, name := range []string{"tcx", "clsact"} {
		b.Run(name, func(b *testing.B) {
			o := options(mountBPF(b))
			o.Clsact = name == "clsact"
			w, d := newWire(b), open(b, o)
			b.Cleanup(func() { _ = d.Close() })
			for b.Loop() {
				w.attach(b, d)
				b.StopTimer()
				testkit.InNetns(b, w.node, func() error { return d.Detach(w.ifindex) })
				b.StartTimer()
			}
		})
	}
}

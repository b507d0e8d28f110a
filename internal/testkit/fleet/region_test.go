package fleet

import (
	"net/netip"
	"testing"
	"time"
)

// TestWrongIsSeen breaks each rule that the simulation checks, and wants it named.
func TestWrongIsSeen(t *testing.T) {
	r := NewRegion(Options{Seed: 1, Calm: true})
	c := r.NewCluster("demo", Ours, Config{})
	n := c.Launch("m5.large", r.Subnet("10.0.0.0/24", 0, ""), 1)[0]
	c.Boot(c.nodes, 0)
	a, b := c.Bind(n, 0), c.Bind(n, 0)
	r.Run(time.Minute, nil)
	if wrong := r.Audit(); len(wrong) > 0 || !a.addr.IsValid() {
		t.Fatalf("before anything is broken: %v, %v", wrong, a.addr)
	}
	for _, breaks := range []struct {
		what string
		do   func()
	}{
		{"an address given twice", func() { r.take(b, a.addr, a.eni) }},
		{"an address that EC2 does not have there", func() { r.take(b, n.address, "eni-0123456789abcdef0") }},
		{"an address taken from a pod", func() { r.frees("a test", netip.PrefixFrom(a.addr, 32)) }},
		{"an interface detached under a pod", func() { r.detaches("a test", a.eni) }},
	} {
		before := len(r.wrong)
		breaks.do()
		if len(r.wrong) == before {
			t.Errorf("%s: nobody notices", breaks.what)
		}
	}
}

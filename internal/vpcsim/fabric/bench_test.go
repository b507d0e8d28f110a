package fabric_test

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// fleet is a region of instances with three interfaces of ten addresses each, all in one group that refers to itself.
func fleet(instances int) *topology {
	w := newTopology()
	w.group(sgAll, allOut, ruleFromGroup())
	wideAddr := netip.MustParseAddr("10.1.0.4")
	next := func(a *netip.Addr) string {
		*a = a.Next()
		return a.String()
	}
	for i := range instances {
		name := fmt.Sprintf("n%03d", i)
		w.instance(name)
		for e := range 3 {
			var addresses []string
			for range 10 {
				addresses = append(addresses, next(&wideAddr))
			}
			w.eni(fmt.Sprintf("%s-%d", name, e), name, wide, addresses...)
		}
	}
	return w
}

// A change costs what it changes, not what there is. The limits are wide, since machines differ and are shared; the
// figures are logged.
func TestApplyIsFastEnough(t *testing.T) {
	b := newBed(t)
	w := fleet(100)
	timed := func(f func()) time.Duration {
		start := time.Now()
		f()
		return time.Since(start)
	}
	apply := func() { b.apply(w) }
	whole := timed(apply)
	var single []time.Duration
	e := w.get("n050-1")
	for i := range 20 {
		if i%2 == 0 {
			e.Addresses = append(e.Addresses, addr("10.1.30.30"))
		} else {
			e.Addresses = e.Addresses[:10]
		}
		single = append(single, timed(apply))
	}
	slices.Sort(single)
	same := timed(apply)
	w.eni("plugged", "n050", wide, "10.1.30.31")
	plug := timed(apply)
	w.remove("plugged")
	unplug := timed(apply)
	b.crash()
	again := timed(apply)
	t.Logf("100 instances, 300 interfaces, 3000 addresses: whole %v; one address %v (median of 20, worst %v); no change %v; attach %v; detach %v; after a crash %v",
		whole, single[10], single[19], same, plug, unplug, again)
	if whole > 30*time.Second || single[10] > 300*time.Millisecond || again > 15*time.Second {
		t.Error("that is too slow")
	}
	if n := b.ping("n000", "10.1.0.5", "10.1.30.30", 1); n != 0 {
		t.Error("an unassigned address answers")
	}
	if n := b.ping("n000", "10.1.0.5", "10.1.5.225", 1); n != 1 {
		t.Error("another instance does not answer")
	}
}

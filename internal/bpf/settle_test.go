package bpf_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/berth-net/berth/internal/testkit"
	"github.com/berth-net/berth/internal/testkit/flow"
)

// TestWireSettlesUnderTraffic: from clsact to TCX no message is lost, and none that is denied gets through. A segment may be sent
// again, because policy ends in between, and with it the qdisc: TestSettlingAPodLosesPacketsOnTheirWayToIt counts without that.
func TestWireSettlesUnderTraffic(t *testing.T) {
	w := newWire(t)
	d := open(t, options(mountBPF(t)))
	t.Cleanup(func() { _ = d.Close() })
	listen(t, w.pod, port)
	fast := func() {
		testkit.InNetns(t, w.node, func() error { return d.Attach(w.ifindex, slot, false, addr("10.0.0.1"), addr("fd00::1")) })
	}
	by := func() string {
		tc, err := testkit.NetnsOutput(w.node, testkit.RequireProgram(t, "tc"), "filter", "show", "dev", "host0", "ingress")
		if err != nil {
			t.Fatal(err)
		}
		link, err := testkit.NetnsOutput(w.node, testkit.RequireProgram(t, "tc"), "qdisc", "show", "dev", "host0")
		if err != nil {
			t.Fatal(err)
		}
		return map[bool]string{true: "clsact", false: "tcx"}[strings.Contains(tc, "berth") && strings.Contains(link, "clsact")]
	}
	fast()
	if by() != "clsact" {
		t.Error("a new interface is not attached by clsact")
	}
	apply(t, d, rowsOf(isolated(1), 0)...)
	apply(t, d, pod(0, 0))
	steady, err := flow.Start("steady", "tcp", w.far, w.pod, netip.MustParseAddr("10.0.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		testkit.InNetns(t, w.node, func() error { return d.Settle(w.ifindex) })
		if by() != "tcx" {
			t.Error("settled, it is still attached by clsact")
		}
		fast() // as another generation does
		if by() != "tcx" {
			t.Error("settled and attached again, it is attached by clsact")
		}
		testkit.InNetns(t, w.node, func() error { return d.Detach(w.ifindex) })
		fast()
	}
	if result := steady.End(); result.Returned != result.Sent || result.Err != nil {
		t.Errorf("%d of %d messages came back: %v", result.Returned, result.Sent, result.Err)
	}
	apply(t, d, pod(isolated(1), isolated(1)))
	for range 5 {
		if dial(t, w.far, at("10.0.0.1", port)) {
			t.Error("a denied connection got through")
		}
		testkit.InNetns(t, w.node, func() error { return d.Settle(w.ifindex) })
	}
	testkit.InNetns(t, w.node, func() error { return d.Detach(w.ifindex) })
	testkit.InNetns(t, w.node, func() error { return d.Settle(w.ifindex) })
	if has, err := d.Interfaces(); err != nil || len(has) != 0 || by() != "tcx" {
		t.Errorf("an interface that is detached was settled: %v, %v", has, err)
	}
}

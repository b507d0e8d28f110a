package bpf_test

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/berth-net/berth/internal/bpf"
	"github.com/berth-net/berth/internal/core/policy/tables"
	"github.com/berth-net/berth/internal/testkit"
	"github.com/berth-net/berth/internal/testkit/flow"
)

// wire is a node with a pod, and a machine behind it: three namespaces, two veth pairs, packets that the node forwards.
type wire struct {
	node, pod, far string
	ifindex        int // of the host side of the pod's pair
}

func newWire(tb testing.TB) *wire {
	tb.Helper()
	w := &wire{node: testkit.Netns(tb), pod: testkit.Netns(tb), far: testkit.Netns(tb)}
	for _, ns := range []string{w.node, w.pod, w.far} { // addresses are there at once
		testkit.InNetns(tb, ns, func() error { return os.WriteFile("/proc/sys/net/ipv6/conf/default/accept_dad", []byte("0"), 0o644) })
	}
	w.ip(tb, w.node, "link", "add", "host0", "type", "veth", "peer", "name", "eth0")
	w.ip(tb, w.node, "link", "add", "eni0", "type", "veth", "peer", "name", "far0")
	w.move(tb, "eth0", w.pod)
	w.move(tb, "far0", w.far)
	for _, l := range []struct{ ns, link, net4, net6, host string }{
		{w.node, "host0", "10.0.0.", "fd00::", "100"},
		{w.pod, "eth0", "10.0.0.", "fd00::", "1"},
		{w.node, "eni0", "10.0.1.", "fd01::", "100"},
		{w.far, "far0", "10.0.1.", "fd01::", "2"},
	} {
		w.ip(tb, l.ns, "addr", "add", l.net4+l.host+"/24", "dev", l.link)
		w.ip(tb, l.ns, "addr", "add", l.net6+l.host+"/64", "dev", l.link, "nodad")
		w.ip(tb, l.ns, "link", "set", l.link, "up")
	}
	w.ip(tb, w.pod, "route", "add", "default", "via", "10.0.0.100")
	w.ip(tb, w.pod, "route", "add", "default", "via", "fd00::100")
	w.ip(tb, w.far, "route", "add", "default", "via", "10.0.1.100")
	w.ip(tb, w.far, "route", "add", "default", "via", "fd01::100")
	testkit.InNetns(tb, w.node, func() error {
		host, err := net.InterfaceByName("host0")
		if err != nil {
			return err
		}
		w.ifindex = host.Index
		return errors.Join(
			os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644),
			os.WriteFile("/proc/sys/net/ipv6/conf/all/forwarding", []byte("1"), 0o644),
		)
	})
	return w
}

func (w *wire) ip(tb testing.TB, ns string, args ...string) {
	tb.Helper()
	if out, err := testkit.NetnsOutput(ns, testkit.RequireProgram(tb, "ip"), args...); err != nil {
		tb.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

func (w *wire) move(tb testing.TB, link, ns string) {
	tb.Helper()
	f, err := os.Open(ns)
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	w.ip(tb, w.node, "link", "set", link, "netns", "/proc/"+strconv.Itoa(os.Getpid())+"/fd/"+strconv.Itoa(int(f.Fd())))
}

func (w *wire) attach(tb testing.TB, d *bpf.Datapath) {
	tb.Helper()
	testkit.InNetns(tb, w.node, func() error { return d.Attach(w.ifindex, slot, false, addr("10.0.0.1"), addr("fd00::1")) })
	testkit.InNetns(tb, w.node, func() error { return d.Settle(w.ifindex) })
}

// patience is how long a dial waits.
const patience = 400 * time.Millisecond

// dial connects, and tells whether that succeeded. Anything but silence is an error: what is denied is dropped.
func dial(tb testing.TB, ns string, to netip.AddrPort) bool {
	tb.Helper()
	err := testkit.TryInNetns(ns, func() error {
		c, err := net.DialTimeout("tcp", to.String(), patience)
		if err != nil {
			return err
		}
		return c.Close()
	})
	if timeout, ok := errors.AsType[net.Error](err); err != nil && (!ok || !timeout.Timeout()) {
		tb.Fatalf("dial %s: %v, want silence", to, err)
	}
	return err == nil
}

// listen echoes on a port of any address.
func listen(tb testing.TB, ns string, port uint16) {
	tb.Helper()
	var l net.Listener
	testkit.InNetns(tb, ns, func() (err error) {
		l, err = net.Listen("tcp", net.JoinHostPort("", strconv.Itoa(int(port))))
		return err
	})
	tb.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			tb.Cleanup(func() { _ = c.Close() })
			go func() { _, _ = io.Copy(c, c) }()
		}
	}()
}

// inBothAttachments runs a test over TCX and over clsact.
func inBothAttachments(t *testing.T, test func(t *testing.T, o bpf.Options, w *wire)) {
	t.Helper()
	for _, name := range []string{"tcx", "clsact"} {
		t.Run(name, func(t *testing.T) {
			o := options(mountBPF(t))
			o.Clsact = name == "clsact"
			test(t, o, newWire(t))
		})
	}
}

var farAddrs = []string{"10.0.1.2", "fd01::2"}

func at(address string, port uint16) netip.AddrPort { return netip.AddrPortFrom(addr(address), port) }

func TestWireOpensAndClosesPorts(t *testing.T) {
	inBothAttachments(t, func(t *testing.T, o bpf.Options, w *wire) {
		d := open(t, o)
		t.Cleanup(func() { _ = d.Close() })
		w.attach(t, d)
		want := map[bool]int{false: 2, true: 0}[o.Clsact]
		if pins, err := filepath.Glob(filepath.Join(o.Dir, "links", "*")); err != nil || len(pins) != want {
			t.Errorf("links of TCX %v, %v, want %d", pins, err, want)
		}
		for _, p := range []uint16{port, otherPort} {
			listen(t, w.pod, p)
			listen(t, w.far, p)
		}
		apply(t, d, rowsOf(isolated(1), 0)...)
		for i, pod4or6 := range []string{"10.0.0.1", "fd00::1"} {
			apply(t, d, pod(0, 0), peer(farAddrs[i], classAllowed))
			if !dial(t, w.far, at(pod4or6, otherPort)) || !dial(t, w.pod, at(farAddrs[i], otherPort)) {
				t.Errorf("%s without policy: no connection", pod4or6)
			}
			apply(t, d, pod(isolated(1), 0))
			if !dial(t, w.far, at(pod4or6, port)) || dial(t, w.far, at(pod4or6, otherPort)) {
				t.Errorf("%s isolated for ingress: not the allowed port alone", pod4or6)
			}
			if !dial(t, w.pod, at(farAddrs[i], otherPort)) {
				t.Errorf("%s isolated for ingress: does not get out", pod4or6)
			}
			if !dial(t, w.node, at(pod4or6, otherPort)) {
				t.Errorf("%s isolated for ingress: the node does not get in", pod4or6)
			}
			apply(t, d, pod(0, isolated(1)))
			if !dial(t, w.pod, at(farAddrs[i], port)) || dial(t, w.pod, at(farAddrs[i], otherPort)) {
				t.Errorf("%s isolated for egress: not the allowed port alone", pod4or6)
			}
			if !dial(t, w.far, at(pod4or6, otherPort)) {
				t.Errorf("%s isolated for egress: nobody gets in", pod4or6)
			}
		}
	})
}

func TestWireChangeCutsAConnection(t *testing.T) {
	inBothAttachments(t, func(t *testing.T, o bpf.Options, w *wire) {
		d := open(t, o)
		t.Cleanup(func() { _ = d.Close() })
		w.attach(t, d)
		listen(t, w.pod, port)
		apply(t, d, peer(farAddrs[0], classAllowed))
		apply(t, d, rowsOf(isolated(1), 0)...)
		apply(t, d, pod(isolated(1), isolated(1)))
		var c net.Conn
		testkit.InNetns(t, w.far, func() (err error) {
			c, err = net.DialTimeout("tcp", at("10.0.0.1", port).String(), 10*time.Second)
			return err
		})
		t.Cleanup(func() { _ = c.Close() })
		echo := func(limit time.Duration) error {
			if _, err := c.Write([]byte{1}); err != nil {
				return err
			}
			_ = c.SetReadDeadline(time.Now().Add(limit))
			_, err := io.ReadFull(c, make([]byte, 1))
			return err
		}
		if err := echo(10 * time.Second); err != nil {
			t.Fatal(err)
		}
		apply(t, d, pod(isolated(2), isolated(2)))
		if err := echo(patience); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("under a policy that denies it the connection says %v", err)
		}
		apply(t, d, pod(isolated(1), isolated(1)))
		if err := echo(20 * time.Second); err != nil {
			t.Errorf("allowed again: %v", err)
		}
	})
}

// TestWireRestartKeepsEnforcing: a process ends and others come, of which only some get as far as filling their maps. A flow loses
// nothing, and what is denied never gets through.
func TestWireRestartKeepsEnforcing(t *testing.T) {
	inBothAttachments(t, func(t *testing.T, o bpf.Options, w *wire) {
		d := open(t, o)
		w.attach(t, d)
		all := allowing(0, tables.AnyKey)
		set := isolated(1)
		fill := func() {
			apply(t, d, peer(farAddrs[0], classAllowed),
				tables.Change{Ranges: &tables.RangesChange{Ranges: []tables.Range{all}}},
				tables.Change{Row: &tables.RowChange{Key: tables.RowKey{Set: set, ID: uint32(classAllowed)}, Row: tables.Row{Count: 1}}},
				pod(set, set))
		}
		fill()
		listen(t, w.pod, port)
		steady, err := flow.Start("steady", "tcp", w.far, w.pod, addr("10.0.0.1"))
		if err != nil {
			t.Fatal(err)
		}
		for range 5 {
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
			if dial(t, w.far, at("fd00::1", port)) {
				t.Error("a denied connection got through while nobody runs")
			}
			_ = open(t, o).Close() // one that ends before it knows anything
			d = open(t, o)
			if has, err := d.Interfaces(); err != nil || len(has) != 1 {
				t.Errorf("taken over %v, %v", has, err)
			}
			if dial(t, w.far, at("fd00::1", port)) {
				t.Error("a denied connection got through while the maps are empty")
			}
			fill()
			w.attach(t, d)
			if dial(t, w.far, at("fd00::1", port)) {
				t.Error("a denied connection got through after a restart")
			}
		}
		result := steady.End()
		if result.Lost() != 0 || result.Err != nil {
			t.Errorf("the flow lost %d of %d: %v", result.Lost(), result.Sent, result.Err)
		}
		if left, err := filepath.Glob(filepath.Join(o.Dir, "gen-*")); err != nil || len(left) != 1 {
			t.Errorf("generations %v, %v, want the last one", left, err)
		}
		testkit.InNetns(t, w.node, d.Remove)
	})
}

// TestWireRemoveLeavesNoTrace: turned off, policy is gone with its programs, qdiscs and pins, and flows go on. An interface that is busy keeps
// the qdisc, which is empty.
func TestWireRemoveLeavesNoTrace(t *testing.T) {
	inBothAttachments(t, func(t *testing.T, o bpf.Options, w *wire) {
		tc, ip := testkit.RequireProgram(t, "tc"), testkit.RequireProgram(t, "ip")
		listen(t, w.pod, port)
		for _, busy := range []bool{true, false} {
			d := open(t, o)
			w.attach(t, d)
			apply(t, d, pod(isolated(1), isolated(1)))
			if dial(t, w.far, at("10.0.0.1", port)) {
				t.Error("not isolated")
			}
			apply(t, d, pod(0, 0))
			var steady *flow.Flow
			if busy {
				var err error
				if steady, err = flow.Start("steady", "tcp", w.far, w.pod, addr("10.0.0.1")); err != nil {
					t.Fatal(err)
				}
			} else {
				testkit.Eventually(t, "nothing is sent to the pod any more", func() bool { return quiet(t, w, 2*patience) })
			}
			testkit.InNetns(t, w.node, d.Remove)
			if busy {
				if result := steady.End(); result.Lost() != 0 || result.Err != nil {
					t.Errorf("the flow lost %d of %d: %v", result.Lost(), result.Sent, result.Err)
				}
			}
			if _, err := os.Stat(o.Dir); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("%s: %v, want that it is gone", o.Dir, err)
			}
			for args, trace := range map[string]string{"qdisc show dev host0": "clsact", "filter show dev host0 ingress": "bpf", "filter show dev host0 egress": "bpf"} {
				out, err := testkit.NetnsOutput(w.node, tc, strings.Fields(args)...)
				if (err != nil || strings.Contains(out, trace)) && (!busy || trace != "clsact") {
					t.Errorf("busy %v, tc %s: %v\n%s", busy, args, err, out)
				}
			}
			if out, err := testkit.NetnsOutput(w.node, ip, "-d", "link", "show", "dev", "host0"); err != nil || strings.Contains(out, "prog/") {
				t.Errorf("programs: %v\n%s", err, out)
			}
		}
	})
}

// quiet tells whether nothing was sent to the pod for so long.
func quiet(t *testing.T, w *wire, limit time.Duration) bool {
	t.Helper()
	counter := func() string {
		out, err := testkit.NetnsOutput(w.node, testkit.RequireProgram(t, "ip"), "-s", "link", "show", "dev", "host0")
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	before := counter()
	<-time.After(limit)
	return counter() == before
}

// TestWireOthersInClsactStay: a filter of somebody else is asked after ours and outlives them.
func TestWireOthersInClsactStay(t *testing.T) {
	w := newWire(t)
	tc := testkit.RequireProgram(t, "tc")
	o := options(mountBPF(t))
	o.Clsact = true
	d := open(t, o)
	w.attach(t, d)
	if out, err := testkit.NetnsOutput(w.node, tc, "filter", "add", "dev", "host0", "ingress", "prio", "7", "protocol", "ip", "bpf", "da",
		"bytecode", "1,6 0 0 4294967295"); err != nil {
		t.Fatalf("add a filter of somebody else: %v: %s", err, out)
	}
	testkit.InNetns(t, w.node, func() error { return d.Detach(w.ifindex) })
	out, err := testkit.NetnsOutput(w.node, tc, "filter", "show", "dev", "host0", "ingress")
	if err != nil || !strings.Contains(out, "pref 7") || strings.Contains(out, "berth") {
		t.Errorf("filters: %v\n%s", err, out)
	}
	testkit.InNetns(t, w.node, d.Remove)
}

// TestWireDetachedInterfaceIsForgotten: also one that is gone already.
func TestWireDetachedInterfaceIsForgotten(t *testing.T) {
	inBothAttachments(t, func(t *testing.T, o bpf.Options, w *wire) {
		d := open(t, o)
		w.attach(t, d)
		apply(t, d, pod(isolated(1), isolated(1)))
		w.ip(t, w.node, "link", "del", "host0")
		testkit.InNetns(t, w.node, func() error { return d.Detach(w.ifindex) })
		interfaces, err := d.Interfaces()
		if err != nil || len(interfaces) != 0 {
			t.Errorf("interfaces %v, %v", interfaces, err)
		}
		if got, err := d.Pod(slot); err != nil || got != (tables.Pod{}) {
			t.Errorf("slot %+v, %v", got, err)
		}
		if pins, err := filepath.Glob(filepath.Join(o.Dir, "links", "*")); err != nil || len(pins) != 0 {
			t.Errorf("pins %v, %v", pins, err)
		}
		testkit.InNetns(t, w.node, d.Remove)
	})
}

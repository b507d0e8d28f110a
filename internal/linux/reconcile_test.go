package linux_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/berth-net/berth/internal/core/hostnet"
)

// TestRepair breaks one thing at a time, sees the loss where there is one, and sees Reconcile repair exactly that.
func TestRepair(t *testing.T) {
	veth := hostnet.VethName("eni", "default", "b")
	table2 := []string{"ip route replace 10.1.0.1 dev eth1 scope link table 2", "ip route replace default via 10.1.0.1 dev eth1 table 2"}
	cases := []struct {
		name, command string
		toPod, toVPC  bool // still possible while it is broken
		internetSaw   string
		want          []string
	}{
		{
			"rule from the pod", "ip rule del pref 1536 from 10.1.0.20", false, false, nodeIP,
			[]string{"ip rule add priority 1536 from 10.1.0.20 lookup 2"},
		},
		{
			"rule to the pod", "ip rule del pref 512 to 10.1.0.20", true, true, nodeIP,
			[]string{"ip rule add priority 512 to 10.1.0.20 lookup main"},
		},
		{
			"rule of the mark", "ip rule del pref 1024", true, true, "",
			[]string{"ip rule add priority 1024 fwmark 0x80/0x80 lookup main"},
		},
		{
			"all rules", "ip rule flush; ip rule add pref 32766 lookup main; ip rule add pref 32767 lookup default", false, false, nodeIP,
			[]string{
				"ip rule add priority 512 to 10.1.0.20 lookup main", "ip rule add priority 1024 fwmark 0x80/0x80 lookup main",
				"ip rule add priority 1536 from 10.1.0.20 lookup 2", "ip rule add priority 32765 from 10.1.0.10 lookup 2",
			},
		},
		{"table of the interface", "ip route flush table 2", false, false, nodeIP, table2},
		{
			"route to the pod", "ip route del 10.1.0.20", false, false, "",
			[]string{"ip route replace 10.1.0.20 dev " + veth + " scope link table main"},
		},
		{"interface down", "ip link set eth1 down", false, false, nodeIP, append([]string{"ip link set dev eth1 up"}, table2...)},
		{"interface's MTU", "ip link set eth1 mtu 1400", true, true, nodeIP, []string{"ip link set dev eth1 mtu 9001"}},
		{"interface's address", "ip addr flush dev eth1", false, false, nodeIP, []string{"ip addr add 10.1.0.10/19 dev eth1 noprefixroute"}},
		{
			"addresses of a network manager", "ip addr add 10.1.0.20/19 dev eth1", false, false, "",
			[]string{"ip addr del 10.1.0.20/19 dev eth1"},
		},
		{
			"subnet route of a network manager", "ip route add 10.1.0.0/19 dev eth1 metric 512", true, true, nodeIP,
			[]string{"ip route del 10.1.0.0/19 dev eth1 scope link metric 512 table main"},
		},
		{
			"reverse path check", "echo 1 > /proc/sys/net/ipv4/conf/eth0/rp_filter", true, true, "",
			[]string{"sysctl -w net/ipv4/conf/eth0/rp_filter=2"},
		},
		{"forwarding", "echo 0 > /proc/sys/net/ipv4/ip_forward", false, false, "", []string{"sysctl -w net/ipv4/ip_forward=1"}},
		{"nftables table", "nft delete table ip berth", true, true, "10.1.0.20", []string{"nft replace table ip berth"}},
		{"all of nftables", "nft flush ruleset", true, true, "10.1.0.20", []string{"nft replace table ip berth"}},
		{"a chain", "nft flush chain ip berth translate", true, true, "", []string{"nft replace table ip berth"}},
		{"an element", "nft add element ip berth vpc '{ 203.0.113.0/24 }'", true, true, "10.1.0.20", []string{"nft replace table ip berth"}},
		{"an insertion", "nft insert rule ip berth route-pods accept", true, true, "", []string{"nft replace table ip berth"}},
	}
	w := ready(t, nil)
	b := w.pod("b", "10.1.0.20", 1).serve()
	w.peer.serve()
	w.internet.serve()
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			for _, s := range []*space{b, w.peer, w.internet, w.node} {
				s.tb = t
			}
			expect := func(possible bool, seen string) string {
				if possible {
					return seen
				}
				return ""
			}
			w.node.run(c.command)
			w.peer.sees("broken: instance to pod", "10.1.0.20", 8080, expect(c.toPod, peerIP))
			b.sees("broken: pod to instance", peerIP, 8080, expect(c.toVPC, "10.1.0.20"))
			b.sees("broken: pod to internet", internetIP, 8080, c.internetSaw)
			changed := w.reconcile()
			// What the kernel took away on its own, and gives back with the second look, is listed too.
			for _, want := range c.want {
				if !slices.Contains(changed, want) {
					t.Errorf("repair did not do %q, but\n%s", want, strings.Join(changed, "\n"))
				}
			}
			w.peer.sees("instance to pod", "10.1.0.20", 8080, peerIP)
			b.sees("pod to instance", peerIP, 8080, "10.1.0.20")
			b.sees("pod to internet", internetIP, 8080, nodeIP)
			if again := w.reconcile(); len(again) > 0 {
				t.Errorf("a second look changed:\n%s", strings.Join(again, "\n"))
			}
		})
	}
	for _, s := range []*space{b, w.peer, w.internet, w.node} {
		s.tb = t
	}
}

// TestLateLink: an interface whose link has not appeared is pending; the rest is in place, and it follows when it comes.
func TestLateLink(t *testing.T) {
	w := newWorld(t)
	w.internet.serve()
	a := w.pod("a", "10.0.0.20", 0)
	_, _, err := w.host.Reconcile(t.Context(), w.cfg)
	pending, ok := errors.AsType[*hostnet.PendingError](err)
	if !ok {
		t.Fatalf("Reconcile without the second link: %v", err)
	}
	if diff := cmp.Diff([]string{"interface eni-1: no link has the address 02:00:00:00:00:02"}, pending.Missing); diff != "" {
		t.Errorf("pending (-want +got):\n%s", diff)
	}
	a.sees("pod of eth0 meanwhile", internetIP, 8080, nodeIP)
	w.attach()
	w.reconcile()
	w.pod("b", "10.1.0.20", 1).sees("pod of eth1", internetIP, 8080, nodeIP)
}

// TestDetach: when an interface goes, what pointed at it goes too, and nothing else.
func TestDetach(t *testing.T) {
	w := ready(t, nil)
	w.internet.serve()
	a := w.pod("a", "10.0.0.20", 0)
	w.node.run("ip link del eth1", "ip rule add pref 32765 from 192.0.2.1 lookup 300")
	w.cfg.ENIs = w.cfg.ENIs[:1]
	w.reconcile()
	want := strings.Join([]string{
		"0:	from all lookup local",
		"512:	from all to 10.0.0.20 lookup main",
		"1024:	from all fwmark 0x80/0x80 lookup main",
		"32765:	from 192.0.2.1 lookup 300",
		"32766:	from all lookup main",
		"32767:	from all lookup default",
	}, "\n")
	if diff := cmp.Diff(want, w.node.run("ip rule")); diff != "" {
		t.Errorf("rules (-want +got):\n%s", diff)
	}
	a.sees("pod of eth0", internetIP, 8080, nodeIP)
}

// TestTurnedOff: without SNAT and node ports nothing of nftables and no mark rule stays.
func TestTurnedOff(t *testing.T) {
	w := ready(t, nil)
	w.cfg.Settings.SNAT, w.cfg.Settings.NodePort = false, false
	w.reconcile()
	if got := w.node.run("nft list ruleset; ip rule show pref 1024"); got != "" {
		t.Errorf("left:\n%s", got)
	}
}

// TestRestart: another process finds all in place but cannot know who wrote the table, and writes it once.
func TestRestart(t *testing.T) {
	w := ready(t, nil)
	w.pod("b", "10.1.0.20", 1)
	w.host = w.node.host()
	if diff := cmp.Diff([]string{"nft replace table ip berth"}, w.reconcile()); diff != "" {
		t.Errorf("after a restart (-want +got):\n%s", diff)
	}
	if changed := w.reconcile(); len(changed) > 0 {
		t.Errorf("then again %v", changed)
	}
}

// watching runs the host until the test ends, and returns once it watches.
func (w *world) watching() {
	w.tb.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.host.Run(ctx) }()
	w.tb.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			w.tb.Errorf("Run: %v", err)
		}
	})
	// It watches when it tells of a change.
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		w.node.run("ip rule add pref 9 lookup 9", "ip rule del pref 9")
		select {
		case <-w.host.Changes():
			w.drain()
			return
		case <-tick.C:
		}
	}
}

// drain waits until the changes that are under way have been told.
func (w *world) drain() {
	for quiet := false; !quiet; {
		select {
		case <-w.host.Changes():
		case <-time.After(100 * time.Millisecond):
			quiet = true
		}
	}
}

func TestChanges(t *testing.T) {
	w := ready(t, nil)
	w.watching()
	b := newSpace(t)
	p := w.podValue("b", "10.1.0.20", 1)
	for _, c := range []struct {
		name string
		do   func()
		told bool
	}{
		{"a pod is wired", func() {
			if _, err := w.host.WirePod(t.Context(), w.cfg.Settings, p, b.file); err != nil {
				t.Fatal(err)
			}
		}, false},
		{"somebody's nftables change", func() { w.node.run("nft add table ip somebody") }, false},
		{"a rule goes", func() { w.node.run("ip rule del pref 1536") }, true},
		{"a route goes", func() { w.node.run("ip route flush table 2") }, true},
		{"an address comes", func() { w.node.run("ip addr add 10.1.0.99/32 dev eth1") }, true},
		{"an interface goes down", func() { w.node.run("ip link set eth1 down") }, true},
		{"an interface comes", func() { w.plug(w.node, "eth2", "r2", "02:00:00:00:00:03", "10.2.0.1/24") }, true},
		{"our nftables table goes", func() { w.node.run("nft delete table ip berth") }, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			w.drain()
			c.do()
			patience := 30 * time.Second
			if !c.told {
				patience = 2500 * time.Millisecond // longer than the nftables table is left unwatched
			}
			select {
			case <-w.host.Changes():
				if !c.told {
					t.Error("told, though it was our own or concerns nothing of ours")
				}
			case <-time.After(patience):
				if c.told {
					t.Error("not told")
				}
			}
		})
	}
	w.reconcileLate()
	w.drain()
	for told := 0; ; told++ {
		if err := w.host.UnwirePod(t.Context(), w.cfg.Settings, p); err != nil {
			t.Fatal(err)
		}
		select {
		case <-w.host.Changes():
		case <-time.After(200 * time.Millisecond):
			return
		}
		if told == 2 { // once may have been the last look at the table that was missing
			t.Fatal("told of a pod that was unwired")
		}
		w.drain()
		if _, err := w.host.WirePod(t.Context(), w.cfg.Settings, p, b.file); err != nil {
			t.Fatal(err)
		}
		w.drain()
	}
}

// TestLinkFollows: with Run, UnwirePod returns when rules and route are gone; the link goes a moment later, and meanwhile its
// address does not count as alive.
func TestLinkFollows(t *testing.T) {
	w := ready(t, nil)
	w.watching()
	w.pod("b", "10.1.0.20", 1)
	w.unwire(w.cfg.Pods[0])
	if left := w.traces("10.1.0.20"); left != "" {
		t.Errorf("left\n%s", left)
	}
	seen, err := w.host.Seen(t.Context(), w.cfg.Settings)
	if err != nil || len(seen) > 0 {
		t.Errorf("seen %v, %v", seen, err)
	}
	for deadline := time.Now().Add(30 * time.Second); ; {
		if !strings.Contains(w.node.run("ip -br link"), hostnet.VethName("eni", "default", "b")) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the link stays")
		}
	}
}

// TestRewireWhileTheOldLinkGoes: the same pod name is wired again before its former link is gone.
func TestRewireWhileTheOldLinkGoes(t *testing.T) {
	w := ready(t, nil)
	w.watching()
	w.peer.serve()
	for i := range 10 {
		ns := newSpace(t)
		p := w.podValue("db-0", "10.1.0.20", 1)
		p.Key.ContainerID += string(rune('a' + i))
		if _, err := w.host.WirePod(t.Context(), w.cfg.Settings, p, ns.file); err != nil {
			t.Fatal(err)
		}
		w.router.run("ip neigh replace 10.1.0.20 lladdr 02:00:00:00:00:02 dev r1 nud permanent")
		w.complete(p, ns)
		if i == 9 {
			ns.sees("last sandbox", peerIP, 8080, "10.1.0.20")
		}
		w.unwire(p)
	}
}

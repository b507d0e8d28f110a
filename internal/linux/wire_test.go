package linux_test

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/berth-net/berth/internal/core/hostnet"
)

// complete fails the test unless CheckPod finds the pod's wiring whole.
func (w *world) complete(p hostnet.Pod, ns *space) {
	w.tb.Helper()
	missing, err := w.host.CheckPod(w.tb.Context(), w.cfg.Settings, p, ns.file)
	if err != nil {
		w.tb.Fatal(err)
	}
	if len(missing) > 0 {
		w.tb.Errorf("pod %s lacks:\n%s", p.Name, strings.Join(missing, "\n"))
	}
}

func (w *world) unwire(p hostnet.Pod) {
	w.tb.Helper()
	if err := w.host.UnwirePod(w.tb.Context(), w.cfg.Settings, p); err != nil {
		w.tb.Fatal(err)
	}
}

// traces are what the host still has of an address.
func (w *world) traces(a string) string {
	w.tb.Helper()
	return w.node.run("(ip rule; ip route show table all) | grep -F '" + a + "' || true")
}

func TestWirePodText(t *testing.T) {
	w := ready(t, nil)
	b := w.pod("b", "10.1.0.20", 1)
	p := w.cfg.Pods[0]
	w.complete(p, b)
	got := b.run("ip -4 -br addr show eth0 | tr -s ' '; ip route; ip neigh; ip link show eth0 | grep -o 'mtu [0-9]*'")
	mac := w.node.run("ip -br link show eni" + strings.TrimPrefix(hostnet.VethName("eni", "default", "b"), "eni") + " | awk '{print $3}'")
	want := "eth0@" // the index of the other end follows
	if !strings.HasPrefix(got, want) {
		t.Errorf("pod has %q", got)
	}
	for _, line := range []string{
		"10.1.0.20/32", "default via 169.254.1.1 dev eth0", "169.254.1.1 dev eth0 scope link", "169.254.1.1 dev eth0 lladdr " + mac + " PERMANENT", "mtu 9001",
	} {
		if !strings.Contains(got, line) {
			t.Errorf("pod lacks %q in\n%s", line, got)
		}
	}
	veth := hostnet.VethName("eni", "default", "b")
	got = w.node.run("cd /proc/sys/net/ipv6/conf/" + veth + " && cat accept_ra accept_redirects forwarding | tr '\\n' ' '; ip link show " + veth + " | grep -o 'alias .*'")
	if want := "0 1 0 alias sandbox-of-b/eth0"; got != want {
		t.Errorf("host's end has %q, want %q", got, want)
	}
}

func TestWirePodIsIdempotent(t *testing.T) {
	w := ready(t, nil)
	b := w.pod("b", "10.1.0.20", 1).serve()
	p := w.cfg.Pods[0]
	index := b.run("cat /proc/net/igmp >/dev/null; ip -o link show eth0 | cut -d: -f1")
	first, err := w.host.WirePod(t.Context(), w.cfg.Settings, p, b.file)
	if err != nil {
		t.Fatal(err)
	}
	b.run("ip addr flush dev eth0", "ip link set eth0 down")
	second, err := w.host.WirePod(t.Context(), w.cfg.Settings, p, b.file)
	if err != nil {
		t.Fatal(err)
	}
	if first != second {
		t.Errorf("wired %+v, then %+v", first, second)
	}
	if again := b.run("ip -o link show eth0 | cut -d: -f1"); again != index {
		t.Errorf("the pod's interface was made anew: %s, then %s", index, again)
	}
	w.complete(p, b)
	w.peer.sees("instance to pod", "10.1.0.20", 8080, peerIP)
	if want := (hostnet.Wired{HostVeth: hostnet.VethName("eni", "default", "b"), HostMAC: first.HostMAC, PodMAC: first.PodMAC, Table: 2, MTU: 9001}); first != want {
		t.Errorf("wired %+v, want %+v", first, want)
	}
}

func TestWirePodRefusesAnAddressInUse(t *testing.T) {
	w := ready(t, nil)
	a := w.pod("a", "10.1.0.20", 1).serve()
	thief := newSpace(t)
	p := w.podValue("thief", "10.1.0.20", 1)
	before := w.node.run("ip rule; ip route; ip -br link")
	if _, err := w.host.WirePod(t.Context(), w.cfg.Settings, p, thief.file); err == nil || !strings.Contains(err.Error(), "10.1.0.20 is in use") {
		t.Errorf("wiring a second pod with the address: %v", err)
	}
	veth := hostnet.VethName("eni", "default", "thief")
	if left, _ := w.node.try("ip link show " + veth); !strings.Contains(left, "does not exist") {
		t.Errorf("the refused pod's link stays: %s", left)
	}
	if out := thief.run("ip -br link"); strings.Contains(out, "eth0") {
		t.Errorf("the refused pod has %s", out)
	}
	if after := w.node.run("ip rule; ip route; ip -br link"); after != before {
		t.Errorf("the refusal changed the host:\n%s", cmp.Diff(before, after))
	}
	w.complete(w.cfg.Pods[0], a)
	w.peer.sees("instance to the pod that had the address", "10.1.0.20", 8080, peerIP)
}

func TestWirePodNamesWhatIsInTheWay(t *testing.T) {
	w := ready(t, nil)
	taken := newSpace(t)
	taken.run("ip link add eth0 type veth peer name eth9")
	p := w.podValue("a", "10.1.0.20", 1)
	_, err := w.host.WirePod(t.Context(), w.cfg.Settings, p, taken.file)
	if err == nil || !strings.Contains(err.Error(), "has an interface of that name already") {
		t.Errorf("wiring into a namespace that has the interface: %v", err)
	}
	w.node.run("ip link add " + hostnet.VethName("eni", "default", "a") + " type bridge")
	_, err = w.host.WirePod(t.Context(), w.cfg.Settings, p, newSpace(t).file)
	if err == nil || !strings.Contains(err.Error(), "the host has a bridge of that name") {
		t.Errorf("wiring beside a bridge of the link's name: %v", err)
	}
}

// TestTwoSandboxesOfOnePodName: a StatefulSet's pod comes back while the DEL of its former sandbox is still to come.
func TestTwoSandboxesOfOnePodName(t *testing.T) {
	w := ready(t, nil)
	w.pod("db-0", "10.1.0.20", 1)
	old := w.cfg.Pods[0]
	w.cfg.Pods = nil
	fresh := newSpace(t).serve()
	p := w.podValue("db-0", "10.1.0.21", 1)
	p.Key.ContainerID = "second-sandbox"
	if _, err := w.host.WirePod(t.Context(), w.cfg.Settings, p, fresh.file); err != nil {
		t.Fatal(err)
	}
	w.router.run("ip neigh replace 10.1.0.21 lladdr 02:00:00:00:00:02 dev r1 nud permanent")
	w.unwire(old)
	w.complete(p, fresh)
	if left := w.traces("10.1.0.20"); left != "" {
		t.Errorf("the former sandbox left\n%s", left)
	}
	w.peer.sees("instance to the later sandbox", "10.1.0.21", 8080, peerIP)
	// The very same address given again: the late DEL of the old owner must not cut it.
	old.Addrs = p.Addrs
	w.unwire(old)
	w.complete(p, fresh)
}

func TestUnwirePodBearsEveryOrder(t *testing.T) {
	cases := []struct {
		name string
		do   func(w *world, ns *space)
	}{
		{"all is there", func(*world, *space) {}},
		{"namespace gone", func(_ *world, ns *space) { ns.run("ip link del eth0") }},
		{"link gone", func(w *world, _ *space) { w.node.run("ip link del " + hostnet.VethName("eni", "default", "b")) }},
		{"rules gone", func(w *world, _ *space) { w.node.run("ip rule flush", "ip rule add pref 32766 lookup main") }},
		{"route gone", func(w *world, _ *space) { w.node.run("ip route del 10.1.0.20") }},
		{"wired by the existing CNI", func(w *world, _ *space) {
			w.node.run("ip link set " + hostnet.VethName("eni", "default", "b") + " alias ''")
		}},
		{"rules left by former users", func(w *world, _ *space) {
			w.node.run("ip rule add pref 1536 from 10.1.0.20 lookup 4", "ip rule add pref 1536 from 10.1.0.20 lookup 5")
		}},
		{"duplicate rules", func(w *world, _ *space) {
			w.node.run("ip rule add pref 1536 from 10.1.0.20 lookup 3", "ip rule add pref 512 to 10.1.0.20 lookup main protocol 99")
		}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			w := ready(t, nil)
			ns := w.pod("b", "10.1.0.20", 1)
			c.do(w, ns)
			for range 2 {
				w.unwire(w.cfg.Pods[0])
				if left := w.traces("10.1.0.20"); left != "" {
					t.Errorf("left\n%s", left)
				}
				if out := w.node.run("ip -br link"); strings.Contains(out, hostnet.VethName("eni", "default", "b")) {
					t.Errorf("the link stays:\n%s", out)
				}
			}
			// A configuration from before the DEL does not bring the pod back.
			w.reconcileLate()
			if left := w.traces("10.1.0.20"); left != "" {
				t.Errorf("an older configuration brought back\n%s", left)
			}
		})
	}
}

// reconcileLate reconciles with a configuration that names pods which are gone.
func (w *world) reconcileLate() {
	w.tb.Helper()
	if _, _, err := w.host.Reconcile(w.tb.Context(), w.cfg); err != nil {
		w.tb.Fatal(err)
	}
}

func TestUnwirePodAfterItsNamespaceIsGone(t *testing.T) {
	w := ready(t, nil)
	p := w.podValue("b", "10.1.0.20", 1)
	t.Run("pod", func(t *testing.T) { // its namespace goes when this ends
		if _, err := w.host.WirePod(t.Context(), w.cfg.Settings, p, newSpace(t).file); err != nil {
			t.Fatal(err)
		}
	})
	w.unwire(p)
	if left := w.traces("10.1.0.20"); left != "" {
		t.Errorf("left\n%s", left)
	}
}

// TestStaleRulesOfAFormerUser: rules that lead the address to other interfaces are gone once a new pod has it.
func TestStaleRulesOfAFormerUser(t *testing.T) {
	w := ready(t, nil)
	w.peer.serve()
	w.node.run("ip rule add pref 1536 from 10.1.0.20 lookup 4", "ip rule add pref 1536 from 10.1.0.20 lookup 2",
		"ip rule add pref 1536 from 10.1.0.20 lookup 5", "ip rule add pref 1536 from 10.0.0.20 lookup 2")
	w.pod("b", "10.1.0.20", 1)
	w.pod("a", "10.0.0.20", 0)
	if got, want := w.node.run("ip rule show pref 1536"), "1536:	from 10.1.0.20 lookup 2"; got != want {
		t.Errorf("rules from pods:\n%s\nwant\n%s", got, want)
	}
}

func TestWire27PodsAtOnce(t *testing.T) {
	w := ready(t, nil)
	w.peer.serve()
	spaces := make([]*space, 27)
	pods := make([]hostnet.Pod, 27)
	for i := range pods {
		spaces[i] = newSpace(t)
		pods[i] = w.podValue(fmt.Sprint("pod-", i), fmt.Sprintf("10.1.0.%d", 20+i), 1)
	}
	parallel := func(do func(i int) error) {
		var wg sync.WaitGroup
		for i := range pods {
			wg.Go(func() {
				if err := do(i); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
	parallel(func(i int) error {
		_, err := w.host.WirePod(t.Context(), w.cfg.Settings, pods[i], spaces[i].file)
		return err
	})
	for i, p := range pods {
		w.complete(p, spaces[i])
		w.router.run(fmt.Sprintf("ip neigh replace %s lladdr 02:00:00:00:00:02 dev r1 nud permanent", p.Addrs[0]))
	}
	spaces[0].sees("first pod", peerIP, 8080, pods[0].Addrs[0].String())
	spaces[26].sees("last pod", peerIP, 8080, pods[26].Addrs[0].String())
	parallel(func(i int) error { return w.host.UnwirePod(t.Context(), w.cfg.Settings, pods[i]) })
	if left := w.traces("10.1.0."); strings.Contains(left, "512:") || strings.Contains(left, "dev eni") {
		t.Errorf("left\n%s", left)
	}
}

func TestCheckPodNamesWhatIsMissing(t *testing.T) {
	w := ready(t, nil)
	veth := hostnet.VethName("eni", "default", "b")
	cases := []struct {
		name, onHost, inPod string
		want                []string
	}{
		{"nothing", "", "", nil},
		{"rule to", "ip rule del pref 512", "", []string{"host: rule priority 512 to 10.1.0.20 lookup main"}},
		{"rule from", "ip rule del pref 1536", "", []string{"host: rule priority 1536 from 10.1.0.20 lookup 2"}},
		{"route", "ip route del 10.1.0.20", "", []string{"host: route 10.1.0.20 dev " + veth + " scope link table main"}},
		{"address", "", "ip addr del 10.1.0.20/32 dev eth0", []string{
			"pod: address 10.1.0.20/32 dev eth0", // and with the last address goes all that needs one
			"pod: route 169.254.1.1 dev eth0 scope link table main", "pod: route default via 169.254.1.1 dev eth0 table main",
			"pod: permanent neighbour 169.254.1.1",
		}},
		{"default route", "", "ip route del default", []string{"pod: route default via 169.254.1.1 dev eth0 table main"}},
		{"neighbour", "", "ip neigh del 169.254.1.1 dev eth0", []string{"pod: permanent neighbour 169.254.1.1"}},
		{"interface", "", "ip link del eth0", []string{
			"host: link " + veth, "host: route 10.1.0.20 dev " + veth + " scope link table main", "pod: interface eth0",
		}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			ns := newSpace(t)
			p := w.podValue("b", "10.1.0.20", 1)
			if _, err := w.host.WirePod(t.Context(), w.cfg.Settings, p, ns.file); err != nil {
				t.Fatal(err)
			}
			w.node.run("true; " + c.onHost)
			ns.run("true; " + c.inPod)
			got, err := w.host.CheckPod(t.Context(), w.cfg.Settings, p, ns.file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("missing (-want +got):\n%s", diff)
			}
			w.unwire(p)
		})
	}
}

// AWS_VPC_K8S_CNI_VETHPREFIX is changed while pods run: their addresses were taken for free.
func TestPodsOfAnotherVethPrefixAreSeen(t *testing.T) {
	w := ready(t, nil)
	w.pod("a", "10.0.0.20", 0)
	w.pod("flushed", "10.1.0.21", 1)
	w.node.run("ip route del 10.1.0.21")
	settings := w.cfg.Settings
	settings.VethPrefix = "pod"
	got, err := w.host.Seen(t.Context(), settings)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range got {
		if !s.Live {
			t.Errorf("%+v is not live", s)
		}
	}
	if len(got) != 2 {
		t.Errorf("%d addresses: %+v", len(got), got)
	}
	// They stay connected: the lost route comes back, and nothing is missing.
	w.cfg.Settings = settings
	w.reconcile()
	for _, p := range w.cfg.Pods {
		if missing, err := w.host.CheckPod(t.Context(), settings, p, nil); err != nil || len(missing) > 0 {
			t.Errorf("pod %s: %v %v", p.Name, missing, err)
		}
		w.unwire(p)
		if left := w.traces(p.Addrs[0].String()); left != "" {
			t.Errorf("left\n%s", left)
		}
	}
}

func TestSeen(t *testing.T) {
	w := ready(t, nil)
	w.pod("a", "10.0.0.20", 0)
	w.pod("b", "10.1.0.20", 1)
	w.pod("flushed", "10.1.0.21", 1)
	// As the existing CNI wires a pod, and what one that died while nobody looked leaves.
	old := newSpace(t)
	w.node.run("ip link add eniaaaaaaaaaaa type veth peer name tmp0")
	if err := moveLink(w.node, "tmp0", old, "tmp1"); err != nil {
		t.Fatal(err)
	}
	old.run("ip link set tmp1 name eth0 up", "ip addr add 10.1.0.30/32 dev eth0")
	w.node.run("ip link set eniaaaaaaaaaaa up", "ip route add 10.1.0.30 dev eniaaaaaaaaaaa scope link",
		"ip rule add pref 512 to 10.1.0.30 lookup main", "ip rule add pref 1536 from 10.1.0.30 lookup 2",
		"ip rule add pref 512 to 10.1.0.31 lookup main", "ip rule add pref 1536 from 10.1.0.31 lookup 3",
		"ip route del 10.1.0.21", "ip rule del pref 512 to 10.1.0.21", "ip rule del pref 1536 from 10.1.0.21")
	got, err := w.host.Seen(t.Context(), w.cfg.Settings)
	if err != nil {
		t.Fatal(err)
	}
	want := []hostnet.Seen{
		{Addr: netip.MustParseAddr("10.0.0.20"), Veth: hostnet.VethName("eni", "default", "a"), Alias: "sandbox-of-a/eth0", Table: 254, Live: true},
		{Addr: netip.MustParseAddr("10.1.0.20"), Veth: hostnet.VethName("eni", "default", "b"), Alias: "sandbox-of-b/eth0", Table: 2, Live: true},
		{Addr: netip.MustParseAddr("10.1.0.21"), Veth: hostnet.VethName("eni", "default", "flushed"), Alias: "sandbox-of-flushed/eth0", Table: 254, Live: true},
		{Addr: netip.MustParseAddr("10.1.0.30"), Veth: "eniaaaaaaaaaaa", Table: 2, Live: true},
		{Addr: netip.MustParseAddr("10.1.0.31"), Table: 3},
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("seen (-want +got):\n%s", diff)
	}
	// A pod that the caller does not know yet keeps its rules; what nobody uses goes.
	w.reconcile()
	if got := w.traces("10.1.0.30"); strings.Count(got, "lookup") != 2 {
		t.Errorf("a live pod that the caller does not know has only\n%s", got)
	}
	if got := w.traces("10.1.0.31"); got != "" {
		t.Errorf("nobody uses\n%s", got)
	}
}

// TestSeenWhileLinksComeAndGo: lists that the kernel interrupts are read again.
func TestSeenWhileLinksComeAndGo(t *testing.T) {
	w := ready(t, nil)
	w.pod("a", "10.1.0.20", 1)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	ns := newSpace(t)
	wg.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			p := w.podValue(fmt.Sprint("churn-", i), "10.1.0.40", 1)
			if _, err := w.host.WirePod(t.Context(), w.cfg.Settings, p, ns.file); err != nil {
				t.Error(err)
			}
			if err := w.host.UnwirePod(t.Context(), w.cfg.Settings, p); err != nil {
				t.Error(err)
			}
		}
	})
	for range 300 {
		seen, err := w.host.Seen(t.Context(), w.cfg.Settings)
		if err != nil {
			t.Error(err)
			break
		}
		if len(seen) == 0 || seen[0].Addr.String() != "10.1.0.20" || !seen[0].Live {
			t.Errorf("the pod that was there all the time is not in %+v", seen)
			break
		}
	}
	close(stop)
	wg.Wait()
}

func TestErrorsOfWirePod(t *testing.T) {
	w := ready(t, nil)
	notNS, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer notNS.Close()
	if _, err := w.host.WirePod(t.Context(), w.cfg.Settings, w.podValue("a", "10.1.0.20", 1), notNS); err == nil || !strings.Contains(err.Error(), "default/a") {
		t.Errorf("wiring into %s: %v", notNS.Name(), err)
	}
	p := w.podValue("a", "10.1.0.20", 1)
	p.Addrs = nil
	if _, err := w.host.WirePod(t.Context(), w.cfg.Settings, p, newSpace(t).file); err == nil {
		t.Error("a pod without an address was wired")
	}
	p.Addrs = []netip.Addr{netip.MustParseAddr("fd00::1")}
	if _, err := w.host.WirePod(t.Context(), w.cfg.Settings, p, newSpace(t).file); err == nil {
		t.Error("a pod with an IPv6 address was wired")
	}
}

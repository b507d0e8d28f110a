package linux_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/berth-net/berth/internal/core/hostnet"
	"github.com/berth-net/berth/internal/linux"
	"github.com/berth-net/berth/internal/testkit"
)

// world is a node with two interfaces, the VPC's router, another instance and a host of the internet:
//
//	node eth0 10.0.0.10/27 ---- r0 --.
//	node eth1 10.1.0.10/19 ---- r1 -- router -- inet 203.0.113.1/24 ---- internet 203.0.113.9
//	                                  '-------- peer 10.0.2.1/24 ------- peer 10.0.2.10
//
// The router drops what comes from an address that is not assigned to the interface it came from, as a VPC does, and
// translates nothing: who is asked tells which address it saw.
type world struct {
	tb                           testing.TB
	node, router, internet, peer *space
	host                         *linux.Host
	cfg                          hostnet.Config
}

const (
	nodeIP     = "10.0.0.10"
	internetIP = "203.0.113.9"
	peerIP     = "10.0.2.10"
	clusterIP  = "172.20.0.10"
)

func newWorld(tb testing.TB) *world {
	tb.Helper()
	testkit.RequireRoot(tb)
	w := &world{tb: tb, node: newSpace(tb), router: newSpace(tb), internet: newSpace(tb), peer: newSpace(tb)}
	w.router.run("echo 1 > /proc/sys/net/ipv4/ip_forward",
		`nft -f - <<'E'
table ip vpc {
	set r0 { type ipv4_addr; flags interval; elements = { 10.0.0.10, 10.0.0.20-10.0.0.31 }; }
	set r1 { type ipv4_addr; flags interval; elements = { 10.1.0.10, 10.1.0.20-10.1.0.90 }; }
	chain anti-spoofing {
		type filter hook prerouting priority raw; policy accept;
		iifname "r0" ip saddr != @r0 counter drop
		iifname "r1" ip saddr != @r1 counter drop
	}
}
E`)
	w.plug(w.internet, "eth0", "inet", "02:00:00:00:01:09", "203.0.113.1/24")
	w.internet.run("ip addr add 203.0.113.9/24 dev eth0", "ip route add default via 203.0.113.1")
	w.plug(w.peer, "eth0", "peer", "02:00:00:00:02:10", "10.0.2.1/24")
	w.peer.run("ip addr add 10.0.2.10/24 dev eth0", "ip route add default via 10.0.2.1")
	w.plug(w.node, "eth0", "r0", "02:00:00:00:00:01", "10.0.0.1/27")
	// The strictest reverse-path default that distributions ship.
	w.node.run("echo 1 > /proc/sys/net/ipv4/conf/all/rp_filter", "echo 1 > /proc/sys/net/ipv4/conf/default/rp_filter",
		"ip addr add 10.0.0.10/27 dev eth0", "ip route add default via 10.0.0.1")
	w.host = w.node.host()
	w.cfg = hostnet.Config{
		PrimaryMAC: "02:00:00:00:00:01", PrimaryIP: netip.MustParseAddr(nodeIP),
		VPCCIDRs: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/16"), netip.MustParsePrefix("10.1.0.0/16")},
		ENIs: []hostnet.ENI{
			{ID: "eni-0", MAC: "02:00:00:00:00:01", Primary: true, Address: netip.MustParseAddr(nodeIP), SubnetCIDR: netip.MustParsePrefix("10.0.0.0/27")},
			{ID: "eni-1", MAC: "02:00:00:00:00:02", DeviceIndex: 1, Address: netip.MustParseAddr("10.1.0.10"), SubnetCIDR: netip.MustParsePrefix("10.1.0.0/19")},
		},
		Settings: settings(),
	}
	return w
}

// plug gives a namespace an interface whose other end is in the router.
func (w *world) plug(s *space, name, routerName, mac, routerAddr string) {
	w.tb.Helper()
	s.run("ip link add " + name + " address " + mac + " type veth peer name tmp0")
	if err := moveLink(s, "tmp0", w.router, routerName); err != nil {
		w.tb.Fatal(err)
	}
	s.run("ip link set " + name + " up")
	w.router.run("ip addr add "+routerAddr+" dev "+routerName, "ip link set "+routerName+" up")
}

// attach plugs the second interface in, as EC2 does to a running instance.
func (w *world) attach() {
	w.tb.Helper()
	w.plug(w.node, "eth1", "r1", "02:00:00:00:00:02", "10.1.0.1/19")
	w.router.run("ip neigh replace 10.1.0.10 lladdr 02:00:00:00:00:02 dev r1 nud permanent")
}

// ready is a world whose second interface is attached and whose host is as wanted.
func ready(tb testing.TB, edit func(*hostnet.Config)) *world {
	tb.Helper()
	w := newWorld(tb)
	w.attach()
	if edit != nil {
		edit(&w.cfg)
	}
	w.reconcile()
	return w
}

func (w *world) reconcile() []string {
	w.tb.Helper()
	changed, seen, err := w.host.Reconcile(w.tb.Context(), w.cfg)
	if err != nil {
		w.tb.Fatal(err)
	}
	after, err := w.host.Seen(w.tb.Context(), w.cfg.Settings)
	if diff := cmp.Diff(after, seen, cmpopts.EquateComparable(netip.Addr{}), cmpopts.EquateEmpty()); diff != "" || err != nil {
		w.tb.Errorf("%v, what it saw is not what is there (-there +seen):\n%s", err, diff)
	}
	return changed
}

// pod wires a pod with an address of interface 0 or 1; the router learns where the address is.
func (w *world) pod(name, a string, device int) *space {
	w.tb.Helper()
	s := newSpace(w.tb)
	p := w.podValue(name, a, device)
	if _, err := w.host.WirePod(w.tb.Context(), w.cfg.Settings, p, s.file); err != nil {
		w.tb.Fatal(err)
	}
	w.cfg.Pods = append(w.cfg.Pods, p)
	w.router.run(fmt.Sprintf("ip neigh replace %s lladdr 02:00:00:00:00:%02x dev r%d nud permanent", a, device+1, device))
	return s
}

func (w *world) podValue(name, a string, device int) hostnet.Pod {
	return hostnet.Pod{
		Key:       hostnet.PodKey{Network: "aws-cni", ContainerID: "sandbox-of-" + name, IfName: "eth0"},
		Namespace: "default", Name: name, Addrs: []netip.Addr{netip.MustParseAddr(a)}, DeviceIndex: device,
	}
}

// moveLink moves a link to another namespace and gives it its name there.
func moveLink(from *space, name string, to *space, newName string) error {
	fd := int(to.file.Fd())
	return linux.In(from.file, func() error { return setLinkNamespace(name, newName, fd) })
}

// serve answers every connection to port 8080 with the address that it came from.
func (s *space) serve() *space {
	s.tb.Helper()
	var l net.Listener
	err := linux.In(s.file, func() (err error) {
		l, err = net.Listen("tcp4", ":8080")
		return err
	})
	if err != nil {
		s.tb.Fatal(err)
	}
	s.tb.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			host, _, _ := net.SplitHostPort(c.RemoteAddr().String())
			_, _ = io.WriteString(c, host)
			_ = c.Close()
		}
	}()
	return s
}

// ask connects and returns what the other side saw, or "nothing" and why.
func (s *space) ask(address string, port int, patience time.Duration) string {
	var got bytes.Buffer
	err := linux.In(s.file, func() error {
		c, err := net.DialTimeout("tcp4", fmt.Sprintf("%s:%d", address, port), patience)
		if err != nil {
			return err
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(patience))
		_, err = io.Copy(&got, c)
		return err
	})
	if err != nil {
		return "nothing: " + err.Error()
	}
	return got.String()
}

// sees fails the test unless the server at address saw want; want "" is no connection.
func (s *space) sees(what, address string, port int, want string) {
	s.tb.Helper()
	patience := 30 * time.Second // a loaded machine is no reason to fail
	if want == "" {
		patience = 500 * time.Millisecond
	}
	got := s.ask(address, port, patience)
	if want == "" && strings.HasPrefix(got, "nothing") || got == want && want != "" {
		return
	}
	if want == "" {
		want = "no connection"
	}
	s.tb.Errorf("%s: the other side saw %q, want %q", what, got, want)
}

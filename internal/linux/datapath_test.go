package linux_test

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/berth-net/berth/internal/core/hostnet"
	"github.com/berth-net/berth/internal/linux"
)

func TestPodsReachEachOtherAndTheVPC(t *testing.T) {
	w := ready(t, nil)
	a, b := w.pod("a", "10.0.0.20", 0).serve(), w.pod("b", "10.1.0.20", 1).serve()
	c := w.pod("c", "10.1.0.21", 1).serve()
	w.peer.serve()
	a.sees("pod of eth0 to pod of eth1", "10.1.0.20", 8080, "10.0.0.20")
	b.sees("pod of eth1 to pod of eth0", "10.0.0.20", 8080, "10.1.0.20")
	b.sees("pod to pod of one interface", "10.1.0.21", 8080, "10.1.0.20")
	c.sees("pod to itself", "10.1.0.21", 8080, "10.1.0.21")
	w.node.sees("node to pod of eth0", "10.0.0.20", 8080, nodeIP)
	w.node.sees("node to pod of eth1", "10.1.0.20", 8080, nodeIP)
	a.sees("pod of eth0 to another instance", peerIP, 8080, "10.0.0.20")
	b.sees("pod of eth1 to another instance", peerIP, 8080, "10.1.0.20")
	w.peer.sees("instance to pod of eth0", "10.0.0.20", 8080, peerIP)
	w.peer.sees("instance to pod of eth1", "10.1.0.20", 8080, peerIP)
	for _, to := range []string{"10.0.0.20", nodeIP, peerIP, internetIP} {
		if out, err := b.try("ping -c 1 -W 5 " + to); err != nil {
			t.Errorf("pod of eth1 pings %s: %v\n%s", to, err, out)
		}
	}
}

// TestConnectionsOutliveTheTable: an open connection goes on while settings change, while our table is gone and after it came
// back.
func TestConnectionsOutliveTheTable(t *testing.T) {
	w := ready(t, nil)
	w.proxy("nftables", "10.1.0.20:8080") // its nat chains keep the kernel translating when ours is gone
	b := w.pod("b", "10.1.0.20", 1)
	var client, server net.Conn
	var l net.Listener
	if err := linux.In(w.internet.file, func() (err error) { l, err = net.Listen("tcp4", ":9090"); return err }); err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	err := linux.In(b.file, func() (err error) { client, err = net.Dial("tcp4", internetIP+":9090"); return err })
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if server, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	says := func(when string, from, to net.Conn) {
		t.Helper()
		buf := make([]byte, len(when))
		_ = to.SetReadDeadline(time.Now().Add(20 * time.Second))
		_, werr := from.Write([]byte(when))
		_, rerr := io.ReadFull(to, buf)
		if err := errors.Join(werr, rerr); err != nil || string(buf) != when {
			t.Fatalf("%s: %v", when, err)
		}
	}
	says("at first", client, server)
	w.cfg.VPCCIDRs = append(w.cfg.VPCCIDRs, netip.MustParsePrefix("203.0.113.0/24"))
	w.reconcile()
	says("its destination became part of the VPC", client, server)
	says("and back", server, client)
	w.cfg.Settings.SNAT = false
	w.reconcile()
	says("translation was turned off for new connections", client, server)
	w.cfg.Settings = settings()
	w.node.run("nft delete table ip berth")
	w.reconcile()
	says("the table was gone for a while", server, client)
	says("and back again", client, server)
}

// TestTextIsWhatIsApplied: the text form of the table, read by nft, makes the very table that is applied.
func TestTextIsWhatIsApplied(t *testing.T) {
	w := ready(t, func(c *hostnet.Config) {
		c.Settings.NoSNATCIDRs = []netip.Prefix{netip.MustParsePrefix("192.168.0.0/16"), netip.MustParsePrefix("198.51.100.7/32")}
	})
	links, err := w.host.Links(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	applied := w.node.run("nft list table ip berth")
	w.node.run("nft -f - <<'E'\nflush ruleset\n" + hostnet.Want(w.cfg, links).NFT.String() + "\nE")
	if diff := cmp.Diff(applied, w.node.run("nft list table ip berth")); diff != "" {
		t.Errorf("applied, and read from the text (-applied +text):\n%s", diff)
	}
}

func TestSNAT(t *testing.T) {
	cases := []struct {
		name       string
		edit       func(*hostnet.Settings)
		sawA, sawB string
	}{
		{"fully random", func(*hostnet.Settings) {}, nodeIP, nodeIP},
		{"random", func(s *hostnet.Settings) { s.RandomizeSNAT = hostnet.RandomizeHash }, nodeIP, nodeIP},
		{"not random", func(s *hostnet.Settings) { s.RandomizeSNAT = hostnet.RandomizeNone }, nodeIP, nodeIP},
		{"without node port", func(s *hostnet.Settings) { s.NodePort = false }, nodeIP, nodeIP},
		{"external", func(s *hostnet.Settings) { s.SNAT = false }, "10.0.0.20", "10.1.0.20"},
		{"external without node port", func(s *hostnet.Settings) { s.SNAT, s.NodePort = false, false }, "10.0.0.20", "10.1.0.20"},
		{"destination excluded", func(s *hostnet.Settings) {
			s.NoSNATCIDRs = []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}
		}, "10.0.0.20", "10.1.0.20"},
		{"all excluded", func(s *hostnet.Settings) {
			s.NoSNATCIDRs = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}
		}, "10.0.0.20", "10.1.0.20"},
		{"another bit", func(s *hostnet.Settings) { s.ConnMark = 1 << 31 }, nodeIP, nodeIP},
	}
	w := ready(t, nil)
	w.internet.serve()
	a, b := w.pod("a", "10.0.0.20", 0).serve(), w.pod("b", "10.1.0.20", 1).serve()
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			w.cfg.Settings = settings()
			c.edit(&w.cfg.Settings)
			w.reconcile()
			a.tb, b.tb, w.internet.tb, w.node.tb = t, t, t, t
			a.sees("pod of eth0 to the internet", internetIP, 8080, c.sawA)
			b.sees("pod of eth1 to the internet", internetIP, 8080, c.sawB)
			w.node.sees("node to the internet", internetIP, 8080, nodeIP)
			// A load balancer with IP targets, or a peered network: replies leave by the interface that they came to.
			w.internet.sees("internet to pod of eth0", "10.0.0.20", 8080, internetIP)
			w.internet.sees("internet to pod of eth1", "10.1.0.20", 8080, internetIP)
			if changed := w.reconcile(); len(changed) > 0 {
				t.Errorf("a second look changed:\n%s", strings.Join(changed, "\n"))
			}
		})
	}
	w.node.tb, w.internet.tb = w.tb, w.tb
}

// TestOwnSourcePortsStay: connections of the host itself keep the source port that the host chose.
func TestOwnSourcePortsStay(t *testing.T) {
	w := ready(t, nil)
	w.internet.serve()
	w.node.run("echo 40000 40003 > /proc/sys/net/ipv4/ip_local_port_range")
	w.internet.run(`nft -f - <<'E'
table ip seen { chain input { type filter hook input priority 0; tcp dport 8080 tcp sport != 40000-40003 counter drop; }; }
E`)
	w.node.sees("node to the internet", internetIP, 8080, nodeIP)
}

// proxies are the rules of kube-proxy in its two forms, reduced to one service: hook, priority, mark and order are theirs.
// The service has the address 172.20.0.10:80 and node port 30080 (30081 with masquerading) for @backend.
var proxies = map[string]string{
	"iptables": `
table ip nat {
	chain KUBE-MARK-MASQ { meta mark set meta mark or 0x4000; }
	chain KUBE-SERVICES {
		ip daddr 172.20.0.10 tcp dport 80 dnat to @backend
		fib daddr type local tcp dport 30080 dnat to @backend
		fib daddr type local tcp dport 30081 jump KUBE-MARK-MASQ
		fib daddr type local tcp dport 30081 dnat to @backend
	}
	chain PREROUTING { type nat hook prerouting priority dstnat; policy accept; jump KUBE-SERVICES; }
	chain OUTPUT { type nat hook output priority -100; policy accept; jump KUBE-SERVICES; }
	chain POSTROUTING {
		type nat hook postrouting priority srcnat; policy accept;
		meta mark and 0x4000 != 0x4000 return
		meta mark set meta mark xor 0x4000
		masquerade fully-random
	}
}`,
	"nftables": `
table ip kube-proxy {
	map service-ips { type ipv4_addr . inet_proto . inet_service : verdict; elements = { 172.20.0.10 . tcp . 80 : goto endpoint }; }
	map service-nodeports {
		type inet_proto . inet_service : verdict
		elements = { tcp . 30080 : goto endpoint, tcp . 30081 : goto external }
	}
	chain mark-for-masquerade { meta mark set meta mark or 0x4000; }
	chain external { jump mark-for-masquerade; goto endpoint; }
	chain endpoint { meta l4proto tcp dnat to @backend; }
	chain services {
		ip daddr . meta l4proto . th dport vmap @service-ips
		fib daddr type local ip daddr != 127.0.0.0/8 meta l4proto . th dport vmap @service-nodeports
	}
	chain filter-prerouting { type filter hook prerouting priority dstnat - 10; policy accept; ct state new accept; }
	chain nat-prerouting { type nat hook prerouting priority dstnat; policy accept; jump services; }
	chain nat-output { type nat hook output priority -100; policy accept; jump services; }
	chain nat-postrouting {
		type nat hook postrouting priority srcnat; policy accept;
		meta mark and 0x4000 != 0 meta mark set meta mark xor 0x4000 masquerade fully-random
	}
}`,
}

func (w *world) proxy(mode, backend string) {
	w.tb.Helper()
	w.node.run("nft -f - <<'E'\n" + strings.ReplaceAll(proxies[mode], "@backend", backend) + "\nE")
}

func TestNodePortToPodOfSecondaryInterface(t *testing.T) {
	for mode := range proxies {
		for _, order := range []string{"proxy first", "ours first"} {
			t.Run(mode+"/"+order, func(t *testing.T) {
				w := newWorld(t)
				w.attach()
				if order == "proxy first" {
					w.proxy(mode, "10.1.0.20:8080")
				}
				w.reconcile()
				if order == "ours first" {
					w.proxy(mode, "10.1.0.20:8080")
				}
				a := w.pod("a", "10.0.0.20", 0)
				w.pod("b", "10.1.0.20", 1).serve()
				w.internet.sees("internet by node port", nodeIP, 30080, internetIP)
				w.internet.sees("internet by masquerading node port", nodeIP, 30081, nodeIP)
				w.peer.sees("instance by node port", nodeIP, 30080, peerIP)
				a.sees("pod by node port of its node", nodeIP, 30080, "10.0.0.20")
				a.sees("pod by service", clusterIP, 80, "10.0.0.20")
				w.node.sees("node by service", clusterIP, 80, nodeIP)
				w.internet.sees("internet by pod address", "10.1.0.20", 8080, internetIP)
			})
		}
	}
}

func TestNodePortWithExternalSNAT(t *testing.T) {
	w := ready(t, func(c *hostnet.Config) { c.Settings.SNAT = false })
	w.proxy("iptables", "10.1.0.20:8080")
	w.pod("b", "10.1.0.20", 1).serve()
	w.internet.sees("internet by node port", nodeIP, 30080, internetIP)
	w.cfg.Settings.NodePort = false
	w.reconcile()
	w.internet.sees("internet by node port, support turned off", nodeIP, 30080, "")
}

// TestServiceFromSecondaryInterface: whether a connection leaves the VPC is decided after the service's address became a
// backend's. Decided before, it would leave by eth0 with the pod's address and be dropped.
func TestServiceFromSecondaryInterface(t *testing.T) {
	for mode := range proxies {
		t.Run(mode, func(t *testing.T) {
			w := ready(t, nil)
			b := w.pod("b", "10.1.0.20", 1)
			w.pod("a", "10.0.0.20", 0).serve()
			w.peer.serve()
			w.internet.serve()
			w.proxy(mode, peerIP+":8080")
			b.sees("service on another instance", clusterIP, 80, "10.1.0.20")
			w.node.run("nft flush ruleset")
			w.reconcile()
			w.proxy(mode, internetIP+":8080")
			b.sees("service outside the VPC", clusterIP, 80, nodeIP)
			w.node.run("nft flush ruleset")
			w.reconcile()
			w.proxy(mode, "10.0.0.20:8080")
			b.sees("service on this node", clusterIP, 80, "10.1.0.20")
		})
	}
}

// TestForeignMarksStay: others keep their bits of the packet's and the connection's mark.
func TestForeignMarksStay(t *testing.T) {
	w := ready(t, nil)
	w.node.run(`nft -f - <<'E'
table ip foreign {
	chain before { type filter hook prerouting priority -140; iifname "eni*" meta mark set 0x10001 ct mark set ct mark or 0x20000; }
	chain after {
		type filter hook forward priority 0
		iifname "eni*" oifname "eth0" meta mark != 0x10081 counter name wrong drop
		iifname "eni*" oifname "eth0" ct mark != 0x20080 counter name wrong drop
	}
	counter wrong { }
}
E`)
	w.internet.serve()
	w.pod("b", "10.1.0.20", 1).sees("pod to the internet", internetIP, 8080, nodeIP)
	if got := w.node.run("nft list counter ip foreign wrong"); !strings.Contains(got, "packets 0 ") {
		t.Errorf("packets with other marks than wanted:\n%s", got)
	}
}

func TestExternalServiceCIDR(t *testing.T) {
	w := ready(t, func(c *hostnet.Config) {
		c.Settings.ExternalServiceCIDRs = []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}
		c.Settings.NoSNATCIDRs = c.Settings.ExternalServiceCIDRs
	})
	w.internet.serve()
	w.pod("a", "10.0.0.20", 0).sees("pod of eth0", internetIP, 8080, "10.0.0.20")
	// By the main table, so by eth0, where the VPC does not know the address.
	w.pod("b", "10.1.0.20", 1).sees("pod of eth1", internetIP, 8080, "")
}

// TestBlockOfTheVPCAppears: once a block is known, pods reach it with their own addresses.
func TestBlockOfTheVPCAppears(t *testing.T) {
	w := ready(t, nil)
	w.internet.serve()
	b := w.pod("b", "10.1.0.20", 1)
	b.sees("before", internetIP, 8080, nodeIP)
	w.cfg.VPCCIDRs = append(w.cfg.VPCCIDRs, netip.MustParsePrefix("203.0.113.0/24"))
	w.reconcile()
	b.sees("after", internetIP, 8080, "10.1.0.20")
	w.cfg.VPCCIDRs = w.cfg.VPCCIDRs[:2]
	w.reconcile()
	b.sees("block taken away", internetIP, 8080, nodeIP)
}

package hostnet_test

import (
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/berth-net/berth/internal/core/hostnet"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares got with a file of testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".txt")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v (write it with -update)", err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s differs from what is wanted (-want +got); -update accepts it:\n%s", path, diff)
	}
}

func addr(s string) netip.Addr     { return netip.MustParseAddr(s) }
func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

// twoENIs is an m6a.large of the story: the primary interface in a /27 and a second one in a block that was added later.
func twoENIs() (hostnet.Config, []hostnet.Link) {
	cfg := hostnet.Config{
		PrimaryMAC: "02:00:00:00:00:01", PrimaryIP: addr("10.0.0.105"),
		VPCCIDRs: []netip.Prefix{prefix("10.0.0.0/24"), prefix("10.1.0.0/16")},
		ENIs: []hostnet.ENI{
			{ID: "eni-1", MAC: "02:00:00:00:00:01", Primary: true, Address: addr("10.0.0.105"), SubnetCIDR: prefix("10.0.0.96/27")},
			{ID: "eni-2", MAC: "02:00:00:00:00:02", DeviceIndex: 1, Address: addr("10.1.0.10"), SubnetCIDR: prefix("10.1.0.0/19")},
		},
		Pods: []hostnet.Pod{pod("web", "10.0.0.110", 0, 0), pod("db", "10.1.0.20", 1, 0)},
		Settings: hostnet.Settings{
			VethPrefix: "eni", ENIMTU: 9001, SNAT: true, RandomizeSNAT: hostnet.RandomizePRNG, NodePort: true, ConnMark: 0x80,
		},
	}
	links := []hostnet.Link{
		{Index: 1, Name: "lo", MTU: 65536, Up: true},
		{Index: 2, Name: "ens5", MAC: "02:00:00:00:00:01", MTU: 9001, Up: true},
		{Index: 3, Name: "ens6", MAC: "02:00:00:00:00:02", MTU: 1500},
		{Index: 4, Name: hostnet.VethName("eni", "shop", "web"), MTU: 9001, Up: true},
		{Index: 5, Name: hostnet.VethName("eni", "shop", "db"), MTU: 9001, Up: true},
	}
	return cfg, links
}

func pod(name, a string, device, card int) hostnet.Pod {
	return hostnet.Pod{
		Key:       hostnet.PodKey{Network: "aws-cni", ContainerID: "c-" + name, IfName: "eth0"},
		Namespace: "shop", Name: name, Addrs: []netip.Addr{addr(a)}, DeviceIndex: device, NetworkCard: card,
	}
}

func TestWant(t *testing.T) {
	cases := []struct {
		name string
		edit func(*hostnet.Config)
	}{
		{"default", func(*hostnet.Config) {}},
		{"snat-hashrandom", func(c *hostnet.Config) { c.Settings.RandomizeSNAT = hostnet.RandomizeHash }},
		{"snat-not-random", func(c *hostnet.Config) { c.Settings.RandomizeSNAT = hostnet.RandomizeNone }},
		{"external-snat", func(c *hostnet.Config) { c.Settings.SNAT = false }},
		{"no-node-port", func(c *hostnet.Config) { c.Settings.NodePort = false }},
		{"external-snat-no-node-port", func(c *hostnet.Config) { c.Settings.SNAT, c.Settings.NodePort = false, false }},
		{"excluded-and-external-service", func(c *hostnet.Config) {
			c.Settings.NoSNATCIDRs = []netip.Prefix{prefix("192.168.0.0/16"), prefix("192.168.7.9/24"), prefix("172.16.0.0/12")}
			c.Settings.ExternalServiceCIDRs = []netip.Prefix{prefix("198.51.100.0/24"), prefix("203.0.113.7/24")}
		}},
		{"exclude-all", func(c *hostnet.Config) { c.Settings.NoSNATCIDRs = []netip.Prefix{prefix("0.0.0.0/0")} }},
		{"other-mark-and-prefix", func(c *hostnet.Config) { c.Settings.ConnMark, c.Settings.VethPrefix = 0x100, "pod" }},
		{"block-not-listed-yet", func(c *hostnet.Config) { c.VPCCIDRs = c.VPCCIDRs[:1] }},
		{"three-interfaces-and-a-card", func(c *hostnet.Config) {
			c.ENIs = append(c.ENIs,
				hostnet.ENI{ID: "eni-3", MAC: "02:00:00:00:00:03", DeviceIndex: 2, Address: addr("10.1.32.10"), SubnetCIDR: prefix("10.1.32.0/19")},
				hostnet.ENI{ID: "eni-4", MAC: "02:00:00:00:00:04", DeviceIndex: 1, NetworkCard: 1, Address: addr("10.1.0.11"), SubnetCIDR: prefix("10.1.0.0/19")})
			c.Pods = append(c.Pods, pod("third", "10.1.32.20", 2, 0), pod("card", "10.1.0.30", 1, 1))
		}},
		{"no-links", func(c *hostnet.Config) {
			for i := range c.ENIs {
				c.ENIs[i].MAC = "02:ff:ff:ff:ff:ff"
			}
			c.PrimaryMAC = "02:ff:ff:ff:ff:ff"
			c.Pods[0].Name = "gone"
		}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			cfg, links := twoENIs()
			links = append(links,
				hostnet.Link{Name: "ens7", MAC: "02:00:00:00:00:03"}, hostnet.Link{Name: "ens8", MAC: "02:00:00:00:00:04"},
				hostnet.Link{Name: hostnet.VethName("eni", "shop", "third")}, hostnet.Link{Name: hostnet.VethName("eni", "shop", "card")})
			c.edit(&cfg)
			golden(t, "want-"+c.name, hostnet.Want(cfg, links).String())
		})
	}
}

// TestWantOnStackedLinks: a bridge and a VLAN have the hardware address of the interface below them.
func TestWantOnStackedLinks(t *testing.T) {
	cfg, links := twoENIs()
	want := hostnet.Want(cfg, links).String()
	stacked := append([]hostnet.Link{{Index: 9, Name: "br0", MAC: "02:00:00:00:00:01"}}, links...)
	stacked = append(stacked, hostnet.Link{Index: 10, Name: "vlan.eth.1", MAC: "02:00:00:00:00:02"})
	if diff := cmp.Diff(want, hostnet.Want(cfg, stacked).String()); diff != "" {
		t.Errorf("other links were taken for the interfaces (-want +got):\n%s", diff)
	}
}

// seen is what an adapter would see of a machine that is as wanted.
func seen(m hostnet.Machine, links []hostnet.Link) hostnet.Machine {
	have := m
	have.Pending = nil
	have.Links = nil
	wanted := map[string]hostnet.LinkState{}
	for _, l := range m.Links {
		wanted[l.Name] = l
	}
	for _, l := range links {
		state := hostnet.LinkState{Name: l.Name, MTU: l.MTU, Up: l.Up}
		if w, ok := wanted[l.Name]; ok {
			state.MTU, state.Up = w.MTU, w.Up || l.Up
		}
		have.Links = append(have.Links, state)
	}
	return have
}

// fresh is the machine before anything was done: its links, the primary interface's addresses and routes, and the rules of
// a kernel that nobody touched.
func fresh(links []hostnet.Link) hostnet.Machine {
	m := hostnet.Machine{
		Addrs:   []hostnet.Address{{Link: "ens5", Prefix: prefix("10.0.0.105/27")}},
		Routes:  []hostnet.Route{{Table: 254, Dst: prefix("0.0.0.0/0"), Via: addr("10.0.0.97"), Link: "ens5"}, {Table: 254, Dst: prefix("10.0.0.96/27"), Link: "ens5"}},
		Rules:   []hostnet.Rule{{Priority: 0, Table: 255}, {Priority: 32766, Table: 254}, {Priority: 32767, Table: 253}},
		Sysctls: []hostnet.Sysctl{{Key: "net/ipv4/ip_forward", Value: "0"}},
	}
	for _, l := range links {
		m.Links = append(m.Links, hostnet.LinkState{Name: l.Name, MTU: l.MTU, Up: l.Up})
	}
	return m
}

func TestDiff(t *testing.T) {
	veth := hostnet.VethName("eni", "shop", "db")
	cases := []struct {
		name string
		have func(*hostnet.Machine) // changes a machine that is as wanted
		want func(*hostnet.Config)
	}{
		{"nothing-to-do", func(*hostnet.Machine) {}, nil},
		{"fresh-node", func(m *hostnet.Machine) { _, links := twoENIs(); *m = fresh(links) }, nil},
		{"rules-flushed", func(m *hostnet.Machine) { m.Rules = nil }, nil},
		{"interface-flushed-by-a-network-manager", func(m *hostnet.Machine) { m.Addrs, m.Routes = nil, nil }, nil},
		{"table-removed", func(m *hostnet.Machine) { m.NFT = nil }, nil},
		{"table-changed", func(m *hostnet.Machine) { m.NFT = &hostnet.Table{Name: hostnet.TableName} }, nil},
		{"node-port-and-snat-turned-off", func(*hostnet.Machine) {}, func(c *hostnet.Config) {
			c.Settings.SNAT, c.Settings.NodePort = false, false
		}},
		{"mark-changed", func(*hostnet.Machine) {}, func(c *hostnet.Config) { c.Settings.ConnMark = 0x40 }},
		{"external-service-dropped", func(m *hostnet.Machine) {
			m.Rules = append(m.Rules, hostnet.Rule{Priority: 1535, To: prefix("198.51.100.0/24"), Table: 254})
		}, nil},
		{"pod-gone", func(*hostnet.Machine) {}, func(c *hostnet.Config) { c.Pods = c.Pods[:1] }},
		{"pod-alive-that-the-caller-does-not-know", func(m *hostnet.Machine) {
			m.Alive = []netip.Addr{addr("10.1.0.20")}
		}, func(c *hostnet.Config) { c.Pods = c.Pods[:1] }},
		{"pod-sends-by-the-wrong-table", func(m *hostnet.Machine) {
			m.Alive = []netip.Addr{addr("10.1.0.20")}
			for i, r := range m.Rules {
				if r.Priority == hostnet.PriorityFromPod {
					m.Rules[i].Table = 3
				}
			}
		}, nil},
		{"route-to-pod-leads-elsewhere", func(m *hostnet.Machine) {
			for i, r := range m.Routes {
				if r.Link == veth {
					m.Routes[i].Link = "ens6"
				}
			}
		}, nil},
		{"interface-detached", func(m *hostnet.Machine) {
			m.Addrs = slices.DeleteFunc(m.Addrs, func(a hostnet.Address) bool { return a.Link == "ens6" })
			m.Routes = slices.DeleteFunc(m.Routes, func(r hostnet.Route) bool { return r.Link == "ens6" || r.Link == veth })
		}, func(c *hostnet.Config) { c.ENIs, c.Pods = c.ENIs[:1], c.Pods[:1] }},
		{"addresses-and-routes-of-a-network-manager", func(m *hostnet.Machine) {
			m.Addrs = append(m.Addrs, hostnet.Address{Link: "ens6", Prefix: prefix("10.1.0.20/19")})
			m.Routes = append(m.Routes, hostnet.Route{Table: 254, Dst: prefix("10.1.0.0/19"), Link: "ens6", Metric: 512})
		}, nil},
		{"foreign-state-stays", foreign, nil},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			cfg, links := twoENIs()
			have := seen(hostnet.Want(cfg, links), links)
			c.have(&have)
			if c.want != nil {
				c.want(&cfg)
			}
			golden(t, "diff-"+c.name, lines(hostnet.Diff(have, hostnet.Want(cfg, links))))
		})
	}
}

// foreign adds what other programs of a node have, some of it at our priorities.
func foreign(m *hostnet.Machine) {
	m.Rules = append(m.Rules,
		hostnet.Rule{Priority: 100, Mark: 0x200, Mask: 0xf00, Table: 2004},
		hostnet.Rule{Priority: 512, To: prefix("10.9.0.0/16"), Table: 254},
		hostnet.Rule{Priority: 512, To: prefix("10.1.0.77/32"), Table: 254, Other: "iif ens6"},
		hostnet.Rule{Priority: 1024, Mark: 0x4000, Mask: 0xff00, Table: 254},
		hostnet.Rule{Priority: 1024, Mark: 0x80, Mask: 0x80, Table: 99},
		hostnet.Rule{Priority: 1536, From: prefix("10.1.0.77/32"), Table: 200},
		hostnet.Rule{Priority: 32765, From: prefix("10.1.0.99/32"), Table: 200},
		hostnet.Rule{Priority: 32765, From: prefix("10.1.5.5/32"), Table: 5},
	)
	m.Routes = append(m.Routes,
		hostnet.Route{Table: 254, Dst: prefix("192.168.50.0/24"), Link: "docker0"},
		hostnet.Route{Table: 2, Dst: prefix("192.168.60.0/24"), Via: addr("10.1.0.1"), Link: "ens6"},
		hostnet.Route{Table: 254, Dst: prefix("10.1.0.0/19"), Link: "docker0"})
	m.Addrs = append(m.Addrs,
		hostnet.Address{Link: "docker0", Prefix: prefix("192.168.50.1/24")},
		hostnet.Address{Link: "ens9", Prefix: prefix("10.1.5.5/19")}) // attached, not managed
}

func lines(ops []hostnet.Op) string {
	var b strings.Builder
	for _, op := range ops {
		b.WriteString(op.String() + "\n")
	}
	return b.String()
}

func TestTableNumber(t *testing.T) {
	for _, c := range []struct {
		name               string
		device, card, want int
	}{
		{"primary", 0, 0, 254},
		{"second", 1, 0, 2},
		{"fifteenth", 14, 0, 15},
		{"first of the second card", 0, 1, 10100},
		{"second of the third card", 1, 2, 10201},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := hostnet.TableNumber(c.device, c.card); got != c.want {
				t.Errorf("TableNumber(%d, %d) = %d, want %d", c.device, c.card, got, c.want)
			}
		})
	}
}

func TestVethName(t *testing.T) {
	// Fixed: running pods of the existing CNI have links of these names.
	if got, want := hostnet.VethName("eni", "kube-system", "coredns-5d78c9869d-abcde"), "eni4d5f75c480c"; got != want {
		t.Errorf("VethName = %q, want %q", got, want)
	}
	if a, b := hostnet.VethName("eni", "a", "b.c"), hostnet.VethName("eni", "a.b", "c"); a != b {
		t.Errorf("names joined by a dot differ: %s %s", a, b) // as the existing CNI has it
	}
}

func TestMACs(t *testing.T) {
	key := hostnet.PodKey{Network: "aws-cni", ContainerID: "abc", IfName: "eth0"}
	h, p := hostnet.HostMAC(key), hostnet.PodMAC(key)
	for _, m := range [][6]byte{h, p} {
		if m[0]&3 != 2 {
			t.Errorf("%x is not a locally administered unicast address", m)
		}
	}
	other := key
	other.ContainerID = "abd"
	if h == p || h == hostnet.HostMAC(other) {
		t.Error("two ends, or two sandboxes, have the same address")
	}
}

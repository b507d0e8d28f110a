package bpf_test

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/berth-net/berth/internal/bpf"
	"github.com/berth-net/berth/internal/core/policy"
	"github.com/berth-net/berth/internal/core/policy/tables"
	"github.com/berth-net/berth/internal/testkit"
)

// Addresses of Services, and the port by which they are dialed: another than their pods'.
var serviceAddrs = []string{"10.96.0.10", "fd96::10"}

const (
	dialedPort = 9999
	otherSlot  = 4
)

// translate has the node send what comes for an address and port to another, as kube-proxy does.
func (w *wire) translate(tb testing.TB, to, backend netip.AddrPort, masquerade bool) {
	tb.Helper()
	family := map[bool]string{true: "ip", false: "ip6"}[to.Addr().Is4()]
	rules := fmt.Sprintf("add table %[1]s services; delete table %[1]s services; add table %[1]s services; "+
		"add chain %[1]s services pre { type nat hook prerouting priority dstnat; }; "+
		"add chain %[1]s services post { type nat hook postrouting priority srcnat; }; "+
		"add rule %[1]s services pre %[1]s daddr %[2]s tcp dport %[3]d dnat to %[4]s", family, to.Addr(), to.Port(), backend)
	if masquerade {
		rules += fmt.Sprintf("; add rule %[1]s services post masquerade", family)
	}
	if out, err := testkit.NetnsOutput(w.node, testkit.RequireProgram(tb, "nft"), rules); err != nil {
		tb.Fatalf("nft: %v: %s", err, out)
	}
}

// second gives the node another pod, in slot otherSlot.
func (w *wire) second(tb testing.TB, d *bpf.Datapath) string {
	tb.Helper()
	ns := testkit.Netns(tb)
	w.ip(tb, w.node, "link", "add", "host1", "type", "veth", "peer", "name", "eth1")
	w.move(tb, "eth1", ns)
	for _, l := range []struct{ ns, link, host string }{{w.node, "host1", "100"}, {ns, "eth1", "1"}} {
		w.ip(tb, l.ns, "addr", "add", "10.0.2."+l.host+"/24", "dev", l.link)
		w.ip(tb, l.ns, "addr", "add", "fd02::"+l.host+"/64", "dev", l.link, "nodad")
		w.ip(tb, l.ns, "link", "set", l.link, "up")
	}
	w.ip(tb, ns, "route", "add", "default", "via", "10.0.2.100")
	w.ip(tb, ns, "route", "add", "default", "via", "fd02::100")
	testkit.InNetns(tb, w.node, func() error {
		link, err := net.InterfaceByName("host1")
		if err != nil {
			return err
		}
		return d.Attach(link.Index, otherSlot, false, addr("10.0.2.1"), addr("fd02::1"))
	})
	return ns
}

// exits has the programs judge what leaves by the link to the other machine.
func (w *wire) exits(tb testing.TB, d *bpf.Datapath) {
	tb.Helper()
	testkit.InNetns(tb, w.node, func() error {
		link, err := net.InterfaceByName("eni0")
		if err != nil {
			return err
		}
		return d.AttachExit(link.Index)
	})
}

func servicesAt(addrs ...string) []tables.Change {
	c := &tables.ServicesChange{}
	for _, a := range addrs {
		c.Addrs = append(c.Addrs, addr(a))
	}
	return []tables.Change{{Services: c}, {Epoch: true}}
}

func nodeAt(addrs ...string) []tables.Change {
	changes := servicesAt(addrs...)
	changes[0].Services.Node = true
	return changes
}

// nodeAddrs are all that the node has.
var nodeAddrs = []string{"10.0.0.100", "10.0.1.100", "10.0.2.100", "fd00::100", "fd01::100", "fd02::100"}

// TestP9WhatComesByTheNodesAddress: from outside it counts as the node's unless the operator says otherwise; from a pod of this node it
// is judged by that pod's address.
func TestP9WhatComesByTheNodesAddress(t *testing.T) {
	inBothAttachments(t, func(t *testing.T, o bpf.Options, w *wire) {
		d := open(t, o)
		t.Cleanup(func() { _ = d.Close() })
		w.exits(t, d)
		w.attach(t, d)
		second := w.second(t, d)
		listen(t, w.pod, port)
		apply(t, d, rowsOf(isolated(1), 0)...)
		apply(t, d, nodeAt(nodeAddrs...)...)
		apply(t, d, pod(isolated(1), isolated(1)))
		for i, pod4or6 := range []string{"10.0.0.1", "fd00::1"} {
			node := at([]string{"10.0.1.100", "fd01::100"}[i], dialedPort)
			neighbour := []string{"10.0.2.1", "fd02::1"}[i]
			w.translate(t, node, at(pod4or6, port), true)
			for _, judged := range []bool{false, true} {
				o.Settings.JudgeNode = judged
				if err := d.Set(o.Settings); err != nil {
					t.Fatal(err)
				}
				apply(t, d, tables.Change{Epoch: true})
				if got := dial(t, w.far, node); got == judged {
					t.Errorf("%s: an outsider by the node's address gets in %v, while such are judged: %v", pod4or6, got, judged)
				}
				for _, class := range []tables.Class{classDenied, classAllowed} {
					apply(t, d, peer(neighbour, class), tables.Change{Epoch: true})
					if got := dial(t, second, node); got != (class == classAllowed) {
						t.Errorf("%s: a pod of class %d by the node's address gets in %v, while such are judged: %v", pod4or6, class, got, judged)
					}
				}
			}
		}
	})
}

// TestServiceIsJudgedByThePodBehindIt: whatever port is dialed, and whether or not the node hides who dials.
func TestServiceIsJudgedByThePodBehindIt(t *testing.T) {
	inBothAttachments(t, func(t *testing.T, o bpf.Options, w *wire) {
		d := open(t, o)
		t.Cleanup(func() { _ = d.Close() })
		w.exits(t, d)
		w.attach(t, d)
		for _, p := range []uint16{port, otherPort} {
			listen(t, w.far, p)
		}
		apply(t, d, rowsOf(isolated(1), 0)...)
		apply(t, d, servicesAt(serviceAddrs...)...)
		apply(t, d, pod(0, isolated(1)))
		for i, service := range serviceAddrs {
			to := at(service, dialedPort)
			for _, masquerade := range []bool{false, true} {
				apply(t, d, peer(farAddrs[i], classAllowed), tables.Change{Epoch: true})
				w.translate(t, to, at(farAddrs[i], port), masquerade)
				if !dial(t, w.pod, to) {
					t.Errorf("%s: the allowed port of the allowed pod is not reached (masquerade %v)", to, masquerade)
				}
				w.translate(t, to, at(farAddrs[i], otherPort), masquerade)
				if dial(t, w.pod, to) {
					t.Errorf("%s: another port of the allowed pod is reached (masquerade %v)", to, masquerade)
				}
				apply(t, d, peer(farAddrs[i], classDenied), tables.Change{Epoch: true})
				w.translate(t, to, at(farAddrs[i], port), masquerade)
				if dial(t, w.pod, to) {
					t.Errorf("%s: a denied pod is reached (masquerade %v)", to, masquerade)
				}
			}
		}
		testkit.InNetns(t, w.node, d.Remove)
		if out, err := testkit.NetnsOutput(w.node, testkit.RequireProgram(t, "ip"), "-d", "link", "show", "dev", "eni0"); err != nil || strings.Contains(out, "prog/") {
			t.Errorf("programs: %v\n%s", err, out)
		}
	})
}

// TestServiceOfAPodOfTheSameNode: both sides judge, the receiving one by who has dialed.
func TestServiceOfAPodOfTheSameNode(t *testing.T) {
	inBothAttachments(t, func(t *testing.T, o bpf.Options, w *wire) {
		d := open(t, o)
		t.Cleanup(func() { _ = d.Close() })
		w.exits(t, d)
		w.attach(t, d)
		second := w.second(t, d)
		listen(t, second, port)
		apply(t, d, rowsOf(isolated(1), 0)...)
		apply(t, d, servicesAt(serviceAddrs...)...)
		for i, backend := range []string{"10.0.2.1", "fd02::1"} {
			to, dialing := at(serviceAddrs[i], dialedPort), []string{"10.0.0.1", "fd00::1"}[i]
			w.translate(t, to, at(backend, port), false)
			for _, tt := range []struct {
				name            string
				ingress, egress tables.Set
				from, behind    tables.Class
				want            bool
			}{
				{"no policy", 0, 0, classDenied, classDenied, true},
				{"out allowed", 0, isolated(1), classDenied, classAllowed, true},
				{"out denied", 0, isolated(1), classAllowed, classDenied, false},
				{"in allowed", isolated(1), 0, classAllowed, classDenied, true},
				{"in denied", isolated(1), 0, classDenied, classAllowed, false},
				{"both allowed", isolated(1), isolated(1), classAllowed, classAllowed, true},
			} {
				apply(t, d, peer(dialing, tt.from), peer(backend, tt.behind), pod(0, tt.egress),
					tables.Change{Pod: &tables.PodChange{Slot: otherSlot, Pod: tables.Pod{Ingress: tt.ingress}}}, tables.Change{Epoch: true})
				if got := dial(t, w.pod, to); got != tt.want {
					t.Errorf("%s, %s: reached %v, want %v", to, tt.name, got, tt.want)
				}
			}
		}
	})
}

// TestServiceThatIsThePodItself is judged in both directions, though the node hides that the pod dials itself.
func TestServiceThatIsThePodItself(t *testing.T) {
	inBothAttachments(t, func(t *testing.T, o bpf.Options, w *wire) {
		d := open(t, o)
		t.Cleanup(func() { _ = d.Close() })
		w.exits(t, d)
		w.attach(t, d)
		listen(t, w.pod, port)
		apply(t, d, rowsOf(isolated(1), 0)...)
		apply(t, d, servicesAt(serviceAddrs...)...)
		for i, own := range []string{"10.0.0.1", "fd00::1"} {
			to := at(serviceAddrs[i], dialedPort)
			w.translate(t, to, at(own, port), true)
			for _, tt := range []struct {
				ingress, egress tables.Set
				class           tables.Class
				want            bool
			}{
				{0, 0, classDenied, true},
				{0, isolated(1), classAllowed, true},
				{0, isolated(1), classDenied, false},
				{isolated(1), 0, classAllowed, true},
				{isolated(1), 0, classDenied, false},
			} {
				apply(t, d, peer(own, tt.class), pod(tt.ingress, tt.egress), tables.Change{Epoch: true})
				if got := dial(t, w.pod, to); got != tt.want {
					t.Errorf("%s, sets %x and %x, class %d: reached %v, want %v", to, tt.ingress, tt.egress, tt.class, got, tt.want)
				}
			}
		}
	})
}

// TestOwnNodeIsReachedButNotWhatItTranslates: a pod always reaches its node; a node port leads elsewhere.
func TestOwnNodeIsReachedButNotWhatItTranslates(t *testing.T) {
	inBothAttachments(t, func(t *testing.T, o bpf.Options, w *wire) {
		d := open(t, o)
		t.Cleanup(func() { _ = d.Close() })
		w.exits(t, d)
		w.attach(t, d)
		listen(t, w.node, otherPort)
		listen(t, w.far, port)
		apply(t, d, rowsOf(isolated(1), 0)...)
		apply(t, d, nodeAt("10.0.0.100", "10.0.1.100", "fd00::100", "fd01::100")...)
		apply(t, d, pod(isolated(1), isolated(1)))
		for i, node := range []string{"10.0.1.100", "fd01::100"} {
			if !dial(t, w.pod, at(node, otherPort)) {
				t.Errorf("%s: the own node is not reached", node)
			}
			w.translate(t, at(node, dialedPort), at(farAddrs[i], port), true)
			apply(t, d, peer(farAddrs[i], classDenied), tables.Change{Epoch: true})
			if dial(t, w.pod, at(node, dialedPort)) {
				t.Errorf("%s: a denied pod is reached by a node port", node)
			}
			apply(t, d, peer(farAddrs[i], classAllowed), tables.Change{Epoch: true})
			if !dial(t, w.pod, at(node, dialedPort)) {
				t.Errorf("%s: an allowed pod is not reached by a node port", node)
			}
		}
	})
}

// TestAdministratorsPolicyIsHeldForTheOwnNode: a ClusterNetworkPolicy that denied nodes did not keep a pod from its own, whose packets
// leave by no link. What isolates a pod does not keep it from its node, and hides the Baseline tier as for any peer.
func TestAdministratorsPolicyIsHeldForTheOwnNode(t *testing.T) {
	inBothAttachments(t, func(t *testing.T, o bpf.Options, w *wire) {
		d := open(t, o)
		t.Cleanup(func() { _ = d.Close() })
		w.exits(t, d)
		w.attach(t, d)
		listen(t, w.node, port)
		listen(t, w.node, otherPort)
		apply(t, d, nodeAt(nodeAddrs...)...)
		deny := func(r tables.Range) tables.Range {
			r.First = tables.Key(uint8(policy.TCP), port)
			r.Last = r.First
			return r
		}
		for number, tt := range []struct {
			name  string
			flags tables.Set
			row   tables.Range
			want  bool
		}{
			{"denied by Admin", 0, tables.Range{Admin: word(policy.Deny, 1, 1)}, false},
			{"denied by Admin, isolated", tables.Isolates, tables.Range{Admin: word(policy.Deny, 1, 1)}, false},
			{"passed by Admin, isolated", tables.Isolates, tables.Range{Admin: word(policy.Pass, 1, 1)}, true},
			{"denied by Baseline", 0, tables.Range{Baseline: word(policy.Deny, 1, 1)}, false},
			{"denied by Baseline, isolated", tables.Isolates, tables.Range{Baseline: word(policy.Deny, 1, 1)}, true},
			{"denied by nobody, strict", tables.Strict, tables.Range{}, true},
		} {
			set := tables.Set(number+1) | tt.flags
			apply(t, d, tables.Change{Ranges: &tables.RangesChange{First: uint32(number), Ranges: []tables.Range{deny(tt.row)}}},
				tables.Change{Row: &tables.RowChange{Key: tables.RowKey{Set: set, ID: uint32(classNode)}, Row: tables.Row{First: uint32(number), Count: 1}}},
				peer("10.0.1.100", classNode), peer("fd01::100", classNode), pod(0, set))
			for _, node := range []string{"10.0.1.100", "fd01::100"} {
				if got := dial(t, w.pod, at(node, port)); got != tt.want {
					t.Errorf("%s, %s: reached %v, want %v", node, tt.name, got, tt.want)
				}
				if !dial(t, w.pod, at(node, otherPort)) {
					t.Errorf("%s, %s: another port is not reached", node, tt.name)
				}
			}
		}
	})
}

// TestServiceUnknownUntilLater: a connection to an address that becomes a Service's goes on, and one to a former one is judged by the
// address.
func TestServiceUnknownUntilLater(t *testing.T) {
	w := newWire(t)
	d := open(t, options(mountBPF(t)))
	t.Cleanup(func() { _ = d.Close() })
	w.exits(t, d)
	w.attach(t, d)
	listen(t, w.far, port)
	key := tables.Key(uint8(policy.TCP), dialedPort)
	apply(t, d, tables.Change{Ranges: &tables.RangesChange{Ranges: []tables.Range{allowing(key, key)}}},
		tables.Change{Row: &tables.RowChange{Key: tables.RowKey{Set: isolated(1), ID: uint32(classAllowed)}, Row: tables.Row{Count: 1}}},
		peer(serviceAddrs[0], classAllowed), pod(0, isolated(1)))
	to := at(serviceAddrs[0], dialedPort)
	w.translate(t, to, at(farAddrs[0], port), false)
	if !dial(t, w.pod, to) {
		t.Error("an address that is allowed as such is not reached")
	}
	apply(t, d, servicesAt(serviceAddrs[0])...)
	if dial(t, w.pod, to) {
		t.Error("known as a Service's, it leads to a pod that is not allowed")
	}
	apply(t, d, tables.Change{Services: &tables.ServicesChange{Addrs: []netip.Addr{addr(serviceAddrs[0])}, Delete: true}}, tables.Change{Epoch: true})
	if !dial(t, w.pod, to) {
		t.Error("not a Service's any more, the address is not reached")
	}
}

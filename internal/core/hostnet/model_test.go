package hostnet_test

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/berth-net/berth/internal/core/hostnet"
)

// apply is a machine as simple as can be: it does what an operation says.
func apply(m hostnet.Machine, op hostnet.Op) hostnet.Machine {
	switch op := op.(type) {
	case hostnet.SetMTU:
		m.Links = mapped(m.Links, func(l hostnet.LinkState) hostnet.LinkState {
			if l.Name == op.Link {
				l.MTU = op.MTU
			}
			return l
		})
	case hostnet.SetUp:
		m.Links = mapped(m.Links, func(l hostnet.LinkState) hostnet.LinkState {
			l.Up = l.Up || l.Name == op.Link
			return l
		})
	case hostnet.SetSysctl:
		m.Sysctls = with(without(m.Sysctls, func(s hostnet.Sysctl) bool { return s.Key == op.Key }), op.Sysctl)
	case hostnet.AddAddr:
		m.Addrs = with(m.Addrs, op.Address)
	case hostnet.DeleteAddr:
		m.Addrs = without(m.Addrs, func(a hostnet.Address) bool { return a == op.Address })
	case hostnet.ReplaceRoute:
		m.Routes = with(without(m.Routes, func(r hostnet.Route) bool {
			return r.Table == op.Table && r.Dst == op.Dst && r.Metric == op.Metric
		}), op.Route)
	case hostnet.DeleteRoute:
		m.Routes = without(m.Routes, func(r hostnet.Route) bool { return r == op.Route })
	case hostnet.AddRule:
		m.Rules = with(m.Rules, op.Rule)
	case hostnet.DeleteRule:
		m.Rules = without(m.Rules, func(r hostnet.Rule) bool { return r == op.Rule })
	case hostnet.ReplaceTable:
		m.NFT = op.Table
	case hostnet.DeleteTable:
		m.NFT = nil
	default:
		panic(fmt.Sprintf("no model of %T", op))
	}
	return m
}

func mapped[T any](in []T, f func(T) T) []T {
	out := slices.Clone(in)
	for i := range out {
		out[i] = f(out[i])
	}
	return out
}

func with[T any](in []T, v T) []T { return append(slices.Clone(in), v) }

func without[T any](in []T, drop func(T) bool) []T { return slices.DeleteFunc(slices.Clone(in), drop) }

// drawConfig draws a node with up to four interfaces and twelve pods.
func drawConfig(t *rapid.T, label string) (hostnet.Config, []hostnet.Link) {
	cfg, _ := twoENIs()
	links := []hostnet.Link{{Name: "lo"}, {Name: "ens5", MAC: cfg.PrimaryMAC, MTU: 9001, Up: true}}
	cfg.ENIs, cfg.Pods = cfg.ENIs[:1], nil
	s := &cfg.Settings
	s.SNAT, s.NodePort = rapid.Bool().Draw(t, label+" snat"), rapid.Bool().Draw(t, label+" node port")
	s.ConnMark = uint32(1) << rapid.IntRange(0, 31).Draw(t, label+" mark bit")
	for i := range rapid.IntRange(0, 2).Draw(t, label+" services") {
		s.ExternalServiceCIDRs = append(s.ExternalServiceCIDRs, netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 51, byte(i), 0}), 24))
	}
	for i := range rapid.IntRange(0, 3).Draw(t, label+" interfaces") {
		i++ // device 0 is the primary
		mac := fmt.Sprintf("02:00:00:00:00:%02x", i+1)
		subnet := rapid.IntRange(1, 3).Draw(t, label+" subnet")
		cfg.ENIs = append(cfg.ENIs, hostnet.ENI{
			ID: "eni", MAC: mac, DeviceIndex: i, NetworkCard: rapid.IntRange(0, 1).Draw(t, label+" card"),
			Address:    netip.AddrFrom4([4]byte{10, byte(subnet), 0, byte(10 + i)}),
			SubnetCIDR: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(subnet), 0, 0}), 19),
		})
		if rapid.Bool().Draw(t, label+" linked") {
			links = append(links, hostnet.Link{Name: fmt.Sprintf("ens%d", 5+i), MAC: mac, MTU: 1500})
		}
	}
	for i := range rapid.IntRange(0, 12).Draw(t, label+" pods") {
		e := cfg.ENIs[rapid.IntRange(0, len(cfg.ENIs)-1).Draw(t, label+" pod's interface")]
		p := pod(fmt.Sprint("pod", i), fmt.Sprintf("10.1.1.%d", rapid.IntRange(0, 3).Draw(t, label+" address")+4*i), e.DeviceIndex, e.NetworkCard)
		cfg.Pods = append(cfg.Pods, p)
		if rapid.IntRange(0, 9).Draw(t, label+" pod's link") > 0 {
			links = append(links, hostnet.Link{Name: hostnet.VethName("eni", "shop", p.Name)})
		}
	}
	return cfg, links
}

// TestDiffReachesWant: from any earlier state of ours, with parts lost and foreign state beside it, the operations give what
// is wanted, leave nothing to do, and touch nothing foreign.
func TestDiffReachesWant(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		before, beforeLinks := drawConfig(t, "before")
		after, links := drawConfig(t, "after")
		want := hostnet.Want(after, links)
		have := seen(hostnet.Want(before, beforeLinks), links)
		lose(t, &have)
		foreign(&have)
		start := have
		for _, op := range hostnet.Diff(have, want) {
			have = apply(have, op)
		}
		if again := hostnet.Diff(have, want); len(again) > 0 {
			t.Fatalf("still to do:\n%s", lines(again))
		}
		missing := func(kind string, ok bool) {
			if !ok {
				t.Fatalf("%s missing after all was done", kind)
			}
		}
		missing("addresses", subset(want.Addrs, have.Addrs))
		missing("routes", subset(want.Routes, have.Routes))
		missing("rules", subset(want.Rules, have.Rules))
		missing("sysctls", subset(want.Sysctls, have.Sysctls))
		if diff := cmp.Diff(want.NFT, have.NFT, cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
			t.Fatalf("nftables table (-want +got):\n%s", diff)
		}
		var alien hostnet.Machine
		foreign(&alien)
		missing("foreign addresses", subset(alien.Addrs, have.Addrs))
		missing("foreign routes", subset(alien.Routes, have.Routes))
		missing("foreign rules", subset(alien.Rules, have.Rules))
		noStrays(t, start, want, have)
	})
}

// noStrays: of our own rules only the wanted ones remain, and those of interfaces that are attached but not managed any more.
func noStrays(t *rapid.T, start, want, have hostnet.Machine) {
	var alien hostnet.Machine
	foreign(&alien)
	for _, a := range start.Addrs {
		alien.Rules = append(alien.Rules, without(have.Rules, func(r hostnet.Rule) bool {
			return r.Priority != hostnet.PriorityFromENI || r.From.Addr() != a.Prefix.Addr()
		})...)
	}
	for _, r := range have.Rules {
		if !slices.Contains(want.Rules, r) && !slices.Contains(alien.Rules, r) && slices.Contains(start.Rules, r) {
			t.Fatalf("stale rule stays: %s", r)
		}
	}
}

func lose(t *rapid.T, m *hostnet.Machine) {
	lost := func(string) bool { return rapid.IntRange(0, 4).Draw(t, "lost") == 0 }
	m.Rules = without(m.Rules, func(hostnet.Rule) bool { return lost("rule") })
	m.Routes = without(m.Routes, func(hostnet.Route) bool { return lost("route") })
	m.Addrs = without(m.Addrs, func(hostnet.Address) bool { return lost("address") })
	m.Sysctls = without(m.Sysctls, func(hostnet.Sysctl) bool { return lost("sysctl") })
	if lost("table") {
		m.NFT = nil
	}
}

func subset[T comparable](part, whole []T) bool {
	return !slices.ContainsFunc(part, func(v T) bool { return !slices.Contains(whole, v) })
}

// TestDiffMakesBeforeItBreaks: no deletion comes before an addition.
func TestDiffMakesBeforeItBreaks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		before, beforeLinks := drawConfig(t, "before")
		after, links := drawConfig(t, "after")
		have := seen(hostnet.Want(before, beforeLinks), links)
		deleted := ""
		for _, op := range hostnet.Diff(have, hostnet.Want(after, links)) {
			switch op.(type) {
			case hostnet.DeleteAddr, hostnet.DeleteRoute, hostnet.DeleteRule:
				deleted = op.String()
			default:
				if deleted != "" {
					t.Fatalf("%q comes after %q", op, deleted)
				}
			}
		}
	})
}

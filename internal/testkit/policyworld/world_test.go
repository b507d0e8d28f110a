package policyworld_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/berth-net/berth/internal/core/policy"
	"github.com/berth-net/berth/internal/testkit/policyworld"
)

func draw(seed uint64, size policyworld.Size, n int) (*policy.World, []policy.Packet) {
	w := policyworld.New(seed, size)
	return w, policyworld.Packets(w, rand.New(rand.NewPCG(seed, 1)), n)
}

var bySelectorText = cmp.Options{
	cmp.Transformer("selector", func(s *policy.Selector) string { return s.String() }),
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
}

func TestSeedGivesTheSameWorld(t *testing.T) {
	for seed := range uint64(20) {
		w, packets := draw(seed, policyworld.Large(), 50)
		again, packetsAgain := draw(seed, policyworld.Large(), 50)
		if d := cmp.Diff(w, again, bySelectorText); d != "" {
			t.Fatalf("seed %d: worlds differ:\n%s", seed, d)
		}
		if d := cmp.Diff(packets, packetsAgain, bySelectorText); d != "" {
			t.Fatalf("seed %d: packets differ:\n%s", seed, d)
		}
	}
}

// TestWorldsReachEveryVerdict: a generator that never makes a tier decide proves nothing about it.
func TestWorldsReachEveryVerdict(t *testing.T) {
	seen := make(map[string]int)
	for seed := range uint64(200) {
		w, packets := draw(seed, policyworld.Small(), 100)
		for _, p := range packets {
			v := policy.Evaluate(w, p)
			for d, side := range map[string]policy.Side{"egress": v.Egress, "ingress": v.Ingress} {
				seen[fmt.Sprint(d, " asked ", side.Asked)]++
				seen[fmt.Sprint(d, " tier ", side.Tier, " allowed ", side.Allowed, " by ", side.Action)]++
			}
			seen[fmt.Sprint("allowed ", v.Allowed)]++
			seen[fmt.Sprint("IPv6 ", p.To.Is6())]++
			seen[fmt.Sprint("protocol ", p.Protocol)]++
		}
	}
	for _, d := range []string{"egress", "ingress"} {
		for _, want := range []string{
			"asked true", "asked false", "tier Admin allowed true by accept", "tier Admin allowed false by deny", "tier Network allowed true by accept", "tier Network allowed false by none",
			"tier Baseline allowed true by accept", "tier Baseline allowed false by deny", "tier Default allowed true by none", "tier Default allowed false by none",
		} {
			if n := seen[d+" "+want]; n < 200 {
				t.Errorf("%s %s: %d of 20,000 packets, want 200 at least", d, want, n)
			}
		}
	}
	for _, want := range []string{"allowed true", "allowed false", "IPv6 true", "IPv6 false", "protocol icmp", "protocol tcp", "protocol udp", "protocol 47", "protocol icmpv6", "protocol sctp"} {
		if seen[want] < 200 {
			t.Errorf("%s: %d of 20,000 packets, want 200 at least", want, seen[want])
		}
	}
}

// TestWorldsAreValid: no two pods share an address, no two policies a name, excepts lie in their block, ranges are not reversed.
func TestWorldsAreValid(t *testing.T) {
	for seed := range uint64(200) {
		checkWorld(t, seed, policyworld.New(seed, policyworld.Large()))
	}
}

// TestStepsAreValid: worlds stay valid, the world before a step stays what it was, and every kind of step changes something.
func TestStepsAreValid(t *testing.T) {
	changed := make(map[string]int)
	for seed := range uint64(40) {
		w, r := policyworld.New(seed, policyworld.Small()), rand.New(rand.NewPCG(seed, 2))
		for range 60 {
			before := worldText(w)
			next, what := policyworld.Step(w, r, policyworld.Small())
			if worldText(w) != before {
				t.Fatalf("seed %d: %s: the world before it has changed", seed, what)
			}
			if worldText(next) != before {
				changed[what]++
			} else {
				changed[what] += 0
			}
			checkWorld(t, seed, next)
			w = next
		}
	}
	for what, n := range changed {
		if n < 50 {
			t.Errorf("%s: changed the world %d times", what, n)
		}
	}
	if len(changed) != 14 {
		t.Errorf("%d kinds of steps were made: %v", len(changed), changed)
	}
}

// worldText is everything in a world; maps in the order of their keys.
func worldText(w *policy.World) string {
	return fmt.Sprintf("%+v", *w)
}

func checkWorld(t *testing.T, seed uint64, w *policy.World) {
	t.Helper()
	owner := make(map[netip.Addr]string)
	for _, p := range w.Pods {
		for _, a := range p.Addrs {
			if had, taken := owner[a]; taken && !p.HostNetwork {
				t.Errorf("seed %d: %s is of %s and of %s", seed, a, had, p.Name)
			} else if !p.HostNetwork {
				owner[a] = p.Name
			}
		}
	}
	for _, n := range w.Nodes {
		for _, a := range n.Addrs {
			if had, taken := owner[a]; taken {
				t.Errorf("seed %d: %s is of %s and of %s", seed, a, had, n.Name)
			}
			owner[a] = n.Name
		}
	}
	refs := make(map[policy.Ref]bool)
	for _, p := range w.Policies {
		if refs[p.Ref] {
			t.Errorf("seed %d: two policies are %v", seed, p.Ref)
		}
		refs[p.Ref] = true
		for _, rules := range p.Rules {
			for _, r := range rules {
				checkRule(t, seed, r)
			}
		}
	}
}

func checkRule(t *testing.T, seed uint64, r policy.Rule) {
	t.Helper()
	for _, port := range r.Ports {
		if port.First > port.Last {
			t.Errorf("seed %d: ports from %d to %d", seed, port.First, port.Last)
		}
	}
	for _, peer := range r.Peers {
		if peer.Network == nil {
			continue
		}
		block := *peer.Network
		if block.CIDR != block.CIDR.Masked() {
			t.Errorf("seed %d: %s is not masked", seed, block.CIDR)
		}
		for _, x := range block.Except {
			if x != x.Masked() || x.Bits() <= block.CIDR.Bits() || !block.CIDR.Contains(x.Addr()) {
				t.Errorf("seed %d: %s except %s", seed, block.CIDR, x)
			}
		}
	}
}

func TestLast(t *testing.T) {
	for prefix, want := range map[string]string{
		"10.0.0.0/8": "10.255.255.255", "10.0.0.4/30": "10.0.0.7", "10.0.0.4/32": "10.0.0.4", "0.0.0.0/0": "255.255.255.255",
		"fd00::/124": "fd00::f", "::/0": "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
	} {
		if got := policyworld.Last(netip.MustParsePrefix(prefix)); got.String() != want {
			t.Errorf("last of %s is %s, want %s", prefix, got, want)
		}
	}
}

func BenchmarkNew(b *testing.B) {
	for name, size := range map[string]policyworld.Size{"small": policyworld.Small(), "large": policyworld.Large()} {
		b.Run(name, func(b *testing.B) {
			seed := uint64(0)
			for b.Loop() {
				policyworld.New(seed, size)
				seed++
			}
		})
	}
}

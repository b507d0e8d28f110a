package subnet_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/berth-net/berth/internal/core/subnet"
	"github.com/berth-net/berth/internal/core/vpc"
)

// scattered is a subnet in which a share of the addresses is in use here and there, in percent.
func scattered(cidr string, share int) *subnet.Space {
	s := space(cidr, "")
	p := netip.MustParsePrefix(cidr)
	dice := rand.New(rand.NewPCG(1, 2))
	for a := p.Addr(); p.Contains(a); a = a.Next() {
		if dice.IntN(100) < share {
			s.Take(vpc.Single(a))
		}
	}
	return s
}

// collisions is the share of nodes that lose a race when all choose from one map at the same moment: the first to ask gets
// what it named.
func collisions(nodes int, choose func(seed string) []vpc.Block) float64 {
	taken := map[netip.Addr]bool{}
	lost := 0
	for i := range nodes {
		var addrs []netip.Addr
		for _, b := range choose(fmt.Sprintf("i-%017x", i)) {
			addrs = append(addrs, b.Addrs()...)
		}
		if slices.ContainsFunc(addrs, func(a netip.Addr) bool { return taken[a] }) {
			lost++
			continue
		}
		for _, a := range addrs {
			taken[a] = true
		}
	}
	return float64(lost) / float64(nodes)
}

// Fifty nodes that ask at the same moment, with maps that do not show each other, rarely name the same block.
func TestFiftyNodesOnOneStaleMap(t *testing.T) {
	half, empty := scattered("10.0.0.0/18", 50), space("10.0.0.0/18", "")
	singles := func(s *subnet.Space, n int) func(string) []vpc.Block {
		return func(seed string) []vpc.Block { return vpc.Blocks(s.Addresses(n, seed), nil) }
	}
	ranges := func(s *subnet.Space, n int) func(string) []vpc.Block {
		return func(seed string) []vpc.Block { return vpc.Blocks(nil, s.Prefixes(n, seed)) }
	}
	tests := []struct {
		name   string
		choose func(string) []vpc.Block
		most   float64
	}{
		{"one address each", singles(half, 1), 0.10},
		{"nine addresses each", singles(half, 9), 0.25},
		{"one prefix each", ranges(empty, 1), 0.08},
		{"four prefixes each", ranges(empty, 4), 0.20},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			share := collisions(50, tt.choose)
			t.Logf("%.0f %% lose a race", 100*share)
			if share > tt.most {
				t.Errorf("%.2f of the nodes lose a race, want at most %.2f", share, tt.most)
			}
		})
	}
}

// The price of not colliding: what is drawn is not emptier than what the strict order would come to soon.
func TestToleranceIsSmall(t *testing.T) {
	s := scattered("10.0.0.0/20", 60)
	used := func(b netip.Prefix) int { // addresses of a block that taking it does not change
		probe := s.Clone()
		probe.Take(vpc.PrefixBlock(b))
		return vpc.PrefixSize - (s.FreeAddrs() - probe.FreeAddrs())
	}
	strict := map[int]int{} // free addresses by fullness
	for a := netip.MustParseAddr("10.0.0.16"); a.Less(netip.MustParseAddr("10.0.15.240")); {
		b := netip.PrefixFrom(a, vpc.PrefixBits)
		n := used(b)
		strict[n] += vpc.PrefixSize - n
		for range vpc.PrefixSize {
			a = a.Next()
		}
	}
	soon, least := 0, 16
	for least > 0 && soon < 256 {
		least--
		soon += strict[least]
	}
	for i := range 50 {
		a := s.Addresses(1, fmt.Sprint("i-", i))[0]
		if b := netip.PrefixFrom(a, vpc.PrefixBits).Masked(); used(b) < least && b != netip.MustParsePrefix("10.0.0.0/28") && b != netip.MustParsePrefix("10.0.15.240/28") {
			t.Errorf("%s: %d are in use in its block, the next 256 addresses of the strict order are in blocks with %d and more", a, used(b), least)
		}
	}
}

// Churn of single addresses under one node's choice leaves whole blocks whole.
func TestSpaceDoesNotFragmentUnderChurn(t *testing.T) {
	s := space("10.0.0.0/22", "")
	dice := rand.New(rand.NewPCG(7, 7))
	var held []netip.Addr
	for i := range 4000 {
		if len(held) > 0 && (len(held) >= 500 || dice.IntN(5) < 2) {
			k := dice.IntN(len(held))
			s.Give(vpc.Single(held[k]))
			held = slices.Delete(held, k, k+1)
			continue
		}
		a := s.Primary(fmt.Sprint("i-", i%100))
		s.Take(vpc.Single(a))
		held = append(held, a)
	}
	if got := s.FreePrefixes(); got < 20 { // of 62; scattered at random, 500 of 1,019 addresses leave none
		t.Errorf("%d whole blocks left beside %d addresses in use, fragmentation %.2f", got, len(held), s.Fragmentation())
	}
}

func BenchmarkSpace(b *testing.B) {
	cidr := netip.MustParsePrefix("10.0.0.0/16")
	sn := vpc.Subnet{ID: "s", CIDR: cidr}
	dice := rand.New(rand.NewPCG(1, 2))
	var enis []vpc.ENI
	a := cidr.Addr()
	for range 15000 {
		e := vpc.ENI{Subnet: sn.ID}
		for range 3 {
			for range dice.IntN(2) {
				a = a.Next()
			}
			e.Secondary = append(e.Secondary, a)
			a = a.Next()
		}
		enis = append(enis, e)
	}
	full := subnet.NewSpace(sn, enis, nil, asked)
	empty := subnet.NewSpace(sn, nil, nil, asked)
	b.Run("build/16", func(b *testing.B) {
		for b.Loop() {
			subnet.NewSpace(sn, enis, nil, asked)
		}
	})
	b.Run("addresses", func(b *testing.B) {
		for b.Loop() {
			full.Addresses(9, "i-1")
		}
	})
	b.Run("prefixes", func(b *testing.B) {
		for b.Loop() {
			empty.Prefixes(2, "i-1")
		}
	})
	b.Run("reserve", func(b *testing.B) {
		for b.Loop() {
			empty.Reserve(256)
		}
	})
}

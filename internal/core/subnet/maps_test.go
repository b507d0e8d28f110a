package subnet_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/berth-net/berth/internal/core/subnet"
	"github.com/berth-net/berth/internal/core/vpc"
)

func TestNaming(t *testing.T) {
	const id = vpc.SubnetID("subnet-1")
	const brokenAll = "10.0.0.20 10.0.0.40" // of a /26, in which two blocks can be prefixes
	tests := []struct {
		name  string
		story func(z *subnet.Zone)
		after time.Duration
		want  subnet.Naming
	}{
		{"no map", func(*subnet.Zone) {}, 0, subnet.ByEC2},
		{"a map", func(z *subnet.Zone) { z.Map(id, space("10.0.0.0/24", "")) }, time.Minute, subnet.ByMap},
		{"an old map", func(z *subnet.Zone) { z.Map(id, space("10.0.0.0/24", "")) }, 11 * time.Minute, subnet.ByEC2},
		{"a map that hides too much", func(z *subnet.Zone) {
			z.Map(id, subnet.NewSpace(vpc.Subnet{ID: id, CIDR: netip.MustParsePrefix("10.0.0.0/24"), Free: 200}, nil, nil, asked))
		}, 0, subnet.ByEC2},
		{"a map that hides little", func(z *subnet.Zone) {
			z.Map(id, subnet.NewSpace(vpc.Subnet{ID: id, CIDR: netip.MustParsePrefix("10.0.0.0/24"), Free: 240}, nil, nil, asked))
		}, 0, subnet.ByMap},
		{"no whole block to protect", func(z *subnet.Zone) { z.Map(id, space("10.0.0.0/26", brokenAll)) }, 0, subnet.ByEC2},
		{"one whole block", func(z *subnet.Zone) { z.Map(id, space("10.0.0.0/26", "10.0.0.20")) }, 0, subnet.ByMap},
		{"no whole block, but a reservation that EC2 takes no single address from", func(z *subnet.Zone) {
			z.Map(id, space("10.0.0.0/26", brokenAll, forPrefixes("10.0.0.32/28")))
		}, 0, subnet.ByMap},
		{"the last whole block is taken", func(z *subnet.Zone) {
			z.Map(id, space("10.0.0.0/26", "10.0.0.20"))
			z.Taken(id, []vpc.Block{vpc.PrefixBlock(netip.MustParsePrefix("10.0.0.32/28"))})
		}, 0, subnet.ByEC2},
		{"and given back", func(z *subnet.Zone) {
			block := []vpc.Block{vpc.PrefixBlock(netip.MustParsePrefix("10.0.0.32/28"))}
			z.Map(id, space("10.0.0.0/26", "10.0.0.20"))
			z.Taken(id, block)
			z.Given(id, block)
		}, 0, subnet.ByMap},
		{"a lost race", func(z *subnet.Zone) {
			z.Map(id, space("10.0.0.0/24", ""))
			z.Lost(id, asked.Add(time.Second))
		}, 2 * time.Second, subnet.Reread},
		{"a lost race, long ago", func(z *subnet.Zone) {
			z.Map(id, space("10.0.0.0/24", ""))
			z.Lost(id, asked.Add(time.Second))
		}, time.Minute, subnet.ByMap},
		{"a lost race before the map", func(z *subnet.Zone) {
			z.Lost(id, asked.Add(-time.Second))
			z.Map(id, space("10.0.0.0/24", ""))
		}, time.Second, subnet.ByMap},
		{"two lost races", func(z *subnet.Zone) {
			z.Map(id, space("10.0.0.0/24", ""))
			z.Lost(id, asked.Add(time.Second))
			z.Lost(id, asked.Add(2*time.Second))
		}, 3 * time.Second, subnet.ByEC2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			z := subnet.NewZone(subnet.Rules{})
			tt.story(z)
			if got := z.Naming(id, asked.Add(tt.after)); got != tt.want {
				t.Errorf("%d, want %d", got, tt.want)
			}
		})
	}
}

// A plan chooses from a copy: what it takes there is not taken.
func TestCloneIsApart(t *testing.T) {
	s := space("10.0.0.0/24", "")
	c := s.Clone()
	for _, p := range c.Prefixes(14, "i-1") {
		c.Take(vpc.PrefixBlock(p))
	}
	c.Give(vpc.Single(netip.MustParseAddr("10.0.0.77")))
	if s.FreePrefixes() != 14 || s.FreeAddrs() != 251 || c.FreePrefixes() != 0 || c.FreeAddrs() != 28 {
		t.Errorf("%d and %d whole blocks, %d and %d addresses", s.FreePrefixes(), c.FreePrefixes(), s.FreeAddrs(), c.FreeAddrs())
	}
}

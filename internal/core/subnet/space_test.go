package subnet_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/berth-net/berth/internal/core/subnet"
	"github.com/berth-net/berth/internal/core/vpc"
)

var asked = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// space is the map of a subnet in which the given blocks are in use, and whose count EC2 tells truly.
func space(cidr, used string, reservations ...vpc.Reservation) *subnet.Space {
	sn := vpc.Subnet{ID: "subnet-1", CIDR: netip.MustParsePrefix(cidr)}
	var e vpc.ENI
	n := vpc.ReservedPerSubnet
	for text := range strings.FieldsSeq(used) {
		var b vpc.Block
		if err := b.UnmarshalText([]byte(text)); err != nil {
			panic(err)
		}
		n += b.Size()
		if b.IsPrefix() {
			e.Prefixes = append(e.Prefixes, b.CIDR())
		} else {
			e.Secondary = append(e.Secondary, b.First())
		}
	}
	e.Subnet = sn.ID
	sn.Free = 1<<(32-sn.CIDR.Bits()) - n
	return subnet.NewSpace(sn, []vpc.ENI{e}, reservations, asked)
}

func forPrefixes(cidr string) vpc.Reservation {
	return vpc.Reservation{CIDR: netip.MustParsePrefix(cidr), Type: vpc.ReservedForPrefixes}
}

func byName(cidr string) vpc.Reservation {
	return vpc.Reservation{CIDR: netip.MustParsePrefix(cidr), Type: vpc.ReservedExplicit}
}

func TestSpaceFigures(t *testing.T) {
	tests := []struct {
		name, cidr, used string
		reservations     []vpc.Reservation
		addrs, prefixes  int
		fragmentation    string
	}{
		{"empty /24: the first and the last block are no prefixes", "10.0.0.0/24", "", nil, 251, 14, "0.11"},
		{"/28 has no prefix", "10.0.0.0/28", "", nil, 11, 0, "1.00"},
		{"/27 neither", "10.0.0.32/27", "", nil, 27, 0, "1.00"},
		{"one address breaks a block", "10.0.0.0/26", "10.0.0.20", nil, 58, 1, "0.72"},
		{"a prefix takes sixteen", "10.0.0.0/26", "10.0.0.16/28", nil, 43, 1, "0.63"},
		{"full", "10.0.0.0/28", "10.0.0.4 10.0.0.5 10.0.0.6 10.0.0.7 10.0.0.8 10.0.0.9 10.0.0.10 10.0.0.11 10.0.0.12 10.0.0.13 10.0.0.14", nil, 0, 0, "0.00"},
		{"reserved for prefixes is free", "10.0.0.0/24", "", []vpc.Reservation{forPrefixes("10.0.0.128/25")}, 251, 14, "0.11"},
		{"explicit is not", "10.0.0.0/24", "", []vpc.Reservation{byName("10.0.0.128/25")}, 124, 7, "0.10"},
		{"part of a block", "10.0.0.0/24", "", []vpc.Reservation{byName("10.0.0.64/29"), forPrefixes("10.0.0.80/29")}, 243, 12, "0.21"},
		{"of another subnet", "10.0.0.0/24", "10.0.1.7 10.0.1.16/28", []vpc.Reservation{byName("10.0.1.0/25")}, 251, 14, "0.11"},
		{"the whole subnet", "10.0.0.0/24", "", []vpc.Reservation{byName("10.0.0.0/24")}, 0, 0, "0.00"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := space(tt.cidr, tt.used, tt.reservations...)
			if a, p, f := s.FreeAddrs(), s.FreePrefixes(), fmt.Sprintf("%.2f", s.Fragmentation()); a != tt.addrs || p != tt.prefixes || f != tt.fragmentation {
				t.Errorf("%d addresses, %d prefixes, fragmentation %s; want %d, %d, %s", a, p, f, tt.addrs, tt.prefixes, tt.fragmentation)
			}
		})
	}
}

func TestSpaceWithoutIPv4HasNoRoom(t *testing.T) {
	for _, cidr := range []netip.Prefix{{}, netip.MustParsePrefix("2001:db8::/64"), netip.MustParsePrefix("10.0.0.0/29")} {
		s := subnet.NewSpace(vpc.Subnet{CIDR: cidr}, nil, nil, asked)
		s.Take(vpc.Single(netip.MustParseAddr("10.0.0.4")))
		s.Give(vpc.Single(netip.MustParseAddr("10.0.0.4")))
		if a, p := s.Addresses(3, "i-1"), s.Prefixes(3, "i-1"); len(a)+len(p)+s.FreeAddrs()+s.FreePrefixes() != 0 || s.Primary("i-1").IsValid() || s.Reserve(1).IsValid() || !s.Exact() {
			t.Errorf("%v: %v %v", cidr, a, p)
		}
	}
}

// In a shared subnet the interfaces of other accounts are not listed: only EC2's count tells of them.
func TestSpaceKnowsWhatItDoesNotShow(t *testing.T) {
	sn := vpc.Subnet{ID: "subnet-1", CIDR: netip.MustParsePrefix("10.0.0.0/24"), Free: 240}
	mine := vpc.ENI{Subnet: sn.ID, Primary: netip.MustParseAddr("10.0.0.9")}
	if s := subnet.NewSpace(sn, []vpc.ENI{mine}, nil, asked); s.Exact() || s.Hidden() != 10 || !s.At().Equal(asked) {
		t.Errorf("exact %v, %d hidden", s.Exact(), s.Hidden())
	}
	sn.Free = 250
	if s := subnet.NewSpace(sn, []vpc.ENI{mine}, nil, asked); !s.Exact() || s.Hidden() != 0 {
		t.Errorf("exact %v, %d hidden", s.Exact(), s.Hidden())
	}
	sn.Free = 251 // the count lags behind the interfaces: the map knows more
	if s := subnet.NewSpace(sn, []vpc.ENI{mine}, nil, asked); !s.Exact() {
		t.Error("a count that lags makes the map inexact")
	}
}

func TestSpaceChoices(t *testing.T) {
	const fillFirst = "10.0.0.4 10.0.0.5 10.0.0.6 10.0.0.7 10.0.0.8 10.0.0.9 10.0.0.10 10.0.0.11 10.0.0.12 10.0.0.13 10.0.0.14 10.0.0.15"
	const fillLast = "10.0.0.48 10.0.0.49 10.0.0.50 10.0.0.51 10.0.0.52 10.0.0.53 10.0.0.54 10.0.0.55 10.0.0.56 10.0.0.57 10.0.0.58 10.0.0.59 10.0.0.60 10.0.0.61 10.0.0.62"
	tests := []struct {
		name, used   string
		reservations []vpc.Reservation
		singles      int
		in           []string // where single addresses come from, in any order
		prefixes     int
		wantPrefixes []string
	}{
		{"blocks that are no prefixes come first", "", nil, 20, []string{"10.0.0.0/28", "10.0.0.48/28"}, 2, []string{"10.0.0.16/28", "10.0.0.32/28"}},
		{"a whole block is broken last", fillFirst + " 10.0.0.20", nil, 30, []string{"10.0.0.48/28", "10.0.0.16/28"}, 1, []string{"10.0.0.32/28"}},
		{"and then it is", fillFirst + " " + fillLast, nil, 3, []string{"10.0.0.16/28", "10.0.0.32/28"}, 2, []string{"10.0.0.16/28", "10.0.0.32/28"}},
		{
			"prefixes come from reservations, single addresses do not", fillFirst + " " + fillLast,
			[]vpc.Reservation{forPrefixes("10.0.0.32/28")},
			16,
			[]string{"10.0.0.16/28"},
			1,
			[]string{"10.0.0.32/28"},
		},
		{
			"unless nothing else is left", fillFirst + " " + fillLast + " 10.0.0.16/28",
			[]vpc.Reservation{forPrefixes("10.0.0.32/28")},
			16,
			[]string{"10.0.0.32/28"},
			1,
			[]string{"10.0.0.32/28"},
		},
		{
			"nothing comes from explicit ones", fillFirst + " " + fillLast + " 10.0.0.16/28",
			[]vpc.Reservation{byName("10.0.0.32/28")},
			0, nil, 0, nil,
		},
		{
			"nor from beside a part of one as a prefix", fillFirst + " " + fillLast + " 10.0.0.16/28",
			[]vpc.Reservation{byName("10.0.0.32/29")},
			8,
			[]string{"10.0.0.40/29"},
			0, nil,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := space("10.0.0.0/26", tt.used, tt.reservations...)
			for seed := range 20 {
				seed := fmt.Sprint("i-", seed)
				got := s.Addresses(max(tt.singles, 1), seed)
				if len(got) != tt.singles {
					t.Fatalf("%d addresses, want %d", len(got), tt.singles)
				}
				for _, a := range got {
					if !slices.ContainsFunc(tt.in, func(p string) bool { return netip.MustParsePrefix(p).Contains(a) }) {
						t.Errorf("%s is in none of %v", a, tt.in)
					}
				}
				var prefixes []string
				for _, p := range s.Prefixes(max(tt.prefixes, 1), seed) {
					prefixes = append(prefixes, p.String())
				}
				slices.Sort(prefixes)
				if diff := cmp.Diff(tt.wantPrefixes, prefixes); diff != "" {
					t.Error(diff)
				}
			}
		})
	}
}

// Large runs stay for reservations: a lone node breaks the smallest ones.
func TestSpaceKeepsLargeRunsWhole(t *testing.T) {
	s := space("10.0.0.0/20", "")
	for range 50 {
		p := s.Prefixes(1, "i-1")[0]
		s.Take(vpc.PrefixBlock(p))
	}
	r, whole := s.Reserve(64), 0
	for _, p := range s.Prefixes(256, "i-2") {
		if r.Contains(p.Addr()) {
			whole++
		}
	}
	if r.Bits() != 22 || whole != 64 {
		t.Errorf("after 50 of 254 prefixes the best range is %v with %d whole blocks", r, whole)
	}
}

func TestSpaceReserve(t *testing.T) {
	tests := []struct {
		name, used   string
		reservations []vpc.Reservation
		n            int
		want         string
	}{
		{"the lowest of equals", "", nil, 4, "10.0.0.64/26"},
		{"a power of two", "", nil, 3, "10.0.0.64/26"},
		{"one", "", nil, 1, "10.0.0.16/28"},
		{"the emptiest", "10.0.0.64 10.0.0.80 10.0.0.130", nil, 4, "10.0.0.128/26"},
		{"fewest used of equals", "10.0.0.16/28 10.0.0.32 10.0.0.144/28 10.0.0.160 10.0.0.161 10.0.0.64/28 10.0.0.80/28 10.0.0.208/28 10.0.0.224/28", nil, 4, "10.0.0.128/26"},
		{"not over another reservation", "", []vpc.Reservation{forPrefixes("10.0.0.64/28"), byName("10.0.0.136/32")}, 4, "10.0.0.192/26"},
		{"half of the subnet", "10.0.0.16", nil, 8, "10.0.0.128/25"},
		{"all of it", "", nil, 16, "10.0.0.0/24"},
		{"more than it has", "", nil, 17, ""},
		{"none", "", nil, 0, ""},
		{"all reserved", "", []vpc.Reservation{forPrefixes("10.0.0.0/24")}, 1, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := space("10.0.0.0/24", tt.used, tt.reservations...).Reserve(tt.n)
			if want, _ := netip.ParsePrefix(tt.want); got != want {
				t.Errorf("%v, want %v", got, want)
			}
		})
	}
}

// model is a subnet without any cleverness.
type model struct {
	cidr              netip.Prefix
	used              map[netip.Addr]bool
	prefix, forbidden []netip.Prefix
}

func (m model) addrs(p netip.Prefix) (list []netip.Addr) {
	for a := p.Masked().Addr(); p.Contains(a); a = a.Next() {
		list = append(list, a)
	}
	return list
}

func (m model) blocks() (list []netip.Prefix) {
	for a := m.cidr.Addr(); m.cidr.Contains(a); {
		list = append(list, netip.PrefixFrom(a, vpc.PrefixBits))
		for range vpc.PrefixSize {
			a = a.Next()
		}
	}
	return list
}

func within(list []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(a) })
}

func (m model) free(a netip.Addr) bool {
	return m.cidr.Contains(a) && !m.used[a] && !vpc.Reserved(m.cidr, a) && !within(m.forbidden, a)
}

// class tells whether a block is wholly free, could be a prefix, and lies in a reservation for prefixes.
func (m model) class(p netip.Prefix) (whole, possible, reserved bool) {
	whole, possible = true, true
	set := 0
	for _, a := range m.addrs(p) {
		whole = whole && m.free(a)
		possible = possible && !vpc.Reserved(m.cidr, a) && !within(m.forbidden, a)
		if within(m.prefix, a) {
			set++
		}
	}
	possible = possible && (set == 0 || set == vpc.PrefixSize)
	return whole && possible, possible, set == vpc.PrefixSize
}

// drawWorld makes a subnet in two forms.
func drawWorld(t *rapid.T) (model, *subnet.Space) {
	m := model{cidr: netip.MustParsePrefix(rapid.SampledFrom([]string{"10.0.0.0/28", "10.0.0.32/27", "10.0.0.0/26", "10.0.1.0/24", "10.0.16.0/22"}).Draw(t, "cidr")), used: map[netip.Addr]bool{}}
	all := m.addrs(m.cidr)
	sn := vpc.Subnet{ID: "s", CIDR: m.cidr}
	var e vpc.ENI
	e.Subnet = sn.ID
	share := rapid.IntRange(0, 100).Draw(t, "share used")
	dice := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "dice"), 1))
	for _, a := range all {
		if !vpc.Reserved(m.cidr, a) && dice.IntN(100) < share && dice.IntN(2) == 0 {
			m.used[a], e.Secondary = true, append(e.Secondary, a)
		}
	}
	for _, b := range m.blocks() {
		if whole, _, _ := m.class(b); whole && dice.IntN(100) < share {
			e.Prefixes = append(e.Prefixes, b)
			for _, a := range m.addrs(b) {
				m.used[a] = true
			}
		}
	}
	var reservations []vpc.Reservation
	for range rapid.IntRange(0, 4).Draw(t, "reservations") {
		bits := rapid.IntRange(m.cidr.Bits()+1, 31).Draw(t, "bits")
		p := netip.PrefixFrom(rapid.SampledFrom(all).Draw(t, "at"), bits).Masked()
		if slices.ContainsFunc(reservations, func(r vpc.Reservation) bool { return r.CIDR.Overlaps(p) }) {
			continue
		}
		r := vpc.Reservation{CIDR: p, Type: vpc.ReservedForPrefixes}
		if rapid.Bool().Draw(t, "explicit") {
			r.Type, m.forbidden = vpc.ReservedExplicit, append(m.forbidden, p)
		} else {
			m.prefix = append(m.prefix, p)
		}
		reservations = append(reservations, r)
	}
	sn.Free = len(all) - vpc.ReservedPerSubnet - len(m.used)
	s := subnet.NewSpace(sn, []vpc.ENI{e}, reservations, asked)
	if !s.Exact() {
		t.Fatal("the map hides something")
	}
	return m, s
}

func (m model) figures() (addrs, prefixes int) {
	for _, a := range m.addrs(m.cidr) {
		if m.free(a) {
			addrs++
		}
	}
	for _, b := range m.blocks() {
		if whole, _, _ := m.class(b); whole {
			prefixes++
		}
	}
	return addrs, prefixes
}

func TestSpaceIsTheNaiveModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m, s := drawWorld(t)
		check := func() {
			a, p := m.figures()
			if s.FreeAddrs() != a || s.FreePrefixes() != p {
				t.Fatalf("%d addresses, %d prefixes; want %d, %d", s.FreeAddrs(), s.FreePrefixes(), a, p)
			}
		}
		check()
		seed := rapid.SampledFrom([]string{"i-1", "i-2", "i-0123456789abcdef0"}).Draw(t, "seed")
		t.Repeat(map[string]func(*rapid.T){
			"": func(t *rapid.T) { check() },
			"addresses": func(t *rapid.T) {
				got := checkAddresses(t, m, s, rapid.IntRange(1, 40).Draw(t, "n"), seed)
				for _, a := range got {
					s.Take(vpc.Single(a))
					m.used[a] = true
				}
			},
			"prefixes": func(t *rapid.T) {
				for _, p := range checkPrefixes(t, m, s, rapid.IntRange(1, 6).Draw(t, "n"), seed) {
					s.Take(vpc.PrefixBlock(p))
					for _, a := range m.addrs(p) {
						m.used[a] = true
					}
				}
			},
			"give": func(t *rapid.T) {
				b := vpc.Single(rapid.SampledFrom(m.addrs(m.cidr)).Draw(t, "addr"))
				if rapid.Bool().Draw(t, "whole block") {
					b = vpc.PrefixBlock(netip.PrefixFrom(b.First(), vpc.PrefixBits))
				}
				s.Give(b)
				s.Give(b) // twice is once
				for _, a := range b.Addrs() {
					delete(m.used, a)
				}
			},
			"take": func(t *rapid.T) {
				a := rapid.SampledFrom(m.addrs(m.cidr)).Draw(t, "addr")
				s.Take(vpc.Single(a))
				s.Take(vpc.Single(a))
				m.used[a] = true
			},
		})
	})
}

// checkAddresses asks for addresses and holds what must be true of any choice.
func checkAddresses(t *rapid.T, m model, s *subnet.Space, n int, seed string) []netip.Addr {
	got := s.Addresses(n, seed)
	if diff := cmp.Diff(got, s.Addresses(n, seed), cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Fatalf("two answers:\n%s", diff)
	}
	free, _ := m.figures()
	if len(got) != min(n, free) {
		t.Fatalf("%d addresses of %d free for %d", len(got), free, n)
	}
	seen := map[netip.Addr]bool{}
	inPrefixes, openLeft, broke, brokenLeft := 0, 0, 0, 0
	for _, a := range got {
		if !m.free(a) || seen[a] {
			t.Fatalf("%s is not free, or chosen twice", a)
		}
		seen[a] = true
		if within(m.prefix, a) {
			inPrefixes++
		} else if whole, _, _ := m.class(netip.PrefixFrom(a, vpc.PrefixBits).Masked()); whole {
			broke++
		}
	}
	for _, a := range m.addrs(m.cidr) {
		if !m.free(a) || seen[a] || within(m.prefix, a) {
			continue
		}
		openLeft++
		if whole, _, _ := m.class(netip.PrefixFrom(a, vpc.PrefixBits).Masked()); !whole {
			brokenLeft++
		}
	}
	if inPrefixes > 0 && openLeft > 0 {
		t.Fatalf("%d addresses in reservations for prefixes, with %d free outside", inPrefixes, openLeft)
	}
	if broke > 0 && brokenLeft > 0 {
		t.Fatalf("%d addresses break whole blocks, with %d free in broken ones", broke, brokenLeft)
	}
	return got
}

func checkPrefixes(t *rapid.T, m model, s *subnet.Space, n int, seed string) []netip.Prefix {
	got := s.Prefixes(n, seed)
	_, free := m.figures()
	if len(got) != min(n, free) {
		t.Fatalf("%d prefixes of %d free for %d", len(got), free, n)
	}
	outside, reservedLeft := 0, 0
	for i, p := range got {
		whole, _, reserved := m.class(p)
		if !whole || slices.Contains(got[:i], p) || p != p.Masked() {
			t.Fatalf("%s is not whole, or chosen twice", p)
		}
		if !reserved {
			outside++
		}
	}
	for _, p := range m.blocks() {
		if whole, _, reserved := m.class(p); whole && reserved && !slices.Contains(got, p) {
			reservedLeft++
		}
	}
	if outside > 0 && reservedLeft > 0 {
		t.Fatalf("%d prefixes outside of reservations, with %d free inside", outside, reservedLeft)
	}
	return got
}

func TestReserveIsTheEmptiestRange(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m, s := drawWorld(t)
		n := rapid.IntRange(1, 64).Draw(t, "n")
		got := s.Reserve(n)
		whole := func(p netip.Prefix) (n int, touched bool) {
			for _, b := range m.blocks() {
				if !p.Contains(b.Addr()) {
					continue
				}
				used := false
				for _, a := range m.addrs(b) {
					used = used || m.used[a] || vpc.Reserved(m.cidr, a)
					touched = touched || within(m.prefix, a) || within(m.forbidden, a)
				}
				if !used {
					n++
				}
			}
			return n, touched
		}
		bits := vpc.PrefixBits
		for size := 1; size < n; size *= 2 {
			bits--
		}
		most := 0
		for _, b := range m.blocks() {
			if p := netip.PrefixFrom(b.Addr(), bits).Masked(); m.cidr.Bits() <= bits {
				if n, touched := whole(p); !touched {
					most = max(most, n)
				}
			}
		}
		if most == 0 {
			if got.IsValid() {
				t.Fatalf("%s, though no range has a whole block", got)
			}
			return
		}
		if n, touched := whole(got); n != most || touched || got.Bits() != bits {
			t.Fatalf("%s has %d whole blocks, another %d", got, n, most)
		}
	})
}

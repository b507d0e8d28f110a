package addressing

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func choice(seed uint64) Choice {
	return Choice{Rand: rand.New(rand.NewPCG(seed, 1)), Now: start}
}

func TestNew(t *testing.T) {
	tests := []struct {
		cidr         string
		free, blocks int
	}{
		{"10.0.0.0/16", 65531, 4094},
		{"10.0.0.0/24", 251, 14},
		{"10.0.0.32/27", 27, 0},
		{"10.0.0.64/26", 59, 2},
		{"10.0.0.16/28", 11, 0},
	}
	for _, tt := range tests {
		m := New(netip.MustParsePrefix(tt.cidr))
		if m.Free() != tt.free || m.FreeBlocks() != tt.blocks {
			t.Errorf("%s: %d free, %d blocks; want %d, %d", tt.cidr, m.Free(), m.FreeBlocks(), tt.free, tt.blocks)
		}
		got, err := m.Assign("eni-1", tt.free, choice(1))
		if err != nil || len(got) != tt.free || m.Free() != 0 {
			t.Errorf("%s: fill: %v, %d assigned, %d left", tt.cidr, err, len(got), m.Free())
		}
		if _, err := m.Assign("eni-1", 1, choice(1)); !errors.Is(err, ErrFull) {
			t.Errorf("%s: one more: %v", tt.cidr, err)
		}
	}
}

func TestTake(t *testing.T) {
	m := New(netip.MustParsePrefix("10.0.0.0/24"))
	must(t, m.Take(netip.MustParseAddr("10.0.0.20"), "eni-1"))
	must(t, m.TakePrefix(netip.MustParsePrefix("10.0.0.32/28"), "eni-1"))
	tests := []struct {
		name, addr, prefix string
		want               error
	}{
		{name: "network address", addr: "10.0.0.0", want: ErrReserved},
		{name: "last of the first four", addr: "10.0.0.3", want: ErrReserved},
		{name: "broadcast", addr: "10.0.0.255", want: ErrReserved},
		{name: "outside", addr: "10.0.1.4", want: ErrOutside},
		{name: "assigned", addr: "10.0.0.20", want: ErrInUse},
		{name: "inside a prefix", addr: "10.0.0.47", want: ErrInUse},
		{name: "free", addr: "10.0.0.4"},
		{name: "first block", prefix: "10.0.0.0/28", want: ErrReserved},
		{name: "last block", prefix: "10.0.0.240/28", want: ErrReserved},
		{name: "broken block", prefix: "10.0.0.16/28", want: ErrInUse},
		{name: "delegated block", prefix: "10.0.0.32/28", want: ErrInUse},
		{name: "unaligned", prefix: "10.0.0.56/28", want: ErrOutside},
		{name: "wrong length", prefix: "10.0.0.64/27", want: ErrOutside},
		{name: "whole block", prefix: "10.0.0.48/28"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var err error
			if tt.addr != "" {
				err = m.Take(netip.MustParseAddr(tt.addr), "eni-2")
			} else {
				err = m.TakePrefix(netip.MustParsePrefix(tt.prefix), "eni-2")
			}
			if !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
}

func TestPrefixExhaustion(t *testing.T) {
	m := New(netip.MustParsePrefix("10.0.0.0/26"))
	must(t, m.Take(netip.MustParseAddr("10.0.0.17"), "eni-1")) // breaks one of two blocks
	if _, err := m.AssignPrefixes("eni-1", 2, choice(1)); !errors.Is(err, ErrFragmented) {
		t.Errorf("two prefixes: %v, want %v", err, ErrFragmented)
	}
	got, err := m.AssignPrefixes("eni-1", 1, choice(1))
	if err != nil || got[0] != netip.MustParsePrefix("10.0.0.32/28") {
		t.Errorf("one prefix: %v %v", got, err)
	}
	if _, err := m.AssignPrefixes("eni-1", 3, choice(1)); !errors.Is(err, ErrFull) {
		t.Errorf("three prefixes in %d addresses: %v, want %v", m.Free(), err, ErrFull)
	}
}

func TestFreedAddressesComeLast(t *testing.T) {
	m := New(netip.MustParsePrefix("10.0.0.0/28")) // 11 addresses
	c := choice(3)
	first, err := m.Assign("eni-1", 4, c)
	must(t, err)
	for _, a := range first {
		must(t, m.Release(a, "eni-1", c.Now))
		c.Now = c.Now.Add(time.Second)
	}
	rest, err := m.Assign("eni-2", 7, c)
	must(t, err)
	for _, a := range rest {
		for _, f := range first {
			if a == f {
				t.Fatalf("%s was freed just now but chosen while others were free", a)
			}
		}
	}
	again, err := m.Assign("eni-3", 4, c)
	must(t, err)
	if diff := cmp.Diff(fmt.Sprint(first), fmt.Sprint(again)); diff != "" {
		t.Errorf("not in the order of freeing: %s", diff)
	}
}

func TestQuarantine(t *testing.T) {
	m := New(netip.MustParsePrefix("10.0.0.0/28"))
	c := choice(3)
	c.Quarantine = time.Minute
	all, err := m.Assign("eni-1", 11, c)
	must(t, err)
	must(t, m.Release(all[5], "eni-1", c.Now))
	c.Now = c.Now.Add(59 * time.Second)
	if _, err := m.Assign("eni-1", 1, c); !errors.Is(err, ErrFull) {
		t.Errorf("within quarantine: %v", err)
	}
	c.Now = c.Now.Add(time.Second)
	if got, err := m.Assign("eni-1", 1, c); err != nil || got[0] != all[5] {
		t.Errorf("after quarantine: %v %v", got, err)
	}
}

func TestReservations(t *testing.T) {
	m := New(netip.MustParsePrefix("10.0.0.0/24"))
	must(t, m.Reserve(Reservation{ID: "scr-1", CIDR: netip.MustParsePrefix("10.0.0.64/27"), Kind: KindPrefix}))
	must(t, m.Reserve(Reservation{ID: "scr-2", CIDR: netip.MustParsePrefix("10.0.0.128/25"), Kind: KindExplicit}))
	if err := m.Reserve(Reservation{ID: "scr-3", CIDR: netip.MustParsePrefix("10.0.0.64/28")}); !errors.Is(err, ErrOverlap) {
		t.Errorf("overlap: %v", err)
	}
	if err := m.Reserve(Reservation{ID: "scr-3", CIDR: netip.MustParsePrefix("10.0.1.0/28")}); !errors.Is(err, ErrOutside) {
		t.Errorf("outside: %v", err)
	}
	if m.Free() != 251 {
		t.Errorf("reservations changed the free count: %d", m.Free())
	}
	ps, err := m.AssignPrefixes("eni-1", 2, choice(5))
	must(t, err)
	for _, p := range ps {
		if !netip.MustParsePrefix("10.0.0.64/27").Contains(p.Addr()) {
			t.Errorf("prefix %s does not come from the reservation", p)
		}
	}
	ps, err = m.AssignPrefixes("eni-1", 5, choice(5)) // .16 .32 .48 .96 .112
	must(t, err)
	for _, p := range ps {
		if netip.MustParsePrefix("10.0.0.128/25").Contains(p.Addr()) {
			t.Errorf("prefix %s comes from an explicit reservation", p)
		}
	}
	if _, err := m.AssignPrefixes("eni-1", 1, choice(5)); !errors.Is(err, ErrFragmented) {
		t.Errorf("only explicit blocks left: %v", err)
	}
	if _, err := m.Assign("eni-1", 13, choice(5)); !errors.Is(err, ErrFull) { // 12 in the first block
		t.Errorf("only reserved addresses left: %v", err)
	}
	must(t, m.Take(netip.MustParseAddr("10.0.0.200"), "eni-1"))
	if !m.Unreserve("scr-2") || m.Unreserve("scr-2") {
		t.Error("unreserve: wrong answer")
	}
	if _, err := m.AssignPrefixes("eni-1", 6, choice(5)); err != nil {
		t.Errorf("after unreserve: %v", err)
	}
}

// TestMapProperties drives a map at random and holds it against a plain model.
func TestMapProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cidr := netip.PrefixFrom(netip.MustParseAddr("10.1.0.0"), rapid.IntRange(23, 28).Draw(t, "bits"))
		m := &model{Map: New(cidr), owners: map[netip.Addr]string{}, prefixes: map[netip.Prefix]string{}}
		m.total, m.choice = m.Free(), choice(rapid.Uint64().Draw(t, "seed"))
		m.choice.Sequential = rapid.Bool().Draw(t, "sequential")
		t.Repeat(map[string]func(*rapid.T){
			"assign": m.assign, "prefix": m.assignPrefix, "release": m.release, "reload": m.reload, "": m.check,
		})
	})
}

// model is a map with a plain account of what was assigned.
type model struct {
	*Map
	total    int
	choice   Choice
	owners   map[netip.Addr]string
	prefixes map[netip.Prefix]string
}

var owner = rapid.SampledFrom([]string{"eni-1", "eni-2", "eni-3"})

func (m *model) assign(t *rapid.T) {
	who, n := owner.Draw(t, "owner"), rapid.IntRange(1, 20).Draw(t, "n")
	free := m.Free()
	got, err := m.Assign(who, n, m.choice)
	if (err != nil) != (free < n) {
		t.Fatalf("assign %d of %d: %v", n, free, err)
	}
	for _, a := range got {
		if m.owners[a] != "" {
			t.Fatalf("%s assigned twice", a)
		}
		for p := range m.prefixes {
			if p.Contains(a) {
				t.Fatalf("%s is within the delegated %s", a, p)
			}
		}
		m.owners[a] = who
	}
}

func (m *model) assignPrefix(t *rapid.T) {
	who, n := owner.Draw(t, "owner"), rapid.IntRange(1, 3).Draw(t, "n")
	blocks := m.FreeBlocks()
	got, err := m.AssignPrefixes(who, n, m.choice)
	if (err != nil) != (blocks < n) {
		t.Fatalf("assign %d of %d blocks: %v", n, blocks, err)
	}
	for _, p := range got {
		if p != p.Masked() || p.Bits() != 28 || m.prefixes[p] != "" {
			t.Fatalf("prefix %s is not an aligned /28 or assigned twice", p)
		}
		for a := range m.owners {
			if p.Contains(a) {
				t.Fatalf("prefix %s contains the assigned %s", p, a)
			}
		}
		m.prefixes[p] = who
	}
}

// release frees one address and one prefix.
func (m *model) release(t *rapid.T) {
	for a, who := range m.owners {
		if err := m.Release(a, who+"x", m.choice.Now); err == nil {
			t.Fatal("released for a stranger")
		}
		must(t, m.Release(a, who, m.choice.Now))
		delete(m.owners, a)
		break
	}
	for p, who := range m.prefixes {
		must(t, m.ReleasePrefix(p, who, m.choice.Now))
		delete(m.prefixes, p)
		break
	}
	m.choice.Now = m.choice.Now.Add(time.Second)
}

func (m *model) reload(t *rapid.T) {
	data, err := json.Marshal(m.Map)
	must(t, err)
	m.Map = new(Map)
	must(t, json.Unmarshal(data, m.Map))
}

func (m *model) check(t *rapid.T) {
	if want := m.total - len(m.owners) - 16*len(m.prefixes); m.Free() != want {
		t.Fatalf("%d free, want %d", m.Free(), want)
	}
	for a, who := range m.owners {
		if got, ok := m.Owner(a); !ok || got != who {
			t.Fatalf("owner of %s: %q, want %q", a, got, who)
		}
	}
}

func TestV6(t *testing.T) {
	v := NewV6(netip.MustParsePrefix("2600:1f14:1:100::/64"))
	rng := rand.New(rand.NewPCG(1, 1))
	seen := map[netip.Addr]bool{}
	for range 100 {
		a := v.Assign("eni-1", rng)
		if seen[a] || !v.CIDR().Contains(a) {
			t.Fatalf("bad address %s", a)
		}
		seen[a] = true
	}
	p := v.AssignPrefix("eni-1", rng)
	if err := v.Take(p.Addr().Next(), "eni-2"); !errors.Is(err, ErrInUse) {
		t.Errorf("address within a prefix: %v", err)
	}
	data, err := json.Marshal(v)
	must(t, err)
	var again V6
	must(t, json.Unmarshal(data, &again))
	if err := again.ReleasePrefix(p, "eni-2"); !errors.Is(err, ErrNotOwner) {
		t.Errorf("release for a stranger: %v", err)
	}
	must(t, again.ReleasePrefix(p, "eni-1"))
	for a := range seen {
		must(t, again.Release(a, "eni-1"))
	}
	if !again.Empty() {
		t.Error("not empty after releasing everything")
	}
}

func must(t interface {
	Helper()
	Fatal(...any)
}, err error,
) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func BenchmarkAssign(b *testing.B) {
	m := New(netip.MustParsePrefix("10.0.0.0/19"))
	c := choice(1)
	for b.Loop() {
		got, err := m.Assign("eni-1", 9, c)
		if err != nil {
			b.Fatal(err)
		}
		for _, a := range got {
			must(b, m.Release(a, "eni-1", c.Now))
		}
	}
}

package names_test

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/berth-net/berth/internal/core/policy"
	"github.com/berth-net/berth/internal/core/policy/names"
)

var began = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func text(addrs []netip.Addr) string { return fmt.Sprint(addrs) }

func TestAnswersOfOneNameAddUp(t *testing.T) {
	b := names.New(names.Limits{Floor: time.Minute, PerName: 10, Total: 100})
	b.Want([]string{"example.com", "*.example.org"})
	learn := func(at, ttl time.Duration, name, a string) []string {
		return b.Learn(names.Answer{Names: []string{name}, Addrs: []netip.Addr{addr(a)}, TTL: ttl}, began.Add(at))
	}
	if got := learn(0, 5*time.Second, "example.com", "192.0.2.1"); !slices.Equal(got, []string{"example.com"}) {
		t.Errorf("changed %v", got)
	}
	if got := learn(0, 5*time.Second, "example.com", "192.0.2.1"); len(got) != 0 {
		t.Errorf("the same again changes %v", got)
	}
	learn(30*time.Second, time.Hour, "example.com", "192.0.2.2")
	learn(0, time.Hour, "other.com", "192.0.2.3")
	learn(0, time.Hour, "example.org", "192.0.2.4")
	learn(0, time.Hour, "a.b.example.org", "192.0.2.5")
	for name, want := range map[string]string{
		"example.com": "[192.0.2.1 192.0.2.2]", "other.com": "[]", "example.org": "[]", "a.b.example.org": "[192.0.2.5]",
	} {
		if got := text(b.Addrs(name)); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	if got := text(b.Expired(began.Add(59 * time.Second))); got != "[]" {
		t.Errorf("before the floor %s has expired", got)
	}
	if got := text(b.Expired(began.Add(time.Minute))); got != "[192.0.2.1]" {
		t.Errorf("expired %s", got)
	}
	if got := b.Expire(began.Add(time.Minute), map[netip.Addr]bool{addr("192.0.2.1"): true}); len(got) != 0 {
		t.Errorf("what somebody talks to has gone: %v", got)
	}
	if got := b.Expire(began.Add(2*time.Minute), nil); !slices.Equal(got, []string{"example.com"}) || text(b.Addrs("example.com")) != "[192.0.2.2]" {
		t.Errorf("changed %v, left %v", got, b.Addrs("example.com"))
	}
	if got := b.Want([]string{"example.com"}); !slices.Equal(got, []string{"a.b.example.org"}) || b.Len() != 1 {
		t.Errorf("without its policy %v changed, %d addresses are left", got, b.Len())
	}
}

func TestAliasesHaveTheAddresses(t *testing.T) {
	b := names.New(names.DefaultLimits())
	b.Want([]string{"edge.example.net", "www.example.com"})
	got := b.Learn(names.Answer{Names: []string{"www.example.com", "x.example.com", "edge.example.net"}, Addrs: []netip.Addr{addr("::ffff:192.0.2.1")}}, began)
	if !slices.Equal(got, []string{"edge.example.net", "www.example.com"}) || text(b.Addrs("www.example.com")) != "[192.0.2.1]" {
		t.Errorf("changed %v, %v", got, b.Addrs("www.example.com"))
	}
}

func TestFullBookForgetsWhatExpiresFirst(t *testing.T) {
	b := names.New(names.Limits{Floor: time.Second, PerName: 2, Total: 3})
	b.Want([]string{"*.a"})
	for i, a := range []struct{ name, addr string }{{"x.a", "192.0.2.1"}, {"x.a", "192.0.2.2"}, {"x.a", "192.0.2.3"}, {"y.a", "192.0.2.4"}, {"z.a", "192.0.2.5"}} {
		b.Learn(names.Answer{Names: []string{a.name}, Addrs: []netip.Addr{addr(a.addr)}, TTL: time.Duration(i+2) * time.Second}, began)
	}
	var got []string
	for _, r := range b.Records() {
		got = append(got, r.Name+" "+r.Addr.String())
	}
	if diff := cmp.Diff([]string{"x.a 192.0.2.3", "y.a 192.0.2.4", "z.a 192.0.2.5"}, got); diff != "" || b.Evicted() != 2 || b.Len() != 3 {
		t.Errorf("-want +got:\n%s\n%d evicted of %d", diff, b.Evicted(), b.Len())
	}
}

// TestBookIsWhatWasLearnt follows a book beside a list of all answers.
func TestBookIsWhatWasLearnt(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := names.New(names.Limits{Floor: 10 * time.Second, PerName: 50, Total: 500})
		domains := []string{"a.com", "*.b.com"}
		b.Want(domains)
		type entry struct {
			name  string
			addr  netip.Addr
			until time.Time
		}
		var all []entry
		now := began
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 8).Draw(t, "seconds")) * time.Second)
			b.Expire(now, nil)
			if rapid.IntRange(0, 5).Draw(t, "restart") == 0 {
				records := b.Records()
				b = names.New(names.Limits{Floor: 10 * time.Second, PerName: 50, Total: 500})
				b.Want(domains)
				b.Restore(records, now)
				for i, e := range all {
					if least := now.Add(10 * time.Second); e.until.After(now) && e.until.Before(least) {
						all[i].until = least
					}
				}
			}
			name := rapid.SampledFrom([]string{"a.com", "x.b.com", "b.com", "y.x.b.com"}).Draw(t, "name")
			a := netip.AddrFrom4([4]byte{192, 0, 2, rapid.Byte().Draw(t, "addr") % 8})
			ttl := time.Duration(rapid.IntRange(0, 30).Draw(t, "ttl")) * time.Second
			b.Learn(names.Answer{Names: []string{name}, Addrs: []netip.Addr{a}, TTL: ttl}, now)
			if slices.ContainsFunc(domains, func(d string) bool { return policy.MatchesDomain(d, name) }) {
				all = append(all, entry{name, a, now.Add(max(ttl, 10*time.Second))})
			}
			want := map[string]bool{}
			for _, e := range all {
				if e.until.After(now) {
					want[e.name+e.addr.String()] = true
				}
			}
			got := map[string]bool{}
			for _, r := range b.Records() {
				got[r.Name+r.Addr.String()] = true
			}
			if diff := cmp.Diff(want, got); diff != "" || b.Len() != len(got) {
				t.Fatalf("-want +got:\n%s\nlen %d", diff, b.Len())
			}
		}
	})
}

// TestOnlyWhatMovedIsKept: a name that is asked for all the time is not written down all the time.
func TestOnlyWhatMovedIsKept(t *testing.T) {
	b := names.New(names.Limits{Floor: time.Minute, PerName: 10, Total: 10})
	b.Want([]string{"a.com"})
	now := time.Unix(0, 0)
	for i, want := range []int{1, 0, 0, 1, 0, 0} {
		b.Learn(names.Answer{Names: []string{"a.com", "b.com"}, Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}, now.Add(time.Duration(i)*10*time.Second))
		if got := b.Unkept(); len(got) != want {
			t.Errorf("answer %d: to keep %v, want %d", i, got, want)
		}
	}
}

package enforce_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/berth-net/berth/internal/core/policy"
	"github.com/berth-net/berth/internal/core/policy/names"
	"github.com/berth-net/berth/internal/core/policy/tables"
	"github.com/berth-net/berth/internal/enforce"
)

// toDomain is an ApplicationNetworkPolicy that lets db talk to a domain.
func toDomain(name, domain string) enforce.Object {
	return enforce.Object{
		Kind: enforce.ApplicationNetworkPolicy, Namespace: "shop", Name: name,
		JSON: fmt.Appendf(nil, `{"apiVersion":"networking.k8s.aws/v1alpha1","kind":"ApplicationNetworkPolicy","metadata":{"namespace":"shop","name":%q},
			"spec":{"podSelector":{"matchLabels":{"app":"db"}},"policyTypes":["Egress"],"egress":[{"to":[{"domainNames":[%q]}]}]}}`, name, domain),
	}
}

// egress is what happens to a packet of an interface's pod to port 80 of an address.
func (k *kernel) egress(ifindex int, to string) string {
	k.mu.Lock()
	defer k.mu.Unlock()
	slot, ok := k.attached[ifindex]
	if !ok {
		return "unjudged"
	}
	if k.contents.Judge(k.contents.Pods[slot].Egress, netip.MustParseAddr(to), tables.Key(uint8(policy.TCP), 80)).Allow {
		return "allowed"
	}
	return "denied"
}

func (n *node) expectTo(ifindex int, to, want string) {
	n.t.Helper()
	synctest.Wait()
	if got := n.kernel.egress(ifindex, to); got != want {
		n.t.Errorf("interface %d to %s: %s, want %s", ifindex, to, got, want)
	}
}

func says(name, addr string, ttl time.Duration) []names.Answer {
	return []names.Answer{{Names: []string{name}, Addrs: []netip.Addr{netip.MustParseAddr(addr)}, TTL: ttl}}
}

// known is a node with a pod db-1 that may talk to a domain.
func known(t *testing.T, former []names.Record) *node {
	t.Helper()
	n := startWith(t, nil, enforce.Config{Slots: 4, Names: former})
	n.Sync(nil, enforce.Host{})
	n.listed([]enforce.Pod{pod("db-1", "u1", "db")})
	n.Policy(toDomain("api", "*.example.com"), false)
	if err := n.add(attachment("db-1", "u1", "10.0.0.5", 7)); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestAnswerIsOpenWhenLearnReturns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := known(t, nil)
		n.expectTo(7, "192.0.2.1", "denied")
		if !n.NamesMatter() {
			t.Error("names do not matter")
		}
		keep, err := n.Learn(t.Context(), says("api.example.com", "192.0.2.1", time.Second))
		if err != nil || len(keep) != 1 {
			t.Fatalf("keep %v, %v", keep, err)
		}
		if got := n.kernel.egress(7, "192.0.2.1"); got != "allowed" { // at once
			t.Error(got)
		}
		if _, err := n.Learn(t.Context(), says("other.com", "192.0.2.2", time.Hour)); err != nil {
			t.Fatal(err)
		}
		n.expectTo(7, "192.0.2.2", "denied")
		n.Policy(toDomain("api", "*.example.com"), true)
		n.expectTo(7, "192.0.2.2", "allowed") // no policy has the pod
		synctest.Wait()
		if n.NamesMatter() {
			t.Error("names matter without a policy")
		}
	})
}

func TestExpiredAddressStaysWhileSomebodyTalksToIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := known(t, nil)
		if _, err := n.Learn(t.Context(), says("api.example.com", "192.0.2.1", time.Second)); err != nil {
			t.Fatal(err)
		}
		<-time.After(59 * time.Second)
		if expired, err := n.ExpiredNames(t.Context()); err != nil || len(expired) != 0 {
			t.Errorf("expired below the floor: %v, %v", expired, err)
		}
		<-time.After(2 * time.Second)
		a := netip.MustParseAddr("192.0.2.1")
		if expired, err := n.ExpiredNames(t.Context()); err != nil || len(expired) != 1 || expired[0] != a {
			t.Errorf("expired %v, %v", expired, err)
		}
		if err := n.ExpireNames(t.Context(), map[netip.Addr]bool{a: true}); err != nil {
			t.Fatal(err)
		}
		n.expectTo(7, "192.0.2.1", "allowed")
		<-time.After(time.Hour)
		if err := n.ExpireNames(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		n.expectTo(7, "192.0.2.1", "denied")
	})
}

// TestRestartKnowsWhatDomainsStandFor: also what has expired, whose connections may live; but nothing that no policy names.
func TestRestartKnowsWhatDomainsStandFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := known(t, []names.Record{
			{Name: "api.example.com", Addr: netip.MustParseAddr("192.0.2.1"), Until: time.Now().Add(-time.Hour)},
			{Name: "other.com", Addr: netip.MustParseAddr("192.0.2.2"), Until: time.Now().Add(time.Hour)},
		})
		n.expectTo(7, "192.0.2.1", "allowed")
		n.expectTo(7, "192.0.2.2", "denied")
		if all, whole, err := n.Names(t.Context()); err != nil || !whole || len(all.Records) != 1 {
			t.Errorf("names %v, %v, %v", all, whole, err)
		}
	})
}

// TestAnswerWaitsForNoKernelThatRefuses: DNS must not stop when a map is full.
func TestAnswerWaitsForNoKernelThatRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := known(t, nil)
		n.kernel.set(errors.New("no room"))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := n.Learn(ctx, says("api.example.com", "192.0.2.1", time.Second)); err != nil {
			t.Error(err)
		}
		n.kernel.set(nil)
		<-time.After(10 * time.Second)
		n.expectTo(7, "192.0.2.1", "allowed")
	})
}

// TestTooManyAddressesAreTold: what makes room is denied, and somebody must know why.
func TestTooManyAddressesAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := known(t, nil)
		for i := range names.DefaultLimits().PerName + 1 {
			a := netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)})
			if _, err := n.Learn(t.Context(), says("api.example.com", a.String(), time.Duration(i)*time.Second)); err != nil {
				t.Fatal(err)
			}
		}
		r, err := n.Report(t.Context())
		if err != nil || len(r.Problems) != 1 {
			t.Errorf("problems %v, %v", r.Problems, err)
		}
		<-time.After(time.Hour)
		if r, err = n.Report(t.Context()); err != nil || len(r.Problems) != 0 {
			t.Errorf("an hour later: problems %v, %v", r.Problems, err)
		}
	})
}

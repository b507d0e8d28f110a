package enforce_test

import (
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/berth-net/berth/internal/core/policy/tables"
	"github.com/berth-net/berth/internal/enforce"
)

func service(name string, addrs ...string) enforce.Service {
	s := enforce.Service{Namespace: "shop", Name: name}
	for _, a := range addrs {
		s.Addrs = append(s.Addrs, netip.MustParseAddr(a))
	}
	return s
}

// translated are the addresses that the datapath knows as Services' by the changes that it was given.
func (k *kernel) translated() (addrs []netip.Addr) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, c := range k.applied {
		switch {
		case c.Services == nil:
		case c.Services.Delete:
			addrs = slices.DeleteFunc(addrs, func(a netip.Addr) bool { return slices.Contains(c.Services.Addrs, a) })
		default:
			addrs = append(addrs, c.Services.Addrs...)
		}
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	return addrs
}

func TestServicesAreFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := start(t, nil)
		host := enforce.Host{Exits: []int{2}, Addrs: []netip.Addr{netip.MustParseAddr("10.0.0.4")}}
		n.Sync(nil, host)
		n.listed(nil)
		for _, step := range []struct {
			name string
			do   func()
			want []string
		}{
			{"the node's own", func() {}, []string{"10.0.0.4"}},
			{"two", func() {
				n.Services([]enforce.Service{service("a", "172.20.0.1"), service("b", "172.20.0.1", "172.20.0.2")})
			}, []string{"10.0.0.4", "172.20.0.1", "172.20.0.2"}},
			{"one that shares an address is gone", func() { n.Service(service("a"), true) }, []string{"10.0.0.4", "172.20.0.1", "172.20.0.2"}},
			{"another address", func() { n.Service(service("b", "172.20.0.3"), false) }, []string{"10.0.0.4", "172.20.0.3"}},
			{"listed anew", func() { n.Services([]enforce.Service{service("c", "172.20.0.4")}) }, []string{"10.0.0.4", "172.20.0.4"}},
			{"the node has another", func() { n.Sync(nil, enforce.Host{Addrs: []netip.Addr{netip.MustParseAddr("10.0.0.5")}}) }, []string{"10.0.0.5", "172.20.0.4"}},
		} {
			step.do()
			synctest.Wait()
			want := service("", step.want...).Addrs
			if got := n.kernel.translated(); !slices.Equal(got, want) {
				t.Errorf("%s: %v, want %v", step.name, got, want)
			}
		}
		if _, exits, _ := n.kernel.Attached(); len(exits) != 0 {
			t.Errorf("exits %v of a host that has none", exits)
		}
		n.kernel.mu.Lock()
		defer n.kernel.mu.Unlock()
		if last := n.kernel.applied[len(n.kernel.applied)-1]; last != (tables.Change{Epoch: true}) {
			t.Errorf("the last change is %+v: flows to the addresses would not ask again", last)
		}
	})
}

func TestInterfacesAreSettledOnceNoPodComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := start(t, nil)
		n.Sync(nil, enforce.Host{})
		n.listed([]enforce.Pod{pod("db-1", "u1", "db"), pod("web-1", "u2", "web")})
		settled := func() int {
			synctest.Wait()
			n.kernel.mu.Lock()
			defer n.kernel.mu.Unlock()
			return len(n.kernel.settled)
		}
		for _, a := range []enforce.Attachment{attachment("db-1", "u1", "10.0.0.5", 7), attachment("web-1", "u2", "10.0.0.9", 8)} {
			if err := n.add(a); err != nil {
				t.Fatal(err)
			}
			<-time.After(9 * time.Second)
			if settled() != 0 {
				t.Error("settled while pods come")
			}
		}
		<-time.After(2 * time.Second)
		if settled() != 2 {
			t.Errorf("settled %v, want both", n.kernel.settled)
		}
	})
}

package fabric_test

import (
	"testing"

	"github.com/berth-net/berth/internal/core/vpc"
	"github.com/berth-net/berth/internal/vpcsim/fabric"
)

func TestInstancesReachEachOther(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	w := newTopology().instance("a").instance("b").instance("c").instance("d").
		eni("a", "a", public, "10.0.0.5").eni("b", "b", public, "10.0.0.6").
		eni("c", "c", private, "10.0.0.40").eni("d", "d", wide, "10.1.0.10")
	b.apply(w)
	for _, to := range []struct{ instance, addr string }{{"b", "10.0.0.6"}, {"c", "10.0.0.40"}, {"d", "10.1.0.10"}} {
		t.Run(to.instance, func(t *testing.T) {
			b.listen(b.ns(to.instance), to.addr+":8080")
			if saw := b.reaches("a", "", to.addr+":8080"); saw != "10.0.0.5" {
				t.Errorf("%s saw source %s", to.instance, saw)
			}
			if n := b.ping("a", "10.0.0.5", to.addr, 3); n != 3 {
				t.Errorf("%d of 3 pings answered", n)
			}
		})
	}
	if n := b.ping("a", "10.0.0.5", "10.0.0.1", 2); n != 2 {
		t.Errorf("the subnet's first address answers %d of 2 pings", n)
	}
}

func TestUnassignedSourceIsDropped(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	w := newTopology().instance("a").instance("b").eni("a", "a", public, "10.0.0.5").eni("b", "b", wide, "10.1.0.10")
	b.apply(w)
	b.add("a", "eth0", "10.0.0.7")
	if n := b.ping("a", "10.0.0.7", "10.1.0.10", 20); n != 0 {
		t.Errorf("%d of 20 pings from an unassigned address answered", n)
	}
	drops, err := b.Drops(t.Context(), "eni-a")
	if err != nil || drops != (fabric.Drops{AntiSpoof: 20}) {
		t.Errorf("drops are %+v, %v, want 20 by source", drops, err)
	}
	w.get("a").Addresses = append(w.get("a").Addresses, addr("10.0.0.7"))
	b.apply(w)
	if n := b.ping("a", "10.0.0.7", "10.1.0.10", 20); n != 20 {
		t.Errorf("%d of 20 pings from the now assigned address answered", n)
	}
	w.get("a").Addresses = w.get("a").Addresses[:1]
	b.apply(w)
	if n := b.ping("a", "10.0.0.7", "10.1.0.10", 20); n != 0 {
		t.Errorf("%d of 20 pings from the unassigned address answered", n)
	}
}

func TestWrongInterfaceIsDropped(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	w := newTopology().instance("a").instance("b").eni("a0", "a", public, "10.0.0.5").eni("a1", "a", wide, "10.1.0.5", "10.1.0.6").
		eni("b", "b", private, "10.0.0.40")
	b.apply(w)
	b.configure(w, "a", "eth1", "a1")
	if n := b.ping("a", "10.1.0.6", "10.0.0.40", 5); n != 5 {
		t.Fatalf("%d of 5 pings by the right interface answered", n)
	}
	b.ip("a", "rule", "del", "from", "10.1.0.6")
	if n := b.ping("a", "10.1.0.6", "10.0.0.40", 5); n != 0 {
		t.Errorf("%d of 5 pings by the wrong interface answered", n)
	}
	if d, err := b.Drops(t.Context(), "eni-a0"); err != nil || d.AntiSpoof != 5 {
		t.Errorf("drops of the wrong interface are %+v, %v", d, err)
	}
}

func TestPrefix(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	w := newTopology().instance("a").instance("b").eni("a0", "a", public, "10.0.0.5").eni("b", "b", wide, "10.1.0.10", "10.1.0.32/28")
	b.apply(w)
	b.add("b", "eth0", "10.1.0.32", "10.1.0.47", "10.1.0.48")
	for addr, want := range map[string]int{"10.1.0.32": 2, "10.1.0.47": 2, "10.1.0.48": 0} {
		if n := b.ping("b", addr, "10.0.0.5", 2); n != want {
			t.Errorf("%d of 2 pings from %s answered, want %d", n, addr, want)
		}
		if n := b.ping("a", "10.0.0.5", addr, 2); n != want {
			t.Errorf("%d of 2 pings to %s answered, want %d", n, addr, want)
		}
	}
}

func TestHotPlug(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	w := newTopology().instance("a").instance("b").eni("a0", "a", public, "10.0.0.5").eni("b", "b", public, "10.0.0.6")
	b.apply(w)
	w.eni("a1", "a", wide, "10.1.0.5")
	b.apply(w)
	link := b.ip("a", "-o", "link", "show", "eth1")
	for _, want := range []string{macOf("a1"), "mtu 9001", "state DOWN"} {
		if !contains(link, want) {
			t.Errorf("the new link lacks %q:\n%s", want, link)
		}
	}
	b.configure(w, "a", "eth1", "a1")
	if n := b.ping("b", "10.0.0.6", "10.1.0.5", 2); n != 2 {
		t.Errorf("%d of 2 pings to the new interface answered", n)
	}
	w.remove("a1")
	b.apply(w)
	if links := b.ip("a", "-o", "link"); contains(links, "eth1") {
		t.Errorf("the detached interface's link is still there:\n%s", links)
	}
	if n := b.ping("b", "10.0.0.6", "10.1.0.5", 2); n != 0 {
		t.Errorf("%d of 2 pings to the detached interface answered", n)
	}
	if _, err := b.Drops(t.Context(), "eni-a1"); err == nil {
		t.Error("the detached interface has counters")
	}
}

func TestPrimaryInterfaceIsLeftToTheInstance(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	w := newTopology().instance("a").eni("a0", "a", public, "10.0.0.5")
	b.apply(w)
	if out := b.ip("a", "-4", "-o", "addr", "show", "eth0"); !contains(out, "10.0.0.5/27") {
		t.Errorf("eth0 has not the address that DHCP would give:\n%s", out)
	}
	if out := b.ip("a", "route", "show", "default"); !contains(out, "default via 10.0.0.1 dev eth0") {
		t.Errorf("the default route is not what DHCP would set:\n%s", out)
	}
	b.ip("a", "route", "del", "default")
	w.eni("a1", "a", wide, "10.1.0.5")
	b.apply(w)
	if out := b.ip("a", "route", "show", "default"); out != "" {
		t.Errorf("a later Apply set a route inside the instance:\n%s", out)
	}
}

func TestOwnAddressesAreNotProxied(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	w := newTopology().instance("a").instance("b").eni("a0", "a", public, "10.0.0.5", "10.0.0.7").eni("b", "b", public, "10.0.0.6")
	b.apply(w)
	for addr, answers := range map[string]bool{"10.0.0.1": true, "10.0.0.6": true, "10.0.0.7": false, "192.0.2.1": false} {
		if got := arps(t, b.ns("a"), "eth0", "10.0.0.5", addr); got != answers {
			t.Errorf("request for %s answered: %v, want %v", addr, got, answers)
		}
	}
}

func TestRemoval(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	w := newTopology().instance("a").instance("b").eni("a", "a", public, "10.0.0.5").eni("b", "b", wide, "10.1.0.10")
	b.apply(w)
	old := b.ns("b")
	w.remove("b")
	w.Instances = w.Instances[:1]
	w.Subnets = w.Subnets[:2]
	b.apply(w)
	if b.Namespace("i-b") != "" {
		t.Error("a terminated instance has a namespace")
	}
	// A new instance takes over the name and the address.
	w.Instances = append(w.Instances, newTopology().instance("b").Instances...)
	w.Instances[1].ID = "i-b2"
	w.Subnets = newTopology().Subnets
	w.eni("b2", "b2", wide, "10.1.0.10")
	b.apply(w)
	if path := b.Namespace("i-b2"); path != old {
		t.Errorf("the new instance's namespace is %s, the old one's was %s", path, old)
	}
	if n := b.ping("a", "10.0.0.5", "10.1.0.10", 2); n != 2 {
		t.Errorf("%d of 2 pings to the new instance answered", n)
	}
	// An interface moves between instances with its address.
	w.instance("c").get("b2").Instance = "i-c"
	b.apply(w)
	if n := b.ping("a", "10.0.0.5", "10.1.0.10", 2); n != 2 {
		t.Errorf("%d of 2 pings to the moved interface answered", n)
	}
	*w = topology{}
	b.apply(w)
	if b.Namespace("i-a") != "" || b.InternetNamespace() == "" {
		t.Error("an empty topology keeps the instance, or has no internet")
	}
}

func TestRefusedTopologies(t *testing.T) {
	for name, change := range map[string]func(*topology){
		"two instances of one name": func(w *topology) { w.instance("a").instance("a").Instances[1].ID = "i-x" },
		"instance called internet":  func(w *topology) { w.instance("internet") },
		"path as a name":            func(w *topology) { w.instance("../x") },
		"nft as an id":              func(w *topology) { w.eni("x ; flush ruleset", "a", public, "10.0.0.5") },
	} {
		t.Run(name, func(t *testing.T) {
			f, err := fabric.New(fabric.Options{Prefix: "bt-never", Dir: t.TempDir()})
			if err != nil {
				t.Fatal(err)
			}
			w := newTopology()
			change(w)
			if err := f.Apply(t.Context(), w.Topology); err == nil {
				t.Error("applied")
			}
		})
	}
	if _, err := fabric.New(fabric.Options{Prefix: "a/b", Dir: t.TempDir()}); err == nil {
		t.Error("a prefix with a slash is accepted")
	}
	var _ vpc.InstanceID
}

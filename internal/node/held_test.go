package node_test

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/berth-net/berth/internal/core/hostnet"
	"github.com/berth-net/berth/internal/core/pool"
	"github.com/berth-net/berth/internal/node"
)

// afterALostJournal adds a pod, and starts the agent again without its journal: the pod's address is held.
func afterALostJournal(t *testing.T, change func(*house)) (*house, netip.Addr) {
	t.Helper()
	h := newHouse(t, "10.0.0.0/24")
	got, errs := h.addAll("web-0")
	if len(errs) > 0 {
		t.Fatal(errs[0])
	}
	h.close()
	h.journal.records = nil
	change(h)
	h.start()
	<-h.node.Ready()
	if r, err := h.node.Report(t.Context()); err != nil || r.Tally.Held < 1 {
		t.Fatalf("%+v, %v", r.Tally, err)
	}
	return h, got["web-0"]
}

// held tells whether an address is held.
func (h *house) held(addr netip.Addr) bool {
	h.t.Helper()
	return h.secondary(addr).Phase == pool.Held
}

// secondary is what the agent says of an address, nothing when it does not know it.
func (h *house) secondary(addr netip.Addr) node.ReportAddress {
	h.t.Helper()
	for _, e := range h.report().ENIs {
		for _, a := range e.Addresses {
			if a.IP == addr {
				return a
			}
		}
	}
	return node.ReportAddress{}
}

// wiredPods is how many pods the kernel has.
func (h *memoryHost) wiredPods() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.pods)
}

// unlabelled makes the links look as the existing CNI leaves them.
func (h *house) unlabelled() {
	for a, p := range h.host.pods {
		p.Key = hostnet.PodKey{}
		h.host.pods[a] = p
	}
}

// A StatefulSet's pod was made anew under its old name, the journal is lost, and the kubelet deletes the old sandbox late.
func TestDelOfAnOldSandboxAfterALostJournalLeavesTheLivePodOfThatNameAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, addr := afterALostJournal(t, func(*house) {})
		defer h.close()
		old := pod("web-0")
		old.Key.ContainerID = "an-older-sandbox"
		if err := h.node.Del(t.Context(), node.DelRequest{Pod: old, Addrs: []netip.Addr{addr}}); err != nil {
			t.Fatal(err)
		}
		if !h.held(addr) || h.host.wiredPods() != 1 {
			t.Errorf("held %t, %d pods wired", h.held(addr), h.host.wiredPods())
		}
		if err := h.node.Del(t.Context(), node.DelRequest{Pod: pod("web-0")}); err != nil {
			t.Fatal(err)
		}
		if h.held(addr) || h.host.wiredPods() != 0 {
			t.Errorf("after its own DEL: held %t, %d pods wired", h.held(addr), h.host.wiredPods())
		}
	})
}

// The existing CNI labels no link: only the address that the runtime kept tells two sandboxes of one name apart.
func TestDelOfAPodThatTheExistingCNIWiredNeedsItsAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, addr := afterALostJournal(t, (*house).unlabelled)
		defer h.close()
		for name, addrs := range map[string][]netip.Addr{"no address": nil, "another address": {addr.Next()}} {
			if err := h.node.Del(t.Context(), node.DelRequest{Pod: pod("web-0"), Addrs: addrs}); err != nil {
				t.Fatal(err)
			}
			if !h.held(addr) || h.host.wiredPods() != 1 {
				t.Errorf("%s: held %t, %d pods wired", name, h.held(addr), h.host.wiredPods())
			}
		}
		if err := h.node.Del(t.Context(), node.DelRequest{Pod: pod("web-0"), Addrs: []netip.Addr{addr}}); err != nil {
			t.Fatal(err)
		}
		if h.held(addr) || h.host.wiredPods() != 0 {
			t.Errorf("with its address: held %t, %d pods wired", h.held(addr), h.host.wiredPods())
		}
	})
}

// Whoever cannot be told apart stays held until its link goes, with the sandbox's namespace.
func TestHeldAddressCoolsDownOnceItsLinkIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, addr := afterALostJournal(t, (*house).unlabelled)
		defer h.close()
		h.host.mu.Lock()
		clear(h.host.pods)
		h.host.mu.Unlock()
		<-time.After(31 * time.Second)
		if h.held(addr) {
			t.Error("still held half a minute after its link went")
		}
	})
}

// vanish takes a pod's link out of the kernel, as the end of its namespace does, and back.
func (h *memoryHost) vanish(addr netip.Addr) (back func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	p := h.pods[addr]
	delete(h.pods, addr)
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.pods[addr] = p
	}
}

// The runtime lost the DEL: nobody calls GC, and the agent runs on.
func TestAddressOfAPodWhoseDelNeverCameIsFreedWithoutARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, "10.0.0.0/24")
		defer h.close()
		got, errs := h.addAll("gone", "stays", "blinks")
		if len(errs) > 0 {
			t.Fatal(errs[0])
		}
		h.host.vanish(got["gone"])
		<-time.After(20 * time.Second)
		back := h.host.vanish(got["blinks"])
		<-time.After(30 * time.Second) // one comparison does not see it
		back()
		<-time.After(35 * time.Second)
		h.host.vanish(got["blinks"])
		<-time.After(35 * time.Second)
		r, err := h.node.Report(t.Context())
		if err != nil || r.Tally.InUse != 2 || r.Tally.Cooling != 1 {
			t.Errorf("two minutes later: %+v, %v", r.Tally, err)
		}
		if _, err := h.node.Check(t.Context(), pod("gone"), nil); err == nil {
			t.Error("the pod that is gone has a record")
		}
		if err := h.node.Del(t.Context(), node.DelRequest{Pod: pod("gone")}); err != nil {
			t.Errorf("the DEL that comes at last: %v", err)
		}
		next, errs := h.addAll("next")
		if len(errs) > 0 || next["next"] == got["gone"] {
			t.Errorf("%s was given on at once, %v", next["next"], errs)
		}
	})
}

// Pods that queue to be wired while the host's network is compared again and again keep their addresses.
func TestPodThatWaitsToBeWiredIsNotTakenForGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, "10.0.0.0/24")
		defer func() { h.close() }()
		host := h.tricky()
		first := names("o", 26)
		if _, errs := h.addAll(first...); len(errs) > 0 {
			t.Fatal(errs[0])
		}
		for _, name := range first {
			if err := h.node.Del(t.Context(), node.DelRequest{Pod: pod(name)}); err != nil {
				t.Fatal(err)
			}
		}
		<-time.After(31 * time.Second) // all addresses are free, and both interfaces there
		host.slow = 40 * time.Second
		before := host.reconciled.Load()
		if _, errs := h.addAll(names("p", 26)...); len(errs) > 0 {
			t.Fatal(errs[0])
		}
		if n := host.reconciled.Load() - before; n < 3 {
			t.Fatalf("only %d comparisons while 26 pods were wired: the test shows nothing", n)
		}
		if r, err := h.node.Report(t.Context()); err != nil || r.Tally.InUse != 26 || r.Tally.Cooling != 0 {
			t.Errorf("%+v, %v", r.Tally, err)
		}
	})
}

package node_test

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/berth-net/berth/internal/core/hostnet"
	"github.com/berth-net/berth/internal/core/ipam"
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
	r, err := h.node.Report(h.t.Context())
	if err != nil {
		h.t.Fatal(err)
	}
	for _, e := range r.ENIs {
		for _, a := range e.Addresses {
			if a.IP == addr {
				return a.Phase == ipam.Held
			}
		}
	}
	return false
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

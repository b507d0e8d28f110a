package node_test

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/berth-net/berth/internal/core/hostnet"
	"github.com/berth-net/berth/internal/node"
)

// doorman is a Guard that remembers.
type doorman struct {
	mu       sync.Mutex
	refuse   error         // what Admit returns
	slow     time.Duration // that Admit takes
	inside   map[string]bool
	synced   [][]string
	released []string
	host     *memoryHost
	wrong    []string
}

func (d *doorman) Admit(ctx context.Context, p hostnet.Pod, w hostnet.Wired) error {
	d.mu.Lock()
	refuse, slow := d.refuse, d.slow
	if w.HostVeth == "" {
		d.wrong = append(d.wrong, "no link of "+p.Name)
	}
	d.mu.Unlock()
	select {
	case <-time.After(slow):
	case <-ctx.Done():
		return ctx.Err()
	}
	if refuse != nil {
		return refuse
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.inside[p.Name] = true
	return nil
}

func (d *doorman) Release(p hostnet.Pod) {
	d.host.mu.Lock()
	_, wired := d.host.pods[p.Addrs[0]]
	d.host.mu.Unlock()
	d.mu.Lock()
	defer d.mu.Unlock()
	if wired {
		d.wrong = append(d.wrong, p.Name+" is released while its network is there")
	}
	delete(d.inside, p.Name)
	d.released = append(d.released, p.Name)
}

func (d *doorman) Sync(pods []hostnet.Pod, _ []hostnet.Link) {
	var all []string
	for _, p := range pods {
		all = append(all, p.Name)
	}
	slices.Sort(all)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.synced = append(d.synced, all)
}

// guarded starts a house again with a guard.
func guarded(t *testing.T) (*house, *doorman) {
	t.Helper()
	h := build(t, "10.0.0.0/24")
	d := &doorman{inside: map[string]bool{}, host: h.host}
	h.ports.Guard = d
	h.start()
	<-h.node.Ready()
	return h, d
}

func TestPodIsAnsweredOnceItsPacketsAreJudged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, d := guarded(t)
		defer h.close()
		d.slow = time.Second
		if _, errs := h.addAll("a", "b"); len(errs) > 0 {
			t.Fatal(errs[0])
		}
		if !d.inside["a"] || !d.inside["b"] {
			t.Errorf("judged when the ADDs were answered: %v", d.inside)
		}
		if err := h.node.Del(t.Context(), node.DelRequest{Pod: pod("a")}); err != nil {
			t.Fatal(err)
		}
		if d.inside["a"] || len(d.wrong) > 0 {
			t.Errorf("after its DEL a is judged %t; %v", d.inside["a"], d.wrong)
		}
		<-time.After(time.Minute)
		if last := d.synced[len(d.synced)-1]; !slices.Equal(last, []string{"b"}) {
			t.Errorf("told of %v, want b alone", last)
		}
	})
}

func TestPodWhosePacketsNobodyJudgesIsNotLeftReachable(t *testing.T) {
	for name, refuse := range map[string]func(*doorman){
		"refused":   func(d *doorman) { d.refuse = errors.New("no room") },
		"no answer": func(d *doorman) { d.slow = time.Hour },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, d := guarded(t)
				defer h.close()
				refuse(d)
				began := time.Now()
				_, errs := h.addAll("a")
				if len(errs) != 1 || !strings.Contains(errs[0].Error(), "ADD pod default/a: policy-not-enforced: ") {
					t.Fatalf("answer %v", errs)
				}
				if elapsed := time.Since(began); elapsed > 11*time.Second {
					t.Errorf("answered after %s", elapsed)
				}
				if left := len(h.host.pods); left > 0 || !slices.Contains(d.released, "a") {
					t.Errorf("%d pods are wired, released %v", left, d.released)
				}
				d.mu.Lock()
				d.refuse, d.slow = nil, 0
				d.mu.Unlock()
				if _, errs := h.addAll("a"); len(errs) > 0 {
					t.Fatal(errs[0])
				}
			})
		})
	}
}

func TestPodThatRunsKeepsItsNetworkWhenASecondADDCannotBeJudged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, d := guarded(t)
		defer h.close()
		got, errs := h.addAll("a")
		if len(errs) > 0 {
			t.Fatal(errs[0])
		}
		d.mu.Lock()
		d.refuse = errors.New("no room")
		d.mu.Unlock()
		if _, errs := h.addAll("a"); len(errs) != 1 {
			t.Fatalf("answers %v", errs)
		}
		if _, wired := h.host.pods[got["a"]]; !wired || len(d.released) > 0 {
			t.Errorf("wired %t, released %v", wired, d.released)
		}
	})
}

// A pod whose policies wait for the API server keeps no other pod from its network.
func TestPodsWaitingForPolicyHoldUpNoOthersWiring(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, d := guarded(t)
		defer h.close()
		d.slow = 5 * time.Second
		began := time.Now()
		got, errs := h.addAll(names("p", 20)...)
		if len(errs) > 0 {
			t.Fatal(errs[0])
		}
		if elapsed := time.Since(began); elapsed > 8*time.Second {
			t.Errorf("20 pods took %s", elapsed)
		}
		seen := map[netip.Addr]bool{}
		for _, a := range got {
			seen[a] = true
		}
		if len(seen) != 20 {
			t.Errorf("%d addresses for 20 pods", len(seen))
		}
	})
}

package ipam_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/berth-net/berth/internal/core/ipam"
	"github.com/berth-net/berth/internal/core/pool"
	"github.com/berth-net/berth/internal/core/vpc"
)

// Somebody detaches an interface with a pod and free addresses, and its link is gone: nobody waits for those addresses.
func TestPodDoesNotWaitForAddressesOfADetachedInterface(t *testing.T) {
	w := newWorld(t, func(c *pool.Config) { c.WarmENI = 0 })
	w.add(0, 10)
	w.settle()
	w.eni("eni-1").Attachment = nil
	w.state.WantRead(w.now)
	w.settle()
	w.state.Configured("eni-1", false)
	if tally := w.state.Tally(); tally.InUse != 10 || tally.Coming != 0 || tally.Free == 0 {
		t.Errorf("tally %+v", tally)
	}
}

// Metadata is a hint: where it leaves out what EC2 should have, or shows what EC2 left out long ago, EC2 is asked.
func TestEC2IsAskedWhenMetadataShowsWhatSomebodyChanged(t *testing.T) {
	tests := []struct {
		name   string
		change func(w *world, shown []vpc.MetadataENI) []vpc.MetadataENI
		asked  bool
	}{
		{"nothing", func(_ *world, shown []vpc.MetadataENI) []vpc.MetadataENI { return shown }, false},
		{"no answer", func(*world, []vpc.MetadataENI) []vpc.MetadataENI { return nil }, false},
		{"address gone", func(_ *world, shown []vpc.MetadataENI) []vpc.MetadataENI {
			shown[0].Addresses = shown[0].Addresses[:3]
			return shown
		}, true},
		{"interface gone", func(_ *world, shown []vpc.MetadataENI) []vpc.MetadataENI { return shown[:1] }, true},
		{"just assigned", func(w *world, shown []vpc.MetadataENI) []vpc.MetadataENI {
			w.state.ENI("eni-primary").WroteAt = w.now
			shown[0].Addresses = shown[0].Addresses[:3]
			return shown
		}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, func(c *pool.Config) { c.WarmENI = 0 })
			w.add(0, 10)
			w.settle()
			w.now = w.now.Add(2 * time.Minute)
			w.settle()
			var shown []vpc.MetadataENI
			for _, e := range w.enis {
				shown = append(shown, vpc.MetadataENI{ID: e.ID, Addresses: append([]netip.Addr{e.Primary}, e.Secondary...)})
			}
			read := pool.Action{Kind: pool.ReadMetadata, Key: "read-metadata"}
			w.state.Begin(read, w.now)
			w.state.Finish(read, pool.Result{Metadata: tt.change(w, shown), AskedAt: w.now}, w.now)
			w.now = w.now.Add(time.Millisecond)
			if plan := ipam.Decide(w.state, w.now).String(); strings.Contains(plan, "read-enis") != tt.asked {
				t.Errorf("asked is not %t; plan:\n%s", tt.asked, plan)
			}
		})
	}
}

// Somebody detaches an interface, perhaps to use it elsewhere, and a read sees it go: it is theirs, and so are its pods' fates.
func TestInterfaceThatSomebodyDetachesIsNotDeleted(t *testing.T) {
	for _, tc := range []struct {
		name string
		pods int
		lost int
	}{{"empty", 5, 0}, {"with pods", 12, 3}} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t, nil)
			w.add(0, tc.pods)
			w.settle()
			w.settle()
			going := *w.eni("eni-1").Attachment
			going.State = vpc.Detaching
			w.eni("eni-1").Attachment = &going
			w.state.WantRead(w.now)
			w.settleFor(2 * time.Second)
			if e := w.state.ENI("eni-1"); e.MissingSince.IsZero() {
				t.Error("an interface that goes away still gives addresses")
			}
			w.eni("eni-1").Attachment = nil
			w.state.WantRead(w.now)
			if n := w.count(pool.DeleteENI, 5*time.Minute, time.Second); n != 0 {
				t.Errorf("deleted %d times", n)
			}
			if lost := w.state.Lost(); len(lost) != tc.lost {
				t.Errorf("lost: %v", lost)
			}
		})
	}
}

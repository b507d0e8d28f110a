package fabric

import (
	"net"
	"sync"
	"testing"
	"time"

	"github.com/berth-net/berth/internal/core/vpc"
)

// A server closes its listener at the moment at which the fabric is taken down: neither waits for the other for ever.
func TestListenerClosedWhileTheFabricStops(t *testing.T) {
	for range 500 {
		base, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		var fabric sync.Mutex // held by whoever takes the fabric down
		h := &hub{base: base, subs: map[vpc.InstanceID]*listener{}}
		l, err := h.subscribe("i-1", func() {
			fabric.Lock()
			defer fabric.Unlock()
			h.empty()
		})
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{}, 2)
		go func() { _ = l.Close(); done <- struct{}{} }()
		go func() {
			fabric.Lock()
			h.stop()
			fabric.Unlock()
			done <- struct{}{}
		}()
		for range 2 {
			select {
			case <-done:
			case <-time.After(30 * time.Second):
				t.Fatal("the listener and the fabric wait for each other")
			}
		}
	}
}

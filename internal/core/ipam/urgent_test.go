package ipam_test

import (
	"strings"
	"testing"
	"time"

	"github.com/berth-net/berth/internal/core/pool"
	"github.com/berth-net/berth/internal/core/vpc"
)

// The budget held a call for the warm pool back for long, so that it was repeated seldom. A pod that came then waited for the
// next repetition, up to 40 s, with a call that would have left at once.
func TestPodDoesNotWaitForThePauseOfAWarmCall(t *testing.T) {
	w := newWorld(t, func(c *pool.Config) { c.WarmENI, c.WarmIP, c.MaxENI = 0, 1, 1 })
	w.settle()
	w.refuse[pool.AssignAddresses] = vpc.Throttled
	w.add(0, 1)
	for range 10 {
		w.step()
		w.now = w.now.Add(32 * time.Second)
	}
	w.step()
	if text := w.plan(); strings.Contains(text, "assign-addresses") {
		t.Fatalf("the warm call does not pause: %s", text)
	}
	w.add(1, 3)
	if text := w.plan(); !strings.Contains(text, "assign-addresses") {
		t.Errorf("a pod waits, and nothing is asked for: %s", text)
	}
	w.step()
	if text := w.plan(); strings.Contains(text, "assign-addresses") {
		t.Errorf("what pods wait for is repeated at once: %s", text)
	}
}

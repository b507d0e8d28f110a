package ipam_test

import (
	"strings"
	"testing"
	"time"

	"github.com/berth-net/berth/internal/core/pool"
	"github.com/berth-net/berth/internal/core/vpc"
)

// throttled is a node whose assignment for the warm pool has been throttled for five minutes.
func throttled(t *testing.T) *world {
	w := newWorld(t, func(c *pool.Config) { c.WarmENI, c.WarmIP, c.MaxENI = 0, 1, 1 })
	w.settle()
	w.refuse[pool.AssignAddresses] = vpc.Throttled
	w.add(0, 1)
	w.tire()
	return w
}

// tire lets what fails be tried until it pauses for the longest time.
func (w *world) tire() {
	for range 10 {
		w.step()
		w.now = w.now.Add(32 * time.Second)
	}
}

// The budget held a call for the warm pool back for long, so that it was repeated seldom. A pod that came then waited for the
// next repetition, up to 40 s, with a call that would have left at once.
func TestPodDoesNotWaitForThePauseOfAWarmCall(t *testing.T) {
	w := throttled(t)
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

// EC2 throttled what a pod waits for, the node's budget would have let the next attempt leave after 0.2 s, and the planner
// paused for 32 s: it counted the failures of the warm pool's calls before.
func TestPodDoesNotWaitLongerThanTheBudgetAsks(t *testing.T) {
	w := throttled(t)
	w.add(1, 3)
	w.until = w.now.Add(200 * time.Millisecond)
	w.step()
	if text := w.plan(); strings.Contains(text, "assign-addresses") {
		t.Errorf("before the budget lets it: %s", text)
	}
	w.now = w.until
	if text := w.plan(); !strings.Contains(text, "assign-addresses") {
		t.Errorf("the budget would let it, a pod waits, and nothing is asked for: %s", text)
	}
}

// An interface for the warm pool was throttled and paused for half a minute. Pods that came then waited for that.
func TestPodDoesNotWaitForThePauseOfAWarmCreation(t *testing.T) {
	w := newWorld(t, func(c *pool.Config) { c.WarmENI = 2 })
	w.refuse[pool.CreateENI] = vpc.Throttled
	w.tire()
	w.step()
	if text := w.plan(); strings.Contains(text, "create-eni") {
		t.Fatalf("the warm creation does not pause: %s", text)
	}
	w.add(0, 12)
	if text := w.plan(); !strings.Contains(text, "create-eni") {
		t.Errorf("pods wait, and no interface is asked for: %s", text)
	}
}

// On a node with no free address the next pod would wait: what it needs goes before the pools of other nodes.
func TestNodeWithoutAFreeAddressIsMoreThanShortOfItsTarget(t *testing.T) {
	w := newWorld(t, func(c *pool.Config) { c.WarmENI, c.WarmIP = 0, 2 })
	w.add(0, 8)
	w.settle()
	w.add(8, 9)
	if text := w.plan(); !strings.Contains(text, "+1: warm-target") {
		t.Errorf("with 9 pods on 10 addresses: %s", text)
	}
	w.add(9, 10)
	if text := w.plan(); !strings.Contains(text, "+2: none-free") {
		t.Errorf("with 10 pods on 10 addresses: %s", text)
	}
}

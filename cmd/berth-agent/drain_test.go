package main

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/berth-net/berth/internal/node"
)

// stubborn refuses to delete one container's attachment.
type stubborn struct {
	*loop
	container string
}

func (s stubborn) Del(ctx context.Context, req node.DelRequest) error {
	if req.Pod.Key.ContainerID == s.container {
		return errors.New("rule busy")
	}
	return s.loop.Del(ctx, req)
}

func TestQueuedDeleteThatFailsKeepsNoOtherWaiting(t *testing.T) {
	h, l := newHandler(t)
	h.node = stubborn{l, "c0"}
	applied := 0
	h.applied = func() { applied++ }
	for _, container := range []string{"c0", "c1", "c2"} {
		req := request("DEL")
		req.Attachment.ContainerID = container
		if err := h.queue.Put(req, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		ready := make(chan struct{})
		close(ready)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- h.drain(ready, ready)(ctx) }()
		synctest.Wait()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	if entries, err := h.queue.List(); err != nil || len(entries) != 1 || applied != 2 {
		t.Errorf("%d requests are left, %d applied, %v", len(entries), applied, err)
	}
}

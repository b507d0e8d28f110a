package main

import (
	"testing"

	"github.com/berth-net/berth/internal/agentapi"
	"github.com/berth-net/berth/internal/agentapi/queue"
)

// An agent that begins to listen just after the plugin left a DEL on disk may only leave it there itself: its success does
// not say that the request is done, so the plugin must not take it out.
func TestDelOnDiskIsOnlyTakenOutByTheAgent(t *testing.T) {
	w := newWorld(t)
	defer w.start()()
	c := conf{Socket: w.socket, Queue: w.path("queue")}
	req := agentapi.Request{Verb: agentapi.Del, Attachment: agentapi.Attachment{Network: "aws-cni", ContainerID: "c1", IfName: "eth0"}}
	if err := (plugin{}).queueDel(c, req); err != nil {
		t.Fatal(err)
	}
	if entries, err := queue.New(c.Queue).List(); err != nil || len(entries) != 1 {
		t.Errorf("%d requests wait, %v", len(entries), err)
	}
}

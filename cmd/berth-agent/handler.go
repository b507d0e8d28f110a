package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/berth-net/berth/internal/agentapi"
	"github.com/berth-net/berth/internal/agentapi/queue"
	"github.com/berth-net/berth/internal/core/hostnet"
	"github.com/berth-net/berth/internal/core/pool"
	"github.com/berth-net/berth/internal/linux"
	"github.com/berth-net/berth/internal/node"
	"github.com/berth-net/berth/internal/run"
)

// pods is the loop as the plugin's requests see it.
type pods interface {
	Add(ctx context.Context, req node.AddRequest) (node.Added, error)
	Del(ctx context.Context, req node.DelRequest) error
	Check(ctx context.Context, pod pool.Pod, netns *os.File) (hostnet.Pod, error)
	GC(ctx context.Context, network string, valid []pool.Key) error
	Status(ctx context.Context) error
}

// handler answers the plugin. It implements server.Handler.
type handler struct {
	node   pods
	host   hostnet.Settings
	queue  queue.Queue
	report func(context.Context) (agentReport, error)
	// applied is called for each queued request that was applied.
	applied func()
	log     *slog.Logger
}

func podOf(req agentapi.Request) pool.Pod {
	return pool.Pod{Key: pool.Key(req.Attachment), Namespace: req.Pod.Namespace, Name: req.Pod.Name, UID: req.Pod.UID}
}

// delOf is a DEL in the loop's terms.
func delOf(req agentapi.Request) node.DelRequest {
	del := node.DelRequest{Pod: podOf(req)}
	if req.Previous != nil {
		del.Addrs = req.Previous.Addrs
	}
	return del
}

// Add implements server.Handler. A DEL of the attachment that still waits on disk is older, and must not come after.
func (h handler) Add(ctx context.Context, req agentapi.Request, netns *os.File) (agentapi.Added, error) {
	h.forget(req)
	if !linux.IsNetNS(netns) {
		return agentapi.Added{}, agentapi.Errorf(agentapi.CodeEnvironment, "%s: CNI_NETNS=%s is no network namespace", subject(req), req.Netns)
	}
	added, err := h.node.Add(ctx, node.AddRequest{Pod: podOf(req), NetNS: netns})
	if err != nil {
		return agentapi.Added{}, asError(req, err)
	}
	return agentapi.Added{
		Addrs: added.Pod.Addrs, HostVeth: added.Wired.HostVeth, HostMAC: added.Wired.HostMAC, PodMAC: added.Wired.PodMAC,
		Table: added.Wired.Table, Device: added.Pod.DeviceIndex, MTU: added.Wired.MTU,
	}, nil
}

// Del implements server.Handler. While the loop starts or stops, the request waits on disk as if no agent was there.
func (h handler) Del(ctx context.Context, req agentapi.Request) error {
	err := h.node.Del(ctx, delOf(req))
	if e, ok := errors.AsType[*node.Error](err); ok && (e.Why == pool.Starting || e.Why == node.Stopping) {
		if err := h.queue.Put(req, time.Now()); err != nil {
			return agentapi.Errorf(agentapi.CodeIO, "%s: the agent is %s and the request cannot be left on disk: %v", subject(req), e.Why, err)
		}
		return nil
	}
	if err != nil {
		return asError(req, err)
	}
	h.forget(req)
	return nil
}

// forget takes a request out of the queue that has been done or overtaken.
func (h handler) forget(req agentapi.Request) {
	if err := h.queue.Remove(req.Attachment); err != nil {
		h.log.Warn("request on disk stays", run.KeyPod, req.Pod.Name, run.KeyNamespace, req.Pod.Namespace, run.KeyErr, err)
	}
}

// Check implements server.Handler.
func (h handler) Check(ctx context.Context, req agentapi.Request, netns *os.File) (agentapi.Added, error) {
	pod, err := h.node.Check(ctx, podOf(req), netns)
	if err != nil {
		return agentapi.Added{}, asError(req, err)
	}
	return agentapi.Added{
		Addrs: pod.Addrs, HostVeth: hostnet.VethName(h.host.VethPrefix, pod.Namespace, pod.Name),
		Table: hostnet.TableNumber(pod.DeviceIndex, pod.NetworkCard), Device: pod.DeviceIndex, MTU: h.host.PodMTUOf(),
	}, nil
}

// GC implements server.Handler.
func (h handler) GC(ctx context.Context, req agentapi.Request) error {
	valid := make([]pool.Key, len(req.Valid))
	for i, a := range req.Valid {
		valid[i] = pool.Key(a)
	}
	if err := h.node.GC(ctx, req.Attachment.Network, valid); err != nil {
		return asError(req, err)
	}
	return nil
}

// Status implements server.Handler.
func (h handler) Status(ctx context.Context) error {
	err := h.node.Status(ctx)
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*node.Error](err); ok && e.Why == node.HostNetwork {
		return &agentapi.Error{Code: agentapi.CodeLimited, Msg: "running pods may be cut off: " + e.Detail, Details: e.Hint}
	}
	answer := agentapi.Errorf(agentapi.CodeNotAvailable, "the agent is not ready: %v", err)
	if r, reportErr := h.report(ctx); reportErr == nil && r.Node.Starting != "" {
		answer.Msg = "the agent is not ready: it waits for " + r.Node.Starting
	}
	return answer
}

// Report implements server.Handler.
func (h handler) Report(ctx context.Context) (json.RawMessage, error) {
	r, err := h.report(ctx)
	if err != nil {
		return nil, err
	}
	data, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encode report: %w", err)
	}
	return data, nil
}

func subject(req agentapi.Request) string {
	switch {
	case req.Pod.Name != "":
		return "pod " + req.Pod.Namespace + "/" + req.Pod.Name
	case req.Attachment.ContainerID != "":
		return "container " + req.Attachment.ContainerID
	}
	return "network " + req.Attachment.Network
}

// asError gives an error of the loop its code.
func asError(req agentapi.Request, err error) error {
	e, ok := errors.AsType[*node.Error](err)
	if !ok {
		return fmt.Errorf("%s: %w", subject(req), err)
	}
	if req.Pod.Name == "" { // GC is about many
		req.Pod.Namespace, req.Pod.Name = e.Pod.Namespace, e.Pod.Name
	}
	answer := &agentapi.Error{Code: codeOf(req.Verb, e), Msg: fmt.Sprintf("%s: %s", subject(req), e.Why), Details: e.Hint}
	if e.Detail != "" {
		answer.Msg += ": " + e.Detail
	}
	return answer
}

func codeOf(verb agentapi.Verb, e *node.Error) agentapi.Code {
	switch e.Why {
	case node.WiringError:
		if verb == agentapi.Add {
			return agentapi.CodeWire
		}
		return agentapi.CodeUnwire
	case node.JournalLost:
		return agentapi.CodeJournal
	case node.Unknown:
		return agentapi.CodeUnknownContainer
	case node.Broken:
		return agentapi.CodeMismatch
	default:
	}
	if e.Retry {
		return agentapi.CodeTryAgainLater
	}
	return agentapi.CodeInternal
}

// queueEvery is how often the queue is looked at: a plugin that gave up on a slow agent leaves its request there.
const queueEvery = time.Minute

// drain applies the requests that plugins left while no agent answered. It begins once the socket is listened on and the
// loop is ready, so that it misses none.
func (h handler) drain(serving, ready <-chan struct{}) func(context.Context) error {
	step := func(ctx context.Context) error {
		entries, err := h.queue.List()
		if err != nil {
			h.log.Warn("requests on disk cannot be read", run.KeyErr, err)
		}
		var failed error
		for _, e := range entries { // one that fails keeps no other waiting
			if err := h.node.Del(ctx, delOf(e.Request)); err != nil {
				failed = errors.Join(failed, fmt.Errorf("apply queued DEL of %s: %w", e.Request.Attachment, err))
				continue
			}
			h.log.Info("queued delete applied", run.KeyPod, e.Request.Pod.Name, run.KeyNamespace, e.Request.Pod.Namespace, "queued", e.Queued)
			h.applied()
			failed = errors.Join(failed, e.Done())
		}
		return failed
	}
	return func(ctx context.Context) error {
		for _, began := range []<-chan struct{}{serving, ready} {
			select {
			case <-began:
			case <-ctx.Done():
				return nil
			}
		}
		loop := run.NewLoop(0, time.Second, queueEvery, step)
		loop.Failed = func(err error, _ time.Duration) { h.log.Warn("requests on disk wait", run.KeyErr, err) }
		return loop.Run(ctx)
	}
}

package main

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/berth-net/berth/internal/agentapi"
	"github.com/berth-net/berth/internal/agentapi/queue"
	"github.com/berth-net/berth/internal/core/hostnet"
	"github.com/berth-net/berth/internal/core/ipam"
	"github.com/berth-net/berth/internal/core/pool"
	"github.com/berth-net/berth/internal/node"
)

// loop stands in for the node's loop: it holds pods and refuses when told.
type loop struct {
	mu     sync.Mutex
	pods   map[pool.Key]hostnet.Pod
	refuse error
}

func (l *loop) Add(_ context.Context, req node.AddRequest) (node.Added, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.refuse != nil {
		return node.Added{}, l.refuse
	}
	p := hostnet.Pod{
		Key: hostnet.PodKey(req.Pod.Key), Namespace: req.Pod.Namespace, Name: req.Pod.Name,
		Addrs: []netip.Addr{netip.MustParseAddr("10.0.0.9")}, DeviceIndex: 2,
	}
	l.pods[req.Pod.Key] = p
	return node.Added{Pod: p, Wired: hostnet.Wired{HostVeth: hostnet.VethName("eni", p.Namespace, p.Name), HostMAC: "02:00:00:00:00:01", Table: 3, MTU: 9001}}, nil
}

func (l *loop) Del(_ context.Context, req node.DelRequest) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.refuse != nil {
		return l.refuse
	}
	delete(l.pods, req.Pod.Key)
	return nil
}

func (l *loop) Check(_ context.Context, pod pool.Pod, _ *os.File) (hostnet.Pod, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.pods[pod.Key], l.refuse
}

func (l *loop) GC(_ context.Context, network string, valid []pool.Key) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	keep := map[pool.Key]bool{}
	for _, k := range valid {
		keep[k] = true
	}
	for k := range l.pods {
		if k.Network == network && !keep[k] {
			delete(l.pods, k)
		}
	}
	return l.refuse
}

func (l *loop) Status(context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.refuse
}

// refuses sets what requests are refused with, nil for nothing.
func (l *loop) refuses(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refuse = err
}

func (l *loop) Report(context.Context) (node.Report, error) {
	return node.Report{Starting: "the instance metadata service: no route"}, nil
}

func newHandler(t *testing.T) (handler, *loop) {
	t.Helper()
	l := &loop{pods: map[pool.Key]hostnet.Pod{}}
	q := queue.New(filepath.Join(t.TempDir(), "queue"))
	r := reporter{loop: l, queue: q}
	return handler{
		node: l, host: hostnet.Settings{VethPrefix: "eni", ENIMTU: 9001, PodMTU: 9001}, queue: q, report: r.report, applied: func() {}, log: slog.New(slog.DiscardHandler),
	}, l
}

func request(verb agentapi.Verb) agentapi.Request {
	return agentapi.Request{
		Version: agentapi.Version, Verb: verb, Attachment: agentapi.Attachment{Network: "aws-cni", ContainerID: "c1", IfName: "eth0"},
		Pod: agentapi.Pod{Namespace: "default", Name: "web", UID: "u"},
	}
}

func TestAddCheckDel(t *testing.T) {
	h, l := newHandler(t)
	added, err := h.Add(t.Context(), request(agentapi.Add), ownNetns(t))
	if err != nil {
		t.Fatal(err)
	}
	checked, err := h.Check(t.Context(), request(agentapi.Check), nil)
	if err != nil {
		t.Fatal(err)
	}
	// CHECK must answer what ADD did, else every check fails.
	if added.HostVeth != checked.HostVeth || added.Table != checked.Table || added.Addrs[0] != checked.Addrs[0] || added.Device != checked.Device || added.MTU != checked.MTU {
		t.Errorf("added %+v, checked %+v", added, checked)
	}
	if err := h.Del(t.Context(), request(agentapi.Del)); err != nil || len(l.pods) != 0 {
		t.Errorf("%v, %v", err, l.pods)
	}
}

func TestErrorCodes(t *testing.T) {
	tests := []struct {
		name string
		verb agentapi.Verb
		err  error
		want agentapi.Code
	}{
		{"no address", agentapi.Add, &node.Error{Why: ipam.SubnetsFull, Detail: "d", Hint: "h", Retry: true}, agentapi.CodeTryAgainLater},
		{"stopping", agentapi.Add, &node.Error{Why: node.Stopping, Retry: true}, agentapi.CodeTryAgainLater},
		{"wiring", agentapi.Add, &node.Error{Why: node.WiringError, Retry: true}, agentapi.CodeWire},
		{"unwiring", agentapi.Del, &node.Error{Why: node.WiringError, Retry: true}, agentapi.CodeUnwire},
		{"journal", agentapi.Add, &node.Error{Why: node.JournalLost, Retry: true}, agentapi.CodeJournal},
		{"unknown", agentapi.Check, &node.Error{Why: node.Unknown}, agentapi.CodeUnknownContainer},
		{"broken", agentapi.Check, &node.Error{Why: node.Broken}, agentapi.CodeMismatch},
		{"surprise", agentapi.Add, &node.Error{Why: "x"}, agentapi.CodeInternal},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e, ok := errors.AsType[*agentapi.Error](asError(request(tt.verb), tt.err))
			if !ok || e.Code != tt.want {
				t.Errorf("%v, want code %d", e, tt.want)
			}
		})
	}
	full := &node.Error{Why: ipam.SubnetsFull, Detail: "subnet-1 has no free address", Hint: "tag a subnet", Retry: true}
	e, _ := errors.AsType[*agentapi.Error](asError(request(agentapi.Add), full))
	if e.Msg != "pod default/web: subnets-full: subnet-1 has no free address" || e.Details != "tag a subnet" {
		t.Errorf("message %q, details %q", e.Msg, e.Details)
	}
}

func TestStatusTellsPodsThatMayBeCutOffFromAnAgentThatIsNotReady(t *testing.T) {
	h, l := newHandler(t)
	for why, want := range map[pool.Why]agentapi.Code{
		node.HostNetwork: agentapi.CodeLimited, pool.Starting: agentapi.CodeNotAvailable, node.Stopping: agentapi.CodeNotAvailable,
	} {
		l.refuses(&node.Error{Op: "STATUS", Why: why, Detail: "nft: no such table"})
		e, ok := errors.AsType[*agentapi.Error](h.Status(t.Context()))
		if !ok || e.Code != want || (want == agentapi.CodeLimited && !strings.Contains(e.Msg, "no such table")) {
			t.Errorf("%s: %+v, want code %d", why, e, want)
		}
	}
}

func TestErrorOfGCNamesThePod(t *testing.T) {
	h, l := newHandler(t)
	req := agentapi.Request{Version: agentapi.Version, Verb: agentapi.GC, Attachment: agentapi.Attachment{Network: "aws-cni"}}
	for want, refuse := range map[string]*node.Error{
		"pod default/web: wiring-failed":      {Pod: node.PodName{Namespace: "default", Name: "web"}, Op: "DEL", Why: node.WiringError},
		"network aws-cni: starting: metadata": {Op: "GC", Why: pool.Starting, Detail: "metadata"},
	} {
		l.refuses(refuse)
		if e, ok := errors.AsType[*agentapi.Error](h.GC(t.Context(), req)); !ok || e.Msg != want {
			t.Errorf("%+v, want %q", e, want)
		}
	}
}

func TestStatusSaysWhatTheStartWaitsFor(t *testing.T) {
	h, l := newHandler(t)
	if err := h.Status(t.Context()); err != nil {
		t.Fatal(err)
	}
	l.refuses(&node.Error{Op: "STATUS", Why: pool.Starting, Retry: true})
	e, ok := errors.AsType[*agentapi.Error](h.Status(t.Context()))
	if !ok || e.Code != agentapi.CodeNotAvailable || e.Msg != "the agent is not ready: it waits for the instance metadata service: no route" {
		t.Errorf("%+v", e)
	}
}

func TestGC(t *testing.T) {
	h, l := newHandler(t)
	for _, c := range []string{"c1", "c2"} {
		req := request(agentapi.Add)
		req.Attachment.ContainerID = c
		if _, err := h.Add(t.Context(), req, ownNetns(t)); err != nil {
			t.Fatal(err)
		}
	}
	req := request(agentapi.GC)
	req.Valid = []agentapi.Attachment{{Network: "aws-cni", ContainerID: "c2", IfName: "eth0"}}
	if err := h.GC(t.Context(), req); err != nil || len(l.pods) != 1 {
		t.Errorf("%v, %v", err, l.pods)
	}
}

// A DEL while the loop starts is not lost and not refused: it waits on disk, and is applied once the loop is ready.
func TestDelWhileStarting(t *testing.T) {
	h, l := newHandler(t)
	if _, err := h.Add(t.Context(), request(agentapi.Add), ownNetns(t)); err != nil {
		t.Fatal(err)
	}
	l.refuses(&node.Error{Op: "DEL", Why: pool.Starting, Retry: true})
	if err := h.Del(t.Context(), request(agentapi.Del)); err != nil {
		t.Fatalf("DEL while starting: %v", err)
	}
	l.refuses(nil)
	if entries, err := h.queue.List(); err != nil || len(entries) != 1 {
		t.Fatalf("%d requests wait, %v", len(entries), err)
	}
	applied := 0
	h.applied = func() { applied++ }
	synctest.Test(t, func(t *testing.T) {
		serving, ready := make(chan struct{}), make(chan struct{})
		close(serving)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- h.drain(serving, ready)(ctx) }()
		synctest.Wait()
		if applied != 0 {
			t.Error("applied before the loop was ready")
		}
		close(ready)
		synctest.Wait()
		if applied != 1 || len(l.pods) != 0 {
			t.Errorf("%d applied, pods %v", applied, l.pods)
		}
		// What comes later is found at the next look, and kept until it works.
		if err := h.queue.Put(request(agentapi.Del), time.Now()); err != nil {
			t.Fatal(err)
		}
		l.refuses(errors.New("rule busy"))
		time.Sleep(queueEvery) //nolint:forbidigo // virtual time
		synctest.Wait()
		if applied != 1 {
			t.Error("a failed delete counts as applied")
		}
		l.refuses(nil)
		time.Sleep(time.Minute) //nolint:forbidigo // virtual time
		synctest.Wait()
		if applied != 2 {
			t.Errorf("%d applied", applied)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	if entries, _ := h.queue.List(); len(entries) != 0 {
		t.Errorf("%d requests are left", len(entries))
	}
}

// The plugin leaves a DEL on disk because no agent answers, then asks the one that just starts. That one leaves it on disk,
// too, and its success must not be the end of the request: the pod's address was lost until the node's end.
func TestDelThatMeetsAStartingAgentIsNotForgotten(t *testing.T) {
	h, l := newHandler(t)
	waits := func() int {
		t.Helper()
		entries, err := h.queue.List()
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	if err := h.queue.Put(request(agentapi.Del), time.Now()); err != nil {
		t.Fatal(err)
	}
	l.refuses(&node.Error{Op: "DEL", Why: pool.Starting, Retry: true})
	if err := h.Del(t.Context(), request(agentapi.Del)); err != nil || waits() != 1 {
		t.Errorf("%v, %d requests wait", err, waits())
	}
	l.refuses(nil)
	if err := h.Del(t.Context(), request(agentapi.Del)); err != nil || waits() != 0 {
		t.Errorf("once it is done: %v, %d requests wait", err, waits())
	}
	// A DEL that waits is older than an ADD of the same attachment, and does not take its network away.
	if err := h.queue.Put(request(agentapi.Del), time.Now()); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Add(t.Context(), request(agentapi.Add), ownNetns(t)); err != nil || waits() != 0 {
		t.Errorf("after ADD: %v, %d requests wait", err, waits())
	}
}

func ownNetns(t *testing.T) *os.File {
	t.Helper()
	f, err := os.Open("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func TestAddToWhatIsNoNetworkNamespace(t *testing.T) {
	f, err := os.Open("/proc/self/ns/mnt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h, _ := newHandler(t)
	_, err = h.Add(t.Context(), request(agentapi.Add), f)
	if e, ok := errors.AsType[*agentapi.Error](err); !ok || e.Code != agentapi.CodeEnvironment {
		t.Errorf("ADD: %v", err)
	}
}

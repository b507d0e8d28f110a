package server_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/berth-net/berth/internal/agentapi"
	"github.com/berth-net/berth/internal/agentapi/cniresult"
	"github.com/berth-net/berth/internal/agentapi/server"
)

// fake is a handler with state: the attachments that it holds.
type fake struct {
	mu    sync.Mutex
	held  map[agentapi.Attachment]agentapi.Added
	wait  chan struct{} // Add waits for it, when it is set
	ended chan error    // why a waiting Add gave up
}

func (f *fake) Add(ctx context.Context, req agentapi.Request, netns *os.File) (agentapi.Added, error) {
	if f.wait != nil {
		select {
		case <-f.wait:
		case <-ctx.Done():
			f.ended <- ctx.Err()
			return agentapi.Added{}, ctx.Err()
		}
	}
	info, err := netns.Stat()
	if err != nil {
		return agentapi.Added{}, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	added := agentapi.Added{Addrs: []netip.Addr{netip.MustParseAddr("10.0.0.9")}, HostVeth: "eni" + req.Pod.Name, Table: int(info.Size())}
	f.held[req.Attachment] = added
	return added, nil
}

func (f *fake) Del(_ context.Context, req agentapi.Request) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.held, req.Attachment)
	return nil
}

func (f *fake) Check(_ context.Context, req agentapi.Request, _ *os.File) (agentapi.Added, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	added, ok := f.held[req.Attachment]
	if !ok {
		return added, fmt.Errorf("look up %s: %w", req.Attachment, agentapi.Errorf(agentapi.CodeUnknownContainer, "unknown"))
	}
	return added, nil
}

func (f *fake) GC(context.Context, agentapi.Request) error { return errors.New("plain error") }

func (f *fake) Status(context.Context) error { panic("a bug in the handler") }

func (f *fake) Report(context.Context) (json.RawMessage, error) {
	return json.RawMessage(`{"pods":1}`), nil
}

// serve starts a server and returns its socket; stop ends it and waits.
func serve(t *testing.T, f *fake, path string) (stop func()) {
	t.Helper()
	s, err := server.Listen(path, f, "test", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func add(container string) agentapi.Request {
	return agentapi.Request{
		Verb:       agentapi.Add,
		CNIVersion: "1.0.0", Attachment: agentapi.Attachment{Network: "n", ContainerID: container, IfName: "eth0"},
		Pod: agentapi.Pod{Name: container},
	}
}

func netns(t *testing.T) *os.File {
	t.Helper()
	path := filepath.Join(t.TempDir(), "netns")
	if err := os.WriteFile(path, []byte("1234567"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func TestVerbs(t *testing.T) {
	f := &fake{held: map[agentapi.Attachment]agentapi.Added{}}
	path := filepath.Join(t.TempDir(), "run", "berth.sock")
	serve(t, f, path)
	c := agentapi.Client{Socket: path, Build: "plugin"}

	reply, err := c.Do(add("c1"), netns(t), 5*time.Second)
	if err != nil || reply.Agent != "test" {
		t.Fatalf("ADD: %+v, %v", reply, err)
	}
	if added, err := cniresult.Parse("1.0.0", "eth0", reply.Result); err != nil || added.HostVeth != "enic1" || added.Table != 7 {
		t.Fatalf("ADD: %+v, %v", added, err)
	}
	check := add("c1")
	check.Verb = agentapi.Check
	if reply, err := c.Do(check, nil, 5*time.Second); err != nil || reply.Added.HostVeth != "enic1" {
		t.Errorf("CHECK: %+v, %v", reply, err)
	}
	del := add("c1")
	del.Verb = agentapi.Del
	if _, err := c.Do(del, nil, 5*time.Second); err != nil {
		t.Errorf("DEL: %v", err)
	}
	wantCode := func(verb agentapi.Verb, want agentapi.Code) {
		t.Helper()
		req := add("c1")
		req.Verb = verb
		_, err := c.Do(req, nil, 5*time.Second)
		if e, ok := errors.AsType[*agentapi.Error](err); !ok || e.Code != want {
			t.Errorf("%s: error %v, want code %d", verb, err, want)
		}
	}
	wantCode(agentapi.Check, agentapi.CodeUnknownContainer)
	wantCode(agentapi.Add, agentapi.CodeEnvironment) // no descriptor
	wantCode(agentapi.GC, agentapi.CodeInternal)
	wantCode(agentapi.Status, agentapi.CodeInternal) // a panic ends the request, not the agent
	wantCode("MOVE", agentapi.CodeProtocol)
	if reply, err := c.Do(agentapi.Request{Verb: agentapi.Report}, nil, 5*time.Second); err != nil || string(reply.Report) != `{"pods":1}` {
		t.Errorf("REPORT: %s, %v", reply.Report, err)
	}
}

func TestGarbageIsAnswered(t *testing.T) {
	path := filepath.Join(t.TempDir(), "berth.sock")
	serve(t, &fake{}, path)
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("GET / HTTP/1.1\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	reply, err := agentapi.ReadReply(conn)
	if err != nil || reply.Error == nil || reply.Error.Code != agentapi.CodeDecode || !strings.Contains(reply.Error.Msg, "length") {
		t.Errorf("answer %+v, %v", reply.Error, err)
	}
}

func TestWaitingAddEndsWithItsCaller(t *testing.T) {
	f := &fake{held: map[agentapi.Attachment]agentapi.Added{}, wait: make(chan struct{}), ended: make(chan error, 1)}
	path := filepath.Join(t.TempDir(), "berth.sock")
	serve(t, f, path)
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	req := add("c1")
	req.Version = agentapi.Version
	if err := agentapi.WriteRequest(conn, req, netns(t)); err != nil {
		t.Fatal(err)
	}
	conn.Close() // the runtime killed the plugin
	if err := <-f.ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the waiting ADD ended with %v", err)
	}
}

func TestAddAnswersBeforeThePluginGivesUp(t *testing.T) {
	f := &fake{held: map[agentapi.Attachment]agentapi.Added{}, wait: make(chan struct{}), ended: make(chan error, 1)}
	path := filepath.Join(t.TempDir(), "berth.sock")
	serve(t, f, path)
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	req := add("c1")
	req.Version, req.TimeoutMillis = agentapi.Version, 20
	if err := agentapi.WriteRequest(conn, req, netns(t)); err != nil {
		t.Fatal(err)
	}
	reply, err := agentapi.ReadReply(conn)
	if err != nil || reply.Error == nil || reply.Error.Code != agentapi.CodeTryAgainLater {
		t.Errorf("answer %+v, %v", reply.Error, err)
	}
}

// A new agent takes the socket's place while the old one still runs; the old one's end leaves the new one's file alone.
func TestSocketIsReplacedAtomically(t *testing.T) {
	path := filepath.Join(t.TempDir(), "berth.sock")
	if err := os.WriteFile(path, []byte("left over"), 0o600); err != nil {
		t.Fatal(err)
	}
	oldAgent := &fake{held: map[agentapi.Attachment]agentapi.Added{}}
	stopOld := serve(t, oldAgent, path)
	newAgent := &fake{held: map[agentapi.Attachment]agentapi.Added{}}
	stopNew := serve(t, newAgent, path)
	stopOld()
	if _, err := (agentapi.Client{Socket: path}).Do(add("c1"), netns(t), 5*time.Second); err != nil {
		t.Fatalf("the new agent does not answer: %v", err)
	}
	if len(newAgent.held) != 1 || len(oldAgent.held) != 0 {
		t.Error("the old agent answered")
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("socket %v, %v; want mode 0660", info, err)
	}
	stopNew()
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the last agent left its socket: %v", err)
	}
}

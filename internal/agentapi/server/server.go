// Package server is the agent's side of the plugin's protocol: it owns the socket file, checks who calls, bounds time and
// size of every exchange, and hands requests to a Handler. It decides nothing.
package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/berth-net/berth/internal/agentapi"
	"github.com/berth-net/berth/internal/agentapi/cniresult"
)

// Handler answers requests, several at a time. The context ends when the plugin does not wait any more. An error that is
// no *agentapi.Error is sent as agentapi.CodeInternal.
type Handler interface {
	// Add gives the attachment an address and wires its namespace. The descriptor is closed by the caller.
	Add(ctx context.Context, req agentapi.Request, netns *os.File) (agentapi.Added, error)
	// Del removes the attachment; one that is not known is success.
	Del(ctx context.Context, req agentapi.Request) error
	// Check tells what the attachment should look like, or what is wrong with it. netns may be nil.
	Check(ctx context.Context, req agentapi.Request, netns *os.File) (agentapi.Added, error)
	// GC removes the attachments of the network that are not in req.Valid.
	GC(ctx context.Context, req agentapi.Request) error
	// Status tells whether an ADD would succeed.
	Status(ctx context.Context) error
	// Report returns the node's state.
	Report(ctx context.Context) (json.RawMessage, error)
}

// Limits of one exchange.
const (
	// readTimeout is how long a caller may take to send its request.
	readTimeout = 2 * time.Second
	// writeTimeout is how long it may take to take the reply.
	writeTimeout = 2 * time.Second
	// maxConns is how many callers are served at once; the others wait in the socket's backlog.
	maxConns = 512
)

// Server listens on a unix socket.
type Server struct {
	path     string
	listener *net.UnixListener
	self     fs.FileInfo // of our socket file
	handler  Handler
	log      *slog.Logger
	build    string
}

// Listen makes the socket file and replaces one that an earlier agent left, in one step: there is no moment without a
// socket file. Its directory is made when it is missing.
func Listen(path string, handler Handler, build string, log *slog.Logger) (*Server, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // read by other programs of the node
		return nil, fmt.Errorf("make directory of socket %s: %w", path, err)
	}
	tmp := path + "." + strconv.Itoa(os.Getpid())
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("remove left-over socket %s: %w", tmp, err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: tmp, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", tmp, err)
	}
	l.SetUnlinkOnClose(false) // the file has another name by then
	s := &Server{path: path, listener: l, handler: handler, log: log, build: build}
	if err := s.publish(tmp); err != nil {
		return nil, errors.Join(err, l.Close(), os.Remove(tmp))
	}
	return s, nil
}

func (s *Server) publish(tmp string) error {
	if err := os.Chmod(tmp, 0o660); err != nil { //nolint:gosec // root and its group, as the existing CNI has it
		return fmt.Errorf("set mode of socket %s: %w", tmp, err)
	}
	self, err := os.Lstat(tmp)
	if err != nil {
		return fmt.Errorf("read mode of socket %s: %w", tmp, err)
	}
	s.self = self
	if err := os.Rename(tmp, s.path); err != nil {
		return fmt.Errorf("publish socket %s: %w", s.path, err)
	}
	return nil
}

// Serve answers until ctx ends, then cancels what is under way, removes the socket file if it is still its own, and
// returns nil.
func (s *Server) Serve(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = s.listener.Close() })
	defer stop()
	var conns sync.WaitGroup
	slots := make(chan struct{}, maxConns)
	for {
		slots <- struct{}{}
		c, err := s.listener.AcceptUnix()
		if err != nil {
			if ctx.Err() == nil && temporary(err) {
				<-slots
				s.log.Warn("cannot accept a connection", "err", err)
				s.pause(ctx)
				continue
			}
			shutdown := ctx.Err() != nil
			cancel()
			conns.Wait()
			s.unpublish()
			if shutdown {
				return nil
			}
			return fmt.Errorf("accept on %s: %w", s.path, err)
		}
		conns.Go(func() {
			defer func() { <-slots }()
			s.serve(ctx, c)
		})
	}
}

// temporary tells errors of accept that pass, such as a lack of descriptors.
func temporary(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || errors.Is(err, syscall.ENOBUFS) ||
		errors.Is(err, syscall.ENOMEM) || errors.Is(err, syscall.ECONNABORTED)
}

func (s *Server) pause(ctx context.Context) {
	t := time.NewTimer(100 * time.Millisecond)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// unpublish removes the socket file unless a newer agent has put its own there.
func (s *Server) unpublish() {
	if now, err := os.Lstat(s.path); err == nil && os.SameFile(now, s.self) {
		_ = os.Remove(s.path)
	}
}

func (s *Server) serve(ctx context.Context, c *net.UnixConn) {
	defer func() { _ = c.Close() }()
	if err := allowed(c); err != nil {
		s.log.Warn("refused a caller of the plugin's socket", "err", err)
		return
	}
	_ = c.SetReadDeadline(time.Now().Add(readTimeout))
	req, netns, err := agentapi.ReadRequest(c)
	var reply agentapi.Reply
	if err != nil {
		reply.Error = agentapi.Errorf(agentapi.CodeDecode, "read the plugin's request: %v", err)
	} else {
		reply = s.answer(ctx, c, req, netns)
	}
	reply.Version, reply.Agent = agentapi.Version, s.build
	_ = c.SetWriteDeadline(time.Now().Add(writeTimeout))
	if err := agentapi.WriteReply(c, reply); err != nil {
		s.log.Debug("the plugin did not take its answer", "action", string(req.Verb), "err", err)
	}
}

// answer calls the handler with a context that ends with the plugin's patience or its life.
func (s *Server) answer(ctx context.Context, c *net.UnixConn, req agentapi.Request, netns *os.File) agentapi.Reply {
	if netns != nil {
		defer func() { _ = netns.Close() }()
	}
	if err := req.Validate(); err != nil {
		return agentapi.Reply{Error: err}
	}
	ctx, cancel := context.WithTimeout(ctx, req.Timeout(limit(req.Verb)))
	defer cancel()
	_ = c.SetReadDeadline(time.Time{})
	gone := make(chan struct{})
	go func() { // ends when the plugin closes its side, at the latest with the deferred SetReadDeadline
		defer close(gone)
		var b [1]byte
		if _, err := c.Read(b[:]); err != nil {
			cancel()
		}
	}()
	defer func() {
		_ = c.SetReadDeadline(time.Now())
		<-gone
	}()
	reply, err := s.dispatch(ctx, req, netns)
	if err != nil {
		return agentapi.Reply{Error: asError(req, err)}
	}
	return reply
}

func limit(v agentapi.Verb) time.Duration {
	switch v {
	case agentapi.Add:
		return agentapi.AddWait
	case agentapi.Del:
		return agentapi.DelWait
	default:
		return agentapi.AskWait
	}
}

func (s *Server) dispatch(ctx context.Context, req agentapi.Request, netns *os.File) (reply agentapi.Reply, err error) {
	defer func() {
		if p := recover(); p != nil {
			s.log.Error("request panicked", "action", string(req.Verb), "err", fmt.Sprint(p), "stack", string(debug.Stack()))
			err = agentapi.Errorf(agentapi.CodeInternal, "%s of %s: the agent panicked: %v", req.Verb, req.Attachment, p)
		}
	}()
	switch req.Verb {
	case agentapi.Add:
		if netns == nil {
			return reply, agentapi.Errorf(agentapi.CodeEnvironment, "ADD of %s came without a network namespace", req.Attachment)
		}
		added, err := s.handler.Add(ctx, req, netns)
		if err != nil {
			return reply, err
		}
		reply.Result, err = cniresult.Encode(req, added)
		return reply, err
	case agentapi.Del:
		return reply, s.handler.Del(ctx, req)
	case agentapi.Check:
		added, err := s.handler.Check(ctx, req, netns)
		return agentapi.Reply{Added: &added}, err
	case agentapi.GC:
		return reply, s.handler.GC(ctx, req)
	case agentapi.Status:
		return reply, s.handler.Status(ctx)
	case agentapi.Report:
		report, err := s.handler.Report(ctx)
		return agentapi.Reply{Report: report}, err
	}
	return reply, agentapi.Errorf(agentapi.CodeProtocol, "unknown verb %q", req.Verb) // Validate has refused it
}

func asError(req agentapi.Request, err error) *agentapi.Error {
	if e, ok := errors.AsType[*agentapi.Error](err); ok {
		return e
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return agentapi.Errorf(agentapi.CodeTryAgainLater, "%s of %s: no answer in time: %v", req.Verb, req.Attachment, err)
	}
	return agentapi.Errorf(agentapi.CodeInternal, "%s of %s: %v", req.Verb, req.Attachment, err)
}

// allowed tells whether the process at the other end may ask: root, or the user that the agent itself runs as.
func allowed(c *net.UnixConn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return fmt.Errorf("read peer credentials: %w", err)
	}
	var cred *syscall.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) {
		cred, credErr = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	}); err != nil {
		return fmt.Errorf("read peer credentials: %w", err)
	}
	if credErr != nil {
		return fmt.Errorf("read peer credentials: %w", credErr)
	}
	if cred.Uid != 0 && int(cred.Uid) != os.Geteuid() {
		return fmt.Errorf("process %d of user %d is not root", cred.Pid, cred.Uid)
	}
	return nil
}

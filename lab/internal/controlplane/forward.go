package controlplane

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/berth-net/berth/lab/internal/proc"
)

// forwarder accepts on the machine's loopback and dials inside a network namespace.
type forwarder struct {
	listener net.Listener
	addr     netip.AddrPort
	netns    string
	to       netip.AddrPort

	mu    sync.Mutex
	open  map[net.Conn]bool // nil once closed
	group sync.WaitGroup
}

func listen(ctx context.Context, at netip.AddrPort, netns string, to netip.AddrPort) (*forwarder, error) {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", at.String())
	if err != nil {
		return nil, fmt.Errorf("listen for the operator: %w", err)
	}
	addr, err := netip.ParseAddrPort(listener.Addr().String())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("listen for the operator: %w", err), listener.Close())
	}
	f := &forwarder{listener: listener, addr: addr, netns: netns, to: to, open: map[net.Conn]bool{}}
	f.group.Go(f.accept)
	return f, nil
}

func (f *forwarder) accept() {
	for {
		conn, err := f.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // too many open files, or the peer gone already: the next may do better
		}
		if !f.track(conn) {
			return
		}
		f.group.Go(func() { f.carry(conn) })
	}
}

// track remembers a connection for close, and refuses it afterwards.
func (f *forwarder) track(conn net.Conn) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.open == nil {
		_ = conn.Close()
		return false
	}
	f.open[conn] = true
	return true
}

func (f *forwarder) forget(conn net.Conn) {
	_ = conn.Close()
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.open, conn)
}

// carry copies both ways; the end of one direction is passed on, and the other goes on.
func (f *forwarder) carry(from net.Conn) {
	defer f.forget(from)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	to, err := proc.Dial(ctx, f.netns, f.to)
	if err != nil || !f.track(to) {
		return
	}
	defer f.forget(to)
	var both sync.WaitGroup
	both.Go(func() { pass(to, from) })
	both.Go(func() { pass(from, to) })
	both.Wait()
}

func pass(to, from net.Conn) {
	_, _ = io.Copy(to, from)
	if half, ok := to.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
}

// close ends the listener and every connection.
func (f *forwarder) close() error {
	err := f.listener.Close()
	f.mu.Lock()
	open := f.open
	f.open = nil
	f.mu.Unlock()
	for conn := range open {
		_ = conn.Close()
	}
	f.group.Wait()
	if err != nil {
		return fmt.Errorf("close the operator's listener: %w", err)
	}
	return nil
}

package fabric

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/berth-net/berth/internal/vpcsim/fabric/plan"
)

// EchoAddr is the internet's echo service. On EchoPort it answers each TCP connection and each UDP datagram with the
// source address and port that it saw, and a line feed; HTTP GET / on EchoHTTPPort does the same.
var EchoAddr = netip.MustParseAddr("203.0.113.10")

// Ports of the echo service.
const (
	EchoPort     = 7
	EchoHTTPPort = 80
)

// serveInternet starts the internet's services when they do not run yet.
func (f *Fabric) serveInternet(ctx context.Context) error {
	if len(f.services) > 0 {
		return nil
	}
	ns := f.spaces[plan.InternetKey].ns
	at := func(port int) string { return net.JoinHostPort(EchoAddr.String(), strconv.Itoa(port)) }
	tcp, err := listenIn(ctx, ns, "tcp4", at(EchoPort))
	if err != nil {
		return fmt.Errorf("start the internet's echo: %w", err)
	}
	web, err := listenIn(ctx, ns, "tcp4", at(EchoHTTPPort))
	if err != nil {
		return errors.Join(fmt.Errorf("start the internet's echo: %w", err), tcp.Close())
	}
	var udp net.PacketConn
	err = in(ns, func() error {
		udp, err = (&net.ListenConfig{}).ListenPacket(ctx, "udp4", at(EchoPort))
		return err
	})
	if err != nil {
		return errors.Join(fmt.Errorf("start the internet's echo: %w", err), tcp.Close(), web.Close())
	}
	server := &http.Server{
		ReadHeaderTimeout: 10 * time.Second,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/plain")
			_, _ = fmt.Fprintln(w, r.RemoteAddr)
		}),
	}
	go echoTCP(tcp)
	go echoUDP(udp)
	go func() { _ = server.Serve(web) }()
	f.services = []func() error{tcp.Close, udp.Close, server.Close}
	return nil
}

// echoTCP ends when the listener is closed.
func echoTCP(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		_, _ = fmt.Fprintln(conn, conn.RemoteAddr()) // a few bytes fit into the socket's buffer
		_ = conn.Close()
	}
}

// echoUDP ends when the socket is closed.
func echoUDP(conn net.PacketConn) {
	buf := make([]byte, 2048)
	for {
		_, from, err := conn.ReadFrom(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			_, _ = conn.WriteTo([]byte(from.String()+"\n"), from)
		}
	}
}

// ListenInternet opens a listener on the internet at a public address of its own, which it adds where it is missing.
func (f *Fabric) ListenInternet(ctx context.Context, network string, address netip.AddrPort) (net.Listener, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.spaces[plan.InternetKey]
	if s == nil || f.want == nil {
		return nil, fmt.Errorf("listen on the internet at %s: no topology has been applied", address)
	}
	if a := address.Addr(); !f.want.Spaces[plan.InternetKey].Addrs[a] {
		f.want.Spaces[plan.InternetKey].Addrs[a] = true
		if err := f.fill(ctx, s, f.want.Spaces[plan.InternetKey]); err != nil {
			return nil, fmt.Errorf("add address %s to the internet: %w", a, err)
		}
		if !slices.Contains(f.extra, a) {
			f.extra = append(f.extra, a)
		}
	}
	l, err := listenIn(ctx, s.ns, network, address.String())
	if err != nil {
		return nil, fmt.Errorf("listen on the internet: %w", err)
	}
	return l, nil
}

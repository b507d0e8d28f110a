package fabric

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"

	"github.com/vishvananda/netns"

	"github.com/berth-net/berth/internal/core/vpc"
	"github.com/berth-net/berth/internal/vpcsim/fabric/plan"
)

// hubKey is a listening address in a VPC's namespace.
type hubKey struct {
	vpc  vpc.ID
	addr netip.AddrPort
}

// hub shares one listening socket among the instances of a VPC: a connection goes to the instance that its source
// address is assigned to.
type hub struct {
	base  net.Listener
	owner func(netip.Addr) (vpc.InstanceID, bool)

	mu   sync.Mutex
	subs map[vpc.InstanceID]*listener
}

// Listen opens a listener one link outside an instance, which has to have an interface: it accepts what the instance,
// or a pod behind it, sends to address by any of its interfaces. The address is one of the link-local services, for
// example "169.254.169.254:80". Its connections are *net.TCPConn.
func (f *Fabric) Listen(ctx context.Context, instance vpc.InstanceID, network, address string) (net.Listener, error) {
	addr, err := netip.ParseAddrPort(address)
	if err != nil || (network != "tcp" && network != "tcp4") {
		return nil, fmt.Errorf("listen for instance %s on %s %q: only tcp on an address and a port", instance, network, address)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.want == nil || f.want.VPCOf[instance] == "" {
		return nil, fmt.Errorf("listen for instance %s on %s: it has no interface", instance, address)
	}
	key := hubKey{f.want.VPCOf[instance], addr}
	h := f.hubs[key]
	if h == nil {
		base, err := listenIn(ctx, f.spaces[plan.VPCKey(key.vpc)].ns, "tcp4", address)
		if err != nil {
			return nil, fmt.Errorf("listen for instance %s: %w", instance, err)
		}
		h = &hub{base: base, subs: map[vpc.InstanceID]*listener{}, owner: func(a netip.Addr) (vpc.InstanceID, bool) {
			o := (*f.owners.Load())[key.vpc]
			if o == nil {
				return "", false
			}
			return o.Of(a)
		}}
		f.hubs[key] = h
		go h.serve()
	}
	return h.subscribe(instance, func() { f.drop(key, h) })
}

// ListenPacket opens a socket in a VPC's namespace, for a service that answers every instance alike, such as DNS at
// [ResolverAddr].
func (f *Fabric) ListenPacket(ctx context.Context, id vpc.ID, network, address string) (net.PacketConn, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.spaces[plan.VPCKey(id)]
	if s == nil {
		return nil, fmt.Errorf("listen in vpc %s on %s: there is no such vpc", id, address)
	}
	var conn net.PacketConn
	err := in(s.ns, func() error {
		var err error
		conn, err = (&net.ListenConfig{}).ListenPacket(ctx, network, address)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listen in vpc %s: %w", id, err)
	}
	return conn, nil
}

// listenIn opens a listener in a namespace; the socket stays there whichever thread uses it.
func listenIn(ctx context.Context, ns netns.NsHandle, network, address string) (net.Listener, error) {
	var l net.Listener
	err := in(ns, func() error {
		var err error
		l, err = (&net.ListenConfig{}).Listen(ctx, network, address)
		return err
	})
	return l, err
}

// drop closes a hub that has no listener left.
func (f *Fabric) drop(key hubKey, h *hub) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if h.empty() && f.hubs[key] == h {
		_ = h.base.Close()
		delete(f.hubs, key)
	}
}

func (h *hub) empty() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.subs) == 0
}

func (h *hub) subscribe(instance vpc.InstanceID, closed func()) (net.Listener, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.subs[instance] != nil {
		return nil, fmt.Errorf("listen for instance %s on %s: it has a listener there", instance, h.base.Addr())
	}
	l := &listener{addr: h.base.Addr(), conns: make(chan net.Conn, 64), done: make(chan struct{})}
	l.leave = func() {
		h.mu.Lock()
		delete(h.subs, instance)
		h.mu.Unlock()
		closed()
	}
	h.subs[instance] = l
	return l, nil
}

// serve ends when the base listener is closed.
func (h *hub) serve() {
	for {
		conn, err := h.base.Accept()
		if err != nil {
			return
		}
		if !h.deliver(conn) {
			reset(conn)
		}
	}
}

// deliver hands a connection to its instance's listener, and refuses it when that has too many waiting.
func (h *hub) deliver(conn net.Conn) bool {
	remote, ok := conn.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return false
	}
	instance, ok := h.owner(remote.AddrPort().Addr().Unmap())
	if !ok {
		return false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	l := h.subs[instance]
	if l == nil {
		return false
	}
	select {
	case l.conns <- conn:
		return true
	default:
		return false
	}
}

// stop ends all listeners of the hub.
func (h *hub) stop() {
	_ = h.base.Close()
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, l := range h.subs {
		l.end()
	}
	for _, l := range h.subs {
		l.refuse()
	}
	h.subs = map[vpc.InstanceID]*listener{}
}

// reset closes a connection as a port without a listener would.
func reset(conn net.Conn) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}

// listener is one instance's share of a hub.
type listener struct {
	addr  net.Addr
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
	leave func()
}

// Accept waits for a connection of the instance.
func (l *listener) Accept() (net.Conn, error) {
	select {
	case <-l.done:
		return nil, net.ErrClosed
	case conn := <-l.conns:
		return conn, nil
	}
}

// Close ends Accept and refuses what waits.
func (l *listener) Close() error {
	if l.end() { // outside of once: leaving waits for locks that whoever stops the hub holds
		l.leave()
		l.refuse()
	}
	return nil
}

// end ends Accept; it reports whether this call did it.
func (l *listener) end() (first bool) {
	l.once.Do(func() {
		close(l.done)
		first = true
	})
	return first
}

// refuse closes the connections that wait.
func (l *listener) refuse() {
	for {
		select {
		case conn := <-l.conns:
			reset(conn)
		default:
			return
		}
	}
}

// Addr is the address in the VPC's namespace.
func (l *listener) Addr() net.Addr { return l.addr }

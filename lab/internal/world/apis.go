package world

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/berth-net/berth/internal/core/vpc"
	"github.com/berth-net/berth/internal/vpcsim"
	"github.com/berth-net/berth/internal/vpcsim/fabric"
	"github.com/berth-net/berth/internal/vpcsim/wire"
	"github.com/berth-net/berth/internal/vpcsim/wire/sigv4"
	"github.com/berth-net/berth/lab/internal/dns"
)

// The operator's key: the account itself, which may do everything.
const (
	operatorKey    = "AKIAIOSFODNN7EXAMPLE"
	operatorSecret = "lab"
)

// ports are the loopback ports that a lab keeps over restarts, so that a shell's environment stays good.
type ports struct {
	API        uint16
	Kubernetes uint16
}

// keepPort notes the port of an endpoint that was opened.
func (w *World) keepPort(port *uint16, endpoint string) error {
	_, hostport, ok := strings.Cut(endpoint, "//")
	if !ok {
		hostport = endpoint
	}
	at, err := netip.ParseAddrPort(hostport)
	if err != nil {
		return fmt.Errorf("read endpoint %s: %w", endpoint, err)
	}
	*port = at.Port()
	return writeJSON(w.paths.ports(), w.ports)
}

// apis are the servers: EC2, EKS and STS on the loopback, the same and the metadata service outside each instance, DNS,
// and the control socket.
type apis struct {
	server  *wire.Server
	context context.Context
	group   *errgroup.Group
	control *http.Server

	mu     sync.Mutex
	served map[vpc.InstanceID]bool
}

func (w *World) startAPIs(ctx, background context.Context, group *errgroup.Group) error {
	keys := sigv4.NewStore(time.Now)
	keys.Add(sigv4.Credential{AccessKey: operatorKey, Secret: operatorSecret, Account: Account})
	w.apis = &apis{
		server:  wire.New(w.sim, wire.Options{Log: w.log, Credentials: keys, EKS: backend{w}, WebIdentity: trusted{w}}),
		context: background, group: group, served: map[vpc.InstanceID]bool{},
	}
	listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", w.ports.API))
	if errors.Is(err, syscall.EADDRINUSE) { // somebody took the last run's port meanwhile
		listener, err = net.Listen("tcp", "127.0.0.1:0")
	}
	if err != nil {
		return fmt.Errorf("listen for AWS clients: %w", err)
	}
	group.Go(func() error {
		return w.apis.server.ServeAPI(background, listener, vpcsim.Caller{Account: Account, Source: "operator"})
	})
	if err := w.keepPort(&w.ports.API, listener.Addr().String()); err != nil {
		return err
	}
	if err := w.clientEnv().WriteEndpoints(); err != nil {
		return err
	}
	for _, i := range w.present(slices.Concat(w.built.Nodes, w.extra)) {
		if err := w.serveInstance(ctx, i.ID); err != nil {
			return err
		}
	}
	if err := w.serveDNS(ctx, w.built.VPC); err != nil {
		return err
	}
	if err := w.serveControl(); err != nil {
		return err
	}
	w.progress.say("EC2, EKS and STS at %s", listener.Addr())
	return nil
}

// clientEnv is what an operator's AWS clients need.
func (w *World) clientEnv() wire.ClientEnv {
	return wire.ClientEnv{
		Endpoint: fmt.Sprintf("127.0.0.1:%d", w.ports.API), Region: w.built.Region, DataPath: w.paths.AWSData(),
		AccessKey: operatorKey, Secret: operatorSecret,
	}
}

// serveInstance opens an instance's metadata service and its way to EC2 and STS.
func (w *World) serveInstance(ctx context.Context, id vpc.InstanceID) error {
	a := w.apis
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.served[id] {
		return nil
	}
	metadata, err := w.fabric.Listen(ctx, id, "tcp", fmt.Sprintf("%s:80", fabric.MetadataAddr))
	if err != nil {
		return fmt.Errorf("listen for metadata of %s: %w", id, err)
	}
	gateway, err := w.fabric.Listen(ctx, id, "tcp", fmt.Sprintf("%s:%d", fabric.MetadataAddr, gatewayPort))
	if err != nil {
		return errors.Join(fmt.Errorf("listen for EC2 calls of %s: %w", id, err), metadata.Close())
	}
	a.served[id] = true
	a.group.Go(func() error { return w.gone(id, a.server.ServeIMDS(a.context, metadata, id)) })
	a.group.Go(func() error {
		return w.gone(id, a.server.ServeAPI(a.context, gateway, vpcsim.Caller{Account: Account, Source: "node:" + string(id)}))
	})
	return nil
}

// gone turns the end of an instance's server into nothing, but for the log: a terminated instance takes its listeners
// along.
func (w *World) gone(id vpc.InstanceID, err error) error {
	if err != nil {
		w.log.Info("server of an instance has ended", "node", string(id), "err", err)
	}
	return nil
}

func (w *World) serveDNS(ctx context.Context, id vpc.ID) error {
	conn, err := w.fabric.ListenPacket(ctx, id, "udp", fmt.Sprintf("%s:53", fabric.ResolverAddr))
	if err != nil {
		return fmt.Errorf("listen for DNS queries: %w", err)
	}
	w.apis.group.Go(func() error { return dns.Serve(w.apis.context, conn, resolver{w}, w.log) })
	return nil
}

// resolver knows the names that EC2 gives to the addresses in use. It is a [dns.Names].
type resolver struct{ w *World }

func (r resolver) used(address netip.Addr) bool {
	for _, i := range r.w.sim.Topology().Interfaces {
		if slices.Contains(i.Addresses, address) {
			return true
		}
	}
	return false
}

func (r resolver) suffix() string { return "." + r.w.built.Region + ".compute.internal" }

// Addresses reads the address out of names such as ip-10-0-0-155.us-west-2.compute.internal.
func (r resolver) Addresses(name string) ([]netip.Addr, bool) {
	text, ok := strings.CutSuffix(name, r.suffix())
	if !ok {
		return nil, false
	}
	text, ok = strings.CutPrefix(text, "ip-")
	if !ok {
		return nil, false
	}
	address, err := netip.ParseAddr(strings.ReplaceAll(text, "-", "."))
	if err != nil || !r.used(address) {
		return nil, false
	}
	return []netip.Addr{address}, true
}

// Name is the name of an address in use.
func (r resolver) Name(address netip.Addr) string {
	if !r.used(address) {
		return ""
	}
	return "ip-" + strings.ReplaceAll(address.String(), ".", "-") + r.suffix()
}

// close ends the servers that do not end with the context.
func (a *apis) close() error {
	if a.control == nil {
		return nil
	}
	if err := a.control.Close(); err != nil {
		return fmt.Errorf("close control socket: %w", err)
	}
	return nil
}

// serveControl opens the control socket, for root alone.
func (w *World) serveControl() error {
	path := w.paths.Socket()
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove old control socket: %w", err)
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		return fmt.Errorf("listen for orders: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return errors.Join(fmt.Errorf("protect control socket: %w", err), listener.Close())
	}
	w.apis.control = &http.Server{Handler: w.controlMux(), BaseContext: func(net.Listener) context.Context { return w.apis.context }}
	w.apis.group.Go(func() error {
		if err := w.apis.control.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve control socket: %w", err)
		}
		return nil
	})
	return nil
}

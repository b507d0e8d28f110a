package linux

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/internal/core/hostnet"
)

// Options are how a Host reaches the machine.
type Options struct {
	// NetNS is the network namespace to manage; nil is that of the process.
	NetNS *os.File
	// NftPath is the nft program; empty means that PATH is searched.
	NftPath string
	// ProcSys is where the kernel's settings are; empty means /proc/sys. A container may have its host's elsewhere.
	ProcSys string
	// XtablesLock is the file that programs of iptables-legacy lock; empty means /run/xtables.lock.
	XtablesLock string
	// Logger is told what heals itself and no caller hears of; nil discards it.
	Logger *slog.Logger
}

// Host is a machine's network. Its methods may be called from any goroutine; Run should be running.
type Host struct {
	netns   *os.File // never nil: the namespace that links are made in
	foreign bool     // netns is not that of the process
	nft     string
	procSys string
	log     *slog.Logger

	xtablesLock string

	route  *conn           // small requests
	lists  *netlink.Handle // dumps
	filter *conn           // nftables, read only

	reconcile sync.Mutex // one Reconcile at a time; guards table and existing
	table     appliedTable
	existing  existingLook
	prefix    atomic.Pointer[string] // of pod links, from the last settings seen

	unwired unwiredPods
	changes chan struct{}
	running atomic.Bool
	drop    chan struct{} // links of the group doomed exist
}

// New opens the machine's network.
func New(o Options) (*Host, error) {
	h := &Host{
		netns: o.NetNS, foreign: o.NetNS != nil, nft: o.NftPath, procSys: o.ProcSys, log: o.Logger, xtablesLock: o.XtablesLock,
		changes: make(chan struct{}, 1), drop: make(chan struct{}, 1),
	}
	if h.log == nil {
		h.log = slog.New(slog.DiscardHandler)
	}
	if h.xtablesLock == "" {
		h.xtablesLock = "/run/xtables.lock"
	}
	if h.procSys == "" {
		h.procSys = "/proc/sys"
	}
	if h.nft == "" {
		path, err := exec.LookPath("nft")
		if err != nil {
			return nil, fmt.Errorf("find program nft: %w", err)
		}
		h.nft = path
	}
	h.remember(hostnet.Settings{VethPrefix: "eni"})
	if err := h.open(); err != nil {
		return nil, errors.Join(err, h.Close())
	}
	return h, nil
}

func (h *Host) open() error {
	if h.netns == nil {
		f, err := os.Open("/proc/self/ns/net")
		if err != nil {
			return fmt.Errorf("open own network namespace: %w", err)
		}
		h.netns = f
	}
	var err error
	if h.route, err = dial(h.netns, unix.NETLINK_ROUTE); err != nil {
		return err
	}
	if h.filter, err = dial(h.netns, unix.NETLINK_NETFILTER); err != nil {
		return err
	}
	if h.lists, err = netlink.NewHandleAt(netns.NsHandle(h.netns.Fd()), unix.NETLINK_ROUTE); err != nil {
		return fmt.Errorf("open netlink handle: %w", err)
	}
	return nil
}

// Close lets go of the sockets. Nothing on the machine changes.
func (h *Host) Close() error {
	if h.route != nil {
		h.route.close()
	}
	if h.filter != nil {
		h.filter.close()
	}
	if h.lists != nil {
		h.lists.Close()
	}
	if !h.foreign && h.netns != nil {
		return h.netns.Close()
	}
	return nil
}

// Run watches the kernel for changes and removes the links of unwired pods, until ctx ends. Without it Changes stays silent
// and UnwirePod removes links itself.
func (h *Host) Run(ctx context.Context) error {
	h.running.Store(true)
	defer h.running.Store(false)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return h.watchRoutes(ctx) })
	g.Go(func() error { return h.watchTable(ctx) })
	g.Go(func() error { return h.removeLinks(ctx) })
	return g.Wait()
}

// Changes signals, coalesced, that links, routes, rules or nftables changed behind our back.
func (h *Host) Changes() <-chan struct{} { return h.changes }

func (h *Host) signal() {
	select {
	case h.changes <- struct{}{}:
	default: // one is waiting already
	}
}

// in runs f in the managed network namespace.
func (h *Host) in(f func() error) error {
	if !h.foreign {
		return f()
	}
	return In(h.netns, f)
}

// remember keeps what the watcher needs of the settings.
func (h *Host) remember(s hostnet.Settings) {
	if old := h.prefix.Load(); s.VethPrefix != "" && (old == nil || *old != s.VethPrefix) {
		h.prefix.Store(&s.VethPrefix)
	}
}

// Links lists the host's links.
func (h *Host) Links(context.Context) ([]hostnet.Link, error) {
	links, err := listLinks(h.lists)
	if err != nil {
		return nil, err
	}
	out := make([]hostnet.Link, len(links))
	for i, l := range links {
		out[i] = hostLink(l)
	}
	return out, nil
}

func hostLink(l netlink.Link) hostnet.Link {
	a := l.Attrs()
	return hostnet.Link{
		Index: a.Index, Name: a.Name, Alias: a.Alias, MAC: a.HardwareAddr.String(), MTU: a.MTU, Up: a.RawFlags&unix.IFF_UP != 0,
	}
}

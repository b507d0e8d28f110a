package fabric

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"path/filepath"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/internal/run"
	"github.com/berth-net/berth/internal/vpcsim/fabric/plan"
)

// openSpace opens the namespace at path.
func openSpace(path string) (*live, error) {
	ns, err := netns.GetFromPath(path)
	if err != nil {
		return nil, fmt.Errorf("open namespace %s: %w", path, err)
	}
	h, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		_ = ns.Close()
		return nil, fmt.Errorf("open netlink in namespace %s: %w", path, err)
	}
	return &live{path: path, ns: ns, h: h}, nil
}

func (s *live) close() {
	if s.h != nil {
		s.h.Close()
		s.h = nil
	}
	if s.ns.IsOpen() {
		_ = s.ns.Close()
	}
}

// remove closes the namespace and takes its bind mount away; the kernel then removes it with its links.
func (s *live) remove() error {
	s.close()
	return removeNamespace(s.path)
}

// forget makes the next observation read the namespace's content from the kernel.
func (s *live) forget() {
	s.known, s.booted, s.nft = false, false, nil
}

func (s *live) label() (string, error) {
	lo, err := linkByName(s.h, "lo")
	if err != nil {
		return "", fmt.Errorf("read label of namespace %s: %w", s.path, err)
	}
	return lo.Attrs().Alias, nil
}

// observe reads the content of the namespaces in which it is not known.
func (f *Fabric) observe() error {
	for _, s := range f.spaces {
		if s.h == nil || s.known {
			continue
		}
		if err := s.observe(); err != nil {
			return fmt.Errorf("observe namespace %s: %w", s.path, err)
		}
	}
	return nil
}

func (s *live) observe() error {
	links, err := dumpLinks(s.h)
	if err != nil {
		return err
	}
	s.links = map[string]built{}
	names := map[int]string{}
	for _, l := range links {
		a := l.Attrs()
		names[a.Index] = a.Name
		if a.Name != "lo" {
			s.links[a.Name] = built{ident: a.Alias, index: a.Index}
			continue
		}
		if s.addrs, err = observeAddresses(s.h, l); err != nil {
			return err
		}
	}
	if s.routes, err = observeRoutes(s.h, names); err != nil {
		return err
	}
	if s.rules, err = observeRules(s.h); err != nil {
		return err
	}
	s.known = true
	return nil
}

// removeLinks deletes the links of the VPCs' namespaces that are not wanted, or are not as wanted.
func (f *Fabric) removeLinks(want *plan.World) error {
	for key, s := range f.spaces {
		if key.Kind != plan.KindVPC {
			continue
		}
		wanted := map[string]plan.Link{}
		if w := want.Spaces[key]; w != nil {
			wanted = w.Links
		}
		for _, name := range slices.Sorted(maps.Keys(s.links)) {
			have := s.links[name]
			if l, ok := wanted[name]; (ok && l.Ident() == have.ident) || (name == plan.LoopFar && wanted[plan.LoopNear].MAC != "") {
				continue
			}
			if err := s.removeLink(name); err != nil {
				return err
			}
			f.log.Info("link removed", "link", name, "id", key.ID, "why", cmp.Or(have.ident, "half made"))
			for other, peer := range f.spaces {
				if other.Kind == plan.KindNAT || other.Kind == plan.KindInternet {
					peer.known = false // its end went too
				}
			}
		}
	}
	return f.observe()
}

func (s *live) removeLink(name string) error {
	err := s.h.LinkDel(&netlink.GenericLink{LinkAttrs: netlink.LinkAttrs{Name: name, Index: s.links[name].index}})
	if err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("delete link %s: %w", name, err)
	}
	delete(s.links, name)
	maps.DeleteFunc(s.routes, func(_ plan.RouteKey, r plan.Route) bool { return r.Dev == name })
	return nil
}

func (f *Fabric) removeSpaces(want *plan.World) error {
	for key, s := range f.spaces {
		if want.Spaces[key] != nil {
			continue
		}
		for k, h := range f.hubs {
			if key == plan.VPCKey(k.vpc) {
				h.stop()
				delete(f.hubs, k)
			}
		}
		if err := s.remove(); err != nil {
			return err
		}
		delete(f.spaces, key)
		f.log.Info("namespace removed", "kind", string(key.Kind), "id", key.ID, "why", "not in the topology")
	}
	return nil
}

// createSpaces makes the missing namespaces; they take some milliseconds each, so a few at a time.
func (f *Fabric) createSpaces(ctx context.Context, want *plan.World) error {
	var keys []plan.Key
	for key := range want.Spaces {
		if f.spaces[key] == nil {
			keys = append(keys, key)
		}
	}
	slices.SortFunc(keys, func(a, b plan.Key) int { return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.ID, b.ID)) })
	made := make([]*live, len(keys))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(4)
	for i, key := range keys {
		group.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			s, err := f.createSpace(key, want.Spaces[key].Name)
			made[i] = s
			return err
		})
	}
	err := group.Wait()
	for i, s := range made {
		if s != nil {
			f.spaces[keys[i]] = s
		}
	}
	return err
}

func (f *Fabric) createSpace(key plan.Key, name string) (*live, error) {
	path := filepath.Join(f.dir, f.prefix+"-"+name)
	if err := createNamespace(path); err != nil {
		return nil, err
	}
	s, err := openSpace(path)
	if err != nil {
		return nil, errors.Join(err, removeNamespace(path))
	}
	s.key = key
	if err := s.prepare(f.label(key)); err != nil {
		return nil, errors.Join(fmt.Errorf("prepare namespace %s: %w", path, err), s.remove())
	}
	if key.Kind == plan.KindInstance {
		s.h.Close()
		s.h = nil
	}
	f.log.Info("namespace created", "kind", string(key.Kind), "id", key.ID, "path", path)
	return s, nil
}

// prepare sets what does not change. The label comes last: without it a scan takes the namespace for half made.
func (s *live) prepare(label string) error {
	if s.key.Kind != plan.KindInstance {
		if err := in(s.ns, func() error { return writeSysctls(routerSysctls) }); err != nil {
			return err
		}
	}
	lo, err := linkByName(s.h, "lo")
	if err != nil {
		return err
	}
	if err := s.h.LinkSetUp(lo); err != nil {
		return fmt.Errorf("set lo up: %w", err)
	}
	return s.h.LinkSetAlias(lo, label)
}

// createLinks makes the missing links of all VPCs, each instance's in the order of its interfaces.
func (f *Fabric) createLinks(ctx context.Context, want *plan.World) error {
	for key, s := range f.spaces {
		w := want.Spaces[key]
		if key.Kind != plan.KindVPC || w == nil {
			continue
		}
		var names []string
		for name := range w.Links {
			if _, have := s.links[name]; !have {
				names = append(names, name)
			}
		}
		slices.SortFunc(names, func(a, b string) int {
			return cmp.Or(cmp.Compare(w.Links[a].Order, w.Links[b].Order), cmp.Compare(a, b))
		})
		for _, name := range names {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := f.createLink(s, name, w.Links[name]); err != nil {
				return fmt.Errorf("create link %s of %s: %w", name, key.ID, err)
			}
		}
	}
	return nil
}

// createLink makes a veth whose other end appears in its namespace with its name and MAC, as a hot-plugged device does.
// The alias comes last: a link without it is half made.
func (f *Fabric) createLink(s *live, name string, l plan.Link) error {
	peer := f.spaces[l.Peer]
	if peer == nil {
		return fmt.Errorf("its other end's namespace, of %s %s, is missing", l.Peer.Kind, l.Peer.ID)
	}
	mac, err := net.ParseMAC(l.MAC)
	if err != nil {
		return fmt.Errorf("parse mac: %w", err)
	}
	peerMAC, err := net.ParseMAC(l.PeerMAC)
	if err != nil {
		return fmt.Errorf("parse mac: %w", err)
	}
	peerName := l.PeerName
	if peerName == "" {
		if peerName, err = nextEth(peer); err != nil {
			return err
		}
	}
	veth := netlink.NewVeth(netlink.LinkAttrs{Name: name, HardwareAddr: mac, MTU: l.MTU, TxQLen: 1000})
	veth.PeerName, veth.PeerHardwareAddr, veth.PeerNamespace = peerName, peerMAC, netlink.NsFd(int(peer.ns))
	if err := s.h.LinkAdd(veth); err != nil {
		return fmt.Errorf("add veth: %w", err)
	}
	index := veth.Attrs().Index
	if err := setHop(s.h, index, peerMAC); err != nil {
		return err
	}
	if err := proxyAtOnce(s.ns, name); err != nil {
		return err
	}
	if l.Peer.Kind != plan.KindInstance {
		if err := preparePeer(peer, peerName, mac); err != nil {
			return err
		}
		f.fresh = append(f.fresh, end{s, name}, end{peer, peerName})
	}
	if err := s.h.LinkSetAlias(veth, l.Ident()); err != nil {
		return fmt.Errorf("set alias: %w", err)
	}
	s.links[name] = built{ident: l.Ident(), index: index}
	if l.Peer == s.key {
		s.known = false // the other end is in the same namespace
	}
	f.log.Info("link created", run.KeyENI, string(l.ENI), "link", name, "peer", peerName, "id", l.Peer.ID)
	return nil
}

// preparePeer readies the far end of a link between two of the fabric's own namespaces.
func preparePeer(peer *live, name string, mac net.HardwareAddr) error {
	end, err := linkByName(peer.h, name)
	if err != nil {
		return err
	}
	peer.known = false
	return setHop(peer.h, end.Attrs().Index, mac)
}

// setHop brings a link up and says that the next hop is at mac there.
func setHop(h *netlink.Handle, index int, mac net.HardwareAddr) error {
	up := &netlink.GenericLink{LinkAttrs: netlink.LinkAttrs{Index: index}}
	if err := h.LinkSetUp(up); err != nil {
		return fmt.Errorf("set up: %w", err)
	}
	err := h.NeighSet(&netlink.Neigh{
		LinkIndex: index, Family: netlink.FAMILY_V4, State: netlink.NUD_PERMANENT, IP: hop.AsSlice(), HardwareAddr: mac,
	})
	if err != nil {
		return fmt.Errorf("set neighbour: %w", err)
	}
	return nil
}

// nextEth is the name that the kernel of an instance would give a new device: the first free one. eth0 is kept for the
// primary interface.
func nextEth(s *live) (string, error) {
	h, err := netlink.NewHandleAt(s.ns, unix.NETLINK_ROUTE)
	if err != nil {
		return "", fmt.Errorf("open netlink in namespace %s: %w", s.path, err)
	}
	defer h.Close()
	links, err := dumpLinks(h)
	if err != nil {
		return "", err
	}
	taken := map[string]bool{}
	for _, l := range links {
		taken[l.Attrs().Name] = true
	}
	for i := 1; ; i++ {
		if name := fmt.Sprintf("eth%d", i); !taken[name] {
			return name, nil
		}
	}
}

// boot does on an instance's primary interface what its DHCP client would do when it starts, once.
func (f *Fabric) boot(want *plan.World) error {
	for key, w := range want.Spaces {
		if key.Kind != plan.KindVPC {
			continue
		}
		for name, l := range w.Links {
			s := f.spaces[l.Peer]
			if !l.Boot.IsValid() || s == nil || s.booted {
				continue
			}
			if err := bootInstance(s, l); err != nil {
				return fmt.Errorf("configure %s behind %s: %w", l.PeerName, name, err)
			}
			f.fresh = append(f.fresh, end{f.spaces[key], name}, end{s, l.PeerName})
			s.booted = true
		}
	}
	return nil
}

func bootInstance(s *live, l plan.Link) error {
	h, err := netlink.NewHandleAt(s.ns, unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open netlink in namespace %s: %w", s.path, err)
	}
	defer h.Close()
	eth, err := linkByName(h, l.PeerName)
	if isNotFound(err) {
		return nil // renamed, or moved elsewhere
	}
	if err != nil {
		return err
	}
	addrs, err := dumpAddresses(h, eth)
	if err != nil || len(addrs) > 0 {
		return err // what the instance has made of it since is its own business
	}
	if err := h.LinkSetUp(eth); err != nil {
		return fmt.Errorf("set up: %w", err)
	}
	if err := h.AddrAdd(eth, &netlink.Addr{IPNet: ipNet(l.Boot)}); err != nil {
		return fmt.Errorf("add address %s: %w", l.Boot, err)
	}
	err = h.RouteReplace(&netlink.Route{LinkIndex: eth.Attrs().Index, Dst: ipNet(everywhere), Gw: l.BootGateway.AsSlice()})
	if err != nil {
		return fmt.Errorf("add default route by %s: %w", l.BootGateway, err)
	}
	return nil
}

func isNotFound(err error) bool {
	_, ok := errors.AsType[netlink.LinkNotFoundError](err)
	return ok
}

// end is one end of a link.
type end struct {
	space *live
	name  string
}

// settle waits until new links carry packets: the kernel starts a link's queue some milliseconds after both ends are
// up, and drops what is sent before.
func (f *Fabric) settle(ctx context.Context) error {
	defer func() { f.fresh = nil }()
	for _, s := range f.spaces {
		if s.h == nil || !s.adopted {
			continue
		}
		s.adopted = false
		for name := range s.links { // a process that died may have made them just before
			if f.want.Spaces[s.key].Links[name].Peer.Kind != plan.KindInstance { // those come up when the instance sets them up
				f.fresh = append(f.fresh, end{s, name})
			}
		}
	}
	for _, e := range f.fresh {
		if f.spaces[e.space.key] != e.space {
			continue // gone since, with its links
		}
		if err := e.settle(ctx); err != nil {
			return fmt.Errorf("wait for link %s in %s: %w", e.name, e.space.path, err)
		}
	}
	return nil
}

func (e end) settle(ctx context.Context) error {
	h := e.space.h
	if h == nil {
		var err error
		if h, err = netlink.NewHandleAt(e.space.ns, unix.NETLINK_ROUTE); err != nil {
			return fmt.Errorf("open netlink: %w", err)
		}
		defer h.Close()
	}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for range 2000 {
		l, err := linkByName(h, e.name)
		if isNotFound(err) {
			return nil
		}
		if err != nil {
			return err
		}
		if a := l.Attrs(); a.OperState == netlink.OperUp || a.Flags&net.FlagUp == 0 {
			return nil // up, or set down by the instance
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
	return errors.New("it does not come up")
}

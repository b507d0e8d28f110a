package rig

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"github.com/berth-net/berth/internal/testkit"
)

// Floor measures what cannot be had for less: n plugin processes that do nothing (VERSION), each followed by the bare
// wiring of one pod with netlink: a veth whose peer is made in the instance's namespace, an address and a default route
// inside, a route and a rule outside. It returns the time until the last is done.
func (r *Rig) Floor(n int) time.Duration {
	r.TB.Helper()
	host, err := netns.GetFromPath(r.Fabric.Namespace(r.Instance))
	r.must("open instance namespace", err)
	defer func() { _ = host.Close() }()
	spaces := make([]string, n)
	for i := range spaces {
		spaces[i] = testkit.Netns(r.TB)
	}
	errs := make([]error, n)
	var wg sync.WaitGroup
	began := time.Now()
	for i := range n {
		wg.Go(func() {
			cmd := exec.Command(filepath.Join(r.Bin, "berth-cni"))
			cmd.Env = []string{"CNI_COMMAND=VERSION"}
			if errs[i] = cmd.Run(); errs[i] == nil {
				errs[i] = bareWire(spaces[i], int(host), i)
			}
		})
	}
	wg.Wait()
	elapsed := time.Since(began)
	for _, err := range errs {
		r.must("floor", err)
	}
	r.must("remove the floor's links", bareUnwire(int(host), n))
	return elapsed
}

// bareUnwire removes what n bareWire calls left in the instance's namespace.
func bareUnwire(host, n int) error {
	h, err := netlink.NewHandleAt(netns.NsHandle(host))
	if err != nil {
		return err
	}
	defer h.Close()
	for i := range n {
		link, err := h.LinkByName(fmt.Sprintf("floor%d", i)) //nolint:forbidigo // one name, no dump
		if err != nil {
			return err
		}
		rule := netlink.NewRule()
		rule.Dst, rule.Table, rule.Priority = &net.IPNet{IP: net.IPv4(192, 0, 2, byte(i+1)), Mask: net.CIDRMask(32, 32)}, 254, 600
		if err := errors.Join(h.LinkDel(link), h.RuleDel(rule)); err != nil {
			return err
		}
	}
	return nil
}

// BarePod is a pod with an address of nobody's, wired in the instance's namespace like any other, but by hand: nothing of ours is on
// its link.
func (r *Rig) BarePod(i int, addr netip.Addr) Pod {
	r.TB.Helper()
	p := r.NewPod()
	p.Addr = addr
	host, err := netns.GetFromPath(r.Fabric.Namespace(r.Instance))
	r.must("open instance namespace", err)
	defer func() { _ = host.Close() }()
	name := fmt.Sprintf("bare%d", i)
	r.must("wire a bare pod", bareLink(p.NetNS, int(host), name, addr.AsSlice()))
	h, err := netlink.NewHandleAt(host)
	r.must("open netlink", err)
	defer h.Close()
	outer, err := h.LinkByName(name) //nolint:forbidigo // one name, no dump
	r.must("find link "+name, err)
	r.must("tell the pod of its gateway", testkit.TryInNetns(p.NetNS, func() error {
		inner, err := netlink.LinkByName("eth0") //nolint:forbidigo // one name, no dump
		if err != nil {
			return err
		}
		return netlink.NeighAdd(&netlink.Neigh{
			LinkIndex: inner.Attrs().Index, IP: net.IPv4(169, 254, 1, 1), HardwareAddr: outer.Attrs().HardwareAddr, State: netlink.NUD_PERMANENT,
		})
	}))
	return p
}

func bareWire(space string, host, i int) error {
	return bareLink(space, host, fmt.Sprintf("floor%d", i), net.IPv4(192, 0, 2, byte(i+1)))
}

func bareLink(space string, host int, name string, addr net.IP) error {
	h, err := netlink.NewHandleAt(netns.NsHandle(host))
	if err != nil {
		return err
	}
	defer h.Close()
	return testkit.TryInNetns(space, func() error {
		veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "eth0", MTU: 9001}, PeerMTU: 9001, PeerName: name, PeerNamespace: netlink.NsFd(host)}
		if err := netlink.LinkAdd(veth); err != nil {
			return err
		}
		if err := wireInside(addr); err != nil {
			return err
		}
		peer, err := h.LinkByName(name) //nolint:forbidigo // one name, no dump
		if err != nil {
			return err
		}
		if err := h.LinkSetUp(peer); err != nil {
			return err
		}
		dst := &net.IPNet{IP: addr, Mask: net.CIDRMask(32, 32)}
		if err := h.RouteAdd(&netlink.Route{LinkIndex: peer.Attrs().Index, Dst: dst, Scope: netlink.SCOPE_LINK}); err != nil {
			return err
		}
		rule := netlink.NewRule()
		rule.Dst, rule.Table, rule.Priority = dst, 254, 600
		return h.RuleAdd(rule)
	})
}

func wireInside(addr net.IP) error {
	link, err := netlink.LinkByName("eth0") //nolint:forbidigo // one name, no dump
	if err != nil {
		return err
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return err
	}
	if err := netlink.AddrAdd(link, &netlink.Addr{IPNet: &net.IPNet{IP: addr, Mask: net.CIDRMask(32, 32)}}); err != nil {
		return err
	}
	gw := net.IPv4(169, 254, 1, 1)
	index := link.Attrs().Index
	if err := netlink.RouteAdd(&netlink.Route{LinkIndex: index, Dst: &net.IPNet{IP: gw, Mask: net.CIDRMask(32, 32)}, Scope: netlink.SCOPE_LINK}); err != nil {
		return err
	}
	return netlink.RouteAdd(&netlink.Route{LinkIndex: index, Gw: gw})
}

package world

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/lab/internal/cluster"
)

// mtu is that of EC2's network.
const mtu = 9001

// configure does what an instance's operating system does at its start: it brings the primary interface up with the
// address, and sets the default route. It may be repeated. Other interfaces are left alone, as on a node of EKS.
func configure(namespace string, i cluster.Instance) error {
	ns, err := netns.GetFromPath(namespace)
	if err != nil {
		return fmt.Errorf("open namespace of %s: %w", i.ID, err)
	}
	defer func() { _ = ns.Close() }()
	h, err := netlink.NewHandleAt(ns)
	if err != nil {
		return fmt.Errorf("enter namespace of %s: %w", i.ID, err)
	}
	defer h.Close()
	primary, err := find(h, "the link with address "+i.MAC, func(a *netlink.LinkAttrs) bool { return a.HardwareAddr.String() == i.MAC })
	if err != nil {
		return fmt.Errorf("find primary interface of %s: %w", i.ID, err)
	}
	lo, err := find(h, "the loopback", func(a *netlink.LinkAttrs) bool { return a.Name == "lo" })
	if err != nil {
		return fmt.Errorf("find loopback of %s: %w", i.ID, err)
	}
	address := netlink.NewIPNet(i.Address.AsSlice())
	address.Mask = net.CIDRMask(i.Subnet.Bits(), 32)
	gateway := router(i.Subnet)
	steps := []error{
		h.LinkSetUp(lo),
		h.LinkSetMTU(primary, mtu),
		h.LinkSetUp(primary),
		h.AddrReplace(primary, &netlink.Addr{IPNet: address}),
		h.RouteReplace(&netlink.Route{
			LinkIndex: primary.Attrs().Index, Gw: gateway.AsSlice(),
			Dst: &net.IPNet{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)},
		}),
	}
	if err := errors.Join(steps...); err != nil {
		return fmt.Errorf("configure primary interface of %s: %w", i.ID, err)
	}
	return forwarding(namespace)
}

// find finds a link of a namespace. A dump that was interrupted by a change is taken again.
func find(h *netlink.Handle, what string, is func(*netlink.LinkAttrs) bool) (netlink.Link, error) {
	const tries = 10
	for range tries {
		links, err := h.LinkList() //nolint:forbidigo // interrupted dumps are taken again below
		if errors.Is(err, netlink.ErrDumpInterrupted) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("list links: %w", err)
		}
		for _, l := range links {
			if is(l.Attrs()) {
				return l, nil
			}
		}
		return nil, fmt.Errorf("%s is not there", what)
	}
	return nil, fmt.Errorf("list links: interrupted %d times", tries)
}

// forwarding lets the instance forward, as EKS's machine image does for its pods.
func forwarding(namespace string) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		fd, err := os.Open(namespace)
		if err != nil {
			done <- err
			return
		}
		defer func() { _ = fd.Close() }()
		if err := unix.Setns(int(fd.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- err
			return
		}
		done <- os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644)
	}()
	if err := <-done; err != nil {
		return fmt.Errorf("switch on forwarding in %s: %w", namespace, err)
	}
	return nil
}

// router is the address that a subnet's router has.
func router(subnet netip.Prefix) netip.Addr { return subnet.Masked().Addr().Next() }

package fabric

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A dump that the kernel marks as interrupted by a change may lack entries: it is repeated, since a missing entry would
// be taken for one to create. This is the only file that dumps.
const dumpAttempts = 20

func dump[T any](what string, read func() ([]T, error)) ([]T, error) {
	var err error
	for range dumpAttempts {
		var out []T
		out, err = read()
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			if err != nil {
				return nil, fmt.Errorf("list %s: %w", what, err)
			}
			return out, nil
		}
	}
	return nil, fmt.Errorf("list %s: %w %d times", what, err, dumpAttempts)
}

func dumpLinks(h *netlink.Handle) ([]netlink.Link, error) {
	return dump("links", h.LinkList)
}

func dumpAddresses(h *netlink.Handle, link netlink.Link) ([]netlink.Addr, error) {
	return dump("addresses", func() ([]netlink.Addr, error) { return h.AddrList(link, netlink.FAMILY_V4) })
}

// dumpRoutes returns the routes of all tables that carry the fabric's protocol number.
func dumpRoutes(h *netlink.Handle) ([]netlink.Route, error) {
	filter := &netlink.Route{Table: unix.RT_TABLE_UNSPEC, Protocol: routeProtocol}
	return dump("routes", func() ([]netlink.Route, error) {
		return h.RouteListFiltered(netlink.FAMILY_V4, filter, netlink.RT_FILTER_TABLE|netlink.RT_FILTER_PROTOCOL)
	})
}

func dumpRules(h *netlink.Handle) ([]netlink.Rule, error) {
	return dump("rules", func() ([]netlink.Rule, error) { return h.RuleList(netlink.FAMILY_V4) })
}

// linkByName asks for one link; it is no dump, but may fall back to one on old kernels.
func linkByName(h *netlink.Handle, name string) (netlink.Link, error) {
	var l netlink.Link
	_, err := dump("link "+name, func() ([]netlink.Link, error) {
		var err error
		l, err = h.LinkByName(name)
		return nil, err
	})
	return l, err
}

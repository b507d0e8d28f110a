package linux

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// A list that changes while the kernel prints it is marked as interrupted and may lack entries. On a busy node that is
// common, so it is read again; only this file reads lists.

// dumpTries is how often an interrupted list is read before the caller is told.
const dumpTries = 20

// retried reads a list until it is complete.
func retried[T any](what string, read func() ([]T, error)) ([]T, error) {
	var list []T
	var err error
	for range dumpTries {
		if list, err = read(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", what, err)
	}
	return list, nil
}

func listLinks(h *netlink.Handle) ([]netlink.Link, error) {
	return retried("links", h.LinkList)
}

func listAddresses(h *netlink.Handle) ([]netlink.Addr, error) {
	return retried("addresses", func() ([]netlink.Addr, error) { return h.AddrList(nil, unix.AF_INET) })
}

// listRoutes lists the IPv4 routes of all tables.
func listRoutes(h *netlink.Handle) ([]netlink.Route, error) {
	return retried("routes", func() ([]netlink.Route, error) {
		return h.RouteListFiltered(unix.AF_INET, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
	})
}

func listRules(h *netlink.Handle) ([]netlink.Rule, error) {
	return retried("rules", func() ([]netlink.Rule, error) { return h.RuleList(unix.AF_INET) })
}

// listPeerAddresses lists the IPv4 addresses of the link with an index in another namespace, which our namespace knows by a
// number. The kernel shows them without our entering it.
func listPeerAddresses(c *conn, nsID, index int) ([]netip.Addr, error) {
	msgs, err := retried("addresses of a pod", func() ([][]byte, error) {
		req := nl.NewNetlinkRequest(unix.RTM_GETADDR, 0)
		msg := nl.NewIfAddrmsg(unix.AF_INET)
		msg.Index = uint32(index)
		req.AddData(msg)
		req.AddData(nl.NewRtAttr(unix.IFA_TARGET_NETNSID, nl.Uint32Attr(uint32(nsID))))
		return c.dump(req)
	})
	if err != nil {
		return nil, err
	}
	var out []netip.Addr
	for _, m := range msgs {
		attrs, err := nl.ParseRouteAttrAsMap(m[unix.SizeofIfAddrmsg:])
		if err != nil {
			return nil, fmt.Errorf("parse address: %w", err)
		}
		if a, ok := netip.AddrFromSlice(attrs[unix.IFA_LOCAL].Value); ok {
			out = append(out, a)
		}
	}
	return out, nil
}

// listNFT lists objects of our nftables table; a table that is gone has none.
func listNFT(c *conn, what string, request func() *nl.NetlinkRequest) ([][]byte, error) {
	return retried(what, func() ([][]byte, error) {
		list, err := c.dump(request())
		return list, unlessGone(err)
	})
}

func listNeighbours(h *netlink.Handle, index int) ([]netlink.Neigh, error) {
	return retried("neighbours", func() ([]netlink.Neigh, error) { return h.NeighList(index, unix.AF_INET) })
}

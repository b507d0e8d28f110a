package linux

import (
	"fmt"
	"net/netip"
	"strconv"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/internal/core/hostnet"
)

// This file builds the requests to the kernel. Each function is one command of ip.

// skipStatistics is RTEXT_FILTER_SKIP_STATS: a link without its counters.
const skipStatistics = 1 << 3

const create = unix.NLM_F_CREATE | unix.NLM_F_EXCL

func family(a netip.Addr) uint8 {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

func text(s string) []byte { return nl.ZeroTerminated(s) }

// end is one end of a veth pair.
type end struct {
	name string
	mac  [6]byte
	mtu  int
}

// newVeth makes a veth pair: the pod's end, up, where the request is sent, the host's in the namespace hostNS. The host's
// cannot be brought up by the same request: while the kernel sets it up, it has no peer yet (ENOTCONN).
func newVeth(pod, host end, hostNS int) *nl.NetlinkRequest {
	req := nl.NewNetlinkRequest(unix.RTM_NEWLINK, create)
	msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
	msg.Flags, msg.Change = unix.IFF_UP, unix.IFF_UP
	req.AddData(msg)
	req.AddData(nl.NewRtAttr(unix.IFLA_IFNAME, text(pod.name)))
	req.AddData(nl.NewRtAttr(unix.IFLA_ADDRESS, pod.mac[:]))
	req.AddData(nl.NewRtAttr(unix.IFLA_MTU, nl.Uint32Attr(uint32(pod.mtu))))
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(nl.IFLA_INFO_KIND, nl.NonZeroTerminated("veth"))
	peer := info.AddRtAttr(nl.IFLA_INFO_DATA, nil).AddRtAttr(nl.VETH_INFO_PEER, nil)
	nl.NewIfInfomsgChild(peer, unix.AF_UNSPEC)
	peer.AddRtAttr(unix.IFLA_IFNAME, text(host.name))
	peer.AddRtAttr(unix.IFLA_ADDRESS, host.mac[:])
	peer.AddRtAttr(unix.IFLA_MTU, nl.Uint32Attr(uint32(host.mtu)))
	peer.AddRtAttr(unix.IFLA_NET_NS_FD, nl.Uint32Attr(uint32(hostNS)))
	req.AddData(info)
	return req
}

func linkRequest(proto, index int) (*nl.NetlinkRequest, *nl.IfInfomsg) {
	req := nl.NewNetlinkRequest(proto, 0)
	msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
	msg.Index = int32(index)
	req.AddData(msg)
	return req, msg
}

// setAlias labels a link and sets it up.
func setAlias(index int, alias string) *nl.NetlinkRequest {
	req := setUp(index)
	req.AddData(nl.NewRtAttr(unix.IFLA_IFALIAS, []byte(alias)))
	return req
}

func setMTU(index, mtu int) *nl.NetlinkRequest {
	req, _ := linkRequest(unix.RTM_SETLINK, index)
	req.AddData(nl.NewRtAttr(unix.IFLA_MTU, nl.Uint32Attr(uint32(mtu))))
	return req
}

func setUp(index int) *nl.NetlinkRequest {
	req, msg := linkRequest(unix.RTM_SETLINK, index)
	msg.Flags, msg.Change = unix.IFF_UP, unix.IFF_UP
	return req
}

func deleteLink(index int) *nl.NetlinkRequest {
	req, _ := linkRequest(unix.RTM_DELLINK, index)
	return req
}

func setGroup(index int, group uint32) *nl.NetlinkRequest {
	req, _ := linkRequest(unix.RTM_SETLINK, index)
	req.AddData(nl.NewRtAttr(unix.IFLA_GROUP, nl.Uint32Attr(group)))
	return req
}

func deleteGroup(group uint32) *nl.NetlinkRequest {
	req, _ := linkRequest(unix.RTM_DELLINK, 0)
	req.AddData(nl.NewRtAttr(unix.IFLA_GROUP, nl.Uint32Attr(group)))
	return req
}

// link is what the wiring needs to know of a link.
type link struct {
	index int
	peer  int // index of a veth's other end, in its own namespace
	up    bool
	mtu   int
	name  string
	alias string
	kind  string
	mac   string
}

// linkByName reads one link by its name; ok is false when there is none.
func (c *conn) linkByName(name string) (l link, ok bool, err error) {
	req, _ := linkRequest(unix.RTM_GETLINK, 0)
	req.AddData(nl.NewRtAttr(unix.IFLA_IFNAME, text(name)))
	return c.readLink(req, name)
}

// linkByIndex reads one link by its number; ok is false when there is none.
func (c *conn) linkByIndex(index int) (l link, ok bool, err error) {
	req, _ := linkRequest(unix.RTM_GETLINK, index)
	return c.readLink(req, strconv.Itoa(index))
}

func (c *conn) readLink(req *nl.NetlinkRequest, what string) (l link, ok bool, err error) {
	req.AddData(nl.NewRtAttr(unix.IFLA_EXT_MASK, nl.Uint32Attr(skipStatistics)))
	data, err := c.get(req)
	if err != nil {
		if isGone(err) {
			return link{}, false, nil
		}
		return link{}, false, fmt.Errorf("read link %s: %w", what, err)
	}
	n, err := netlink.LinkDeserialize(&unix.NlMsghdr{Type: unix.RTM_NEWLINK}, data)
	if err != nil {
		return link{}, false, fmt.Errorf("parse link %s: %w", what, err)
	}
	a := n.Attrs()
	return link{
		index: a.Index, peer: a.ParentIndex, up: a.RawFlags&unix.IFF_UP != 0, mtu: a.MTU, name: a.Name,
		alias: a.Alias, kind: n.Type(), mac: a.HardwareAddr.String(),
	}, true, nil
}

func addressRequest(proto, flags, index int, p netip.Prefix) *nl.NetlinkRequest {
	req := nl.NewNetlinkRequest(proto, flags)
	msg := nl.NewIfAddrmsg(int(family(p.Addr())))
	msg.Index = uint32(index)
	msg.Prefixlen = uint8(p.Bits())
	req.AddData(msg)
	a := p.Addr().AsSlice()
	req.AddData(nl.NewRtAttr(unix.IFA_LOCAL, a))
	req.AddData(nl.NewRtAttr(unix.IFA_ADDRESS, a))
	if proto == unix.RTM_NEWADDR && p.Addr().Is4() && p.Bits() < 31 {
		req.AddData(nl.NewRtAttr(unix.IFA_BROADCAST, broadcast(p).AsSlice()))
		req.AddData(nl.NewRtAttr(unix.IFA_FLAGS, nl.Uint32Attr(unix.IFA_F_NOPREFIXROUTE)))
	}
	return req
}

func broadcast(p netip.Prefix) netip.Addr {
	b := p.Addr().As4()
	for i := p.Bits(); i < 32; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	return netip.AddrFrom4(b)
}

func routeRequest(proto, flags int, r hostnet.Route, index int) *nl.NetlinkRequest {
	req := nl.NewNetlinkRequest(proto, flags)
	msg := nl.NewRtMsg()
	if proto == unix.RTM_DELROUTE {
		msg = nl.NewRtDelMsg()
	}
	msg.Family = family(r.Dst.Addr())
	msg.Dst_len = uint8(r.Dst.Bits())
	msg.Table = unix.RT_TABLE_UNSPEC
	if !r.Via.IsValid() {
		msg.Scope = unix.RT_SCOPE_LINK
	}
	req.AddData(msg)
	req.AddData(nl.NewRtAttr(unix.RTA_TABLE, nl.Uint32Attr(uint32(r.Table))))
	if r.Dst.Bits() > 0 {
		req.AddData(nl.NewRtAttr(unix.RTA_DST, r.Dst.Addr().AsSlice()))
	}
	if r.Via.IsValid() {
		req.AddData(nl.NewRtAttr(unix.RTA_GATEWAY, r.Via.AsSlice()))
	}
	if r.Metric != 0 {
		req.AddData(nl.NewRtAttr(unix.RTA_PRIORITY, nl.Uint32Attr(uint32(r.Metric))))
	}
	if index != 0 {
		req.AddData(nl.NewRtAttr(unix.RTA_OIF, nl.Uint32Attr(uint32(index))))
	}
	return req
}

// ruleRequest adds a rule, or deletes the first that has the given parts: a table of 0 is any.
func ruleRequest(proto, flags int, r hostnet.Rule) *nl.NetlinkRequest {
	req := nl.NewNetlinkRequest(proto, flags)
	msg := nl.NewRtMsg()
	msg.Protocol, msg.Scope, msg.Type = unix.RTPROT_UNSPEC, unix.RT_SCOPE_UNIVERSE, unix.RTN_UNICAST
	msg.Table = unix.RT_TABLE_UNSPEC
	msg.Family = unix.AF_INET
	req.AddData(msg)
	if r.To.IsValid() {
		msg.Family, msg.Dst_len = family(r.To.Addr()), uint8(r.To.Bits())
		req.AddData(nl.NewRtAttr(nl.FRA_DST, r.To.Addr().AsSlice()))
	}
	if r.From.IsValid() {
		msg.Family, msg.Src_len = family(r.From.Addr()), uint8(r.From.Bits())
		req.AddData(nl.NewRtAttr(nl.FRA_SRC, r.From.Addr().AsSlice()))
	}
	req.AddData(nl.NewRtAttr(nl.FRA_PRIORITY, nl.Uint32Attr(uint32(r.Priority))))
	if r.Mark != 0 || r.Mask != 0 {
		req.AddData(nl.NewRtAttr(nl.FRA_FWMARK, nl.Uint32Attr(r.Mark)))
		req.AddData(nl.NewRtAttr(nl.FRA_FWMASK, nl.Uint32Attr(r.Mask)))
	}
	if r.Table != 0 {
		req.AddData(nl.NewRtAttr(nl.FRA_TABLE, nl.Uint32Attr(uint32(r.Table))))
	}
	return req
}

// permanentNeighbour answers for a neighbour without asking the network.
func permanentNeighbour(index int, a netip.Addr, mac [6]byte) *nl.NetlinkRequest {
	req := nl.NewNetlinkRequest(unix.RTM_NEWNEIGH, unix.NLM_F_CREATE|unix.NLM_F_REPLACE)
	req.AddData(&netlink.Ndmsg{Family: family(a), Index: uint32(index), State: unix.NUD_PERMANENT, Type: unix.RTN_UNICAST})
	req.AddData(nl.NewRtAttr(unix.NDA_DST, a.AsSlice()))
	req.AddData(nl.NewRtAttr(unix.NDA_LLADDR, mac[:]))
	return req
}

// isGone tells that what was to be deleted or read is not there.
func isGone(err error) bool {
	errno, ok := asErrno(err)
	if !ok {
		return false
	}
	switch errno {
	case unix.ENOENT, unix.ESRCH, unix.ENODEV, unix.EADDRNOTAVAIL:
		return true
	default:
		return false
	}
}

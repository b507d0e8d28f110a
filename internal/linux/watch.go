package linux

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/internal/run"
)

// tableInterval is how often the generation of nftables is read: a request of some microseconds. Subscribing instead would
// bring every change that kube-proxy makes.
const tableInterval = 2 * time.Second

// watchRoutes signals changes of links, addresses, routes and rules that others made.
func (h *Host) watchRoutes(ctx context.Context) error {
	s, err := nl.SubscribeAt(netns.NsHandle(h.netns.Fd()), netns.None(), unix.NETLINK_ROUTE,
		unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV4_RULE)
	if err != nil {
		return fmt.Errorf("watch host network: %w", err)
	}
	stop := context.AfterFunc(ctx, s.Close)
	defer stop()
	var heeds *string
	for {
		if prefix := h.prefix.Load(); prefix != heeds {
			heeds = prefix
			if err := unheard(s.GetFd(), h.route.pid, *prefix); err != nil {
				h.log.Warn("watching the host network takes more CPU time than it need", run.KeyErr, err)
			}
		}
		msgs, _, err := s.Receive()
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, unix.ENOBUFS): // the kernel had more to say than we could hold
			h.signal()
			continue
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.EAGAIN):
			continue
		case errors.Is(err, os.ErrClosed):
			return nil
		case err != nil:
			return fmt.Errorf("watch host network: %w", err)
		}
		if slices.ContainsFunc(msgs, h.concerns) {
			h.signal()
		}
	}
}

// concerns tells whether a notification is worth a look. Our own requests are not, nor are the links of pods: they come and
// go with every pod, and the routes and rules that lead to them are watched for themselves. Few of them come this far: see
// unheard.
func (h *Host) concerns(m syscall.NetlinkMessage) bool {
	if m.Header.Pid == h.route.pid {
		return false
	}
	switch m.Header.Type {
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		if len(m.Data) < unix.SizeofIfInfomsg {
			return true
		}
		attrs, err := nl.ParseRouteAttrAsMap(m.Data[unix.SizeofIfInfomsg:])
		if err != nil {
			return true
		}
		return !strings.HasPrefix(string(attrs[unix.IFLA_IFNAME].Value), *h.prefix.Load())
	default:
		return true
	}
}

// unheard has the kernel leave out notifications that concern nobody: a dozen come with every pod, and to be woken for them
// costs a tenth of wiring one. Those of links are told by their name, which the kernel writes as the first attribute.
func unheard(socket int, pid uint32, prefix string) error {
	const (
		msgType, msgPID    = 4, 12 // of nlmsghdr
		attrType, attrData = 34, 36
		accept, drop       = 1 << 16, 0
	)
	// A filter loads in network order what netlink writes in the machine's.
	swap16 := func(v uint16) uint32 {
		return uint32(binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, v)))
	}
	swap32 := func(v uint32) uint32 { return binary.BigEndian.Uint32(binary.NativeEndian.AppendUint32(nil, v)) }
	load := func(size uint16, at uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | size | unix.BPF_ABS, K: at}
	}
	// unless goes on after the next instruction when the loaded value is v: "unless v, do the next".
	unless := func(v uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jt: 1, K: v}
	}
	ret := func(v uint32) unix.SockFilter { return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: v} }
	code := []unix.SockFilter{
		load(unix.BPF_W, msgPID),
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 1, K: swap32(pid)},
		ret(drop),
		load(unix.BPF_H, msgType),
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jt: 2, K: swap16(unix.RTM_NEWLINK)},
		unless(swap16(unix.RTM_DELLINK)), ret(accept),
		load(unix.BPF_H, attrType), unless(swap16(unix.IFLA_IFNAME)), ret(accept),
	}
	for i := range len(prefix) {
		code = append(code, load(unix.BPF_B, attrData+uint32(i)), unless(uint32(prefix[i])), ret(accept))
	}
	code = append(code, ret(drop))
	program := unix.SockFprog{Len: uint16(len(code)), Filter: &code[0]}
	if err := unix.SetsockoptSockFprog(socket, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &program); err != nil {
		return fmt.Errorf("attach filter: %w", err)
	}
	return nil
}

// watchTable signals when our nftables table is not as Reconcile left it.
func (h *Host) watchTable(ctx context.Context) error {
	tick := time.NewTicker(tableInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		intact, err := h.tableIntact()
		if err != nil {
			h.log.Warn("own nftables table cannot be read", run.KeyErr, err)
		}
		if err != nil || !intact {
			h.signal()
		}
	}
}

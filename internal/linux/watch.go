package linux

import (
	"context"
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
	for {
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
// go with every pod, and the routes and rules that lead to them are watched for themselves.
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

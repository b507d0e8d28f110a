package linux

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/internal/core/hostnet"
	"github.com/berth-net/berth/internal/run"
)

// doomed is the group of the links of unwired pods. The kernel removes a group at once, and waits once for all its readers,
// some 10 to 20 ms during which nobody else changes a link: a burst of DELs costs one such wait, not one each. The group also
// outlives the process: the next one knows whose address is not in use any more.
const doomed = 0x62657274

// lingering is how long links of unwired pods stay: the runtime removes the pod's namespace right after DEL, and the link
// with it.
const lingering = 200 * time.Millisecond

// UnwirePod removes the pod's rules and routes before it returns; the link follows. What is gone is success, and what
// belongs to a later sandbox of the same pod name, or to a later pod with the same address, is left alone.
func (h *Host) UnwirePod(_ context.Context, settings hostnet.Settings, pod hostnet.Pod) error {
	h.remember(settings)
	h.unwired.add(pod.Key)
	l, ok, err := h.hostEnd(settings, pod)
	if err != nil {
		return fmt.Errorf("unwire pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	mine := ok && l.alias == hostnet.Alias(pod.Key)
	var errs []error
	for _, a := range pod.Addrs {
		index, err := h.route.routeTo(a)
		switch {
		case err != nil && !isGone(err):
			errs = append(errs, err)
			continue
		case index == 0: // no route: the link is gone, or was flushed
		case ok && index == l.index && (mine || l.alias == ""):
			mine = true // a link without a label is one that the existing CNI made
		default:
			continue // the address has a new user
		}
		errs = append(errs, h.unwireAddress(a, l.index))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("unwire pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	if mine {
		return h.dropLink(l.index, l.name)
	}
	return nil
}

// hostEnd finds the host's end of a pod's link: by its name or, where AWS_VPC_K8S_CNI_VETHPREFIX was another when the pod
// came, by its route and label.
func (h *Host) hostEnd(settings hostnet.Settings, pod hostnet.Pod) (l link, ok bool, err error) {
	l, ok, err = h.route.linkByName(hostnet.VethName(settings.VethPrefix, pod.Namespace, pod.Name))
	if ok || err != nil {
		return l, ok, err
	}
	for _, a := range pod.Addrs {
		index, err := h.route.routeTo(a)
		if err != nil || index == 0 {
			continue // the caller looks at routes for itself
		}
		if l, ok, err = h.route.linkByIndex(index); err == nil && ok && l.alias == hostnet.Alias(pod.Key) {
			return l, true, nil
		}
	}
	return link{}, false, nil
}

func (h *Host) unwireAddress(a netip.Addr, link int) error {
	err := errors.Join(
		h.deleteRules(fromPod(a)),
		h.deleteRules(hostnet.Rule{Priority: hostnet.PriorityToPod, To: hostPrefix(a), Table: hostnet.TableMain}))
	if link == 0 {
		return err
	}
	r := hostnet.Route{Table: hostnet.TableMain, Dst: hostPrefix(a)}
	return errors.Join(err, unlessGone(h.route.do(routeRequest(unix.RTM_DELROUTE, 0, r, link))))
}

// routeTo returns the index of the link to which a route of the main table leads that is for this very address, 0 when there
// is none.
func (c *conn) routeTo(a netip.Addr) (int, error) {
	req := nl.NewNetlinkRequest(unix.RTM_GETROUTE, 0)
	msg := nl.NewRtMsg()
	*msg = nl.RtMsg{}
	msg.Family, msg.Dst_len, msg.Flags = family(a), uint8(a.BitLen()), unix.RTM_F_FIB_MATCH
	req.AddData(msg)
	req.AddData(nl.NewRtAttr(unix.RTA_DST, a.AsSlice()))
	data, err := c.get(req)
	if err != nil {
		if e, ok := asErrno(err); ok && (isGone(e) || e == unix.ENETUNREACH || e == unix.EHOSTUNREACH) {
			return 0, nil
		}
		return 0, fmt.Errorf("look up route to %s: %w", a, err)
	}
	got := nl.DeserializeRtMsg(data)
	if int(got.Dst_len) != a.BitLen() || got.Table != unix.RT_TABLE_MAIN || got.Type != unix.RTN_UNICAST {
		return 0, nil
	}
	attrs, err := nl.ParseRouteAttrAsMap(data[got.Len():])
	if err != nil {
		return 0, fmt.Errorf("parse route to %s: %w", a, err)
	}
	if v := attrs[unix.RTA_OIF].Value; len(v) >= 4 {
		return int(nl.NativeEndian().Uint32(v)), nil
	}
	return 0, nil
}

// dropLink removes a link: a moment later while Run runs, else at once.
func (h *Host) dropLink(index int, name string) error {
	request := deleteLink(index)
	if h.running.Load() {
		request = setGroup(index, doomed)
	}
	if err := unlessGone(h.route.do(request)); err != nil {
		return fmt.Errorf("remove link %s: %w", name, err)
	}
	select {
	case h.drop <- struct{}{}:
	default: // a removal is due already
	}
	return nil
}

// removeLinks removes the links of unwired pods, those of a former process first.
func (h *Host) removeLinks(ctx context.Context) error {
	c, err := dial(h.netns, unix.NETLINK_ROUTE) // one of its own: others do not queue behind it
	if err != nil {
		return err
	}
	defer c.close()
	for {
		if err := unlessGone(c.do(deleteGroup(doomed))); err != nil {
			h.log.Warn("links of removed pods stay until their namespaces go", run.KeyErr, err)
		}
		select {
		case <-h.drop:
		case <-ctx.Done():
			return nil
		}
		select {
		case <-time.After(lingering):
		case <-ctx.Done():
		}
	}
}

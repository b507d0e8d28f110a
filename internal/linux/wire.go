package linux

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/internal/core/hostnet"
	"github.com/berth-net/berth/internal/run"
)

// WirePod gives the network namespace its interface: a link whose other end is in the host, the pod's addresses and default
// route, and the host's route and rules. It is idempotent and undoes itself on failure.
func (h *Host) WirePod(ctx context.Context, settings hostnet.Settings, pod hostnet.Pod, netns *os.File) (hostnet.Wired, error) {
	h.unwired.remove(pod.Key)
	if err := ctx.Err(); err != nil {
		return hostnet.Wired{}, err
	}
	w, err := newWiring(h, settings, pod)
	if err != nil {
		return hostnet.Wired{}, err
	}
	if w.pod, err = dial(netns, unix.NETLINK_ROUTE); err != nil {
		return hostnet.Wired{}, fmt.Errorf("wire pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	defer w.pod.close()
	for _, step := range []func() error{w.link, w.hostSide, w.podSide} {
		if err := step(); err != nil {
			return hostnet.Wired{}, fmt.Errorf("wire pod %s/%s: %w", pod.Namespace, pod.Name, errors.Join(err, w.undoAll()))
		}
	}
	// Router advertisements and the like are IPv6 matters: a host that refuses them does not keep the pod from starting.
	if err := h.SetSysctls(ctx, hostnet.PodLinkSysctls(w.veth.name)); err != nil {
		h.log.Warn("pod link keeps its default settings", run.KeyPod, pod.Name, run.KeyNamespace, pod.Namespace, run.KeyErr, err)
	}
	return hostnet.Wired{
		HostVeth: w.veth.name, HostMAC: net.HardwareAddr(w.veth.mac[:]).String(), PodMAC: net.HardwareAddr(w.eth.mac[:]).String(),
		Table: hostnet.TableNumber(pod.DeviceIndex, pod.NetworkCard), MTU: w.eth.mtu,
	}, nil
}

// wiring is one run of WirePod.
type wiring struct {
	h    *Host
	p    hostnet.Pod
	pod  *conn // in the pod's namespace
	eth  end
	veth end

	ethIndex, vethIndex int
	made                bool // the link is new
	undo                []func() error
}

func newWiring(h *Host, s hostnet.Settings, p hostnet.Pod) (*wiring, error) {
	h.remember(s)
	if len(p.Addrs) == 0 {
		return nil, fmt.Errorf("wire pod %s/%s: it has no address", p.Namespace, p.Name)
	}
	for _, a := range p.Addrs {
		if !a.Is4() {
			return nil, fmt.Errorf("wire pod %s/%s: address %s is not IPv4", p.Namespace, p.Name, a)
		}
	}
	return &wiring{
		h: h, p: p,
		eth:  end{name: p.Key.IfName, mac: hostnet.PodMAC(p.Key), mtu: s.PodMTUOf()},
		veth: end{name: hostnet.VethName(s.VethPrefix, p.Namespace, p.Name), mac: hostnet.HostMAC(p.Key), mtu: s.PodMTUOf()},
	}, nil
}

func (w *wiring) undoAll() error {
	var errs []error
	for _, step := range slices.Backward(w.undo) {
		errs = append(errs, step())
	}
	return errors.Join(errs...)
}

// link makes the link, or finds the one that this attachment has already.
func (w *wiring) link() error {
	for range 3 {
		err := w.pod.do(newVeth(w.eth, w.veth, int(w.h.netns.Fd())))
		if err == nil {
			w.made = true
			w.undo = append(w.undo, func() error { return w.deleteMade() })
			return w.findEnds()
		}
		if except(err, unix.EEXIST) != nil {
			return fmt.Errorf("make link %s: %w", w.veth.name, err)
		}
		found, err := w.takeOver()
		if err != nil || found {
			return err
		}
	}
	return fmt.Errorf("make link %s: somebody keeps making one of that name", w.veth.name)
}

func (w *wiring) deleteMade() error {
	l, ok, err := w.pod.linkByName(w.eth.name)
	if err != nil || !ok {
		return err
	}
	return unlessGone(w.pod.do(deleteLink(l.index)))
}

func (w *wiring) findEnds() error {
	l, ok, err := w.pod.linkByName(w.eth.name)
	if err != nil {
		return err
	}
	if !ok || l.peer == 0 {
		return fmt.Errorf("find link %s in the pod: %w", w.eth.name, unix.ENODEV)
	}
	w.ethIndex, w.vethIndex = l.index, l.peer
	return nil
}

// takeOver looks at a link that is in the way. One that this very attachment has is kept; one that another sandbox of the
// same pod name left, or that was half made, is removed.
func (w *wiring) takeOver() (found bool, err error) {
	outer, ok, err := w.h.route.linkByName(w.veth.name)
	if err != nil {
		return false, err
	}
	inner, inPod, err := w.pod.linkByName(w.eth.name)
	if err != nil {
		return false, err
	}
	switch {
	case !ok && inPod:
		return false, fmt.Errorf("make link %s: the pod has an interface of that name already", w.eth.name)
	case !ok:
		return false, nil // it went away meanwhile
	case outer.kind != "veth":
		return false, fmt.Errorf("make link %s: the host has a %s of that name", w.veth.name, outer.kind)
	case inPod && inner.peer == outer.index && outer.alias == hostnet.Alias(w.p.Key):
		w.ethIndex, w.vethIndex = inner.index, outer.index
		return true, w.pod.do(setUp(inner.index))
	default:
		return false, unlessGone(w.h.route.do(deleteLink(outer.index)))
	}
}

func hostPrefix(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

// hostSide labels the host's end, sets it up and adds the routes; then, since a route tells that the address is this pod's,
// the rules.
func (w *wiring) hostSide() error {
	reqs := []*nl.NetlinkRequest{setAlias(w.vethIndex, hostnet.Alias(w.p.Key))}
	what := []string{"label and set up link " + w.veth.name}
	for _, a := range w.p.Addrs {
		r := hostnet.Route{Table: hostnet.TableMain, Dst: hostPrefix(a), Link: w.veth.name}
		reqs, what = append(reqs, routeRequest(unix.RTM_NEWROUTE, create, r, w.vethIndex)), append(what, "add route "+r.String())
	}
	var errs []error
	for i, err := range w.h.route.batch(reqs...) {
		if i >= 1 && err != nil && except(err, unix.EEXIST) == nil {
			err = w.checkRoute(w.p.Addrs[i-1]) // there is one: whose?
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", what[i], err))
		}
	}
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	return w.rules()
}

// rules adds the pod's rules. A rule that a former user of the address left would come first and lead to the wrong
// interface, so a new pod's address is freed of them in the same batch.
func (w *wiring) rules() error {
	rules := hostnet.PodRules(w.p)
	var reqs []*nl.NetlinkRequest
	if w.made {
		for _, a := range w.p.Addrs {
			reqs = append(reqs, ruleRequest(unix.RTM_DELRULE, 0, fromPod(a)))
		}
	}
	stale := len(reqs)
	for _, r := range rules {
		reqs = append(reqs, ruleRequest(unix.RTM_NEWRULE, create, r))
	}
	answers := w.h.route.batch(reqs...)
	var errs []error
	again := false
	for i, err := range answers {
		switch {
		case i < stale:
			again = again || err == nil
		case err == nil:
			r := rules[i-stale]
			w.undo = append(w.undo, func() error { return unlessGone(w.h.route.do(ruleRequest(unix.RTM_DELRULE, 0, r))) })
		case except(err, unix.EEXIST) != nil:
			errs = append(errs, fmt.Errorf("add rule %s: %w", rules[i-stale], err))
		}
	}
	if again && len(errs) == 0 {
		return w.rulesAnew(rules)
	}
	return errors.Join(errs...)
}

// rulesAnew adds the rules where there were stale ones: there may be more of those, before and after ours.
func (w *wiring) rulesAnew(rules []hostnet.Rule) error {
	for _, a := range w.p.Addrs {
		if err := w.h.deleteRules(fromPod(a)); err != nil {
			return err
		}
	}
	for _, r := range rules {
		if err := except(w.h.route.do(ruleRequest(unix.RTM_NEWRULE, create, r)), unix.EEXIST); err != nil {
			return fmt.Errorf("add rule %s: %w", r, err)
		}
	}
	return nil
}

// fromPod names all rules from a pod's address, whatever their table.
func fromPod(a netip.Addr) hostnet.Rule {
	return hostnet.Rule{Priority: hostnet.PriorityFromPod, From: hostPrefix(a)}
}

// checkRoute fails unless the route to an address leads to this pod's link: two pods must never share an address.
func (w *wiring) checkRoute(a netip.Addr) error {
	index, err := w.h.route.routeTo(a)
	if err != nil {
		return err
	}
	if index != w.vethIndex {
		return fmt.Errorf("address %s is in use: its route leads to link number %d", a, index)
	}
	return nil
}

// podSide gives the pod its addresses and a default route by a gateway that needs no answer from the network.
func (w *wiring) podSide() error {
	gw := hostnet.PodGateway()
	replace := unix.NLM_F_CREATE | unix.NLM_F_REPLACE
	var reqs []*nl.NetlinkRequest
	for _, a := range w.p.Addrs {
		reqs = append(reqs, addressRequest(unix.RTM_NEWADDR, create, w.ethIndex, hostPrefix(a)))
	}
	reqs = append(reqs,
		permanentNeighbour(w.ethIndex, gw, w.veth.mac),
		routeRequest(unix.RTM_NEWROUTE, replace, hostnet.Route{Table: hostnet.TableMain, Dst: hostPrefix(gw)}, w.ethIndex),
		routeRequest(unix.RTM_NEWROUTE, replace,
			hostnet.Route{Table: hostnet.TableMain, Dst: netip.PrefixFrom(netip.IPv4Unspecified(), 0), Via: gw}, w.ethIndex))
	var errs []error
	for _, err := range w.pod.batch(reqs...) {
		errs = append(errs, except(err, unix.EEXIST))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("set up interface %s in the pod: %w", w.eth.name, err)
	}
	return w.pod.openQueue(w.eth.name)
}

// deleteRules deletes all rules that have the given parts.
func (h *Host) deleteRules(r hostnet.Rule) error {
	for range 64 { // duplicates that differ in what we do not name are few
		err := h.route.do(ruleRequest(unix.RTM_DELRULE, 0, r))
		if isGone(err) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("delete rule %s: %w", r, err)
		}
	}
	return nil
}

package linux

import (
	"context"
	"fmt"
	"os"
	"slices"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/internal/core/hostnet"
)

// CheckPod says what of a pod's wiring is missing, a line each; none when all is there. pod may be nil of its namespace when
// that is not known: then only the host's side is checked.
func (h *Host) CheckPod(_ context.Context, settings hostnet.Settings, pod hostnet.Pod, ns *os.File) ([]string, error) {
	o, err := h.observe(settings.VethPrefix)
	if err != nil {
		return nil, fmt.Errorf("check pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	var missing []string
	veth := hostnet.VethName(settings.VethPrefix, pod.Namespace, pod.Name)
	l, ok, err := h.hostEnd(settings, pod)
	if ok {
		veth = l.name
	}
	switch {
	case err != nil:
		return nil, fmt.Errorf("check pod %s/%s: %w", pod.Namespace, pod.Name, err)
	case !ok:
		missing = append(missing, "host: link "+veth)
	case l.alias != "" && l.alias != hostnet.Alias(pod.Key):
		missing = append(missing, fmt.Sprintf("host: link %s belongs to another sandbox (%s)", veth, l.alias))
	case !l.up:
		missing = append(missing, "host: link "+veth+" is down")
	}
	for _, a := range pod.Addrs {
		if r := (hostnet.Route{Table: hostnet.TableMain, Dst: hostPrefix(a), Link: veth}); !slices.Contains(o.machine.Routes, r) {
			missing = append(missing, "host: route "+r.String())
		}
	}
	for _, r := range hostnet.PodRules(pod) {
		if !slices.Contains(o.machine.Rules, r) {
			missing = append(missing, "host: rule "+r.String())
		}
	}
	if ns == nil {
		return missing, nil
	}
	inside, err := checkInside(pod, ns)
	if err != nil {
		return nil, fmt.Errorf("check pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	return append(missing, inside...), nil
}

func checkInside(pod hostnet.Pod, ns *os.File) ([]string, error) {
	lists, err := netlink.NewHandleAt(netns.NsHandle(ns.Fd()), unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink handle: %w", err)
	}
	defer lists.Close()
	name := pod.Key.IfName
	links, err := listLinks(lists)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(links, func(l netlink.Link) bool { return l.Attrs().Name == name })
	if i < 0 {
		return []string{"pod: interface " + name}, nil
	}
	index := links[i].Attrs().Index
	var missing []string
	if links[i].Attrs().RawFlags&unix.IFF_UP == 0 {
		missing = append(missing, "pod: interface "+name+" is down")
	}
	addrs, err := listAddresses(lists)
	if err != nil {
		return nil, err
	}
	for _, a := range pod.Addrs {
		if !slices.ContainsFunc(addrs, func(x netlink.Addr) bool { return x.LinkIndex == index && prefixOf(x.IPNet) == hostPrefix(a) }) {
			missing = append(missing, "pod: address "+hostPrefix(a).String()+" dev "+name)
		}
	}
	routes, err := listRoutes(lists)
	if err != nil {
		return nil, err
	}
	var have []hostnet.Route
	for _, r := range routes {
		have = append(have, routeOf(r, map[int]string{index: name}))
	}
	for _, want := range hostnet.PodRoutes(name) {
		if !slices.Contains(have, want) {
			missing = append(missing, "pod: route "+want.String())
		}
	}
	neighbours, err := listNeighbours(lists, index)
	if err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(neighbours, func(n netlink.Neigh) bool {
		return n.IP.String() == hostnet.PodGateway().String() && n.State&unix.NUD_PERMANENT != 0
	}) {
		missing = append(missing, "pod: permanent neighbour "+hostnet.PodGateway().String())
	}
	return missing, nil
}

package linux_test

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/internal/core/hostnet"
)

func benchPod(i int) hostnet.Pod {
	id := fmt.Sprintf("container-%d", i)
	return hostnet.Pod{
		Key:       hostnet.PodKey{Network: "aws-cni", ContainerID: id, IfName: "eth0"},
		Namespace: "default", Name: fmt.Sprintf("pod-%d", i),
		Addrs: []netip.Addr{netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})}, DeviceIndex: 1,
	}
}

// BenchmarkWirePod wires and unwires one pod after another.
func BenchmarkWirePod(b *testing.B) {
	node, pod := newSpace(b), newSpace(b)
	h := node.host()
	s := settings()
	for i := 0; b.Loop(); i++ {
		p := benchPod(i % 50000)
		if _, err := h.WirePod(b.Context(), s, p, pod.file); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := h.UnwirePod(b.Context(), s, p); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

// BenchmarkUnwirePod measures until rules and route are gone; links follow in the background, one pod's while others are wired.
func BenchmarkUnwirePod(b *testing.B) {
	node, pod := newSpace(b), newSpace(b)
	h := node.host()
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error, 1)
	go func() { done <- h.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			b.Error(err)
		}
	}()
	s := settings()
	for i := 0; b.Loop(); i++ {
		p := benchPod(i % 50000)
		b.StopTimer()
		pod.run("ip link show eth0 >/dev/null 2>&1 && ip link set eth0 name old" + fmt.Sprint(i) + " || true")
		if _, err := h.WirePod(b.Context(), s, p, pod.file); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		if err := h.UnwirePod(b.Context(), s, p); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkBareVeth is the floor: a veth pair made from inside the pod's namespace, both ends up, and nothing else.
func BenchmarkBareVeth(b *testing.B) {
	node, pod := newSpace(b), newSpace(b)
	inside, err := netlink.NewHandleAt(netns.NsHandle(pod.file.Fd()), unix.NETLINK_ROUTE)
	if err != nil {
		b.Fatal(err)
	}
	defer inside.Close()
	outside, err := netlink.NewHandleAt(netns.NsHandle(node.file.Fd()), unix.NETLINK_ROUTE)
	if err != nil {
		b.Fatal(err)
	}
	defer outside.Close()
	for b.Loop() {
		veth := &netlink.Veth{LinkAttrs: netlink.NewLinkAttrs(), PeerName: "eni0123456789a", PeerNamespace: netlink.NsFd(node.file.Fd())}
		veth.Name, veth.Flags = "eth0", 1
		if err := inside.LinkAdd(veth); err != nil {
			b.Fatal(err)
		}
		peer, err := outside.LinkByName("eni0123456789a")
		if err != nil {
			b.Fatal(err)
		}
		if err := outside.LinkSetUp(peer); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := outside.LinkDel(peer); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

// BenchmarkWire20 wires twenty pods side by side.
func BenchmarkWire20(b *testing.B) {
	node := newSpace(b)
	h := node.host()
	s := settings()
	var pods [20]*space
	for i := range pods {
		pods[i] = newSpace(b)
	}
	each := func(do func(p hostnet.Pod, ns *space) error) {
		var wg sync.WaitGroup
		for i, ns := range pods {
			wg.Go(func() {
				if err := do(benchPod(i), ns); err != nil {
					b.Error(err)
				}
			})
		}
		wg.Wait()
	}
	for b.Loop() {
		each(func(p hostnet.Pod, ns *space) error {
			_, err := h.WirePod(b.Context(), s, p, ns.file)
			return err
		})
		b.StopTimer()
		each(func(p hostnet.Pod, _ *space) error { return h.UnwirePod(b.Context(), s, p) })
		b.StartTimer()
	}
}

// BenchmarkReconcileUnchanged is what a look costs on a node with fifty pods when nothing has changed.
func BenchmarkReconcileUnchanged(b *testing.B) {
	node := newSpace(b)
	node.run("ip link add eth0 type veth peer name far0", "ip link set eth0 up")
	mac := node.run("ip -br link show eth0 | awk '{print $3}'")
	h := node.host()
	s := settings()
	cfg := hostnet.Config{
		PrimaryMAC: mac, PrimaryIP: netip.MustParseAddr("192.0.2.1"), VPCCIDRs: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/16")}, Settings: s,
	}
	for i := range 50 {
		p := benchPod(i)
		if _, err := h.WirePod(b.Context(), s, p, newSpace(b).file); err != nil {
			b.Fatal(err)
		}
		cfg.Pods = append(cfg.Pods, p)
	}
	if _, _, err := h.Reconcile(b.Context(), cfg); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		changed, _, err := h.Reconcile(b.Context(), cfg)
		if err != nil || len(changed) > 0 {
			b.Fatal(changed, err)
		}
	}
}

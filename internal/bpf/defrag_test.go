package bpf_test

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"

	"github.com/berth-net/berth/internal/bpf"
	"github.com/berth-net/berth/internal/testkit"
)

// send sends a datagram of so many bytes from a namespace, again and again until it has come or the patience is over.
func send(tb testing.TB, from string, to net.PacketConn, target netip.AddrPort, size int) bool {
	tb.Helper()
	var c net.Conn
	testkit.InNetns(tb, from, func() (err error) {
		c, err = net.Dial("udp", target.String())
		return err
	})
	defer func() { _ = c.Close() }()
	buffer := make([]byte, size)
	for end := time.Now().Add(patience); time.Now().Before(end); {
		if _, err := c.Write(buffer); err != nil {
			tb.Fatalf("send %d bytes to %s: %v", size, target, err)
		}
		_ = to.SetReadDeadline(time.Now().Add(patience / 4))
		n, _, err := to.ReadFrom(buffer)
		if err == nil && n == size {
			return true
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			tb.Fatalf("receive from %s: %d bytes, %v", target, n, err)
		}
	}
	return false
}

// likeACard has packets come from the other machine in pages, as cards' drivers bring them: the kernel then joins fragments into one.
func (w *wire) likeACard(tb testing.TB) {
	tb.Helper()
	pass, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.XDP, License: "Apache-2.0", Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 2), asm.Return()},
	})
	if err != nil {
		tb.Fatal(err)
	}
	testkit.InNetns(tb, w.node, func() error {
		eni, err := net.InterfaceByName("eni0")
		if err != nil {
			return err
		}
		l, err := link.AttachXDP(link.XDPOptions{Program: pass, Interface: eni.Index})
		if err == nil {
			tb.Cleanup(func() { _ = errors.Join(l.Close(), pass.Close()) })
		}
		return err
	})
}

// TestFragmentsThatTheNodePutsTogetherAreNotItsOwn: connection tracking reassembles datagrams and cuts them up again, into packets that
// no interface has brought.
func TestFragmentsThatTheNodePutsTogetherAreNotItsOwn(t *testing.T) {
	inBothAttachments(t, func(t *testing.T, o bpf.Options, w *wire) {
		d := open(t, o)
		t.Cleanup(func() { _ = d.Close() })
		w.attach(t, d)
		nft := testkit.RequireProgram(t, "nft")
		if out, err := testkit.NetnsOutput(w.node, nft, "add table inet f; add chain inet f forward { type filter hook forward priority 0; }; "+
			"add rule inet f forward ct state new counter accept"); err != nil {
			t.Fatalf("nft: %v: %s", err, out)
		}
		w.likeACard(t)
		var in net.PacketConn
		testkit.InNetns(t, w.pod, func() (err error) {
			in, err = net.ListenPacket("udp", ":8080")
			return err
		})
		t.Cleanup(func() { _ = in.Close() })
		apply(t, d, rowsOf(isolated(1), 0)...)
		apply(t, d, pod(isolated(1), 0))
		for i, pod4or6 := range []string{"10.0.0.1", "fd00::1"} {
			for _, size := range []int{100, 1600, 9000} {
				apply(t, d, peer(farAddrs[i], classDenied))
				if send(t, w.far, in, at(pod4or6, port), size) {
					t.Errorf("%s: %d bytes of a peer that is denied got in", pod4or6, size)
				}
				apply(t, d, peer(farAddrs[i], classAllowed))
				if !send(t, w.far, in, at(pod4or6, port), size) {
					t.Errorf("%s: %d bytes of a peer that is allowed did not get in", pod4or6, size)
				}
				if !send(t, w.node, in, at(pod4or6, port), size) {
					t.Errorf("%s: %d bytes of the node did not get in", pod4or6, size)
				}
			}
		}
	})
}

package bpf_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/internal/bpf"
	"github.com/berth-net/berth/internal/testkit"
)

// crossing sends any frame to a pod or from it over real links. The node's own stack would drop or mend much of what an attacker may
// send, so it does not see these: what comes from the one link goes out by the other, as it is, by a program of the test's own that runs
// behind ours.
type crossing struct {
	*wire
	d             *bpf.Datapath
	pod, far      *packetSocket
	node          *packetSocket // what it sends to the pod is the node's own
	paged         *packetSocket // of the other machine and of the pod: what they send is not in one piece
	pagedPod      *packetSocket
	piecemeal     *ebpf.Map // how many frames came with nothing but their Ethernet header in one piece
	marker, sport uint16
}

func newCrossing(t *testing.T, o bpf.Options, w *wire) *crossing {
	t.Helper()
	c := &crossing{wire: w, d: open(t, o), sport: 1000}
	t.Cleanup(func() { _ = c.d.Remove() })
	for _, l := range []struct{ ns, link string }{{w.node, "host0"}, {w.node, "eni0"}, {w.pod, "eth0"}, {w.far, "far0"}} {
		w.ip(t, l.ns, "link", "set", l.link, "mtu", "9001")
	}
	w.attach(t, c.d)
	var err error
	c.piecemeal, err = ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.piecemeal.Close() })
	c.redirect(t, "eni0", "host0", "", o)
	c.redirect(t, "host0", "eni0", map[bool]string{true: "clsact"}[o.Clsact], o)
	c.pod, c.far, c.node = newPacketSocket(t, w.pod, "eth0", false), newPacketSocket(t, w.far, "far0", false), newPacketSocket(t, w.node, "host0", false)
	c.paged, c.pagedPod = newPacketSocket(t, w.far, "far0", true), newPacketSocket(t, w.pod, "eth0", true)
	return c
}

// redirect has what comes from one link go out by another.
func (c *crossing) redirect(t *testing.T, from, to, way string, o bpf.Options) {
	t.Helper()
	var in, out *net.Interface
	testkit.InNetns(t, c.wire.node, func() (err error) {
		in, err = net.InterfaceByName(from)
		if err == nil {
			out, err = net.InterfaceByName(to)
		}
		return err
	})
	const data, dataEnd = 76, 80 // in struct __sk_buff
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.SchedCLS, License: "Apache-2.0", Instructions: asm.Instructions{
		asm.LoadMem(asm.R2, asm.R1, data, asm.Word), asm.LoadMem(asm.R3, asm.R1, dataEnd, asm.Word),
		asm.Add.Imm(asm.R2, 15), asm.JLE.Reg(asm.R2, asm.R3, "whole"),
		asm.StoreImm(asm.RFP, -4, 0, asm.Word), asm.Mov.Reg(asm.R2, asm.RFP), asm.Add.Imm(asm.R2, -4),
		asm.LoadMapPtr(asm.R1, c.piecemeal.FD()), asm.FnMapLookupElem.Call(), asm.JEq.Imm(asm.R0, 0, "whole"),
		asm.Mov.Imm(asm.R1, 1), asm.StoreXAdd(asm.R0, asm.R1, asm.DWord),
		asm.Mov.Imm(asm.R1, int32(out.Index)).WithSymbol("whole"), asm.Mov.Imm(asm.R2, 0), asm.FnRedirect.Call(), asm.Return(),
	}})
	if err != nil {
		t.Fatalf("%+v", err)
	}
	t.Cleanup(func() { _ = program.Close() })
	if way == "clsact" {
		pin := filepath.Join(filepath.Dir(o.Dir), "redirect-"+from)
		if err := program.Pin(pin); err != nil {
			t.Fatal(err)
		}
		if out, err := testkit.NetnsOutput(c.wire.node, testkit.RequireProgram(t, "tc"), "filter", "add", "dev", from, "ingress", "prio", "100",
			"protocol", "all", "bpf", "da", "object-pinned", pin); err != nil {
			t.Fatalf("tc: %v: %s", err, out)
		}
		return
	}
	testkit.InNetns(t, c.wire.node, func() error {
		l, err := link.AttachTCX(link.TCXOptions{Interface: in.Index, Program: program, Attach: ebpf.AttachTCXIngress})
		if err == nil {
			t.Cleanup(func() { _ = l.Close() })
		}
		return err
	})
}

// marked is a frame that always passes, and is no other.
func (c *crossing) marked() []byte {
	c.marker++
	return append(binary.BigEndian.AppendUint16(append(ethernet(0x0806), 0xbe, 0x27), c.marker), make([]byte, 42)...)
}

// passes sends a frame, and tells whether it came out at the other side. Frames that always pass follow it, so nothing is a matter of time.
func (c *crossing) passes(t *testing.T, from, to *packetSocket, data []byte) bool {
	t.Helper()
	to.drain(t)
	from.send(t, data)
	return c.came(t, from, to, func(got []byte) bool { return bytes.Equal(got, data) })
}

// came tells whether a frame arrives before two that always pass.
func (c *crossing) came(t *testing.T, from, to *packetSocket, is func([]byte) bool) (found bool) {
	t.Helper()
	for range 2 { // by two processors they may overtake each other
		marker := c.marked()
		from.send(t, marker)
		for end := time.Now().Add(10 * time.Second); ; {
			got := to.receive(t, 100)
			if bytes.Equal(got, marker) {
				break
			}
			found = found || got != nil && is(got)
			if time.Now().After(end) {
				t.Fatal("not even ARP passes")
			}
		}
	}
	return found
}

// packetSocket sends and receives whole frames at a link.
type packetSocket struct {
	fd    int
	index int
	paged bool
}

func newPacketSocket(t *testing.T, ns, name string, paged bool) *packetSocket {
	t.Helper()
	s := &packetSocket{paged: paged}
	const every = unix.ETH_P_ALL<<8&0xff00 | unix.ETH_P_ALL>>8
	testkit.InNetns(t, ns, func() error {
		l, err := net.InterfaceByName(name)
		if err != nil {
			return err
		}
		s.index = l.Index
		if s.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, every); err != nil {
			return err
		}
		t.Cleanup(func() { _ = unix.Close(s.fd) })
		if paged {
			err = unix.SetsockoptInt(s.fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1)
		}
		return errors.Join(err, unix.Bind(s.fd, &unix.SockaddrLinklayer{Protocol: every, Ifindex: l.Index}))
	})
	return s
}

func (s *packetSocket) send(t *testing.T, data []byte) {
	t.Helper()
	if s.paged && len(data) > 4096 { // smaller ones are always in one piece; hdr_len says how much is, at least
		data = append([]byte{0, 0, 14, 0, 0, 0, 0, 0, 0, 0}, data...)
	} else if s.paged {
		data = append(make([]byte, 10), data...)
	}
	if err := unix.Sendto(s.fd, data, 0, &unix.SockaddrLinklayer{Ifindex: s.index}); err != nil {
		t.Fatalf("send %d bytes: %v", len(data), err)
	}
}

// receive is the next frame that the link has brought, nil when none comes within so many milliseconds.
func (s *packetSocket) receive(t *testing.T, milliseconds int) []byte {
	t.Helper()
	buffer := make([]byte, 16<<10)
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLIN}}, milliseconds)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			return nil
		}
		n, from, err := unix.Recvfrom(s.fd, buffer, unix.MSG_DONTWAIT)
		if err != nil {
			t.Fatal(err)
		}
		if l, ok := from.(*unix.SockaddrLinklayer); ok && l.Pkttype != unix.PACKET_OUTGOING {
			return buffer[:n]
		}
	}
}

func (s *packetSocket) drain(t *testing.T) {
	t.Helper()
	for s.receive(t, 0) != nil {
	}
}

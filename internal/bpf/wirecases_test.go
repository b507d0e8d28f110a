package bpf_test

import (
	"bytes"
	"testing"

	"github.com/berth-net/berth/internal/bpf"
	"github.com/berth-net/berth/internal/core/policy"
)

// side is one side of a crossing: a direction and a family.
type side struct {
	*testing.T
	c         *crossing
	direction bpf.Direction
	family
}

// next is a packet of a new flow with the peer that is allowed.
func (s side) next(dport uint16) frame {
	s.c.sport++
	return frame{protocol: policy.UDP, sport: s.c.sport, dport: dport, flags: syn, id: s.c.sport}.toward(s.direction, s.pod, s.allowed)
}

// ends are where a packet enters and where it comes out.
func (s side) ends() (from, to *packetSocket) {
	if s.direction == bpf.Ingress {
		return s.c.far, s.c.pod
	}
	return s.c.pod, s.c.far
}

// sends sends a frame and holds whether it comes out.
func (s side) sends(what string, data []byte, want bool) {
	s.Helper()
	from, to := s.ends()
	if got := s.c.passes(s.T, from, to, data); got != want {
		s.Errorf("%s: passed %t, want %t", what, got, want)
	}
}

// back is the other direction.
func (s side) back() side {
	s.direction = bpf.Ingress + bpf.Egress - s.direction
	return s
}

// casesOnTheWire are those that the project's requirements number, by these names.
var casesOnTheWire = []struct {
	name    string
	only    string // family; empty: both
	ingress bool   // only
	test    func(s side)
}{
	{"P1 first fragment without its header", "", false, func(s side) {
		f := s.next(port)
		f.protocol, f.more, f.extensions = policy.TCP, true, []uint8{44}
		f.transport = f.body()[:8]
		s.sends("eight bytes of TCP", f.bytes(), false)
	}},
	{"P2 later fragments", "", false, func(s side) {
		for dport, want := range map[uint16]bool{port: true, otherPort: false} {
			f := s.next(dport)
			f.more, f.extensions, f.payload = true, []uint8{44}, make([]byte, 16)
			s.sends("a first fragment", f.bytes(), want)
			f.offset, f.more, f.payload = 24, false, []byte{0x0f, 0xa0, port >> 8, port & 0xff, 0, 8, 0, 0}
			s.sends("its later fragment", f.bytes(), want)
			f.id += 20000
			s.sends("a later fragment without a first", f.bytes(), false)
		}
	}},
	{"P3 options", "IPv4", false, func(s side) {
		f := s.next(otherPort)
		f.options = []byte{1, 1, port >> 8, port & 0xff}
		s.sends("an allowed port where it would be without options", f.bytes(), false)
		f = s.next(port)
		f.options = bytes.Repeat([]byte{1, 1, otherPort >> 8, otherPort & 0xff}, 10)
		s.sends("an allowed port behind forty bytes of options", f.bytes(), true)
	}},
	{"P4 both families", "", false, func(s side) {
		for _, protocol := range []policy.Protocol{policy.TCP, policy.UDP, policy.SCTP} {
			for dport, want := range map[uint16]bool{port: true, otherPort: false} {
				f := s.next(dport)
				f.protocol = protocol
				s.sends(protocol.String()+" of a peer that is allowed a port", f.bytes(), want)
				f = s.next(dport)
				f.protocol = protocol
				s.sends(protocol.String()+" of one that is not", f.toward(s.direction, s.pod, s.denied).bytes(), false)
			}
		}
	}},
	{"P5 extension headers", "IPv6", false, func(s side) {
		for _, tt := range []struct {
			extensions []uint8
			want       bool
		}{{[]uint8{0, 60, 43, 44, 51, 60}, true}, {bytes.Repeat([]byte{60}, 8), true}, {bytes.Repeat([]byte{60}, 9), false}, {[]uint8{60, 253}, false}} {
			f := s.next(port)
			f.extensions = tt.extensions
			s.sends("headers before an allowed port", f.bytes(), tt.want)
			f = s.next(otherPort)
			f.extensions = tt.extensions
			s.sends("headers before another port", f.bytes(), false)
		}
	}},
	{"P6 not in one piece", "", false, func(s side) {
		before, after := uint64(0), uint64(0)
		if err := s.c.piecemeal.Lookup(uint32(0), &before); err != nil {
			s.Fatal(err)
		}
		from, to := s.c.paged, s.c.pod
		if s.direction == bpf.Egress {
			from, to = s.c.pagedPod, s.c.far
		}
		for dport, want := range map[uint16]bool{port: true, otherPort: false} {
			f := s.next(dport)
			f.payload = make([]byte, 6000)
			if got := s.c.passes(s.T, from, to, f.bytes()); got != want {
				s.Errorf("port %d: passed %t, want %t", dport, got, want)
			}
		}
		if err := s.c.piecemeal.Lookup(uint32(0), &after); err != nil {
			s.Fatal(err)
		}
		if after == before {
			s.Error("no frame came in pieces: nothing is shown")
		}
	}},
	{"P7 neighbour discovery", "IPv6", false, func(s side) {
		for _, hops := range []uint8{255, 254} {
			f := icmp(s.pod, s.denied, 135, 0).toward(s.direction, s.pod, s.denied)
			f.hops = hops
			s.sends("a solicitation of a peer that is denied", f.bytes(), hops == 255)
		}
		f := icmp(s.pod, s.denied, 128, 0).toward(s.direction, s.pod, s.denied)
		f.hops = 255
		s.sends("an echo of a peer that is denied", f.bytes(), false)
	}},
	{"P8 ICMP errors", "", false, func(s side) {
		kind, code := uint8(3), uint8(4) // fragmentation needed
		if s.family.pod.Is6() {
			kind, code = 2, 0 // packet too big
		}
		back := s.back()
		f := s.next(port)
		nothing := icmp(s.pod, s.router, kind, code, about(f)...).toward(back.direction, s.pod, s.router)
		back.sends("an error about no flow", nothing.bytes(), false)
		s.sends("a flow", f.bytes(), true)
		back.sends("an error about it", nothing.bytes(), true)
	}},
	{"P9 the node by origin", "", true, func(s side) {
		f := s.next(otherPort).toward(s.direction, s.pod, s.denied)
		if !s.c.passes(s.T, s.c.node, s.c.pod, f.bytes()) {
			s.Error("a packet of the node itself, by an address that is denied, did not pass")
		}
		s.sends("a packet by the node's address that is not of the node", s.next(port).toward(s.direction, s.pod, s.node).bytes(), false)
	}},
	{"P10 other than IP", "", false, func(s side) {
		s.sends("ARP", append(ethernet(0x0806), make([]byte, 46)...), true)
		s.sends("LLDP", append(ethernet(0x88cc), make([]byte, 46)...), false)
	}},
	{"P11 dropped, not rejected", "", false, func(s side) {
		from, to := s.ends()
		from.drain(s.T)
		f := s.next(otherPort)
		f.protocol = policy.TCP
		s.sends("a packet that is denied", f.bytes(), false)
		if s.c.came(s.T, to, from, func(got []byte) bool {
			return bytes.Contains(got, s.pod.AsSlice()) && bytes.Contains(got, s.allowed.AsSlice())
		}) {
			s.Error("somebody answered")
		}
	}},
}

// TestOnTheWire sends every case over real links, by TCX and by clsact, to a pod and from it.
func TestOnTheWire(t *testing.T) {
	inBothAttachments(t, func(t *testing.T, o bpf.Options, w *wire) {
		c := newCrossing(t, o, w)
		apply(t, c.d, peers()...)
		apply(t, c.d, rowsOf(isolated(1), 0)...)
		apply(t, c.d, pod(isolated(1), isolated(1)))
		for _, tt := range casesOnTheWire {
			for _, f := range families {
				for _, direction := range []bpf.Direction{bpf.Ingress, bpf.Egress} {
					if tt.only != "" && tt.only != f.name || tt.ingress && direction != bpf.Ingress {
						continue
					}
					name := map[bpf.Direction]string{bpf.Ingress: "ingress", bpf.Egress: "egress"}[direction]
					t.Run(tt.name+"/"+f.name+"/"+name, func(t *testing.T) { tt.test(side{t, c, direction, f}) })
				}
			}
		}
	})
}

package bpf_test

import (
	"slices"
	"testing"

	"github.com/berth-net/berth/internal/bpf"
	"github.com/berth-net/berth/internal/core/policy"
)

// The names P1 to P11 are those of the cases that the project's requirements number.

func TestPortsOfAllProtocols(t *testing.T) {
	inAllWays(t, func(t *testing.T, d *bpf.Datapath, direction bpf.Direction, f family) {
		for _, protocol := range []policy.Protocol{policy.TCP, policy.UDP, policy.SCTP} {
			to := func(n uint16) frame { return frame{protocol: protocol, sport: 4000 + n, dport: n, flags: syn} }
			expect(t, d, direction, to(port).toward(direction, f.pod, f.allowed), true, "an allowed port")
			expect(t, d, direction, to(otherPort).toward(direction, f.pod, f.allowed), false, "another port")
			expect(t, d, direction, to(port).toward(direction, f.pod, f.denied), false, "a denied peer")
			expect(t, d, direction, to(port).toward(direction, f.pod, f.outside), false, "an unknown peer")
			expect(t, d, direction, to(port).toward(direction, f.pod, f.inBlock), true, "an allowed block")
			expect(t, d, direction, to(port).toward(direction, f.pod, f.exempt), false, "what the block excepts")
			other := bpf.Ingress + bpf.Egress - direction
			expect(t, d, other, to(otherPort).toward(other, f.pod, f.denied), true, "the direction without policy")
		}
		expect(t, d, direction, frame{protocol: 47}.toward(direction, f.pod, f.allowed), false, "a protocol without ports")
	})
}

func TestP1FirstFragmentWithoutItsHeaderIsDropped(t *testing.T) {
	inAllWays(t, func(t *testing.T, d *bpf.Datapath, direction bpf.Direction, f family) {
		for _, peer := range []bool{true, false} {
			other := f.allowed
			if !peer {
				other = f.denied
			}
			short := frame{protocol: policy.TCP, id: 9, more: true, extensions: []uint8{44}, transport: []byte{0x10, 0, 0x1f, 0x90, 0, 0, 0, 0}}
			expect(t, d, direction, short.toward(direction, f.pod, other), false, "eight bytes of TCP")
			padded := short.toward(direction, f.pod, other).bytes()
			padded = append(padded, make([]byte, 40)...)
			if judge(t, d, bpf.Frame{Direction: direction, Data: padded}) {
				t.Error("eight bytes of TCP, and more behind the end of the packet: allowed")
			}
		}
	})
}

func TestP2LaterFragmentsShareTheFateOfTheFirst(t *testing.T) {
	inAllWays(t, func(t *testing.T, d *bpf.Datapath, direction bpf.Direction, f family) {
		first := func(id, dport uint16) frame {
			return frame{protocol: policy.UDP, sport: 4000, dport: dport, id: id, more: true, extensions: []uint8{44}, payload: make([]byte, 16)}
		}
		later := func(id uint16) frame { // looks like an allowed port
			return frame{protocol: policy.UDP, id: id, offset: 24, extensions: []uint8{44}, payload: []byte{0x0f, 0xa0, 0x1f, 0x90, 0, 16, 0, 0}}
		}
		expect(t, d, direction, later(1).toward(direction, f.pod, f.allowed), false, "a later fragment without a first")
		expect(t, d, direction, first(1, port).toward(direction, f.pod, f.allowed), true, "an allowed first fragment")
		expect(t, d, direction, later(1).toward(direction, f.pod, f.allowed), true, "its later fragment")
		expect(t, d, direction, later(2).toward(direction, f.pod, f.allowed), false, "a later fragment of another datagram")
		expect(t, d, direction, later(1).toward(direction, f.pod, f.inBlock), false, "a later fragment of another sender")
		expect(t, d, direction, first(3, otherPort).toward(direction, f.pod, f.allowed), false, "a denied first fragment")
		expect(t, d, direction, later(3).toward(direction, f.pod, f.allowed), false, "its later fragment")
		other := bpf.Ingress + bpf.Egress - direction
		expect(t, d, other, later(4).toward(other, f.pod, f.denied), true, "a later fragment where no policy is")
	})
}

func TestFragmentsOfAnEstablishedFlowPass(t *testing.T) {
	inAllWays(t, func(t *testing.T, d *bpf.Datapath, direction bpf.Direction, f family) {
		plain := frame{protocol: policy.UDP, sport: 4000, dport: port}.toward(direction, f.pod, f.allowed)
		expect(t, d, direction, plain, true, "the first packet")
		cut := plain
		cut.id, cut.more, cut.extensions, cut.payload = 5, true, []uint8{44}, make([]byte, 16)
		expect(t, d, direction, cut, true, "a first fragment")
		cut.offset, cut.more = 24, false
		expect(t, d, direction, cut, true, "its later fragment")
	})
}

func TestP3OptionsOfIPv4(t *testing.T) {
	for _, direction := range []bpf.Direction{bpf.Ingress, bpf.Egress} {
		f, d := families[0], policed(t, direction)
		// Where the ports would be without options is an allowed port, and a denied one the other way round.
		for _, tt := range []struct {
			options []byte
			dport   uint16
			want    bool
		}{
			{[]byte{1, 1, 0x1f, 0x90}, otherPort, false},
			{[]byte{1, 1, 0x23, 0x82}, port, true},
			{slices.Repeat([]byte{1, 1, 0x1f, 0x90}, 10), otherPort, false},
			{slices.Repeat([]byte{1, 1, 0x23, 0x82}, 10), port, true},
		} {
			packet := frame{protocol: policy.TCP, sport: 4000, dport: tt.dport, flags: syn, options: tt.options}
			expect(t, d, direction, packet.toward(direction, f.pod, f.allowed), tt.want, "with options")
			expect(t, d, direction, packet.toward(direction, f.pod, f.denied), false, "with options, of a denied peer")
		}
	}
}

func TestMalformedPacketsAreDropped(t *testing.T) {
	inAllWays(t, func(t *testing.T, d *bpf.Datapath, direction bpf.Direction, f family) {
		good := frame{protocol: policy.TCP, sport: 4000, dport: port, flags: syn}.toward(direction, f.pod, f.allowed).bytes()
		for name, change := range map[string]func(b []byte) []byte{
			"another version":       func(b []byte) []byte { b[14] = 0x55; return b },
			"a header too short":    func(b []byte) []byte { b[14] = b[14]&0xf0 | 4; return b },
			"cut within the ports":  func(b []byte) []byte { return b[:len(b)-18] },
			"cut within the header": func(b []byte) []byte { return b[:len(b)-4] },
		} {
			if f.name == "IPv6" && name == "a header too short" {
				continue // there it is a part of the traffic class
			}
			if judge(t, d, bpf.Frame{Direction: direction, Data: change(slices.Clone(good))}) {
				t.Errorf("%s: allowed", name)
			}
			other := bpf.Ingress + bpf.Egress - direction
			if !judge(t, d, bpf.Frame{Direction: other, Data: change(slices.Clone(good))}) {
				t.Errorf("%s: denied where no policy is", name)
			}
		}
	})
}

func TestIPv6AddressThatStandsForIPv4IsNoPeer(t *testing.T) {
	for _, direction := range []bpf.Direction{bpf.Ingress, bpf.Egress} {
		d := policed(t, direction)
		packet := frame{protocol: policy.TCP, sport: 4000, dport: port, flags: syn}
		mapped := addr("::ffff:" + families[0].allowed.String())
		expect(t, d, direction, packet.toward(direction, families[1].pod, mapped), false, "a peer's address of IPv4 in IPv6")
	}
}

func TestP5ExtensionHeadersOfIPv6(t *testing.T) {
	f := families[1]
	for _, tt := range []struct {
		name       string
		extensions []uint8
		want       bool
	}{
		{"hop by hop", []uint8{0}, true},
		{"destination options", []uint8{60}, true},
		{"routing", []uint8{43}, true},
		{"authentication", []uint8{51}, true},
		{"an atomic fragment", []uint8{44}, true},
		{"a chain", []uint8{0, 60, 43, 44, 51, 60}, true},
		{"eight", []uint8{0, 60, 60, 60, 60, 60, 60, 60}, true},
		{"nine", []uint8{0, 60, 60, 60, 60, 60, 60, 60, 60}, false},
		{"an unknown one", []uint8{253}, false},
		{"an unknown one behind known ones", []uint8{0, 60, 200}, false},
		{"fragments of fragments", []uint8{44, 44, 44}, true}, // atomic, each of them
	} {
		for _, direction := range []bpf.Direction{bpf.Ingress, bpf.Egress} {
			d := policed(t, direction)
			packet := frame{protocol: policy.TCP, sport: 4000, dport: port, flags: syn, extensions: tt.extensions}
			expect(t, d, direction, packet.toward(direction, f.pod, f.allowed), tt.want, tt.name)
			packet.dport = otherPort
			expect(t, d, direction, packet.toward(direction, f.pod, f.allowed), false, tt.name+", another port")
		}
	}
}

func TestP7NeighbourDiscovery(t *testing.T) {
	f := families[1]
	for _, direction := range []bpf.Direction{bpf.Ingress, bpf.Egress} {
		d := policed(t, direction)
		for kind := uint8(133); kind <= 137; kind++ {
			packet := icmp(f.denied, f.pod, kind, 0).toward(direction, f.pod, f.denied)
			packet.hops = 255
			expect(t, d, direction, packet, true, "neighbour discovery")
			packet.hops = 254
			expect(t, d, direction, packet, false, "neighbour discovery from behind a router")
		}
		echo := icmp(f.denied, f.pod, 128, 0).toward(direction, f.pod, f.denied)
		echo.hops = 255
		expect(t, d, direction, echo, false, "an echo with hop limit 255")
	}
}

func TestP10OtherThanIP(t *testing.T) {
	for _, direction := range []bpf.Direction{bpf.Ingress, bpf.Egress} {
		d := policed(t, direction)
		payload := make([]byte, 46)
		for _, tt := range []struct {
			name string
			kind uint16
			want bool
		}{{"ARP", 0x0806, true}, {"LLDP", 0x88cc, false}, {"a length", 46, false}} {
			if got := judge(t, d, bpf.Frame{Direction: direction, Data: append(ethernet(tt.kind), payload...)}); got != tt.want {
				t.Errorf("%s: allowed %t", tt.name, got)
			}
		}
		if err := d.Set(bpf.Settings{PassNonIP: true, Timeouts: bpf.DefaultTimeouts()}); err != nil {
			t.Fatal(err)
		}
		if !judge(t, d, bpf.Frame{Direction: direction, Data: append(ethernet(0x88cc), payload...)}) {
			t.Error("LLDP: denied though set to pass")
		}
	}
}

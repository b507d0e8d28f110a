package bpf_test

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/berth-net/berth/internal/bpf"
	"github.com/berth-net/berth/internal/core/policy"
)

// frame is an Ethernet frame in parts. Ports are in the order of the packet.
type frame struct {
	from, to     netip.Addr
	protocol     policy.Protocol
	sport, dport uint16
	flags        uint8 // of TCP
	payload      []byte

	options    []byte  // of IPv4, a multiple of four
	extensions []uint8 // of IPv6, before the transport: eight bytes each
	hops       uint8
	id         uint16
	offset     uint16 // of the fragment, in bytes
	more       bool
	transport  []byte // instead of what the ports say
}

const (
	syn = 2
	fin = 1
	rst = 4
	ack = 16
)

// bytes are the frame as it is sent. Checksums are not computed: nothing here looks at them.
func (f frame) bytes() []byte {
	if f.from.Is4() {
		return append(ethernet(0x0800), f.ipv4()...)
	}
	return append(ethernet(0x86dd), f.ipv6()...)
}

func ethernet(kind uint16) []byte {
	return binary.BigEndian.AppendUint16([]byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2}, kind)
}

func (f frame) ipv4() []byte {
	body := f.body()
	length := 20 + len(f.options)
	b := []byte{0x40 | uint8(length/4), 0}
	b = binary.BigEndian.AppendUint16(b, uint16(length+len(body)))
	b = binary.BigEndian.AppendUint16(b, f.id)
	place := f.offset / 8
	if f.more {
		place |= 0x2000
	}
	b = binary.BigEndian.AppendUint16(b, place)
	b = append(b, cmpOr(f.hops, 64), uint8(f.protocol), 0, 0)
	b = append(b, f.from.AsSlice()...)
	b = append(b, f.to.AsSlice()...)
	return slices.Concat(b, f.options, body)
}

func (f frame) ipv6() []byte {
	var chain []byte
	next := uint8(f.protocol)
	for _, kind := range slices.Backward(f.extensions) {
		header := []byte{next, 0, 0, 0, 0, 0, 0, 0}
		switch kind {
		case 44:
			place := f.offset
			if f.more {
				place |= 1
			}
			binary.BigEndian.PutUint16(header[2:], place)
			binary.BigEndian.PutUint16(header[6:], f.id)
		case 51: // its length is in words, less two
			header = append(header, make([]byte, 8)...)
			header[1] = 2
		}
		chain = slices.Concat(header, chain)
		next = kind
	}
	rest := append(chain, f.body()...)
	b := []byte{0x60, 0, 0, 0}
	b = binary.BigEndian.AppendUint16(b, uint16(len(rest)))
	b = append(b, next, cmpOr(f.hops, 64))
	b = append(b, f.from.AsSlice()...)
	b = append(b, f.to.AsSlice()...)
	return append(b, rest...)
}

func cmpOr(a, b uint8) uint8 {
	if a != 0 {
		return a
	}
	return b
}

// body is the transport's header and the payload.
func (f frame) body() []byte {
	if f.transport != nil || f.offset != 0 {
		return slices.Concat(f.transport, f.payload)
	}
	ports := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, f.sport), f.dport)
	switch f.protocol {
	case policy.TCP:
		return slices.Concat(ports, make([]byte, 8), []byte{0x50, f.flags}, make([]byte, 6), f.payload)
	case policy.UDP:
		return slices.Concat(ports, make([]byte, 4), f.payload)
	case policy.SCTP:
		return slices.Concat(ports, make([]byte, 8), f.payload)
	default:
		return f.payload
	}
}

// icmp is a message: an echo's sport is its id.
func icmp(from, to netip.Addr, kind, code uint8, rest ...byte) frame {
	f := frame{from: from, to: to, protocol: policy.ICMP}
	if from.Is6() {
		f.protocol = policy.ICMPv6
	}
	f.transport = append([]byte{kind, code, 0, 0}, rest...)
	for len(f.transport) < 8 {
		f.transport = append(f.transport, 0)
	}
	return f
}

// about is the beginning of a packet, as an ICMP error has it behind its own header.
func about(f frame) []byte {
	var ip []byte
	if f.from.Is4() {
		ip = f.ipv4()[:20+len(f.options)+8]
	} else {
		ip = f.ipv6()[:40+8*len(f.extensions)+8]
	}
	return append(make([]byte, 4), ip...)
}

// answer is a packet in the other direction.
func (f frame) answer(flags uint8) frame {
	f.from, f.to, f.sport, f.dport, f.flags = f.to, f.from, f.dport, f.sport, flags
	return f
}

// family are the addresses of one: the pod's, and those of others by what they are in the tables of the tests.
type family struct {
	name                                           string
	pod, allowed, denied, outside, inBlock, exempt netip.Addr
	node, router                                   netip.Addr
	block, hole                                    netip.Prefix
}

var families = []family{
	{
		name: "IPv4", pod: addr("10.0.0.1"), allowed: addr("10.0.0.2"), denied: addr("10.0.0.3"), outside: addr("10.9.0.1"),
		inBlock: addr("192.0.2.9"), exempt: addr("192.0.2.130"), node: addr("10.0.0.100"), router: addr("198.51.100.1"),
		block: netip.MustParsePrefix("192.0.2.0/24"), hole: netip.MustParsePrefix("192.0.2.128/25"),
	},
	{
		name: "IPv6", pod: addr("fd00::1"), allowed: addr("fd00::2"), denied: addr("fd00::3"), outside: addr("fd00:9::1"),
		inBlock: addr("2001:db8::9"), exempt: addr("2001:db8:0:8000::1"), node: addr("fd00::100"), router: addr("2001:db8:ffff::1"),
		block: netip.MustParsePrefix("2001:db8::/48"), hole: netip.MustParsePrefix("2001:db8:0:8000::/49"),
	},
}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// toward puts a frame's addresses in: the other's is the source of what comes in.
func (f frame) toward(direction bpf.Direction, pod, other netip.Addr) frame {
	f.from, f.to = other, pod
	if direction == bpf.Egress {
		f.from, f.to = pod, other
	}
	return f
}

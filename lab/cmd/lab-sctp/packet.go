package main

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
)

// Types of chunks, RFC 9260 section 3.2.
const (
	chunkInit, chunkInitAck                     uint8 = 1, 2
	chunkAbort, chunkCookieEcho, chunkCookieAck uint8 = 6, 10, 11
)

const (
	parameterCookie = 7 // the state cookie of an INIT ACK
	headerLen       = 12
	window          = 64 << 10
)

// packet is an SCTP packet with one chunk that matters: the first.
type packet struct {
	From, To uint16 // ports
	Tag      uint32 // of who receives it; zero in an INIT
	Type     uint8
	Flags    uint8
	Value    []byte // of the chunk
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// bytes is the packet as it is sent.
func (p packet) bytes() []byte {
	b := make([]byte, headerLen+4, headerLen+4+len(p.Value)+3)
	binary.BigEndian.PutUint16(b, p.From)
	binary.BigEndian.PutUint16(b[2:], p.To)
	binary.BigEndian.PutUint32(b[4:], p.Tag)
	b[headerLen], b[headerLen+1] = p.Type, p.Flags
	binary.BigEndian.PutUint16(b[headerLen+2:], uint16(4+len(p.Value)))
	b = append(b, p.Value...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	binary.LittleEndian.PutUint32(b[8:], crc32.Checksum(b, castagnoli))
	return b
}

var errNoPacket = errors.New("no SCTP packet")

// parse reads what follows the IP header. A wrong checksum is an error: what the network has rewritten must be right again.
func parse(b []byte) (packet, error) {
	if len(b) < headerLen+4 {
		return packet{}, errNoPacket
	}
	sum := binary.LittleEndian.Uint32(b[8:])
	whole := append([]byte(nil), b...)
	binary.LittleEndian.PutUint32(whole[8:], 0)
	size := int(binary.BigEndian.Uint16(b[headerLen+2:]))
	if sum != crc32.Checksum(whole, castagnoli) || size < 4 || headerLen+size > len(b) {
		return packet{}, errNoPacket
	}
	return packet{
		From: binary.BigEndian.Uint16(b), To: binary.BigEndian.Uint16(b[2:]), Tag: binary.BigEndian.Uint32(b[4:]),
		Type: b[headerLen], Flags: b[headerLen+1], Value: whole[headerLen+4 : headerLen+size],
	}, nil
}

// initValue is the value of an INIT or, with a cookie, of an INIT ACK.
func initValue(tag, sequence uint32, cookie []byte) []byte {
	b := make([]byte, 16, 16+4+len(cookie))
	binary.BigEndian.PutUint32(b, tag)
	binary.BigEndian.PutUint32(b[4:], window)
	binary.BigEndian.PutUint16(b[8:], 1) // streams, out and in
	binary.BigEndian.PutUint16(b[10:], 1)
	binary.BigEndian.PutUint32(b[12:], sequence)
	if cookie != nil {
		b = binary.BigEndian.AppendUint16(b, parameterCookie)
		b = binary.BigEndian.AppendUint16(b, uint16(4+len(cookie)))
		b = append(b, cookie...)
	}
	return b
}

// cookieOf finds the state cookie in the value of an INIT ACK.
func cookieOf(value []byte) ([]byte, bool) {
	for rest := value[min(16, len(value)):]; len(rest) >= 4; {
		size := int(binary.BigEndian.Uint16(rest[2:]))
		if size < 4 || size > len(rest) {
			return nil, false
		}
		if binary.BigEndian.Uint16(rest) == parameterCookie {
			return rest[4:size], true
		}
		rest = rest[min(len(rest), (size+3)/4*4):]
	}
	return nil, false
}

package bpf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"github.com/cilium/ebpf/ringbuf"

	"github.com/berth-net/berth/internal/core/policy/tables"
)

// Event is a packet that was denied, or the first of a flow that was allowed; Settings say which are told.
type Event struct {
	Since       time.Duration // of the monotonic clock
	Ifindex     int
	Pod, Remote netip.AddrPort // port 0 where the protocol has none
	Protocol    uint8
	Direction   Direction // of the packet
	Initiator   Direction // that was asked: that of the flow's first packet
	Allowed     bool
	By          tables.By
	Rule        uint32
	Set         tables.Set
	Reason      Reason // with ByFault
}

// Events reads the flow log. Packets do not wait for it: what it is too slow for is counted as EventLost.
type Events struct {
	reader *ringbuf.Reader
	record ringbuf.Record
}

// Events begins to read.
func (d *Datapath) Events() (*Events, error) {
	r, err := ringbuf.NewReader(d.objects.Events)
	if err != nil {
		return nil, fmt.Errorf("read events of policy: %w", err)
	}
	return &Events{reader: r}, nil
}

// Close ends a Read that waits.
func (e *Events) Close() error { return e.reader.Close() }

// Read waits for the next event. After Close it says os.ErrClosed. Only one goroutine reads.
func (e *Events) Read() (Event, error) {
	if err := e.reader.ReadInto(&e.record); err != nil {
		if errors.Is(err, ringbuf.ErrClosed) {
			err = os.ErrClosed
		}
		return Event{}, fmt.Errorf("read event of policy: %w", err)
	}
	return decodeEvent(e.record.RawSample)
}

// eventSize is that of struct event in bpf/maps.h.
const eventSize = 64

func decodeEvent(b []byte) (Event, error) {
	if len(b) < eventSize {
		return Event{}, fmt.Errorf("read event of policy: %d bytes, want %d", len(b), eventSize)
	}
	word := func(at int) uint32 { return binary.NativeEndian.Uint32(b[at:]) }
	e := Event{
		Since:   time.Duration(binary.NativeEndian.Uint64(b)),
		Ifindex: int(word(40)), Set: tables.Set(word(44)), Rule: word(48),
		Protocol: b[56], Direction: Direction(b[57]), Initiator: Direction(b[58]), Allowed: b[59] != 0, By: tables.By(b[60]),
	}
	if reason := int(b[61]); e.By == ByFault && reason < len(reasons) {
		e.Reason = reasons[reason]
	}
	podPort, remotePort := binary.BigEndian.Uint16(b[52:]), binary.BigEndian.Uint16(b[54:])
	if e.Protocol == icmp || e.Protocol == icmpv6 { // an echo's id and direction
		podPort, remotePort = 0, 0
	}
	e.Pod = netip.AddrPortFrom(netip.AddrFrom16([16]byte(b[8:24])).Unmap(), podPort)
	e.Remote = netip.AddrPortFrom(netip.AddrFrom16([16]byte(b[24:40])).Unmap(), remotePort)
	return e, nil
}

// Protocols whose flows have no ports.
const (
	icmp   = 1
	icmpv6 = 58
)

package bpf

import (
	"encoding/binary"
	"fmt"
	"time"
)

// Settings hold for all interfaces.
type Settings struct {
	// KeepEstablished lets flows go on that a change of policy would deny.
	KeepEstablished bool
	// PassNonIP lets frames pass that are neither IP nor ARP; without, pods with policy neither send nor get them.
	PassNonIP bool
	// LogDenied and LogAllowed say which packets make events: those that are denied, and the first of flows that are allowed.
	LogDenied, LogAllowed bool
	// JudgeNode judges what others send by the node's address, such as what comes by a node port from outside, like any other
	// address: a policy must name it. Without, it is let in as what the node itself sends.
	JudgeNode bool
	Timeouts  Timeouts
}

// Timeouts are after how long without a packet a flow is forgotten: what comes then is judged as new. They are kept in units of
// 2^30 ns, a bit more than a second.
type Timeouts struct {
	TCPOpening, TCPEstablished, TCPClosing time.Duration
	UDPFirst, UDPReplied                   time.Duration // of every protocol but TCP and SCTP
	SCTP                                   time.Duration
	Fragment                               time.Duration // from a datagram's first fragment to its last
}

// DefaultTimeouts are those of the kernel's connection tracking, or longer: a connection that the kernel knows is not forgotten here.
// https://docs.kernel.org/networking/nf_conntrack-sysctl.html
func DefaultTimeouts() Timeouts {
	return Timeouts{
		TCPOpening: 2 * time.Minute, TCPEstablished: 5 * 24 * time.Hour, TCPClosing: 10 * time.Second,
		UDPFirst: 30 * time.Second, UDPReplied: 3 * time.Minute,
		SCTP:     5 * time.Minute,
		Fragment: 30 * time.Second,
	}
}

// Set changes the settings.
func (d *Datapath) Set(s Settings) error {
	values := []uint32{
		s.flags(),
		ticks(s.Timeouts.TCPOpening), ticks(s.Timeouts.TCPEstablished), ticks(s.Timeouts.TCPClosing),
		ticks(s.Timeouts.UDPFirst), ticks(s.Timeouts.UDPReplied), ticks(s.Timeouts.SCTP), ticks(s.Timeouts.Fragment),
	}
	b := make([]byte, 0, 4*len(values))
	for _, v := range values {
		b = binary.NativeEndian.AppendUint32(b, v)
	}
	if _, err := d.settings.WriteAt(b, epochSize); err != nil {
		return fmt.Errorf("write settings of policy: %w", err)
	}
	return nil
}

// epochSize is the size of the epoch, which the settings begin with.
const epochSize = 4

// listeningAt is where struct config in bpf/maps.h has until when answers are held: behind what Set writes.
const listeningAt = epochSize + 8*4

// Flags of the settings, as in bpf/maps.h.
const (
	keepEstablished = 1 << iota
	passNonIP
	eventsDenied
	eventsAllowed
	judgeNode
)

func (s Settings) flags() uint32 {
	var flags uint32
	for flag, on := range map[uint32]bool{
		keepEstablished: s.KeepEstablished, passNonIP: s.PassNonIP, eventsDenied: s.LogDenied, eventsAllowed: s.LogAllowed, judgeNode: s.JudgeNode,
	} {
		if on {
			flags |= flag
		}
	}
	return flags
}

// ticks rounds up to the programs' unit of time.
func ticks(d time.Duration) uint32 { return uint32((d + 1<<30 - 1) >> 30) }

// advanceEpoch makes every flow ask again.
func (d *Datapath) advanceEpoch() error {
	var b [epochSize]byte
	if _, err := d.settings.ReadAt(b[:], 0); err != nil {
		return fmt.Errorf("read epoch: %w", err)
	}
	return d.setEpoch(binary.NativeEndian.Uint32(b[:]) + 1)
}

func (d *Datapath) setEpoch(epoch uint32) error {
	if _, err := d.settings.WriteAt(binary.NativeEndian.AppendUint32(nil, epoch), 0); err != nil {
		return fmt.Errorf("write epoch: %w", err)
	}
	return nil
}

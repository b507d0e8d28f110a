package bpf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"
)

// Answer is a packet that DNS has sent to a pod whose egress is judged: of UDP, from port 53, within a flow that the pod began.
type Answer struct {
	Since   time.Duration // of the monotonic clock
	Ifindex int           // the host's end of the pod's link
	// Held tells that the pod gets it by Release only; else it has it.
	Held  bool
	frame []byte
}

// Answers are what DNS tells pods. Once Listen was called an answer waits for Release, so that the pod does not dial an address before
// it is open. Nobody waits for a reader that has stopped: after the time that Listen was called for answers pass again, and are told
// when there is a reader. Its methods belong to one goroutine.
type Answers struct {
	of     *Datapath
	reader *ringbuf.Reader
	record ringbuf.Record
	socket int
}

// Answers begins to read. It sends into interfaces of the network namespace that it is called in.
func (d *Datapath) Answers() (*Answers, error) {
	r, err := ringbuf.NewReader(d.objects.Answers)
	if err != nil {
		return nil, fmt.Errorf("read answers of DNS: %w", err)
	}
	socket, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err == nil {
		// Past the programs: the packet was judged when it was held, and would be held again.
		if err = unix.SetsockoptInt(socket, unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS, 1); err != nil {
			err = errors.Join(err, unix.Close(socket))
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make a socket that sends answers of DNS on: %w", err), r.Close())
	}
	return &Answers{of: d, reader: r, socket: socket}, nil
}

// Listen has answers held from now on, for so long, a second more or less.
func (a *Answers) Listen(limit time.Duration) error {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return fmt.Errorf("read the clock: %w", err)
	}
	return a.until(ticks(time.Duration(now.Nano()) + limit))
}

// Pass lets answers pass from now on; they are told nevertheless.
func (a *Answers) Pass() error { return a.until(1) }

// Ignore lets answers pass from now on; they are not told.
func (a *Answers) Ignore() error { return a.until(0) }

func (a *Answers) until(tick uint32) error {
	if _, err := a.of.settings.WriteAt(binary.NativeEndian.AppendUint32(nil, tick), listeningAt); err != nil {
		return fmt.Errorf("write until when answers of DNS are held: %w", err)
	}
	return nil
}

// Read waits for the next answer, so long at most: then it says os.ErrDeadlineExceeded. One that is there already is read in any case.
func (a *Answers) Read(limit time.Duration) (Answer, error) {
	a.reader.SetDeadline(time.Now().Add(limit))
	if err := a.reader.ReadInto(&a.record); err != nil {
		return Answer{}, fmt.Errorf("read answer of DNS: %w", err)
	}
	return decodeAnswer(a.record.RawSample)
}

// answerHead is the size of struct answer in bpf/maps.h.
const answerHead = 16

func decodeAnswer(b []byte) (Answer, error) {
	if len(b) < answerHead || len(b) < answerHead+int(binary.NativeEndian.Uint16(b[12:])) {
		return Answer{}, fmt.Errorf("read answer of DNS: %d bytes are too few", len(b))
	}
	frame := b[answerHead:][:binary.NativeEndian.Uint16(b[12:])]
	return Answer{
		Since:   time.Duration(binary.NativeEndian.Uint64(b)),
		Ifindex: int(binary.NativeEndian.Uint32(b[8:])),
		Held:    b[14] != 0,
		frame:   append([]byte(nil), frame...),
	}, nil
}

// Release sends an answer that was held to its pod. A pod that is gone is success.
func (a *Answers) Release(answer Answer) error {
	frame := answer.frame
	if at, _ := answer.transport(); at > 0 {
		sum(frame, at)
	}
	to := &unix.SockaddrLinklayer{Ifindex: answer.Ifindex, Halen: 6}
	copy(to.Addr[:], frame)
	err := unix.Sendto(a.socket, frame, 0, to)
	if err != nil && !errors.Is(err, unix.ENXIO) && !errors.Is(err, unix.ENODEV) && !errors.Is(err, unix.ENETDOWN) {
		return fmt.Errorf("send answer of DNS to interface %d: %w", answer.Ifindex, err)
	}
	return nil
}

// Close ends it. What is not read stays for the next reader.
func (a *Answers) Close() error {
	return errors.Join(a.Pass(), a.reader.Close(), os.NewSyscallError("close", unix.Close(a.socket)))
}

// Sizes of headers. Programs hold no packet with options or extension headers.
const (
	ethernetSize = 14
	ipv4Size     = 20
	ipv6Size     = 40
	udpSize      = 8
	protocolUDP  = 17
)

// Message is what the server has said.
func (a Answer) Message() ([]byte, error) {
	at, length := a.transport()
	if at == 0 {
		return nil, fmt.Errorf("a packet of %d bytes is no answer of DNS", len(a.frame))
	}
	return a.frame[at+udpSize : at+length], nil
}

// transport is where the header of UDP is, and how many bytes it counts with what follows. Of another packet it is 0.
func (a Answer) transport() (at, length int) {
	f := a.frame
	switch {
	case len(f) >= ethernetSize+ipv4Size+udpSize && f[12] == 0x08 && f[13] == 0x00 && f[ethernetSize] == 0x45 && f[ethernetSize+9] == protocolUDP:
		at = ethernetSize + ipv4Size
	case len(f) >= ethernetSize+ipv6Size+udpSize && f[12] == 0x86 && f[13] == 0xdd && f[ethernetSize]>>4 == 6 && f[ethernetSize+6] == protocolUDP:
		at = ethernetSize + ipv6Size
	default:
		return 0, 0
	}
	length = int(binary.BigEndian.Uint16(f[at+4:]))
	if length < udpSize || at+length > len(f) {
		return 0, 0
	}
	return at, length
}

// sum writes the checksum of UDP: of what a process of this machine has sent the kernel leaves it to the interface, which has never seen
// this packet. RFC 768, RFC 8200 section 8.1.
func sum(frame []byte, at int) {
	addrs := 32 // bytes, right before the header, of source and destination
	if at == ethernetSize+ipv4Size {
		addrs = 8
	}
	length := int(binary.BigEndian.Uint16(frame[at+4:]))
	binary.BigEndian.PutUint16(frame[at+6:], 0)
	total := uint32(protocolUDP) + uint32(length)
	for i := at - addrs; i+1 < at+length; i += 2 {
		total += uint32(binary.BigEndian.Uint16(frame[i:]))
	}
	if length%2 == 1 {
		total += uint32(frame[at+length-1]) << 8
	}
	for total>>16 > 0 {
		total = total&0xffff + total>>16
	}
	s := ^uint16(total)
	if s == 0 { // which would say that there is none
		s = 0xffff
	}
	binary.BigEndian.PutUint16(frame[at+6:], s)
}

// Package flow sends numbered packets at a steady rate from one network namespace to another and back, and counts at both
// ends what arrives. Only tests import it.
package flow

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/internal/testkit"
)

const (
	// every is the pace, and size the length of a message in bytes; its first eight are its number.
	every = 10 * time.Millisecond
	size  = 64
	// drain is how long what is under way at the end may take.
	drain = 2 * time.Second
)

// Flow is a steady flow. Its figures are there once End has returned.
type Flow struct {
	Name    string
	Network string // tcp or udp

	client, server net.Conn
	stop           chan struct{}
	sender, work   sync.WaitGroup

	mu       sync.Mutex
	sent     map[uint64]time.Time
	arrived  map[uint64]bool
	returned map[uint64]bool
	from     map[netip.AddrPort]bool // whom the far end saw
	longest  time.Duration           // of a message and its echo
	err      error
	retrans  uint32
}

// Result are the figures of a flow.
type Result struct {
	Sent, Arrived, Returned int
	// Retransmitted segments of TCP, at both ends, without those that the other end says it got twice: segments that were lost.
	Retransmitted int
	// Seen is how many addresses and ports the far end saw: more than one when the translation changed under way.
	Seen    int
	Longest time.Duration // from a message to its echo
	Err     error         // of a connection that broke
	LostAt  []time.Time   // when those were sent that did not come back
}

// Lost is how many messages did not arrive, at either end, or segments that had to be sent again.
func (r Result) Lost() int { return r.Sent - r.Arrived + r.Arrived - r.Returned + r.Retransmitted }

// Start begins a flow from one namespace to an address in another. An invalid address of the far end is any of its own; to
// is then where it is reached.
func Start(name, network, from, far string, to netip.Addr) (*Flow, error) {
	f := &Flow{
		Name: name, Network: network, stop: make(chan struct{}), sent: map[uint64]time.Time{}, arrived: map[uint64]bool{},
		returned: map[uint64]bool{}, from: map[netip.AddrPort]bool{},
	}
	var err error
	if network == "udp" {
		err = f.startUDP(from, far, to)
	} else {
		err = f.startTCP(from, far, to)
	}
	if err != nil {
		return nil, fmt.Errorf("start flow %s: %w", name, err)
	}
	return f, nil
}

func (f *Flow) startUDP(from, far string, to netip.Addr) error {
	var server *net.UDPConn
	if err := testkit.TryInNetns(far, func() (err error) {
		server, err = net.ListenUDP("udp4", &net.UDPAddr{})
		return err
	}); err != nil {
		return err
	}
	port := uint16(server.LocalAddr().(*net.UDPAddr).Port)
	var client *net.UDPConn
	if err := testkit.TryInNetns(from, func() (err error) {
		client, err = net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(to, port)))
		return err
	}); err != nil {
		return errors.Join(err, server.Close())
	}
	f.client, f.server = client, server
	f.work.Go(func() {
		buf := make([]byte, size)
		for {
			n, peer, err := server.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			f.note(f.arrived, buf[:n], peer)
			_, _ = server.WriteToUDPAddrPort(buf[:n], peer)
		}
	})
	f.work.Go(func() { f.collect(client) })
	f.sender.Go(func() { f.send(client) })
	return nil
}

func (f *Flow) startTCP(from, far string, to netip.Addr) error {
	var l net.Listener
	if err := testkit.TryInNetns(far, func() (err error) {
		l, err = net.Listen("tcp4", ":0")
		return err
	}); err != nil {
		return err
	}
	defer func() { _ = l.Close() }()
	port := uint16(l.Addr().(*net.TCPAddr).Port)
	var client net.Conn
	if err := testkit.TryInNetns(from, func() (err error) {
		client, err = net.DialTimeout("tcp4", netip.AddrPortFrom(to, port).String(), 10*time.Second)
		return err
	}); err != nil {
		return err
	}
	server, err := l.Accept()
	if err != nil {
		return errors.Join(err, client.Close())
	}
	f.client, f.server = client, server
	peer, err := netip.ParseAddrPort(server.RemoteAddr().String())
	if err != nil {
		return err
	}
	f.work.Go(func() {
		buf := make([]byte, size)
		for {
			if _, err := io.ReadFull(server, buf); err != nil {
				return
			}
			f.note(f.arrived, buf, peer)
			if _, err := server.Write(buf); err != nil {
				return
			}
		}
	})
	f.work.Go(func() { f.collect(client) })
	f.sender.Go(func() { f.send(client) })
	return nil
}

// send sends a message at each tick.
func (f *Flow) send(w io.Writer) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for n := uint64(0); ; n++ {
		select {
		case <-f.stop:
			return
		case <-tick.C:
		}
		msg := make([]byte, size)
		binary.BigEndian.PutUint64(msg, n)
		f.mu.Lock()
		f.sent[n] = time.Now()
		f.mu.Unlock()
		if _, err := w.Write(msg); err != nil {
			f.mu.Lock()
			f.err = errors.Join(f.err, err)
			f.mu.Unlock()
			if f.Network == "tcp" {
				return
			}
		}
	}
}

// collect takes the echoes.
func (f *Flow) collect(r io.Reader) {
	buf := make([]byte, size)
	for {
		if _, err := io.ReadFull(r, buf); err != nil {
			if errors.Is(err, unix.ECONNREFUSED) { // of an earlier datagram; those that follow may arrive
				continue
			}
			return
		}
		f.note(f.returned, buf, netip.AddrPort{})
	}
}

func (f *Flow) note(where map[uint64]bool, msg []byte, peer netip.AddrPort) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := binary.BigEndian.Uint64(msg)
	where[n] = true
	if peer.IsValid() {
		f.from[peer] = true
	} else {
		f.longest = max(f.longest, time.Since(f.sent[n]))
	}
}

// Sent is how many messages were sent so far.
func (f *Flow) Sent() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.sent)
}

// SentAgain is how many segments were lost so far; see [Result].
func (f *Flow) SentAgain() int { return int(lostSegments(f.client) + lostSegments(f.server)) }

// End stops the flow, waits for what is under way, and says what was counted.
func (f *Flow) End() Result {
	close(f.stop)
	_ = f.client.SetWriteDeadline(time.Now().Add(drain)) // a connection that is cut takes no more
	f.sender.Wait()
	for end := time.Now().Add(drain); !f.complete() && time.Now().Before(end); {
		<-time.After(every)
	}
	f.retrans += lostSegments(f.client) + lostSegments(f.server)
	_, _ = f.client.Close(), f.server.Close()
	f.work.Wait()
	var lostAt []time.Time
	for n, at := range f.sent {
		if !f.returned[n] {
			lostAt = append(lostAt, at)
		}
	}
	slices.SortFunc(lostAt, time.Time.Compare)
	return Result{
		LostAt: lostAt, Sent: len(f.sent), Arrived: len(f.arrived), Returned: len(f.returned), Retransmitted: int(f.retrans), Seen: len(f.from), Longest: f.longest, Err: f.err,
	}
}

func (f *Flow) complete() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.returned) == len(f.sent)
}

// lostSegments is how many segments one end of a TCP connection sent again and the other end had not got before.
func lostSegments(c net.Conn) uint32 {
	t, ok := c.(*net.TCPConn)
	if !ok {
		return 0
	}
	raw, err := t.SyscallConn()
	if err != nil {
		return 0
	}
	var lost uint32
	_ = raw.Control(func(fd uintptr) {
		if info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
			lost = info.Total_retrans - min(info.Total_retrans, info.Dsack_dups)
		}
	})
	return lost
}

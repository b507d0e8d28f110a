package blackbox

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/berth-net/berth/internal/core/vpc"
	"github.com/berth-net/berth/internal/testkit"
	"github.com/berth-net/berth/internal/vpcsim/fabric"
)

const servicePort = 7000

// within takes "-within LIMIT" from the arguments.
func (w *world) within(args []string) (time.Duration, []string) {
	if args[0] != "-within" {
		return patience, args
	}
	d, err := time.ParseDuration(args[1])
	w.check("-within", err)
	return d, args[2:]
}

// expect repeats what must work until it does, and what must not until it does not: what was changed takes a moment.
func (w *world) expect(neg bool, limit time.Duration, try func(time.Duration) error) {
	var last error
	if eventually(limit, func() string {
		if neg {
			last = try(impatience)
		} else {
			last = try(3 * time.Second)
		}
		return map[bool]string{false: "not yet"}[neg == (last != nil)]
	}) != "" {
		w.outcome(neg, last)
	}
}

// tcp [-within LIMIT] FROM TO[:PORT] [WHO [own-port|other-port]] connects, and prints who the other end saw, until that is WHO by
// the port that the connection was made from, or by another one. TO may be internet, which tells, too.
func cmdTCP(w *world, neg bool, args []string) {
	limit, args := w.within(args)
	_, from := w.place(args[0])
	target := w.target(args[1])
	var saw seen
	w.expect(neg, limit, func(limit time.Duration) (err error) {
		saw, err = dial(from, target, limit)
		if err == nil && (len(args) > 2 && w.who(saw.addr) != args[2] || len(args) > 3 && saw.port() != args[3]) {
			err = fmt.Errorf("seen as %s by its %s", w.who(saw.addr), saw.port())
		}
		return err
	})
	if saw.addr.IsValid() {
		w.printf("seen as %s (%s) by its %s\n", w.who(saw.addr), saw.addr, saw.port())
	}
}

// target is where a name listens. Where no port is said, something is made to listen.
func (w *world) target(name string) netip.AddrPort {
	if name == "internet" {
		return netip.AddrPortFrom(fabric.EchoAddr, fabric.EchoPort)
	}
	host, port, explicit := strings.Cut(name, ":")
	addr, space := w.place(host)
	if !explicit {
		w.listen(space, servicePort)
		return netip.AddrPortFrom(addr, servicePort)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	w.check("port", err)
	return netip.AddrPortFrom(addr, uint16(n))
}

// listen makes every address of a namespace answer connections to a port with the address it saw.
func (w *world) listen(space string, port int) {
	key := fmt.Sprintf("%s:%d", space, port)
	if space == "" || w.listeners[key] != nil {
		return
	}
	var l net.Listener
	w.check("listen", testkit.TryInNetns(space, func() (err error) {
		l, err = net.Listen("tcp4", fmt.Sprintf(":%d", port))
		return err
	}))
	w.listeners[key] = l
	w.tb.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = fmt.Fprintln(c, c.RemoteAddr())
			_ = c.Close()
		}
	}()
}

// seen is how the other end of a connection sees this one.
type seen struct {
	addr    netip.Addr
	ownPort bool // the port that the connection was made from
	from    int  // that port
}

func (s seen) port() string {
	return map[bool]string{true: "own-port", false: "other-port"}[s.ownPort]
}

func dial(space string, to netip.AddrPort, limit time.Duration) (seen, error) {
	var conn net.Conn
	err := testkit.TryInNetns(space, func() (err error) {
		d := net.Dialer{Timeout: limit}
		conn, err = d.DialContext(context.Background(), "tcp4", to.String())
		return err
	})
	if err != nil {
		return seen{}, err
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(limit))
	data := make([]byte, 64)
	n, err := conn.Read(data)
	if err != nil && !errors.Is(err, io.EOF) {
		return seen{}, err
	}
	saw, err := netip.ParseAddrPort(strings.TrimSpace(string(data[:n])))
	own, _ := netip.ParseAddrPort(conn.LocalAddr().String())
	return seen{saw.Addr(), saw.Port() == own.Port(), int(own.Port())}, err
}

// transfer FROM TO BYTES sends so much, and waits until the other end has it all; took says how long that was.
func cmdTransfer(w *world, neg bool, args []string) {
	_, from := w.place(args[0])
	addr, to := w.place(args[1])
	size := w.number(args[2])
	var l net.Listener
	w.check("listen", testkit.TryInNetns(to, func() (err error) {
		l, err = net.Listen("tcp4", ":0")
		return err
	}))
	defer func() { _ = l.Close() }()
	go func() { // it answers once it has read all
		conn, err := l.Accept()
		if err != nil {
			return
		}
		_, _ = io.Copy(io.Discard, conn)
		_ = conn.Close()
	}()
	began := time.Now()
	w.outcome(neg, testkit.TryInNetns(from, func() error {
		conn, err := net.DialTimeout("tcp4", net.JoinHostPort(addr.String(), strconv.Itoa(l.Addr().(*net.TCPAddr).Port)), patience)
		if err != nil {
			return err
		}
		defer func() { _ = conn.Close() }()
		_ = conn.SetDeadline(time.Now().Add(patience))
		if _, err = conn.Write(make([]byte, size)); err != nil {
			return err
		}
		if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, conn)
		return err
	}))
	w.took = time.Since(began)
}

// ping [-within LIMIT] FROM TO
func cmdPing(w *world, neg bool, args []string) {
	limit, args := w.within(args)
	_, from := w.place(args[0])
	to, _ := w.place(args[1])
	w.expect(neg, limit, func(limit time.Duration) error { return ping(from, to, limit) })
}

// ping sends one ICMP echo request and waits for its reply.
func ping(space string, to netip.Addr, limit time.Duration) error {
	var conn net.PacketConn
	err := testkit.TryInNetns(space, func() (err error) {
		conn, err = net.ListenPacket("ip4:icmp", "0.0.0.0")
		return err
	})
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	id := uint16(time.Now().UnixNano())
	if _, err := conn.WriteTo(echoRequest(id), &net.IPAddr{IP: to.AsSlice()}); err != nil {
		return err
	}
	_ = conn.SetReadDeadline(time.Now().Add(limit))
	buf := make([]byte, 1500)
	for {
		n, from, err := conn.ReadFrom(buf)
		if err != nil {
			return fmt.Errorf("no reply from %s: %w", to, err)
		}
		if n >= 8 && buf[0] == 0 && binary.BigEndian.Uint16(buf[4:]) == id && from.String() == to.String() {
			return nil
		}
	}
}

func echoRequest(id uint16) []byte {
	m := []byte{8, 0, 0, 0, 0, 0, 0, 1, 'b', 'e', 'r', 't', 'h', '!'}
	binary.BigEndian.PutUint16(m[4:], id)
	sum := uint32(0)
	for i := 0; i < len(m); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(m[i:]))
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	binary.BigEndian.PutUint16(m[2:], ^uint16(sum))
	return m
}

// drops prints what the fabric dropped of the node's interfaces: spoofed=N, packets whose source is not the interface's.
func cmdDrops(w *world, _ bool, _ []string) {
	var spoofed uint64
	for _, e := range w.nodeInterfaces() {
		d, err := w.rig.Fabric.Drops(context.Background(), vpc.ENIID(e.NetworkInterfaceId))
		w.check("drops", err)
		spoofed += d.AntiSpoof
	}
	w.printf("spoofed=%d\n", spoofed)
}

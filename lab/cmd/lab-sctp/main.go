// Command lab-sctp stands in for the two subcommands of agnhost that need SCTP, on machines whose kernel has none: it makes and answers
// associations itself, over raw sockets, so that the packets on the wire, and what network policy and connection tracking see of them,
// are SCTP's. In the image it is /agnhost; everything else it leaves to the real one beside it.
//
//	agnhost porter                                             serves on each port N of SERVE_SCTP_PORT_N
//	agnhost connect HOST:PORT --protocol=sctp --timeout=1s     0: answered; 1 and TIMEOUT: not
//
// An association is only set up: INIT, INIT ACK, COOKIE ECHO, COOKIE ACK. No data is sent.
package main

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// upstream is where the image has the real agnhost.
const upstream = "/agnhost.upstream"

func main() {
	args := os.Args[1:]
	if hasSCTP() || !ours(args, os.Environ()) {
		err := unix.Exec(upstream, append([]string{"/agnhost"}, args...), os.Environ())
		fmt.Fprintln(os.Stderr, "run", upstream+":", err)
		os.Exit(1)
	}
	if args[0] == "porter" {
		fmt.Fprintln(os.Stderr, "serve SCTP:", serve(context.Background(), ports(os.Environ())))
		os.Exit(1)
	}
	os.Exit(connect(context.Background(), args[1:], os.Stderr))
}

// hasSCTP tells whether the kernel does it itself.
func hasSCTP() bool {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_SCTP)
	if err != nil {
		return false
	}
	return unix.Close(fd) == nil
}

// ours tells whether agnhost would need SCTP.
func ours(args, env []string) bool {
	switch {
	case len(args) == 0:
		return false
	case args[0] == "porter":
		return len(ports(env)) > 0
	default:
		return args[0] == "connect" && slices.Contains(args, "--protocol=sctp")
	}
}

// ports are those that the environment asks to serve.
func ports(env []string) (all []uint16) {
	for _, e := range env {
		name, _, _ := strings.Cut(e, "=")
		if text, ok := strings.CutPrefix(name, "SERVE_SCTP_PORT_"); ok {
			if n, err := strconv.ParseUint(text, 10, 16); err == nil {
				all = append(all, uint16(n))
			}
		}
	}
	return all
}

// listen opens a raw socket, which sees every SCTP packet of the network namespace.
func listen(ctx context.Context, network string) (*net.IPConn, error) {
	c, err := (&net.ListenConfig{}).ListenPacket(ctx, network, "")
	if err != nil {
		return nil, fmt.Errorf("open raw socket %s: %w", network, err)
	}
	return c.(*net.IPConn), nil
}

// serve answers until a socket fails. It keeps nothing of an association: the cookie is all there is to one.
func serve(ctx context.Context, ports []uint16) error {
	failed := make(chan error, 2)
	open := 0
	for _, network := range []string{"ip4:132", "ip6:132"} {
		c, err := listen(ctx, network)
		if errors.Is(err, unix.EAFNOSUPPORT) {
			continue
		}
		if err != nil {
			return err
		}
		open++
		go func() { failed <- answerAll(c, ports) }()
	}
	if open == 0 {
		return errors.New("the machine has neither IPv4 nor IPv6")
	}
	return <-failed
}

func answerAll(c *net.IPConn, ports []uint16) error {
	buf := make([]byte, 64<<10)
	for {
		n, from, err := c.ReadFromIP(buf)
		if err != nil {
			return fmt.Errorf("read packet: %w", err)
		}
		p, err := parse(buf[:n])
		if err != nil || !slices.Contains(ports, p.To) {
			continue
		}
		if reply, ok := answer(p, rand.Uint32()|1); ok {
			_, _ = c.WriteToIP(reply.bytes(), from) // lost, as packets are: the other side repeats
		}
	}
}

// answer is what a server says to a packet. The tag of the other side is the cookie.
func answer(p packet, tag uint32) (packet, bool) {
	reply := packet{From: p.To, To: p.From}
	switch {
	case p.Type == chunkInit && p.Tag == 0 && len(p.Value) >= 16:
		reply.Tag, reply.Type = binary.BigEndian.Uint32(p.Value), chunkInitAck
		reply.Value = initValue(tag, 1, p.Value[:4])
		return reply, true
	case p.Type == chunkCookieEcho && len(p.Value) == 4:
		reply.Tag, reply.Type = binary.BigEndian.Uint32(p.Value), chunkCookieAck
		return reply, true
	default:
		return packet{}, false
	}
}

// connect is agnhost's subcommand, with its words on how it failed.
func connect(ctx context.Context, args []string, stderr io.Writer) int {
	target, timeout := "", 10*time.Second
	for _, a := range args {
		if text, ok := strings.CutPrefix(a, "--timeout="); ok {
			if d, err := time.ParseDuration(text); err == nil && d > 0 {
				timeout = d
			}
		} else if !strings.HasPrefix(a, "-") {
			target = a
		}
	}
	host, service, err := net.SplitHostPort(target)
	port, err2 := strconv.ParseUint(service, 10, 16)
	if err = cmp.Or(err, err2); err != nil {
		_, _ = fmt.Fprintf(stderr, "UNKNOWN: %v\n", err)
		return 1
	}
	addr, err := net.ResolveIPAddr("ip", host)
	if err != nil {
		_, _ = fmt.Fprintf(stderr, "DNS: %v\n", err)
		return 1
	}
	network := "ip6:132"
	if addr.IP.To4() != nil {
		network = "ip4:132"
	}
	c, err := (&net.Dialer{}).DialContext(ctx, network, addr.String())
	if err != nil {
		_, _ = fmt.Fprintf(stderr, "OTHER: %v\n", err)
		return 1
	}
	defer func() { _ = c.Close() }()
	switch err := associate(association{c.(*net.IPConn)}, uint16(port), timeout); {
	case errors.Is(err, os.ErrDeadlineExceeded):
		_, _ = fmt.Fprintln(stderr, "TIMEOUT")
		return 1
	case err != nil:
		_, _ = fmt.Fprintf(stderr, "OTHER: %v\n", err)
		return 1
	}
	return 0
}

// association reads packets without their IP header, which Read leaves before those of IPv4.
type association struct{ *net.IPConn }

func (a association) Read(b []byte) (int, error) {
	n, _, err := a.ReadFromIP(b)
	return n, err
}

// repeat is after how long a packet that nobody answered is sent again.
const repeat = 300 * time.Millisecond

// associate sets up an association, and repeats what is not answered.
func associate(c net.Conn, port uint16, timeout time.Duration) error {
	deadline := time.Now().Add(timeout)
	mine := uint16(32768 + rand.IntN(28000))
	tag := rand.Uint32() | 1
	next := packet{From: mine, To: port, Type: chunkInit, Value: initValue(tag, 1, nil)}
	buf := make([]byte, 64<<10)
	for {
		if _, err := c.Write(next.bytes()); err != nil {
			return err
		}
		if err := c.SetReadDeadline(earlier(time.Now().Add(repeat), deadline)); err != nil {
			return err
		}
		p, err := await(c, buf, next, tag)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded) && time.Now().Before(deadline):
			continue
		case err != nil:
			return err
		case p.Type == chunkAbort:
			return errors.New("aborted")
		case p.Type == chunkCookieAck:
			return nil
		}
		cookie, ok := cookieOf(p.Value)
		if !ok || len(p.Value) < 4 {
			return errors.New("INIT ACK without a cookie")
		}
		next = packet{From: mine, To: port, Tag: binary.BigEndian.Uint32(p.Value), Type: chunkCookieEcho, Value: cookie}
	}
}

// await reads the answer to what was sent last.
func await(c net.Conn, buf []byte, sent packet, tag uint32) (packet, error) {
	want := map[uint8]uint8{chunkInit: chunkInitAck, chunkCookieEcho: chunkCookieAck}[sent.Type]
	for {
		n, err := c.Read(buf)
		if err != nil {
			return packet{}, err
		}
		p, err := parse(buf[:n])
		if err == nil && p.To == sent.From && p.From == sent.To && p.Tag == tag && (p.Type == want || p.Type == chunkAbort) {
			return p, nil
		}
	}
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

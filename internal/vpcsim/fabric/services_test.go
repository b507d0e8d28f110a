package fabric_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/internal/core/vpc"
	"github.com/berth-net/berth/internal/testkit"
)

// metadata answers each connection with a name, in packets with the given TTL.
func metadata(t *testing.T, b *bed, instance string, ttl int) net.Listener {
	t.Helper()
	l, err := b.Listen(t.Context(), vpc.InstanceID("i-"+instance), "tcp", "169.254.169.254:80")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			raw, err := c.(*net.TCPConn).SyscallConn()
			if err == nil {
				raw.Control(func(fd uintptr) { unix.SetsockoptInt(int(fd), unix.SOL_IP, unix.IP_TTL, ttl) })
			}
			fmt.Fprintf(c, "%s:1\n", instance)
			c.Close()
		}
	}()
	return l
}

func TestMetadataHopLimit(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	w := newTopology().instance("a").instance("b").eni("a0", "a", public, "10.0.0.5", "10.0.0.7").
		eni("a1", "a", wide, "10.1.0.5", "10.1.0.7").eni("b", "b", public, "10.0.0.6")
	b.apply(w)
	near := b.pod("a", "eth0", "10.0.0.7", "a0", w)
	far := b.pod("a", "eth1", "10.1.0.7", "a1", w)
	for _, tt := range []struct {
		ttl  int
		pods bool
	}{{1, false}, {2, true}} {
		t.Run(fmt.Sprint(tt.ttl), func(t *testing.T) {
			defer metadata(t, b, "a", tt.ttl).Close()
			defer metadata(t, b, "b", tt.ttl).Close()
			for _, instance := range []string{"a", "b"} {
				if saw := b.reaches(instance, "", "169.254.169.254:80"); saw != instance {
					t.Errorf("instance %s was answered as %q", instance, saw)
				}
			}
			wait := impatience
			if tt.pods {
				wait = patience
			}
			for name, pod := range map[string]string{"on the primary interface": near, "on the second interface": far} {
				saw, err := dial(pod, "", "169.254.169.254:80", wait)
				if (err == nil) != tt.pods || (tt.pods && saw != "a") {
					t.Errorf("a pod %s got %q, %v, want an answer: %v", name, saw, err, tt.pods)
				}
			}
		})
	}
}

func TestListen(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	w := newTopology().instance("a").instance("b").eni("a", "a", public, "10.0.0.5").eni("b", "b", public, "10.0.0.6")
	if _, err := b.Listen(t.Context(), "i-a", "tcp", "169.254.169.254:80"); err == nil {
		t.Error("an instance that does not exist has a listener")
	}
	b.apply(w)
	l := metadata(t, b, "a", 64)
	if _, err := b.Listen(t.Context(), "i-a", "tcp", "169.254.169.254:80"); err == nil {
		t.Error("an instance has two listeners at one address")
	}
	if saw, err := dial(b.ns("b"), "", "169.254.169.254:80", impatience); err == nil {
		t.Errorf("instance b was answered as %q, and has no listener", saw)
	}
	l.Close()
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a closed listener accepts: %v", err)
	}
	metadata(t, b, "a", 64)
	b.reaches("a", "", "169.254.169.254:80")
	// The service is not inside the VPC, and not a way into it.
	b.add("b", "lo", "10.0.0.5")
	if _, err := dial(b.ns("b"), "10.0.0.5", "169.254.169.254:80", impatience); err == nil {
		t.Error("an instance is taken for another by its source")
	}
}

func TestListenPacket(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b.apply(newTopology().instance("a").eni("a", "a", wide, "10.1.0.10"))
	for _, at := range []string{"169.254.169.253:53", "10.0.0.2:53"} {
		c, err := b.ListenPacket(t.Context(), theVPC, "udp4", at)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		go func() {
			buf := make([]byte, 100)
			for {
				n, from, err := c.ReadFrom(buf)
				if err != nil {
					return
				}
				c.WriteTo(buf[:n], from)
			}
		}()
		testkit.InNetns(t, b.ns("a"), func() error {
			c, err := net.Dial("udp4", at)
			if err != nil {
				return err
			}
			defer c.Close()
			c.SetDeadline(time.Now().Add(patience))
			fmt.Fprint(c, "question")
			buf := make([]byte, 100)
			if n, err := c.Read(buf); err != nil || string(buf[:n]) != "question" {
				t.Errorf("%s answers %q, %v", at, buf[:n], err)
			}
			return nil
		})
	}
}

// buffer may be read while it is written.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) bytes() []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	return bytes.Clone(b.b.Bytes())
}

func TestCapture(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	w := newTopology().instance("a").instance("b").eni("a", "a", public, "10.0.0.5").eni("b", "b", wide, "10.1.0.10")
	b.apply(w)
	ctx, cancel := context.WithCancel(t.Context())
	var pcap buffer
	ended := make(chan error, 1)
	go func() { ended <- b.Capture(ctx, "eni-a", &pcap) }()
	testkit.Eventually(t, "the capture runs", func() bool { return len(pcap.bytes()) >= 24 })
	if n := b.ping("a", "10.0.0.5", "10.1.0.10", 3); n != 3 {
		t.Fatalf("%d of 3 pings answered", n)
	}
	testkit.Eventually(t, "all pings and answers captured", func() bool { return echoes(t, pcap.bytes()) == 6 })
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("a cancelled capture ends with %v", err)
	}
	go func() { ended <- b.Capture(t.Context(), "eni-a", &pcap) }()
	size := len(pcap.bytes())
	testkit.Eventually(t, "the capture runs again", func() bool { return len(pcap.bytes()) > size })
	w.remove("a")
	b.apply(w)
	if err := <-ended; err != nil {
		t.Errorf("the capture of a detached interface ends with %v", err)
	}
	if err := b.Capture(t.Context(), "eni-a", &pcap); err == nil {
		t.Error("a detached interface is captured")
	}
}

// echoes counts ICMP packets in a pcap file.
func echoes(t *testing.T, pcap []byte) int {
	t.Helper()
	n := 0
	for pcap = pcap[24:]; len(pcap) >= 16; {
		size := int(binary.LittleEndian.Uint32(pcap[8:]))
		if len(pcap) < 16+size {
			break
		}
		if frame := pcap[16 : 16+size]; size >= 34 && frame[12] == 8 && frame[13] == 0 && frame[23] == unix.IPPROTO_ICMP {
			n++
		}
		pcap = pcap[16+size:]
	}
	return n
}

package bpf_test

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/berth-net/berth/internal/bpf"
	"github.com/berth-net/berth/internal/core/policy"
	"github.com/berth-net/berth/internal/core/policy/tables"
	"github.com/berth-net/berth/internal/testkit"
)

// server answers on port 53 with what it was asked.
func server(t *testing.T, ns string) {
	t.Helper()
	var c net.PacketConn
	testkit.InNetns(t, ns, func() (err error) {
		c, err = net.ListenPacket("udp", ":53")
		return err
	})
	t.Cleanup(func() { _ = c.Close() })
	go func() {
		b := make([]byte, 9000)
		for {
			n, from, err := c.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = c.WriteTo(b[:n], from)
		}
	}()
}

// client is a socket of the pod.
type client struct{ net.Conn }

func ask(t *testing.T, ns, address, question string) client {
	t.Helper()
	var c net.Conn
	testkit.InNetns(t, ns, func() (err error) {
		c, err = net.Dial("udp", at(address, 53).String())
		return err
	})
	t.Cleanup(func() { _ = c.Close() })
	if _, err := c.Write([]byte(question)); err != nil {
		t.Fatal(err)
	}
	return client{c}
}

// has tells whether an answer is there, or comes soon.
func (c client) has(t *testing.T, limit time.Duration) string {
	t.Helper()
	b := make([]byte, 9000)
	_ = c.SetReadDeadline(time.Now().Add(limit))
	n, err := c.Read(b)
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(err)
	}
	return string(b[:n])
}

const soon, atLast = 50 * time.Millisecond, 10 * time.Second

// listening is a datapath whose pod may ask anybody by port 53, with somebody who reads answers.
func listening(t *testing.T, o bpf.Options, w *wire) (*bpf.Datapath, *bpf.Answers) {
	t.Helper()
	d := open(t, o)
	t.Cleanup(func() { _ = d.Close() })
	w.attach(t, d)
	all := allowing(0, tables.AnyKey)
	apply(t, d,
		tables.Change{Ranges: &tables.RangesChange{Ranges: []tables.Range{all}}},
		tables.Change{Row: &tables.RowChange{Key: tables.RowKey{Set: isolated(1)}, Row: tables.Row{Count: 1}}},
		pod(0, isolated(1)))
	var answers *bpf.Answers
	testkit.InNetns(t, w.node, func() (err error) {
		answers, err = d.Answers()
		return err
	})
	t.Cleanup(func() { _ = answers.Close() })
	return d, answers
}

// TestAnswersWaitUntilTheyAreReleased: by both families, of another machine and of the node itself, whose checksums nobody has made.
func TestAnswersWaitUntilTheyAreReleased(t *testing.T) {
	inBothAttachments(t, func(t *testing.T, o bpf.Options, w *wire) {
		_, answers := listening(t, o, w)
		server(t, w.far)
		server(t, w.node)
		if err := answers.Listen(time.Minute); err != nil {
			t.Fatal(err)
		}
		for _, server := range []string{"10.0.1.2", "fd01::2", "10.0.0.100", "fd00::100"} {
			for _, question := range []string{"whom?", strings.Repeat("long", 300), "even"} {
				c := ask(t, w.pod, server, question)
				got, err := answers.Read(atLast)
				if err != nil {
					t.Fatalf("answer of %s: %v", server, err)
				}
				if message, err := got.Message(); err != nil || string(message) != question || !got.Held || got.Ifindex != w.ifindex {
					t.Errorf("%s: answer %q of interface %d, held %v, %v", server, message, got.Ifindex, got.Held, err)
				}
				if early := c.has(t, soon); early != "" {
					t.Errorf("%s: the pod has %q before it was released", server, early)
				}
				if err := answers.Release(got); err != nil {
					t.Error(err)
				}
				if late := c.has(t, atLast); late != question {
					t.Errorf("%s: the pod has %q, want %q", server, late, question)
				}
			}
		}
	})
}

// TestAnswersPassWhenNobodyListens: they are told nevertheless, unless nobody wants to know.
func TestAnswersPassWhenNobodyListens(t *testing.T) {
	inBothAttachments(t, func(t *testing.T, o bpf.Options, w *wire) {
		_, answers := listening(t, o, w)
		server(t, w.far)
		if got := ask(t, w.pod, "10.0.1.2", "a").has(t, atLast); got != "a" {
			t.Errorf("ignored: the pod has %q", got)
		}
		if err := answers.Listen(-time.Minute); err != nil { // a reader that stopped a minute ago
			t.Fatal(err)
		}
		if got := ask(t, w.pod, "10.0.1.2", "b").has(t, atLast); got != "b" {
			t.Errorf("listened a minute ago: the pod has %q", got)
		}
		got, err := answers.Read(atLast)
		message, _ := got.Message()
		if err != nil || got.Held || string(message) != "b" {
			t.Errorf("read %q, held %v, %v, want b only", message, got.Held, err)
		}
		if _, err := answers.Read(soon); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("a second answer: %v", err)
		}
	})
}

// TestAnswersThatCannotBeReadPass: what is too long, and what is more than fits, is counted and not held.
func TestAnswersThatCannotBeReadPass(t *testing.T) {
	w := newWire(t)
	o := options(mountBPF(t))
	o.Sizes.Answers = uint32(os.Getpagesize())
	d, answers := listening(t, o, w)
	server(t, w.far)
	if err := answers.Listen(time.Minute); err != nil {
		t.Fatal(err)
	}
	long := string(bytes.Repeat([]byte("x"), 4000)) // in fragments
	if got := ask(t, w.pod, "10.0.1.2", long).has(t, atLast); got != long {
		t.Errorf("a long one: the pod has %d bytes", len(got))
	}
	passed := 0
	for range 12 {
		if ask(t, w.pod, "10.0.1.2", "again").has(t, soon) != "" {
			passed++
		}
	}
	reasons, err := d.Reasons()
	if err != nil || passed == 0 || reasons[bpf.AnswerUnread] < uint64(passed) || reasons[bpf.AnswerHeld] != uint64(12-passed) {
		t.Errorf("%d of 12 passed, counted %v, %v", passed, reasons, err)
	}
}

// TestAnswersOutliveTheirReader: what was not read when a process ended the next one reads, and sends on.
func TestAnswersOutliveTheirReader(t *testing.T) {
	w := newWire(t)
	o := options(mountBPF(t))
	d, answers := listening(t, o, w)
	server(t, w.far)
	if err := answers.Listen(time.Minute); err != nil {
		t.Fatal(err)
	}
	held := ask(t, w.pod, "10.0.1.2", "held")
	if got := held.has(t, soon); got != "" {
		t.Errorf("the pod has %q", got)
	}
	if err := errors.Join(answers.Close(), d.Close()); err != nil {
		t.Fatal(err)
	}
	if got := ask(t, w.pod, "10.0.1.2", "passes").has(t, atLast); got != "passes" {
		t.Errorf("without a reader the pod has %q", got)
	}
	next := open(t, o)
	t.Cleanup(func() { _ = next.Close() })
	testkit.InNetns(t, w.node, func() (err error) {
		answers, err = next.Answers()
		return err
	})
	for _, want := range []string{"held", "passes"} {
		got, err := answers.Read(atLast)
		message, _ := got.Message()
		if err != nil || string(message) != want || got.Held != (want == "held") {
			t.Fatalf("read %q, held %v, %v, want %s", message, got.Held, err, want)
		}
		if got.Held {
			if err := answers.Release(got); err != nil {
				t.Error(err)
			}
		}
	}
	if got := held.has(t, atLast); got != "held" {
		t.Errorf("released by another process: the pod has %q", got)
	}
	if err := answers.Close(); err != nil {
		t.Error(err)
	}
}

// TestAnswersThatNobodyAskedForAreNotRead: whoever may send to a pod must not teach the node names.
func TestAnswersThatNobodyAskedForAreNotRead(t *testing.T) {
	w := newWire(t)
	_, answers := listening(t, options(mountBPF(t)), w)
	if err := answers.Listen(time.Minute); err != nil {
		t.Fatal(err)
	}
	var c net.PacketConn
	testkit.InNetns(t, w.pod, func() (err error) {
		c, err = net.ListenPacket("udp", "10.0.0.1:4444")
		return err
	})
	t.Cleanup(func() { _ = c.Close() })
	testkit.InNetns(t, w.far, func() error {
		from, err := net.DialUDP("udp", &net.UDPAddr{IP: net.ParseIP("10.0.1.2"), Port: 53}, &net.UDPAddr{IP: net.ParseIP("10.0.0.1"), Port: 4444})
		if err != nil {
			return err
		}
		_, err = from.Write([]byte("believe me"))
		return errors.Join(err, from.Close())
	})
	_ = c.SetReadDeadline(time.Now().Add(atLast))
	b := make([]byte, 100)
	if n, _, err := c.ReadFrom(b); err != nil || string(b[:n]) != "believe me" {
		t.Errorf("the pod has %q, %v", b[:n], err)
	}
	if _, err := answers.Read(soon); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read an answer: %v", err)
	}
}

// TestTalkedToIsWhomPodsHaveLiveFlowsWith: a flow that is over does not keep what it was allowed by.
func TestTalkedToIsWhomPodsHaveLiveFlowsWith(t *testing.T) {
	o := options(mountBPF(t))
	o.Settings.Timeouts.TCPClosing = time.Nanosecond
	d := open(t, o)
	t.Cleanup(func() { _ = d.Close() })
	for _, f := range families {
		talks := frame{protocol: policy.TCP, sport: 4000, dport: port, flags: syn}.toward(bpf.Egress, f.pod, f.allowed)
		over := frame{protocol: policy.TCP, sport: 4001, dport: port, flags: syn}.toward(bpf.Egress, f.pod, f.denied)
		expect(t, d, bpf.Egress, talks, true, "without policy")
		expect(t, d, bpf.Egress, over, true, "without policy")
		reset := over
		reset.flags = 4 // RST
		expect(t, d, bpf.Egress, reset, true, "the end")
		asked := []netip.Addr{f.allowed, f.denied, addr("192.0.2.77")}
		testkit.Eventually(t, "the flow that is over is forgotten", func() bool {
			got, err := d.TalkedTo(asked)
			if err != nil || !got[asked[0]] || got[asked[2]] {
				t.Fatalf("talked to %v, %v, want %s", got, err, asked[0])
			}
			return !got[asked[1]]
		})
	}
}

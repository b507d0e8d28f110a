package blackbox

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/berth-net/berth/internal/testkit"
)

// farAway are addresses on the internet that a resolver's names have, for benchmarks by RFC 2544.
const farAway = "198.18.0.0/15"

// enoughWrong is how many wrong verdicts say enough.
const enoughWrong = 3

// resolver PLACE answers questions of DNS there, by port 53: the name N.anything has the N-th address of farAway; one that begins with "www-"
// is an alias of another domain. All these addresses answer connections, as the internet does.
func cmdResolver(w *world, _ bool, args []string) {
	_, space := w.place(args[0])
	var c net.PacketConn
	w.check("resolver", testkit.TryInNetns(space, func() (err error) {
		c, err = net.ListenPacket("udp4", ":53")
		return err
	}))
	w.tb.Cleanup(func() { _ = c.Close() })
	go func() {
		b := make([]byte, 1500)
		for {
			n, from, err := c.ReadFrom(b)
			if err != nil {
				return
			}
			if reply, err := resolve(b[:n]); err == nil {
				_, _ = c.WriteTo(reply, from)
			}
		}
	}()
	internet := w.rig.Fabric.InternetNamespace()
	if out, err := testkit.NetnsOutput(internet, testkit.RequireProgram(w.tb, "ip"), "route", "replace", "local", farAway, "dev", "lo"); err != nil {
		w.fail("%v: %s", err, out)
	}
	w.listen(internet, servicePort)
}

func numbered(n int) netip.Addr {
	b := netip.MustParsePrefix(farAway).Addr().As4()
	return netip.AddrFrom4([4]byte{b[0], b[1], byte(n >> 8), byte(n)})
}

func resolve(question []byte) ([]byte, error) {
	var p dnsmessage.Parser
	head, err := p.Start(question)
	if err != nil {
		return nil, err
	}
	q, err := p.Question()
	if err != nil {
		return nil, err
	}
	name := q.Name.String()
	label, domain, _ := strings.Cut(name, ".")
	n, err := strconv.Atoi(strings.TrimPrefix(label, "www-"))
	m := dnsmessage.Message{Header: dnsmessage.Header{ID: head.ID, Response: true}, Questions: []dnsmessage.Question{q}}
	if err != nil {
		m.RCode = dnsmessage.RCodeNameError
		return m.Pack()
	}
	owner := q.Name
	if strings.HasPrefix(label, "www-") {
		owner = dnsmessage.MustNewName(fmt.Sprintf("%d.edge.%s", n, strings.Repeat("x", len(domain)%10+1)+".test."))
		m.Answers = append(m.Answers, dnsmessage.Resource{
			Header: dnsmessage.ResourceHeader{Name: q.Name, Class: dnsmessage.ClassINET, TTL: 1}, Body: &dnsmessage.CNAMEResource{CNAME: owner},
		})
	}
	m.Answers = append(m.Answers, dnsmessage.Resource{
		Header: dnsmessage.ResourceHeader{Name: owner, Class: dnsmessage.ClassINET, TTL: 1}, Body: &dnsmessage.AResource{A: numbered(n).As4()},
	})
	return m.Pack()
}

// lookup asks a resolver from a pod, as often as resolvers of the C library do: after a second without an answer again.
func lookup(space, name string, resolver netip.Addr) (netip.Addr, error) {
	var c net.Conn
	if err := testkit.TryInNetns(space, func() (err error) {
		c, err = net.Dial("udp4", netip.AddrPortFrom(resolver, 53).String())
		return err
	}); err != nil {
		return netip.Addr{}, err
	}
	defer func() { _ = c.Close() }()
	q := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: uint16(rand.Uint32()), RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(name + "."), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}},
	}
	text, err := q.Pack()
	if err != nil {
		return netip.Addr{}, err
	}
	b := make([]byte, 1500)
	for range 10 {
		if _, err := c.Write(text); err != nil {
			return netip.Addr{}, err
		}
		_ = c.SetReadDeadline(time.Now().Add(time.Second))
		n, err := c.Read(b)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			continue
		}
		var m dnsmessage.Message
		if err == nil {
			err = m.Unpack(b[:n])
		}
		if err != nil || m.ID != q.ID || len(m.Answers) == 0 {
			return netip.Addr{}, fmt.Errorf("answer %v: %w", m.Header, err)
		}
		if a, ok := m.Answers[len(m.Answers)-1].Body.(*dnsmessage.AResource); ok {
			return netip.AddrFrom4(a.A), nil
		}
		return netip.Addr{}, fmt.Errorf("no address in %v", m.Answers)
	}
	return netip.Addr{}, errors.New("no answer in ten seconds")
}

// names COUNT FIRST POD RESOLVER DOMAIN has a pod look up so many names of a domain, from a number on, and dial at once what it is told. With
// an asterisk in place of the domain's first label half of the names are aliases. No first packet may be lost; with ! none may pass.
func cmdNames(w *world, neg bool, args []string) {
	count, first := w.number(args[0]), w.number(args[1])
	_, space := w.place(args[2])
	resolver, _ := w.place(args[3])
	domain, aliases := strings.CutPrefix(args[4], "*.")
	var wrong []string
	var slowest time.Duration
	for i := first; i < first+count && len(wrong) < enoughWrong; i++ {
		label := strconv.Itoa(i)
		if aliases && i%2 == 1 {
			label = "www-" + label
		}
		began := time.Now()
		addr, err := lookup(space, label+"."+domain, resolver)
		slowest = max(slowest, time.Since(began))
		if err == nil && addr != numbered(i) {
			err = fmt.Errorf("the resolver says %s", addr)
		}
		if err == nil {
			_, err = firstDial(space, dialCase{to: label, target: netip.AddrPortFrom(addr, servicePort), allowed: !neg}, 0)
		}
		if err != nil {
			wrong = append(wrong, fmt.Sprintf("%s.%s: %v", label, domain, err))
		}
	}
	w.printf("%d names looked up and dialed, %d wrong, slowest answer %s\n", count, len(wrong), slowest.Round(time.Millisecond))
	if len(wrong) > 0 {
		w.fail("%s", strings.Join(wrong, "\n"))
	}
}

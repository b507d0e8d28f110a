package dns_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/berth-net/berth/lab/internal/dns"
)

type names map[string]netip.Addr

func (n names) Addresses(name string) ([]netip.Addr, bool) {
	a, ok := n[name]
	return []netip.Addr{a}, ok
}

func (n names) Name(address netip.Addr) string {
	for name, a := range n {
		if a == address {
			return name
		}
	}
	return ""
}

var world = names{"ip-10-0-0-155.us-west-2.compute.internal": netip.MustParseAddr("10.0.0.155")}

func TestResolver(t *testing.T) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- dns.Serve(ctx, conn, world, slog.New(slog.DiscardHandler)) }()
	r := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
	ask, done := context.WithTimeout(t.Context(), 5*time.Second)
	defer done()
	if got, err := r.LookupHost(ask, "IP-10-0-0-155.us-west-2.compute.internal."); err != nil || !slices.Equal(got, []string{"10.0.0.155"}) {
		t.Errorf("forward: %v %v", got, err)
	}
	if got, err := r.LookupAddr(ask, "10.0.0.155"); err != nil || !slices.Equal(got, []string{"ip-10-0-0-155.us-west-2.compute.internal."}) {
		t.Errorf("reverse: %v %v", got, err)
	}
	for _, name := range []string{"example.com.", "ip-10-0-0-1.us-west-2.compute.internal."} {
		_, err := r.LookupHost(ask, name)
		if dnsErr, ok := errors.AsType[*net.DNSError](err); !ok || !dnsErr.IsNotFound {
			t.Errorf("%s: %v", name, err)
		}
	}
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
}

func FuzzAnswer(f *testing.F) {
	f.Add([]byte("\x00\x01\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x00\x00\x01\x00\x01"))
	f.Fuzz(func(_ *testing.T, query []byte) { _, _ = dns.Answer(query, world) })
}

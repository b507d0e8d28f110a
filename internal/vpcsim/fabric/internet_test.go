package fabric_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/berth-net/berth/internal/testkit"
	"github.com/berth-net/berth/internal/vpcsim"
	"github.com/berth-net/berth/internal/vpcsim/fabric"
)

var echo = netip.AddrPortFrom(fabric.EchoAddr, fabric.EchoPort).String()

func TestInternet(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	w := newTopology().instance("a").instance("b").instance("c").instance("d").
		eni("a", "a", public, "10.0.0.5", "10.0.0.7").eni("b", "b", private, "10.0.0.40").eni("c", "c", wide, "10.1.0.10").
		eni("d", "d", public, "10.0.0.6")
	w.get("a").Public = map[netip.Addr]netip.Addr{addr("10.0.0.5"): addr("198.51.100.5")}
	w.get("d").Public = map[netip.Addr]netip.Addr{addr("10.0.0.6"): addr("198.51.100.6")}
	b.apply(w)
	b.add("a", "eth0", "10.0.0.7")
	b.listen(b.ns("a"), "10.0.0.5:8080")

	if saw := b.reaches("a", "", echo); saw != "198.51.100.5" {
		t.Errorf("the internet saw %s in place of the public address", saw)
	}
	b.blocked("a", "10.0.0.7", echo) // has no public address
	if d, err := b.Drops(t.Context(), "eni-a"); err != nil || d.NoRoute == 0 {
		t.Errorf("its drops are %+v, %v", d, err)
	}
	for _, private := range []string{"b", "c"} {
		if saw := b.reaches(private, "", echo); saw != natPublic {
			t.Errorf("the internet saw %s in place of the NAT gateway's address", saw)
		}
	}
	saw, err := dial(b.InternetNamespace(), "203.0.113.10", "198.51.100.5:8080", patience)
	if err != nil || saw != "203.0.113.10" {
		t.Errorf("from the internet to the public address: %q, %v", saw, err)
	}
	if saw := b.reaches("d", "", "198.51.100.5:8080"); saw != "198.51.100.6" {
		t.Errorf("an instance that uses another's public address is seen as %s", saw)
	}
	if saw := b.reaches("b", "", "198.51.100.5:8080"); saw != natPublic {
		t.Errorf("an instance behind the NAT gateway is seen as %s by a public address", saw)
	}
	for _, to := range []string{"10.0.0.5:8080", natPublic + ":8080"} {
		if _, err := dial(b.InternetNamespace(), "203.0.113.10", to, impatience); err == nil {
			t.Errorf("from the internet, %s is reached", to)
		}
	}
}

func TestInternetEchoUDPAndHTTP(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	w := newTopology().instance("b").eni("b", "b", private, "10.0.0.40")
	b.apply(w)
	testkit.InNetns(t, b.ns("b"), func() error {
		c, err := net.Dial("udp4", echo)
		if err != nil {
			return err
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(patience))
		fmt.Fprint(c, "hello")
		buf := make([]byte, 100)
		n, err := c.Read(buf)
		if err != nil || !strings.HasPrefix(string(buf[:n]), natPublic+":") {
			t.Errorf("UDP echo says %q, %v", buf[:n], err)
		}
		return nil
	})
	client := http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, address string) (c net.Conn, err error) {
		err = testkit.TryInNetns(b.ns("b"), func() error {
			c, err = (&net.Dialer{}).DialContext(ctx, network, address)
			return err
		})
		return c, err
	}}}
	reply, err := client.Get("http://203.0.113.10/")
	if err != nil {
		t.Fatal(err)
	}
	defer reply.Body.Close()
	body, err := io.ReadAll(reply.Body)
	if err != nil || !strings.HasPrefix(string(body), natPublic+":") {
		t.Errorf("HTTP echo says %q, %v", body, err)
	}
}

func TestRoutes(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	w := newTopology().instance("b").eni("b", "b", private, "10.0.0.40")
	b.apply(w)
	other := netip.MustParseAddrPort("203.0.113.99:80")
	l, err := b.ListenInternet(t.Context(), "tcp4", other)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	server := &http.Server{}
	go server.Serve(l)
	defer server.Close()
	nat := w.Subnets[1].Routes
	for _, tt := range []struct {
		name   string
		routes []vpcsim.TopologyRoute
		open   bool
	}{
		{"no default", nat[:2], false},
		{"narrow", append(nat[:2:2], vpcsim.TopologyRoute{Destination: netip.MustParsePrefix("203.0.113.10/32"), Target: vpcsim.RouteNAT, Via: theNAT}), true},
		{"hole", append(nat[:3:3], vpcsim.TopologyRoute{Destination: netip.MustParsePrefix("203.0.113.0/28"), Target: "network-interface"}), false},
		{"gateway without a public address", append(nat[:2:2], vpcsim.TopologyRoute{Destination: everywhere, Target: vpcsim.RouteInternet}), false},
		{"missing NAT gateway", append(nat[:2:2], vpcsim.TopologyRoute{Destination: everywhere, Target: vpcsim.RouteNAT, Via: "nat-2"}), false},
		{"restored", nat, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w.Subnets[1].Routes = tt.routes
			b.apply(w)
			if tt.open {
				b.reaches("b", "", echo)
			} else {
				b.blocked("b", "", echo)
			}
		})
	}
	b.apply(w) // the further address stays
	w.NATGateways[0].Public = addr("198.51.100.201")
	b.apply(w)
	if saw := b.reaches("b", "", echo); saw != "198.51.100.201" {
		t.Errorf("the internet saw %s after the NAT gateway's address changed", saw)
	}
	w.NATGateways = nil
	b.apply(w)
	b.blocked("b", "", echo)
}

// A larger packet than the internet carries is answered with what fits, through NAT and groups.
func TestPathMTU(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	w := newTopology().instance("b").eni("b", "b", private, "10.0.0.40")
	w.group(sgAll, allOut)
	b.apply(w)
	var c net.Conn
	testkit.InNetns(t, b.ns("b"), func() (err error) {
		c, err = net.Dial("udp4", echo)
		return err
	})
	defer c.Close()
	testkit.Eventually(t, "the route knows the path's MTU", func() bool {
		c.Write(make([]byte, 4000))
		return contains(b.ip("b", "route", "get", "203.0.113.10"), "mtu 1500")
	})
}

func TestMachineIsOutOfReach(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	w := newTopology().instance("a").instance("b").eni("a", "a", public, "10.0.0.5").eni("b", "b", private, "10.0.0.40")
	w.get("a").Public = map[netip.Addr]netip.Addr{addr("10.0.0.5"): addr("198.51.100.5")}
	b.apply(w)
	l, err := net.Listen("tcp4", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		p, err := netip.ParsePrefix(a.String())
		if err != nil || !p.Addr().Is4() {
			continue
		}
		for _, instance := range []string{"a", "b"} {
			if _, err := dial(b.ns(instance), "", net.JoinHostPort(p.Addr().String(), port), impatience); err == nil {
				t.Errorf("%s reaches the machine at %s", instance, p.Addr())
			}
		}
	}
}

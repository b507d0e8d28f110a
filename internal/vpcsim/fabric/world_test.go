package fabric_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/internal/core/vpc"
	"github.com/berth-net/berth/internal/testkit"
	"github.com/berth-net/berth/internal/vpcsim"
	"github.com/berth-net/berth/internal/vpcsim/fabric"
)

func TestMain(m *testing.M) { os.Exit(testkit.RunNetns(m)) }

// The tests' VPC: a public and a private subnet per block, one group that allows everything.
const (
	theVPC    = vpc.ID("vpc-1")
	public    = vpc.SubnetID("subnet-public")
	private   = vpc.SubnetID("subnet-private")
	wide      = vpc.SubnetID("subnet-wide") // in the secondary block
	sgAll     = vpc.SecurityGroupID("sg-all")
	theNAT    = "nat-1"
	natPublic = "198.51.100.200"
)

// topology is a Topology with verbs.
type topology struct{ vpcsim.Topology }

func newTopology() *topology {
	local := func(c string) vpcsim.TopologyRoute {
		return vpcsim.TopologyRoute{Destination: netip.MustParsePrefix(c), Target: vpcsim.RouteLocal}
	}
	all := netip.MustParsePrefix("0.0.0.0/0")
	igw := vpcsim.TopologyRoute{Destination: all, Target: vpcsim.RouteInternet}
	nat := vpcsim.TopologyRoute{Destination: all, Target: vpcsim.RouteNAT, Via: theNAT}
	subnet := func(id vpc.SubnetID, cidr string, last vpcsim.TopologyRoute) vpcsim.TopologySubnet {
		return vpcsim.TopologySubnet{ID: id, VPC: theVPC, CIDR: netip.MustParsePrefix(cidr), Routes: []vpcsim.TopologyRoute{local("10.0.0.0/24"), local("10.1.0.0/16"), last}}
	}
	return &topology{vpcsim.Topology{
		VPCs: []vpcsim.TopologyVPC{{ID: theVPC, CIDRs: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24"), netip.MustParsePrefix("10.1.0.0/16")}}},
		Subnets: []vpcsim.TopologySubnet{
			subnet(public, "10.0.0.0/27", igw),
			subnet(private, "10.0.0.32/27", nat),
			subnet(wide, "10.1.0.0/19", nat),
		},
		Groups: []vpcsim.TopologyGroup{{ID: sgAll, VPC: theVPC, Rules: []vpcsim.GroupRule{
			{Protocol: "-1", From: -1, To: -1, CIDR: all},
			{Egress: true, Protocol: "-1", From: -1, To: -1, CIDR: all},
		}}},
		NATGateways: []vpcsim.TopologyNAT{{ID: theNAT, VPC: theVPC, Subnet: public, Private: netip.MustParseAddr("10.0.0.30"), Public: netip.MustParseAddr(natPublic)}},
	}}
}

// instance adds an instance; its interfaces come with eni.
func (t *topology) instance(name string) *topology {
	t.Instances = append(t.Instances, vpcsim.TopologyInstance{ID: vpc.InstanceID("i-" + name), Name: name, Zone: "us-west-2a"})
	return t
}

// eni attaches an interface with group sgAll to an instance, at its next device index.
func (t *topology) eni(id, instance string, subnet vpc.SubnetID, addresses ...string) *topology {
	index := 0
	for _, e := range t.Interfaces {
		if e.Instance == vpc.InstanceID("i-"+instance) {
			index++
		}
	}
	e := vpcsim.TopologyInterface{
		ID: vpc.ENIID("eni-" + id), VPC: theVPC, Subnet: subnet, MAC: macOf(id), Instance: vpc.InstanceID("i-" + instance),
		DeviceIndex: index, SourceDestCheck: true, Groups: []vpc.SecurityGroupID{sgAll},
	}
	for _, a := range addresses {
		if strings.Contains(a, "/") {
			e.Prefixes = append(e.Prefixes, netip.MustParsePrefix(a))
		} else {
			e.Addresses = append(e.Addresses, netip.MustParseAddr(a))
		}
	}
	t.Interfaces = append(t.Interfaces, e)
	return t
}

// get is an interface, to be changed in place.
func (t *topology) get(id string) *vpcsim.TopologyInterface {
	i := slices.IndexFunc(t.Interfaces, func(e vpcsim.TopologyInterface) bool { return e.ID == vpc.ENIID("eni-"+id) })
	return &t.Interfaces[i]
}

func (t *topology) remove(id string) {
	t.Interfaces = slices.DeleteFunc(t.Interfaces, func(e vpcsim.TopologyInterface) bool { return e.ID == vpc.ENIID("eni-"+id) })
}

func (t *topology) group(id vpc.SecurityGroupID, rules ...vpcsim.GroupRule) {
	t.Groups = slices.DeleteFunc(t.Groups, func(g vpcsim.TopologyGroup) bool { return g.ID == id })
	t.Groups = append(t.Groups, vpcsim.TopologyGroup{ID: id, VPC: theVPC, Rules: rules})
}

func macOf(id string) string {
	m := net.HardwareAddr{0x02, 0, 0, 0, 0, 0}
	for i, c := range []byte(id) {
		m[1+i%5] ^= c
	}
	return m.String()
}

// bed is a fabric under test.
type bed struct {
	*fabric.Fabric
	t   testing.TB
	opt fabric.Options
}

func newBed(tb testing.TB) *bed {
	tb.Helper()
	testkit.RequireRoot(tb)
	nft := testkit.RequireProgram(tb, "nft")
	opt := fabric.Options{Prefix: testkit.NamePrefix(), Dir: tb.TempDir(), NFT: nft, Logger: slog.New(slog.DiscardHandler)}
	f, err := fabric.New(opt)
	if err != nil {
		tb.Fatal(err)
	}
	b := &bed{Fabric: f, t: tb, opt: opt}
	tb.Cleanup(func() {
		if err := b.Close(context.WithoutCancel(tb.Context())); err != nil {
			tb.Errorf("close: %v", err)
		}
		if left, err := os.ReadDir(opt.Dir); err != nil || len(left) > 0 {
			tb.Errorf("close left %v, %v", left, err)
		}
	})
	return b
}

func (b *bed) apply(t *topology) {
	b.t.Helper()
	t.Revision++
	if err := b.Apply(b.t.Context(), t.Topology); err != nil {
		b.t.Fatalf("apply: %v", err)
	}
}

func (b *bed) ns(instance string) string {
	b.t.Helper()
	path := b.Namespace(vpc.InstanceID("i-" + instance))
	if path == "" {
		b.t.Fatalf("instance %s has no namespace", instance)
	}
	return path
}

// ip runs the ip program in an instance; it has to succeed.
func (b *bed) ip(instance string, args ...string) string {
	b.t.Helper()
	out, err := testkit.NetnsOutput(b.ns(instance), "ip", args...)
	if err != nil {
		b.t.Fatalf("ip %s in %s: %v\n%s", strings.Join(args, " "), instance, err, out)
	}
	return out
}

// configure does on a secondary interface what a node agent does: its addresses, a table of its own, rules by source.
func (b *bed) configure(t *topology, instance, dev, id string) {
	b.t.Helper()
	e := t.get(id)
	i := slices.IndexFunc(t.Subnets, func(s vpcsim.TopologySubnet) bool { return s.ID == e.Subnet })
	gateway := t.Subnets[i].CIDR.Addr().Next().String()
	table := fmt.Sprint(100 + e.DeviceIndex)
	b.up(instance, dev)
	b.ip(instance, "route", "replace", gateway, "dev", dev, "table", table, "scope", "link")
	b.ip(instance, "route", "replace", "default", "via", gateway, "dev", dev, "table", table)
	for _, a := range e.Addresses {
		b.ip(instance, "addr", "replace", a.String()+"/32", "dev", dev)
		b.ip(instance, "rule", "add", "from", a.String(), "lookup", table)
	}
}

// up brings a link up and waits until it carries packets both ways: the kernel starts the queues of its ends some
// milliseconds later, and drops what is sent before.
func (b *bed) up(instance, dev string) {
	b.t.Helper()
	b.ip(instance, "link", "set", dev, "up")
	testkit.Eventually(b.t, dev+" and its other end are up", func() bool {
		out, err := testkit.NetnsOutput(filepath.Join(b.opt.Dir, b.opt.Prefix+"-"+string(theVPC)), "ip", "-o", "link")
		for line := range strings.Lines(out) {
			if contains(line, "LOWER_UP") && !contains(line, "state UP") && !contains(line, "LOOPBACK") {
				return false
			}
		}
		return err == nil && contains(b.ip(instance, "link", "show", dev), "state UP")
	})
}

// add gives an instance further local addresses, as pods behind it would have.
func (b *bed) add(instance, dev string, addresses ...string) {
	b.t.Helper()
	for _, a := range addresses {
		b.ip(instance, "addr", "replace", a+"/32", "dev", dev)
	}
}

// patience is how long a packet that has to arrive may take; impatience how long one that has to be dropped is waited for.
const (
	patience   = 20 * time.Second
	impatience = 200 * time.Millisecond
	silence    = time.Second // after the last answer to a ping: they are sent once, and a busy machine is slow
)

// listen serves TCP in a namespace: each connection gets the peer's address and port, as the internet's echo does.
func (b *bed) listen(path, address string) {
	b.t.Helper()
	var l net.Listener
	testkit.InNetns(b.t, path, func() (err error) {
		l, err = net.Listen("tcp4", address)
		return err
	})
	b.t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			fmt.Fprintln(c, c.RemoteAddr())
			c.Close()
		}
	}()
}

// dial connects from a namespace, optionally from a given source, and returns the line that the server sends.
func dial(path, source, address string, wait time.Duration) (string, error) {
	var line string
	err := testkit.TryInNetns(path, func() error {
		d := net.Dialer{Timeout: wait}
		if source != "" {
			d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(source)}
		}
		c, err := d.Dial("tcp4", address)
		if err != nil {
			return err
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(wait))
		line, err = bufio.NewReader(c).ReadString('\n')
		return err
	})
	host, _, _ := net.SplitHostPort(strings.TrimSpace(line))
	return host, err
}

// reaches asserts that a connection from source gets through, and returns the source that the server saw.
func (b *bed) reaches(instance, source, address string) string {
	b.t.Helper()
	saw, err := dial(b.ns(instance), source, address, patience)
	if err != nil {
		b.t.Fatalf("%s from %q to %s: %v", instance, source, address, err)
	}
	return saw
}

// blocked asserts that a connection is dropped without an answer.
func (b *bed) blocked(instance, source, address string) {
	b.t.Helper()
	_, err := dial(b.ns(instance), source, address, impatience)
	if err == nil {
		b.t.Fatalf("%s from %q to %s: gets through", instance, source, address)
	}
	if errors.Is(err, syscall.ECONNREFUSED) {
		b.t.Fatalf("%s from %q to %s: refused, so it arrived", instance, source, address)
	}
}

var pings atomic.Uint32

// ping sends count echo requests and returns how many answers came.
func (b *bed) ping(instance, source, to string, count int) int {
	b.t.Helper()
	answers := 0
	id := uint16(pings.Add(1)) // connection tracking takes the same identifier for the same flow
	testkit.InNetns(b.t, b.ns(instance), func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		src, dst := netip.MustParseAddr(source).As4(), netip.MustParseAddr(to).As4()
		if err := unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_FREEBIND, 1); err != nil {
			return err
		}
		if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: src}); err != nil {
			return err
		}
		wait := unix.NsecToTimeval(silence.Nanoseconds())
		if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait); err != nil {
			return err
		}
		for i := range count {
			request := []byte{8, 0, 0, 0, byte(id >> 8), byte(id), 0, byte(i)}
			sum := ^(8<<8 + id + uint16(i))
			request[2], request[3] = byte(sum>>8), byte(sum)
			if err := unix.Sendto(fd, request, 0, &unix.SockaddrInet4{Addr: dst}); err != nil {
				return err
			}
		}
		buf := make([]byte, 1500)
		for answers < count {
			n, from, err := unix.Recvfrom(fd, buf, 0)
			if err != nil {
				return nil // nothing more comes
			}
			if a, ok := from.(*unix.SockaddrInet4); ok && a.Addr == dst && n >= 28 && buf[20] == 0 && binary.BigEndian.Uint16(buf[24:]) == id {
				answers++
			}
		}
		return nil
	})
	return answers
}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func contains(s, part string) bool { return strings.Contains(s, part) }

// arps asks for an address on a link and reports whether somebody answers.
func arps(t *testing.T, path, dev, source, target string) bool {
	t.Helper()
	answered := false
	testkit.InNetns(t, path, func() error {
		ifi, err := net.InterfaceByName(dev)
		if err != nil {
			return err
		}
		const arp = unix.ETH_P_ARP<<8&0xff00 | unix.ETH_P_ARP>>8
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM, arp)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		to := unix.SockaddrLinklayer{Protocol: arp, Ifindex: ifi.Index, Halen: 6, Addr: [8]byte{255, 255, 255, 255, 255, 255}}
		wait := unix.NsecToTimeval(impatience.Nanoseconds())
		if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait); err != nil {
			return err
		}
		src, dst := addr(source).As4(), addr(target).As4()
		request := append([]byte{0, 1, 8, 0, 6, 4, 0, 1}, ifi.HardwareAddr...)
		request = append(append(append(request, src[:]...), 0, 0, 0, 0, 0, 0), dst[:]...)
		if err := unix.Sendto(fd, request, 0, &to); err != nil {
			return err
		}
		buf := make([]byte, 128)
		for {
			n, _, err := unix.Recvfrom(fd, buf, 0)
			if err != nil {
				return nil // no answer
			}
			if n >= 28 && buf[7] == 2 && [4]byte(buf[14:18]) == dst {
				answered = true
				return nil
			}
		}
	})
	return answered
}

// pod makes a pod behind an instance as a node agent wires it: a veth, its address routed to it, what it sends sent by
// the interface that owns the address.
func (b *bed) pod(instance, dev, address, id string, w *topology) string {
	b.t.Helper()
	path := testkit.Netns(b.t)
	host := "pod" + strings.ReplaceAll(address[strings.IndexByte(address, '.'):], ".", "x")
	e := w.get(id)
	i := slices.IndexFunc(w.Subnets, func(s vpcsim.TopologySubnet) bool { return s.ID == e.Subnet })
	gateway, table := w.Subnets[i].CIDR.Addr().Next().String(), fmt.Sprint(100+e.DeviceIndex)
	pod := func(args ...string) {
		b.t.Helper()
		if out, err := testkit.NetnsOutput(path, "ip", args...); err != nil {
			b.t.Fatalf("ip %s in pod %s: %v\n%s", strings.Join(args, " "), address, err, out)
		}
	}
	testkit.InNetns(b.t, b.ns(instance), func() error {
		return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644)
	})
	pod("link", "add", "eth0", "type", "veth", "peer", "name", host, "netns", b.ns(instance))
	b.ip(instance, "link", "set", host, "up", "addr", "0e:aa:00:00:00:01")
	pod("link", "set", "eth0", "up")
	pod("addr", "add", address+"/32", "dev", "eth0")
	pod("route", "add", "169.254.1.1", "dev", "eth0", "scope", "link")
	pod("route", "add", "default", "via", "169.254.1.1", "dev", "eth0")
	pod("neigh", "replace", "169.254.1.1", "lladdr", "0e:aa:00:00:00:01", "dev", "eth0", "nud", "permanent")
	b.up(instance, dev)
	b.up(instance, host)
	b.ip(instance, "route", "replace", address, "dev", host, "scope", "link")
	b.ip(instance, "rule", "add", "to", address, "lookup", "main", "pref", "512")
	if dev != "eth0" {
		b.ip(instance, "rule", "add", "from", address, "lookup", table, "pref", "1536")
		b.ip(instance, "route", "replace", gateway, "dev", dev, "table", table, "scope", "link")
		b.ip(instance, "route", "replace", "default", "via", gateway, "dev", dev, "table", table)
	}
	return path
}

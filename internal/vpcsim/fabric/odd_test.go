package fabric_test

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/berth-net/berth/internal/core/vpc"
	"github.com/berth-net/berth/internal/testkit"
	"github.com/berth-net/berth/internal/vpcsim"
)

// After any sequence of changes the kernel holds what it would hold had the last topology been the first.
func TestAnyOrderEqualsFromScratch(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			b := newBed(t)
			r := rand.New(rand.NewPCG(seed, 1))
			w := &walk{topology: newTopology(), r: r}
			for range 60 {
				w.step()
				b.apply(w.topology)
			}
			got := kernelState(t, b)
			b.crash() // the next Apply reads the kernel and replaces the rules whole
			b.apply(w.topology)
			if diff := cmp.Diff(kernelState(t, b), got); diff != "" {
				t.Errorf("from scratch (-) and step by step (+) differ:\n%s", diff)
			}
			fresh := newBed(t)
			fresh.apply(w.topology)
			if diff := cmp.Diff(structure(kernelState(t, fresh)), structure(got)); diff != "" {
				t.Errorf("a new fabric (-) and step by step (+) differ:\n%s", diff)
			}
		})
	}
}

// walk changes a topology at random.
type walk struct {
	*topology
	r    *rand.Rand
	next int
}

func (w *walk) number() int { w.next++; return w.next }

func (w *walk) step() {
	subnets := []vpc.SubnetID{public, private, wide}
	pick := func() *vpcsim.TopologyInterface { return &w.Interfaces[w.r.IntN(len(w.Interfaces))] }
	op := w.r.IntN(12)
	if len(w.Instances) == 0 {
		op = 0
	} else if len(w.Interfaces) == 0 && op != 0 {
		op = 1
	}
	switch op {
	case 0:
		w.instance(fmt.Sprintf("n%d", w.number()))
	case 1, 2:
		i := w.Instances[w.r.IntN(len(w.Instances))]
		n := w.number()
		w.eni(fmt.Sprint(n), i.Name, wide, fmt.Sprintf("10.1.2.%d", n))
		if e := &w.Interfaces[len(w.Interfaces)-1]; e.DeviceIndex > 0 { // a primary address has to be of its subnet
			e.Subnet = subnets[w.r.IntN(3)]
		}
	case 3, 4:
		e := pick()
		e.Addresses = append(e.Addresses, netip.AddrFrom4([4]byte{10, 1, 3, byte(w.number())}))
	case 5:
		e := pick()
		e.Addresses = e.Addresses[:1]
	case 6:
		e := pick()
		e.Prefixes = append(e.Prefixes, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 1, byte(10 + w.number()/16), byte(w.next % 16 * 16)}), 28))
	case 7:
		w.remove(strings.TrimPrefix(string(pick().ID), "eni-"))
	case 8:
		i := w.r.IntN(len(w.Instances))
		for k := range w.Interfaces {
			if w.Interfaces[k].Instance == w.Instances[i].ID {
				w.Interfaces[k].Instance = ""
			}
		}
		w.Instances = slices.Delete(w.Instances, i, i+1)
	case 9:
		id := vpc.SecurityGroupID(fmt.Sprintf("sg-%d", w.r.IntN(3)))
		w.group(id, rule("tcp", w.number(), 6000, "10.0.0.0/8"), allOut, vpcsim.GroupRule{Protocol: "udp", From: 53, To: 53, Group: sgAll})
		pick().Groups = []vpc.SecurityGroupID{id, sgAll}
	case 10:
		e := pick()
		e.Public = map[netip.Addr]netip.Addr{e.Addresses[0]: netip.AddrFrom4([4]byte{198, 51, 100, byte(w.number())})}
		e.SourceDestCheck = !e.SourceDestCheck
	case 11:
		k := w.r.IntN(3)
		w.Subnets[k].Routes = append(newTopology().Subnets[k].Routes, vpcsim.TopologyRoute{
			Destination: netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(w.number())}), 32), Target: "blackhole",
		})
		w.NATGateways[0].Public = netip.AddrFrom4([4]byte{198, 51, 101, byte(w.next)})
	}
}

// kernelState is what the VPC's namespace holds, as sorted lines without order and counts.
func kernelState(t *testing.T, b *bed) []string {
	t.Helper()
	path := filepath.Join(b.opt.Dir, b.opt.Prefix+"-"+string(theVPC))
	var out []string
	for _, args := range [][]string{
		{"nft", "-s", "list", "ruleset"}, {"ip", "-4", "route", "show", "table", "all"}, {"ip", "-4", "rule"}, {"ip", "-4", "-o", "addr"}, {"ip", "neigh", "show", "nud", "permanent"},
	} {
		text, err := testkit.NetnsOutput(path, args[0], args[1:]...)
		if err != nil {
			t.Fatalf("%v: %v\n%s", args, err, text)
		}
		table := ""
		for line := range strings.Lines(strings.ReplaceAll(text, ", ", "\n")) {
			line = strings.Trim(strings.TrimSpace(line), ",{} ")
			line = strings.TrimPrefix(line, "elements = { ")
			if strings.HasPrefix(line, "set ") || strings.HasPrefix(line, "map ") || strings.HasPrefix(line, "chain ") {
				table = line
			}
			out = append(out, table+": "+line)
		}
	}
	slices.Sort(out)
	return out
}

var zonePattern = regexp.MustCompile(`zone set \d+|( : )\d+$`)

// structure leaves out what depends on the order in which links were made: their zones.
func structure(state []string) []string {
	out := make([]string, 0, len(state))
	for _, line := range state {
		out = append(out, zonePattern.ReplaceAllString(line, "${1}N"))
	}
	slices.Sort(out)
	return out
}

func TestDetachUnderTraffic(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	w := newTopology().instance("a").instance("b").eni("a", "a", public, "10.0.0.5").eni("b", "b", private, "10.0.0.40")
	b.apply(w)
	for i := range 10 {
		w.eni("a1", "a", wide, "10.1.0.5")
		b.apply(w)
		b.configure(w, "a", "eth1", "a1")
		conns := make([]net.Conn, 2)
		testkit.InNetns(t, b.ns("a"), func() (err error) {
			conns[0], err = (&net.Dialer{LocalAddr: &net.UDPAddr{IP: net.IPv4(10, 1, 0, 5)}}).Dial("udp4", "10.0.0.40:9")
			return err
		})
		testkit.InNetns(t, b.ns("b"), func() (err error) {
			conns[1], err = net.Dial("udp4", "10.1.0.5:9")
			return err
		})
		stop, stopped := make(chan struct{}), make(chan struct{}, 2)
		for _, c := range conns {
			go func() {
				defer func() { c.Close(); stopped <- struct{}{} }()
				for {
					select {
					case <-stop:
						return
					default:
						c.Write(make([]byte, 1000))
					}
				}
			}()
		}
		w.remove("a1")
		b.apply(w)
		if links := b.ip("a", "-o", "link"); contains(links, "eth1") {
			t.Fatalf("detach %d left the link:\n%s", i, links)
		}
		close(stop)
		<-stopped
		<-stopped
		b.ip("a", "rule", "del", "from", "10.1.0.5")
	}
	if n := b.ping("a", "10.0.0.5", "10.0.0.40", 2); n != 2 {
		t.Errorf("%d of 2 pings answered afterwards", n)
	}
}

func TestWithoutSourceDestCheck(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	w := newTopology().instance("router").instance("b").eni("router", "router", public, "10.0.0.5").eni("b", "b", wide, "10.1.0.10")
	b.apply(w)
	b.add("router", "lo", "192.168.77.7")
	var server net.PacketConn
	testkit.InNetns(t, b.ns("b"), func() (err error) {
		server, err = net.ListenPacket("udp4", "10.1.0.10:9000")
		return err
	})
	defer server.Close()
	send := func() (string, error) {
		testkit.InNetns(t, b.ns("router"), func() error {
			c, err := (&net.Dialer{LocalAddr: &net.UDPAddr{IP: net.IPv4(192, 168, 77, 7)}}).Dial("udp4", "10.1.0.10:9000")
			if err != nil {
				return err
			}
			defer c.Close()
			_, err = c.Write([]byte("x"))
			return err
		})
		server.SetReadDeadline(time.Now().Add(impatience))
		_, from, err := server.ReadFrom(make([]byte, 10))
		if err != nil {
			return "", err
		}
		host, _, err := net.SplitHostPort(from.String())
		return host, err
	}
	if from, err := send(); err == nil {
		t.Errorf("a packet from %s passes the check", from)
	}
	w.get("router").SourceDestCheck = false
	b.apply(w)
	testkit.Eventually(t, "a packet from a foreign source arrives without the check", func() bool {
		from, err := send()
		return err == nil && from == "192.168.77.7"
	})
	w.get("b").Groups = nil
	b.apply(w)
	for i := range 3 { // the flow was allowed: another port is another flow
		if from, err := send(); err == nil && i > 0 {
			t.Errorf("a packet from %s passes the destination's groups", from)
		}
	}
}

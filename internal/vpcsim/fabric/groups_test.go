package fabric_test

import (
	"bufio"
	"fmt"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/berth-net/berth/internal/core/vpc"
	"github.com/berth-net/berth/internal/testkit"
	"github.com/berth-net/berth/internal/vpcsim"
	"github.com/berth-net/berth/internal/vpcsim/fabric"
)

var (
	everywhere = netip.MustParsePrefix("0.0.0.0/0")
	allOut     = vpcsim.GroupRule{Egress: true, Protocol: "-1", From: -1, To: -1, CIDR: everywhere}
)

func rule(protocol string, from, to int, cidr string) vpcsim.GroupRule {
	return vpcsim.GroupRule{Protocol: protocol, From: from, To: to, CIDR: netip.MustParsePrefix(cidr)}
}

func TestGroups(t *testing.T) {
	const server = "sg-server"
	in := func(r ...vpcsim.GroupRule) []vpcsim.GroupRule { return append(r, allOut) }
	tests := []struct {
		name    string
		rules   []vpcsim.GroupRule
		open    bool // TCP port 8080
		answers bool // ping
	}{
		{"no rules", nil, false, false},
		{"port", in(rule("tcp", 8080, 8080, "10.0.0.5/32")), true, false},
		{"port range", in(rule("tcp", 8000, 9000, "10.0.0.0/24")), true, false},
		{"other port", in(rule("tcp", 8081, 8081, "0.0.0.0/0")), false, false},
		{"other source", in(rule("tcp", 8080, 8080, "10.1.0.0/16")), false, false},
		{"other protocol", in(rule("udp", 8080, 8080, "0.0.0.0/0")), false, false},
		{"protocol by number", in(rule("6", 0, 65535, "0.0.0.0/0")), true, false},
		{"icmp", in(rule("icmp", -1, -1, "0.0.0.0/0")), false, true},
		{"echo request", in(rule("icmp", 8, 0, "0.0.0.0/0")), false, true},
		{"echo reply only", in(rule("icmp", 0, -1, "0.0.0.0/0")), false, false},
		{"all", in(rule("-1", -1, -1, "0.0.0.0/0")), true, true},
		{"a reply needs no egress rule", []vpcsim.GroupRule{rule("-1", -1, -1, "0.0.0.0/0")}, true, true},
	}
	t.Parallel()
	b := newBed(t)
	w := newTopology().instance("client").instance("server").eni("client", "client", public, "10.0.0.5").eni("server", "server", private, "10.0.0.40")
	w.group("sg-client", allOut)
	w.get("client").Groups = []vpc.SecurityGroupID{"sg-client"}
	w.get("server").Groups = []vpc.SecurityGroupID{server}
	w.group(server)
	b.apply(w)
	b.listen(b.ns("server"), "10.0.0.40:8080")
	b.listen(b.ns("client"), "10.0.0.5:8080")
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w.group(server, tt.rules...)
			b.apply(w)
			if tt.open {
				b.reaches("client", "", "10.0.0.40:8080")
			} else {
				b.blocked("client", "", "10.0.0.40:8080")
			}
			if n := b.ping("client", "10.0.0.5", "10.0.0.40", 2); (n == 2) != tt.answers || n == 1 {
				t.Errorf("%d of 2 pings answered, want them answered: %v", n, tt.answers)
			}
			// Nothing opens the client: what the server starts by itself is refused, its replies are not.
			b.blocked("server", "", "10.0.0.5:8080")
		})
	}
}

func TestGroupDropsAreCounted(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	w := newTopology().instance("a").instance("b").eni("a", "a", public, "10.0.0.5").eni("b", "b", private, "10.0.0.40").
		eni("a1", "a", public, "10.0.0.9")
	w.group("sg-none")
	w.group("sg-out", allOut)
	w.get("a").Groups = []vpc.SecurityGroupID{"sg-out"}
	w.get("b").Groups = []vpc.SecurityGroupID{"sg-none"}
	b.apply(w)
	b.ping("a", "10.0.0.5", "10.0.0.40", 3)
	b.ping("b", "10.0.0.40", "10.0.0.5", 4)
	b.ping("a", "10.0.0.5", "10.0.0.41", 5) // nobody's
	for id, want := range map[vpc.ENIID]fabric.Drops{"eni-a": {NoRoute: 5}, "eni-b": {GroupIngress: 3, GroupEgress: 4}, "eni-a1": {}} {
		if got, err := b.Drops(t.Context(), id); err != nil || got != want {
			t.Errorf("drops of %s are %+v, %v, want %+v", id, got, err, want)
		}
	}
	// A change elsewhere leaves the counts alone.
	w.get("a1").Addresses = append(w.get("a1").Addresses, addr("10.0.0.11"))
	b.apply(w)
	if got, err := b.Drops(t.Context(), "eni-a"); err != nil || got.NoRoute != 5 {
		t.Errorf("after a change the drops are %+v, %v", got, err)
	}
}

func TestGroupReference(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	w := newTopology().instance("friend").instance("stranger").instance("server").
		eni("friend", "friend", public, "10.0.0.5", "10.0.0.16/28").eni("stranger", "stranger", public, "10.0.0.6").
		eni("server", "server", wide, "10.1.0.10")
	w.group("sg-friends", allOut)
	w.group("sg-server", vpcsim.GroupRule{Protocol: "tcp", From: 8080, To: 8080, Group: "sg-friends"}, allOut)
	w.get("friend").Groups = append(w.get("friend").Groups, "sg-friends")
	w.get("server").Groups = []vpc.SecurityGroupID{"sg-server"}
	b.apply(w)
	b.add("friend", "eth0", "10.0.0.17")
	b.listen(b.ns("server"), "10.1.0.10:8080")
	b.reaches("friend", "", "10.1.0.10:8080")
	b.reaches("friend", "10.0.0.17", "10.1.0.10:8080")
	b.blocked("stranger", "", "10.1.0.10:8080")
	w.get("stranger").Groups, w.get("friend").Groups = w.get("friend").Groups, w.get("stranger").Groups
	b.apply(w)
	b.reaches("stranger", "", "10.1.0.10:8080")
	b.blocked("friend", "", "10.1.0.10:8080")
	b.blocked("friend", "10.0.0.17", "10.1.0.10:8080")
}

// Two interfaces of one instance are two interfaces: each one's groups see what passes between them.
func TestGroupsWithinAnInstance(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	w := newTopology().instance("a").eni("a0", "a", public, "10.0.0.5").eni("a1", "a", wide, "10.1.0.5")
	w.group("sg-closed", allOut)
	b.apply(w)
	b.pod("a", "eth1", "10.1.0.7", "a1", w)
	testkit.InNetns(t, b.ns("a"), func() error { // the pod's side takes what the instance itself sent
		return os.WriteFile("/proc/sys/net/ipv4/conf/eth1/accept_local", []byte("1"), 0o644)
	})
	b.ip("a", "rule", "add", "iif", "lo", "from", "10.0.0.5", "to", "10.1.0.7", "lookup", "900", "pref", "10")
	b.ip("a", "route", "add", "default", "via", "10.0.0.1", "dev", "eth0", "table", "900")
	w.get("a1").Addresses = append(w.get("a1").Addresses, addr("10.1.0.7"))
	b.apply(w)
	if n := b.ping("a", "10.0.0.5", "10.1.0.7", 2); n != 2 {
		t.Errorf("%d of 2 pings answered", n)
	}
	w.get("a1").Groups = []vpc.SecurityGroupID{"sg-closed"}
	b.apply(w)
	if n := b.ping("a", "10.0.0.5", "10.1.0.7", 2); n != 0 {
		t.Errorf("%d of 2 pings answered, though the second interface allows none", n)
	}
}

// An established connection outlives its rule, as a tracked connection does in EC2, and any number of changes around it.
func TestConnectionOutlivesChanges(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	w := newTopology().instance("a").instance("b").eni("a", "a", public, "10.0.0.5").eni("b", "b", wide, "10.1.0.10")
	b.apply(w)
	var l net.Listener
	testkit.InNetns(t, b.ns("b"), func() (err error) {
		l, err = net.Listen("tcp4", "10.1.0.10:8080")
		return err
	})
	defer l.Close()
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		in := bufio.NewReader(c)
		for {
			line, err := in.ReadString('\n')
			if err != nil {
				return
			}
			fmt.Fprint(c, line)
		}
	}()
	var c net.Conn
	testkit.InNetns(t, b.ns("a"), func() (err error) {
		c, err = net.DialTimeout("tcp4", "10.1.0.10:8080", patience)
		return err
	})
	defer c.Close()
	in := bufio.NewReader(c)
	w.group("sg-closed")
	for i := range 10 {
		w.get("b").Addresses = append(w.get("b").Addresses, addr(fmt.Sprintf("10.1.1.%d", i+1)))
		if i == 5 {
			w.get("b").Groups = []vpc.SecurityGroupID{"sg-closed"}
		}
		b.apply(w)
		c.SetDeadline(time.Now().Add(patience))
		fmt.Fprintf(c, "%d\n", i)
		if line, err := in.ReadString('\n'); err != nil || line != fmt.Sprintf("%d\n", i) {
			t.Fatalf("after change %d the connection gives %q, %v", i, line, err)
		}
	}
	b.blocked("a", "", "10.1.0.10:8080")
}

func ruleFromGroup() vpcsim.GroupRule {
	return vpcsim.GroupRule{Protocol: "-1", From: -1, To: -1, Group: sgAll}
}

package linux

import (
	"os"
	"slices"
	"testing"

	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/internal/core/hostnet"
	"github.com/berth-net/berth/internal/testkit"
)

// The kernel leaves out what concerns nobody, and nothing else: the links of pods and what was asked by our own socket.
func TestUnheard(t *testing.T) {
	file, err := os.Open(testkit.Netns(t))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	own, err := dial(file, unix.NETLINK_ROUTE)
	if err != nil {
		t.Fatal(err)
	}
	defer own.close()
	other, err := dial(file, unix.NETLINK_ROUTE)
	if err != nil {
		t.Fatal(err)
	}
	defer other.close()
	s, err := nl.SubscribeAt(netns.NsHandle(file.Fd()), netns.None(), unix.NETLINK_ROUTE, unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_RULE)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.SetReceiveTimeout(&unix.Timeval{Usec: 200_000}); err != nil {
		t.Fatal(err)
	}
	if err := unheard(s.GetFd(), own.pid, "eni"); err != nil {
		t.Fatal(err)
	}
	rule := func(priority int) *nl.NetlinkRequest {
		return ruleRequest(unix.RTM_NEWRULE, create, hostnet.Rule{Priority: priority, Table: 7})
	}
	link := func(name string) *nl.NetlinkRequest {
		mac := [6]byte{2, 0, 0, 0, 0, 1}
		return newVeth(end{name, mac, 1500}, end{name + "p", mac, 1500}, int(file.Fd()))
	}
	cases := []struct {
		name  string
		by    *conn
		req   *nl.NetlinkRequest
		heard bool
	}{
		{"own rule", own, rule(7), false},
		{"another's rule", other, rule(8), true},
		{"link of a pod, from its namespace", other, link("eni1"), false},
		{"link whose name is shorter than the prefix", other, link("en"), true},
		{"link of another name", other, link("eth0"), true},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if err := c.by.do(c.req); err != nil {
				t.Fatal(err)
			}
			var heard []uint16
			for {
				msgs, _, err := s.Receive()
				if err != nil {
					break // no more within the timeout
				}
				for _, m := range msgs {
					heard = append(heard, m.Header.Type)
				}
			}
			if got := len(slices.Compact(heard)) > 0; got != c.heard {
				t.Errorf("heard %v, want any: %v", heard, c.heard)
			}
		})
	}
}

package linux_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/berth-net/berth/internal/linux"
)

// TestFirstPacketOfAPodIsLostWhileOthersAreWired: the kernel opens the queue of a link that got its carrier in a worker of its own, and
// drops what is sent before. The worker waits for the lock that everybody who changes links holds.
func TestFirstPacketOfAPodIsLostWhileOthersAreWired(t *testing.T) {
	w := ready(t, nil)
	var server *net.UDPConn
	if err := linux.In(w.node.file, func() (err error) {
		server, err = net.ListenUDP("udp4", &net.UDPAddr{Port: 9000})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = server.Close() }()
	ctx, cancel := context.WithCancel(t.Context())
	var others sync.WaitGroup
	defer others.Wait()
	defer cancel()
	for range 3 {
		other := newSpace(t)
		others.Go(func() { changeLinks(ctx, other.file) })
	}
	lost := 0
	const pods = 60
	for i := range pods {
		s, p := newSpace(t), w.podValue(fmt.Sprint("p", i), "10.0.0.20", 0)
		if _, err := w.host.WirePod(t.Context(), w.cfg.Settings, p, s.file); err != nil {
			t.Fatal(err)
		}
		if err := linux.In(s.file, func() error {
			c, err := net.Dial("udp4", nodeIP+":9000")
			if err != nil {
				return err
			}
			defer func() { _ = c.Close() }()
			_, err = c.Write([]byte{byte(i)})
			return err
		}); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, 1)
		_ = server.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
		if n, err := server.Read(got); err != nil || n != 1 || got[0] != byte(i) {
			lost++
		}
		w.unwire(p)
	}
	if lost > 0 {
		t.Errorf("the first packet of %d of %d pods was lost", lost, pods)
	}
}

// changeLinks makes and deletes links until ctx ends.
func changeLinks(ctx context.Context, ns *os.File) {
	_ = linux.In(ns, func() error {
		for ctx.Err() == nil {
			l := &netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Name: "d"}}
			_, _ = netlink.LinkAdd(l), netlink.LinkDel(l)
		}
		return nil
	})
}

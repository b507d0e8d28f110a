package testkit_test

import (
	"net"
	"os"
	"strings"
	"testing"

	"github.com/berth-net/berth/internal/testkit"
)

func TestMain(m *testing.M) { os.Exit(testkit.RunNetns(m)) }

func TestNetnsIsEmptyAndSeparate(t *testing.T) {
	a, b := testkit.Netns(t), testkit.Netns(t)
	if a == b {
		t.Fatalf("two namespaces at %s", a)
	}
	out, err := testkit.NetnsOutput(a, "ip", "-o", "link")
	if err != nil || strings.Count(out, "\n") != 1 || !strings.Contains(out, "LOOPBACK,UP") {
		t.Errorf("a new namespace has not just its loopback link, up: %v\n%s", err, out)
	}
	var l net.Listener
	testkit.InNetns(t, a, func() (err error) {
		l, err = net.Listen("tcp", "127.0.0.1:0")
		return err
	})
	defer l.Close()
	dial := func() error {
		c, err := net.Dial("tcp", l.Addr().String())
		if err == nil {
			c.Close()
		}
		return err
	}
	testkit.InNetns(t, a, dial)
	if err := testkit.TryInNetns(b, dial); err == nil {
		t.Error("a listener in one namespace is reached from another")
	}
	if err := dial(); err == nil {
		t.Error("a listener in a namespace is reached from the machine's own")
	}
}

package flow_test

import (
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/berth-net/berth/internal/testkit"
	"github.com/berth-net/berth/internal/testkit/flow"
)

func TestMain(m *testing.M) { os.Exit(testkit.RunNetns(m)) }

// sent waits until a flow has sent so many more messages.
func sent(t *testing.T, f *flow.Flow, more int) {
	t.Helper()
	end := f.Sent() + more
	testkit.Eventually(t, "flow", func() bool { return f.Sent() >= end })
}

// A meter that cannot see a loss proves nothing.
func TestLossIsSeen(t *testing.T) {
	testkit.RequireProgram(t, "nft")
	for _, network := range []string{"udp", "tcp"} {
		for name, lossy := range map[string]bool{"whole": false, "lossy": true} {
			t.Run(network+"/"+name, func(t *testing.T) {
				space := testkit.Netns(t)
				f, err := flow.Start(name, network, space, space, netip.MustParseAddr("127.0.0.1"))
				if err != nil {
					t.Fatal(err)
				}
				sent(t, f, 10)
				if lossy {
					rule := "add table ip t; add chain ip t c { type filter hook input priority 0; }; add rule ip t c ip length > 90 numgen inc mod 7 == 0 drop"
					if out, err := testkit.NetnsOutput(space, "nft", rule); err != nil {
						t.Fatalf("%v: %s", err, out)
					}
				}
				sent(t, f, 50)
				r := f.End()
				if r.Sent < 60 || (r.Lost() > 0) != lossy || r.Seen != 1 {
					t.Errorf("%+v, lost %d", r, r.Lost())
				}
			})
		}
	}
}

// Many flows see each loss, too, and whether it was the machine's.
func TestSwarmSeesLosses(t *testing.T) {
	testkit.RequireProgram(t, "nft")
	space := testkit.Netns(t)
	s := flow.NewSwarm(10 * time.Millisecond)
	all, err := s.Add("swarm", space, space, netip.MustParseAddr("127.0.0.1"), 20)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "50 messages", func() bool { return all[19].Next() > 50 })
	first := all[3].Next()
	rule := "add table ip t; add chain ip t c { type filter hook input priority 0; }; add rule ip t c udp dport 7002 drop"
	if out, err := testkit.NetnsOutput(space, "nft", rule); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	second := all[3].Next()
	testkit.Eventually(t, "more messages", func() bool { return all[3].Next() > second+20 })
	machine, err := s.End()
	if err != nil {
		t.Fatal(err)
	}
	if before := all[3].Between(0, first-1); before.Sent < 40 || before.Lost() != 0 {
		t.Errorf("%+v were lost without a reason", before)
	}
	if after := all[3].Between(second, all[3].Next()); after.Sent < 20 || after.Arrived != 0 || after.Lost() != after.Sent {
		t.Errorf("%+v arrived although everything is dropped", after)
	}
	t.Logf("the machine dropped %d", machine)
}

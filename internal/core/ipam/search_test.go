package ipam_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/berth-net/berth/internal/core/pool"
	"github.com/berth-net/berth/internal/core/vpc"
)

// starved is a node whose only subnet is full while a pod waits.
func starved(t *testing.T) *world {
	t.Helper()
	w := newWorld(t, func(c *pool.Config) { c.WarmENI, c.WarmIP = 0, 1 })
	w.subs[0].Free = 0
	w.add(0, 1)
	w.settle()
	return w
}

// retry lets time pass while the runtime repeats the ADD of a pod: ten seconds of waiting, then a pause of a dozen.
func (w *world) retry(d time.Duration) (reads int) {
	for end, i := w.now.Add(d), 100; w.now.Before(end); i++ {
		w.add(i, i+1)
		reads += w.count(pool.ReadSubnets, 10*time.Second, 500*time.Millisecond)
		w.state.Withdraw(key(i))
		reads += w.count(pool.ReadSubnets, 12*time.Second, 500*time.Millisecond)
	}
	return reads
}

func TestFullSubnetsAreReadMoreAndMoreSeldomWhilePodsWait(t *testing.T) {
	t.Run("one pod waits on", func(t *testing.T) {
		w := starved(t)
		if n := w.count(pool.ReadSubnets, time.Minute, 500*time.Millisecond); n < 12 || n > 15 {
			t.Errorf("%d reads in the first minute", n)
		}
		w.count("", 10*time.Minute, time.Second)
		if n := w.count(pool.ReadSubnets, 10*time.Minute, time.Second); n < 40 || n > 50 {
			t.Errorf("%d reads in ten minutes of a long wait", n)
		}
		w.add(1, 2) // one pod more is no news
		if n := w.count(pool.ReadSubnets, time.Minute, time.Second); n > 5 {
			t.Errorf("%d reads in the minute after another pod came", n)
		}
	})
	t.Run("the runtime tries again and again", func(t *testing.T) {
		w := starved(t)
		w.state.Withdraw(key(0))
		w.retry(10 * time.Minute)
		if n := w.retry(10 * time.Minute); n < 20 || n > 35 {
			t.Errorf("%d reads in ten minutes of a long wait", n)
		}
	})
}

// What is new is worth looking soon again: somebody is at work on the subnets, or the pods are others.
func TestNewsMakesTheNodeLookForSubnetsSooner(t *testing.T) {
	for name, news := range map[string]func(*world){
		"a subnet was tagged": func(w *world) {
			w.subs = append(w.subs, vpc.Subnet{ID: "subnet-b", VPC: "vpc-1", Zone: "us-west-2a", CIDR: netip.MustParsePrefix("10.0.1.0/24"), Available: true, Tags: vpc.Tags{"Name": "b"}})
			w.count("", 20*time.Second, time.Second)
			w.subs[1].Tags = vpc.Tags{vpc.TagCNIRole: "0"}
			w.count("", 20*time.Second, time.Second)
		},
		"the VPC got a block": func(w *world) {
			w.blocks = append(w.blocks, netip.MustParsePrefix("10.1.0.0/16"))
			w.count("", 20*time.Second, time.Second)
		},
		"no pod waited for a while": func(w *world) {
			w.state.Withdraw(key(0))
			w.count("", 2*time.Minute, time.Second)
			w.add(5, 6)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := starved(t)
			w.count("", 20*time.Minute, time.Second)
			news(w)
			if n := w.count(pool.ReadSubnets, time.Minute, 500*time.Millisecond); n < 12 || n > 15 {
				t.Errorf("%d reads in the minute after", n)
			}
		})
	}
}

// EC2 promises no order.
func TestSubnetsInAnotherOrderAreNoNews(t *testing.T) {
	w := starved(t)
	w.subs = append(w.subs, vpc.Subnet{ID: "subnet-b", VPC: "vpc-1", Zone: "us-west-2a", CIDR: netip.MustParsePrefix("10.0.1.0/24"), Available: true})
	w.count("", 20*time.Minute, time.Second)
	n := 0
	for range 60 {
		slices.Reverse(w.subs)
		n += w.count(pool.ReadSubnets, 10*time.Second, time.Second)
	}
	if n > 50 {
		t.Errorf("%d reads in ten minutes of a long wait", n)
	}
}

// Other nodes take and give back addresses all day: a count that moves is no news.
func TestCountsOfFullSubnetsThatMoveAreNoNews(t *testing.T) {
	w := starved(t)
	w.subs = append(w.subs, vpc.Subnet{ID: "subnet-b", VPC: "vpc-1", Zone: "us-west-2a", CIDR: netip.MustParsePrefix("10.0.1.0/24"), Available: true})
	w.count("", 20*time.Minute, time.Second)
	n := 0
	for i := range 60 {
		w.subs[1].Free = i
		n += w.count(pool.ReadSubnets, 10*time.Second, time.Second)
	}
	if n > 50 {
		t.Errorf("%d reads in ten minutes of a long wait", n)
	}
}

// A block was associated with the VPC and a subnet made in it: its addresses are not translated until somebody looks at
// the list of blocks, so the node looks as soon as it sees the subnet, and again while metadata lags.
func TestSubnetOutsideTheKnownBlocksMakesTheNodeReadThem(t *testing.T) {
	w := newWorld(t, nil)
	w.settle()
	block := netip.MustParsePrefix("10.1.0.0/16")
	w.subs = append(w.subs, vpc.Subnet{ID: "subnet-b", VPC: "vpc-1", Zone: "us-west-2a", CIDR: netip.MustParsePrefix("10.1.0.0/24"), Free: 100, Available: true})
	read := pool.Action{Kind: pool.ReadSubnets, Key: "read-subnets"}
	w.state.Begin(read, w.now)
	w.state.Finish(read, w.perform(read), w.now)
	if text := w.step(); !strings.Contains(text, "read-vpc: block-unknown") {
		t.Fatalf("the blocks are not read: %s", text)
	}
	if n := w.count(pool.ReadVPC, 3*time.Second, 100*time.Millisecond); n < 2 {
		t.Errorf("read %d times while metadata lags", n)
	}
	w.blocks = append(w.blocks, block)
	w.count("", 2*time.Second, 100*time.Millisecond)
	if got := w.state.Instance.VPCCIDRs; len(got) != 2 || got[1] != block {
		t.Errorf("blocks %v", got)
	}
	if n := w.count(pool.ReadVPC, time.Minute, time.Second); n > 7 {
		t.Errorf("read %d times in the minute after", n)
	}
}

// A block that metadata does not show any more is forgotten, and an empty answer is not believed.
func TestBlocksOfTheVPCAreFollowed(t *testing.T) {
	w := newWorld(t, nil)
	first, second := netip.MustParsePrefix("10.0.0.0/16"), netip.MustParsePrefix("10.9.0.0/16")
	for _, tc := range []struct {
		name        string
		shown, want []netip.Prefix
	}{
		{"a block more", []netip.Prefix{first, second}, []netip.Prefix{first, second}},
		{"another order", []netip.Prefix{second, first}, []netip.Prefix{first, second}},
		{"none", nil, []netip.Prefix{first, second}},
		{"a block less", []netip.Prefix{first}, []netip.Prefix{first}},
	} {
		w.blocks = tc.shown
		w.count("", 11*time.Second, time.Second)
		if got := w.state.Instance.VPCCIDRs; len(got) != len(tc.want) || got[0] != tc.want[0] {
			t.Errorf("%s: %v, want %v", tc.name, got, tc.want)
		}
	}
}

// The node has all its interfaces, and what the subnet's count promised is taken: the count is read again, since other nodes
// give addresses back.
func TestPodsOfANodeWithAllItsInterfacesSeeThatTheSubnetHasRoomAgain(t *testing.T) {
	w := newWorld(t, func(c *pool.Config) { c.WarmENI, c.WarmIP, c.MaxENI = 0, 1, 1 })
	w.subs[0].Free = 5
	w.add(0, 8)
	w.settle()
	if tally := w.state.Tally(); tally.Waiting != 3 {
		t.Fatalf("tally %+v", tally)
	}
	w.subs[0].Free = 100
	w.count("", 10*time.Second, time.Second)
	if tally := w.state.Tally(); tally.Waiting != 0 {
		t.Errorf("tally %+v: %s", tally, w.plan())
	}
}

// The story's half a minute, of which the runtime takes up to a quarter: see searchFirst.
func TestSubnetThatIsMadeAfterAWaitIsUsedWithinSeconds(t *testing.T) {
	for _, tc := range []struct{ waited, most time.Duration }{
		{time.Minute, 6 * time.Second},
		{4 * time.Minute, 11 * time.Second},
		{time.Hour, 16 * time.Second},
	} {
		t.Run(tc.waited.String(), func(t *testing.T) {
			w := starved(t)
			w.count("", tc.waited, time.Second)
			w.subs = append(w.subs, vpc.Subnet{
				ID: "subnet-b", VPC: "vpc-1", Zone: "us-west-2a", CIDR: netip.MustParsePrefix("10.0.1.0/24"), Free: 200, Available: true, Tags: vpc.Tags{vpc.TagCNIRole: "1"},
			})
			made := w.now
			for w.state.Tally().Waiting > 0 && w.now.Sub(made) < time.Minute {
				w.count("", time.Second, 100*time.Millisecond)
			}
			if took := w.now.Sub(made); took > tc.most {
				t.Errorf("the pod got its address after %s", took)
			}
		})
	}
}

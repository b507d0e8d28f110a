package ipam_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/berth-net/berth/internal/core/ipam"
	"github.com/berth-net/berth/internal/core/pool"
	"github.com/berth-net/berth/internal/core/vpc"
)

func TestHeldGrowth(t *testing.T) {
	t.Run("unschedulable", func(t *testing.T) {
		w := newWorld(t, nil)
		w.state.Unschedulable = true
		w.add(0, 1)
		w.step()
		w.want("plan", w.step(), "tag-eni eni-primary: unfinished\nblocked: node-unschedulable\n")
	})
	t.Run("provisioning disabled", func(t *testing.T) {
		w := newWorld(t, func(c *pool.Config) { c.Provision = false })
		w.enis[0].Secondary = []netip.Addr{netip.MustParseAddr("10.0.0.9")}
		w.add(0, 2)
		w.want("plan", w.settle(), "read-enis: starting\nread-subnets: starting\nblocked: starting\nblocked: provisioning-disabled\n")
		if tally := w.state.Tally(); tally.InUse != 1 || tally.Waiting != 1 {
			t.Errorf("tally %+v", tally)
		}
	})
	t.Run("node full", func(t *testing.T) {
		w := newWorld(t, nil)
		w.state.MaxPods = 110
		w.add(0, 30)
		text := w.settle()
		if b := ipam.Explain(w.state, ipam.Decide(w.state, w.now)); b.Why != ipam.NodeFull {
			t.Errorf("blocked %s\n%s", b, text)
		}
	})
	t.Run("throttled", func(t *testing.T) {
		w := newWorld(t, nil)
		w.settle()
		w.refuse[pool.CreateENI] = vpc.Throttled
		w.add(0, 12)
		w.step()
		if b := ipam.Explain(w.state, ipam.Decide(w.state, w.now)); b.Why != ipam.EC2Throttled {
			t.Errorf("blocked %s", b)
		}
	})
}

// After a reboot of the agent without its journal all slots are held for a minute: the node is not called full.
func TestAddressesInDoubtAreNotCalledAFullNode(t *testing.T) {
	w := newWorld(t, func(c *pool.Config) { c.MaxENI = 1 })
	w.settle()
	w.begin()
	w.state.Doubt(w.now)
	w.step()
	w.add(0, 1)
	if b := ipam.Explain(w.state, ipam.Decide(w.state, w.now)); b.Why != ipam.AddressesInDoubt || !strings.Contains(b.Hint, "12:01:00 UTC") {
		t.Errorf("blocked %s", b)
	}
}

// Nine addresses are held for a minute, and the node's last slot is kept for a better subnet: the pod waits for the minute.
func TestAddressesInDoubtAreNotCalledAKeptSlot(t *testing.T) {
	w := newWorld(t, func(c *pool.Config) { c.MaxENI = 2 })
	w.settle()
	w.subs[0].Free = 7
	w.begin()
	w.state.Doubt(w.now)
	w.step()
	w.add(0, 1)
	if b := ipam.Explain(w.state, ipam.Decide(w.state, w.now)); b.Why != ipam.AddressesInDoubt {
		t.Errorf("blocked %s", b)
	}
}

func TestQuotaOfTheAccountIsNotCalledAFullSubnet(t *testing.T) {
	w := newWorld(t, nil)
	w.settle()
	w.refuse[pool.CreateENI] = vpc.LimitReached
	w.add(0, 12)
	w.step()
	w.now = w.now.Add(time.Millisecond)
	if b := ipam.Explain(w.state, ipam.Decide(w.state, w.now)); b.Why != ipam.EC2Failing || !strings.Contains(b.Hint, "quota") {
		t.Errorf("blocked %s", b)
	}
}

// EC2 refuses interfaces, and each refusal leads to a read that works: the reason stays, also between the tries.
func TestReasonOfARefusalOutlastsReadsThatWork(t *testing.T) {
	w := newWorld(t, nil)
	w.settle()
	w.refuse[pool.CreateENI] = vpc.LimitReached
	w.add(0, 12)
	reasons := make(map[pool.Why]int)
	for range 300 {
		w.step()
		reasons[ipam.Decide(w.state, w.now).Blocked]++
		w.now = w.now.Add(100 * time.Millisecond)
	}
	if reasons[ipam.EC2Failing] < 250 || len(reasons) > 2 {
		t.Errorf("reasons: %v", reasons)
	}
}

// EC2 was throttled a while ago, when it was asked for something that nobody needs any more.
func TestReasonIsNotAnErrorOfLongAgo(t *testing.T) {
	w := newWorld(t, func(c *pool.Config) { c.WarmENI, c.WarmIP, c.MaxENI = 0, 1, 1 })
	w.settle()
	w.refuse[pool.AssignAddresses] = vpc.Throttled
	w.add(0, 3)
	w.step()
	if b := ipam.Decide(w.state, w.now).Blocked; b != ipam.EC2Throttled {
		t.Fatalf("blocked by %s", b)
	}
	w.state.Withdraw(key(1))
	w.state.Withdraw(key(2))
	delete(w.refuse, pool.AssignAddresses)
	w.subs[0].Free = 0
	w.now = w.now.Add(31 * time.Minute)
	w.settle()
	w.add(5, 7)
	w.settle()
	if b := ipam.Decide(w.state, w.now).Blocked; b != ipam.InterfacesStuck {
		t.Errorf("blocked by %s", b)
	}
}

// The addresses of somebody else's interface are not the node's to give, also when the journal is lost.
func TestFullNodeIsNotToldToWaitForAddressesOfAnotherInterface(t *testing.T) {
	w := newWorld(t, func(c *pool.Config) { c.MaxENI = 1 })
	w.state.Doubt(w.now)
	w.enis = append(w.enis, vpc.ENI{
		ID: "eni-theirs", Subnet: "subnet-primary", VPC: "vpc-1", Type: "interface", Tags: vpc.Tags{vpc.TagENINoManage: "true"},
		Secondary:  []netip.Addr{netip.MustParseAddr("10.0.0.200")},
		Attachment: &vpc.Attachment{ID: "attach-1", Instance: "i-1", DeviceIndex: 1, State: vpc.Attached},
	})
	w.add(0, 30)
	w.settle()
	if plan := ipam.Decide(w.state, w.now); plan.Blocked != ipam.NodeFull {
		t.Errorf("blocked by %s: %+v", plan.Blocked, w.state.Tally())
	}
}

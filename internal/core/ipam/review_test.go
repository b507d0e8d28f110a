package ipam_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/berth-net/berth/internal/core/ipam"
	"github.com/berth-net/berth/internal/core/pool"
	"github.com/berth-net/berth/internal/core/vpc"
)

var subnetB = vpc.Subnet{
	ID: "subnet-b", VPC: instance.VPC, Zone: instance.Zone, CIDR: netip.MustParsePrefix("10.1.0.0/20"), Free: 4000, Available: true,
	Tags: vpc.Tags{vpc.TagCNIRole: "1"},
}

// An agent restarts while EC2 does not answer. A prefix of which a pod has an address is not in metadata any more: its other
// addresses are in doubt like those of any other.
func TestRule2RestOfAPrefixThatMetadataOmitsIsNotGivenOut(t *testing.T) {
	w := newWorld(t, func(c *pool.Config) { c.Prefixes, c.MaxENI = true, 1 })
	roomy(w)
	w.add(0, 1)
	w.settle()
	w.restart()
	w.refuse[pool.ReadENIs] = vpc.Throttled
	w.metadata(vpc.MetadataENI{ID: "eni-primary", Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.4")}})
	w.state.Configured("eni-primary", true)
	if got := w.add(10, 12); got != 0 || !w.state.Ready() {
		t.Errorf("%d pods got an address of a prefix that nothing confirms", got)
	}
}

// Custom networking in a subnet that IAM does not let us read, and that has no prefix left: single addresses are asked for.
func TestFragmentedSubnetThatMayNotBeReadIsNoCallStorm(t *testing.T) {
	w := newWorld(t, func(c *pool.Config) { c.CustomNetworking, c.Prefixes = true, true })
	w.refuse[pool.ReadSubnets] = vpc.NotAuthorized
	w.refusePrefixes = true
	w.state.SetCustom(pool.Custom{Name: "default", Found: true, Subnet: "subnet-pods"})
	w.add(0, 3)
	var asked []string
	for range 200 {
		for line := range strings.Lines(w.step()) {
			if strings.HasPrefix(line, "create-eni") {
				asked = append(asked, line)
			}
		}
		w.now = w.now.Add(50 * time.Millisecond)
	}
	if len(asked) > 3 {
		t.Errorf("%d interfaces were asked for: %q", len(asked), asked)
	}
	if tally := w.state.Tally(); tally.Waiting > 0 {
		t.Errorf("%+v", tally)
	}
}

// In a reserved subnet without a whole /28 single addresses are named: an interface's own is none of its others.
func TestInterfaceNamesEachAddressOnce(t *testing.T) {
	w := newWorld(t, inPrefixes)
	w.state.MaxPods = 29
	busy(w, 2)
	w.reserved = []vpc.Reservation{{ID: "scr-1", Subnet: "subnet-primary", CIDR: netip.MustParsePrefix("10.0.2.0/28"), Type: vpc.ReservedForPrefixes}}
	w.settle()
	w.add(0, 12)
	made := 0
	for range 200 {
		plan := ipam.Decide(w.state, w.now)
		for _, a := range plan.Actions {
			if a.Create == nil {
				continue
			}
			made++
			if slices.Contains(a.Create.Want.Addrs, a.Create.Primary) {
				t.Fatalf("%s is named twice: %v", a.Create.Primary, a.Create.Want.Addrs)
			}
		}
		w.step()
	}
	if made == 0 {
		t.Error("no interface is made")
	}
}

// A subnet of the zone has IPv6 addresses only: it lies outside of no IPv4 block, and metadata is not asked in a loop.
func TestSubnetWithoutIPv4IsOutsideOfNoBlock(t *testing.T) {
	w := newWorld(t, nil)
	w.subs = append(w.subs, vpc.Subnet{ID: "subnet-6", VPC: "vpc-1", Zone: "us-west-2a", Available: true, Tags: vpc.Tags{vpc.TagCNIRole: "1"}})
	w.settle()
	if n := w.count(pool.ReadVPC, time.Minute, 250*time.Millisecond); n > 7 {
		t.Errorf("metadata was asked %d times in a minute", n)
	}
	w.subs[0].Free = 0
	w.add(0, 30)
	w.settle()
	if b := ipam.Explain(w.state, ipam.Decide(w.state, w.now)); strings.Contains(b.String(), "invalid") {
		t.Errorf("%s", b)
	}
}

// The subnet has no prefix left, and the node has more than its target in two prefixes that no pod uses: they do not go at once
// for a target of five addresses, which single ones would then have to fill.
func TestIdlePrefixesOfAFragmentedSubnetAreNotReplacedBySingleAddresses(t *testing.T) {
	w := newWorld(t, func(c *pool.Config) { c.Prefixes, c.WarmIP = true, 5 })
	roomy(w)
	w.state.MaxPods = 110
	w.add(0, 26)
	w.settle()
	w.refusePrefixes = true
	w.add(26, 33)
	w.settle()
	w.del(0, 33)
	if n := w.count(pool.AssignAddresses, 3*time.Minute, time.Second); n > 0 {
		t.Errorf("%d assignments without a pod: %+v", n, w.state.Tally())
	}
	if tally := w.state.Tally(); tally.Free < 5 || tally.Free > 20 {
		t.Errorf("%+v", tally)
	}
}

// EC2 does not know the security group of an ENIConfig: that is said, not that the subnet is full.
func TestMissingGroupIsNotCalledAFullSubnet(t *testing.T) {
	w := newWorld(t, nil)
	w.settle()
	w.refuse[pool.CreateENI] = vpc.NotFound
	w.add(0, 12)
	w.settleFor(time.Second)
	if b := ipam.Explain(w.state, ipam.Decide(w.state, w.now)); b.Why != ipam.EC2Failing {
		t.Errorf("blocked %s", b)
	}
	if p := ipam.Problems(w.state); len(p) != 1 || p[0].Why != ipam.EC2Failing {
		t.Errorf("problems %v", p)
	}
}

// EC2 refuses interfaces in one subnet for good: another one with room serves the pods.
func TestSubnetThatRefusesInterfacesDoesNotStopAnother(t *testing.T) {
	for _, code := range []vpc.Code{vpc.NotAuthorized, vpc.Invalid, vpc.NotFound} {
		t.Run(string(code), func(t *testing.T) {
			w := newWorld(t, nil)
			w.subs = append(w.subs, subnetB)
			w.refuseIn = map[vpc.SubnetID]vpc.Code{"subnet-b": code}
			w.settle()
			w.add(0, 12)
			w.settleFor(3 * time.Second)
			if tally := w.state.Tally(); tally.Waiting > 0 {
				t.Errorf("%+v; %s", tally, ipam.Explain(w.state, ipam.Decide(w.state, w.now)))
			}
		})
	}
}

// The security groups cannot be read: a subnet where they do not matter serves the pods.
func TestGroupsThatCannotBeReadDoNotStopAnotherSubnet(t *testing.T) {
	w := newWorld(t, nil)
	w.subs = append(w.subs, subnetB)
	w.refuse[pool.ReadGroups] = vpc.Internal
	w.settleFor(time.Second)
	w.add(0, 12)
	w.settleFor(5 * time.Second)
	if tally := w.state.Tally(); tally.Waiting > 0 {
		t.Errorf("%+v; %s", tally, ipam.Explain(w.state, ipam.Decide(w.state, w.now)))
	}
}

// An interface is being made when custom networking names another subnet: it is not attached, and no pod waits for it.
func TestInterfaceThatIsBarredBeforeItIsAttachedIsNotWaitedFor(t *testing.T) {
	w := customWorld(t)
	w.state.SetCustom(pool.Custom{Name: "default", Found: true, Subnet: "subnet-primary"})
	w.refuse[pool.AttachENI] = vpc.Throttled
	w.add(0, 3)
	w.settleFor(time.Second)
	w.state.SetCustom(pool.Custom{Name: "default", Found: true, Subnet: "subnet-pods"})
	delete(w.refuse, pool.AttachENI)
	w.settleFor(5 * time.Second)
	for _, e := range w.attached() {
		if e.Subnet == "subnet-primary" && e.ID != "eni-primary" {
			t.Errorf("%s was attached", e.ID)
		}
	}
	if tally := w.state.Tally(); tally.Waiting > 0 {
		t.Errorf("%+v", tally)
	}
}

// MAX_ENI limits a node, not its type.
func TestMaxENIIsNamedWhereItFillsTheNode(t *testing.T) {
	w := newWorld(t, func(c *pool.Config) { c.MaxENI = 1 })
	w.state.MaxPods = 29
	w.add(0, 12)
	w.settle()
	b := ipam.Explain(w.state, ipam.Decide(w.state, w.now))
	if b.Why != ipam.NodeFull || !strings.Contains(b.String(), "MAX_ENI") {
		t.Errorf("blocked %s", b)
	}
	if p := ipam.Problems(w.state); len(p) != 1 || !strings.Contains(p[0].Message, "MAX_ENI") {
		t.Errorf("problems %v", p)
	}
}

// All slots are taken by single addresses since no subnet has a prefix: the node is not said to have used 432.
func TestNodeFullOfSingleAddressesIsNotSaidToHavePrefixes(t *testing.T) {
	w := newWorld(t, inPrefixes)
	roomy(w)
	w.state.MaxPods = 110
	w.refusePrefixes = true
	w.add(0, 40)
	w.settleFor(5 * time.Second)
	b := ipam.Explain(w.state, ipam.Decide(w.state, w.now))
	if b.Why != ipam.NodeFull || strings.Contains(b.Detail, "432") || !strings.Contains(b.Detail, "27") {
		t.Errorf("blocked %s", b)
	}
}

// Custom networking is turned off on a node that may not read subnets: its primary interface serves again.
func TestPrimaryInterfaceServesAgainWithoutCustomNetworking(t *testing.T) {
	for _, onlyMetadata := range []bool{false, true} {
		t.Run(fmt.Sprint(onlyMetadata), func(t *testing.T) {
			w := newWorld(t, func(c *pool.Config) { c.CustomNetworking, c.MaxENI = true, 1 })
			w.refuse[pool.ReadSubnets] = vpc.NotAuthorized
			w.settle()
			w.enis[0].Secondary = []netip.Addr{netip.MustParseAddr("10.0.0.50")}
			w.state.Config.CustomNetworking = false
			if onlyMetadata {
				w.state.Config.ReadEC2, w.state.Config.Provision = false, false
			}
			w.restart()
			w.settleFor(10 * time.Second)
			w.add(0, 1)
			w.settleFor(2 * time.Minute)
			if tally := w.state.Tally(); tally.Waiting > 0 {
				t.Errorf("%+v", tally)
			}
		})
	}
}

// A reservation that EC2 refuses for a quota is not asked for by every node twice a minute.
func TestReservationThatIsRefusedIsNoCallStorm(t *testing.T) {
	for _, code := range []vpc.Code{vpc.LimitReached, vpc.NotFound, vpc.Invalid} {
		w := newWorld(t, func(c *pool.Config) { c.Prefixes, c.ReservePrefixes = true, true })
		roomy(w)
		w.refuse[pool.ReservePrefixes] = code
		if n := w.count(pool.ReservePrefixes, 10*time.Minute, time.Second); n > 2 {
			t.Errorf("%s: asked %d times in ten minutes", code, n)
		}
	}
}

// An interface that can never be attached does not stand in the way of room on one that is there.
func TestInterfaceThatIsNeverAttachedDoesNotStopAnother(t *testing.T) {
	for _, code := range []vpc.Code{vpc.NotAuthorized, vpc.LimitReached} {
		w := newWorld(t, func(c *pool.Config) { c.WarmENI, c.WarmIP = 0, 1 })
		w.subs = append(w.subs, subnetB)
		w.subs[0].Free = 2
		w.refuse[pool.AttachENI] = code
		w.settle()
		w.add(0, 6)
		w.settleFor(10 * time.Second)
		w.subs[0].Free = 100
		w.settleFor(2 * time.Minute)
		if tally := w.state.Tally(); tally.Waiting > 0 {
			t.Errorf("%s: %+v, %d interfaces; %s", code, tally, len(w.enis), ipam.Explain(w.state, ipam.Decide(w.state, w.now)))
		}
	}
}

// Tags select six security groups. Where the account's quota is raised they are taken; where it is not, another subnet serves the
// pods, EC2 is not asked again and again, and a quota that is raised is noticed.
func TestQuotaOfGroupsIsWhatEC2Says(t *testing.T) {
	for _, quota := range []int{5, 6} {
		w := newWorld(t, nil)
		w.mostGroups = quota
		w.subs = append(w.subs, subnetB)
		for i := range 6 {
			w.groups = append(w.groups, vpc.SecurityGroup{ID: vpc.SecurityGroupID(fmt.Sprint("sg-", i)), VPC: "vpc-1", Tags: vpc.Tags{vpc.TagCNIRole: "1"}})
		}
		w.add(0, 12)
		w.settleFor(10 * time.Second)
		if tally := w.state.Tally(); tally.Waiting > 0 || (w.enis[1].Subnet == "subnet-b") != (quota == 6) {
			t.Errorf("quota %d: %+v in %s", quota, tally, w.enis[1].Subnet)
		}
		w.add(12, 20)
		if n := w.count(pool.CreateENI, 20*time.Minute, time.Second); n > 2 {
			t.Errorf("quota %d: %d interfaces were asked for", quota, n)
		}
	}
	w := newWorld(t, nil)
	w.mostGroups = 5
	w.subs[0].Free = 12
	w.subs = append(w.subs, subnetB)
	for i := range 6 {
		w.groups = append(w.groups, vpc.SecurityGroup{ID: vpc.SecurityGroupID(fmt.Sprint("sg-", i)), VPC: "vpc-1", Tags: vpc.Tags{vpc.TagCNIRole: "1"}})
	}
	w.add(0, 20)
	w.settleFor(time.Minute)
	w.mostGroups = 6
	w.count("", 75*time.Minute, time.Second)
	if tally := w.state.Tally(); tally.Waiting > 0 {
		t.Errorf("the quota was raised an hour ago: %+v, %d interfaces; %s", tally, len(w.enis), ipam.Explain(w.state, ipam.Decide(w.state, w.now)))
	}
}

// Pods wait since tags select too many groups: the tag that somebody takes off is noticed without a restart.
func TestGroupThatIsUntaggedIsNoticedWhilePodsWait(t *testing.T) {
	w := newWorld(t, nil)
	w.mostGroups = 5
	w.subs[0].Free = 12
	w.subs = append(w.subs, subnetB)
	for i := range 6 {
		w.groups = append(w.groups, vpc.SecurityGroup{ID: vpc.SecurityGroupID(fmt.Sprint("sg-", i)), VPC: "vpc-1", Tags: vpc.Tags{vpc.TagCNIRole: "1"}})
	}
	w.add(0, 20)
	w.settleFor(5 * time.Second)
	w.groups = w.groups[:5]
	w.settleFor(80 * time.Second)
	if tally := w.state.Tally(); tally.Waiting > 0 {
		t.Errorf("%+v; %s", tally, ipam.Explain(w.state, ipam.Decide(w.state, w.now)))
	}
}

// Only a subnet whose security groups cannot be read has room: the pods are told of the call that fails.
func TestGroupsThatCannotBeReadAreTheReasonThatPodsWait(t *testing.T) {
	w := newWorld(t, nil)
	w.subs[0].Free = 9
	w.subs = append(w.subs, subnetB)
	w.refuse[pool.ReadGroups] = vpc.Internal
	w.settleFor(time.Second)
	w.add(0, 12)
	w.settleFor(10 * time.Second)
	if b := ipam.Explain(w.state, ipam.Decide(w.state, w.now)); b.Why != ipam.EC2Failing || !strings.Contains(b.Detail, "read-groups") {
		t.Errorf("blocked %s", b)
	}
}

// A prefix and two single addresses that stood in were idle, sixteen more than the target. The prefix went, so that the subnet
// had one again, which the node then took for its target: over and over.
func TestSingleAddressesThatStoodInGoBeforeAPrefix(t *testing.T) {
	w := newWorld(t, func(c *pool.Config) { c.Prefixes, c.WarmIP = true, 2 })
	roomy(w)
	w.state.MaxPods = 110
	w.add(0, 16)
	w.settle()
	w.add(16, 20)
	w.settle()
	w.refusePrefixes = true
	w.add(20, 32)
	w.settleFor(2 * time.Minute)
	w.del(16, 32)
	w.now = w.now.Add(time.Minute)
	text := ""
	for range 300 {
		text += w.step()
		w.now = w.now.Add(time.Second)
	}
	if strings.Contains(text, "/28") || !strings.Contains(text, "unassign-addresses") || w.state.Tally().Free != 16 {
		t.Errorf("%+v after %s", w.state.Tally(), text)
	}
}

// Amazon's managed policy for its CNI does not allow DescribeSecurityGroups. Each node asked every minute, for ever.
func TestSecurityGroupsThatIAMDoesNotShowAreAskedForSeldom(t *testing.T) {
	w := newWorld(t, nil)
	w.subs[0].Free = 0
	w.subs = append(w.subs, subnetB)
	w.refuse[pool.ReadGroups] = vpc.NotAuthorized
	w.add(0, 12)
	if n := w.count(pool.ReadGroups, time.Hour, time.Second); n == 0 || n > 6 {
		t.Errorf("%d times in an hour", n)
	}
	if tally := w.state.Tally(); tally.InUse != 12 {
		t.Errorf("%+v", tally)
	}
}

package ipam_test

import (
	"strings"
	"testing"
	"time"

	"github.com/berth-net/berth/internal/core/ipam"
	"github.com/berth-net/berth/internal/core/vpc"
)

// count lets time pass in small steps and counts the actions of one kind that are begun.
func (w *world) count(kind ipam.Kind, d, step time.Duration) int {
	w.t.Helper()
	n := 0
	for end := w.now.Add(d); w.now.Before(end); w.now = w.now.Add(step) {
		for line := range strings.Lines(w.step()) {
			if strings.HasPrefix(line, string(kind)+" ") || strings.HasPrefix(line, string(kind)+":") {
				n++
			}
		}
	}
	return n
}

// IAM denies DescribeSubnets and the node's own subnet is full: EC2 is not asked for an interface again and again, and is
// asked again later.
func TestFullSubnetThatMayNotBeReadIsNoCallStorm(t *testing.T) {
	w := newWorld(t, nil)
	w.refuse[ipam.ReadSubnets] = vpc.NotAuthorized
	w.settle()
	w.add(0, 12)
	w.refuse[ipam.CreateENI] = vpc.SubnetFull
	if n := w.count(ipam.CreateENI, 25*time.Second, 200*time.Millisecond); n == 0 || n > 2 {
		t.Errorf("EC2 was asked for an interface %d times in 25 s", n)
	}
	if b := w.state.Explain(w.state.Plan(w.now)); b.Why != ipam.SubnetsFull || !strings.Contains(b.String(), "ec2:DescribeSubnets") {
		t.Errorf("blocked %s", b)
	}
	delete(w.refuse, ipam.CreateENI)
	if n := w.count(ipam.CreateENI, 10*time.Second, 200*time.Millisecond); n == 0 || n > 2 {
		t.Errorf("once there is room again, EC2 was asked %d times", n)
	}
}

// Somebody detaches an interface of an excluded subnet while a pod lives on it: EC2 is not read without a pause.
func TestExcludedInterfaceThatVanishedIsNoCallStorm(t *testing.T) {
	w := newWorld(t, nil)
	w.settle()
	w.add(0, 5)
	w.settle()
	w.subs[0].Tags = vpc.Tags{vpc.TagCNIRole: "0"}
	w.enis[0].Secondary = nil // the primary's free addresses go with it
	for i, e := range w.enis {
		if e.ID == "eni-1" {
			w.enis[i].Attachment = nil
		}
	}
	w.state.WantRead(w.now)
	w.count("", 11*time.Minute, time.Second)
	if n := w.count(ipam.ReadENIs, time.Minute, time.Second); n > 2 {
		t.Errorf("%d reads of the interfaces in a minute", n)
	}
}

// The record of a creation did not become durable (the disk is full), so the call was not made: its repetition is recorded too.
func TestRepeatedCreationIsRecordedBeforeItsCall(t *testing.T) {
	w := newWorld(t, nil)
	w.settle()
	w.add(0, 5)
	first := w.state.Plan(w.now).Actions[0]
	w.state.Begin(first, w.now)
	w.state.Finish(first, ipam.Result{Err: &vpc.Error{Code: vpc.Throttled}}, w.now)
	w.now = w.now.Add(time.Second)
	again := w.state.Plan(w.now).Actions[0]
	if again.Key != first.Key {
		t.Fatalf("%s, then %s", first, again)
	}
	if records := w.state.Begin(again, w.now); len(records) != 1 || records[0].Pending == nil {
		t.Errorf("records of the repetition: %+v", records)
	}
}

// A year of WARM_IP_TARGET: addresses come and go, and the journal's snapshot does not grow with them.
func TestAddressesGivenBackAreForgottenInTheEnd(t *testing.T) {
	w := newWorld(t, func(c *ipam.Config) { c.WarmENI, c.WarmIP = 0, 1 })
	w.settle()
	for i := range 8 {
		w.add(i*6, i*6+6)
		w.settle()
		w.del(i*6, i*6+6)
		w.now = w.now.Add(20 * time.Minute)
		w.settle()
	}
	unassigned := 0
	for _, r := range w.state.Snapshot(w.now) {
		if r.Unassign != nil {
			unassigned++
		}
	}
	if unassigned > 8 {
		t.Errorf("the snapshot remembers %d addresses that were given back", unassigned)
	}
}

// A read that was asked before an interface was seen detached still shows it attached: it gives no address, and is deleted.
func TestLaggingReadDoesNotBringADetachedInterfaceBack(t *testing.T) {
	w := newWorld(t, nil)
	w.add(0, 15)
	w.settle()
	w.settle()
	w.del(0, 15)
	w.now = w.now.Add(2 * time.Minute)
	w.step()
	lagging := w.attached()
	for i := range lagging {
		a := *lagging[i].Attachment
		lagging[i].Attachment = &a
	}
	w.want("detach", w.step(), "detach-eni eni-2: interface-empty\n")
	w.want("look", w.step(), "read-eni eni-2: unfinished\n")
	read := ipam.Action{Kind: ipam.ReadENIs, Key: "read-enis"}
	w.state.Begin(read, w.now)
	w.state.Finish(read, ipam.Result{ENIs: lagging, AskedAt: w.now}, w.now)
	if e := w.state.ENI("eni-2"); e.Phase != ipam.Detached || e.Configured {
		t.Errorf("the interface is %s, configured %t", e.Phase, e.Configured)
	}
	w.now = w.now.Add(time.Second)
	if text := w.step(); !strings.HasPrefix(text, "delete-eni eni-2: unfinished\n") {
		t.Errorf("then %s", text)
	}
}

// EC2 says that an interface takes no more (prefixes fill its slots): the pods get another interface.
func TestInterfaceThatTakesNoMoreIsNotWaitedFor(t *testing.T) {
	w := newWorld(t, func(c *ipam.Config) { c.WarmENI, c.WarmIP = 0, 1 })
	w.refuse[ipam.AssignAddresses] = vpc.LimitReached
	w.add(0, 3)
	w.count("", 3*time.Second, 100*time.Millisecond)
	if tally := w.state.Tally(); tally.InUse != 3 {
		t.Errorf("tally %+v\n%s", tally, w.state.Explain(w.state.Plan(w.now)))
	}
}

// Somebody unassigns a free address behind the agent's back: it is believed after two reads half a minute apart, not
// after two resyncs.
func TestAddressThatEC2LeavesOutIsReadAgainSoon(t *testing.T) {
	w := newWorld(t, nil)
	w.settle()
	lost := w.enis[0].Secondary[0]
	w.enis[0].Secondary = w.enis[0].Secondary[1:]
	w.state.WantRead(w.now)
	if n := w.count(ipam.ReadENIs, 2*time.Minute, time.Second); n != 2 {
		t.Errorf("%d reads of the interfaces", n)
	}
	if _, known := w.state.ENI("eni-primary").Addresses[lost]; known {
		t.Errorf("%s still takes a slot", lost)
	}
}

// After a reboot of the agent without its journal all slots are held for a minute: the node is not called full.
func TestAddressesInDoubtAreNotCalledAFullNode(t *testing.T) {
	w := newWorld(t, func(c *ipam.Config) { c.MaxENI = 1 })
	w.settle()
	limits, _ := vpc.Limits("m5.large")
	w.state = ipam.New(w.state.Config, instance, limits, "n2", w.now)
	w.state.Doubt(w.now)
	w.step()
	w.add(0, 1)
	if b := w.state.Explain(w.state.Plan(w.now)); b.Why != ipam.AddressesInDoubt || !strings.Contains(b.Hint, "12:01:00 UTC") {
		t.Errorf("blocked %s", b)
	}
}

func TestQuotaOfTheAccountIsNotCalledAFullSubnet(t *testing.T) {
	w := newWorld(t, nil)
	w.settle()
	w.refuse[ipam.CreateENI] = vpc.LimitReached
	w.add(0, 12)
	w.step()
	w.now = w.now.Add(time.Millisecond)
	if b := w.state.Explain(w.state.Plan(w.now)); b.Why != ipam.EC2Failing || !strings.Contains(b.Hint, "quota") {
		t.Errorf("blocked %s", b)
	}
}

func TestUnassignmentThatIAMDeniesLosesNoAddress(t *testing.T) {
	w := newWorld(t, func(c *ipam.Config) { c.WarmENI, c.WarmIP = 0, 1 })
	w.add(0, 8)
	w.settle()
	w.del(0, 8)
	w.refuse[ipam.UnassignAddresses] = vpc.NotAuthorized
	if n := w.count(ipam.UnassignAddresses, 10*time.Minute, time.Second); n == 0 || n > 12 {
		t.Errorf("%d tries in 10 minutes", n)
	}
	if tally := w.state.Tally(); tally.Leaving != 0 || tally.Free != 9 {
		t.Errorf("tally %+v", tally)
	}
}

// Another node left an interface without a time, and IAM denies to tag it: once an hour is enough.
func TestLeakedInterfaceThatMayNotBeTaggedIsLeftAlone(t *testing.T) {
	w := newWorld(t, nil)
	w.settle()
	w.now = w.now.Add(2 * time.Minute)
	read := ipam.Action{Kind: ipam.ReadLeaked, Key: "read-leaked"}
	w.state.Begin(read, w.now)
	w.state.Finish(read, ipam.Result{AskedAt: w.now, ENIs: []vpc.ENI{{ID: "eni-lost", Description: "aws-K8S-i-9", Tags: vpc.Tags{vpc.TagENIInstance: "i-9"}}}}, w.now)
	w.refuse[ipam.TagENI] = vpc.NotAuthorized
	if n := w.count(ipam.TagENI, 20*time.Minute, time.Second); n != 1 {
		t.Errorf("%d tries in 20 minutes", n)
	}
}

func TestLeakedInterfacesAreOldOnesOfOurs(t *testing.T) {
	start := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	old, young := start.Add(-time.Hour).Format(time.RFC3339), start.Add(time.Minute).Format(time.RFC3339)
	for name, tc := range map[string]struct {
		e    vpc.ENI
		want int
	}{
		"ours":             {vpc.ENI{ID: "eni-x", Description: "aws-K8S-i-9", Tags: vpc.Tags{vpc.TagENICreatedAt: old}}, 1},
		"too young":        {vpc.ENI{ID: "eni-x", Description: "aws-K8S-i-9", Tags: vpc.Tags{vpc.TagENICreatedAt: young}}, 0},
		"somebody else's":  {vpc.ENI{ID: "eni-x", Description: "database", Tags: vpc.Tags{vpc.TagENICreatedAt: old}}, 0},
		"attached":         {vpc.ENI{ID: "eni-x", Description: "aws-K8S-i-9", Attachment: &vpc.Attachment{}, Tags: vpc.Tags{vpc.TagENICreatedAt: old}}, 0},
		"of this node":     {vpc.ENI{ID: "eni-primary", Description: "aws-K8S-i-1", Tags: vpc.Tags{vpc.TagENICreatedAt: old}}, 0},
		"no time, not now": {vpc.ENI{ID: "eni-x", Description: "aws-K8S-i-9"}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil)
			w.settle()
			w.now = w.now.Add(2 * time.Minute)
			read := ipam.Action{Kind: ipam.ReadLeaked, Key: "read-leaked"}
			w.state.Begin(read, w.now)
			w.state.Finish(read, ipam.Result{AskedAt: w.now, ENIs: []vpc.ENI{tc.e}}, w.now)
			if got := strings.Count(w.state.Plan(w.now).String(), "delete-leaked-eni"); got != tc.want {
				t.Errorf("%d deletions, want %d", got, tc.want)
			}
		})
	}
}

// An interface that somebody attached by hand is used, but may have to outlive the instance.
func TestInterfaceOfSomebodyElseIsNotMadeToEndWithTheInstance(t *testing.T) {
	w := newWorld(t, nil)
	w.enis = append(w.enis, vpc.ENI{ID: "eni-theirs", Subnet: "subnet-primary", Type: "interface", Attachment: &vpc.Attachment{ID: "attach-t", Instance: "i-1", DeviceIndex: 1, State: vpc.Attached}})
	if text := w.settle(); strings.Contains(text, "set-delete-on-termination") {
		t.Errorf("plans:\n%s", text)
	}
}

func TestDetachmentThatHangsIsLookedAtMoreAndMoreSeldom(t *testing.T) {
	w := newWorld(t, nil)
	w.add(0, 15)
	w.settle()
	w.settle()
	w.del(0, 15)
	w.now = w.now.Add(2 * time.Minute)
	w.step()
	hanging := *w.eni("eni-2").Attachment
	hanging.State = vpc.Detaching
	w.step()
	w.eni("eni-2").Attachment = &hanging
	if n := w.count(ipam.ReadENI, time.Hour, time.Second); n > 80 {
		t.Errorf("%d looks in an hour", n)
	}
}

// MAX_ENI counts every interface of the node, as it does for the existing CNI.
func TestMaxENICountsUnmanagedInterfaces(t *testing.T) {
	w := newWorld(t, func(c *ipam.Config) { c.MaxENI = 2 })
	w.enis = append(w.enis, vpc.ENI{
		ID: "eni-theirs", Subnet: "subnet-primary", Type: "interface", Tags: vpc.Tags{vpc.TagENINoManage: "true"},
		Attachment: &vpc.Attachment{ID: "attach-t", Instance: "i-1", DeviceIndex: 1, State: vpc.Attached},
	})
	w.add(0, 12)
	if text := w.settle(); strings.Contains(text, "create-eni") {
		t.Errorf("plans:\n%s", text)
	}
	if b := w.state.Explain(w.state.Plan(w.now)); b.Why != ipam.NodeFull || !strings.Contains(b.String(), "all 9 address slots") {
		t.Errorf("blocked %s", b)
	}
}

// Without EC2, addresses that somebody assigns for a waiting pod are found within seconds.
func TestPodInMetadataOnlyModeGetsAnAddressSoon(t *testing.T) {
	w := newWorld(t, func(c *ipam.Config) { c.ReadEC2, c.Provision = false, false })
	w.settle()
	w.add(0, 1)
	if n := w.count(ipam.ReadMetadata, time.Minute, time.Second); n < 10 || n > 13 {
		t.Errorf("%d walks in a minute", n)
	}
}

// Somebody detaches an interface of theirs that the agent had tagged, to use it elsewhere: it is not attached again.
func TestInterfaceOfSomebodyElseThatWasDetachedIsNotAttachedAgain(t *testing.T) {
	w := newWorld(t, nil)
	w.settle()
	w.enis = append(w.enis, vpc.ENI{ID: "eni-theirs", Subnet: "subnet-primary", Type: "interface", Description: "database", Tags: vpc.Tags{vpc.TagENIInstance: "i-1", vpc.TagENICluster: "demo"}})
	w.leaked = w.enis[1:]
	w.now = w.now.Add(time.Minute)
	if text := w.settle(); strings.Contains(text, "eni-theirs") {
		t.Errorf("plans:\n%s", text)
	}
}

// EC2 refuses interfaces, and each refusal leads to a read that works: the reason stays, also between the tries.
func TestReasonOfARefusalOutlastsReadsThatWork(t *testing.T) {
	w := newWorld(t, nil)
	w.settle()
	w.refuse[ipam.CreateENI] = vpc.LimitReached
	w.add(0, 12)
	reasons := make(map[ipam.Why]int)
	for range 300 {
		w.step()
		reasons[w.state.Plan(w.now).Blocked]++
		w.now = w.now.Add(100 * time.Millisecond)
	}
	if reasons[ipam.EC2Failing] < 250 || len(reasons) > 2 {
		t.Errorf("reasons: %v", reasons)
	}
}

// EC2 was throttled a while ago, when it was asked for something that nobody needs any more.
func TestReasonIsNotAnErrorOfLongAgo(t *testing.T) {
	w := newWorld(t, func(c *ipam.Config) { c.WarmENI, c.WarmIP, c.MaxENI = 0, 1, 1 })
	w.settle()
	w.refuse[ipam.AssignAddresses] = vpc.Throttled
	w.add(0, 3)
	w.step()
	if b := w.state.Plan(w.now).Blocked; b != ipam.EC2Throttled {
		t.Fatalf("blocked by %s", b)
	}
	w.state.Withdraw(key(1))
	w.state.Withdraw(key(2))
	delete(w.refuse, ipam.AssignAddresses)
	w.subs[0].Free = 0
	w.now = w.now.Add(11 * time.Minute)
	w.settle()
	w.add(5, 7)
	w.settle()
	if b := w.state.Plan(w.now).Blocked; b != ipam.SubnetsFull {
		t.Errorf("blocked by %s", b)
	}
}

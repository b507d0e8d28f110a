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

func TestEmptyInterfaceIsFreed(t *testing.T) {
	w := newWorld(t, nil)
	w.emptied()
	// Three interfaces, 27 free: one interface's worth has to stay.
	w.want("freed", w.settle(), `
read-metadata: resync
read-vpc: resync
read-leaked: resync
read-enis: read-before-release
detach-eni eni-2: interface-empty
read-eni eni-2: unfinished
delete-eni eni-2: unfinished
detach-eni eni-1: interface-empty
read-eni eni-1: unfinished
delete-eni eni-1: unfinished
`)
	if tally := w.state.Tally(); tally.Free != 9 || len(w.state.ENIs()) != 1 {
		t.Errorf("tally %+v, %d interfaces", tally, len(w.state.ENIs()))
	}
}

// EC2 takes the detachment, reads lag, the repetition is throttled: the interface is still on its way out.
func TestThrottledRepetitionOfADetachDoesNotBringTheInterfaceBack(t *testing.T) {
	w := newWorld(t, nil)
	w.emptied()
	w.step()
	stale := *w.eni("eni-2").Attachment
	w.want("first try", w.step(), "detach-eni eni-2: interface-empty\n")
	w.eni("eni-2").Attachment = &stale // what a lagging read shows
	w.step()
	w.now = w.now.Add(10 * time.Second)
	w.refuse[pool.DetachENI] = vpc.Throttled
	if text := w.step(); !strings.Contains(text, "detach-eni eni-2: unfinished") {
		t.Fatalf("no repetition: %s", text)
	}
	if phase := w.state.ENI("eni-2").Phase; phase != pool.Detaching {
		t.Errorf("the interface is %s", phase)
	}
}

// A read that was asked before an interface was seen detached still shows it attached: it gives no address, and is deleted.
func TestLaggingReadDoesNotBringADetachedInterfaceBack(t *testing.T) {
	w := newWorld(t, nil)
	w.emptied()
	w.step()
	lagging := w.attached()
	for i := range lagging {
		a := *lagging[i].Attachment
		lagging[i].Attachment = &a
	}
	w.want("detach", w.step(), "detach-eni eni-2: interface-empty\n")
	w.want("look", w.step(), "read-eni eni-2: unfinished\n")
	read := pool.Action{Kind: pool.ReadENIs, Key: "read-enis"}
	w.state.Begin(read, w.now)
	w.state.Finish(read, pool.Result{ENIs: lagging, AskedAt: w.now}, w.now)
	if e := w.state.ENI("eni-2"); e.Phase != pool.Detached || e.Configured {
		t.Errorf("the interface is %s, configured %t", e.Phase, e.Configured)
	}
	w.now = w.now.Add(time.Second)
	if text := w.step(); !strings.HasPrefix(text, "delete-eni eni-2: unfinished\n") {
		t.Errorf("then %s", text)
	}
}

// The journal was lost, and with it the prefix that an interface had just got and the record of the pod on it; reads lagged for
// longer than an empty interface is kept. The interface was detached under the pod.
func TestInterfaceIsNotDetachedWhileALivePodsAddressIsOnNone(t *testing.T) {
	w := newWorld(t, func(c *pool.Config) { c.WarmENI, c.WarmIP = 0, 1 })
	w.enis = append(w.enis, vpc.ENI{
		ID: "eni-lagging", Subnet: "subnet-primary", VPC: "vpc-1", MAC: "2", Type: "interface", Primary: w.addr(), Tags: vpc.Tags{vpc.TagENIInstance: "i-1", vpc.TagENICluster: "demo"},
		Groups: instance.Groups, Attachment: &vpc.Attachment{ID: "attach-l", Instance: "i-1", DeviceIndex: 1, State: vpc.Attached, DeleteOnTermination: true},
	})
	w.state.Doubt(w.now)
	w.state.SetLive([]netip.Addr{netip.MustParseAddr("10.0.0.99")}, w.now)
	if n := w.count(pool.DetachENI, 5*time.Minute, time.Second); n > 0 {
		t.Errorf("detached %d times", n)
	}
	w.state.SetLive(nil, w.now)
	if n := w.count(pool.DetachENI, 5*time.Minute, time.Second); n == 0 {
		t.Error("not detached when the pod is gone")
	}
}

// The agent dies between creating and attaching an interface, and its journal with it: the interface is taken in again.
func TestOwnOrphanIsAttached(t *testing.T) {
	w := newWorld(t, nil)
	w.state.Doubt(w.now)
	w.settle()
	w.enis = append(w.enis, vpc.ENI{
		ID: "eni-orphan", Subnet: "subnet-primary", VPC: "vpc-1", MAC: "2", Type: "interface", Primary: w.addr(), Secondary: []netip.Addr{w.addr()},
		Description: "aws-K8S-i-1", Groups: instance.Groups,
		Tags: vpc.Tags{vpc.TagENIInstance: "i-1", vpc.TagENICluster: "demo", vpc.TagENIOwner: vpc.ENIOwner},
	})
	w.leaked = w.enis[1:]
	w.now = w.now.Add(time.Minute)
	if text := w.settle(); !strings.Contains(text, "attach-eni eni-orphan at 1") {
		t.Errorf("the orphan was not attached:\n%s", text)
	}
	if tally := w.state.Tally(); tally.Free != 10 {
		t.Errorf("tally %+v", tally)
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

// MAX_ENI counts every interface of the node, as it does for the existing CNI.
func TestMaxENICountsUnmanagedInterfaces(t *testing.T) {
	w := newWorld(t, func(c *pool.Config) { c.MaxENI = 2 })
	w.enis = append(w.enis, vpc.ENI{
		ID: "eni-theirs", Subnet: "subnet-primary", Type: "interface", Tags: vpc.Tags{vpc.TagENINoManage: "true"},
		Attachment: &vpc.Attachment{ID: "attach-t", Instance: "i-1", DeviceIndex: 1, State: vpc.Attached},
	})
	w.add(0, 12)
	if text := w.settle(); strings.Contains(text, "create-eni") {
		t.Errorf("plans:\n%s", text)
	}
	if b := ipam.Explain(w.state, ipam.Decide(w.state, w.now)); b.Why != ipam.NodeFull || !strings.Contains(b.String(), "all 9 address slots") {
		t.Errorf("blocked %s", b)
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
			read := pool.Action{Kind: pool.ReadLeaked, Key: "read-leaked"}
			w.state.Begin(read, w.now)
			w.state.Finish(read, pool.Result{AskedAt: w.now, ENIs: []vpc.ENI{tc.e}}, w.now)
			if got := strings.Count(ipam.Decide(w.state, w.now).String(), "delete-leaked-eni"); got != tc.want {
				t.Errorf("%d deletions, want %d", got, tc.want)
			}
		})
	}
}

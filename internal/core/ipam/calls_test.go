package ipam_test

import (
	"strings"
	"testing"
	"time"

	"github.com/berth-net/berth/internal/core/ipam"
	"github.com/berth-net/berth/internal/core/pool"
	"github.com/berth-net/berth/internal/core/vpc"
)

// EC2 answers for subnets at once and is slow with interfaces: the subnets are not asked for again and again.
func TestSubnetsAreReadOnceWhileInterfacesAreSlow(t *testing.T) {
	w := newWorld(t, nil)
	plan := ipam.Decide(w.state, w.now)
	for _, a := range plan.Actions {
		w.state.Begin(a, w.now)
		if a.Kind == pool.ReadSubnets {
			w.state.Finish(a, w.perform(a), w.now)
		}
	}
	w.want("then", w.plan(), "")
}

// IAM denies DescribeSubnets and the node's own subnet is full: EC2 is not asked for an interface again and again, and is
// asked again later.
func TestFullSubnetThatMayNotBeReadIsNoCallStorm(t *testing.T) {
	w := newWorld(t, nil)
	w.refuse[pool.ReadSubnets] = vpc.NotAuthorized
	w.settle()
	w.add(0, 12)
	w.refuse[pool.CreateENI] = vpc.SubnetFull
	if n := w.count(pool.CreateENI, 25*time.Second, 200*time.Millisecond); n == 0 || n > 2 {
		t.Errorf("EC2 was asked for an interface %d times in 25 s", n)
	}
	if b := ipam.Explain(w.state, ipam.Decide(w.state, w.now)); b.Why != ipam.SubnetsFull || !strings.Contains(b.String(), "ec2:DescribeSubnets") {
		t.Errorf("blocked %s", b)
	}
	delete(w.refuse, pool.CreateENI)
	if n := w.count(pool.CreateENI, 10*time.Second, 200*time.Millisecond); n == 0 || n > 2 {
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
	if n := w.count(pool.ReadENIs, time.Minute, time.Second); n > 2 {
		t.Errorf("%d reads of the interfaces in a minute", n)
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
	if n := w.count(pool.ReadENIs, 2*time.Minute, time.Second); n != 2 {
		t.Errorf("%d reads of the interfaces", n)
	}
	if _, known := w.state.ENI("eni-primary").Addresses[lost]; known {
		t.Errorf("%s still takes a slot", lost)
	}
}

// Another node left an interface without a time, and IAM denies to tag it: once an hour is enough.
func TestLeakedInterfaceThatMayNotBeTaggedIsLeftAlone(t *testing.T) {
	w := newWorld(t, nil)
	w.settle()
	w.now = w.now.Add(2 * time.Minute)
	read := pool.Action{Kind: pool.ReadLeaked, Key: "read-leaked"}
	w.state.Begin(read, w.now)
	w.state.Finish(read, pool.Result{AskedAt: w.now, ENIs: []vpc.ENI{{ID: "eni-lost", Description: "aws-K8S-i-9", Tags: vpc.Tags{vpc.TagENIInstance: "i-9"}}}}, w.now)
	w.refuse[pool.TagENI] = vpc.NotAuthorized
	if n := w.count(pool.TagENI, 20*time.Minute, time.Second); n != 1 {
		t.Errorf("%d tries in 20 minutes", n)
	}
}

func TestDetachmentThatHangsIsLookedAtMoreAndMoreSeldom(t *testing.T) {
	w := newWorld(t, nil)
	w.emptied()
	w.step()
	hanging := *w.eni("eni-2").Attachment
	hanging.State = vpc.Detaching
	w.step()
	w.eni("eni-2").Attachment = &hanging
	if n := w.count(pool.ReadENI, time.Hour, time.Second); n > 80 {
		t.Errorf("%d looks in an hour", n)
	}
}

// Without EC2, addresses that somebody assigns for a waiting pod are found within seconds.
func TestPodInMetadataOnlyModeGetsAnAddressSoon(t *testing.T) {
	w := newWorld(t, func(c *pool.Config) { c.ReadEC2, c.Provision = false, false })
	w.settle()
	w.add(0, 1)
	if n := w.count(pool.ReadMetadata, time.Minute, time.Second); n < 10 || n > 13 {
		t.Errorf("%d walks in a minute", n)
	}
}

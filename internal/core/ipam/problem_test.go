package ipam_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/berth-net/berth/internal/core/ipam"
	"github.com/berth-net/berth/internal/core/pool"
	"github.com/berth-net/berth/internal/core/vpc"
)

// withPodsSubnet is a world with a second subnet, which has room and which an ENIConfig may name.
func withPodsSubnet(t *testing.T, change func(*pool.Config)) *world {
	t.Helper()
	w := newWorld(t, change)
	w.subs = append(w.subs, vpc.Subnet{
		ID: "subnet-pods", VPC: instance.VPC, Zone: instance.Zone, CIDR: netip.MustParsePrefix("100.64.0.0/20"), Free: 4000, Available: true,
	})
	return w
}

// customWorld has an ENIConfig whose subnet has room.
func customWorld(t *testing.T) *world {
	t.Helper()
	return withPodsSubnet(t, func(c *pool.Config) { c.CustomNetworking = true })
}

// withoutPrefixes is a node in prefix mode with three pods, in a subnet whose map shows prefixes though EC2 finds none.
func withoutPrefixes(t *testing.T) *world {
	t.Helper()
	w := newWorld(t, inPrefixes)
	roomy(w)
	w.state.MaxPods = 110
	w.refusePrefixes = true
	w.add(0, 3)
	w.settle()
	return w
}

// An interface is there, and EC2 refuses the six groups that the ENIConfig has now: nothing else fails, and the node says so all
// the same, for as long as it lasts.
func TestRefusedGroupsOfAnInterfaceAreTold(t *testing.T) {
	w := customWorld(t)
	w.state.SetCustom(pool.Custom{Name: "default", Found: true, Subnet: "subnet-pods", Groups: []vpc.SecurityGroupID{"sg-1"}})
	w.add(0, 2)
	w.settle()
	w.refuse[pool.SetGroups] = vpc.LimitReached
	w.state.SetCustom(pool.Custom{Name: "default", Found: true, Subnet: "subnet-pods", Groups: []vpc.SecurityGroupID{"sg-1", "sg-2"}})
	w.settleFor(time.Minute)
	if p := ipam.Problems(w.state); len(p) != 1 || p[0].Why != ipam.EC2Failing || !strings.Contains(p[0].Message, "set-groups") {
		t.Errorf("problems: %v", p)
	}
	delete(w.refuse, pool.SetGroups)
	w.settleFor(2 * time.Minute)
	if p := ipam.Problems(w.state); len(p) != 0 {
		t.Errorf("problems that are over: %v", p)
	}
}

// What is wrong with an ENIConfig's spec is told, not only that it names no subnet.
func TestReasonOfAnENIConfigIsTold(t *testing.T) {
	w := customWorld(t)
	const why = `ENIConfig default: "nonsense" in spec.securityGroups is no security group's id`
	w.state.SetCustom(pool.Custom{Name: "default", Found: true, Why: why})
	w.add(0, 1)
	w.settle()
	if p := ipam.Problems(w.state); len(p) != 1 || p[0].Why != ipam.NoENIConfig || !strings.HasPrefix(p[0].Message, why) {
		t.Errorf("problems: %v", p)
	}
	if b := ipam.Explain(w.state, ipam.Decide(w.state, w.now)); !strings.Contains(fmt.Sprint(b), why) {
		t.Errorf("blocked: %v", b)
	}
}

// Why there is no ENIConfig is told: that nothing can have that name, or that the cluster does not know the resource, is no reason to
// create one.
func TestReasonOfAMissingENIConfigIsTold(t *testing.T) {
	w := customWorld(t)
	const why = `no ENIConfig can have the name "Zone_A": it is no lower-case name of an object`
	w.state.SetCustom(pool.Custom{Name: "Zone_A", Why: why})
	w.add(0, 1)
	w.settle()
	b := ipam.Explain(w.state, ipam.Decide(w.state, w.now))
	for _, said := range []string{fmt.Sprint(ipam.Problems(w.state)), b.String()} {
		if !strings.Contains(said, why) || strings.Contains(said, "create it") {
			t.Errorf("said: %s", said)
		}
	}
}

// The interface that pods wait for is refused for its six groups: the account's quota of interfaces has nothing to do with it.
func TestRefusedGroupsOfANewInterfaceNameTheENIConfig(t *testing.T) {
	w := customWorld(t)
	w.refuse[pool.CreateENI] = vpc.TooManyGroups
	w.state.SetCustom(pool.Custom{Name: "web", Found: true, Subnet: "subnet-pods", Groups: []vpc.SecurityGroupID{"sg-1", "sg-2", "sg-3", "sg-4", "sg-5", "sg-6"}})
	w.add(0, 2)
	w.settleFor(time.Minute)
	b := ipam.Explain(w.state, ipam.Decide(w.state, w.now))
	for _, said := range []string{fmt.Sprint(ipam.Problems(w.state)), b.String()} {
		if !strings.Contains(said, "ENIConfig web names 6 security groups") || !strings.Contains(said, "kubectl edit eniconfig web") || strings.Contains(said, "quota of network interfaces") {
			t.Errorf("said: %s", said)
		}
	}
}

// A restart puts the read of the subnets off. Until it comes, a subnet without a prefix is asked for one once, not in a loop.
func TestRestartAsksASubnetInPiecesOnce(t *testing.T) {
	w := withoutPrefixes(t)
	w.restart()
	w.state.MaxPods = 110
	if n := w.count(pool.AssignAddresses, 4*time.Second, 10*time.Millisecond); n > 2 {
		t.Errorf("%d assignments are tried within four seconds", n)
	}
}

// EC2 finds no prefix where the map shows some, as in a subnet shared with an account whose interfaces we do not see: that is
// believed for a while, and the subnet is not asked and mapped in a loop.
func TestMapThatEC2ContradictsIsNotReadInALoop(t *testing.T) {
	w := withoutPrefixes(t)
	if n := w.count(pool.ReadSpace, time.Minute, 10*time.Millisecond); n > 4 {
		t.Errorf("the subnet is mapped %d times in a minute", n)
	}
	if n := w.count(pool.AssignAddresses, time.Minute, 10*time.Millisecond); n > 4 {
		t.Errorf("%d assignments are tried in a minute", n)
	}
}

// Custom networking is turned on by a restart, which puts the read of the subnets off: what the ENIConfig names is known, and pods that
// come meanwhile are not given addresses that lie elsewhere, where other security groups count.
func TestRestartIntoCustomNetworkingGivesNoAddressOfTheOldSubnet(t *testing.T) {
	w := withPodsSubnet(t, nil)
	w.add(0, 12) // on two interfaces
	w.settle()
	w.state.Config.CustomNetworking = true
	w.restart()
	w.state.SetCustom(pool.Custom{Name: "default", Found: true, Subnet: "subnet-pods", Groups: []vpc.SecurityGroupID{"sg-pods"}})
	w.step()
	w.add(12, 14)
	w.settleFor(10 * time.Second)
	for _, a := range w.state.Allocations() {
		if late := a.Pod.Name == "p12" || a.Pod.Name == "p13"; late != netip.MustParsePrefix("100.64.0.0/20").Contains(a.Addr) {
			t.Errorf("%s has %s", a.Pod.Name, a.Addr)
		}
	}
}

// Pods wait since tags select six security groups for the only subnet with room: that is said, not that it has room and another one
// should be made.
func TestTooManyGroupsAreTheReasonThatPodsWait(t *testing.T) {
	w := newWorld(t, nil)
	w.mostGroups = 5
	w.subs[0].Free = 12
	w.subs = append(w.subs, vpc.Subnet{
		ID: "subnet-b", VPC: instance.VPC, Zone: instance.Zone, CIDR: netip.MustParsePrefix("10.1.0.0/20"), Free: 4000, Available: true,
		Tags: vpc.Tags{vpc.TagCNIRole: "1"},
	})
	for i := range 6 {
		w.groups = append(w.groups, vpc.SecurityGroup{ID: vpc.SecurityGroupID(fmt.Sprint("sg-", i)), VPC: instance.VPC, Tags: vpc.Tags{vpc.TagCNIRole: "1"}})
	}
	w.add(0, 26)
	w.settle()
	if b := ipam.Explain(w.state, ipam.Decide(w.state, w.now)); b.Why != ipam.TooManyGroups || !strings.Contains(b.Detail, "6 are tagged") {
		t.Errorf("blocked: %v", b)
	}
}

package ledger_test

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/berth-net/berth/internal/core/ledger"
	"github.com/berth-net/berth/internal/core/vpc"
)

// machine is a node with two interfaces and a few addresses: what EC2 has, what the kernel shows and what the ledger says.
// EC2 answers with any state that it had during the last minute.
type machine struct {
	now    time.Time
	book   *ledger.Ledger
	enis   []*ledger.Interface
	ec2    map[vpc.Block]int // block to interface; absent when not ours
	past   []view
	kernel map[netip.Addr]ledger.Key
	pods   int
	// held are addresses that the ledger held when it was last told what lives.
	held map[netip.Addr]bool
	// leaving are the blocks of the unassignment under way on an interface.
	leaving [2][]vpc.Block
}

type view struct {
	at  time.Time
	ec2 map[vpc.Block]int
}

// universe are the blocks that there are: EC2 gives the addresses of a prefix singly, too, while nobody has the prefix.
var universe = vpc.Blocks(
	[]netip.Addr{ip(0), ip(1), ip(2), ip(8), ip(9)},
	[]netip.Prefix{netip.MustParsePrefix("10.0.0.16/28"), netip.MustParsePrefix("10.0.0.32/28")},
)

func ip(n int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, 0, byte(10 + n)}) }

func single(n int) vpc.Block { return vpc.Single(ip(n)) }

func newMachine() *machine {
	m := &machine{now: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC), ec2: map[vpc.Block]int{}, kernel: map[netip.Addr]ledger.Key{}}
	m.begin()
	for n, b := range universe {
		if m.free(b) {
			m.ec2[b] = n % 2
		}
	}
	for i := range m.enis {
		m.book.Observe(m.enis[i], m.shown(m.ec2, i), m.now)
	}
	m.remember()
	return m
}

func (m *machine) begin() {
	m.book = ledger.New(5 * time.Second)
	m.enis = []*ledger.Interface{m.book.Add("eni-0", m.now.Add(-time.Hour)), m.book.Add("eni-1", m.now.Add(-time.Hour))}
}

func (m *machine) remember() { m.past = append(m.past, view{m.now, maps.Clone(m.ec2)}) }

// free tells whether EC2 has given nothing of a block to anybody.
func (m *machine) free(b vpc.Block) bool {
	for other := range m.ec2 {
		if other.CIDR().Overlaps(b.CIDR()) {
			return false
		}
	}
	return true
}

func (m *machine) shown(ec2 map[vpc.Block]int, eni int) (list []vpc.Block) {
	for _, b := range universe {
		if on, ok := ec2[b]; ok && on == eni {
			list = append(list, b)
		}
	}
	return list
}

// where tells on which interface EC2 has an address.
func (m *machine) where(a netip.Addr) (eni int, ok bool) {
	for b, on := range m.ec2 {
		if b.Contains(a) {
			return on, true
		}
	}
	return 0, false
}

// actions are what may happen, by name.
func (m *machine) actions() map[string]func(*rapid.T) {
	return map[string]func(*rapid.T){
		"give":     m.give,
		"release":  m.release,
		"read":     m.read,
		"unassign": m.unassign,
		"answered": m.answered,
		"assign":   m.assign,
		"compare":  func(*rapid.T) { m.compare() },
		"time": func(t *rapid.T) {
			m.now = m.now.Add(time.Duration(rapid.IntRange(1, 40).Draw(t, "s")) * time.Second)
			m.book.Thaw(m.now)
		},
		"lost":    m.lost,
		"damaged": m.damaged,
		"":        m.check,
	}
}

// compare tells the ledger what lives.
func (m *machine) compare() {
	m.book.SetLive(slices.Collect(maps.Keys(m.kernel)), m.now)
	m.held = map[netip.Addr]bool{}
	for _, i := range m.enis {
		for _, a := range i.Addresses {
			if a.Phase == ledger.Held {
				m.held[a.IP] = true
			}
		}
	}
}

func (m *machine) give(t *rapid.T) {
	i := m.enis[rapid.IntRange(0, 1).Draw(t, "eni")]
	prefixes := rapid.Bool().Draw(t, "prefixes first")
	a := i.Best(func(b *ledger.Block) bool { return b.IsPrefix() == prefixes })
	if a == nil {
		return
	}
	if on, ok := m.where(a.IP); !ok || m.enis[on] != i {
		t.Fatalf("%s is given out, and EC2 has it on %d, ours %t", a.IP, on, ok)
	}
	if k, taken := m.kernel[a.IP]; taken {
		t.Fatalf("%s is given out while %s lives on it", a.IP, k.ContainerID)
	}
	m.pods++
	k := ledger.Key{ContainerID: fmt.Sprint("c", m.pods)}
	m.book.Give(i, a, ledger.Pod{Key: k}, m.now)
	m.kernel[a.IP] = k
}

func (m *machine) release(t *rapid.T) {
	all := m.book.Allocations()
	if len(all) == 0 {
		return
	}
	a := all[rapid.IntRange(0, len(all)-1).Draw(t, "pod")]
	delete(m.kernel, a.Addr)
	m.book.Release(a.Pod.Key, m.now)
}

// read folds an answer of EC2 that may be as old as Settle.
func (m *machine) read(t *rapid.T) {
	recent := slices.DeleteFunc(slices.Clone(m.past), func(v view) bool { return m.now.Sub(v.at) >= ledger.Settle })
	ec2 := m.ec2
	if len(recent) > 0 {
		ec2 = recent[rapid.IntRange(0, len(recent)-1).Draw(t, "view")].ec2
	}
	i := rapid.IntRange(0, 1).Draw(t, "eni")
	m.book.Observe(m.enis[i], m.shown(ec2, i), m.now)
}

func (m *machine) unassign(t *rapid.T) {
	i := rapid.IntRange(0, 1).Draw(t, "eni")
	if len(m.leaving[i]) > 0 {
		return
	}
	for _, b := range m.enis[i].Idle() {
		if rapid.Bool().Draw(t, "goes") {
			m.leaving[i] = append(m.leaving[i], b.Block)
		}
	}
	m.enis[i].Leave(m.leaving[i])
	m.enis[i].WroteAt = m.now
}

// answered ends an unassignment: EC2 has the addresses from the moment before.
func (m *machine) answered(t *rapid.T) {
	i := rapid.IntRange(0, 1).Draw(t, "eni")
	m.remember()
	if rapid.Bool().Draw(t, "denied") {
		m.book.Keep(m.enis[i])
	} else {
		for _, b := range m.leaving[i] {
			if on, ok := m.ec2[b]; !ok || on != i { // given back already, by a call of which the journal lost the end
				continue
			}
			for a, k := range m.kernel {
				if b.Contains(a) {
					t.Fatalf("%s is given back while %s lives on %s", b, k.ContainerID, a)
				}
			}
			delete(m.ec2, b)
		}
		m.book.Left(m.enis[i], m.leaving[i], m.now)
	}
	m.leaving[i], m.enis[i].WroteAt = nil, m.now
	m.now = m.now.Add(time.Millisecond)
}

func (m *machine) assign(t *rapid.T) {
	i := rapid.IntRange(0, 1).Draw(t, "eni")
	m.remember()
	free := slices.DeleteFunc(slices.Clone(universe), func(b vpc.Block) bool { return !m.free(b) })
	if len(free) > 0 {
		b := free[rapid.IntRange(0, len(free)-1).Draw(t, "block")]
		m.ec2[b] = i
		m.book.Gain(m.enis[i], []vpc.Block{b})
	}
	m.enis[i].WroteAt = m.now
	m.now = m.now.Add(time.Millisecond)
}

// lost starts anew without a journal: the kernel and EC2 are all there is.
func (m *machine) lost(t *rapid.T) {
	if rapid.IntRange(0, 4).Draw(t, "seldom") > 0 {
		return
	}
	m.begin()
	m.restarted(t)
}

// damaged starts anew with a journal that lost its end: of the pods that came since, and of addresses given back.
func (m *machine) damaged(t *rapid.T) {
	if rapid.IntRange(0, 4).Draw(t, "seldom") > 0 {
		return
	}
	old, pods := m.enis, m.book.Allocations()
	m.begin()
	for n, i := range old {
		leaving := i.Leaving()
		var had []vpc.Block
		for _, b := range i.Sorted() { // begun and taken back, or begun, ended and assigned again
			had = append(had, b.Block)
			if rapid.IntRange(0, 3).Draw(t, "was leaving") == 0 {
				leaving = append(leaving, b.Block)
			}
		}
		m.enis[n] = m.book.RestoreInterface(vpc.ENIID(fmt.Sprint("eni-", n)), had, leaving, nil, m.now)
	}
	for _, a := range pods {
		if rapid.Bool().Draw(t, "recorded") {
			m.book.RestorePod(a)
		}
	}
	m.restarted(t)
}

// restarted does what the agent does at its start; some pods end meanwhile. What was leaving goes on leaving.
func (m *machine) restarted(t *rapid.T) {
	m.compare()
	for _, stale := range m.book.Stale() {
		m.book.Release(stale.Pod.Key, m.now)
	}
	m.book.Doubt(m.now)
	for n, i := range m.enis {
		m.leaving[n] = i.Leaving()
	}
	for _, k := range slices.SortedFunc(maps.Keys(m.kernel), netip.Addr.Compare) {
		if rapid.Bool().Draw(t, "ends") {
			delete(m.kernel, k)
		}
	}
}

func (m *machine) check(t *rapid.T) {
	owner := map[netip.Addr]vpc.ENIID{}
	for n, i := range m.enis {
		for addr, a := range i.Addresses {
			if other, twice := owner[addr]; twice {
				t.Fatalf("%s lies on %s and another", addr, other)
			}
			owner[addr] = vpc.ENIID(fmt.Sprint(n))
			if al, ok := m.book.Allocation(a.Owner); a.Phase == ledger.InUse && (!ok || al.Addr != addr) {
				t.Fatalf("%s is in use by %v, whose address is %v", addr, a.Owner, al.Addr)
			}
		}
	}
	for _, al := range m.book.Allocations() {
		if a := m.book.Find(al.Addr); a == nil || a.Phase != ledger.InUse {
			t.Fatalf("%s of pod %s is forgotten", al.Addr, al.Pod.Key.ContainerID)
		}
	}
	for addr := range m.held {
		if m.kernel[addr] != (ledger.Key{}) && m.book.Find(addr) == nil {
			t.Fatalf("%s is held and forgotten", addr)
		}
	}
	for addr, k := range m.kernel {
		if on, ok := m.where(addr); !ok {
			t.Fatalf("pod %s lives on %s, which is not ours, %d", k.ContainerID, addr, on)
		}
	}
}

func TestNoAddressIsGivenTwiceOrTakenFromAPod(t *testing.T) {
	for range 10 { // a hundred runs each time: what goes wrong here does so in one of some hundreds
		rapid.Check(t, func(t *rapid.T) { t.Repeat(newMachine().actions()) })
	}
}

// EC2 moved an address of ours to another interface, of which the journal has a younger record.
func TestRestoredAddressThatMovedLiesOnItsLastInterface(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	book, k := ledger.New(0), ledger.Key{ContainerID: "c1"}
	first := book.RestoreInterface("eni-0", []vpc.Block{single(0), single(1)}, nil, nil, now)
	second := book.RestoreInterface("eni-1", []vpc.Block{single(0)}, nil, nil, now)
	book.RestorePod(ledger.Allocation{Pod: ledger.Pod{Key: k}, Addr: ip(0), ENI: "eni-1", At: now})
	if len(first.Addresses) != 1 || first.Count(ledger.InUse) != 0 || second.Count(ledger.InUse) != 1 {
		t.Errorf("%d addresses on the first interface, %d on the second", len(first.Addresses), len(second.Addresses))
	}
}

// A pod's record comes after that of an unassignment that was begun: nothing of its prefix may leave.
func TestPrefixOfAPodDoesNotLeave(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	prefix := universe[5]
	pod := ledger.Allocation{Pod: ledger.Pod{Key: ledger.Key{ContainerID: "c1"}}, Addr: prefix.First(), ENI: "eni-0", At: now}
	t.Run("by its record", func(t *testing.T) {
		book := ledger.New(0)
		i := book.RestoreInterface("eni-0", []vpc.Block{prefix}, []vpc.Block{prefix}, nil, now)
		book.RestorePod(pod)
		if left := i.Leaving(); len(left) > 0 || i.Count(ledger.Free) != 15 {
			t.Errorf("%v leaves, %d free", left, i.Count(ledger.Free))
		}
	})
	t.Run("by the kernel's word", func(t *testing.T) {
		book := ledger.New(0)
		i := book.RestoreInterface("eni-0", []vpc.Block{prefix}, []vpc.Block{prefix}, nil, now)
		book.SetLive([]netip.Addr{prefix.First()}, now)
		if left := i.Leaving(); len(left) > 0 || i.Count(ledger.Held) != 1 {
			t.Errorf("%v leaves, %d held", left, i.Count(ledger.Held))
		}
	})
}

// The journal was lost, and the answer to our assignment comes after that of a read which shows what it brought already: the
// addresses stayed in doubt for a minute, and pods without one.
func TestAddressesThatAReadShowsBeforeOurCallEndsAreVouchedFor(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	book := ledger.New(30 * time.Second)
	i := book.Add("eni-0", now)
	book.Doubt(now)
	book.Observe(i, []vpc.Block{single(0), single(1)}, now.Add(time.Second))
	book.Gain(i, []vpc.Block{single(0)})
	if a := book.Find(ip(0)); !a.Usable() {
		t.Errorf("what our call brought is in doubt: %s", a.Block.Doubt)
	}
	if a := book.Find(ip(1)); a.Block.Doubt != ledger.MaybeGone {
		t.Errorf("what it did not bring is %q", a.Block.Doubt)
	}
}

// Pods are packed: the prefix with most of them fills first, so that the others empty.
func TestFullestPrefixFillsFirst(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	book := ledger.New(0)
	i := book.Add("eni-0", now)
	book.Gain(i, universe[3:])
	prefixes := func(b *ledger.Block) bool { return b.IsPrefix() }
	for n := range 16 {
		a := i.Best(prefixes)
		if a == nil || !a.Block.IsPrefix() {
			t.Fatalf("pod %d gets %v", n, a)
		}
		book.Give(i, a, ledger.Pod{Key: ledger.Key{ContainerID: fmt.Sprint(n)}}, now)
	}
	var used []int
	for _, b := range i.Sorted() {
		used = append(used, b.Count(ledger.InUse))
	}
	if slices.Max(used) != 16 {
		t.Errorf("pods per block: %v", used)
	}
}

// Two reads that lag behind the assignment leave an address out, half a minute apart, and a third one lists it: what cooled
// goes on cooling.
func TestAddressThatLaggingReadsLeaveOutGoesOnCooling(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	book := ledger.New(30 * time.Second)
	i := book.Add("eni-0", now)
	book.Gain(i, []vpc.Block{single(0)})
	k := ledger.Key{ContainerID: "c1"}
	book.Give(i, i.Best(func(*ledger.Block) bool { return true }), ledger.Pod{Key: k}, now)
	book.Observe(i, nil, now.Add(5*time.Second))
	book.Release(k, now.Add(30*time.Second))
	book.Observe(i, nil, now.Add(40*time.Second))
	book.Observe(i, []vpc.Block{single(0)}, now.Add(50*time.Second))
	book.Thaw(now.Add(55 * time.Second))
	if a := book.Find(ip(0)); a == nil || a.Phase != ledger.Cooling {
		t.Errorf("it is %+v", a)
	}
}

// A pod of the Amazon VPC CNI is deleted before EC2 has said on which interface its address lies: it cools all the same.
func TestAddressThatIsGivenBackBeforeItsInterfaceIsKnownCools(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	ip, k := netip.MustParseAddr("10.0.1.17"), ledger.Key{ContainerID: "c1", IfName: "eth0"}
	l := ledger.New(30 * time.Second)
	l.RestorePod(ledger.Allocation{Pod: ledger.Pod{Key: k}, Addr: ip, At: now})
	if _, _, ok := l.Release(k, now); !ok {
		t.Fatal("no such pod")
	}
	i := l.Add("eni-1", now)
	l.Observe(i, []vpc.Block{vpc.PrefixBlock(netip.MustParsePrefix("10.0.1.16/28"))}, now.Add(time.Second))
	if a := l.Find(ip); a == nil || a.Phase != ledger.Cooling {
		t.Fatalf("%+v", a)
	}
	l.Thaw(now.Add(31 * time.Second))
	if a := l.Find(ip); a.Phase != ledger.Free {
		t.Errorf("after the period: %s", a.Phase)
	}
}

// The record that a single address was given back was lost; EC2 gave the prefix around it, and a read that lags showed the
// address once more: the prefix was forgotten under a pod.
func TestReadThatLagsDoesNotForgetAPrefixForAnAddressInIt(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	prefix := vpc.PrefixBlock(netip.MustParsePrefix("10.0.0.16/28"))
	book := ledger.New(30 * time.Second)
	i := book.Add("eni-0", now)
	book.Gain(i, []vpc.Block{prefix})
	i.WroteAt = now
	k := ledger.Key{ContainerID: "c1"}
	book.Give(i, i.Best(func(*ledger.Block) bool { return true }), ledger.Pod{Key: k}, now)
	book.Observe(i, []vpc.Block{single(8)}, now.Add(10*time.Second))
	if al, _ := book.Allocation(k); book.Find(al.Addr) == nil {
		t.Errorf("%s is forgotten", al.Addr)
	}
}

// A journal tells that an address was given back to EC2, and later that the interface has it again; a snapshot of what was
// replayed must not say the first after the second, or the address comes back without the rest of its story.
func TestAddressThatCameBackIsNotRememberedAsGivenBack(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	book := ledger.New(30 * time.Second)
	book.RestoreInterface("eni-0", []vpc.Block{single(0)}, nil, nil, now)
	book.RestoreRemoved("eni-0", []vpc.Block{single(0)}, now.Add(time.Second))
	book.RestoreInterface("eni-0", []vpc.Block{single(0)}, nil, nil, now.Add(2*time.Second))
	if book.Removed("eni-0", single(0)) {
		t.Error("it counts as given back")
	}
}

// A pod gave an address back while the journal's records so far did not have it on an interface: it cools all the same.
func TestAddressGivenBackBeforeItsInterfaceIsReplayedCools(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	k := ledger.Key{ContainerID: "c1"}
	book := ledger.New(30 * time.Second)
	book.RestorePod(ledger.Allocation{Pod: ledger.Pod{Key: k}, Addr: ip(0), At: now})
	book.RestoreReleased(k, ip(0), now, now.Add(30*time.Second))
	book.RestoreInterface("eni-0", []vpc.Block{single(0)}, nil, nil, now)
	if a := book.Find(ip(0)); a.Phase != ledger.Cooling {
		t.Errorf("it is %s", a.Phase)
	}
}

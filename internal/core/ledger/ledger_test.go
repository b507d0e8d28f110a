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
	ec2    map[netip.Addr]int // address to interface; absent when not ours
	past   []view
	kernel map[netip.Addr]ledger.Key
	pods   int
	// held are addresses that the ledger held when it was last told what lives.
	held map[netip.Addr]bool
	// leaving are the addresses of the unassignment under way on an interface.
	leaving [2][]netip.Addr
}

type view struct {
	at  time.Time
	ec2 map[netip.Addr]int
}

const addrs = 6

func ip(n int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, 0, byte(10 + n)}) }

func newMachine() *machine {
	m := &machine{now: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC), ec2: map[netip.Addr]int{}, kernel: map[netip.Addr]ledger.Key{}}
	m.begin()
	for n := range addrs {
		m.ec2[ip(n)] = n % 2
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

func (m *machine) shown(ec2 map[netip.Addr]int, eni int) (list []netip.Addr) {
	for n := range addrs {
		if on, ok := ec2[ip(n)]; ok && on == eni {
			list = append(list, ip(n))
		}
	}
	return list
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
	for n := range addrs {
		if a := m.book.Find(ip(n)); a != nil && a.Phase == ledger.Held {
			m.held[a.IP] = true
		}
	}
}

func (m *machine) give(t *rapid.T) {
	i := m.enis[rapid.IntRange(0, 1).Draw(t, "eni")]
	a := i.Best()
	if a == nil {
		return
	}
	if on, ok := m.ec2[a.IP]; !ok || m.enis[on] != i {
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
	m.leaving[i] = m.enis[i].Releasable(rapid.IntRange(1, 3).Draw(t, "n"))
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
		for _, a := range m.leaving[i] {
			if k, taken := m.kernel[a]; taken {
				t.Fatalf("%s is given back while %s lives on it", a, k.ContainerID)
			}
			delete(m.ec2, a)
		}
		m.book.Left(m.enis[i], m.leaving[i], m.now)
	}
	m.leaving[i], m.enis[i].WroteAt = nil, m.now
	m.now = m.now.Add(time.Millisecond)
}

func (m *machine) assign(t *rapid.T) {
	i := rapid.IntRange(0, 1).Draw(t, "eni")
	m.remember()
	for n := range addrs {
		if _, ours := m.ec2[ip(n)]; !ours {
			m.ec2[ip(n)] = i
			m.book.Gain(m.enis[i], []netip.Addr{ip(n)})
			break
		}
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
		var had []netip.Addr
		for _, a := range i.Sorted() { // begun and taken back, or begun, ended and assigned again
			had = append(had, a.IP)
			if rapid.IntRange(0, 3).Draw(t, "was leaving") == 0 {
				leaving = append(leaving, a.IP)
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
		if on, ok := m.ec2[addr]; !ok {
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
	first := book.RestoreInterface("eni-0", []netip.Addr{ip(0), ip(1)}, nil, nil, now)
	second := book.RestoreInterface("eni-1", []netip.Addr{ip(0)}, nil, nil, now)
	book.RestorePod(ledger.Allocation{Pod: ledger.Pod{Key: k}, Addr: ip(0), ENI: "eni-1", At: now})
	if len(first.Addresses) != 1 || first.Count(ledger.InUse) != 0 || second.Count(ledger.InUse) != 1 {
		t.Errorf("%d addresses on the first interface, %d on the second", len(first.Addresses), len(second.Addresses))
	}
}

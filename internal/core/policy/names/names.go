// Package names knows which addresses the names of domains stand for that policies allow, by the answers that pods were given.
//
// A name has the addresses of all answers about it that are still valid: a server gives each client others. How long an answer is valid
// is its TTL, and Limits.Floor at least: programs dial addresses that they were given a while ago. What has expired stays while somebody
// talks to it, since a connection may be older than any answer. The book is bounded: beyond it, what expires first makes room, which is
// counted, and what is not in the book is not allowed.
package names

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/berth-net/berth/internal/core/policy"
)

// Limits of a Book.
type Limits struct {
	Floor   time.Duration // how long an answer is valid at least
	PerName int           // addresses of one name
	Total   int           // addresses of all names
}

// DefaultLimits hold for any cluster.
func DefaultLimits() Limits { return Limits{Floor: time.Minute, PerName: 1000, Total: 10_000} }

// Answer is what a server has said.
type Answer struct {
	// Names are the one that was asked for, and those that it is an alias of; in lower case, without a dot at the end.
	Names []string
	Addrs []netip.Addr
	TTL   time.Duration
}

// Record is an address of a name, for keeping.
type Record struct {
	Name  string     `json:"name"`
	Addr  netip.Addr `json:"addr"`
	Until time.Time  `json:"until"`
}

type key struct {
	name string
	addr netip.Addr
}

// Book is which addresses names stand for. It belongs to one goroutine.
type Book struct {
	limits  Limits
	domains map[string]bool // of policies: names, or "*." and one
	until   map[string]map[netip.Addr]time.Time
	kept    map[key]time.Time // until when Unkept has told them to be valid
	total   int
	evicted uint64
	unkept  []Record
}

// New makes a book that knows nothing.
func New(l Limits) *Book {
	return &Book{limits: l, domains: make(map[string]bool), until: make(map[string]map[netip.Addr]time.Time), kept: make(map[key]time.Time)}
}

// Want says which domains policies name, as policy.Peer has them. Names that none of them matches are forgotten; those are returned.
func (b *Book) Want(domains []string) (changed []string) {
	clear(b.domains)
	for _, d := range domains {
		b.domains[d] = true
	}
	for name, addrs := range b.until {
		if !b.wanted(name) {
			for addr := range addrs {
				b.drop(name, addr)
			}
			delete(b.until, name)
			changed = append(changed, name)
		}
	}
	slices.Sort(changed)
	return changed
}

// Wants tells whether there is a name that any answer could be about.
func (b *Book) Wants() bool { return len(b.domains) > 0 }

func (b *Book) wanted(name string) bool {
	for d := range b.domains {
		if policy.MatchesDomain(d, name) {
			return true
		}
	}
	return false
}

// Learn takes an answer, and returns the names whose addresses are others now.
func (b *Book) Learn(a Answer, now time.Time) (changed []string) {
	until := now.Add(max(a.TTL, b.limits.Floor))
	for _, name := range a.Names {
		if !b.wanted(name) {
			continue
		}
		for _, addr := range a.Addrs {
			changed = append(changed, b.put(name, addr.Unmap(), until)...)
		}
	}
	slices.Sort(changed)
	return slices.Compact(changed)
}

// put adds an address, and makes room for it where there is none.
func (b *Book) put(name string, addr netip.Addr, until time.Time) (changed []string) {
	of := b.until[name]
	if of == nil {
		of = make(map[netip.Addr]time.Time)
		b.until[name] = of
	}
	was, known := of[addr]
	if k := (key{name, addr}); !known || until.Sub(b.kept[k]) >= b.limits.Floor/2 {
		b.unkept = append(b.unkept, Record{name, addr, until})
		b.kept[k] = until
	}
	if !known {
		if len(of) >= b.limits.PerName {
			changed = append(changed, b.evict(name))
		} else if b.total >= b.limits.Total {
			changed = append(changed, b.evict(slices.Sorted(maps.Keys(b.until))...))
		}
		b.total++
		changed = append(changed, name)
	}
	if until.After(was) {
		b.until[name][addr] = until
	}
	return changed
}

// Unkept are the addresses that are new, or valid for half a Floor longer than before, since it was asked last: what to keep for Restore.
func (b *Book) Unkept() []Record {
	all := b.unkept
	b.unkept = nil
	return all
}

// evict takes the address away that expires first among those of some names, and returns whose it was.
func (b *Book) evict(of ...string) string {
	var first Record
	for _, name := range of {
		for addr, until := range b.until[name] {
			if first.Name == "" || cmp.Or(until.Compare(first.Until), addr.Compare(first.Addr)) < 0 {
				first = Record{name, addr, until}
			}
		}
	}
	b.drop(first.Name, first.Addr)
	b.evicted++
	return first.Name
}

func (b *Book) drop(name string, addr netip.Addr) {
	delete(b.until[name], addr)
	delete(b.kept, key{name, addr})
	b.total--
}

// Expired are the addresses whose answers are not valid any more.
func (b *Book) Expired(now time.Time) []netip.Addr {
	all := make(map[netip.Addr]bool)
	for _, addrs := range b.until {
		for addr, until := range addrs {
			if !until.After(now) {
				all[addr] = true
			}
		}
	}
	return slices.SortedFunc(maps.Keys(all), netip.Addr.Compare)
}

// Expire takes what has expired away, but for the addresses that somebody talks to: those are valid for Floor again. It returns the names
// whose addresses are others now.
func (b *Book) Expire(now time.Time, live map[netip.Addr]bool) (changed []string) {
	for name, addrs := range b.until {
		before := len(addrs)
		for addr, until := range addrs {
			switch {
			case until.After(now):
			case live[addr]:
				addrs[addr] = now.Add(b.limits.Floor)
			default:
				b.drop(name, addr)
			}
		}
		if len(addrs) != before {
			changed = append(changed, name)
		}
		if len(addrs) == 0 {
			delete(b.until, name)
		}
	}
	slices.Sort(changed)
	return changed
}

// Addrs are those of a name, in order.
func (b *Book) Addrs(name string) []netip.Addr {
	return slices.SortedFunc(maps.Keys(b.until[name]), netip.Addr.Compare)
}

// Evicted is how many addresses have made room for others before they expired.
func (b *Book) Evicted() uint64 { return b.evicted }

// Len is how many addresses names have, together.
func (b *Book) Len() int { return b.total }

// Records are all addresses of all names, in order.
func (b *Book) Records() []Record {
	all := make([]Record, 0, b.total)
	for _, name := range slices.Sorted(maps.Keys(b.until)) {
		for _, addr := range b.Addrs(name) {
			all = append(all, Record{name, addr, b.until[name][addr]})
		}
	}
	return all
}

// Restore takes records of a former book. All are valid for Floor at least, what has expired meanwhile, too: connections to it may live,
// and not every answer that came again was kept. It returns the names that have addresses now. Records of names that no policy has are
// left out.
func (b *Book) Restore(all []Record, now time.Time) (changed []string) {
	least := now.Add(b.limits.Floor)
	for _, r := range all {
		if r.Addr.IsValid() && b.wanted(r.Name) {
			changed = append(changed, b.put(r.Name, r.Addr.Unmap(), slices.MaxFunc([]time.Time{r.Until, least}, time.Time.Compare))...)
		}
	}
	b.unkept = nil
	slices.Sort(changed)
	return slices.Compact(changed)
}

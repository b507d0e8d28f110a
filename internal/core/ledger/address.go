package ledger

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"github.com/berth-net/berth/internal/core/vpc"
)

// Key identifies a pod's attachment as the CNI specification does.
type Key struct {
	Network     string `json:"network,omitempty"`
	ContainerID string `json:"container"`
	IfName      string `json:"ifname"`
}

// Pod is a pod's attachment.
type Pod struct {
	Key       Key    `json:"key"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name,omitempty"`
	UID       string `json:"uid,omitempty"`
}

// Allocation is an address given to a pod.
type Allocation struct {
	Pod  Pod
	Addr netip.Addr
	ENI  vpc.ENIID
	At   time.Time
	// Releasing is set while the pod's wiring is being removed.
	Releasing bool
}

// Phase is the phase of an address.
type Phase string

// Phases of an address; see the package comment.
const (
	Free    Phase = "free"
	InUse   Phase = "in-use"
	Cooling Phase = "cooling"
	Held    Phase = "held"
	Leaving Phase = "leaving"
)

// Doubt says why EC2's word does not vouch for an address, empty when it does.
type Doubt string

// The doubts.
const (
	// NotListed: EC2 left it out of a read newer than our last write.
	NotListed Doubt = "not-listed"
	// MaybeGone: the journal was lost, and a lagging read would show it also if it was given back just before.
	MaybeGone Doubt = "maybe-gone"
)

// Address is a secondary address of an interface.
type Address struct {
	IP    netip.Addr
	Phase Phase
	Owner Key       // while in use
	Until time.Time // end of cooling
	// FreedAt is when a pod last gave it back; zero when none had it.
	FreedAt      time.Time
	Doubt        Doubt
	MissingSince time.Time // when EC2 first left it out, while it does
}

// Usable tells whether an address may be given to a pod, or back.
func (a *Address) Usable() bool { return a.Phase == Free && a.Doubt == "" }

func (a *Address) cool(now, until time.Time) {
	a.Phase, a.Owner, a.Until, a.FreedAt = Cooling, Key{}, until, now
}

// Interface holds the addresses of one interface. They may be read, and only the ledger changes them.
type Interface struct {
	Addresses map[netip.Addr]*Address
	// WroteAt is the start or end of our last write to the interface: what EC2 shows of it was read before, or counts.
	WroteAt time.Time
	id      vpc.ENIID
}

// Sorted returns the addresses in numerical order.
func (i *Interface) Sorted() []*Address {
	all := make([]*Address, 0, len(i.Addresses))
	for _, a := range i.Addresses {
		all = append(all, a)
	}
	slices.SortFunc(all, func(a, b *Address) int { return a.IP.Compare(b.IP) })
	return all
}

// Count returns how many addresses are in one of the phases.
func (i *Interface) Count(phases ...Phase) int {
	n := 0
	for _, a := range i.Addresses {
		if slices.Contains(phases, a.Phase) {
			n++
		}
	}
	return n
}

// Doubted returns how many addresses would be free but for a doubt.
func (i *Interface) Doubted(why Doubt) int {
	n := 0
	for _, a := range i.Addresses {
		if a.Phase == Free && a.Doubt == why {
			n++
		}
	}
	return n
}

// Best is the address to give next, nil when none is usable: the one that was given back longest ago, the never used ones
// first.
func (i *Interface) Best() *Address {
	var best *Address
	for _, a := range i.Addresses {
		if a.Usable() && (best == nil || cmp.Or(a.FreedAt.Compare(best.FreedAt), a.IP.Compare(best.IP)) < 0) {
			best = a
		}
	}
	return best
}

// Releasable are up to n addresses that may be given back to EC2: the highest, so that what stays is the low end.
func (i *Interface) Releasable(n int) []netip.Addr {
	var list []netip.Addr
	for _, a := range slices.Backward(i.Sorted()) {
		if a.Usable() && len(list) < n {
			list = append(list, a.IP)
		}
	}
	slices.SortFunc(list, netip.Addr.Compare)
	return list
}

// Leaving are the addresses that are being given back.
func (i *Interface) Leaving() []netip.Addr {
	var list []netip.Addr
	for _, a := range i.Sorted() {
		if a.Phase == Leaving {
			list = append(list, a.IP)
		}
	}
	return list
}

// Leave marks free addresses as being given back.
func (i *Interface) Leave(addrs []netip.Addr) {
	for _, ip := range addrs {
		if a := i.Addresses[ip]; a != nil && a.Phase == Free {
			a.Phase = Leaving
		}
	}
}

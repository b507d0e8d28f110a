package pool

import (
	"net/netip"
	"time"

	"github.com/berth-net/berth/internal/core/ledger"
	"github.com/berth-net/berth/internal/core/vpc"
)

// ENIPhase is the phase of an interface.
type ENIPhase string

// Phases of an interface; see the package comment.
const (
	Created   ENIPhase = "created"
	Attaching ENIPhase = "attaching"
	Attached  ENIPhase = "attached"
	Detaching ENIPhase = "detaching"
	Detached  ENIPhase = "detached"
)

// ENI is an interface of this node.
type ENI struct {
	vpc.ENI
	*ledger.Interface // its secondary addresses, and when we wrote to it last
	Phase             ENIPhase
	SubnetCIDR        netip.Prefix // zero while unknown
	// DeviceIndex and Card are where it is, or shall be, attached.
	DeviceIndex int
	Card        int
	primary     bool // the instance's own interface, never detached

	// Managed: it is the agent's to use and to change.
	Managed bool
	// Barred: its subnet was excluded, or custom networking wants interfaces elsewhere; it gives no address and is emptied.
	Barred bool
	// Configured is set once the host's network serves it.
	Configured bool
	// Tagged and DeleteOnTermination say that these finishing writes are done.
	Tagged              bool
	DeleteOnTermination bool

	// Dirty: a write ended without a known outcome; nothing more is assigned before a read.
	Dirty bool
	// MissingSince is since when EC2 leaves it out or shows it on its way out by somebody else's hand, zero otherwise.
	MissingSince time.Time
	SeenAt       time.Time // first seen or attached, this run
	ReadAt       time.Time // when the last read that listed it was asked
	begunAt      time.Time // when its creation began, until it serves
	finishedAt   time.Time // when tags, groups or the termination flag were last written
	looks        int       // reads of this one interface since its phase changed
}

// Serves tells whether the interface's free addresses may be given to pods.
func (e *ENI) Serves() bool {
	return e.Managed && e.Phase == Attached && e.Configured && !e.Barred && e.MissingSince.IsZero() && e.Type != vpc.ENITypeTrunk && e.Type != vpc.ENITypeEFAOnly
}

// IsPrimary tells whether it is the instance's own interface.
func (e *ENI) IsPrimary() bool { return e.primary }

// settled tells whether our last write to an interface that EC2 lists is so old that metadata should show it.
func (e *ENI) settled(now time.Time) bool {
	return e.MissingSince.IsZero() && now.After(e.WroteAt.Add(settle))
}

// nextLook is when an interface is looked at again: every two seconds while that usually helps, then more seldom. A
// detachment can hang for hours.
func (e *ENI) nextLook() time.Duration {
	if e == nil {
		return 2 * time.Second
	}
	e.looks++
	return 2 * time.Second << min(max(e.looks-10, 0), 5)
}

// place orders interfaces: by card and device index, those without a place last.
func (e *ENI) place() int {
	if e.Phase == Created || e.Phase == Detached {
		return 1 << 30
	}
	return e.Card<<16 | e.DeviceIndex
}

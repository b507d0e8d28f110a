package pool

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/berth-net/berth/internal/core/ledger"
	"github.com/berth-net/berth/internal/core/pace"
	"github.com/berth-net/berth/internal/core/subnet"
	"github.com/berth-net/berth/internal/core/target"
	"github.com/berth-net/berth/internal/core/vpc"
)

// What core/ledger knows of pods and addresses.
type (
	// Key identifies a pod's attachment.
	Key = ledger.Key
	// Pod is a pod's attachment.
	Pod = ledger.Pod
	// Allocation is an address given to a pod.
	Allocation = ledger.Allocation
	// Phase is the phase of an address.
	Phase = ledger.Phase
)

// Phases of an address; see core/ledger.
const (
	Free    = ledger.Free
	InUse   = ledger.InUse
	Cooling = ledger.Cooling
	Held    = ledger.Held
	Leaving = ledger.Leaving
)

// Times that are not settings.
const (
	// The ledger's times hold for interfaces, too.
	settle     = ledger.Settle
	missingFor = ledger.MissingFor
	// forgetAfter is how long it is remembered that an address or interface was given back; metadata may still show it.
	forgetAfter = 10 * time.Minute
	// reattachAfter is how long an interface whose attachment had no known outcome may be unlisted before it is tried again.
	reattachAfter = 5 * time.Second
	// searchPause is how long no pod may begin to wait until the next one is something new: the runtime repeats an ADD that
	// failed within a quarter of a minute.
	searchPause = time.Minute
)

// Pending is an interface that is being created: the whole request, so that a retry repeats it word for word.
type Pending struct {
	Token       string                `json:"token"`
	Subnet      vpc.SubnetID          `json:"subnet"`
	SubnetCIDR  netip.Prefix          `json:"subnetCidr"`
	Primary     netip.Addr            `json:"primary,omitzero"` // its own address; not set when EC2 is to choose
	Want        vpc.Want              `json:"want"`
	Groups      []vpc.SecurityGroupID `json:"groups,omitempty"`
	Description string                `json:"description"`
	Tags        vpc.Tags              `json:"tags,omitempty"`
	At          time.Time             `json:"at"`
	// Why is what it is for. What no pod waits for stays that when it is tried again.
	Why Why `json:"why,omitempty"`
}

// Times are when something was done that gets old, zero while it never was. Those of reads are when the last answer was asked for.
type Times struct {
	Started  time.Time // this run
	ENIs     time.Time // full reads of the interfaces
	Metadata time.Time
	VPC      time.Time
	Groups   time.Time
	Leaked   time.Time
	Wanted   time.Time // something asks for a read of the interfaces that is newer than this
	Shrunk   time.Time // blocks were last given back
	Searched time.Time // since when nothing new was learnt while pods look for a subnet
}

// State is all that is known of a node's addresses. One goroutine owns it.
type State struct {
	Config   Config
	Instance vpc.Instance
	Limits   vpc.InstanceLimits
	// MaxPods is the kubelet's; 0 while unknown, then the type's figure counts.
	MaxPods int
	// Unschedulable is the node's taint.
	Unschedulable bool

	enis    map[vpc.ENIID]*ENI
	order   []*ENI // primary first, then by card, device index and id
	pending map[string]*Pending
	gone    map[vpc.ENIID]time.Time // tombstones: a read asked within settle of them may still show what is no more
	book    *ledger.Ledger          // whose the addresses are

	// Pods that wait, and what is known of those that may come.
	waiting     []Demand
	waitedAt    time.Time // when one last began to wait
	bound       []Bound
	unscheduled int
	demand      target.Demand
	assignLead  target.Lead
	attachLead  target.Lead

	// What EC2, metadata and the cluster said beside interfaces.
	zone         *subnet.Zone
	broken       map[vpc.SubnetID]bool // the subnets that have no prefix left, as of the last Tick
	scarce       bool                  // the subnets have hardly an address left, as of the last Tick
	tight        bool                  // they fill up
	custom       Custom
	tagged       []vpc.SecurityGroup // those that are tagged for interfaces
	groupsDenied bool
	mostGroups   int       // that EC2 is not known to refuse for an interface
	groupsTold   time.Time // when it last refused some
	leaked       []vpc.ENI
	leakedTagged map[vpc.ENIID]bool

	// The run, and its calls.
	at          Times
	restored    bool // a journal gave interfaces: the node ran before
	provisional bool // the pool is the journal's and metadata's word, EC2 has not answered yet
	nonce       string
	seq         int // creations so far
	inflight    map[string]Action
	begun       map[string]time.Time // when an action in flight began
	tries       *pace.Tries
	lastErr     error // of the last call that would have helped a waiting pod
	lastKey     string
	groupsErr   error // of the last call that set an interface's groups
}

// New returns the state of a node that knows nothing yet. The nonce makes client tokens of this run different from those of a run
// whose journal was lost.
func New(cfg Config, inst vpc.Instance, limits vpc.InstanceLimits, nonce string, now time.Time) *State {
	s := &State{
		Config: cfg, Instance: inst, Limits: limits, nonce: nonce, at: Times{Started: now, VPC: now}, zone: subnet.NewZone(subnet.Rules{}),
		enis: make(map[vpc.ENIID]*ENI), pending: make(map[string]*Pending), gone: make(map[vpc.ENIID]time.Time), book: ledger.New(cfg.Cooldown),
		leakedTagged: make(map[vpc.ENIID]bool), inflight: make(map[string]Action), tries: pace.New(string(inst.ID)),
		broken: make(map[vpc.SubnetID]bool), begun: make(map[string]time.Time),
		mostGroups: subnet.MostGroupsPerENI,
	}
	s.rule()
	return s
}

// Tally counts the addresses of managed interfaces.
func (s *State) Tally() target.Tally {
	t := target.Tally{Waiting: len(s.waiting)}
	for _, e := range s.order {
		if !e.Managed {
			continue
		}
		s.tallyENI(e, &t)
	}
	for _, a := range s.inflight {
		if a.Kind == AssignAddresses {
			t.Coming += a.Want.Size()
		}
	}
	for _, p := range s.pending {
		t.Coming += p.Want.Size()
	}
	return t
}

func (s *State) tallyENI(e *ENI, t *target.Tally) {
	serves := e.Serves()
	coming := e.Phase == Created && !s.tries.Refused("attach/"+string(e.ID)) || e.Phase == Attaching || e.Phase == Attached && !e.Configured && e.MissingSince.IsZero()
	coming = coming && !e.Barred
	for _, b := range e.Sorted() {
		suits, free := s.Suits(e, b), 0
		for _, a := range b.Addresses() {
			switch a.Phase {
			case InUse:
				t.InUse++
			case Cooling:
				t.Cooling++
			case Held:
				t.Held++
			case Leaving:
				t.Leaving++
			case Free:
				free++
			}
		}
		switch {
		case b.Doubt == ledger.MaybeGone:
			t.Held += free
		case serves && b.Doubt == "" && suits:
			t.Free += free
			if free == b.Size() {
				t.Idle++
			}
		case serves && b.Doubt == "":
			t.Other += free
		case coming:
			t.Coming += free
		}
	}
}

// ENIs returns the interfaces, primary first. The caller must not change them.
func (s *State) ENIs() []*ENI { return s.order }

// ENI returns an interface, nil when unknown.
func (s *State) ENI(id vpc.ENIID) *ENI { return s.enis[id] }

// Zone returns what is known of the subnets. The caller must not change it.
func (s *State) Zone() *subnet.Zone { return s.zone }

// Tries returns what failed and when it may be tried again, by an action's key, Growth or GrowthIn. The caller must not change it.
func (s *State) Tries() *pace.Tries { return s.tries }

// Times returns when what gets old was done.
func (s *State) Times() Times { return s.at }

// Pending returns the interfaces that are being created, by token. The caller must not change them.
func (s *State) Pending() map[string]*Pending { return s.pending }

// Leaked returns what the last search for unattached interfaces with our tags found and nobody has deleted since.
func (s *State) Leaked() []vpc.ENI { return s.leaked }

// Marked tells whether this run gave a leaked interface a time of creation.
func (s *State) Marked(id vpc.ENIID) bool { return s.leakedTagged[id] }

// DoubtUntil is until when addresses may be held because the journal was lost, zero when it was not.
func (s *State) DoubtUntil() time.Time { return s.book.DoubtUntil() }

// Restored tells whether a journal gave interfaces: the node ran before.
func (s *State) Restored() bool { return s.restored }

// GroupsFailure is the error of the last call that set an interface's groups, nil when none failed.
func (s *State) GroupsFailure() error { return s.groupsErr }

// LastFailure returns the error of the last call that would have helped a waiting pod, and its key, one that Grows for a refused creation.
func (s *State) LastFailure() (key string, err error) { return s.lastKey, s.lastErr }

// Token is the client token of the nth creation from here, from 0.
func (s *State) Token(n int) string {
	return fmt.Sprintf("%s-%s-%d", s.Instance.ID, s.nonce, s.seq+n)
}

// Tick does what time alone does: cooling periods end, measurements complete, words of EC2 grow old.
func (s *State) Tick(now time.Time) {
	s.book.Thaw(now)
	s.measure(now)
	s.breakSubnets(now)
	s.findScarce()
}

// Ready tells whether the pool is known well enough to answer pods.
func (s *State) Ready() bool { return !s.at.ENIs.IsZero() || s.provisional }

// Provisional tells whether the pool is the journal's and metadata's word because EC2 has not answered yet.
func (s *State) Provisional() bool { return s.provisional && s.at.ENIs.IsZero() }

func (s *State) addENI(e *ENI) {
	s.enis[e.ID] = e
	s.resort()
}

func (s *State) dropENI(e *ENI, now time.Time) {
	delete(s.enis, e.ID)
	s.book.Drop(e.ID)
	s.gone[e.ID] = now
	s.resort()
}

func (s *State) resort() {
	s.order = s.order[:0]
	for _, e := range s.enis {
		s.order = append(s.order, e)
	}
	slices.SortFunc(s.order, func(a, b *ENI) int {
		return cmp.Or(cmp.Compare(a.place(), b.place()), cmp.Compare(a.ID, b.ID))
	})
}

// Configured marks an attached interface as served by the host's network, or not.
func (s *State) Configured(id vpc.ENIID, yes bool) {
	if e := s.enis[id]; e != nil {
		e.Configured = yes
	}
}

// WantRead asks for a read of the interfaces that is newer than now.
func (s *State) WantRead(now time.Time) {
	if now.After(s.at.Wanted) {
		s.at.Wanted = now
	}
}

// Flying returns the action under way with a key.
func (s *State) Flying(key string) (Action, bool) {
	a, ok := s.inflight[key]
	return a, ok
}

// Acting returns the actions under way, by key.
func (s *State) Acting() []Action {
	acting := slices.Collect(maps.Values(s.inflight))
	slices.SortFunc(acting, func(a, b Action) int { return strings.Compare(a.Key, b.Key) })
	return acting
}

package vpcsim

import (
	"context"
	"sync"
	"time"

	"github.com/berth-net/berth/internal/core/vpc"
	"github.com/berth-net/berth/internal/vpcsim/ec2"
	"github.com/berth-net/berth/internal/vpcsim/pacing"
)

// Clock tells the time. The real clock, the virtual time of testing/synctest and a discrete-event simulation's own
// clock all do: the Sim starts no timer, it applies what has become due whenever it is called (see Advance).
type Clock interface {
	Now() time.Time
}

// Zone is an availability zone: its name and its id.
type Zone struct {
	Name vpc.ZoneName
	ID   string
}

// Options say what the simulated region is. The zero value is a usable region.
type Options struct {
	Region  string        // default us-west-2
	Account vpc.AccountID // the first account, default 111122223333
	Zones   []Zone        // default a, b and c of the region
	Seed    uint64
	Clock   Clock // default the real clock
	Settings
}

// Settings are what may change while the Sim runs. The zero value is a region without latency, lag or throttling.
type Settings struct {
	// Latency is how long calls take, by action; "*" is for actions without an entry of their own.
	Latency map[string]pacing.Distribution
	// Throttle turns the request buckets on. Buckets changes single ones; the rest are EC2's defaults.
	Throttle bool
	Buckets  map[string]pacing.Bucket

	// How long EC2's own transitions take.
	Attach, Detach    pacing.Distribution // attaching to attached; detaching to available
	AssociateBlock    pacing.Distribution // associating to associated, and back
	LaunchInstance    pacing.Distribution // pending to running
	TerminateInstance pacing.Distribution // shutting-down to terminated
	CreateNATGateway  pacing.Distribution // pending to available
	DescribeLag       pacing.Distribution // until describe actions show a change of an interface or subnet
	FreeCountLag      pacing.Distribution // until AvailableIpAddressCount shows a change
	MetadataAdd       pacing.Distribution // until the metadata service shows an item, each on its own
	MetadataRemove    pacing.Distribution // until the metadata service stops showing an item
	Quarantine        time.Duration       // a freed address is not chosen again for so long
	Sequential        bool                // choose the lowest free address instead of a random one
	LaxBlocks         bool                // accept secondary blocks that the restriction table refuses
	Authorize         bool                // evaluate the policies attached with SetPolicies
	Quotas            Quotas
}

// Quotas are the account's limits; a zero stands for EC2's default.
type Quotas struct {
	BlocksPerVPC, SubnetsPerVPC, Interfaces, GroupsPerInterface, RulesPerGroup, Instances int
}

// Sim is a simulated region. It is safe for concurrent use: one mutex guards the whole state, which is what a server's
// store needs; no call waits while it holds it.
//
// Time and effect. A call's latency is decided by Admit: the caller waits Admission.Before, makes the call, whose
// effect is complete when the method returns, and waits Admission.After before it looks at the answer. Whoever calls
// the methods alone gets an EC2 without latency, throttling and faults. Transitions that EC2 makes by itself
// (attaching to attached, metadata, …) are due at instants that NextEvent tells; they are applied in order by the next
// call of any method at or after that instant.
type Sim struct {
	mu sync.Mutex
}

// New makes an empty region.
func New(o Options) *Sim { return &Sim{} }

// do runs an action: what is due first, then authorization, dry run, idempotency and the action itself.
func do[In, Out any](s *Sim, c Caller, action string, in In, run func(Caller, In) (Out, error)) (Out, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return run(c, in)
}

// Now is the Sim's time: its clock's, but never going back.
func (s *Sim) Now() time.Time { return time.Now() }

// NextEvent tells when the next transition is due, if any is: a discrete-event simulation adds it to its own queue.
func (s *Sim) NextEvent() (time.Time, bool) { return time.Time{}, false }

// Advance applies what is due.
func (s *Sim) Advance() {}

// Run applies transitions when they are due until ctx ends, so that Changed fires without anybody calling. It uses
// timers of package time: real time, or the virtual time of testing/synctest.
func (s *Sim) Run(ctx context.Context) error { return nil }

// Changed receives a value after the topology has changed; several changes may become one.
func (s *Sim) Changed() <-chan struct{} { return nil }

// Topology is the world as packets meet it.
func (s *Sim) Topology() Topology { return Topology{} }

// Request is a call before it is made. Resources is how many things RunInstances or TerminateInstances ask for;
// Unfiltered tells that a describe has neither filters nor ids nor MaxResults, which EC2 throttles earlier.
type Request struct {
	Action     string
	Resources  int
	Unfiltered bool
}

// Admission is what happens to a call: it waits Before, takes effect, and its answer is seen After later. With Err it
// has no effect and is answered so (after Before). DropRequest loses it before and DropResponse after its effect;
// Garbage, if not empty, is the body to answer instead.
type Admission struct {
	Before, After             time.Duration
	Err                       *APIError
	DropRequest, DropResponse bool
	Garbage                   string
}

// Admit decides a call's duration and fate by latency, faults and request buckets. A call that it refuses or drops
// before its effect is counted here; the others are counted by the action itself.
func (s *Sim) Admit(c Caller, r Request) Admission { return Admission{} }

// Settings returns the current settings.
func (s *Sim) Settings() Settings { return Settings{} }

// SetSettings replaces the settings. What is under way keeps the delay that it was given.
func (s *Sim) SetSettings(v Settings) {}

// AddFault adds a fault and returns its id.
func (s *Sim) AddFault(f pacing.Fault) int { return 0 }

// Faults lists the faults that are still in force.
func (s *Sim) Faults() []pacing.Fault { return nil }

// ClearFault removes one fault, or all of them when id is zero.
func (s *Sim) ClearFault(id int) {}

// Mark names this moment in the call log.
func (s *Sim) Mark(name string) {}

// Calls counts calls per action, caller and outcome since the mark, or since the start when mark is empty. The second
// result is false when there is no such mark.
func (s *Sim) Calls(mark string) ([]pacing.CallCount, bool) { return nil, false }

// SetPolicies replaces the IAM policy documents (JSON) of a principal or access key. They count when
// Settings.Authorize is on. A caller without any policy may do everything when it is the account itself (no principal
// and no access key) and nothing otherwise.
func (s *Sim) SetPolicies(principalOrKey string, documents ...string) error { return nil }

// ShareSubnet shares a subnet with another account, as RAM does: the participant sees the subnet and its VPC with tags
// of its own and creates interfaces of its own in it.
func (s *Sim) ShareSubnet(id vpc.SubnetID, with vpc.AccountID) error { return nil }

// Metadata is what the metadata service of an instance shows now, or false when there is no such instance.
func (s *Sim) Metadata(id vpc.InstanceID) (Metadata, bool) { return Metadata{}, false }

// Metadata is an instance's metadata at a moment.
type Metadata struct {
	// Options are the instance's settings of the service: endpoint, tokens, hop limit, tags.
	Options ec2.InstanceMetadataOptions
	// Values maps paths below /latest/meta-data/ to their text, for example "placement/region". A path that ends in "/"
	// is a directory that is listed although nothing is in it yet. Paths that are absent answer 404.
	Values map[string]string
	// Role is the name of the instance's role, or empty. Whoever serves the metadata makes the credentials.
	Role string
	// For the instance identity document.
	Account             vpc.AccountID
	Region              string
	Zone                vpc.ZoneName
	Instance            vpc.InstanceID
	InstanceType, Image string
	PrivateIP           string
	Architecture        string
	PendingTime         time.Time
}

// Snapshot is the whole state as JSON.
func (s *Sim) Snapshot() ([]byte, error) { return nil, nil }

// Restore replaces the whole state by that of a snapshot: same ids, same random numbers to come, delays relative to the
// clock's present time.
func (s *Sim) Restore(data []byte) error { return nil }

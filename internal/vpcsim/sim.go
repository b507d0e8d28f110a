package vpcsim

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"strings"
	"sync"
	"time"

	"github.com/berth-net/berth/internal/core/vpc"
	"github.com/berth-net/berth/internal/vpcsim/addressing"
	"github.com/berth-net/berth/internal/vpcsim/ec2"
	"github.com/berth-net/berth/internal/vpcsim/iam"
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
// (attaching to attached, pending to running, …) are due at instants that NextEvent tells; they are applied in order by
// the next call of any method at or after that instant.
type Sim struct {
	mu    sync.Mutex
	clock Clock
	skew  time.Duration // how far a restored state is ahead of the clock
	st    state

	// Two sources, so that a change of delays does not change the ids and addresses that are chosen.
	ids, dice         *rand.Rand
	idsSeed, diceSeed *rand.PCG

	gate          pacing.Gate
	log           pacing.Log
	policies      map[string][]*iam.Policy
	changed, wake chan struct{}
	topology      *Topology // as of its revision

	// Indexes of the state.
	macs        map[string]bool
	publics     map[netip.Addr]bool
	attachments map[string]string // attachment id -> interface id
	ofGroup     map[string]int    // security group id -> interfaces that have it
	ofSubnet    map[string]int    // subnet id -> interfaces in it
}

type realClock struct{}

func (realClock) Now() time.Time { return time.Now() }

// New makes an empty region.
func New(o Options) *Sim {
	s := &Sim{
		clock: o.Clock, policies: make(map[string][]*iam.Policy),
		changed: make(chan struct{}, 1), wake: make(chan struct{}, 1),
	}
	if s.clock == nil {
		s.clock = realClock{}
	}
	s.idsSeed, s.diceSeed = rand.NewPCG(o.Seed, 1), rand.NewPCG(o.Seed, 2)
	s.ids, s.dice = rand.New(s.idsSeed), rand.New(s.diceSeed)
	s.st = state{Region: o.Region, Account: string(o.Account), Zones: o.Zones, Now: s.clock.Now()}
	if s.st.Region == "" {
		s.st.Region = "us-west-2"
	}
	if s.st.Account == "" {
		s.st.Account = "111122223333"
	}
	for i, letter := range []string{"a", "b", "c"} {
		if len(o.Zones) == 0 {
			zone := Zone{Name: vpc.ZoneName(s.st.Region + letter), ID: zoneID(s.st.Region, i+1)}
			s.st.Zones = append(s.st.Zones, zone)
		}
	}
	s.index()
	s.set(o.Settings)
	return s
}

// zoneID abbreviates a region as EC2 does: usw2-az1 for us-west-2.
func zoneID(region string, n int) string {
	parts := strings.Split(region, "-")
	short := parts[0]
	for _, p := range parts[1 : len(parts)-1] {
		short += p[:1]
	}
	return fmt.Sprintf("%s%s-az%d", short, parts[len(parts)-1], n)
}

// index rebuilds what is derived from the state.
func (s *Sim) index() {
	s.macs, s.publics = make(map[string]bool), make(map[netip.Addr]bool)
	s.attachments, s.ofGroup, s.ofSubnet = make(map[string]string), make(map[string]int), make(map[string]int)
	s.topology = nil
	for e := range s.st.ENIs.all() {
		s.indexENI(e, 1)
		for _, p := range e.Public {
			s.publics[p.IP] = true
		}
	}
	for a := range s.st.Addresses.all() {
		s.publics[a.IP] = true
	}
}

// indexENI counts an interface in (1) or out (-1).
func (s *Sim) indexENI(e *eni, n int) {
	s.ofSubnet[e.Subnet] += n
	for _, g := range e.Groups {
		s.ofGroup[g] += n
	}
	if n < 0 {
		delete(s.macs, e.MAC)
		return
	}
	s.macs[e.MAC] = true
	if e.Attachment != nil {
		s.attachments[e.Attachment.ID] = e.ID
	}
}

// do runs an action: what is due first, then authorization, dry run, idempotency and the action itself.
func do[In, Out any](s *Sim, c Caller, action string, in In, run func(Caller, In) (Out, error)) (Out, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.advance()
	if c.Account == "" {
		c.Account = vpc.AccountID(s.st.Account)
	}
	out, err := perform(s, c, action, in, run)
	outcome := "ok"
	if err != nil {
		e, ok := errors.AsType[*APIError](err)
		if !ok {
			e = &APIError{Status: 500, Code: "InternalError", Message: err.Error()}
		}
		outcome, err = e.Code, e
		var none Out
		out = none
	} else if !readOnly(action) {
		s.touchTopology()
	}
	s.log.Count(action, c.Source, outcome)
	s.advance() // transitions that take no time
	return out, err
}

func readOnly(action string) bool {
	return strings.HasPrefix(action, "Describe") || strings.HasPrefix(action, "Get") || strings.HasSuffix(action, "Tags")
}

func perform[In, Out any](s *Sim, c Caller, action string, in In, run func(Caller, In) (Out, error)) (Out, error) {
	var none Out
	if err := s.authorize(c, action, in); err != nil {
		return none, err
	}
	v := reflect.ValueOf(in)
	if dry := v.FieldByName("DryRun"); dry.IsValid() && dry.Bool() {
		return none, &APIError{Status: 412, Code: "DryRunOperation", Message: "Request would have succeeded, but DryRun flag is set."}
	}
	token := v.FieldByName("ClientToken")
	if !token.IsValid() || token.String() == "" {
		return run(c, in)
	}
	return once(s, string(c.Account)+" "+action+" "+token.String(), in, func() (Out, error) { return run(c, in) })
}

// tokenLife is how long EC2 remembers a ClientToken.
const tokenLife = 24 * time.Hour

// answer is what a ClientToken stands for.
type answer struct {
	Hash  [sha256.Size]byte
	At    time.Time
	Reply json.RawMessage
}

// once runs an action unless its token was seen before: then it gives the same answer, if the request is the same.
func once[In, Out any](s *Sim, key string, in In, run func() (Out, error)) (Out, error) {
	var out Out
	for len(s.st.TokenLine) > 0 && s.st.Now.Sub(s.st.Tokens[s.st.TokenLine[0]].At) >= tokenLife {
		delete(s.st.Tokens, s.st.TokenLine[0])
		s.st.TokenLine = s.st.TokenLine[1:]
	}
	request, err := json.Marshal(in)
	if err != nil {
		return out, fmt.Errorf("hash request %s: %w", key, err)
	}
	hash := sha256.Sum256(request)
	if a, seen := s.st.Tokens[key]; seen {
		if a.Hash != hash {
			return out, ec2.Errorf("IdempotentParameterMismatch",
				"Request parameters do not match the parameters of the previous request with this client token.")
		}
		return out, json.Unmarshal(a.Reply, &out)
	}
	if out, err = run(); err != nil {
		return out, err
	}
	reply, err := json.Marshal(out)
	if err != nil {
		return out, fmt.Errorf("keep answer %s: %w", key, err)
	}
	if s.st.Tokens == nil {
		s.st.Tokens = make(map[string]*answer)
	}
	s.st.Tokens[key] = &answer{Hash: hash, At: s.st.Now, Reply: reply}
	s.st.TokenLine = append(s.st.TokenLine, key)
	return out, nil
}

// after draws how long something takes.
func (s *Sim) after(d pacing.Distribution) time.Duration { return d.Sample(s.dice) }

// choice is how addresses are chosen now.
func (s *Sim) choice() addressing.Choice {
	set := &s.st.Settings
	return addressing.Choice{Rand: s.ids, Now: s.st.Now, Quarantine: set.Quarantine, Sequential: set.Sequential}
}

// quota is a limit of the account: the setting, or EC2's default.
func quota(setting, standard int) int {
	if setting > 0 {
		return setting
	}
	return standard
}

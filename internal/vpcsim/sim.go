package vpcsim

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"sync"
	"time"

	"github.com/berth-net/berth/internal/core/vpc"
	"github.com/berth-net/berth/internal/vpcsim/ec2"
	"github.com/berth-net/berth/internal/vpcsim/iam"
	"github.com/berth-net/berth/internal/vpcsim/instances"
	"github.com/berth-net/berth/internal/vpcsim/pacing"
	"github.com/berth-net/berth/internal/vpcsim/world"
)

// Clock tells the time. The real clock, the virtual time of testing/synctest and a discrete-event simulation's own
// clock all do: the Sim starts no timer, it applies what has become due whenever it is called (see Advance).
type Clock interface {
	Now() time.Time
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

	acts instances.Actions // and the state, acts.State

	gate     pacing.Gate
	log      pacing.Log
	policies map[string][]*iam.Policy
	changed  chan struct{}
	topology *Topology // as of its revision
}

type realClock struct{}

func (realClock) Now() time.Time { return time.Now() }

// New makes an empty region.
func New(o Options) *Sim {
	s := &Sim{
		clock: o.Clock, policies: make(map[string][]*iam.Policy),
		changed: make(chan struct{}, 1),
	}
	s.acts.World = &world.World{Wake: make(chan struct{}, 1)}
	if s.clock == nil {
		s.clock = realClock{}
	}
	s.acts.IDsSeed, s.acts.DiceSeed = rand.NewPCG(o.Seed, 1), rand.NewPCG(o.Seed, 2)
	s.acts.IDs, s.acts.Dice = rand.New(s.acts.IDsSeed), rand.New(s.acts.DiceSeed)
	s.acts.State = world.State{Region: o.Region, Account: string(o.Account), Zones: o.Zones, Now: s.clock.Now()}
	if s.acts.State.Region == "" {
		s.acts.State.Region = "us-west-2"
	}
	if s.acts.State.Account == "" {
		s.acts.State.Account = "111122223333"
	}
	for i, letter := range []string{"a", "b", "c"} {
		if len(o.Zones) == 0 {
			zone := Zone{Name: vpc.ZoneName(s.acts.State.Region + letter), ID: zoneID(s.acts.State.Region, i+1)}
			s.acts.State.Zones = append(s.acts.State.Zones, zone)
		}
	}
	s.acts.Index()
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

// do runs an action: what is due first, then authorization, dry run, idempotency and the action itself.
func do[In, Out any](s *Sim, c Caller, action string, in In, run func(Caller, In) (Out, error)) (Out, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.advance()
	if c.Account == "" {
		c.Account = vpc.AccountID(s.acts.State.Account)
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
	} else if action == "CreateTags" || action == "DeleteTags" { // no packet sees them
		world.Notify(s.changed)
	} else if !readOnly(action) {
		s.touchTopology()
	}
	s.log.Count(action, c.Source, outcome)
	s.advance() // transitions that take no time
	return out, err
}

func readOnly(action string) bool {
	return strings.HasPrefix(action, "Describe") || strings.HasPrefix(action, "Get")
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

// once runs an action unless its token was seen before: then it gives the same answer, if the request is the same.
func once[In, Out any](s *Sim, key string, in In, run func() (Out, error)) (Out, error) {
	var out Out
	for len(s.acts.State.TokenLine) > 0 && s.acts.State.Now.Sub(s.acts.State.Tokens[s.acts.State.TokenLine[0]].At) >= tokenLife {
		delete(s.acts.State.Tokens, s.acts.State.TokenLine[0])
		s.acts.State.TokenLine = s.acts.State.TokenLine[1:]
	}
	request, err := json.Marshal(in)
	if err != nil {
		return out, fmt.Errorf("hash request %s: %w", key, err)
	}
	hash := sha256.Sum256(request)
	if a, seen := s.acts.State.Tokens[key]; seen {
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
	if s.acts.State.Tokens == nil {
		s.acts.State.Tokens = make(map[string]*world.Answer)
	}
	s.acts.State.Tokens[key] = &world.Answer{Hash: hash, At: s.acts.State.Now, Reply: reply}
	s.acts.State.TokenLine = append(s.acts.State.TokenLine, key)
	return out, nil
}

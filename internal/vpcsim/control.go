package vpcsim

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/berth-net/berth/internal/core/vpc"
	"github.com/berth-net/berth/internal/vpcsim/iam"
	"github.com/berth-net/berth/internal/vpcsim/pacing"
	"github.com/berth-net/berth/internal/vpcsim/world"
)

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
// before its effect is counted here; the others are counted by the action itself, or by CountCall for those of other
// services ("imds:Get").
func (s *Sim) Admit(c Caller, r Request) Admission {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.advance()
	if c.Account == "" {
		c.Account = vpc.AccountID(s.acts.State.Account)
	}
	v := s.gate.Admit(pacing.Call{
		Account: string(c.Account), Source: c.Source, Action: r.Action, Resources: r.Resources, Unfiltered: r.Unfiltered,
	}, s.acts.State.Now, s.acts.Dice)
	a := Admission{
		Before: v.Delay / 2, After: v.Delay - v.Delay/2,
		DropRequest: v.DropRequest, DropResponse: v.DropResponse, Garbage: v.Garbage,
	}
	switch {
	case v.DropRequest:
		s.log.Count(r.Action, c.Source, "dropped")
	case v.Code != "":
		a.Err = &APIError{Status: v.Status, Code: v.Code, Message: v.Message}
		a.Before, a.After = v.Delay, 0
		s.log.Count(r.Action, c.Source, v.Code)
	}
	return a
}

// Settings returns the current settings.
func (s *Sim) Settings() Settings {
	s.mu.Lock()
	defer s.mu.Unlock()
	return own(s.acts.State.Settings)
}

// own is a copy that shares nothing with whoever gave or gets the settings.
func own(v Settings) Settings {
	v.Latency, v.Buckets = maps.Clone(v.Latency), maps.Clone(v.Buckets)
	return v
}

// SetSettings replaces the settings. What is under way keeps the delay that it was given.
func (s *Sim) SetSettings(v Settings) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.advance()
	s.set(v)
	world.Notify(s.changed)
}

func (s *Sim) set(v Settings) {
	lagged := !s.acts.State.Settings.DescribeLag.Zero()
	counted := !s.acts.State.Settings.FreeCountLag.Zero()
	v = own(v)
	s.acts.State.Settings = v
	s.gate.Latency, s.gate.Throttle, s.gate.Sizes = v.Latency, v.Throttle, v.Buckets
	for e := range s.acts.State.ENIs.All() {
		if !lagged && !v.DescribeLag.Zero() {
			now := s.acts.View(e) // stays visible until a change shows
			e.Shown.Put(&now, s.acts.State.Now, s.acts.State.Now)
		}
	}
	for n := range s.acts.State.Subnets.All() {
		if !counted && !v.FreeCountLag.Zero() {
			n.Counts.Put(n.V4.Free(), s.acts.State.Now, s.acts.State.Now)
		}
	}
}

// AddFault adds a fault and returns its id.
func (s *Sim) AddFault(f pacing.Fault) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	world.Notify(s.changed)
	return s.gate.Faults.Add(f)
}

// Faults lists the faults that are still in force.
func (s *Sim) Faults() []pacing.Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.advance()
	return s.gate.Faults.Active(s.acts.State.Now)
}

// ClearFault removes one fault, or all of them when id is zero.
func (s *Sim) ClearFault(id int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gate.Faults.Clear(id)
	world.Notify(s.changed)
}

// Mark names this moment in the call log.
func (s *Sim) Mark(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log.Mark(name)
	world.Notify(s.changed)
}

// CountCall counts a call that was let in and that no action counts: one to another service than EC2, under its action
// ("imds:Get"), or one that could not be read.
func (s *Sim) CountCall(action, source, outcome string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log.Count(action, source, outcome)
}

// Calls counts calls per action, caller and outcome since the mark, or since the start when mark is empty. The second
// result is false when there is no such mark.
func (s *Sim) Calls(mark string) ([]pacing.CallCount, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.Since(mark)
}

// SetPolicies replaces the IAM policy documents (JSON) of a principal or access key. They count when
// Settings.Authorize is on. A caller without any policy may do everything when it is the account itself (no principal
// and no access key) and nothing otherwise.
func (s *Sim) SetPolicies(principalOrKey string, documents ...string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	compiled, err := compile(principalOrKey, documents)
	if err != nil {
		return err
	}
	if s.acts.State.Policies == nil {
		s.acts.State.Policies = make(map[string][]string)
	}
	s.acts.State.Policies[principalOrKey], s.policies[principalOrKey] = documents, compiled
	world.Notify(s.changed)
	return nil
}

func compile(principalOrKey string, documents []string) ([]*iam.Policy, error) {
	policies := make([]*iam.Policy, len(documents))
	for i, d := range documents {
		p, err := iam.Parse(d)
		if err != nil {
			return nil, fmt.Errorf("set policy %d of %s: %w", i+1, principalOrKey, err)
		}
		policies[i] = p
	}
	return policies, nil
}

// ShareSubnet shares a subnet with another account, as RAM does: the participant sees the subnet and its VPC with tags
// of its own and creates interfaces of its own in it.
func (s *Sim) ShareSubnet(id vpc.SubnetID, with vpc.AccountID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, ok := s.acts.State.Subnets.Get(string(id))
	if !ok {
		return world.KindSubnet.Missing(string(id))
	}
	if !n.Sees(string(with)) {
		n.SharedWith = append(n.SharedWith, string(with))
		slices.Sort(n.SharedWith)
		world.Notify(s.changed)
	}
	return nil
}

// Snapshot is the whole state as JSON.
func (s *Sim) Snapshot() ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.advance()
	st := s.acts.State
	st.Buckets, st.Faults, st.Calls = s.gate.Buckets, s.gate.Faults, s.log
	var err error
	if st.IDs, err = s.acts.IDsSeed.MarshalBinary(); err != nil {
		return nil, fmt.Errorf("snapshot: %w", err)
	}
	if st.Dice, err = s.acts.DiceSeed.MarshalBinary(); err != nil {
		return nil, fmt.Errorf("snapshot: %w", err)
	}
	data, err := json.Marshal(st)
	if err != nil {
		return nil, fmt.Errorf("snapshot: %w", err)
	}
	return data, nil
}

// Restore replaces the whole state by that of a snapshot: same ids, same random numbers to come. What became due since
// the snapshot was taken happens at once; if the clock is behind the snapshot, time goes on from there.
func (s *Sim) Restore(data []byte) error {
	var st world.State
	if err := json.Unmarshal(data, &st); err != nil {
		return fmt.Errorf("restore snapshot: %w", err)
	}
	policies := make(map[string][]*iam.Policy)
	for who, documents := range st.Policies {
		compiled, err := compile(who, documents)
		if err != nil {
			return fmt.Errorf("restore snapshot: %w", err)
		}
		policies[who] = compiled
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	ids, dice := *s.acts.IDsSeed, *s.acts.DiceSeed
	if err := errors.Join(ids.UnmarshalBinary(st.IDs), dice.UnmarshalBinary(st.Dice)); err != nil {
		return fmt.Errorf("restore snapshot: %w", err)
	}
	*s.acts.IDsSeed, *s.acts.DiceSeed = ids, dice
	st.Revision = max(st.Revision, s.acts.State.Revision)
	st.IDs, st.Dice = nil, nil
	s.acts.State, s.policies = st, policies
	s.skew = max(0, st.Now.Sub(s.clock.Now()))
	s.gate.Buckets, s.gate.Faults, s.log = st.Buckets, st.Faults, st.Calls
	s.gate.Latency, s.gate.Throttle, s.gate.Sizes = st.Settings.Latency, st.Settings.Throttle, st.Settings.Buckets
	s.acts.Index()
	s.topology = nil
	s.touchTopology()
	world.Notify(s.acts.Wake)
	return nil
}

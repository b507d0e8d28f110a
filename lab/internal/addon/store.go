package addon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"
)

// Conflicts says what happens to fields that someone else has changed.
type Conflicts string

// EKS's choices; the empty one is None.
const (
	Overwrite Conflicts = "OVERWRITE"
	None      Conflicts = "NONE"
	Preserve  Conflicts = "PRESERVE"
)

// Status is an add-on's state.
type Status string

// EKS's states of an add-on.
const (
	Creating     Status = "CREATING"
	Active       Status = "ACTIVE"
	CreateFailed Status = "CREATE_FAILED"
	Updating     Status = "UPDATING"
	UpdateFailed Status = "UPDATE_FAILED"
	Deleting     Status = "DELETING"
	DeleteFailed Status = "DELETE_FAILED"
	Degraded     Status = "DEGRADED"
)

// Addon is an installed add-on.
type Addon struct {
	Name, Version     string
	Status            Status
	Configuration     string // as given, JSON or YAML
	Issues            []Issue
	Created, Modified time.Time
	Tags              map[string]string
}

// Issue is what is wrong with an add-on or an update.
type Issue struct {
	Code, Message string
	Resources     []string
}

// Update is a change of an add-on under way or done.
type Update struct {
	ID, Addon string
	Status    string // InProgress, Successful, Failed
	Params    []Param
	Created   time.Time
	Issues    []Issue
}

// Param is one of the settings that an update was asked for.
type Param struct{ Type, Value string }

// Request is what a create or an update asks for. Nil keeps what is.
type Request struct {
	Name          string
	Version       *string
	Configuration *string
	Conflicts     Conflicts
	Tags          map[string]string
}

// Installer changes the cluster.
type Installer interface {
	// Apply applies manifests; a *ConflictError names the fields that someone else owns.
	Apply(ctx context.Context, manifests []byte, conflicts Conflicts) error
	// Delete deletes what the manifests name; what is gone is success.
	Delete(ctx context.Context, manifests []byte) error
	// Rollout reports whether a workload runs everywhere as it should, and what is missing if not.
	Rollout(ctx context.Context, workload string) (done bool, missing string, err error)
}

// ConflictError tells that fields belong to another field manager.
type ConflictError struct {
	Resource string
	Fields   []string
}

// Error names the fields as EKS does.
func (e *ConflictError) Error() string {
	return fmt.Sprintf("Conflicts found when trying to apply. Will not continue due to resolve conflicts mode. Conflicts: %s %v", e.Resource, e.Fields)
}

// Options make a store.
type Options struct {
	Kinds     []Kind
	Installer Installer
	// File is where the state is kept, empty for nowhere.
	File string
	Log  *slog.Logger
	// RolloutLimit is how long a workload may take to be rolled out, Poll how often it is looked at.
	RolloutLimit, Poll time.Duration
}

// Store holds a cluster's add-ons. Its methods may be called from several goroutines.
type Store struct {
	options Options
	ctx     context.Context
	group   sync.WaitGroup

	mu      sync.Mutex
	addons  map[string]*Addon
	updates []*Update
	serial  int
}

type saved struct {
	Addons  map[string]*Addon
	Updates []*Update
	Serial  int
}

// Open returns the store with what its file holds. Changes that were under way when a former process ended are failed.
// What a store does in the background ends with ctx; see Wait.
func Open(ctx context.Context, o Options) (*Store, error) {
	s := &Store{options: o, ctx: ctx, addons: map[string]*Addon{}}
	if o.File == "" {
		return s, nil
	}
	data, err := os.ReadFile(o.File)
	if errors.Is(err, os.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read add-ons: %w", err)
	}
	var old saved
	if err := json.Unmarshal(data, &old); err != nil {
		return nil, fmt.Errorf("read add-ons from %s: %w", o.File, err)
	}
	s.updates, s.serial = old.Updates, old.Serial
	for name, a := range old.Addons {
		s.addons[name] = a
		switch a.Status {
		case Creating, Updating:
			a.Status = Degraded
		case Deleting:
			a.Status = DeleteFailed
		default:
		}
	}
	for _, u := range s.updates {
		if u.Status == "InProgress" {
			u.Status = "Failed"
			u.Issues = append(u.Issues, Issue{Code: "InternalFailure", Message: "the lab was stopped while the update was under way"})
		}
	}
	return s, nil
}

// Wait waits for the changes that are under way.
func (s *Store) Wait() { s.group.Wait() }

// save writes the state; the caller holds the lock.
func (s *Store) save() {
	if s.options.File == "" {
		return
	}
	data, err := json.Marshal(saved{s.addons, s.updates, s.serial})
	if err == nil {
		if err = os.WriteFile(s.options.File+".new", data, 0o644); err == nil {
			err = os.Rename(s.options.File+".new", s.options.File)
		}
	}
	if err != nil {
		s.options.Log.Error("add-ons are not saved", "err", err)
	}
}

// List returns the names of the installed add-ons.
func (s *Store) List() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var names []string
	for name := range s.addons {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Describe returns an installed add-on.
func (s *Store) Describe(name string) (Addon, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, ok := s.addons[name]
	if !ok {
		return Addon{}, notFound("No addon: %s found", name)
	}
	out := *a
	out.Issues = slices.Clone(a.Issues)
	return out, nil
}

// Updates lists the updates of an add-on, the newest first.
func (s *Store) Updates(name string) []Update {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []Update
	for _, u := range s.updates {
		if u.Addon == name {
			out = append(out, *u)
		}
	}
	slices.Reverse(out)
	return out
}

// Update returns one update by its id.
func (s *Store) Update(id string) (Update, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, u := range s.updates {
		if u.ID == id {
			out := *u
			out.Issues = slices.Clone(u.Issues)
			return out, nil
		}
	}
	return Update{}, notFound("No update found for ID: %s", id)
}

// Kinds returns the catalogue.
func (s *Store) Kinds() []Kind { return s.options.Kinds }

// Kind returns the add-on of that name.
func (s *Store) Kind(name string) (Kind, error) {
	for _, k := range s.options.Kinds {
		if k.Name == name {
			return k, nil
		}
	}
	return Kind{}, &Error{Type: InvalidParameter, Message: fmt.Sprintf("Addon %s specified is not supported", name)}
}

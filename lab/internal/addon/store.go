package addon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/berth-net/berth/internal/vpcsim/wire/eks"
)

// Conflicts says what happens to fields that someone else has changed.
type Conflicts string

// EKS's choices; the empty one is None.
const (
	Overwrite Conflicts = "OVERWRITE"
	None      Conflicts = "NONE"
	Preserve  Conflicts = "PRESERVE"
)

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
	// RolloutLimit is how long a rollout may stay as it is, Poll how often it is looked at.
	RolloutLimit, Poll time.Duration
}

// Store holds a cluster's add-ons. Its methods may be called from several goroutines.
type Store struct {
	options Options
	ctx     context.Context
	group   sync.WaitGroup

	mu     sync.Mutex
	addons map[string]*eks.Addon
}

// Open returns the store with what its file holds. Changes that were under way when a former process ended have
// failed. What a store does in the background ends with ctx; see Wait.
func Open(ctx context.Context, o Options) (*Store, error) {
	s := &Store{options: o, ctx: ctx, addons: map[string]*eks.Addon{}}
	if o.File == "" {
		return s, nil
	}
	data, err := os.ReadFile(o.File)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read add-ons: %w", err)
	}
	if err := json.Unmarshal(data, &s.addons); err != nil {
		return nil, fmt.Errorf("read add-ons from %s: %w", o.File, err)
	}
	interrupted := []eks.Issue{{Code: "InternalFailure", Message: "the lab was stopped while the change was under way"}}
	for _, a := range s.addons {
		switch a.Status {
		case eks.Creating, eks.Updating:
			a.Status, a.Issues = eks.Degraded, interrupted
		case eks.Deleting:
			a.Status, a.Issues = eks.DeleteFailed, interrupted
		default:
		}
	}
	return s, nil
}

// Wait waits for the changes that are under way.
func (s *Store) Wait() { s.group.Wait() }

// Addons lists the installed add-ons by name.
func (s *Store) Addons() []eks.Addon {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []eks.Addon
	for _, name := range slices.Sorted(maps.Keys(s.addons)) {
		a := *s.addons[name]
		a.Issues = slices.Clone(a.Issues)
		out = append(out, a)
	}
	return out
}

// Catalogue lists what can be installed in a cluster of a version such as 1.35.
func (s *Store) Catalogue(clusterVersion string) []eks.AddonVersion {
	var out []eks.AddonVersion
	for _, k := range s.options.Kinds {
		out = append(out, eks.AddonVersion{
			Addon: k.Name, Version: k.Version, Type: "networking", Architectures: []string{"amd64"},
			ClusterVersions: []string{clusterVersion}, DefaultFor: []string{clusterVersion}, Schema: k.Schema,
		})
	}
	return out
}

// save writes the state; the caller holds the lock.
func (s *Store) save() {
	if s.options.File == "" {
		return
	}
	data, err := json.Marshal(s.addons)
	if err == nil {
		if err = os.WriteFile(s.options.File+".new", data, 0o644); err == nil {
			err = os.Rename(s.options.File+".new", s.options.File)
		}
	}
	if err != nil {
		s.options.Log.Error("add-ons are not saved", "err", err)
	}
}

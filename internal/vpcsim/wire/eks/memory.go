package eks

import (
	"context"
	_ "embed"
	"slices"
	"strings"
	"sync"
	"time"
)

// VPCCNISchema is the JSON schema of the configuration values of add-on vpc-cni.
//
//go:embed vpc-cni.schema.json
var VPCCNISchema string

// Memory is a Backend without a cluster behind it: add-ons become active after a while. It serves tests, and the simulated
// VPC when it runs alone. It is safe for concurrent use.
type Memory struct {
	now     func() time.Time
	rollout time.Duration

	mu        sync.Mutex
	clusters  []Cluster
	groups    map[string][]NodeGroup
	addons    map[string][]memoryAddon
	catalogue []AddonVersion
	failure   *Issue
}

type memoryAddon struct {
	Addon
	until time.Time
	next  AddonStatus // "" for removal
	fault *Issue
}

// NewMemory returns a backend without clusters, in which a change takes the given time.
func NewMemory(now func() time.Time, rollout time.Duration, catalogue ...AddonVersion) *Memory {
	return &Memory{
		now: now, rollout: rollout, catalogue: catalogue,
		groups: make(map[string][]NodeGroup), addons: make(map[string][]memoryAddon),
	}
}

// AddCluster adds a cluster with its node groups and add-ons.
func (m *Memory) AddCluster(c Cluster, groups []NodeGroup, addons []Addon) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.clusters = append(m.clusters, c)
	m.groups[c.Name] = groups
	for _, a := range addons {
		m.addons[c.Name] = append(m.addons[c.Name], memoryAddon{Addon: a, next: a.Status})
	}
}

// FailChanges makes the changes from now on end degraded with this issue; nil lets them succeed again.
func (m *Memory) FailChanges(issue *Issue) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.failure = issue
}

// Clusters implements Backend.
func (m *Memory) Clusters(context.Context) ([]Cluster, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.clusters), nil
}

// NodeGroups implements Backend.
func (m *Memory) NodeGroups(_ context.Context, cluster string) ([]NodeGroup, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.groups[cluster]), nil
}

// Addons implements Backend.
func (m *Memory) Addons(_ context.Context, cluster string) ([]Addon, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.settle(cluster)
	var out []Addon
	for _, a := range m.addons[cluster] {
		out = append(out, a.Addon)
	}
	slices.SortFunc(out, func(a, b Addon) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// settle ends the changes whose time has come.
func (m *Memory) settle(cluster string) {
	now := m.now()
	var kept []memoryAddon
	for _, a := range m.addons[cluster] {
		if a.Status.busy() && !now.Before(a.until) {
			a.Status, a.Issues = a.next, nil
			if a.fault != nil {
				a.Status, a.Issues = Degraded, []Issue{*a.fault}
			}
			a.ModifiedAt = a.until
		}
		if a.Status != "" {
			kept = append(kept, a)
		}
	}
	m.addons[cluster] = kept
}

// ApplyAddon implements Backend.
func (m *Memory) ApplyAddon(_ context.Context, cluster string, change AddonChange) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.settle(cluster)
	i := slices.IndexFunc(m.addons[cluster], func(a memoryAddon) bool { return a.Name == change.Name })
	switch {
	case change.Create && i >= 0:
		return InUse("Addon already exists.")
	case change.Create:
		m.addons[cluster] = append(m.addons[cluster], memoryAddon{Addon: Addon{Name: change.Name, CreatedAt: m.now(), Tags: change.Tags}})
		i = len(m.addons[cluster]) - 1
	case i < 0:
		return NotFound("No addon: " + change.Name + " found in cluster: " + cluster)
	}
	a := &m.addons[cluster][i]
	a.UpdateID, a.ModifiedAt = change.UpdateID, m.now()
	set(&a.Version, change.Version)
	set(&a.ServiceAccountRoleARN, change.ServiceAccountRoleARN)
	set(&a.ConfigurationValues, change.ConfigurationValues)
	a.Status, a.next, a.until, a.fault = Updating, Active, m.now().Add(m.rollout), m.failure
	if change.Create {
		a.Status = Creating
	}
	return nil
}

func set(dst, src *string) {
	if src != nil {
		*dst = *src
	}
}

// RemoveAddon implements Backend.
func (m *Memory) RemoveAddon(_ context.Context, cluster, name string, _ bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range m.addons[cluster] {
		if a := &m.addons[cluster][i]; a.Name == name {
			a.Status, a.next, a.until, a.fault = Deleting, "", m.now().Add(m.rollout), nil
			return nil
		}
	}
	return NotFound("No addon: " + name + " found in cluster: " + cluster)
}

// Catalogue implements Backend.
func (m *Memory) Catalogue(context.Context) ([]AddonVersion, error) {
	return slices.Clone(m.catalogue), nil
}

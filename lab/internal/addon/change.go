package addon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/berth-net/berth/internal/vpcsim/wire/eks"
)

// Apply begins to create or change an add-on; it goes on in the background. The values have passed the schema.
func (s *Store) Apply(change eks.AddonChange) error {
	kind, err := s.kind(change)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	a, installed := s.addons[change.Name]
	switch {
	case change.Create && installed:
		return eks.InUse("Addon already exists.")
	case !change.Create && !installed:
		return eks.NotFound(fmt.Sprintf("No addon: %s found", change.Name))
	case installed && (a.Status == eks.Creating || a.Status == eks.Updating || a.Status == eks.Deleting):
		return eks.InUse(fmt.Sprintf("Addon cannot be updated as it is currently in %s State", a.Status))
	}
	next := eks.Addon{Name: kind.Name, CreatedAt: time.Now(), Tags: change.Tags}
	failed := eks.CreateFailed
	if installed {
		next, failed = *a, eks.UpdateFailed
	}
	if change.ConfigurationValues != nil {
		next.ConfigurationValues = *change.ConfigurationValues
	}
	if change.ServiceAccountRoleARN != nil {
		next.ServiceAccountRoleARN = *change.ServiceAccountRoleARN
	}
	values, err := decode(next.ConfigurationValues)
	if err != nil {
		return err
	}
	next.Version, next.UpdateID, next.ModifiedAt, next.Issues = kind.Version, change.UpdateID, time.Now(), nil
	next.Status = eks.Updating
	if change.Create {
		next.Status = eks.Creating
	}
	s.addons[change.Name] = &next
	s.save()
	s.group.Go(func() { s.roll(kind, values, next.ServiceAccountRoleARN, Conflicts(change.ResolveConflicts), failed) })
	return nil
}

// kind finds what a change is about.
func (s *Store) kind(change eks.AddonChange) (Kind, error) {
	for _, k := range s.options.Kinds {
		if k.Name != change.Name {
			continue
		}
		if v := change.Version; v != nil && *v != "" && *v != k.Version {
			return Kind{}, eks.InvalidParameter(fmt.Sprintf("Addon version specified is not supported: the lab has %s %s only", k.Name, k.Version))
		}
		return k, nil
	}
	return Kind{}, eks.InvalidParameter(fmt.Sprintf("Addon %s specified is not supported", change.Name))
}

// decode reads configuration values, JSON or YAML.
func decode(text string) (map[string]any, error) {
	values := map[string]any{}
	if strings.TrimSpace(text) == "" {
		return values, nil
	}
	data, err := yaml.YAMLToJSONStrict([]byte(text))
	if err == nil {
		err = json.Unmarshal(data, &values)
	}
	if err != nil {
		return nil, eks.InvalidParameter("ConfigurationValue provided in request is not supported: " + err.Error())
	}
	return values, nil
}

// Remove begins to uninstall an add-on; with preserve what it installed stays.
func (s *Store) Remove(name string, preserve bool) error {
	kind, err := s.kind(eks.AddonChange{Name: name})
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	a, ok := s.addons[name]
	if !ok {
		return eks.NotFound(fmt.Sprintf("No addon: %s found", name))
	}
	if a.Status == eks.Creating || a.Status == eks.Updating || a.Status == eks.Deleting {
		return eks.InUse(fmt.Sprintf("Addon cannot be deleted as it is currently in %s State", a.Status))
	}
	a.Status, a.ModifiedAt = eks.Deleting, time.Now()
	s.save()
	s.group.Go(func() {
		err := s.uninstall(kind, preserve)
		s.mu.Lock()
		defer s.mu.Unlock()
		if err != nil {
			a.Status, a.Issues = eks.DeleteFailed, []eks.Issue{{Code: "InternalFailure", Message: err.Error()}}
		} else {
			delete(s.addons, name)
		}
		s.save()
	})
	return nil
}

func (s *Store) uninstall(kind Kind, preserve bool) error {
	if preserve {
		return nil
	}
	manifests, err := kind.render(s.ctx, nil, "")
	if err != nil || len(manifests) == 0 {
		return err
	}
	return s.options.Installer.Delete(s.ctx, manifests)
}

// roll brings an add-on into the cluster and notes how it went.
func (s *Store) roll(kind Kind, values map[string]any, roleARN string, conflicts Conflicts, failed eks.AddonStatus) {
	status, issue := s.install(kind, values, roleARN, conflicts, failed)
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.addons[kind.Name]
	a.Status, a.ModifiedAt, a.Issues = status, time.Now(), nil
	if issue != nil {
		a.Issues = []eks.Issue{*issue}
	}
	s.save()
}

func (s *Store) install(
	kind Kind, values map[string]any, roleARN string, conflicts Conflicts, failed eks.AddonStatus,
) (eks.AddonStatus, *eks.Issue) {
	manifests, err := kind.render(s.ctx, values, roleARN)
	if err != nil {
		return failed, &eks.Issue{Code: "ConfigurationConflict", Message: err.Error()}
	}
	if len(manifests) > 0 {
		err = s.options.Installer.Apply(s.ctx, manifests, conflicts)
	}
	if conflict, ok := errors.AsType[*ConflictError](err); ok {
		return failed, &eks.Issue{Code: "ConfigurationConflict", Message: conflict.Error(), Resources: []string{conflict.Resource}}
	}
	if err != nil {
		return failed, &eks.Issue{Code: "InternalFailure", Message: err.Error()}
	}
	for _, workload := range kind.Workloads {
		if missing := s.await(workload); missing != "" {
			return eks.Degraded, &eks.Issue{Code: "InsufficientNumberOfReplicas", Message: missing, Resources: []string{workload}}
		}
	}
	return eks.Active, nil
}

// await waits for a rollout and returns what is missing when it does not come about. Its limit begins anew with each
// state that was not seen before, of which there are few: a slow machine gets there, and one that goes to and fro ends.
func (s *Store) await(workload string) string {
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	limit := time.AfterFunc(s.options.RolloutLimit, cancel)
	defer limit.Stop()
	seen := map[string]bool{}
	last := workload + ": not seen" // when the limit cuts a question off, the answer before it counts
	for {
		asked := time.Now()
		done, missing, err := s.options.Installer.Rollout(ctx, workload)
		switch {
		case done:
			return ""
		case ctx.Err() != nil:
			return last
		case err != nil:
			last = err.Error()
		default:
			last = missing
			if !seen[missing] {
				seen[missing] = true
				limit.Reset(s.options.RolloutLimit)
			}
		}
		timer := time.NewTimer(max(s.options.Poll, 2*time.Since(asked))) // the question is not to hold up the answer
		select {
		case <-ctx.Done():
			timer.Stop()
			return last
		case <-timer.C:
		}
	}
}

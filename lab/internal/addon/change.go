package addon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"sigs.k8s.io/yaml"
)

// Types of EKS's errors.
const (
	InvalidParameter = "InvalidParameterException"
	InvalidRequest   = "InvalidRequestException"
	ResourceInUse    = "ResourceInUseException"
	ResourceNotFound = "ResourceNotFoundException"
)

// Error is an error that EKS would answer.
type Error struct {
	Type, Message string
}

// Error implements error.
func (e *Error) Error() string { return e.Type + ": " + e.Message }

func notFound(format string, args ...any) *Error {
	return &Error{Type: ResourceNotFound, Message: fmt.Sprintf(format, args...)}
}

// Create installs an add-on; it goes on in the background.
func (s *Store) Create(r Request) (Addon, error) {
	kind, values, err := s.check(r)
	if err != nil {
		return Addon{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.addons[r.Name]; ok {
		return Addon{}, &Error{Type: ResourceInUse, Message: "Addon already exists."}
	}
	now := time.Now()
	a := &Addon{Name: r.Name, Version: kind.Version, Status: Creating, Created: now, Modified: now, Tags: r.Tags}
	if r.Configuration != nil {
		a.Configuration = *r.Configuration
	}
	s.addons[r.Name] = a
	s.save()
	s.group.Go(func() { s.roll(kind, values, r.Conflicts, CreateFailed, nil) })
	return *a, nil
}

// Change updates an add-on; it goes on in the background.
func (s *Store) Change(r Request) (Update, error) {
	if r.Configuration == nil {
		if a, err := s.Describe(r.Name); err == nil {
			r.Configuration = &a.Configuration
		}
	}
	kind, values, err := s.check(r)
	if err != nil {
		return Update{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	a, ok := s.addons[r.Name]
	if !ok {
		return Update{}, notFound("No addon: %s found", r.Name)
	}
	if a.Status == Creating || a.Status == Updating || a.Status == Deleting {
		return Update{}, &Error{Type: ResourceInUse, Message: fmt.Sprintf("Addon cannot be updated as it is currently in %s State", a.Status)}
	}
	s.serial++
	u := &Update{
		ID: fmt.Sprintf("b3a1c2d4-5e6f-3a7b-8c9d-%012x", s.serial), Addon: r.Name, Status: "InProgress", Created: time.Now(),
	}
	if r.Version != nil {
		u.Params = append(u.Params, Param{"AddonVersion", *r.Version})
	}
	if r.Conflicts != "" {
		u.Params = append(u.Params, Param{"ResolveConflicts", string(r.Conflicts)})
	}
	u.Params = append(u.Params, Param{"ConfigurationValues", *r.Configuration})
	a.Status, a.Modified, a.Configuration, a.Issues = Updating, u.Created, *r.Configuration, nil
	s.updates = append(s.updates, u)
	s.save()
	out := *u
	s.group.Go(func() { s.roll(kind, values, r.Conflicts, UpdateFailed, u) })
	return out, nil
}

// Remove uninstalls an add-on; with preserve what it installed stays.
func (s *Store) Remove(name string, preserve bool) (Addon, error) {
	kind, err := s.Kind(name)
	if err != nil {
		return Addon{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	a, ok := s.addons[name]
	if !ok {
		return Addon{}, notFound("No addon: %s found", name)
	}
	a.Status, a.Modified = Deleting, time.Now()
	out := *a
	s.save()
	s.group.Go(func() {
		var err error
		if !preserve {
			var manifests []byte
			if manifests, err = kind.render(s.ctx, nil); err == nil && len(manifests) > 0 {
				err = s.options.Installer.Delete(s.ctx, manifests)
			}
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if err != nil {
			a.Status, a.Issues = DeleteFailed, []Issue{{Code: "InternalFailure", Message: err.Error()}}
		} else {
			delete(s.addons, name)
		}
		s.save()
	})
	return out, nil
}

// check validates a request against the catalogue and decodes its configuration values.
func (s *Store) check(r Request) (Kind, map[string]any, error) {
	kind, err := s.Kind(r.Name)
	if err != nil {
		return Kind{}, nil, err
	}
	if r.Version != nil && *r.Version != "" && *r.Version != kind.Version {
		return Kind{}, nil, &Error{Type: InvalidParameter, Message: fmt.Sprintf(
			"Addon version specified is not supported: the lab has %s %s only", r.Name, kind.Version)}
	}
	switch r.Conflicts {
	case "", Overwrite, None, Preserve:
	default:
		return Kind{}, nil, &Error{Type: InvalidParameter, Message: fmt.Sprintf(
			"resolveConflicts must be one of OVERWRITE, NONE, PRESERVE, got %q", r.Conflicts)}
	}
	values, err := Validate(kind, r.Configuration)
	return kind, values, err
}

// Validate decodes configuration values, JSON or YAML, and checks them against an add-on's schema.
func Validate(kind Kind, text *string) (map[string]any, error) {
	if text == nil || strings.TrimSpace(*text) == "" {
		return map[string]any{}, nil
	}
	const refused = "ConfigurationValue provided in request is not supported: "
	var v any
	data, err := yaml.YAMLToJSONStrict([]byte(*text))
	if err == nil {
		err = json.Unmarshal(data, &v)
	}
	if err != nil {
		return nil, &Error{Type: InvalidParameter, Message: refused + "it is neither JSON nor YAML: " + err.Error()}
	}
	s, err := parseSchema([]byte(kind.Schema))
	if err != nil {
		return nil, err
	}
	if wrong := s.validate("$", v); len(wrong) > 0 {
		return nil, &Error{Type: InvalidParameter, Message: refused + "Json schema validation failed with error: [" + strings.Join(wrong, ", ") + "]"}
	}
	values, _ := v.(map[string]any)
	return values, nil
}

// roll brings an add-on into the cluster and notes how it went.
func (s *Store) roll(kind Kind, values map[string]any, conflicts Conflicts, failed Status, u *Update) {
	status, issue := s.install(kind, values, conflicts, failed)
	s.mu.Lock()
	defer s.mu.Unlock()
	if a := s.addons[kind.Name]; a != nil {
		a.Status, a.Modified, a.Issues = status, time.Now(), nil
		if issue != nil {
			a.Issues = []Issue{*issue}
		}
	}
	if u != nil {
		u.Status = "Successful"
		if issue != nil {
			u.Status, u.Issues = "Failed", []Issue{*issue}
		}
	}
	s.save()
}

func (s *Store) install(kind Kind, values map[string]any, conflicts Conflicts, failed Status) (Status, *Issue) {
	manifests, err := kind.render(s.ctx, values)
	if err != nil {
		return failed, &Issue{Code: "ConfigurationConflict", Message: err.Error()}
	}
	if len(manifests) > 0 {
		err = s.options.Installer.Apply(s.ctx, manifests, conflicts)
	}
	if conflict, ok := errors.AsType[*ConflictError](err); ok {
		return failed, &Issue{Code: "ConfigurationConflict", Message: conflict.Error(), Resources: []string{conflict.Resource}}
	}
	if err != nil {
		return failed, &Issue{Code: "InternalFailure", Message: err.Error()}
	}
	for _, workload := range kind.Workloads {
		if missing := s.await(workload); missing != "" {
			return Degraded, &Issue{Code: "InsufficientNumberOfReplicas", Message: missing, Resources: []string{workload}}
		}
	}
	return Active, nil
}

// await waits for a rollout and returns what is missing when it does not come about.
func (s *Store) await(workload string) string {
	ctx, cancel := context.WithTimeout(s.ctx, s.options.RolloutLimit)
	defer cancel()
	tick := time.NewTicker(s.options.Poll)
	defer tick.Stop()
	for {
		done, missing, err := s.options.Installer.Rollout(ctx, workload)
		if done {
			return ""
		}
		if err != nil {
			missing = err.Error()
		}
		select {
		case <-ctx.Done():
			return missing
		case <-tick.C:
		}
	}
}

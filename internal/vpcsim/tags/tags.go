// Package tags keeps the tags of resources. Each account has a view of its own: what it sets on a shared resource
// nobody else sees.
package tags

import (
	"maps"
	"slices"
	"strings"

	"github.com/berth-net/berth/internal/vpcsim/ec2"
)

const (
	maxTags  = 50
	maxKey   = 127
	maxValue = 255
)

// Store holds the tags by account and resource. The zero value is empty.
type Store map[string]map[string]map[string]string

// Check tells whether tags may be added to what a resource has.
func (s Store) Check(account, resource string, add []ec2.Tag) error {
	have := s[account][resource]
	count := len(have)
	seen := make(map[string]bool, len(add))
	for _, t := range add {
		switch {
		case t.Key == "":
			return ec2.Errorf("InvalidParameterValue", "Tag key cannot be empty")
		case strings.HasPrefix(strings.ToLower(t.Key), "aws:"):
			return ec2.Errorf("InvalidParameterValue",
				"Value ( %s ) for parameter key is invalid. Tag keys starting with 'aws:' are reserved for internal use", t.Key)
		case len([]rune(t.Key)) > maxKey:
			return ec2.Errorf("InvalidParameterValue", "Tag key exceeds the maximum length of %d characters", maxKey)
		case len([]rune(t.Value)) > maxValue:
			return ec2.Errorf("InvalidParameterValue", "Tag value exceeds the maximum length of %d characters", maxValue)
		case seen[t.Key]:
			return ec2.Errorf("InvalidParameterValue", "Duplicate tag key '%s' specified.", t.Key)
		}
		seen[t.Key] = true
		if _, replaces := have[t.Key]; !replaces {
			count++
		}
	}
	if count > maxTags {
		return ec2.Errorf("TagLimitExceeded", "The maximum number of Tags for a resource has been reached.")
	}
	return nil
}

// Set adds tags that Check has accepted.
func (s *Store) Set(account, resource string, add []ec2.Tag) {
	if len(add) == 0 {
		return
	}
	if *s == nil {
		*s = make(Store)
	}
	if (*s)[account] == nil {
		(*s)[account] = make(map[string]map[string]string)
	}
	if (*s)[account][resource] == nil {
		(*s)[account][resource] = make(map[string]string, len(add))
	}
	for _, t := range add {
		(*s)[account][resource][t.Key] = t.Value
	}
}

// Remove removes tags; none given means all.
func (s Store) Remove(account, resource string, remove []ec2.TagToDelete) {
	have := s[account][resource]
	for _, t := range remove {
		if v, ok := have[t.Key]; ok && (t.Value == nil || *t.Value == v) {
			delete(have, t.Key)
		}
	}
	if len(have) == 0 || len(remove) == 0 {
		delete(s[account], resource)
	}
}

// Forget removes a resource from every account's view.
func (s Store) Forget(resource string) {
	for _, view := range s {
		delete(view, resource)
	}
}

// Of lists the tags of a resource in an account's view, sorted by key.
func (s Store) Of(account, resource string) []ec2.Tag {
	have := s[account][resource]
	if len(have) == 0 {
		return nil
	}
	out := make([]ec2.Tag, 0, len(have))
	for _, k := range slices.Sorted(maps.Keys(have)) {
		out = append(out, ec2.Tag{Key: k, Value: have[k]})
	}
	return out
}

// Resources lists what an account has tagged, sorted.
func (s Store) Resources(account string) []string {
	return slices.Sorted(maps.Keys(s[account]))
}

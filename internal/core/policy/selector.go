package policy

import (
	"fmt"
	"slices"
	"strings"
)

// Operator is that of a label selector's expression.
type Operator string

// The operators.
const (
	In           Operator = "In"
	NotIn        Operator = "NotIn"
	Exists       Operator = "Exists"
	DoesNotExist Operator = "DoesNotExist"
)

// Requirement is an expression of a label selector. Values are sorted, without repetition.
type Requirement struct {
	Key      string
	Operator Operator
	Values   []string
}

// Selector selects labels that meet all of its requirements, so everything when it has none. NewSelector makes it; nil selects
// nothing.
type Selector struct {
	requirements []Requirement
	text         string
}

// NewSelector sorts requirements: selectors that say the same in another order have the same text.
func NewSelector(requirements ...Requirement) *Selector {
	s := &Selector{}
	texts := make([]string, 0, len(requirements))
	for _, r := range requirements {
		r.Values = slices.Compact(slices.Sorted(slices.Values(r.Values)))
		s.requirements = append(s.requirements, r)
	}
	slices.SortFunc(s.requirements, func(a, b Requirement) int { return strings.Compare(a.String(), b.String()) })
	for _, r := range s.requirements {
		texts = append(texts, r.String())
	}
	s.text = strings.Join(slices.Compact(texts), ",")
	return s
}

// String is the selector as kubectl writes it.
func (s *Selector) String() string {
	if s == nil {
		return "<none>"
	}
	return s.text
}

// Requirements are what labels have to meet, sorted. They are not to be written to.
func (s *Selector) Requirements() []Requirement { return s.requirements }

// Matches tells whether labels meet all requirements.
func (s *Selector) Matches(labels map[string]string) bool {
	if s == nil {
		return false
	}
	for _, r := range s.requirements {
		if !r.matches(labels) {
			return false
		}
	}
	return true
}

func (r Requirement) matches(labels map[string]string) bool {
	value, has := labels[r.Key]
	switch r.Operator {
	case In:
		return has && slices.Contains(r.Values, value)
	case NotIn:
		return !has || !slices.Contains(r.Values, value)
	case Exists:
		return has
	case DoesNotExist:
		return !has
	}
	return false // nobody makes another one: it selects nothing
}

// String is the requirement as kubectl writes it.
func (r Requirement) String() string {
	switch r.Operator {
	case In, NotIn:
		return fmt.Sprintf("%s %s (%s)", r.Key, strings.ToLower(string(r.Operator)), strings.Join(r.Values, ","))
	case DoesNotExist:
		return "!" + r.Key
	case Exists:
		return r.Key
	}
	return r.Key + " " + string(r.Operator)
}

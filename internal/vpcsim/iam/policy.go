// Package iam evaluates identity-based IAM policies: effects, actions and resources with wildcards, and the conditions
// that policies for EC2 use. It knows nothing about what the actions do. A policy with an element that it cannot
// evaluate is refused when it is read, never ignored.
package iam

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/berth-net/berth/internal/vpcsim/ec2"
)

// Policy is a policy document.
type Policy struct {
	statements []statement
}

type statement struct {
	sid                     string
	deny                    bool
	actions, notActions     []string
	resources, notResources []string
	conditions              []condition
}

// values is a JSON string or list of strings. Booleans, as in {"Null": {"k": true}}, count as their text.
type values []string

// UnmarshalJSON implements json.Unmarshaler.
func (v *values) UnmarshalJSON(data []byte) error {
	var one any
	if err := json.Unmarshal(data, &one); err != nil {
		return err
	}
	list, ok := one.([]any)
	if !ok {
		list = []any{one}
	}
	*v = make(values, 0, len(list))
	for _, e := range list {
		switch e := e.(type) {
		case string:
			*v = append(*v, e)
		case bool:
			*v = append(*v, fmt.Sprint(e))
		case float64:
			*v = append(*v, string(mustJSON(e)))
		default:
			return fmt.Errorf("want a string or a list of strings, have %s", data)
		}
	}
	return nil
}

func mustJSON(f float64) []byte {
	data, err := json.Marshal(f)
	if err != nil { // infinities cannot come from JSON
		return nil
	}
	return data
}

type statementJSON struct {
	Sid                     string
	Effect                  string
	Action, NotAction       values
	Resource, NotResource   values
	Condition               map[string]map[string]values
	Principal, NotPrincipal json.RawMessage
}

type policyJSON struct {
	Version   string
	Id        string
	Statement json.RawMessage
}

// Parse reads a policy document.
func Parse(document string) (*Policy, error) {
	var doc policyJSON
	if err := strict(document, &doc); err != nil {
		return nil, fmt.Errorf("read policy: %w", err)
	}
	if doc.Version != "" && doc.Version != "2012-10-17" && doc.Version != "2008-10-17" {
		return nil, fmt.Errorf("read policy: unknown version %q", doc.Version)
	}
	var list []statementJSON
	if strings.HasPrefix(strings.TrimSpace(string(doc.Statement)), "{") {
		list = make([]statementJSON, 1)
		if err := strict(string(doc.Statement), &list[0]); err != nil {
			return nil, fmt.Errorf("read policy statement: %w", err)
		}
	} else if err := strict(string(doc.Statement), &list); err != nil {
		return nil, fmt.Errorf("read policy statements: %w", err)
	}
	p := &Policy{}
	for i, s := range list {
		st, err := compile(s)
		if err != nil {
			return nil, fmt.Errorf("read policy statement %d %s: %w", i+1, s.Sid, err)
		}
		p.statements = append(p.statements, st)
	}
	return p, nil
}

func strict(text string, into any) error {
	d := json.NewDecoder(strings.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("text after the end")
	}
	return nil
}

func compile(s statementJSON) (statement, error) {
	st := statement{
		sid: s.Sid, deny: s.Effect == "Deny",
		actions: s.Action, notActions: s.NotAction, resources: s.Resource, notResources: s.NotResource,
	}
	switch {
	case s.Effect != "Allow" && s.Effect != "Deny":
		return st, fmt.Errorf("effect is %q, not Allow or Deny", s.Effect)
	case (len(s.Action) == 0) == (len(s.NotAction) == 0):
		return st, errors.New("want one of Action and NotAction")
	case (len(s.Resource) == 0) == (len(s.NotResource) == 0):
		return st, errors.New("want one of Resource and NotResource")
	case s.Principal != nil || s.NotPrincipal != nil:
		return st, errors.New("a policy of an identity has no Principal")
	}
	for operator, keys := range s.Condition {
		for key, want := range keys {
			c, err := newCondition(operator, key, want)
			if err != nil {
				return st, err
			}
			st.conditions = append(st.conditions, c)
		}
	}
	return st, nil
}

// Request is one action on one resource. Context holds the condition keys, in lower case.
type Request struct {
	Action   string // "ec2:CreateNetworkInterface"
	Resource string // ARN, or "*" for actions without resources
	Context  map[string][]string
}

// Decision is the result of an evaluation.
type Decision string

// The decisions. Without a statement that matches, a request is denied.
const (
	Allowed      Decision = "allowed"
	ImplicitDeny Decision = "implicitDeny"
	ExplicitDeny Decision = "explicitDeny"
)

// Evaluate decides about a request: a Deny that matches wins, then an Allow.
func Evaluate(policies []*Policy, r Request) Decision {
	d := ImplicitDeny
	for _, p := range policies {
		for i := range p.statements {
			s := &p.statements[i]
			if !s.applies(r) {
				continue
			}
			if s.deny {
				return ExplicitDeny
			}
			d = Allowed
		}
	}
	return d
}

func (s *statement) applies(r Request) bool {
	action := strings.ToLower(r.Action)
	if len(s.actions) > 0 && !matchAny(lower(s.actions), action) || matchAny(lower(s.notActions), action) {
		return false
	}
	if len(s.resources) > 0 && !matchAny(s.resources, r.Resource) || matchAny(s.notResources, r.Resource) {
		return false
	}
	for _, c := range s.conditions {
		if !c.holds(r.Context) {
			return false
		}
	}
	return true
}

func lower(list []string) []string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = strings.ToLower(s)
	}
	return out
}

func matchAny(patterns []string, s string) bool {
	for _, p := range patterns {
		if match(p, s) {
			return true
		}
	}
	return false
}

// match is a pattern of IAM: '*' and '?' only. A backslash has no meaning, other than in EC2's filters.
func match(pattern, s string) bool {
	return ec2.Match(strings.ReplaceAll(pattern, `\`, `\\`), s)
}

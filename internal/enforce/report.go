package enforce

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/berth-net/berth/internal/core/policy"
)

// Report is how far policies are in force on the node.
type Report struct {
	Pods    int      `json:"pods"`              // that are judged
	Waiting int      `json:"waiting,omitempty"` // attached, and not judged by what is known now
	Missing []string `json:"missing,omitempty"` // what the API server has not told yet
	Refused string   `json:"refused,omitempty"` // what the kernel says to the last changes
	// Problems are of policies that cannot be enforced as they are written, a line each: the policy, what of it, why, and what is done
	// in its place.
	Problems []string `json:"problems,omitempty"`
	// Troubles are the same, for events on the policies.
	Troubles []Trouble `json:"-"`
}

// Trouble is what keeps a policy from being enforced as it is written.
type Trouble struct {
	Kind                 Kind
	Namespace, Name, UID string
	Why                  string // what of it, why, and what is done in its place
}

// Report asks the loop.
func (e *Enforcer) Report(ctx context.Context) (Report, error) {
	return inLoop(ctx, e, e.report)
}

func (e *Enforcer) report() Report {
	r := Report{Missing: e.known.missing()}
	for _, l := range e.locals {
		if l.attached {
			r.Pods++
		} else {
			r.Waiting++
		}
	}
	if e.refused != nil {
		r.Refused = e.refused.Error()
	}
	r.Troubles = e.troubles()
	for _, t := range r.Troubles {
		r.Problems = append(r.Problems, objectKey{t.Kind, t.Namespace, t.Name}.String()+": "+t.Why)
	}
	if why := e.domains.problem(); why != "" {
		r.Problems = append(r.Problems, why)
	}
	slices.Sort(r.Missing)
	return r
}

// troubles are those of all policies, in order.
func (e *Enforcer) troubles() (all []Trouble) {
	add := func(key objectKey, why string) {
		all = append(all, Trouble{key.kind, key.namespace, key.name, e.known.policies[key].uid, why})
	}
	of := make(map[policy.Ref]objectKey, len(e.known.policies))
	for key, d := range e.known.policies {
		of[d.ref] = key
		for _, p := range d.problems {
			add(key, p.String())
		}
		if d.unread != "" {
			add(key, "it cannot be read, and what it said before stays in force: "+d.unread)
		}
	}
	for _, p := range e.compiler.Problems() {
		for _, ref := range p.Policies {
			add(of[ref], p.Why)
		}
	}
	slices.SortFunc(all, func(a, b Trouble) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Why, b.Why))
	})
	return slices.Compact(all)
}

// Degraded says what is not as it should be, a line each.
func (r Report) Degraded() []string {
	var lines []string
	if len(r.Missing) > 0 {
		lines = append(lines, "network policy: the API server has not told of "+strings.Join(r.Missing, ", ")+"; pods that start wait")
	}
	if r.Refused != "" {
		lines = append(lines, "network policy: the kernel refuses changes, what was in force stays: "+r.Refused)
	}
	for _, p := range r.Problems {
		lines = append(lines, "network policy: "+p)
	}
	return lines
}

// String names an object as kubectl does.
func (k objectKey) String() string {
	if k.namespace == "" {
		return string(k.kind) + " " + k.name
	}
	return string(k.kind) + " " + k.namespace + "/" + k.name
}

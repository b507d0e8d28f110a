package enforce

import (
	"context"
	"fmt"
	"slices"
	"strings"
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
}

// Report asks the loop.
func (e *Enforcer) Report(ctx context.Context) (Report, error) {
	reply := make(chan Report, 1)
	if err := e.ask(ctx, func() { reply <- e.report() }); err != nil {
		return Report{}, err
	}
	select {
	case r := <-reply:
		return r, nil
	case <-e.done:
		return Report{}, errStopped
	case <-ctx.Done():
		return Report{}, fmt.Errorf("ask for the state of policies: %w", ctx.Err())
	}
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
	for key, d := range e.known.policies {
		for _, p := range d.problems {
			r.Problems = append(r.Problems, key.String()+": "+p.String())
		}
	}
	for _, p := range e.compiler.Problems() {
		var of []string
		for _, ref := range p.Policies {
			of = append(of, ref.String())
		}
		r.Problems = append(r.Problems, strings.Join(of, ", ")+": "+p.Why)
	}
	slices.Sort(r.Missing)
	slices.Sort(r.Problems)
	return r
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

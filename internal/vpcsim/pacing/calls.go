package pacing

import (
	"cmp"
	"maps"
	"slices"
)

// Log counts calls, and remembers the counts of named moments.
type Log struct {
	counts map[callKey]int
	marks  map[string]map[callKey]int
}

type callKey struct{ action, caller, outcome string }

// Count adds a call.
func (l *Log) Count(action, caller, outcome string) {
	if l.counts == nil {
		l.counts = make(map[callKey]int)
	}
	l.counts[callKey{action, caller, outcome}]++
}

// Mark names this moment.
func (l *Log) Mark(name string) {
	if l.marks == nil {
		l.marks = make(map[string]map[callKey]int)
	}
	l.marks[name] = maps.Clone(l.counts)
}

// Since lists the counts since a mark, or since the start with an empty name, sorted. It is false when there is no such
// mark.
func (l *Log) Since(mark string) ([]CallCount, bool) {
	before, ok := l.marks[mark]
	if !ok && mark != "" {
		return nil, false
	}
	var out []CallCount
	for k, n := range l.counts {
		if n -= before[k]; n > 0 {
			out = append(out, CallCount{k.action, k.caller, k.outcome, n})
		}
	}
	slices.SortFunc(out, func(a, b CallCount) int {
		return cmp.Or(cmp.Compare(a.Action, b.Action), cmp.Compare(a.Caller, b.Caller), cmp.Compare(a.Outcome, b.Outcome))
	})
	return out, true
}

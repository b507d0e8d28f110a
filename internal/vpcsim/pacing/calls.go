package pacing

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"
)

// Log counts calls, and remembers the counts of named moments.
type Log struct {
	counts map[callKey]int
	marks  map[string]map[callKey]int
}

// logJSON is a Log in snapshots.
type logJSON struct {
	Counts []CallCount            `json:"counts,omitempty"`
	Marks  map[string][]CallCount `json:"marks,omitempty"`
}

// MarshalJSON implements json.Marshaler.
func (l Log) MarshalJSON() ([]byte, error) {
	out := logJSON{Counts: list(l.counts, nil), Marks: make(map[string][]CallCount)}
	for name, counts := range l.marks {
		out.Marks[name] = list(counts, nil)
	}
	return json.Marshal(out)
}

// UnmarshalJSON implements json.Unmarshaler.
func (l *Log) UnmarshalJSON(data []byte) error {
	var in logJSON
	if err := json.Unmarshal(data, &in); err != nil {
		return err
	}
	*l = Log{counts: index(in.Counts), marks: make(map[string]map[callKey]int)}
	for name, counts := range in.Marks {
		l.marks[name] = index(counts)
	}
	return nil
}

func index(counts []CallCount) map[callKey]int {
	out := make(map[callKey]int, len(counts))
	for _, c := range counts {
		out[callKey{c.Action, c.Caller, c.Outcome}] = c.Count
	}
	return out
}

// list is what counts have more than before, sorted.
func list(counts, before map[callKey]int) []CallCount {
	out := []CallCount{}
	for k, n := range counts {
		if n -= before[k]; n > 0 {
			out = append(out, CallCount{k.action, k.caller, k.outcome, n})
		}
	}
	slices.SortFunc(out, func(a, b CallCount) int {
		return cmp.Or(cmp.Compare(a.Action, b.Action), cmp.Compare(a.Caller, b.Caller), cmp.Compare(a.Outcome, b.Outcome))
	})
	return out
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
	return list(l.counts, before), true
}

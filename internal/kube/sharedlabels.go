package kube

import (
	"maps"
	"slices"
	"strings"
	"unique"
)

// sharedLabels are the labels of pods, once for all pods that have the same: of one workload there are many. Nobody changes them.
type sharedLabels map[string]map[string]string

// share returns what was given before when the same was.
func (s sharedLabels) share(labels map[string]string) map[string]string {
	if len(labels) == 0 {
		return nil
	}
	var text strings.Builder
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		text.WriteString(k + "=" + labels[k] + "\n") // neither has one
	}
	key := text.String()
	if one, ok := s[key]; ok {
		return one
	}
	one := make(map[string]string, len(labels))
	for k, v := range labels { // pods of stateful sets and jobs have values of their own beside common ones
		one[unique.Make(k).Value()] = unique.Make(v).Value()
	}
	if len(s) >= mostShared { // those of pods that went, too
		clear(s)
	}
	s[key] = one
	return one
}

// mostShared bounds how many are remembered. Beyond, pods have the same labels twice, which costs memory only.
const mostShared = 20_000

package bpf

import (
	"slices"
	"testing"
)

func TestListOfCPUs(t *testing.T) {
	for text, want := range map[string][]int{"0": {0}, "0-2": {0, 1, 2}, "0-1,4,6-7": {0, 1, 4, 6, 7}, "": nil, "a": nil, "3-1": nil, "0-99999999": nil} {
		got, err := cpuList(text)
		if !slices.Equal(got, want) || (err != nil) != (want == nil) {
			t.Errorf("%q: %v, %v, want %v", text, got, err, want)
		}
	}
}

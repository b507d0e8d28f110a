package xtables

import "testing"

// FuzzWithout takes any bytes for the content of a table. What a real kernel has is tested in the package above.
func FuzzWithout(f *testing.F) {
	f.Add([]byte{}, uint32(0))
	f.Add(make([]byte, 160), uint32(112))
	f.Fuzz(func(_ *testing.T, data []byte, underflow uint32) {
		t := &table{entries: data}
		t.info.Hooks, t.info.Underflow[0] = 1, underflow
		_, _, _ = t.without()
	})
}

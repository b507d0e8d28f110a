package apiserver

import "testing"

// FuzzWatched: a line of a watch is taken or an error, and a version is never lost.
func FuzzWatched(f *testing.F) {
	for _, seed := range []string{
		`{"type":"ADDED","object":{"metadata":{"uid":"u","resourceVersion":"7"},"spec":{"hostNetwork":true}}}`, `{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"9"}}}`,
		`{"type":"ERROR","object":{"message":"too old"}}`, `{"type":"ADDED"}`, `{"type":"X"}`, `nonsense`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		version, changes := "5", 0
		err := watched(line, &version, func(Head, bool) { changes++ })
		if version == "" || changes > 1 || err != nil && version != "5" {
			t.Errorf("%q: version %q, %d changes, %v", line, version, changes, err)
		}
	})
}

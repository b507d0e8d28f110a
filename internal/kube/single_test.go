package kube_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
)

// store puts an object that is read and patched by its name.
func (s *apiServer) store(path string, object map[string]any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.singles == nil {
		s.singles = map[string]map[string]any{}
	}
	s.singles[path] = object
}

func (s *apiServer) stored(path string) map[string]any {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.singles[path]
}

// single serves such an object. A patch that names a version fails when it is not the object's.
func (s *apiServer) single(w http.ResponseWriter, r *http.Request) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	object := s.singles[r.URL.Path]
	if object == nil {
		return false
	}
	if r.Method == http.MethodPatch {
		var patch map[string]any
		if r.Header.Get("Content-Type") != "application/merge-patch+json" || json.NewDecoder(r.Body).Decode(&patch) != nil {
			w.WriteHeader(http.StatusUnsupportedMediaType)
			return true
		}
		meta := object["metadata"].(map[string]any)
		if p, ok := patch["metadata"].(map[string]any); ok && p["resourceVersion"] != meta["resourceVersion"] {
			w.WriteHeader(http.StatusConflict)
			return true
		}
		s.version++
		delete(patch, "metadata")
		maps.Copy(object, patch)
		meta["resourceVersion"] = fmt.Sprint(s.version, "-", len(s.requests))
	}
	_ = json.NewEncoder(w).Encode(object)
	return true
}

package kube_test

import (
	"testing"
)

const (
	podLists  = "GET " + podsPath + "?fieldSelector=status.phase%21%3DSucceeded%2Cstatus.phase%21%3DFailed&resourceVersion="
	podChecks = "GET " + podsPath + "?fieldSelector=status.phase%21%3DSucceeded%2Cstatus.phase%21%3DFailed&limit=1&resourceVersion="
)

// TestPodsAreNotListedAnewWhenTheirWatchBreaks: when an API server restarted, each agent of the cluster listed all its pods.
func TestPodsAreNotListedAnewWhenTheirWatchBreaks(t *testing.T) {
	t.Parallel()
	s := newAPIServer()
	w, _ := followPolicies(t, s)
	running := func(uid string) object {
		return object{"metadata": object{"uid": uid}, "status": object{"phase": "Running", "podIP": "10.0.0.9"}}
	}
	s.put(podsPath, "before", running("u1"))
	eventually(t, "a pod", w.has(func() bool { return len(w.pods) == 1 }))
	s.breakWatches("")
	s.put(podsPath, "meanwhile", running("u2"))
	s.remove(podsPath, "before")
	eventually(t, "what happened meanwhile", w.has(func() bool { _, ok := w.pods["u2"]; return ok && len(w.pods) == 1 }))
	if lists, checks := s.count(podLists), s.count(podChecks); lists != 1 || checks == 0 {
		t.Errorf("%d lists, %d checks", lists, checks)
	}
}

// TestPodsAreListedAnewWhenTheStoreWasSetBack: a watch from a version that the server has not reached would be silent.
func TestPodsAreListedAnewWhenTheStoreWasSetBack(t *testing.T) {
	t.Parallel()
	s := newAPIServer()
	w, _ := followPolicies(t, s)
	s.put(podsPath, "forgotten", object{"metadata": object{"uid": "u1"}, "status": object{"phase": "Running"}})
	eventually(t, "a pod", w.has(func() bool { return len(w.pods) == 1 }))
	s.with(func(s *apiServer) { // a copy of the store, made before
		s.version = 1
		s.collections[podsPath].objects, s.collections[podsPath].history = nil, nil
	})
	s.breakWatches("")
	eventually(t, "the pod is forgotten", w.has(func() bool { return len(w.pods) == 0 }))
}

// TestPodsAreListedAnewWhenAWatchMakesNoSense: what a server cannot go on with is not asked for again and again.
func TestPodsAreListedAnewWhenAWatchMakesNoSense(t *testing.T) {
	t.Parallel()
	for _, line := range []string{`{"type":"ERROR","object":{"code":410,"message":"too old resource version"}}`, `{"type":"ADDED","object":{"spec":7}}`, `nonsense`} {
		s := newAPIServer()
		w, _ := followPolicies(t, s)
		eventually(t, "a list", func() bool { return s.count(podLists) == 1 })
		s.with(func(s *apiServer) { s.collections[podsPath].refuse = line })
		s.breakWatches("")
		eventually(t, "another list after "+line, func() bool { return s.count(podLists) > 1 })
		s.with(func(s *apiServer) { s.collections[podsPath].refuse = "" })
		s.put(podsPath, "late", object{"metadata": object{"uid": "u1"}, "status": object{"phase": "Running"}})
		eventually(t, "a pod", w.has(func() bool { return len(w.pods) == 1 }))
	}
}

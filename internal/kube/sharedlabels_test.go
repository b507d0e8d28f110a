package kube

import (
	"fmt"
	"maps"
	"reflect"
	"testing"
)

func TestEqualLabelsAreKeptOnce(t *testing.T) {
	t.Parallel()
	s := sharedLabels{}
	first := s.share(map[string]string{"app": "web", "tier": "x"})
	again := s.share(map[string]string{"tier": "x", "app": "web"})
	if !maps.Equal(first, map[string]string{"app": "web", "tier": "x"}) || reflect.ValueOf(first).Pointer() != reflect.ValueOf(again).Pointer() {
		t.Errorf("%v and %v", first, again)
	}
	if s.share(map[string]string{}) != nil {
		t.Error("no labels")
	}
	if a, b := s.share(map[string]string{"a": "b"}), s.share(map[string]string{"a": "c"}); a["a"] != "b" || b["a"] != "c" {
		t.Errorf("%v, %v", a, b)
	}
	for i := range 3 * mostShared { // pods that come and go do not fill the memory
		want := fmt.Sprint(i)
		if got := s.share(map[string]string{"job": want}); got["job"] != want || len(s) > mostShared {
			t.Fatalf("%v, %d kept", got, len(s))
		}
	}
}

package tags

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/berth-net/berth/internal/vpcsim/ec2"
)

func many(n int) []ec2.Tag {
	out := make([]ec2.Tag, n)
	for i := range out {
		out[i].Key = fmt.Sprint("key-", i)
	}
	return out
}

func TestCheck(t *testing.T) {
	var s Store
	s.Set("1", "eni-1", many(50))
	tests := []struct {
		name, resource string
		tags           []ec2.Tag
		want           string
	}{
		{"fifty", "eni-2", many(50), ""},
		{"fifty-one", "eni-2", many(51), "TagLimitExceeded"},
		{"replacing", "eni-1", many(50), ""},
		{"one more", "eni-1", []ec2.Tag{{Key: "other"}}, "TagLimitExceeded"},
		{"reserved", "eni-2", []ec2.Tag{{Key: "AWS:name"}}, "InvalidParameterValue"},
		{"empty key", "eni-2", []ec2.Tag{{}}, "InvalidParameterValue"},
		{"long key", "eni-2", []ec2.Tag{{Key: strings.Repeat("k", 128)}}, "InvalidParameterValue"},
		{"long value", "eni-2", []ec2.Tag{{Key: "k", Value: strings.Repeat("v", 256)}}, "InvalidParameterValue"},
		{"twice", "eni-2", []ec2.Tag{{Key: "k"}, {Key: "k"}}, "InvalidParameterValue"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			code := ""
			if e, ok := errors.AsType[*ec2.Error](s.Check("1", tt.resource, tt.tags)); ok {
				code = e.Code
			}
			if code != tt.want {
				t.Errorf("got %q, want %q", code, tt.want)
			}
		})
	}
}

func TestStore(t *testing.T) {
	var s Store
	s.Set("owner", "subnet-1", []ec2.Tag{{Key: "b", Value: "2"}, {Key: "a", Value: ""}})
	s.Set("guest", "subnet-1", []ec2.Tag{{Key: "c", Value: "3"}})
	if diff := cmp.Diff([]ec2.Tag{{Key: "a"}, {Key: "b", Value: "2"}}, s.Of("owner", "subnet-1")); diff != "" {
		t.Error(diff)
	}
	other := "other"
	s.Remove("owner", "subnet-1", []ec2.TagToDelete{{Key: "b", Value: &other}, {Key: "a"}, {Key: "c"}})
	if diff := cmp.Diff([]ec2.Tag{{Key: "b", Value: "2"}}, s.Of("owner", "subnet-1")); diff != "" {
		t.Error(diff)
	}
	if got := s.Of("guest", "subnet-1"); len(got) != 1 {
		t.Errorf("the guest's view changed: %v", got)
	}
	s.Remove("owner", "subnet-1", nil)
	if got := s.Resources("owner"); len(got) != 0 {
		t.Errorf("still tagged: %v", got)
	}
	s.Forget("subnet-1")
	if got := s.Of("guest", "subnet-1"); got != nil {
		t.Errorf("still tagged: %v", got)
	}
}

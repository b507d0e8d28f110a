package demo

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"
)

// stage is a lab that only remembers what was asked of it.
type stage struct {
	upErr error
	said  []string
}

func (s *stage) Up(context.Context, string) error { s.said = append(s.said, "up"); return s.upErr }
func (s *stage) Down(context.Context) error       { s.said = append(s.said, "down"); return nil }
func (s *stage) Env(context.Context) ([]string, error) {
	return []string{"A=b"}, nil
}
func (s *stage) VPC(context.Context, string, string, any, any) error { return nil }

func TestStoryEndsTheLabWhateverHappens(t *testing.T) {
	wrong := errors.New("wrong")
	for name, test := range map[string]struct {
		upErr, partErr error
	}{"all is well": {}, "no lab": {upErr: wrong}, "a claim that is not so": {partErr: wrong}} {
		t.Run(name, func(t *testing.T) {
			lab := &stage{upErr: test.upErr}
			s := &Story{Lab: lab, Out: io.Discard, Dir: t.TempDir()}
			err := s.play(t.Context(), func(context.Context) error { return test.partErr })
			if (err != nil) != (test.upErr != nil || test.partErr != nil) {
				t.Error(err)
			}
			if got := strings.Join(lab.said, " "); got != "up down" {
				t.Errorf("the lab was told %q", got)
			}
		})
	}
}

func TestInterruptedStoryBlamesNoClient(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	s := &Story{Lab: &stage{}, Out: io.Discard, Dir: t.TempDir()}
	err := s.play(ctx, func(context.Context) error {
		interrupt()
		return errors.New("aws ec2 describe-subnets: signal: killed")
	})
	if err == nil || err.Error() != "interrupted" {
		t.Error(err)
	}
}

func TestClaim(t *testing.T) {
	s := &Story{Out: io.Discard}
	if err := s.claim(true, "so"); err != nil || s.checked != 1 {
		t.Error(err, s.checked)
	}
	if err := s.claim(false, "%d pods", 3); err == nil || err.Error() != "not so: 3 pods" || s.checked != 1 {
		t.Error(err, s.checked)
	}
}

func TestUntilGivesUp(t *testing.T) {
	s := &Story{Out: io.Discard}
	_, err := s.until(t.Context(), time.Millisecond, func() (bool, string, error) { return false, "1 of 2 pods run", nil })
	if err == nil || !strings.Contains(err.Error(), "1 of 2 pods run") {
		t.Error(err)
	}
}

func TestUnique(t *testing.T) {
	pods := make([]pod, 3)
	for i, address := range []string{"10.0.0.5", "10.0.0.6", ""} {
		pods[i].Status.PodIP = address
	}
	if !unique(pods) {
		t.Error("different addresses are not unique")
	}
	pods[1].Status.PodIP = "10.0.0.5"
	if unique(pods) {
		t.Error("one address on two pods is unique")
	}
	pods[1].Spec.HostNetwork = true
	if !unique(pods) {
		t.Error("a pod on the host's network has no address of its own")
	}
}

func TestLineIsWhatAShellTakes(t *testing.T) {
	if got, want := line([]string{"aws", "--query", "a[].b", "it's"}), `aws --query 'a[].b' 'it'\''s'`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

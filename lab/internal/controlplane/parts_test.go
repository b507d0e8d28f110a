package controlplane

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestAwait(t *testing.T) {
	refused := errors.New("connection refused")
	for _, tc := range []struct {
		name     string
		well     time.Duration // when it begins to answer
		restarts time.Duration // how long it lives each time; zero is for good
		took     time.Duration // at most
		want     string
	}{
		{name: "at once"},
		{name: "as usual", well: 4 * time.Second, took: 4200 * time.Millisecond},
		{name: "a slow machine", well: 7 * time.Minute, took: 7*time.Minute + 2*time.Second},
		{name: "ends again and again", well: time.Hour, restarts: time.Second, took: 4 * time.Second, want: "it ended by itself 3 times: connection refused"},
		{name: "never", well: time.Hour, took: 10 * time.Minute, want: "not within 10m0s: connection refused"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began, asked := time.Now(), 0
				ctx, cancel := context.WithTimeout(t.Context(), startLimit)
				defer cancel()
				err := await(ctx, func() error {
					asked++
					if time.Since(began) < tc.well {
						return refused
					}
					return nil
				}, func() int {
					if tc.restarts == 0 {
						return 0
					}
					return int(time.Since(began) / tc.restarts)
				})
				if took := time.Since(began); took > tc.took {
					t.Errorf("took %s, at most %s was wanted", took, tc.took)
				}
				if asked > 400 {
					t.Errorf("asked %d times: that slows what it waits for", asked)
				}
				if got := message(err); got != tc.want {
					t.Errorf("error is %q, want %q", got, tc.want)
				}
			})
		})
	}
}

func message(err error) string {
	if err == nil {
		return ""
	}
	return strings.TrimSpace(err.Error())
}

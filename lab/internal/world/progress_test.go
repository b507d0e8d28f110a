package world

import (
	"bytes"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestASlowStepSaysThatItIsStillAtWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		p := newProgress(&out)
		wait := func(d time.Duration) func() error {
			return func() error {
				timer := time.NewTimer(d)
				<-timer.C
				return nil
			}
		}
		if err := p.during("quick", wait(10*time.Second)); err != nil {
			t.Fatal(err)
		}
		p.say("quick is done")
		if err := p.during("slow", wait(40*time.Second)); err != nil {
			t.Fatal(err)
		}
		var got []string
		for line := range strings.Lines(out.String()) {
			got = append(got, strings.Split(line, `"`)[3])
		}
		if got := strings.Join(got, ", "); got != "quick is done, still at work: slow, still at work: slow" {
			t.Errorf("said: %s", got)
		}
	})
}

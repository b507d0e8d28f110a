package kube

import (
	"strings"
	"testing"
	"time"
)

// TestWatchThatBrokeOftenComesBackSoon: servers end watches now and then during weeks; that is no row of errors.
func TestWatchThatBrokeOftenComesBackSoon(t *testing.T) {
	t.Parallel()
	var p pauses
	for day := range 100 {
		if wait := p.after(24*time.Hour, 0.5); wait != time.Second {
			t.Fatalf("day %d: pause %s", day, wait)
		}
	}
}

func TestPauses(t *testing.T) {
	t.Parallel()
	var p pauses
	for i, want := range []int{1, 2, 4, 8, 16, 30, 30, 30} {
		if wait := p.after(0, 0.5); wait != time.Duration(want)*time.Second {
			t.Errorf("error %d: pause %s, want %d s", i, wait, want)
		}
	}
	if wait := p.after(settled, 0); wait != time.Second/2 {
		t.Errorf("after it had worked, with the least chance: %s", wait)
	}
	for range 1000 {
		if wait := p.after(0, 1); wait > 45*time.Second || wait <= 0 {
			t.Fatalf("pause %s", wait)
		}
	}
}

func TestWaitingPause(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		waiting int
		many    bool
		want    time.Duration
	}{{0, false, 5 * time.Minute}, {1, false, 30200 * time.Millisecond}, {499, false, 129800 * time.Millisecond}, {500, true, 10 * time.Minute}} {
		if got := waitingPause(test.waiting, test.many); got != test.want {
			t.Errorf("%d waiting, many %t: %s, want %s", test.waiting, test.many, got, test.want)
		}
	}
}

// TestRelabelledNodeHasAnENIConfigThroughout: for the moment until the new one is read, the node is not one without any.
func TestRelabelledNodeHasAnENIConfigThroughout(t *testing.T) {
	t.Parallel()
	cfg := Config{CustomNetworking: true}
	var n node
	n.Metadata.Labels = map[string]string{"k8s.amazonaws.com/eniConfig": "b"}
	read := ENIConfig{Name: "a", Found: true, Subnet: "subnet-a", From: "label x"}
	if got := (known{node: &n, eniconfig: read}).facts(cfg).ENIConfig; got.Name != "a" || got.Subnet != "subnet-a" || got.From != "label x" || got.Why != "" {
		t.Errorf("between two names: %+v", got)
	}
	if got := (known{node: &n}).facts(cfg).ENIConfig; got.Name != "b" || got.Found || !strings.HasPrefix(got.Why, "ENIConfig b was not read yet") {
		t.Errorf("before any was read: %+v", got)
	}
	read.Name = "b"
	if got := (known{node: &n, eniconfig: read}).facts(cfg).ENIConfig; got.Name != "b" || got.From != "label k8s.amazonaws.com/eniConfig" {
		t.Errorf("read: %+v", got)
	}
	if got := (known{node: &n, eniconfig: read}).facts(Config{}).ENIConfig; got.Name != "" {
		t.Errorf("without custom networking: %+v", got)
	}
}

package proc_test

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/berth-net/berth/lab/internal/proc"
)

// eventually waits for a condition that other processes bring about.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for range 1000 {
		if ok() {
			return
		}
		<-tick.C
	}
	t.Fatalf("never happened: %s", what)
}

func TestRunReturnsWhatTheProgramSaid(t *testing.T) {
	s := proc.NewSpawner()
	defer s.Close()
	var out strings.Builder
	if err := s.Run(t.Context(), proc.Spec{Name: "echo", Path: "/bin/sh", Args: []string{"-c", "echo hello"}, Stdout: &out}); err != nil {
		t.Fatal(err)
	}
	if out.String() != "hello\n" {
		t.Errorf("output is %q", out.String())
	}
	err := s.Run(t.Context(), proc.Spec{Name: "fail", Path: "/bin/sh", Args: []string{"-c", "echo no reason >&2; exit 3"}})
	if err == nil || !strings.Contains(err.Error(), "no reason") || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("error is %v", err)
	}
}

func TestStopEndsWhatIgnoresTheRequest(t *testing.T) {
	s := proc.NewSpawner()
	defer s.Close()
	marker := filepath.Join(t.TempDir(), "ready")
	p, err := s.Start(proc.Spec{
		Name: "stubborn", Path: "/bin/sh", Args: []string{"-c", "trap '' TERM; touch " + marker + "; while :; do sleep 0.1; done"},
		Grace: 50 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the program runs", func() bool { _, err := os.Stat(marker); return err == nil })
	id, err := proc.Identify(p.Pid())
	if err != nil {
		t.Fatal(err)
	}
	if !id.Alive() {
		t.Error("a running process counts as dead")
	}
	if err := p.Stop(); err != nil {
		t.Fatal(err)
	}
	if id.Alive() {
		t.Error("it lives")
	}
}

func TestCloseKills(t *testing.T) {
	s := proc.NewSpawner()
	p, err := s.Start(proc.Spec{Name: "sleep", Path: "/bin/sleep", Args: []string{"1000"}})
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	s.Close() // bears repetition
	select {
	case <-p.Done():
	case <-time.After(10 * time.Second):
		t.Fatal("the process outlived its spawner")
	}
	if _, err := s.Start(proc.Spec{Name: "late", Path: "/bin/true"}); err == nil {
		t.Error("a closed spawner starts processes")
	}
}

func TestServiceStartsAgain(t *testing.T) {
	s := proc.NewSpawner()
	defer s.Close()
	log := filepath.Join(t.TempDir(), "deep", "service.log")
	v, err := s.Serve(proc.Spec{Name: "short", Path: "/bin/sh", Args: []string{"-c", "echo run"}, Log: log}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "it ran twice", func() bool {
		text, _ := os.ReadFile(log)
		return strings.Count(string(text), "run\n") >= 2
	})
	if err := v.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := v.Stop(); err != nil {
		t.Errorf("stopping again: %v", err)
	}
	if v.Restarts() < 1 {
		t.Errorf("%d restarts", v.Restarts())
	}
}

func TestWaitStopsWhenTheCallerGivesUp(t *testing.T) {
	s := proc.NewSpawner()
	defer s.Close()
	ctx, cancel := context.WithCancel(t.Context())
	p, err := s.Start(proc.Spec{Name: "sleep", Path: "/bin/sleep", Args: []string{"1000"}})
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := p.Wait(ctx); err == nil {
		t.Error("no error")
	}
	<-p.Done()
}

func TestIdentityOfAnother(t *testing.T) {
	id, err := proc.Identify(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for _, other := range []proc.Identity{
		{},
		{Pid: id.Pid, Start: id.Start + 1, Boot: id.Boot},
		{Pid: id.Pid, Start: id.Start, Boot: "another boot"},
	} {
		if other.Alive() {
			t.Errorf("%+v counts as alive", other)
		}
		if err := other.Kill(); err != nil { // were it to hit, this test would end
			t.Errorf("kill %+v: %v", other, err)
		}
	}
}

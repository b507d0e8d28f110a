package queue_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/berth-net/berth/internal/agentapi"
	"github.com/berth-net/berth/internal/agentapi/queue"
)

func del(container string) agentapi.Request {
	return agentapi.Request{
		Version: agentapi.Version, Verb: agentapi.Del,
		Attachment: agentapi.Attachment{Network: "aws-cni", ContainerID: container, IfName: "eth0"},
		Pod:        agentapi.Pod{Namespace: "default", Name: "pod-" + container},
	}
}

func containers(t *testing.T, q queue.Queue) []string {
	t.Helper()
	entries, err := q.List()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Request.Attachment.ContainerID)
	}
	return got
}

func TestQueue(t *testing.T) {
	q := queue.New(filepath.Join(t.TempDir(), "missing", "dir"))
	if got := containers(t, q); got != nil {
		t.Fatalf("an absent queue holds %v", got)
	}
	long := strings.Repeat("f", 300)
	for _, c := range []string{"a", "b", "a", long, long + "2"} {
		if err := q.Put(del(c), time.Unix(1, 0)); err != nil {
			t.Fatal(err)
		}
	}
	want := map[string]bool{"a": true, "b": true, long: true, long + "2": true}
	got := map[string]bool{}
	for _, c := range containers(t, q) {
		got[c] = true
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("queue (-want +got):\n%s", diff)
	}
	if err := q.Remove(del("b").Attachment); err != nil {
		t.Fatal(err)
	}
	entries, err := q.List()
	if err != nil || len(entries) != 3 {
		t.Fatalf("%d entries, %v", len(entries), err)
	}
	for _, e := range entries {
		if !e.Queued.Equal(time.Unix(1, 0)) {
			t.Errorf("queued at %v", e.Queued)
		}
		if err := e.Done(); err != nil {
			t.Error(err)
		}
	}
	if got := containers(t, q); got != nil {
		t.Errorf("after Done the queue holds %v", got)
	}
	if err := q.Remove(del("b").Attachment); err != nil {
		t.Errorf("removing what is not there: %v", err)
	}
}

func TestBadFilesAreSetAside(t *testing.T) {
	dir := t.TempDir()
	q := queue.New(dir)
	if err := q.Put(del("good"), time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"truncated.json": `{"request":{"verb":"DEL"`,
		"add.json":       `{"request":{"version":1,"verb":"ADD"}}`,
		"empty.json":     ``,
		"x.json.123":     `half a file of a plugin that was killed`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	entries, err := q.List()
	if len(entries) != 1 || entries[0].Request.Attachment.ContainerID != "good" {
		t.Errorf("entries %+v", entries)
	}
	for _, name := range []string{"truncated.json", "add.json", "empty.json"} {
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s is not named in the error %v", name, err)
		}
		if _, err := os.Stat(filepath.Join(dir, name+".bad")); err != nil {
			t.Errorf("%s is not kept: %v", name, err)
		}
	}
	if got := containers(t, q); len(got) != 1 { // and the second time there is no complaint
		t.Errorf("second look: %v", got)
	}
}

func TestPutFailsLoudly(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := queue.New(file).Put(del("a"), time.Unix(1, 0)); err == nil {
		t.Error("a queue in a plain file took a request")
	}
}

// FuzzList reads files that anything may have damaged: one is either a DEL that can be applied, or set aside.
func FuzzList(f *testing.F) {
	f.Add([]byte(`{"queued":"2026-11-23T12:00:00Z","request":{"version":1,"verb":"DEL","attachment":{"network":"n","containerID":"c","ifName":"eth0"}}}`))
	f.Add([]byte(`{"request":{"verb":"DEL"`))
	f.Add([]byte(`{"request":{"version":1,"verb":"ADD"}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "x.json"), data, 0o600); err != nil {
			t.Fatal(err)
		}
		entries, err := queue.New(dir).List()
		if (err == nil) != (len(entries) == 1) {
			t.Fatalf("%d entries, %v", len(entries), err)
		}
		for _, e := range entries {
			if e.Request.Verb != agentapi.Del || e.Request.Validate() != nil {
				t.Errorf("entry %+v", e.Request)
			}
		}
		if again, err := queue.New(dir).List(); err != nil || len(again) != len(entries) {
			t.Errorf("second look: %d entries, %v", len(again), err)
		}
	})
}

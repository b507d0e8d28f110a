package main

import (
	"path/filepath"
	"testing"
	"time"
)

// Without it the first agent of a fresh host held the addresses that it found for a minute.
func TestBootedAt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "stat")
	if at := bootedAt(path); !at.IsZero() {
		t.Errorf("without a file it is %s", at)
	}
	write(t, path, "cpu  1 2 3\nbtime 1763899200\nprocesses 5\n")
	if at := bootedAt(path); !at.Equal(time.Unix(1763899200, 0)) {
		t.Errorf("booted at %s", at)
	}
	write(t, path, "cpu  1 2 3\nbtime soon\n")
	if at := bootedAt(path); !at.IsZero() {
		t.Errorf("with garbage it is %s", at)
	}
	if at := bootedAt("/proc/stat"); at.IsZero() || at.After(time.Now()) {
		t.Errorf("this host booted at %s", at)
	}
}

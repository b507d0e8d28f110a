package linux_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/berth-net/berth/internal/linux"
)

// Without it the first agent of a fresh host held the addresses that it found for a minute.
func TestBootedAt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "stat")
	write := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if at := linux.BootedAt(path); !at.IsZero() {
		t.Errorf("without a file it is %s", at)
	}
	write("cpu  1 2 3\nbtime 1763899200\nprocesses 5\n")
	if at := linux.BootedAt(path); !at.Equal(time.Unix(1763899200, 0)) {
		t.Errorf("booted at %s", at)
	}
	write("cpu  1 2 3\nbtime soon\n")
	if at := linux.BootedAt(path); !at.IsZero() {
		t.Errorf("with garbage it is %s", at)
	}
	if at := linux.BootedAt("/proc/stat"); at.IsZero() || at.After(time.Now()) {
		t.Errorf("this host booted at %s", at)
	}
}

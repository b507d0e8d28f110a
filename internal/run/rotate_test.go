package run

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestRotation(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ipamd.log")
	r, err := openRotating(path, 10, 2)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"first\n", "second\n", "third\n", "fourth\n", strings.Repeat("x", 30) + "\n"} {
		if _, err := r.Write([]byte(line)); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"": strings.Repeat("x", 30) + "\n", ".1": "fourth\n", ".2": "third\n"} {
		if got, err := os.ReadFile(path + name); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v; want %q", name, got, err, want)
		}
	}
	if _, err := os.Stat(path + ".3"); err == nil {
		t.Error("too many files are kept")
	}
	again, err := openRotating(path, 1000, 2) // a restart appends
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if _, err := again.Write([]byte("more\n")); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(path); !strings.HasSuffix(string(got), "x\nmore\n") {
		t.Errorf("after a restart: %q", got)
	}
}

// While no new file could be opened, for lack of descriptors, each line set the older files aside once more, until none was
// left.
func TestRotationThatCannotOpenANewFileKeepsTheOldOnes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ipamd.log")
	r, err := openRotating(path, 10, 2)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	write := func(line string) {
		t.Helper()
		if _, err := r.Write([]byte(line)); err != nil {
			t.Fatal(err)
		}
	}
	write("first\n")
	write("second\n")
	var whole syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &whole); err != nil {
		t.Fatal(err)
	}
	none := whole
	none.Cur = 3
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &none); err != nil {
		t.Fatal(err)
	}
	for range 4 {
		write("third\n")
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &whole); err != nil {
		t.Fatal(err)
	}
	write("fourth\n")
	for name, want := range map[string]string{"": "fourth\n", ".1": "second\n" + strings.Repeat("third\n", 4), ".2": "first\n"} {
		if got, err := os.ReadFile(path + name); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v; want %q", name, got, err, want)
		}
	}
}

package journal_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/internal/core/pool"
	"github.com/berth-net/berth/internal/node/journal"
)

// A full disk tears the last line. The agent said so to whoever asked, so the next start must not call the file damaged,
// hold addresses and look for an interface more. A limit of the process stands for the disk, so the test runs itself.
func TestJournalIsWholeAfterADiskWasFull(t *testing.T) {
	const variable = "BERTH_TEST_JOURNAL"
	if path := os.Getenv(variable); path != "" {
		fill(t, path)
		return
	}
	path := filepath.Join(t.TempDir(), "ipam.journal")
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), variable+"="+path)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	records, damage := journal.Decode(data)
	if damage != "" || len(records) < 2 {
		t.Errorf("%d records, damage %q in\n%s", len(records), damage, data)
	}
}

func fill(t *testing.T, path string) {
	t.Helper()
	j := journal.Open(path)
	record := []pool.Record{{Gone: &pool.GoneRecord{ENI: "eni-1"}}}
	var whole unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &whole); err != nil {
		t.Fatal(err)
	}
	if err := j.Append(record)(); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	small := whole
	small.Cur = uint64(info.Size() + info.Size()/2)
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &small); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := j.Append(record)(); err == nil {
			t.Fatal("a full disk takes a record")
		}
	}
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &whole); err != nil {
		t.Fatal(err)
	}
	if err := j.Append(record)(); err != nil {
		t.Errorf("with room again: %v", err)
	}
	if err := j.Close(); err != nil {
		t.Error(err)
	}
}

// A pod of the agent that was deleted by force lives on for a while beside its successor.
func TestTwoAgentsDoNotHaveOneJournal(t *testing.T) {
	const variable = "BERTH_TEST_JOURNAL_OF_ANOTHER"
	if path := os.Getenv(variable); path != "" {
		j := journal.Open(path)
		if _, _, err := j.Load(); err == nil || taken(j) {
			t.Fatalf("the journal of another process: loaded %t, taken %t", err == nil, taken(j))
		}
		return
	}
	path := filepath.Join(t.TempDir(), "not", "there", "ipam.journal") // nobody has made its directory
	j := journal.Open(path)
	if taken(j) {
		t.Error("taken before it is loaded")
	}
	for range 2 { // a start may try again
		if _, _, err := j.Load(); err != nil || !taken(j) {
			t.Fatalf("taken %t, %v", taken(j), err)
		}
	}
	other := func() ([]byte, error) {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^"+t.Name()+"$")
		cmd.Env = append(os.Environ(), variable+"="+path)
		return cmd.CombinedOutput()
	}
	if out, err := other(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if out, err := other(); err == nil {
		t.Errorf("the journal of a process that ended cannot be loaded:\n%s", out)
	}
}

func taken(j *journal.Journal) bool {
	select {
	case <-j.Taken():
		return true
	default:
		return false
	}
}

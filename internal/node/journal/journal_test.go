package journal_test

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/berth-net/berth/internal/core/pool"
	"github.com/berth-net/berth/internal/node/journal"
)

var at = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func record(i int) pool.Record {
	key := pool.Key{ContainerID: fmt.Sprintf("c%d", i), IfName: "eth0"}
	return pool.Record{Pod: &pool.PodRecord{Pod: pool.Pod{Key: key, Name: "p"}, Addr: netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), At: at}}
}

func records(n int) []pool.Record {
	var all []pool.Record
	for i := range n {
		all = append(all, record(i))
	}
	return all
}

func load(t *testing.T, path string) ([]pool.Record, string) {
	t.Helper()
	j := journal.Open(path)
	defer func() { _ = j.Close() }()
	got, damage, err := j.Load()
	if err != nil {
		t.Fatal(err)
	}
	return got, damage
}

func same(t *testing.T, want, got []pool.Record) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{}), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
}

func TestAppendLoadCompact(t *testing.T) {
	path := filepath.Join(t.TempDir(), "berth.journal")
	got, damage := load(t, path)
	if len(got) != 0 || damage != "" {
		t.Fatalf("a missing file gave %d records, damage %q", len(got), damage)
	}
	j := journal.Open(path)
	all := records(50)
	waits := make([]func() error, 0, len(all))
	for _, r := range all {
		waits = append(waits, j.Append([]pool.Record{r}))
	}
	for _, wait := range waits {
		if err := wait(); err != nil {
			t.Fatal(err)
		}
	}
	got, _ = load(t, path)
	same(t, all, got)

	if err := j.Compact(all[40:])(); err != nil {
		t.Fatal(err)
	}
	if err := j.Append(all[:1])(); err != nil {
		t.Fatal(err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	got, damage = load(t, path)
	same(t, append(append([]pool.Record{}, all[40:]...), all[0]), got)
	if damage != "" {
		t.Errorf("damage %q", damage)
	}
}

// A crash may tear the last line, and a disk may flip a bit: the rest is kept, and the loss is said.
func TestDamageIsReportedAndTheRestKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "berth.journal")
	j := journal.Open(path)
	if err := j.Append(records(5))(); err != nil {
		t.Fatal(err)
	}
	_ = j.Close()
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for cut := range whole {
		got, damage := journal.Decode(whole[:cut])
		full := strings.Count(string(whole[:cut]), "\n")
		if len(got) != full || damage != "" {
			t.Fatalf("cut at %d: %d records, want %d; damage %q", cut, len(got), full, damage)
		}
	}
	for i := range whole {
		flipped := append([]byte{}, whole...)
		flipped[i] ^= 0x10
		got, damage := journal.Decode(flipped)
		if (damage == "" && i != len(whole)-1) || len(got) > 4 || len(got) < 3 {
			t.Fatalf("bit flipped in byte %d: %d records, damage %q", i, len(got), damage)
		}
	}
	whole[len(whole)/2] ^= 1
	if err := os.WriteFile(path, whole[:len(whole)-3], 0o600); err != nil {
		t.Fatal(err)
	}
	got, damage := load(t, path)
	if len(got) != 3 || damage == "" {
		t.Errorf("damaged and torn file: %d records, damage %q", len(got), damage)
	}
	if _, err := os.Stat(path + ".damaged"); err != nil {
		t.Errorf("the damaged file was not kept: %v", err)
	}
	if got, damage = load(t, path); len(got) != 3 || damage != "" {
		t.Errorf("after the repair: %d records, damage %q", len(got), damage)
	}
}

func TestAppendAfterATornLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "berth.journal")
	j := journal.Open(path)
	if err := j.Append(records(2))(); err != nil {
		t.Fatal(err)
	}
	_ = j.Close()
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, whole[:len(whole)-4], 0o600); err != nil {
		t.Fatal(err)
	}
	j = journal.Open(path)
	if _, _, err := j.Load(); err != nil {
		t.Fatal(err)
	}
	if err := j.Append([]pool.Record{record(7)})(); err != nil {
		t.Fatal(err)
	}
	_ = j.Close()
	got, damage := load(t, path)
	same(t, []pool.Record{record(0), record(7)}, got)
	if damage != "" {
		t.Errorf("damage %q", damage)
	}
}

func TestFullDiskFailsTheAppendAndTheNextOneWorks(t *testing.T) {
	path := filepath.Join(t.TempDir(), "no", "such", "dir", "berth.journal")
	j := journal.Open(path)
	defer func() { _ = j.Close() }()
	if err := j.Append(records(1))(); err == nil {
		t.Fatal("append into a missing directory succeeded")
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := j.Append(records(2))(); err != nil {
		t.Fatal(err)
	}
	got, _ := load(t, path)
	same(t, records(2), got)
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte("00000000 {}\n"))
	f.Add([]byte("xxxxxxxx {\"pod\":{}}\n\n\n"))
	f.Fuzz(func(_ *testing.T, data []byte) { journal.Decode(data) })
}

func BenchmarkAppend(b *testing.B) {
	j := journal.Open(filepath.Join(b.TempDir(), "berth.journal"))
	defer func() { _ = j.Close() }()
	for b.Loop() {
		if err := j.Append([]pool.Record{record(1)})(); err != nil {
			b.Fatal(err)
		}
	}
}

// A snapshot that is long itself was written again after each record.
func TestLongSnapshotIsNotCompactedAgainAtOnce(t *testing.T) {
	j := journal.Open(filepath.Join(t.TempDir(), "berth.journal"))
	defer func() { _ = j.Close() }()
	if _, _, err := j.Load(); err != nil {
		t.Fatal(err)
	}
	many := records(8000) // more than a MiB
	put := func(wait func() error) {
		t.Helper()
		if err := wait(); err != nil {
			t.Fatal(err)
		}
	}
	put(j.Append(many))
	if !j.Due() {
		t.Fatal("a journal of 8,000 records is not due")
	}
	put(j.Compact(many))
	put(j.Append(many[:10]))
	if j.Due() {
		t.Error("due ten records after its compaction")
	}
	put(j.Append(many))
	if !j.Due() {
		t.Error("not due at twice the length")
	}
	put(j.Compact(many[:5]))
	put(j.Append(many[:100]))
	if j.Due() {
		t.Error("a short journal is due")
	}
}

package enforcement

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/berth-net/berth/internal/core/policy/names"
)

func record(name, addr string) names.Record {
	return names.Record{Name: name, Addr: netip.MustParseAddr(addr), Until: time.Unix(100, 0).UTC()}
}

// TestNamesOutliveAProcessThatIsKilledWhileItWrites: the line that was cut off is left out, and spoils none after it.
func TestNamesOutliveAProcessThatIsKilledWhileItWrites(t *testing.T) {
	path := filepath.Join(t.TempDir(), "names")
	if got, err := (&nameFile{path: path}).read(); err != nil || got != nil {
		t.Errorf("without a file: %v, %v", got, err)
	}
	first := &nameFile{path: path}
	if err := first.add([]names.Record{record("a.com", "192.0.2.1"), record("b.com", "192.0.2.2")}); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for cut := range text {
		if err := os.WriteFile(path, text[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		next := &nameFile{path: path}
		if err := next.add([]names.Record{record("c.com", "2001:db8::1")}); err != nil {
			t.Fatal(err)
		}
		got, err := next.read()
		if err != nil || len(got) > 3 || !slices.Contains(got, record("c.com", "2001:db8::1")) {
			t.Fatalf("cut off after %d bytes: %v, %v", cut, got, err)
		}
	}
}

// TestNamesAreWrittenAnewBeforeTheyFillTheDisk, also while they are learned.
func TestNamesAreWrittenAnewBeforeTheyFillTheDisk(t *testing.T) {
	f := &nameFile{path: filepath.Join(t.TempDir(), "names")}
	many := make([]names.Record, 1000)
	for i := range many {
		many[i] = record("a.com", "192.0.2.1")
	}
	adds := 0
	for ; !f.isLarge(); adds++ {
		if err := f.add(many); err != nil {
			t.Fatal(err)
		}
	}
	if adds < 5 || adds > 50 {
		t.Errorf("large after %d records", adds*len(many))
	}
	if err := f.rewrite(func() ([]names.Record, error) { return many[:1], nil }); err != nil {
		t.Fatal(err)
	}
	if err := f.add([]names.Record{record("b.com", "192.0.2.2")}); err != nil || f.isLarge() {
		t.Errorf("written anew: %v", err)
	}
	if got, err := f.read(); err != nil || len(got) != 2 || got[1].Name != "b.com" {
		t.Errorf("read %v, %v", got, err)
	}
}

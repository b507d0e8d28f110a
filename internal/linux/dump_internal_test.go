package linux

import (
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/internal/testkit"
)

func TestRetried(t *testing.T) {
	broken := errors.New("broken")
	cases := []struct {
		name  string
		after int // interrupted reads before the end
		end   error
		reads int
		ok    bool
	}{
		{"complete at once", 0, nil, 1, true},
		{"interrupted thrice", 3, nil, 4, true},
		{"interrupted for ever", 1000, nil, dumpTries, false},
		{"another error", 0, broken, 1, false},
		{"interrupted, then another error", 2, broken, 3, false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			reads := 0
			list, err := retried("things", func() ([]int, error) {
				reads++
				if reads <= c.after {
					return []int{1}, fmt.Errorf("half: %w", netlink.ErrDumpInterrupted)
				}
				return []int{1, 2}, c.end
			})
			if reads != c.reads || (err == nil) != c.ok || c.ok && len(list) != 2 || !c.ok && list != nil {
				t.Errorf("%d reads gave %v, %v", reads, list, err)
			}
			if c.end != nil && !errors.Is(err, c.end) {
				t.Errorf("error %v does not wrap %v", err, c.end)
			}
		})
	}
}

// TestIn: the caller's thread is where it was, whatever f does; the error is f's.
func TestIn(t *testing.T) {
	other, err := os.Open(testkit.Netns(t))
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	inode := func() uint64 {
		var st unix.Stat_t
		if err := unix.Stat("/proc/thread-self/ns/net", &st); err != nil {
			t.Error(err)
		}
		return st.Ino
	}
	home, failed, inside := inode(), errors.New("failed"), uint64(0)
	if err := In(other, func() error { inside = inode(); return failed }); !errors.Is(err, failed) {
		t.Errorf("error %v, want f's", err)
	}
	if inside == home || inode() != home {
		t.Errorf("home %d, inside %d, then %d", home, inside, inode())
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	if err := In(null, func() error { t.Error("ran without a namespace"); return nil }); err == nil {
		t.Error("a file that is no namespace was entered")
	}
}

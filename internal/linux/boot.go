package linux

import (
	"bytes"
	"os"
	"strconv"
	"time"
)

// BootedAt is when the host booted, as the kernel says in the file /proc/stat; zero when it does not. An agent without a journal is
// the first of a host that booted just now, and else has lost it.
func BootedAt(stat string) time.Time {
	data, err := os.ReadFile(stat)
	if err != nil {
		return time.Time{}
	}
	for line := range bytes.Lines(data) {
		if rest, ok := bytes.CutPrefix(line, []byte("btime ")); ok {
			if s, err := strconv.ParseInt(string(bytes.TrimSpace(rest)), 10, 64); err == nil {
				return time.Unix(s, 0)
			}
		}
	}
	return time.Time{}
}

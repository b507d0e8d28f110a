package build

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Board shows the progress of several things at a time: on a terminal as one line that changes, elsewhere as a line
// now and then.
type Board struct {
	mu       sync.Mutex
	out      io.Writer
	terminal int // file descriptor, or -1
	began    time.Time
	printed  time.Time
	last     string
	names    []string
	lines    map[string]string
}

// quiet is how long a board without a terminal keeps silent between two lines of the same thing.
const quiet = 10 * time.Second

// NewBoard returns an empty board.
func NewBoard(out *os.File) *Board {
	b := &Board{out: out, terminal: -1, began: time.Now(), lines: map[string]string{}}
	if _, err := unix.IoctlGetTermios(int(out.Fd()), unix.TCGETS); err == nil {
		b.terminal = int(out.Fd())
	}
	return b
}

// Set tells what something is doing; an empty line is its end.
func (b *Board) Set(what, line string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, known := b.lines[what]
	switch {
	case line == "":
		delete(b.lines, what)
		b.names = slices.DeleteFunc(b.names, func(n string) bool { return n == what })
	case !known:
		b.names = append(b.names, what)
		b.lines[what] = line
	default:
		b.lines[what] = line
	}
	b.show(!known || line == "")
}

// show prints the board; one without a terminal only when something began or ended, or after a silence.
func (b *Board) show(changed bool) {
	var parts []string
	for _, n := range b.names {
		parts = append(parts, n+": "+b.lines[n])
	}
	text := strings.Join(parts, " | ")
	elapsed := time.Since(b.began).Round(time.Second)
	switch {
	case text == b.last:
	case b.terminal >= 0:
		line := fmt.Sprintf("%5s  %s", elapsed, text)
		if size, err := unix.IoctlGetWinsize(b.terminal, unix.TIOCGWINSZ); err == nil && size.Col > 1 && len(line) >= int(size.Col) {
			line = line[:size.Col-1]
		}
		_, _ = fmt.Fprintf(b.out, "\r\033[K%s", line)
	case text != "" && (changed || time.Since(b.printed) > quiet):
		_, _ = fmt.Fprintf(b.out, "%5s  %s\n", elapsed, text)
		b.printed = time.Now()
	default:
		return
	}
	b.last = text
}

// Close clears the line.
func (b *Board) Close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.terminal >= 0 {
		_, _ = fmt.Fprint(b.out, "\r\033[K")
	}
}

package world

import (
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"time"
)

// Step is a line of progress. The last one has Ready or Error set.
type Step struct {
	Text    string        `json:"text"`
	Elapsed time.Duration `json:"elapsed"`
	Warning bool          `json:"warning,omitempty"`
	Ready   bool          `json:"ready,omitempty"`
	Error   string        `json:"error,omitempty"`
}

// progress writes steps, one JSON object a line.
type progress struct {
	mu    sync.Mutex
	out   io.Writer
	start time.Time
}

func newProgress(out io.Writer) *progress { return &progress{out: out, start: time.Now()} }

func (p *progress) write(s Step) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s.Elapsed = time.Since(p.start)
	line, err := json.Marshal(s)
	if err != nil {
		return // a Step always marshals
	}
	_, _ = p.out.Write(append(line, '\n')) // whoever watches may be gone
}

func (p *progress) say(format string, args ...any) { p.write(Step{Text: fmt.Sprintf(format, args...)}) }

func (p *progress) warn(format string, args ...any) {
	p.write(Step{Text: fmt.Sprintf(format, args...), Warning: true})
}

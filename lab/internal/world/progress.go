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
	last  time.Time // when something was said
}

// quiet is how long a step may take before a line says that it is still at work.
const quiet = 15 * time.Second

func newProgress(out io.Writer) *progress {
	return &progress{out: out, start: time.Now(), last: time.Now()}
}

func (p *progress) write(s Step) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last = time.Now()
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

// during runs a step, and says that it is still at work whenever nothing was said for a while.
func (p *progress) during(what string, step func() error) error {
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
			}
			if p.silent() >= quiet {
				p.say("still at work: %s", what)
			}
		}
	}()
	defer func() { close(stop); <-stopped }()
	return step()
}

func (p *progress) silent() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return time.Since(p.last)
}

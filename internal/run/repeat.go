package run

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"
)

// Lines with the same level, message and subject are written repeatBurst times per repeatWindow; the first line of the
// next window says how many were left out.
const (
	repeatBurst  = 10
	repeatWindow = time.Minute
	// repeatKeys bounds the memory of what was written.
	repeatKeys = 2048
)

// subjectKeys tell lines of the same message apart.
var subjectKeys = []string{KeyPod, KeyNamespace, KeyENI, KeySubnet, KeyIP, KeyPrefix, KeyPolicy, KeyRule, KeyAction, KeyWhy}

// limiter is a handler that limits repeats.
type limiter struct {
	next   slog.Handler
	prefix string // subject of the attributes that the logger itself carries
	seen   *seen
}

type seen struct {
	mu    sync.Mutex
	lines map[string]*line
}

type line struct {
	began   time.Time
	written int
	leftOut int
}

func newLimiter(next slog.Handler) *limiter {
	return &limiter{next: next, seen: &seen{lines: map[string]*line{}}}
}

// Enabled implements slog.Handler.
func (l *limiter) Enabled(ctx context.Context, level slog.Level) bool {
	return l.next.Enabled(ctx, level)
}

// Handle implements slog.Handler.
func (l *limiter) Handle(ctx context.Context, r slog.Record) error {
	var key strings.Builder
	key.WriteString(r.Level.String() + "\x00" + r.Message + "\x00" + l.prefix)
	r.Attrs(func(a slog.Attr) bool {
		subject(&key, a)
		return true
	})
	leftOut, write := l.seen.count(key.String(), r.Time)
	if !write {
		return nil
	}
	if leftOut > 0 {
		r = r.Clone()
		r.AddAttrs(slog.Int("repeatsLeftOut", leftOut))
	}
	return l.next.Handle(ctx, r)
}

func subject(to *strings.Builder, a slog.Attr) {
	if slices.Contains(subjectKeys, a.Key) {
		to.WriteString(a.Key + "=" + a.Value.String() + "\x00")
	}
}

// count tells whether a line may be written and how many of its kind were left out before it.
func (s *seen) count(key string, now time.Time) (leftOut int, write bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	got := s.lines[key]
	if got == nil {
		s.forget(now)
		got = &line{began: now}
		s.lines[key] = got
	}
	if now.Sub(got.began) >= repeatWindow {
		leftOut = got.leftOut
		*got = line{began: now}
	}
	if got.written >= repeatBurst {
		got.leftOut++
		return 0, false
	}
	got.written++
	return leftOut, true
}

// forget drops old lines when there are too many, and all when that is not enough.
func (s *seen) forget(now time.Time) {
	if len(s.lines) < repeatKeys {
		return
	}
	for key, l := range s.lines {
		if now.Sub(l.began) >= repeatWindow {
			delete(s.lines, key)
		}
	}
	if len(s.lines) >= repeatKeys {
		clear(s.lines)
	}
}

// WithAttrs implements slog.Handler.
func (l *limiter) WithAttrs(attrs []slog.Attr) slog.Handler {
	var prefix strings.Builder
	prefix.WriteString(l.prefix)
	for _, a := range attrs {
		subject(&prefix, a)
	}
	return &limiter{next: l.next.WithAttrs(attrs), prefix: prefix.String(), seen: l.seen}
}

// WithGroup implements slog.Handler.
func (l *limiter) WithGroup(name string) slog.Handler {
	return &limiter{next: l.next.WithGroup(name), prefix: l.prefix + name + ".", seen: l.seen}
}

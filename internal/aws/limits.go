package aws

import (
	"context"
	"strings"
	"sync"
	"time"
)

// Request budgets of one node. EC2's own are per account and region; these keep a node that goes wrong from using them
// up, and are far above what a healthy node needs.
const (
	readRate, readBurst   = 10.0, 20.0 // requests per second, requests
	writeRate, writeBurst = 5.0, 20.0
	minRate               = 0.2
	firstBackoff          = 500 * time.Millisecond
	maxBackoff            = 10 * time.Second
)

// limits holds one budget per action.
type limits struct {
	mu      sync.Mutex
	actions map[string]*budget
	random  func() float64 // in [0,1)
}

// budget is a token bucket whose rate halves with every throttled answer and grows back with every success. After a
// throttled answer nothing leaves before a pause that doubles each time.
type budget struct {
	tokens, burst float64
	rate, full    float64 // tokens per second now, and when healthy
	last          time.Time
	backoff       time.Duration
	notBefore     time.Time
}

func newLimits(random func() float64) *limits {
	return &limits{actions: map[string]*budget{}, random: random}
}

func (l *limits) of(action string) *budget {
	b := l.actions[action]
	if b == nil {
		b = &budget{rate: writeRate, full: writeRate, burst: writeBurst}
		if strings.HasPrefix(action, "Describe") {
			b.rate, b.full, b.burst = readRate, readRate, readBurst
		}
		b.tokens, b.last = b.burst, time.Now()
		l.actions[action] = b
	}
	return b
}

// wait returns when the action may be asked for, or with the context's error when it ends before.
func (l *limits) wait(ctx context.Context, action string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	d := l.reserve(action)
	if d <= 0 {
		return nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		l.giveBack(action)
		return ctx.Err()
	}
}

// reserve takes a token, of the future if there is none, and returns when it is there.
func (l *limits) reserve(action string) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	b, now := l.of(action), time.Now()
	from := now
	if b.notBefore.After(now) {
		from = b.notBefore
	}
	b.refill(now)
	b.tokens--
	var d time.Duration
	if b.tokens < 0 {
		d = time.Duration(-b.tokens / b.rate * float64(time.Second))
	}
	return from.Add(d).Sub(now)
}

func (b *budget) refill(now time.Time) {
	if since := now.Sub(b.last); since > 0 {
		b.tokens = min(b.burst, b.tokens+since.Seconds()*b.rate)
		b.last = now
	}
}

func (l *limits) giveBack(action string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.of(action)
	b.tokens = min(b.burst, b.tokens+1)
}

func (l *limits) succeed(action string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.of(action)
	b.backoff = 0
	b.rate = min(b.full, b.rate+b.full/8)
}

func (l *limits) throttle(action string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b, now := l.of(action), time.Now()
	if b.notBefore.After(now) {
		return // a call that left together with the one that was throttled first
	}
	b.refill(now)
	b.tokens = min(b.tokens, 1)
	b.rate = max(minRate, b.rate/2)
	b.backoff = min(maxBackoff, max(firstBackoff, 2*b.backoff))
	b.notBefore = now.Add(b.backoff/2 + time.Duration(l.random()*float64(b.backoff/2)))
}

// throttled tells whether EC2's last answer to the action was that it is throttled.
func (l *limits) throttled(action string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.of(action).backoff > 0
}

package target

import (
	"slices"
	"time"
)

const (
	// remembered is how long what came is remembered: a rollout or a job comes again within it, or not soon.
	remembered = 15 * time.Minute
	// mostRemembered bounds the memory; a node has a few hundred pods.
	mostRemembered = 2048
	// leads is how many measurements of a lead time count.
	leads = 16
)

// Demand remembers when pods first asked for an address.
type Demand struct {
	came []arrival
	asks map[string]bool // who is in came
}

type arrival struct {
	pod string
	at  time.Time
}

// Came notes that a pod asked for an address. A repetition of one that was refused is no other pod.
func (d *Demand) Came(pod string, now time.Time) {
	if d.asks == nil {
		d.asks = make(map[string]bool)
	}
	old, _ := d.since(now.Add(-remembered))
	old = max(old, len(d.came)+1-mostRemembered)
	for _, a := range d.came[:old] {
		delete(d.asks, a.pod)
	}
	d.came = slices.Delete(d.came, 0, old)
	if !d.asks[pod] {
		d.asks[pod] = true
		d.came = append(d.came, arrival{pod, now})
	}
}

// since finds the first that came at a time or later.
func (d *Demand) since(t time.Time) (int, bool) {
	return slices.BinarySearchFunc(d.came, t, func(a arrival, t time.Time) int { return a.at.Compare(t) })
}

// Peak is how many pods came within any stretch of time so long, during the last quarter of an hour.
func (d *Demand) Peak(within time.Duration, now time.Time) int {
	first, _ := d.since(now.Add(-remembered))
	peak, from := 0, first
	for i := first; i < len(d.came); i++ {
		for d.came[i].at.Sub(d.came[from].at) > within {
			from++
		}
		peak = max(peak, i-from+1)
	}
	return peak
}

// Lead is how long something took, the last times that it was done.
type Lead struct {
	took []time.Duration
}

// Took notes how long it took.
func (l *Lead) Took(d time.Duration) {
	l.took = append(l.took, d)
	if len(l.took) > leads {
		l.took = slices.Delete(l.took, 0, len(l.took)-leads)
	}
}

// Time is what to count on: the longest of the last times, or a guess before the first.
func (l *Lead) Time(guess time.Duration) time.Duration {
	if len(l.took) == 0 {
		return guess
	}
	return slices.Max(l.took)
}

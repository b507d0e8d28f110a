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

// Demand remembers when pods asked for addresses.
type Demand struct {
	came []time.Time
}

// Came notes that a pod asked for an address.
func (d *Demand) Came(now time.Time) {
	old, _ := slices.BinarySearchFunc(d.came, now.Add(-remembered), time.Time.Compare)
	old = max(old, len(d.came)+1-mostRemembered)
	d.came = append(slices.Delete(d.came, 0, old), now)
}

// Peak is how many pods came within any stretch of time so long, during the last quarter of an hour.
func (d *Demand) Peak(within time.Duration, now time.Time) int {
	first, _ := slices.BinarySearchFunc(d.came, now.Add(-remembered), time.Time.Compare)
	peak, from := 0, first
	for i := first; i < len(d.came); i++ {
		for d.came[i].Sub(d.came[from]) > within {
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

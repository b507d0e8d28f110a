package world

import (
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/berth-net/berth/internal/vpcsim/addressing"
	"github.com/berth-net/berth/internal/vpcsim/ec2"
	"github.com/berth-net/berth/internal/vpcsim/pacing"
)

// World is the state of a region with what the actions need to work on it. It is not safe for concurrent use.
type World struct {
	State State

	// Two sources, so that a change of delays does not change the ids and addresses that are chosen.
	IDs, Dice         *rand.Rand
	IDsSeed, DiceSeed *rand.PCG

	Wake chan struct{} // receives when a transition was scheduled

	index
}

// After draws how long something takes.
func (s *World) After(d pacing.Distribution) time.Duration { return d.Sample(s.Dice) }

// Choice is how addresses are chosen now.
func (s *World) Choice() addressing.Choice {
	set := &s.State.Settings
	return addressing.Choice{Rand: s.IDs, Now: s.State.Now, Quarantine: set.Quarantine, Sequential: set.Sequential}
}

// Quota is a limit of the account: the setting, or EC2's default.
func Quota(setting, standard int) int {
	if setting > 0 {
		return setting
	}
	return standard
}

// Collect is a string of each element.
func Collect[T any](list []T, of func(T) string) []string {
	out := make([]string, len(list))
	for i, v := range list {
		out[i] = of(v)
	}
	return out
}

// Timestamp is a moment as filters are given it.
func Timestamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// List shows the named objects, or all that are visible.
func List[V, S any](t *table[V], ids []string, get func(string) (V, error), visible func(V) bool, show func(V) S) ([]S, error) {
	out := []S{}
	if len(ids) > 0 {
		for _, id := range slices.Compact(slices.Sorted(slices.Values(ids))) {
			v, err := get(id)
			if err != nil {
				return nil, err
			}
			out = append(out, show(v))
		}
		return out, nil
	}
	for v := range t.All() {
		if visible(v) {
			out = append(out, show(v))
		}
	}
	return out, nil
}

// SetOne sets the one attribute that a request gives.
func SetOne(given map[*bool]*ec2.AttributeBooleanValue) error {
	maps.DeleteFunc(given, func(_ *bool, v *ec2.AttributeBooleanValue) bool { return v == nil })
	switch len(given) {
	case 0:
		return ec2.Errorf("MissingParameter", "The request must contain an attribute to modify")
	case 1:
	default:
		return ec2.Errorf("InvalidParameterCombination", "Fields for multiple attributes specified")
	}
	for into, v := range given {
		*into = v.Value
	}
	return nil
}

// Number is a count of a request; an absent one is zero.
func Number(n *int) int {
	if n == nil {
		return 0
	}
	return *n
}

// Must holds an invariant: an interface's addresses are its own in its subnet's map.
func Must(err error) {
	if err != nil {
		panic("vpcsim: interface and subnet disagree: " + err.Error())
	}
}

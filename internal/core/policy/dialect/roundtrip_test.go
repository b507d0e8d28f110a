package dialect_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/berth-net/berth/internal/core/policy"
	"github.com/berth-net/berth/internal/testkit/policyworld"
)

// TestWhatIsWrittenIsRead: policies of generated worlds, as resources of every dialect, mean what they did.
func TestWhatIsWrittenIsRead(t *testing.T) {
	for _, g := range tongues {
		t.Run(g.name, func(t *testing.T) {
			count := 0
			for seed := range uint64(60) {
				for _, p := range policyworld.New(seed, policyworld.Large()).Policies {
					if !sayable(g, p) {
						continue
					}
					data, said := g.say(t, p)
					got, problems, err := g.read(data)
					if err != nil || problems != nil {
						t.Fatalf("seed %d: %v %v\n%s", seed, err, problems, data)
					}
					if d := cmp.Diff(said.String(), got.String()); d != "" {
						t.Fatalf("seed %d: %s\n%s", seed, d, data)
					}
					count += len(got.Rules[0]) + len(got.Rules[1])
				}
			}
			if count < 200 {
				t.Errorf("%d rules were compared, that proves little", count)
			}
		})
	}
}

func sayable(g tongue, p policy.Policy) bool {
	return g.tier(p.Tier) && (p.Tier != policy.Network || p.Isolates != [2]bool{})
}

// TestNothingInvalidOpensAnything spoils one value of one policy at a time. As long as a problem says so, whatever the spoilt policy
// allows was allowed before, together with all other policies of its world.
func TestNothingInvalidOpensAnything(t *testing.T) {
	const seeds = 50
	for _, g := range tongues {
		t.Run(g.name, func(t *testing.T) {
			spoilt, closed := 0, 0
			for seed := range uint64(seeds) {
				s, c := spoilWorld(t, g, seed)
				spoilt, closed = spoilt+s, closed+c
			}
			if spoilt < 3*seeds || closed < 5*seeds {
				t.Errorf("%d policies were spoilt and %d packets denied by that, that proves little", spoilt, closed)
			}
		})
	}
}

// spoilWorld counts what it spoilt, and how many packets were no longer allowed.
func spoilWorld(t *testing.T, g tongue, seed uint64) (spoilt, closed int) {
	t.Helper()
	w := policyworld.New(seed, policyworld.Small())
	r := rand.New(rand.NewPCG(seed, 3))
	packets := policyworld.Packets(w, r, 60)
	for i, p := range w.Policies {
		if !sayable(g, p) {
			continue
		}
		data, said := g.say(t, p)
		w.Policies[i] = said
		before := verdicts(w, packets)
		for range 12 {
			bad, what := spoil(t, data, r)
			held, problems, err := g.read(bad)
			if err != nil || problems == nil || strings.Contains(problems[0].Done, "not enforced") {
				continue // no policy at all, another valid one, or rules under a name that nobody knows
			}
			w.Policies[i] = held
			spoilt++
			for j, allowed := range verdicts(w, packets) {
				if allowed && !before[j] {
					t.Fatalf("seed %d: %s: %+v passes now, though %v\nbefore: %snow: %s%s", seed, what, packets[j], problems, said, held, bad)
				}
				if !allowed && before[j] {
					closed++
				}
			}
		}
		w.Policies[i] = said
	}
	return spoilt, closed
}

func verdicts(w *policy.World, packets []policy.Packet) []bool {
	allowed := make([]bool, 0, len(packets))
	for _, p := range packets {
		allowed = append(allowed, policy.Evaluate(w, p).Allowed)
	}
	return allowed
}

// spoil changes one value of a resource's spec: to another kind of value, to a little more, or its name.
func spoil(t *testing.T, data []byte, r *rand.Rand) (bad []byte, what string) {
	t.Helper()
	var resource map[string]any
	if err := json.Unmarshal(data, &resource); err != nil {
		t.Fatal(err)
	}
	paths := paths(resource["spec"], nil)
	path := paths[r.IntN(len(paths))]
	resource["spec"], what = spoilAt(resource["spec"], path, r)
	bad, err := json.Marshal(resource)
	if err != nil {
		t.Fatal(err)
	}
	return bad, fmt.Sprint(path, " ", what)
}

// paths lists every value below one, by keys and indices.
func paths(v any, at []any) (all [][]any) {
	switch v := v.(type) {
	case map[string]any:
		keys := make([]string, 0, len(v))
		for k := range v {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		for _, k := range keys {
			path := append(slices.Clone(at), k)
			all = append(append(all, path), paths(v[k], path)...)
		}
	case []any:
		for i := range v {
			path := append(slices.Clone(at), i)
			all = append(append(all, path), paths(v[i], path)...)
		}
	}
	return all
}

func spoilAt(v any, path []any, r *rand.Rand) (any, string) {
	key, index := "", 0
	object, isObject := v.(map[string]any)
	if isObject {
		key = path[0].(string)
	} else {
		index = path[0].(int)
	}
	list, _ := v.([]any)
	child := func() any {
		if isObject {
			return object[key]
		}
		return list[index]
	}
	var what string
	var spoilt any
	if len(path) > 1 {
		spoilt, what = spoilAt(child(), path[1:], r)
	} else {
		if isObject && r.IntN(4) == 0 {
			if r.IntN(2) == 0 {
				object[key+"x"] = object[key]
			} else {
				object[strings.ToUpper(key)] = object[key]
			}
			delete(object, key)
			return object, "is called otherwise"
		}
		spoilt = spoilValue(child(), r)
		what = fmt.Sprintf("becomes %v", spoilt)
	}
	if isObject {
		object[key] = spoilt
		return object, what
	}
	list[index] = spoilt
	return list, what
}

func spoilValue(v any, r *rand.Rand) any {
	if text, ok := v.(string); ok && r.IntN(2) == 0 {
		return []any{text + "/99", text + " ", strings.ToLower(text) + "é", "*." + text, text + ",b", strings.ToUpper(text)}[r.IntN(6)]
	}
	return []any{"?", "", -1, 70000, 1.5, true, map[string]any{}, []any{}, map[string]any{"?": "?"}, []any{"?"}, []any{map[string]any{}}, []any{nil}}[r.IntN(12)]
}

package pool_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/berth-net/berth/internal/core/pool"
)

func TestOverridesPrecedence(t *testing.T) {
	t.Parallel()
	env := pool.Config{WarmENI: 1, WarmIP: 5, MaxENI: -1, Cooldown: 30 * time.Second, Discovery: true, Cluster: "c"}
	with := func(change func(*pool.Config)) pool.Config {
		c := env
		change(&c)
		return c
	}
	for _, test := range []struct {
		name      string
		overrides []pool.Overrides
		want      pool.Config
		against   []string
	}{
		{"none: the environment counts", nil, env, nil},
		{"one without settings", []pool.Overrides{{Name: "a"}}, env, nil},
		{
			"every setting",
			[]pool.Overrides{{
				Name: "a", WarmENI: new(2), WarmIP: new(3), MinimumIP: new(4), WarmPrefix: new(5), MaxENI: new(6), Cooldown: new(time.Minute),
				PrefixDelegation: new(true), Discovery: new(false), ReservePrefixes: new(true),
			}},
			pool.Config{
				WarmENI: 2, WarmIP: 3, MinimumIP: 4, WarmPrefix: 5, MaxENI: 6, Cooldown: time.Minute, Prefixes: true, ReservePrefixes: true, Cluster: "c",
			},
			nil,
		},
		{"zero is a value, not its absence", []pool.Overrides{{Name: "a", WarmIP: new(0), Discovery: new(false)}}, with(func(c *pool.Config) { c.WarmIP, c.Discovery = 0, false }), nil},
		{
			"a higher priority comes first, setting by setting",
			[]pool.Overrides{{Name: "z", Priority: 10, WarmIP: new(1)}, {Name: "a", WarmIP: new(2), MaxENI: new(3)}},
			with(func(c *pool.Config) { c.WarmIP, c.MaxENI = 1, 3 }), nil,
		},
		{
			"equal priority, different settings",
			[]pool.Overrides{{Name: "a", WarmIP: new(1)}, {Name: "b", MaxENI: new(3)}},
			with(func(c *pool.Config) { c.WarmIP, c.MaxENI = 1, 3 }), nil,
		},
		{
			"equal priority, equal values",
			[]pool.Overrides{{Name: "a", WarmIP: new(1)}, {Name: "b", WarmIP: new(1)}},
			with(func(c *pool.Config) { c.WarmIP = 1 }), nil,
		},
		{
			"a contradiction: the first by name counts",
			[]pool.Overrides{{Name: "a", Priority: 7, WarmIP: new(1), PrefixDelegation: new(true)}, {Name: "b", Priority: 7, WarmIP: new(2), PrefixDelegation: new(false)}},
			with(func(c *pool.Config) { c.WarmIP, c.Prefixes = 1, true }),
			[]string{
				"a and b, both of priority 7, set pool.warmIPTarget to 1 and 2: that of a counts",
				"a and b, both of priority 7, set prefixDelegation to true and false: that of a counts",
			},
		},
		{
			"a contradiction that a higher priority settles is none",
			[]pool.Overrides{{Name: "z", Priority: 1, Cooldown: new(time.Minute)}, {Name: "a", Cooldown: new(time.Second)}, {Name: "b", Cooldown: new(time.Hour)}},
			with(func(c *pool.Config) { c.Cooldown = time.Minute }), nil,
		},
		{
			"three of one priority",
			[]pool.Overrides{{Name: "a", MinimumIP: new(1)}, {Name: "b", MinimumIP: new(2)}, {Name: "c", MinimumIP: new(3)}},
			with(func(c *pool.Config) { c.MinimumIP = 1 }),
			[]string{
				"a and b, both of priority 0, set pool.minimumIPTarget to 1 and 2: that of a counts",
				"a and c, both of priority 0, set pool.minimumIPTarget to 1 and 3: that of a counts",
			},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got, contradictions := env.With(test.overrides)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("configuration (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.against, contradictions); diff != "" {
				t.Errorf("contradictions (-want +got):\n%s", diff)
			}
		})
	}
}

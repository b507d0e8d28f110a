package policy_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/berth-net/berth/internal/core/policy"
	"github.com/berth-net/berth/internal/testkit/policyworld"
)

// change is a generated world, the same after a change, and packets to ask both about.
type change struct {
	before, after *policy.World
	*rand.Rand
	packets []policy.Packet
}

// drawn makes a world; after starts as a copy of it in which policies and their rules can be changed.
func drawn(t *rapid.T) change {
	seed := rapid.Uint64Range(0, 1<<20).Draw(t, "seed")
	c := change{before: policyworld.New(seed, policyworld.Small()), Rand: rand.New(rand.NewPCG(seed, 4))}
	after := *c.before
	after.Policies = slices.Clone(after.Policies)
	for i := range after.Policies {
		for d, rules := range after.Policies[i].Rules {
			after.Policies[i].Rules[d] = slices.Clone(rules)
		}
	}
	c.after, c.packets = &after, policyworld.Packets(c.before, c.Rand, 40)
	return c
}

// check asks both worlds about every packet.
func (c change) check(t *rapid.T, holds func(p policy.Packet, before, after policy.Verdict) bool) {
	t.Helper()
	for _, p := range c.packets {
		before, after := policy.Evaluate(c.before, p), policy.Evaluate(c.after, p)
		if !holds(p, before, after) {
			t.Fatalf("%+v\nbefore %+v\nafter  %+v\npolicies before %v\nafter %v", p, before, after, c.before.Policies, c.after.Policies)
		}
	}
}

func sameAllowed(_ policy.Packet, before, after policy.Verdict) bool {
	return before.Allowed == after.Allowed
}

func sameVerdict(_ policy.Packet, before, after policy.Verdict) bool {
	return cmp.Equal(before, after)
}

// of calls a function with the world's policies of a tier.
func (c change) of(t policy.Tier, f func(*policy.Policy)) {
	for i := range c.after.Policies {
		if p := &c.after.Policies[i]; p.Tier == t {
			f(p)
		}
	}
}

// TestAcceptingMoreClosesNothing: one more rule of a policy that isolates anyway.
func TestAcceptingMoreClosesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := drawn(t)
		c.of(policy.Network, func(p *policy.Policy) {
			d := c.IntN(2)
			more := policyworld.New(c.Uint64N(1<<20), policyworld.Small()).Policies
			for _, from := range more {
				for _, rule := range from.Rules[d] {
					rule.Action = policy.Accept
					p.Rules[d] = append(p.Rules[d], rule)
				}
			}
		})
		c.check(t, func(_ policy.Packet, before, after policy.Verdict) bool { return after.Allowed || !before.Allowed })
	})
}

// TestOrderOfAcceptsDoesNotMatter: rules of a NetworkPolicy are a set.
func TestOrderOfAcceptsDoesNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := drawn(t)
		c.of(policy.Network, func(p *policy.Policy) {
			for _, rules := range p.Rules {
				c.Shuffle(len(rules), func(i, j int) { rules[i], rules[j] = rules[j], rules[i] })
			}
		})
		c.check(t, sameAllowed)
	})
}

// TestOrderOfPoliciesDoesNotMatter: of no tier, and for no part of the verdict.
func TestOrderOfPoliciesDoesNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := drawn(t)
		all := c.after.Policies
		c.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		c.check(t, sameVerdict)
	})
}

// TestPoliciesAreAUnion: a NetworkPolicy says the same as policies with one of its rules each, beside one that only isolates.
func TestPoliciesAreAUnion(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := drawn(t)
		var split []policy.Policy
		c.of(policy.Network, func(p *policy.Policy) {
			for d, rules := range p.Rules {
				for i := range rules {
					one := *p
					one.Name += string(rune('a'+d)) + string(rune('a'+i))
					one.Rules = [2][]policy.Rule{}
					one.Rules[d] = rules[i : i+1]
					split = append(split, one)
				}
			}
			p.Rules = [2][]policy.Rule{}
		})
		c.after.Policies = append(c.after.Policies, split...)
		c.check(t, sameAllowed)
	})
}

// TestPolicyOfAnotherNamespaceDoesNotMatter: to packets of which neither end is a pod of its namespace.
func TestPolicyOfAnotherNamespaceDoesNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := drawn(t)
		gone := c.before.Pods[c.IntN(len(c.before.Pods))].Namespace
		c.after.Policies = slices.DeleteFunc(c.after.Policies, func(p policy.Policy) bool { return p.Namespace == gone })
		c.check(t, func(p policy.Packet, before, after policy.Verdict) bool {
			return slices.ContainsFunc(c.before.Pods, func(pod policy.Pod) bool {
				return pod.Namespace == gone && (slices.Contains(pod.Addrs, p.From) || slices.Contains(pod.Addrs, p.To))
			}) || cmp.Equal(before, after)
		})
	})
}

// TestPassFromAdminIsAWorldWithoutAdmin: a rule before all others that passes everything.
func TestPassFromAdminIsAWorldWithoutAdmin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := drawn(t)
		without := *c.after
		without.Policies = slices.DeleteFunc(slices.Clone(without.Policies), func(p policy.Policy) bool { return p.Tier == policy.Admin })
		c.before = &without
		first := cnp("first", policy.Admin, -2, pass(nil))
		first.Rules[policy.Egress] = first.Rules[policy.Ingress]
		c.after.Policies = append(c.after.Policies, first)
		c.check(t, sameVerdict)
	})
}

// TestDenyBeforeAllDeniesAll: but what the node itself sends, what a pod sends to itself, and what is no pod's.
func TestDenyBeforeAllDeniesAll(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := drawn(t)
		first := cnp("first", policy.Admin, -2, deny(nil))
		first.Rules[policy.Egress] = first.Rules[policy.Ingress]
		c.after.Policies = append(c.after.Policies, first)
		c.check(t, func(p policy.Packet, _, after policy.Verdict) bool {
			return after.Allowed == (p.FromHost || p.From == p.To || !after.Egress.Asked && !after.Ingress.Asked)
		})
	})
}

// TestFamiliesAreApart: blocks and addresses of one family mean nothing to packets of the other.
func TestFamiliesAreApart(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := drawn(t)
		for i := range c.after.Policies {
			for _, rules := range c.after.Policies[i].Rules {
				for j, rule := range rules {
					rules[j].Peers = slices.DeleteFunc(slices.Clone(rule.Peers), func(p policy.Peer) bool { return p.Network != nil && p.Network.CIDR.Addr().Is4() })
				}
			}
		}
		c.check(t, func(p policy.Packet, before, after policy.Verdict) bool {
			return p.To.Is4() || cmp.Equal(before, after)
		})
	})
}

// TestPodsOfTheHostsNetworkDoNotMatter: neither as subjects nor as peers, whatever they are called and labelled.
func TestPodsOfTheHostsNetworkDoNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := drawn(t)
		c.after.Pods = slices.DeleteFunc(slices.Clone(c.after.Pods), func(p policy.Pod) bool { return p.HostNetwork })
		c.check(t, sameVerdict)
	})
}

package pacing

import (
	"math/rand/v2"
	"strings"
	"time"
)

// unfilteredSuffix names the bucket of describe calls without filters and pagination.
const unfilteredSuffix = "/unfiltered"

// Request buckets of EC2 by class, per account and region.
// Source: https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html, August 2026.
var (
	classRead       = Bucket{Size: 100, Refill: 20}
	classUnfiltered = Bucket{Size: 50, Refill: 10}
	classMutating   = Bucket{Size: 50, Refill: 5}
)

// listed are the actions with a bucket of their own size.
var listed = map[string]Bucket{
	"CreateNetworkInterface":          {100, 5},
	"DeleteNetworkInterface":          {100, 5},
	"AssignPrivateIpAddresses":        {100, 5},
	"UnassignPrivateIpAddresses":      {100, 5},
	"AssignIpv6Addresses":             {100, 5},
	"ModifyNetworkInterfaceAttribute": {100, 5},
	"CreateTags":                      {100, 10},
	"DeleteTags":                      {100, 10},
	"CreateSubnetCidrReservation":     {5, 1},
	"DeleteSubnetCidrReservation":     {5, 1},
	"RunInstances":                    {5, 2},
	"TerminateInstances":              {100, 5},
	"RunInstances/resources":          {1000, 2},
	"TerminateInstances/resources":    {1000, 20},
}

// DefaultBucket is EC2's default bucket of an action.
func DefaultBucket(action string) Bucket {
	if b, ok := listed[action]; ok {
		return b
	}
	base := action
	unfiltered := len(action) > len(unfilteredSuffix) && action[len(action)-len(unfilteredSuffix):] == unfilteredSuffix
	if unfiltered {
		base = action[:len(action)-len(unfilteredSuffix)]
	}
	for _, read := range []string{"Describe", "Get", "List"} {
		if len(base) > len(read) && base[:len(read)] == read {
			if unfiltered {
				return classUnfiltered
			}
			return classRead
		}
	}
	return classMutating
}

// Buckets are the token buckets of all accounts. The zero value has every bucket full.
type Buckets struct {
	Levels map[string]Level `json:"levels,omitempty"` // by account and action
}

// Level is how full a bucket was at a moment.
type Level struct {
	Tokens float64   `json:"tokens"`
	At     time.Time `json:"at"`
}

// Take takes n tokens from the bucket of an account's action, or none when there are fewer.
func (b *Buckets) Take(account, action string, n float64, size Bucket, now time.Time) bool {
	if b.Levels == nil {
		b.Levels = make(map[string]Level)
	}
	key := account + " " + action
	l, ok := b.Levels[key]
	if !ok {
		l = Level{Tokens: size.Size, At: now}
	}
	if passed := now.Sub(l.At).Seconds(); passed > 0 {
		l.Tokens += passed * size.Refill
	}
	l.Tokens, l.At = min(l.Tokens, size.Size), now
	enough := l.Tokens >= n
	if enough {
		l.Tokens -= n
	}
	b.Levels[key] = l
	return enough
}

// Gate decides about calls: faults, then buckets, then latency.
type Gate struct {
	Latency  map[string]Distribution
	Throttle bool
	Sizes    map[string]Bucket // overrides of DefaultBucket
	Buckets  Buckets
	Faults   Faults
}

// Call is a call that asks to be let in.
type Call struct {
	Account, Source, Action string
	Resources               int
	Unfiltered              bool
}

// Verdict is what happens to a call. Code is the error to answer, or empty.
type Verdict struct {
	Delay                     time.Duration
	Code, Message             string
	Status                    int
	DropRequest, DropResponse bool
	Garbage                   string
}

// serviceOf is what stands before an action, or a pattern of actions, that is not EC2's: "imds" for "imds:Get".
func serviceOf(action string) string {
	service, _, ok := strings.Cut(action, ":")
	if !ok {
		return ""
	}
	return service
}

// Admit decides about a call. Calls to other services than EC2 have faults and latencies of their own, named with the
// service ("imds:*"), and no buckets.
func (g *Gate) Admit(c Call, now time.Time, rng *rand.Rand) Verdict {
	v := g.Faults.apply(c, now, rng)
	v.Delay += g.latency(c.Action).Sample(rng)
	if v.Code == "" && !v.DropRequest && g.Throttle && serviceOf(c.Action) == "" && !g.take(c, now) {
		v.Code, v.Status, v.Message = "RequestLimitExceeded", 503, "Request limit exceeded."
	}
	return v
}

func (g *Gate) latency(action string) Distribution {
	if d, ok := g.Latency[action]; ok {
		return d
	}
	if service := serviceOf(action); service != "" {
		return g.Latency[service+":*"]
	}
	return g.Latency["*"]
}

func (g *Gate) take(c Call, now time.Time) bool {
	name := c.Action
	if c.Unfiltered {
		name += unfilteredSuffix
	}
	if !g.Buckets.Take(c.Account, name, 1, g.size(name), now) {
		return false
	}
	if c.Resources <= 0 {
		return true
	}
	name = c.Action + "/resources"
	return g.Buckets.Take(c.Account, name, float64(c.Resources), g.size(name), now)
}

func (g *Gate) size(name string) Bucket {
	if b, ok := g.Sizes[name]; ok {
		return b
	}
	return DefaultBucket(name)
}

package ipam

import (
	"time"

	"github.com/berth-net/berth/internal/core/subnet"
	"github.com/berth-net/berth/internal/core/target"
	"github.com/berth-net/berth/internal/core/vpc"
)

// What is kept free without any sign of demand: a tenth of what the kubelet allows, and aheadLeast in any case.
const (
	aheadLeast = 2
	aheadPart  = 10
	// aheadFirst is how long a run gives nothing back: it does not know yet what comes.
	aheadFirst = 15 * time.Minute
)

// targets are the warm targets now.
func (v view) targets(now time.Time) target.Warm {
	inPrefixes := v.Prefixes() && v.anyPrefix()
	w := target.Warm{
		ENIs: v.Config.WarmENI, IPs: v.Config.WarmIP, Minimum: v.Config.MinimumIP, Prefixes: v.Config.WarmPrefix,
		InPrefixes: inPrefixes, Unit: 1,
	}
	switch {
	case inPrefixes:
		w.Unit = vpc.PrefixSize
	case v.Prefixes(): // single addresses stand in: a few ahead of the demand, not prefixes' worth
		w.ENIs = target.NotSet
	}
	if w.Follows() {
		w.Ahead = v.ahead(now)
	}
	return w
}

// ahead is the target that follows the demand: for pods that are bound to the node and have not asked yet, and for as many
// more as came at most, lately, within the time that it takes to get more addresses.
//
// This is a base stock with a lead time; as in Autopilot (EuroSys 2020) it takes the peak of a window in place of a quantile
// of a fitted distribution, since pods come in batches.
func (v view) ahead(now time.Time) target.Ahead {
	floor := max(aheadLeast, v.PodLimit()/aheadPart)
	known := v.Expected()
	near, far := v.Peaks(now)
	a := target.Ahead{Free: max(known, near) + floor, Reach: max(known, far) + floor, Slack: max(floor, 2*aheadLeast)}
	if now.Sub(v.at.Started) < aheadFirst {
		a.Slack = v.PodLimit()
	}
	return a
}

// anyPrefix tells whether some subnet that the node may use has, or may have, a prefix left.
func (v view) anyPrefix() bool {
	if len(v.zone.Subnets()) == 0 {
		return true
	}
	for _, sn := range v.zone.Subnets() {
		if usable, _ := subnet.Judge(v.zone.Rules(), sn); usable && !v.Broken(sn.ID) {
			return true
		}
	}
	return false
}

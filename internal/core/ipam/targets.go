package ipam

import (
	"time"

	"github.com/berth-net/berth/internal/core/subnet"
	"github.com/berth-net/berth/internal/core/target"
	"github.com/berth-net/berth/internal/core/vpc"
)

// What is kept free without any sign of demand, as a part of the pods that run, and aheadLeast in any case; and the most that
// what came lately makes of it: a Deployment rolls a quarter of its pods at a time unless it says otherwise.
const (
	aheadLeast = 2
	aheadPart  = 8
	aheadMost  = 4
	// aheadFirst is how long a run gives nothing back: it does not know yet what comes.
	aheadFirst = 15 * time.Minute
	// aheadEvery is the least time between two releases, and up to a quarter longer by node: thousands of nodes then make less
	// calls than EC2 lets an account make.
	aheadEvery = 20 * time.Minute
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
// of a fitted distribution, since pods come in batches. A node that has just started its pods does not expect as many again.
func (v view) ahead(now time.Time) target.Ahead {
	known := v.Expected()
	if v.Scarce() {
		return target.Ahead{Free: known, Reach: known, Keep: known}
	}
	running := v.Running() + len(v.Waiting()) + known
	least, most := max(aheadLeast, running/aheadPart), max(aheadLeast, running/aheadMost)
	near, far := v.Peaks(now)
	if v.Tight() {
		least, most = aheadLeast, aheadLeast
	}
	near, far = min(max(near, least), most), min(max(far, least), most)
	a := target.Ahead{Free: known + near, Reach: known + far, Keep: known + near + 1}
	if now.Sub(v.at.Started) < aheadFirst {
		a.Keep = v.PodLimit()
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

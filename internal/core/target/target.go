// Package target knows how many addresses a node's pool should have: what pods that wait need, what the warm targets ask for
// beyond that, and what is more than both. Where the operator sets no target, it follows the demand: what is known of pods
// that will come, and how many came before within the time that it takes to get addresses. It counts; which addresses and
// interfaces these are is not its business.
package target

// NotSet is a target that the operator left open.
const NotSet = -1

// Warm are the targets. IPs and Minimum come first; without them ENIs counts, or Prefixes where InPrefixes; where that is
// NotSet, Ahead.
type Warm struct {
	ENIs     int // WARM_ENI_TARGET: that many interfaces' worth of addresses are kept free
	Prefixes int // WARM_PREFIX_TARGET: that many prefixes' worth
	IPs      int // WARM_IP_TARGET free addresses; 0 is unset
	Minimum  int // MINIMUM_IP_TARGET addresses in all; 0 is unset
	// InPrefixes: interfaces get prefixes, of Unit addresses each.
	InPrefixes bool
	Unit       int
	Ahead      Ahead
}

// Ahead is a target that follows the demand, in addresses.
type Ahead struct {
	Free  int // free now: for the pods that come before an assignment is done
	Reach int // free, or assignable to interfaces that are there: for those that come before another interface is
	Keep  int // free above that is given back; not below Free
}

// Tally counts addresses of managed interfaces.
type Tally struct {
	Free, InUse, Cooling, Held, Leaving int
	// Other are free addresses in blocks of the kind that the mode does not ask for: a waiting pod gets one, no target counts it.
	Other int
	// Coming are addresses that are being added, or that lie on interfaces which do not serve yet.
	Coming int
	// Waiting are pods without an address.
	Waiting int
	// Idle are whole blocks of the mode's kind of which pods have nothing.
	Idle int
	// Assignable is how many addresses the interfaces that are there can still take.
	Assignable int
}

// Total is the number of addresses that pods may have now or soon: what MINIMUM_IP_TARGET counts.
func (t Tally) Total() int { return t.Free + t.Other + t.InUse + t.Cooling + t.Held + t.Coming }

// Short is how many more addresses the pool needs.
type Short struct {
	Count  int
	Demand int // of these, for pods that wait
	// Fill asks for whole interfaces' worth.
	Fill bool
	// Reach asks for another interface, whatever it brings: those that are there can hardly take more.
	Reach bool
}

// spareRoom is the part of an interface's addresses that others can still take before one is given back.
const spareRoom = 4

// inAddresses tells whether addresses rather than blocks or interfaces are the unit of the targets.
func (w Warm) inAddresses() bool { return w.IPs > 0 || w.Minimum > 0 }

// Follows tells whether the target follows the demand.
func (w Warm) Follows() bool {
	return !w.inAddresses() && (w.InPrefixes && w.Prefixes < 0 || !w.InPrefixes && w.ENIs < 0)
}

// whole is how many addresses the target in prefixes or interfaces keeps free. One stays in any case: else the next pod would
// bring back what was given back.
func (w Warm) whole(perENI int) int {
	if w.InPrefixes {
		return max(w.Prefixes*w.Unit, 1)
	}
	return max(w.ENIs*perENI, 1)
}

// Short computes what is short, from the counts alone.
//
// Pods that wait come first. Cooling addresses are not free: a pod cannot have them. Only the targets in whole interfaces and
// prefixes count them as soon free, since these are too much to spend on half a minute.
func (w Warm) Short(t Tally, perENI, maxPods int) Short {
	after := t.Free + t.Coming - t.Waiting // free once all pods have theirs; negative when they will not
	demand := max(-after-t.Other, 0)
	after = max(after, -demand)
	s := Short{Count: demand, Demand: demand}
	switch {
	case w.inAddresses():
		s.Count = max(w.IPs-after, w.Minimum-t.Total(), demand)
	case w.Follows():
		s.Count = max(w.Ahead.Free-after, demand)
		s.Reach = after+t.Assignable < w.Ahead.Reach
	default:
		s.Fill = !w.InPrefixes
		if after+t.Cooling < w.whole(perENI) {
			s.Count = w.whole(perENI) - after
		}
	}
	// No more than the kubelet will ever ask for: pods that have an address, and those still possible. What is of another kind
	// does not count: it goes once there is enough of the right one.
	room := maxPods - t.InUse - t.Held - t.Free - t.Coming
	s.Count = max(min(s.Count, room), demand)
	s.Reach = s.Reach && room > 0
	return s
}

// Excess is how many idle blocks are above the targets. A target in interfaces gives single ones not back.
func (w Warm) Excess(t Tally) int {
	over := 0
	switch {
	case t.Waiting > 0:
	case w.inAddresses():
		over = min(t.Free-w.IPs, t.Total()-w.Minimum)
	case w.Follows():
		over = t.Free - max(w.Ahead.Keep, w.Ahead.Free)
	case w.InPrefixes:
		over = t.Free - w.whole(0)
	}
	return max(min(over/max(w.Unit, 1), t.Idle), 0)
}

// Spare tells whether the targets hold without an interface that has free addresses and none of another kind, and could take
// some more.
func (w Warm) Spare(t Tally, free, assignable, perENI int) bool {
	left := t
	left.Free -= free
	switch {
	case t.Waiting > 0:
		return false
	case w.inAddresses():
		// The others must be able to take a few more, or the next pods would bring the interface back.
		return left.Free >= w.IPs && left.Total() >= w.Minimum && left.Free+t.Assignable-assignable >= w.IPs+max(perENI/spareRoom, 1)
	case w.Follows():
		return left.Free >= w.Ahead.Free && left.Free+t.Assignable-assignable >= max(w.Ahead.Keep, w.Ahead.Reach)
	}
	return left.Free >= w.whole(perENI)
}

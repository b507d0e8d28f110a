// Package target knows how many addresses a node's pool should have: what pods that wait need, what the warm targets ask for
// beyond that, and what is more than both. It counts; which addresses and interfaces these are is not its business.
package target

// Warm are the operator's targets. Without IPs and Minimum they are in whole interfaces, else in addresses.
type Warm struct {
	ENIs    int // WARM_ENI_TARGET: that many interfaces' worth of addresses are kept free
	IPs     int // WARM_IP_TARGET free addresses; 0 is unset
	Minimum int // MINIMUM_IP_TARGET addresses in all; 0 is unset
}

// Tally counts addresses of managed interfaces.
type Tally struct {
	Free, InUse, Cooling, Held, Leaving int
	// Coming are addresses that are being added, or that lie on interfaces which do not serve yet.
	Coming int
	// Waiting are pods without an address.
	Waiting int
}

// Total is the number of addresses that pods may have now or soon: what MINIMUM_IP_TARGET counts.
func (t Tally) Total() int { return t.Free + t.InUse + t.Cooling + t.Held + t.Coming }

// Short is how many more addresses the pool needs.
type Short struct {
	Count  int
	Demand int // of these, for pods that wait
	// Fill asks for whole interfaces' worth.
	Fill bool
}

// inAddresses tells whether addresses rather than interfaces are the unit of the targets.
func (w Warm) inAddresses() bool { return w.IPs > 0 || w.Minimum > 0 }

// Short computes what is short, from the counts alone.
//
// Pods that wait come first. Cooling addresses are not free: a pod cannot have them. Only the target in whole interfaces
// counts them as soon free, since an interface is too much to spend on half a minute.
func (w Warm) Short(t Tally, perENI, maxPods int) Short {
	after := t.Free + t.Coming - t.Waiting // free once all pods have theirs; negative when they will not
	demand := max(-after, 0)
	s := Short{Count: demand, Demand: demand}
	if w.inAddresses() {
		s.Count = max(w.IPs-after, w.Minimum-t.Total(), demand)
	} else {
		s.Fill = true
		soon := after + t.Cooling
		switch {
		case w.ENIs > 0 && soon < w.ENIs*perENI:
			s.Count = w.ENIs*perENI - after
		case w.ENIs <= 0 && soon <= 0:
			s.Count = 1 - after
		}
	}
	// No more than the kubelet will ever ask for: pods that have an address, and those still possible.
	room := maxPods - t.InUse - t.Held - t.Free - t.Coming
	s.Count = max(min(s.Count, room), demand)
	return s
}

// Excess is how many free addresses are above the targets. Only targets in addresses give single ones back.
func (w Warm) Excess(t Tally) int {
	if !w.inAddresses() || t.Waiting > 0 {
		return 0
	}
	return max(min(t.Free-w.IPs, t.Total()-w.Minimum), 0)
}

// Spare tells whether the targets hold without an interface that has free addresses and none of another kind.
func (w Warm) Spare(t Tally, free, perENI int) bool {
	left := t
	left.Free -= free
	switch {
	case t.Waiting > 0:
		return false
	case w.inAddresses():
		return left.Free >= w.IPs && left.Total() >= w.Minimum
	case w.ENIs <= 0:
		return left.Free > 0 // one address stays, else the next pod would bring the interface back
	}
	return left.Free >= w.ENIs*perENI
}

package ipam

// short is how many more addresses the pool needs. fill asks for whole interfaces' worth.
type short struct {
	count  int
	demand int // of these, for pods that wait
	fill   bool
	why    Why
}

// needs computes what is short from the counts alone.
//
// Pods that wait come first. The targets are WARM_IP_TARGET free addresses and MINIMUM_IP_TARGET addresses in all, or else
// WARM_ENI_TARGET interfaces' worth of free ones. Cooling addresses are not free: a pod cannot have them. Only the target
// in whole interfaces counts them as soon free, since an interface is too much to spend on half a minute.
func needs(c Config, t Tally, perENI, maxPods int) short {
	after := t.Free + t.Coming - t.Waiting // free once all pods have theirs; negative when they will not
	demand := max(-after, 0)
	s := short{count: demand, demand: demand, why: PodsWaiting}
	if c.ipTargets() {
		s.count = max(c.WarmIP-after, c.MinimumIP-t.Total(), demand)
	} else {
		s.fill = true
		soon := after + t.Cooling
		switch {
		case c.WarmENI > 0 && soon < c.WarmENI*perENI:
			s.count = c.WarmENI*perENI - after
		case c.WarmENI <= 0 && soon <= 0:
			s.count = 1 - after
		}
	}
	// No more than the kubelet will ever ask for: pods that have an address, and those still possible.
	room := maxPods - t.InUse - t.Held - t.Free - t.Coming
	s.count = max(min(s.count, room), demand)
	if s.demand == 0 {
		s.why = WarmTarget
	}
	return s
}

// excess is how many free addresses are above the targets. Only targets in addresses give single ones back.
func excess(c Config, t Tally) int {
	if !c.ipTargets() || t.Waiting > 0 {
		return 0
	}
	return max(min(t.Free-c.WarmIP, t.Total()-c.MinimumIP), 0)
}

// spareENI tells whether the targets hold without an interface that has free addresses and none of another kind.
func spareENI(c Config, t Tally, free, perENI int) bool {
	left := t
	left.Free -= free
	switch {
	case t.Waiting > 0:
		return false
	case c.ipTargets():
		return left.Free >= c.WarmIP && left.Total() >= c.MinimumIP
	case c.WarmENI <= 0:
		return left.Free > 0 // one address stays, else the next pod would bring the interface back
	}
	return left.Free >= c.WarmENI*perENI
}

package fleet

import (
	"net/netip"
	"slices"
	"time"

	"github.com/berth-net/berth/internal/core/vpc"
)

// stock is what the data store counts. What cools counts as available.
type stock struct{ total, assigned, prefixes, freePrefixes int }

func (a *ipamd) stock(without *dsENI) stock {
	var s stock
	for _, e := range a.enis {
		if e == without {
			continue
		}
		for _, c := range e.cidrs {
			s.total += c.size()
			s.assigned += c.assigned
			if a.prefixMode() {
				s.prefixes++
				if c.assigned == 0 {
					s.freePrefixes++
				}
			}
		}
	}
	return s
}

func (s stock) available() int { return s.total - s.assigned }

func (a *ipamd) prefixMode() bool { return a.n.cluster.cfg.Prefixes && a.n.limits.Nitro() }

// slots is how many addresses or prefixes an interface takes.
func (a *ipamd) slots() int { return a.n.limits.IPv4PerENI - 1 }

func (a *ipamd) targets() bool { return a.warmIP > 0 || a.minimum > 0 }

func (a *ipamd) maxPods() int {
	if m := a.n.cluster.cfg.MaxPods; m > 0 {
		return m
	}
	return a.n.limits.MaxPods()
}

func ceil16(n int) int { return (n + 15) / 16 }

// short is what the targets in addresses ask for beyond what is there.
func (a *ipamd) short(s stock) int { return max(a.warmIP-s.available(), a.minimum-s.total, 0) }

// over is what is above the targets in addresses, in addresses or prefixes.
func (a *ipamd) over(s stock) int {
	if !a.prefixMode() {
		return min(max(s.available()-a.warmIP, 0), max(s.total-a.minimum, 0))
	}
	return max(min(s.freePrefixes, s.prefixes-ceil16(s.assigned+a.warmIP), s.prefixes-ceil16(a.minimum)), 0)
}

func (a *ipamd) low() bool {
	s := a.stock(nil)
	warmPrefix := a.n.cluster.cfg.WarmPrefix
	switch {
	case s.total >= a.maxPods():
		return false
	case a.targets():
		return a.short(s) > 0
	case a.prefixMode():
		return s.available() < warmPrefix*16 || warmPrefix == 0 && s.available() == 0
	}
	return s.available() < a.warmENI*a.slots() || a.warmENI == 0 && s.available() == 0
}

// needed is how many addresses or prefixes an increase asks for; all that fit without targets in addresses.
func (a *ipamd) needed() int {
	s := a.stock(nil)
	switch {
	case a.prefixMode() && a.targets():
		return max(ceil16(a.short(s)), 1)
	case a.prefixMode():
		return max(a.n.cluster.cfg.WarmPrefix-s.freePrefixes, 1)
	case a.targets():
		return max(a.short(s), 1)
	}
	return a.slots()
}

// updatePool is one step of the pool: one call that adds, or one that takes away.
func (a *ipamd) updatePool(p *process) {
	switch {
	case a.low():
		_ = a.increase(p)
	case a.targets() || a.prefixMode():
		a.decrease(p)
	}
	a.freeOne(p)
}

// increase adds addresses on one interface, or else one interface.
func (a *ipamd) increase(p *process) error {
	if a.r.now-a.insufficient < ipamdBackoff {
		return nil
	}
	n := a.needed()
	var failed error
	for _, i := range a.rng.Perm(len(a.enis)) {
		e := a.enis[i]
		room := a.slots() - len(e.cidrs)
		if room <= 0 {
			continue
		}
		blocks, err := a.client.assign(p, e.id, min(n, room))
		if err != nil {
			blocks, err = a.client.assign(p, e.id, 1)
		}
		if err == nil {
			a.lastAction = a.r.now
			a.adopt(e, blocks)
			return nil
		}
		failed = err
		a.noteInsufficient(err)
		if isLimit(err) && a.readAgain(p, e) {
			return nil
		}
		if !isInsufficient(err) || !a.n.cluster.cfg.IPAM.Discovery {
			break
		}
	}
	if len(a.enis) >= a.n.limits.ENIs || isInsufficient(failed) && !a.n.cluster.cfg.IPAM.Discovery {
		return failed
	}
	return a.allocate(p, min(n, a.slots()))
}

// readAgain adopts what EC2 says of an interface that is fuller than the data store believes.
func (a *ipamd) readAgain(p *process, e *dsENI) bool {
	seen, err := a.client.interfaces(p, e.id)
	if err != nil || len(seen) == 0 {
		return false
	}
	before := len(e.cidrs)
	a.adopt(e, seen[0].blocks)
	a.lastAction = a.r.now
	return len(e.cidrs) > before
}

func (a *ipamd) noteInsufficient(err error) {
	if isInsufficient(err) {
		a.insufficient = a.r.now
	}
}

// allocate creates an interface, attaches it and waits until the metadata service shows it, one step after the other.
func (a *ipamd) allocate(p *process, n int) error {
	id, err := a.createSomewhere(p, n)
	if err != nil {
		a.noteInsufficient(err)
		return err
	}
	attachment, at, err := a.attach(p, id)
	if err != nil {
		a.deleteENI(p, id)
		return err
	}
	a.unknown = true // until a reconcile has seen it set up
	if err := a.client.deleteOnTermination(p, id, attachment); err != nil {
		a.freeENI(p, id)
		return err
	}
	if !a.awaitMetadata(p, at) {
		return errTooMany
	}
	seen := a.truth(id)
	if len(seen) == 0 {
		return errTooMany
	}
	if err := a.setup(p, seen[0]); err != nil {
		return err
	}
	a.lastAction = a.r.now
	return nil
}

// createSomewhere tries the usable subnets, those with most free addresses first; every error leads to the next one.
func (a *ipamd) createSomewhere(p *process, n int) (vpc.ENIID, error) {
	subnets := []vpc.SubnetID{a.n.subnet}
	if a.n.cluster.cfg.IPAM.Discovery {
		found, err := a.client.subnets(p)
		if err == nil {
			subnets = found
		} else if _, err := a.client.subnets(p); err != nil { // is the primary one excluded?
			return "", err
		}
	}
	failed := errTooMany
	for _, sn := range subnets {
		id, err := a.client.create(p, sn, n)
		if err == nil {
			return id, nil
		}
		failed = err
	}
	return "", failed
}

func (a *ipamd) attach(p *process, id vpc.ENIID) (attachment string, at linkTime, err error) {
	device, err := a.client.freeDevice(p)
	if err == nil {
		attachment, err = a.client.attach(p, id, device)
	}
	return attachment, a.r.links[id], err
}

// awaitMetadata polls the metadata service until it shows a new interface whole.
func (a *ipamd) awaitMetadata(p *process, at linkTime) bool {
	pause := 100 * time.Millisecond
	for range ipamdIMDSTries {
		p.sleep(ipamdIMDSWalk)
		if at.imds <= a.r.now {
			return true
		}
		p.sleep(a.jitter(pause, 0.15))
		pause = min(2*pause, time.Minute)
	}
	return at.imds <= a.r.now
}

// decrease gives back blocks that no pod has, cooling or not.
func (a *ipamd) decrease(p *process) {
	s := a.stock(nil)
	over := s.freePrefixes - a.n.cluster.cfg.WarmPrefix
	if a.targets() {
		over = a.over(s)
	}
	if over <= 0 || a.r.now-a.lastShrink < ipamdShrink {
		return
	}
	for _, i := range a.rng.Perm(len(a.enis)) {
		e := a.enis[i]
		var blocks []netip.Prefix
		for _, j := range a.rng.Perm(len(e.cidrs)) {
			if c := e.cidrs[j]; c.assigned == 0 && len(blocks) < over {
				blocks = append(blocks, c.block)
			}
		}
		if len(blocks) == 0 {
			continue
		}
		over -= len(blocks)
		e.cidrs = slices.DeleteFunc(e.cidrs, func(c *dsCIDR) bool { return slices.Contains(blocks, c.block) })
		if a.client.unassign(p, e.id, blocks) != nil {
			a.unknown = true
		}
		a.lastShrink, a.lastAction = a.r.now, a.r.now
		if over <= 0 {
			return
		}
	}
}

// freeOne detaches and deletes one interface that no pod needs, in the loop itself.
func (a *ipamd) freeOne(p *process) {
	s := a.stock(nil)
	if !a.targets() && !a.prefixMode() && s.available() < (a.warmENI+1)*a.slots() {
		return
	}
	for _, i := range a.rng.Perm(len(a.enis)) {
		e := a.enis[i]
		if e.primary || a.r.now-e.added < ipamdMinAge || !a.removable(e) {
			continue
		}
		a.enis = slices.DeleteFunc(a.enis, func(o *dsENI) bool { return o == e })
		a.freeENI(p, e.id)
		a.lastAction = a.r.now
		return
	}
}

// removable tells whether the targets hold without an interface that has neither pods nor cooling addresses.
func (a *ipamd) removable(e *dsENI) bool {
	for _, c := range e.cidrs {
		if c.assigned > 0 || c.cooling(a.r.now) {
			return false
		}
	}
	left := a.stock(e)
	switch {
	case a.targets():
		return a.short(left) == 0
	case a.prefixMode():
		return left.freePrefixes >= a.n.cluster.cfg.WarmPrefix
	}
	return left.available() >= a.warmENI*a.slots()
}

// freeENI detaches and deletes an interface; what fails is found again by a reconcile.
func (a *ipamd) freeENI(p *process, id vpc.ENIID) {
	attachment, err := a.client.attachment(p, id)
	if err != nil {
		a.unknown = true
		return
	}
	pause := 200 * time.Millisecond
	for try := 0; ; try++ {
		err := a.client.detach(p, id, attachment)
		if err == nil {
			break
		}
		if try == 11 {
			a.unknown = true
			return
		}
		p.sleep(pause)
		pause *= 2
	}
	a.r.loose[id] = true
	p.sleep(2 * time.Second)
	a.deleteENI(p, id)
}

func (a *ipamd) deleteENI(p *process, id vpc.ENIID) {
	pause := 500 * time.Millisecond
	for range 12 {
		if a.client.remove(p, id) == nil {
			return
		}
		p.sleep(pause)
		pause = min(2*pause, time.Minute)
	}
}

package fleet

import (
	"errors"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/berth-net/berth/internal/core/vpc"
)

// The existing CNI's times, as documented for v1.23.1; docs/simulation.md lists where each rule comes from.
const (
	ipamdStart       = 1500 * time.Millisecond // until its first call to EC2, measured on an idle machine
	ipamdHalfLoop    = 2500 * time.Millisecond
	ipamdReconcile   = 60 * time.Second
	ipamdShrink      = 30 * time.Second
	ipamdCooldown    = 30 * time.Second
	ipamdBackoff     = 120 * time.Second // after InsufficientCidrBlocks, for the whole node
	ipamdMinAge      = 60 * time.Second
	ipamdSetupPause  = 10 * time.Second
	ipamdSetupTries  = 6
	ipamdIMDSTries   = 12
	ipamdIMDSWalk    = 50 * time.Millisecond  // a walk of the metadata service
	ipamdWireLink    = 300 * time.Millisecond // to find and set up an interface's link
	ipamdLeakedEvery = time.Hour
	ipamdLeakedFirst = 299 * time.Second
	// The kubelet restarts a container that has ended after this time, doubled each time up to crashLoopMost.
	crashLoopFirst = 10 * time.Second
	crashLoopMost  = 5 * time.Minute
)

// ipamd is a node's agent by the existing CNI's rules.
type ipamd struct {
	n       *Node
	r       *Region
	rng     *rand.Rand
	client  sdk
	warmENI int
	warmIP  int
	minimum int

	main, leaked *process
	serving      bool // the socket answers
	enis         []*dsENI
	unknown      bool // something differs between EC2 and the data store: the next reconcile finds it
	lastAction   time.Duration
	lastShrink   time.Duration
	insufficient time.Duration // when that error came last; negative when never

	waiting []*sandbox
	failed  int
	kick    time.Duration // when waiting pods will look again because a cooldown ends
}

// dsENI is an interface in the data store.
type dsENI struct {
	id      vpc.ENIID
	primary bool
	added   time.Duration
	cidrs   []*dsCIDR
}

// dsCIDR is an address or a prefix of an interface.
type dsCIDR struct {
	block    netip.Prefix
	assigned int
	used     []dsAddr // addresses that were given out once, in that order
}

type dsAddr struct {
	ip    netip.Addr
	pod   *Pod          // nil when none has it
	freed time.Duration // when the last one gave it back
}

func (c *dsCIDR) size() int { return 1 << (32 - c.block.Bits()) }

// cooling tells whether an address of the block was given back a moment ago.
func (c *dsCIDR) cooling(now time.Duration) bool {
	return slices.ContainsFunc(c.used, func(a dsAddr) bool { return a.pod == nil && now-a.freed < ipamdCooldown })
}

// sandbox is a pod whose ADD fails again and again.
type sandbox struct {
	pod    *Pod
	first  time.Duration
	queued bool
	over   bool
}

// Existing is the policy of the existing CNI.
func Existing(n *Node) Agent {
	cfg := n.cluster.cfg.IPAM
	if cfg.WarmENI < 0 { // its manifest says 1
		cfg.WarmENI = 1
	}
	a := &ipamd{
		n: n, r: n.cluster.region, warmENI: cfg.WarmENI, warmIP: cfg.WarmIP, minimum: cfg.MinimumIP, insufficient: -ipamdBackoff,
		rng: rand.New(rand.NewPCG(n.cluster.region.dice.Uint64(), 29)),
	}
	a.client.a = a
	return a
}

var errTooMany = errors.New("gave up") // a call that failed in all its tries

func (a *ipamd) failedAdds() int {
	n := a.failed
	for _, s := range a.waiting { // each second one
		n += int((a.r.now-s.first)/addRetry) + 1
	}
	return n
}

func (a *ipamd) halt() {
	for _, p := range []*process{a.main, a.leaked} {
		if p != nil {
			p.stop()
		}
	}
	a.serving = false
}

func (a *ipamd) pump() {}

// boot starts the container, and again each time that it has ended.
func (a *ipamd) boot() {
	if !a.n.alive {
		return
	}
	a.main = newProcess(&a.r.Clock, ipamdStart, func(p *process) {
		for pause := crashLoopFirst; ; pause = min(2*pause, crashLoopMost) {
			a.life(p)
			a.serving, a.enis = false, nil
			p.sleep(pause + ipamdStart)
		}
	})
	first := time.Duration(a.rng.Int64N(int64(ipamdLeakedFirst)))
	a.leaked = newProcess(&a.r.Clock, ipamdStart+first, func(p *process) {
		for {
			a.cleanLeaked(p)
			p.sleep(ipamdLeakedEvery + time.Duration(a.rng.Int64N(int64(ipamdLeakedFirst))))
		}
	})
}

// life is one run of the process. It returns only when the start fails.
func (a *ipamd) life(p *process) {
	if a.start(p) != nil {
		return
	}
	a.serving = true
	a.available()
	for {
		p.sleep(ipamdHalfLoop)
		a.updatePool(p)
		p.sleep(ipamdHalfLoop)
		if a.r.now-a.lastAction > ipamdReconcile {
			a.reconcile(p)
		}
	}
}

// start is what comes before the socket: one interface after the other, and one increase of the pool.
func (a *ipamd) start(p *process) error {
	attached, err := a.describeAll(p)
	if err != nil {
		return err
	}
	for _, e := range attached {
		a.tag(p, e)
		for try := range ipamdSetupTries {
			if try > 0 {
				p.sleep(ipamdSetupPause)
			}
			if a.setup(p, e) == nil {
				break
			}
		}
	}
	for _, e := range attached { // the cache of groups is empty, so each seems changed
		_ = a.client.setGroups(p, e.id)
	}
	if a.low() {
		if err := a.increase(p); err != nil && !isInsufficient(err) {
			return err
		}
	}
	return nil
}

// tag tags an interface, with retries of its own; the start goes on without.
func (a *ipamd) tag(p *process, e seenENI) {
	if e.tagged {
		return
	}
	pause := 500 * time.Millisecond
	for range 5 {
		if a.client.tag(p, e.id) == nil {
			return
		}
		p.sleep(a.jitter(pause, 0.3))
		pause *= 2
	}
}

// jitter is d and up to that share more.
func (a *ipamd) jitter(d time.Duration, share float64) time.Duration {
	return d + time.Duration(a.rng.Float64()*share*float64(d))
}

// setup takes an interface into the data store. The subnet's tags are read in between: when that fails it stays without
// addresses until a reconcile finds them.
func (a *ipamd) setup(p *process, e seenENI) error {
	ds := a.find(e.id)
	if ds == nil {
		ds = &dsENI{id: e.id, primary: e.id == a.n.primary, added: a.r.now}
		a.enis = append(a.enis, ds)
	}
	if _, err := a.client.subnets(p); err != nil {
		a.unknown = true
		return err
	}
	if !ds.primary {
		p.sleep(ipamdWireLink)
	}
	a.adopt(ds, e.blocks)
	return nil
}

func (a *ipamd) find(id vpc.ENIID) *dsENI {
	for _, e := range a.enis {
		if e.id == id {
			return e
		}
	}
	return nil
}

// adopt adds what EC2 has and the data store does not know.
func (a *ipamd) adopt(e *dsENI, blocks []netip.Prefix) {
	for _, b := range blocks {
		if b.IsSingleIP() == a.n.cluster.cfg.Prefixes { // of the other mode
			continue
		}
		if !slices.ContainsFunc(e.cidrs, func(c *dsCIDR) bool { return c.block == b }) {
			e.cidrs = append(e.cidrs, &dsCIDR{block: b})
		}
	}
	a.available()
}

// reconcile compares the data store with EC2 by way of the metadata service.
func (a *ipamd) reconcile(p *process) {
	a.lastAction = a.r.now
	if !a.unknown {
		return
	}
	a.unknown = false
	for _, id := range a.attachedIDs() {
		if l, ok := a.r.links[id]; ok && l.imds > a.r.now {
			a.unknown = true // not shown yet
			continue
		}
		known := a.find(id)
		if known != nil && a.agrees(known) {
			continue
		}
		seen, err := a.client.interfaces(p, id)
		if err != nil || len(seen) == 0 {
			a.unknown = true
			continue
		}
		if known == nil {
			if a.setup(p, seen[0]) != nil {
				a.unknown = true
			}
			continue
		}
		a.adopt(known, seen[0].blocks)
	}
}

// agrees tells whether metadata shows of an interface what the data store knows: then EC2 is not asked.
func (a *ipamd) agrees(e *dsENI) bool {
	seen := a.truth(e.id)
	return len(seen) == 1 && len(seen[0].blocks) == len(e.cidrs)
}

func (a *ipamd) add(p *Pod) {
	s := &sandbox{pod: p, first: a.r.now}
	if !a.try(s) {
		a.waiting = append(a.waiting, s)
		a.wait()
	}
}

// try is one ADD.
func (a *ipamd) try(s *sandbox) bool {
	if !a.serving {
		return false
	}
	ip, eni, ok := a.choose(s.pod)
	if ok {
		s.over = true
		a.failed += int((a.r.now - s.first) / addRetry)
		a.n.granted(s.pod, ip, eni)
	}
	return ok
}

func (a *ipamd) cancel(p *Pod) {
	a.waiting = slices.DeleteFunc(a.waiting, func(s *sandbox) bool {
		if s.pod == p {
			s.over = true
			a.failed += int((a.r.now-s.first)/addRetry) + 1
		}
		return s.over
	})
}

func (a *ipamd) del(p *Pod) {
	for _, e := range a.enis {
		if e.id != p.eni {
			continue
		}
		for _, c := range e.cidrs {
			for i := range c.used {
				if c.used[i].pod == p {
					c.used[i].pod, c.used[i].freed = nil, a.r.now
					c.assigned--
				}
			}
		}
	}
	a.n.released(p)
	a.wait()
}

// available lets each pod that waits look at its next repetition; between them nothing can change that it would see.
func (a *ipamd) available() {
	if !a.serving {
		return
	}
	for _, s := range a.waiting {
		if s.queued {
			continue
		}
		s.queued = true
		a.r.at(a.r.now+(addRetry-(a.r.now-s.first)%addRetry)%addRetry, func() {
			s.queued = false
			if s.over || !a.n.alive {
				return
			}
			if a.try(s) {
				a.waiting = slices.DeleteFunc(a.waiting, func(w *sandbox) bool { return w.over })
			}
		})
	}
}

// wait sees to it that waiting pods look again when an address has cooled down.
func (a *ipamd) wait() {
	if len(a.waiting) == 0 || a.kick > a.r.now {
		return
	}
	next := time.Duration(-1)
	for _, e := range a.enis {
		for _, c := range e.cidrs {
			for _, u := range c.used {
				if end := u.freed + ipamdCooldown; u.pod == nil && end > a.r.now && (next < 0 || end < next) {
					next = end
				}
			}
		}
	}
	if next < 0 {
		return
	}
	a.kick = next
	a.r.at(next, func() {
		if a.n.alive {
			a.available()
			a.wait()
		}
	})
}

// choose gives a pod an address: interfaces and blocks in random order; in a block first one that has cooled down, then
// the lowest one never used.
func (a *ipamd) choose(pod *Pod) (netip.Addr, vpc.ENIID, bool) {
	for _, i := range a.rng.Perm(len(a.enis)) {
		e := a.enis[i]
		for _, j := range a.rng.Perm(len(e.cidrs)) {
			if ip, ok := e.cidrs[j].take(pod, a.r.now); ok {
				return ip, e.id, true
			}
		}
	}
	return netip.Addr{}, "", false
}

func (c *dsCIDR) take(pod *Pod, now time.Duration) (netip.Addr, bool) {
	for i, u := range c.used {
		if u.pod == nil && now-u.freed >= ipamdCooldown {
			c.used[i].pod = pod
			c.assigned++
			return u.ip, true
		}
	}
	if len(c.used) == c.size() {
		return netip.Addr{}, false
	}
	ip := c.block.Addr()
	if len(c.used) > 0 {
		ip = c.used[len(c.used)-1].ip.Next()
	}
	c.used = append(c.used, dsAddr{ip: ip, pod: pod})
	c.assigned++
	return ip, true
}

package node

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"github.com/berth-net/berth/internal/core/hostnet"
	"github.com/berth-net/berth/internal/core/pool"
	"github.com/berth-net/berth/internal/core/vpc"
	"github.com/berth-net/berth/internal/node/checkpoint"
	"github.com/berth-net/berth/internal/run"
)

// started is what the start found out before the loop's state exists.
type started struct {
	instance vpc.Instance
	limits   vpc.InstanceLimits
	records  []pool.Record
	damage   string
	found    checkpoint.Found
	seen     []hostnet.Seen
	links    []hostnet.Link
}

// freshBoot is how soon after the host's boot an agent without a journal is taken for the first of that boot.
const freshBoot = 2 * time.Minute

// journalStep is the first step of the start: it waits for the end of another agent on this node, which serves the plugin
// until then.
const journalStep = "the journal"

// start reads what the state needs, beside the loop, trying each read until it works: the node is of no use without it,
// and a restart would not find more.
func (n *Node) start() {
	n.spawn(func() {
		var s started
		steps := []struct {
			what string
			try  func(context.Context) error
		}{
			{journalStep, func(context.Context) (err error) {
				s.records, s.damage, err = n.ports.Journal.Load()
				return err
			}},
			{"the Amazon VPC CNI's checkpoint", func(context.Context) (err error) {
				if n.ports.Checkpoint != nil {
					s.found, err = n.ports.Checkpoint.Load()
				}
				return err
			}},
			{"the instance metadata service", func(ctx context.Context) (err error) {
				s.instance, err = n.ports.Metadata.Instance(ctx)
				return err
			}},
			{"the limits of the instance type", func(ctx context.Context) error { return n.findLimits(ctx, &s) }},
			{"the host's network", func(ctx context.Context) (err error) {
				if s.links, err = n.ports.Host.Links(ctx); err == nil {
					s.seen, err = n.ports.Host.Seen(ctx, n.cfg.Settings)
				}
				return err
			}},
		}
		for _, step := range steps {
			n.tell(func() { n.boot = step.what })
			if !n.until(step.what, step.try) {
				return
			}
		}
		n.tell(func() { n.begin(s) })
	})
}

// until tries until it works, or the node stops.
func (n *Node) until(what string, try func(context.Context) error) bool {
	for attempt := 0; ; attempt++ {
		ctx, cancel := context.WithTimeout(n.ctx, actionTimeout)
		err := try(ctx)
		cancel()
		if err == nil {
			return true
		}
		n.log.Warn("start waits", "for", what, run.KeyAttempt, attempt, run.KeyErr, err)
		n.tell(func() { n.boot = what + ": " + err.Error() })
		select {
		case <-n.ctx.Done():
			return false
		case <-n.ports.Clock.After(min(100*time.Millisecond<<min(attempt, 6), 5*time.Second)):
		}
	}
}

func (n *Node) findLimits(ctx context.Context, s *started) (err error) {
	l, ok := vpc.Limits(s.instance.Type)
	if !ok {
		l, err = n.ports.Cloud.InstanceLimits(ctx, s.instance.Type)
	}
	s.limits = l
	return err
}

// begin makes the state out of what the start found: the word of the journal, and of the Amazon VPC CNI's file where that is
// newer, held against what the kernel shows.
func (n *Node) begin(s started) {
	now := n.now()
	st := pool.New(n.cfg.IPAM, s.instance, s.limits, n.cfg.Nonce, now)
	st.Restore(s.records)
	v, records := n.adopt(st, s, now)
	st.SetLive(slices.Concat(liveAddrs(s.seen), v.Live), now)
	n.state, n.damage = st, s.damage
	lost := s.damage != "" || len(s.records) == 0 && now.Sub(n.cfg.BootedAt) > freshBoot
	if lost || v.Taken { // somebody else may have given addresses back a moment ago, or to pods that its plugin is wiring still
		records = append(records, st.Doubt(now))
	}
	if s.damage != "" {
		n.log.Error("the journal is damaged; addresses in doubt are held", run.KeyWhy, s.damage)
	}
	for _, stale := range st.Stale() {
		n.log.Info("pod is gone", run.KeyPod, stale.Pod.Name, run.KeyNamespace, stale.Pod.Namespace, run.KeyIP, stale.Addr, run.KeyWhy, "the kernel shows nothing of it")
		if r, ok := st.Release(stale.Pod.Key, now); ok {
			records = append(records, r)
		}
	}
	n.ports.Journal.Append(records)
	n.host.dirty = true
	early := n.early
	n.early = nil
	for _, c := range early {
		n.beginAdd(c)
	}
}

// liveAddrs are the addresses whose link exists: their pods may live.
func liveAddrs(seen []hostnet.Seen) []netip.Addr {
	var live []netip.Addr
	for _, s := range seen {
		if s.Live {
			live = append(live, s.Addr)
		}
	}
	return live
}

package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/berth-net/berth/internal/core/hostnet"
	"github.com/berth-net/berth/internal/core/pool"
	"github.com/berth-net/berth/internal/core/vpc"
	"github.com/berth-net/berth/internal/run"
)

// hostState says when the host's network is compared with what it must be. A comparison and the wiring of pods exclude
// each other: it would take a rule that was just added for one that is left over.
type hostState struct {
	dirty   bool // compare as soon as the wiring under way has ended
	pending bool // due, and waiting for the wiring under way
	running bool
	last    time.Time
	changes time.Time // when something changed behind our back; zero when nothing did
	retry   time.Time // when to look again for a link that is not there yet
	trouble trouble
}

// trouble is what keeps the host's network from being whole.
type trouble struct {
	what   string // empty while nothing does
	failed bool   // the comparison itself, so that nothing is known of the rest
	since  time.Time
}

// found takes over what a comparison found, empty when all is well. Comparisons that fail are one trouble, whatever each
// says.
func (t *trouble) found(what string, failed bool, now time.Time) {
	if what == "" || failed != t.failed || (!failed && what != t.what) {
		t.since = now
	}
	t.what, t.failed = what, failed
}

// lasting tells what has been wrong for longer than a new link takes to appear.
func (t trouble) lasting(now time.Time) (string, bool) {
	return t.what, t.what != "" && now.Sub(t.since) >= troubleAfter
}

// limits tells what may have cut running pods off: nobody has been able to repair their rules and routes for a while.
func (t trouble) limits(now time.Time) (string, bool) {
	return t.what, t.failed && now.Sub(t.since) >= limitedAfter
}

// pause is the time to the next look: short at first, half as long as the trouble lasts then.
func (t trouble) pause(now time.Time, first time.Duration) time.Duration {
	return min(max(now.Sub(t.since)/2, first), hostEvery)
}

func (h *hostState) changed(now time.Time) {
	if h.changes.IsZero() {
		h.changes = now
	}
}

// due tells whether a comparison should begin.
func (h *hostState) due(now time.Time) bool {
	switch {
	case h.running:
		return false
	case h.dirty, h.last.IsZero(), now.Sub(h.last) >= hostEvery:
		return true
	case !h.changes.IsZero() && now.Sub(h.changes) >= hostQuiet:
		return true
	}
	return !h.retry.IsZero() && !now.Before(h.retry)
}

// exclusive tells whether wiring has to wait.
func (h *hostState) exclusive() bool { return h.running || h.pending }

func (h *hostState) wake(now time.Time) time.Duration {
	if h.exclusive() { // what is under way wakes the loop when it ends
		return hostEvery
	}
	wake := h.last.Add(hostEvery).Sub(now)
	if !h.changes.IsZero() {
		wake = min(wake, h.changes.Add(hostQuiet).Sub(now))
	}
	if !h.retry.IsZero() {
		wake = min(wake, h.retry.Sub(now))
	}
	return max(wake, time.Millisecond)
}

// reconcileHost compares the host's network with the state and repairs it, when that is due and no wiring is under way.
func (n *Node) reconcileHost(now time.Time) {
	if n.state == nil || !n.state.Ready() || !n.host.due(now) {
		return
	}
	if n.wiring > 0 { // no more is begun until those under way have ended
		n.host.pending = true
		return
	}
	n.host = hostState{running: true, last: now, trouble: n.host.trouble}
	cfg, all := n.hostConfig(), n.wiredPods()
	n.spawn(func() {
		ctx, cancel := context.WithTimeout(n.ctx, hostTimeout)
		defer cancel()
		r := n.doReconcile(ctx, cfg)
		if n.ports.Guard != nil && r.links != nil {
			n.ports.Guard.Sync(all, r.links)
		}
		n.tell(func() { n.reconciled(cfg, r) })
	})
}

// reconciliation is what a comparison of the host's network gave.
type reconciliation struct {
	links   []hostnet.Link // nil: not known
	missing []vpc.ENIID    // their link has not appeared yet
	changed []string
	seen    []hostnet.Seen
	err     error
}

// doReconcile leaves out the interfaces whose link has not appeared yet.
func (n *Node) doReconcile(ctx context.Context, cfg hostnet.Config) (r reconciliation) {
	links, err := n.ports.Host.Links(ctx)
	if err != nil {
		r.err = err
		return r
	}
	r.links = links
	have := make(map[string]bool, len(links))
	for _, l := range links {
		have[l.MAC] = true
	}
	cfg.ENIs = slices.DeleteFunc(slices.Clone(cfg.ENIs), func(e hostnet.ENI) bool {
		if !have[e.MAC] {
			r.missing = append(r.missing, e.ID)
			return true
		}
		return false
	})
	r.changed, r.seen, r.err = n.ports.Host.Reconcile(ctx, cfg)
	if pending, ok := errors.AsType[*hostnet.PendingError](r.err); ok { // links that come later: pods that queue to be wired
		n.log.Debug("host network is not whole yet", run.KeyWhy, pending)
		r.err = nil
	}
	return r
}

func (n *Node) reconciled(cfg hostnet.Config, r reconciliation) {
	now := n.now()
	n.host.running = false
	if n.ports.Meter != nil {
		n.ports.Meter.Compared(r.err)
	}
	switch {
	case r.err != nil:
		n.log.Error("reconcile the host's network", run.KeyErr, r.err)
		n.host.trouble.found("comparing the host's network: "+r.err.Error(), true, now)
		n.host.retry = now.Add(n.host.trouble.pause(now, time.Second))
	default:
		for _, e := range cfg.ENIs {
			there := !slices.Contains(r.missing, e.ID)
			if known := n.state.ENI(e.ID); known != nil && known.Configured != there && there == !known.MissingSince.IsZero() {
				n.state.WantRead(now) // somebody detached it, or attached it again
			}
			n.state.Configured(e.ID, there)
		}
		n.state.SetLive(liveAddrs(r.seen), now)
		n.sweep(r.seen, now)
		n.host.trouble.found(n.missingLinks(r.missing), false, now)
		if n.host.trouble.what != "" {
			n.host.retry = now.Add(n.host.trouble.pause(now, linkRetry))
		}
	}
	if len(r.changed) > 0 {
		n.log.Info("host network changed", "changes", r.changed)
	}
	n.runWiring()
}

// missingLinks names interfaces whose links have not appeared, those left out that EC2 does not list any more either.
func (n *Node) missingLinks(ids []vpc.ENIID) string {
	ids = slices.DeleteFunc(ids, func(id vpc.ENIID) bool { e := n.state.ENI(id); return e == nil || !e.MissingSince.IsZero() })
	if len(ids) == 0 {
		return ""
	}
	return fmt.Sprintf("the links of %s have not appeared", ids)
}

// hostConfig is the host's network as the state wants it.
func (n *Node) hostConfig() hostnet.Config {
	inst := n.state.Instance
	cfg := hostnet.Config{PrimaryMAC: inst.PrimaryMAC, PrimaryIP: inst.PrimaryIP, VPCCIDRs: inst.VPCCIDRs, Settings: n.cfg.Settings}
	for _, e := range n.state.ENIs() {
		serves := e.Phase == pool.Attached || (e.Phase == pool.Detaching && e.Configured)
		if !e.Managed || !serves {
			continue
		}
		if !e.IsPrimary() && !e.SubnetCIDR.IsValid() {
			continue // metadata is being asked
		}
		cfg.ENIs = append(cfg.ENIs, hostnet.ENI{
			ID: e.ID, MAC: e.MAC, DeviceIndex: e.DeviceIndex, NetworkCard: e.Card, Primary: e.IsPrimary(),
			Address: e.Primary, SubnetCIDR: e.SubnetCIDR,
		})
	}
	for _, a := range n.state.Allocations() {
		if !a.Releasing && a.ENI != "" { // without a known interface its rules stay as they are
			cfg.Pods = append(cfg.Pods, n.hostPod(a))
		}
	}
	return cfg
}

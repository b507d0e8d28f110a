package linux

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"

	"github.com/berth-net/berth/internal/core/hostnet"
)

// passes is how often Reconcile looks again after it changed something. The second look sees what the kernel did on its own,
// such as a subnet route that came with an address or addresses that went with their primary one.
const passes = 3

// Reconcile makes the host's network what cfg asks for: observe, compare, apply what differs. The returned lines say what it
// had to change; none when all was in place. seen is what Seen would have said at the last look. When only links are missing,
// the error is a *hostnet.PendingError.
func (h *Host) Reconcile(ctx context.Context, cfg hostnet.Config) (changed []string, seen []hostnet.Seen, err error) {
	h.reconcile.Lock()
	defer h.reconcile.Unlock()
	h.remember(cfg.Settings)
	var want hostnet.Machine
	for range passes {
		if err := ctx.Err(); err != nil {
			return changed, nil, err
		}
		var ops []hostnet.Op
		var o *observation
		if ops, want, o, err = h.compare(cfg); err != nil {
			return changed, nil, err
		}
		seen = sortedSeen(o.seen)
		if len(ops) == 0 {
			break
		}
		done, err := h.apply(ctx, ops, o.index)
		for _, op := range done {
			changed = append(changed, op.String())
		}
		if err != nil {
			return changed, nil, fmt.Errorf("reconcile host network: %w", err)
		}
	}
	changed = append(changed, h.removeExisting(ctx)...)
	if len(want.Pending) > 0 {
		return changed, seen, &hostnet.PendingError{Missing: want.Pending}
	}
	return changed, seen, nil
}

func (h *Host) compare(cfg hostnet.Config) ([]hostnet.Op, hostnet.Machine, *observation, error) {
	o, err := h.observe(cfg.Settings.VethPrefix)
	if err != nil {
		return nil, hostnet.Machine{}, nil, fmt.Errorf("observe host network: %w", err)
	}
	// After the look: a pod whose rules were missing from it because it was being unwired is known to be by now.
	cfg.Pods = h.unwired.without(cfg.Pods)
	want := hostnet.Want(cfg, o.links)
	have := o.machine
	if have.Sysctls, err = h.readSysctls(want.Sysctls); err != nil {
		return nil, want, nil, err
	}
	if have.NFT, err = h.currentTable(); err != nil {
		return nil, want, nil, err
	}
	return hostnet.Diff(have, want), want, o, nil
}

// unwiredPods remembers attachments that were unwired, so that a Reconcile whose configuration is older does not bring
// their rules back.
type unwiredPods struct {
	mu   sync.Mutex
	keys map[hostnet.PodKey]bool
}

func (u *unwiredPods) add(k hostnet.PodKey) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.keys == nil {
		u.keys = map[hostnet.PodKey]bool{}
	}
	u.keys[k] = true
}

func (u *unwiredPods) remove(k hostnet.PodKey) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.keys, k)
}

// without leaves out the pods that were unwired, and forgets those that the configuration does not name any more.
func (u *unwiredPods) without(pods []hostnet.Pod) []hostnet.Pod {
	u.mu.Lock()
	defer u.mu.Unlock()
	named := map[hostnet.PodKey]bool{}
	out := make([]hostnet.Pod, 0, len(pods))
	for _, p := range pods {
		named[p.Key] = true
		if !u.keys[p.Key] {
			out = append(out, p)
		}
	}
	maps.DeleteFunc(u.keys, func(k hostnet.PodKey, _ bool) bool { return !named[k] })
	return out
}

func sortedSeen(seen map[netip.Addr]*hostnet.Seen) []hostnet.Seen {
	out := make([]hostnet.Seen, 0, len(seen))
	for _, s := range seen {
		out = append(out, *s)
	}
	slices.SortFunc(out, func(a, b hostnet.Seen) int {
		return cmp.Or(a.Addr.Compare(b.Addr), cmp.Compare(a.Veth, b.Veth))
	})
	return out
}

// IsPending tells whether a Reconcile failed only because links are missing.
func IsPending(err error) bool {
	_, ok := errors.AsType[*hostnet.PendingError](err)
	return ok
}

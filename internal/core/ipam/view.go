package ipam

import (
	"net/netip"

	"github.com/berth-net/berth/internal/core/pace"
	"github.com/berth-net/berth/internal/core/pool"
	"github.com/berth-net/berth/internal/core/subnet"
)

// view is a state as decisions read it.
type view struct {
	*pool.State
	at     pool.Times
	zone   *subnet.Zone
	tries  *pace.Tries
	acting []pool.Action // under way
}

func viewOf(s *pool.State) view {
	return view{State: s, at: s.Times(), zone: s.Zone(), tries: s.Tries(), acting: s.Acting()}
}

// holdsGrowth tells whether the node's pool is left as it is: no new pod will come.
func (v view) holdsGrowth() bool { return v.Unschedulable && !v.Config.ManageUnschedulable }

// wholeENI is how many addresses fill an interface as far as this node can ever use them.
func (v view) wholeENI(rest int) int {
	t := v.Tally()
	still := max(v.PodLimit()-t.InUse-t.Held-t.Free-t.Other-t.Coming, rest)
	return min(v.PerENI(), still)
}

// primaryCIDR is the block of the primary subnet, zero while unknown.
func (v view) primaryCIDR() netip.Prefix {
	if e := v.ENI(v.Instance.PrimaryENI); e != nil && !v.Config.CustomNetworking {
		return e.SubnetCIDR
	}
	return netip.Prefix{}
}

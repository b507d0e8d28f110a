package node

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/berth-net/berth/internal/core/ipam"
	"github.com/berth-net/berth/internal/core/pool"
	"github.com/berth-net/berth/internal/core/subnet"
	"github.com/berth-net/berth/internal/core/target"
	"github.com/berth-net/berth/internal/core/vpc"
)

// Report is a view of the node's state at one moment: what introspection, metrics and `berth status` show.
type Report struct {
	At       time.Time          `json:"at"`
	Ready    bool               `json:"ready"`
	Starting string             `json:"starting,omitempty"` // what the start waits for
	Degraded []string           `json:"degraded,omitempty"` // what is not as it should be; no line names a pod
	Lost     []string           `json:"lost,omitempty"`     // pods whose address EC2 does not list any more, a line each
	Instance vpc.Instance       `json:"instance"`
	Limits   vpc.InstanceLimits `json:"limits"`
	MaxPods  int                `json:"maxPods,omitempty"`
	MaxENIs  int                `json:"maxENIs"`
	// ENIConfig is the one that custom networking takes for this node, empty without custom networking.
	ENIConfig string          `json:"eniConfig,omitempty"`
	Tally     target.Tally    `json:"tally"`
	ENIs      []ReportENI     `json:"enis"`
	Subnets   []ReportSubnet  `json:"subnets"`
	Waiting   []ReportWaiting `json:"waiting,omitempty"`
	Blocked   ipam.Blocked    `json:"blocked,omitzero"`
	Acting    []string        `json:"acting,omitempty"`
}

// ReportENI is an interface of the node.
type ReportENI struct {
	ID          vpc.ENIID       `json:"id"`
	MAC         string          `json:"mac"`
	Subnet      vpc.SubnetID    `json:"subnet"`
	SubnetCIDR  netip.Prefix    `json:"subnetCidr"`
	Address     netip.Addr      `json:"address"`
	DeviceIndex int             `json:"deviceIndex"`
	Card        int             `json:"networkCard"`
	Type        string          `json:"type"`
	Phase       pool.ENIPhase   `json:"phase"`
	Primary     bool            `json:"primary"`
	Managed     bool            `json:"managed"`
	Barred      bool            `json:"barred"`
	Configured  bool            `json:"configured"`
	Addresses   []ReportAddress `json:"addresses"`
}

// ReportAddress is a secondary address.
type ReportAddress struct {
	IP         netip.Addr   `json:"ip"`
	Prefix     netip.Prefix `json:"prefix,omitzero"` // that it came in
	Phase      pool.Phase   `json:"phase"`
	Pod        *pool.Pod    `json:"pod,omitempty"`
	AssignedAt time.Time    `json:"assignedAt,omitzero"`
	FreedAt    time.Time    `json:"freedAt,omitzero"`
	Until      time.Time    `json:"until,omitzero"`
	Missing    bool         `json:"missing,omitempty"` // EC2 does not list it
}

// ReportSubnet is a subnet of the node's zone.
type ReportSubnet struct {
	ID     vpc.SubnetID `json:"id"`
	CIDR   netip.Prefix `json:"cidr"`
	Free   int          `json:"free"`
	Ours   int          `json:"ours"` // addresses of this node's interfaces, their primary ones included
	Usable bool         `json:"usable"`
	Why    subnet.Why   `json:"why"`
}

// ReportWaiting is a pod that waits for an address.
type ReportWaiting struct {
	Pod   pool.Pod  `json:"pod"`
	Since time.Time `json:"since"`
}

// Report asks the loop for a view of its state.
func (n *Node) Report(ctx context.Context) (Report, error) {
	return query(ctx, n, n.report)
}

func (n *Node) report() Report {
	r := Report{At: n.now()}
	if n.state == nil {
		r.Starting = n.boot
		return r
	}
	s := n.state
	r.Ready, r.Instance, r.Limits, r.MaxPods, r.Tally, r.Blocked = s.Ready(), s.Instance, s.Limits, s.MaxPods, s.Tally(), ipam.Explain(s, n.plan)
	r.MaxENIs = s.MaxENIs()
	if s.Config.CustomNetworking {
		r.ENIConfig = s.Custom().Name
	}
	if n.damage != "" {
		r.Degraded = append(r.Degraded, "journal: "+n.damage)
	}
	if n.legacy.trouble != "" {
		r.Degraded = append(r.Degraded, "checkpoint: "+n.legacy.trouble)
	}
	for _, a := range s.Lost() {
		r.Lost = append(r.Lost, fmt.Sprintf("EC2 does not list %s of pod %s/%s: delete the pod", a.Addr, a.Pod.Namespace, a.Pod.Name))
	}
	if what, lasting := n.host.trouble.lasting(r.At); lasting {
		r.Degraded = append(r.Degraded, "host network: "+what)
	}
	if s.Provisional() {
		r.Degraded = append(r.Degraded, "EC2 has not been read since the start: the pool is the journal's, as far as metadata confirms it")
	}
	ours := make(map[vpc.SubnetID]int)
	for _, e := range s.ENIs() {
		r.ENIs = append(r.ENIs, n.reportENI(e))
		ours[e.Subnet] += 1 + len(e.Addresses)
	}
	for _, sn := range s.Zone().Subnets() {
		usable, why := subnet.Judge(s.Zone().Rules(), sn)
		r.Subnets = append(r.Subnets, ReportSubnet{ID: sn.ID, CIDR: sn.CIDR, Free: sn.Free, Ours: ours[sn.ID], Usable: usable, Why: why})
	}
	for _, d := range s.Waiting() {
		r.Waiting = append(r.Waiting, ReportWaiting{Pod: d.Pod, Since: d.Since})
	}
	for _, a := range s.Acting() {
		r.Acting = append(r.Acting, a.String())
	}
	return r
}

func (n *Node) reportENI(e *pool.ENI) ReportENI {
	r := ReportENI{
		ID: e.ID, MAC: e.MAC, Subnet: e.Subnet, SubnetCIDR: e.SubnetCIDR, Address: e.Primary, DeviceIndex: e.DeviceIndex, Card: e.Card,
		Type: e.Type, Phase: e.Phase, Primary: e.IsPrimary(), Managed: e.Managed, Barred: e.Barred, Configured: e.Configured,
	}
	for _, b := range e.Sorted() {
		for _, a := range b.Addresses() {
			ra := ReportAddress{IP: a.IP, Phase: a.Phase, FreedAt: a.FreedAt, Until: a.Until, Missing: !b.MissingSince.IsZero()}
			if b.IsPrefix() {
				ra.Prefix = b.CIDR()
			}
			if alloc, ok := n.state.Allocation(a.Owner); ok && a.Phase == pool.InUse {
				ra.Pod, ra.AssignedAt = &alloc.Pod, alloc.At
			}
			r.Addresses = append(r.Addresses, ra)
		}
	}
	return r
}

package bpf

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"

	"github.com/berth-net/berth/internal/core/policy/tables"
)

// Reason is what is remarkable about a packet, as metrics name it.
type Reason string

// Reasons. With the first eight the packet was dropped, of pods with policy in its direction.
const (
	NonIP            Reason = "non_ip"            // neither IP nor ARP
	Malformed        Reason = "malformed"         // a header cannot be read, or is not what it should be
	Extensions       Reason = "extensions"        // more than eight extension headers of IPv6, or an unknown one
	ShortFragment    Reason = "short_fragment"    // a first fragment without the whole header
	OrphanFragment   Reason = "orphan_fragment"   // a later fragment without a first
	UnknownInterface Reason = "unknown_interface" // an interface without a slot
	FlowNotKept      Reason = "flow_not_kept"     // allowed, but the flow could not be recorded
	TablesBroken     Reason = "tables_broken"     // a row points outside the ranges
	Midstream        Reason = "midstream"         // TCP within a connection that is not known: evicted, or older than the programs
	Reevaluated      Reason = "reevaluated"       // a flow was asked again after a change
	Cut              Reason = "cut"               // dropped: of a flow that policy does not allow any more
	ICMPOfFlow       Reason = "icmp_of_flow"      // passed: an ICMP error about a known flow
	EventLost        Reason = "event_lost"        // the ring buffer was full
	CountLost        Reason = "count_lost"        // the map of counts was full
	AnswerHeld       Reason = "answer_held"       // an answer of DNS waits until the addresses in it are programmed
	AnswerUnread     Reason = "answer_unread"     // passed: an answer of DNS that is too long, in fragments, or one of too many at once
)

// reasons are in the order of the programs.
var reasons = [...]Reason{
	policyReasonNON_IP: NonIP, policyReasonMALFORMED: Malformed, policyReasonEXTENSIONS: Extensions,
	policyReasonSHORT_FRAGMENT: ShortFragment, policyReasonORPHAN_FRAGMENT: OrphanFragment,
	policyReasonUNKNOWN_INTERFACE: UnknownInterface, policyReasonFLOW_NOT_KEPT: FlowNotKept,
	policyReasonTABLES_BROKEN: TablesBroken, policyReasonMIDSTREAM: Midstream, policyReasonREEVALUATED: Reevaluated,
	policyReasonCUT: Cut, policyReasonICMP_OF_FLOW: ICMPOfFlow, policyReasonEVENT_LOST: EventLost, policyReasonCOUNT_LOST: CountLost,
	policyReasonANSWER_HELD: AnswerHeld, policyReasonANSWER_UNREAD: AnswerUnread,
}

// Reasons are packets by reason since the maps were made.
func (d *Datapath) Reasons() (map[Reason]uint64, error) {
	sums := make(map[Reason]uint64, len(reasons))
	for i, reason := range reasons {
		var byCPU []uint64
		if err := d.objects.Reasons.Lookup(uint32(i), &byCPU); err != nil {
			return nil, fmt.Errorf("read count of %s: %w", reason, err)
		}
		for _, n := range byCPU {
			sums[reason] += n
		}
	}
	return sums, nil
}

// Who has decided beside those of core/policy/tables.
const (
	ByHost  = tables.ByBaseline + 1 // the node itself, or the pod to itself
	ByFault = tables.ByBaseline + 2 // a packet that cannot be judged: a Reason says why
)

// CountKey names a count: first packets of flows that a rule allowed, or packets that it denied.
type CountKey struct {
	Ifindex   int
	Direction Direction
	By        tables.By
	Rule      uint32
	Allowed   bool
}

// Count is of packets and their bytes.
type Count struct {
	Packets, Bytes uint64
}

// Counts are all since their interface was attached. Those of interfaces that are gone are told once more, then forgotten.
func (d *Datapath) Counts() (map[CountKey]Count, error) {
	interfaces, err := d.Interfaces()
	if err != nil {
		return nil, err
	}
	found := make(map[CountKey]Count)
	var (
		key   policyCountKey
		byCPU []policyCount
		gone  []policyCountKey
	)
	entries := d.objects.Counts.Iterate()
	for entries.Next(&key, &byCPU) {
		var sum Count
		for _, c := range byCPU {
			sum.Packets += c.Packets
			sum.Bytes += c.Bytes
		}
		found[CountKey{
			Ifindex: int(key.Ifindex), Direction: Direction(key.Direction), By: tables.By(key.By), Rule: key.Rule, Allowed: key.Allowed != 0,
		}] = sum
		if _, ok := interfaces[int(key.Ifindex)]; !ok {
			gone = append(gone, key)
		}
	}
	if err := entries.Err(); err != nil && !errors.Is(err, ebpf.ErrIterationAborted) {
		return nil, fmt.Errorf("list counts of policy: %w", err)
	}
	if err := deleteAll(d.objects.Counts, "counts", gone); err != nil {
		return nil, err
	}
	return found, nil
}

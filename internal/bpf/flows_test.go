package bpf_test

import (
	"testing"
	"time"

	"github.com/berth-net/berth/internal/bpf"
	"github.com/berth-net/berth/internal/core/policy"
	"github.com/berth-net/berth/internal/core/policy/tables"
)

func opposite(d bpf.Direction) bpf.Direction { return bpf.Ingress + bpf.Egress - d }

// connection is the first packet of TCP to an allowed port in a direction.
func connection(direction bpf.Direction, f family, sport uint16) frame {
	return frame{protocol: policy.TCP, sport: sport, dport: port, flags: syn}.toward(direction, f.pod, f.allowed)
}

func TestRepliesPass(t *testing.T) {
	inAllWays(t, func(t *testing.T, d *bpf.Datapath, direction bpf.Direction, f family) {
		// The other direction allows nothing of its own: what passes there passes as a reply.
		apply(t, d, pod(isolated(1), isolated(9)))
		if direction == bpf.Egress {
			apply(t, d, pod(isolated(9), isolated(1)))
		}
		for _, protocol := range []policy.Protocol{policy.TCP, policy.UDP, policy.SCTP} {
			first := frame{protocol: protocol, sport: 4000, dport: port, flags: syn}.toward(direction, f.pod, f.allowed)
			back := opposite(direction)
			expect(t, d, back, first.answer(syn|ack), false, "a reply before the first packet")
			expect(t, d, direction, first, true, "the first packet")
			expect(t, d, back, first.answer(syn|ack), true, "the reply")
			expect(t, d, direction, first.answer(0).answer(ack), true, "the next packet")
			expect(t, d, back, first.answer(ack), true, "the next reply")
			stray := first.answer(ack)
			stray.sport++
			expect(t, d, back, stray, false, "a reply from another port")
		}
	})
}

func TestConnectionFromTheOtherSideIsNoReply(t *testing.T) {
	inAllWays(t, func(t *testing.T, d *bpf.Datapath, direction bpf.Direction, f family) {
		apply(t, d, rowsOf(isolated(9), 100)...)
		if direction == bpf.Ingress {
			apply(t, d, pod(isolated(1), isolated(9)))
		} else {
			apply(t, d, pod(isolated(9), isolated(1)))
		}
		first := connection(direction, f, 4000)
		expect(t, d, direction, first, true, "the first packet")
		expect(t, d, opposite(direction), first.answer(syn), false, "a connection with the same ports from the other side")
		expect(t, d, opposite(direction), first.answer(syn|ack), true, "the reply, still")
		// Allowed by its own direction it begins a flow of its own.
		second := frame{protocol: policy.TCP, sport: port, dport: port, flags: syn}
		expect(t, d, direction, second.toward(direction, f.pod, f.allowed), true, "between two allowed ports")
		expect(t, d, opposite(direction), second.toward(opposite(direction), f.pod, f.allowed), true, "and back")
	})
}

func TestChangeOfPolicyCutsEstablishedFlows(t *testing.T) {
	inAllWays(t, func(t *testing.T, d *bpf.Datapath, direction bpf.Direction, f family) {
		first := connection(direction, f, 4000)
		expect(t, d, direction, first, true, "the first packet")
		expect(t, d, opposite(direction), first.answer(syn|ack), true, "the reply")

		swap := func(set tables.Set) {
			if direction == bpf.Ingress {
				apply(t, d, pod(set, 0))
			} else {
				apply(t, d, pod(0, set))
			}
		}
		apply(t, d, rowsOf(isolated(2), 100)...)
		swap(isolated(2)) // allows the same
		first.flags = ack
		expect(t, d, opposite(direction), first.answer(ack), true, "the reply under a set that still allows")
		expect(t, d, direction, first, true, "the packet under a set that still allows")
		counts := reasonsOf(t, d)
		if counts[bpf.Reevaluated] != 1 {
			t.Errorf("asked again %d times, want once", counts[bpf.Reevaluated])
		}

		swap(isolated(3)) // has no rows
		expect(t, d, opposite(direction), first.answer(ack), false, "the reply under a set that denies")
		expect(t, d, direction, first, false, "the packet under a set that denies")
		expect(t, d, opposite(direction), first.answer(ack), false, "the reply, again")
		if n := reasonsOf(t, d)[bpf.Cut]; n != 3 {
			t.Errorf("%d packets were cut, want 3", n)
		}

		swap(isolated(2))
		expect(t, d, opposite(direction), first.answer(ack), true, "the reply, allowed again")

		swap(isolated(3))
		if err := d.Set(bpf.Settings{KeepEstablished: true, Timeouts: bpf.DefaultTimeouts()}); err != nil {
			t.Fatal(err)
		}
		expect(t, d, direction, first, true, "the packet, where established flows are kept")
		expect(t, d, direction, connection(direction, f, 4001), false, "a new connection, there")
	})
}

func reasonsOf(tb testing.TB, d *bpf.Datapath) map[bpf.Reason]uint64 {
	tb.Helper()
	counts, err := d.Reasons()
	if err != nil {
		tb.Fatal(err)
	}
	return counts
}

func TestAddressThatChangesItsClassLosesItsFlows(t *testing.T) {
	inAllWays(t, func(t *testing.T, d *bpf.Datapath, direction bpf.Direction, f family) {
		first := connection(direction, f, 4000)
		expect(t, d, direction, first, true, "the first packet")
		apply(t, d, peer(f.allowed.String(), classDenied), tables.Change{Epoch: true})
		expect(t, d, opposite(direction), first.answer(syn|ack), false, "the reply to an address that is of another class")
		first.flags = ack
		expect(t, d, direction, first, false, "its next packet")
		apply(t, d, peer(f.allowed.String(), classAllowed), tables.Change{Epoch: true})
		expect(t, d, direction, first, true, "its next packet when it is what it was")
	})
}

// TestFlowsAreTrackedWithoutPolicy: a policy that comes later finds the connections that the pod began.
func TestFlowsAreTrackedWithoutPolicy(t *testing.T) {
	inAllWays(t, func(t *testing.T, d *bpf.Datapath, direction bpf.Direction, f family) {
		apply(t, d, pod(0, 0))
		back := opposite(direction)
		first := connection(back, f, 4000)
		expect(t, d, back, first, true, "a connection without policy")
		if direction == bpf.Ingress {
			apply(t, d, pod(isolated(9), 0))
		} else {
			apply(t, d, pod(0, isolated(9)))
		}
		expect(t, d, direction, first.answer(syn|ack), true, "its reply, where by now nothing is allowed")
		expect(t, d, direction, connection(direction, f, 4001), false, "a connection there")
	})
}

func TestP9HostIsKnownByOriginNotByAddress(t *testing.T) {
	for _, f := range families {
		d := policed(t, bpf.Ingress)
		apply(t, d, pod(isolated(9), isolated(9)))
		probe := frame{protocol: policy.TCP, sport: 4000, dport: otherPort, flags: syn}.toward(bpf.Ingress, f.pod, f.node)
		expect(t, d, bpf.Ingress, probe, false, "a packet with the node's address that was forwarded")
		if !judge(t, d, bpf.Frame{Direction: bpf.Ingress, Data: probe.bytes(), FromHost: true}) {
			t.Error("a probe from the node: denied")
		}
		secondary := probe
		secondary.from, secondary.sport = f.outside, 4001
		if !judge(t, d, bpf.Frame{Direction: bpf.Ingress, Data: secondary.bytes(), FromHost: true}) {
			t.Error("a probe from another address of the node: denied")
		}
		expect(t, d, bpf.Egress, probe.answer(syn|ack), true, "the pod's reply")
		expect(t, d, bpf.Ingress, probe, false, "a forwarded packet with the probe's ports")
		expect(t, d, bpf.Egress, probe.answer(syn), false, "a connection of the pod with the probe's ports")
		apply(t, d, pod(isolated(10), isolated(10)), tables.Change{Epoch: true})
		expect(t, d, bpf.Egress, probe.answer(ack), true, "the pod's reply after a change of policy")
	}
}

func TestPodReachesItself(t *testing.T) {
	for _, f := range families {
		d := policed(t, bpf.Ingress)
		apply(t, d, pod(isolated(9), isolated(9)))
		for _, from := range []frame{
			{from: f.pod, to: f.pod, protocol: policy.TCP, sport: 4000, dport: otherPort, flags: syn},
			{from: f.node, to: f.pod, protocol: policy.TCP, sport: 4000, dport: otherPort, flags: syn}, // masqueraded
		} {
			if !judge(t, d, bpf.Frame{Direction: bpf.Ingress, Data: from.bytes(), Hairpin: true}) {
				t.Errorf("from %s by way of a service: denied", from.from)
			}
			expect(t, d, bpf.Egress, from.answer(syn|ack), true, "its reply")
			from.sport++
			expect(t, d, bpf.Ingress, from, false, "a packet from elsewhere that pretends to")
		}
	}
}

func TestP8ICMPErrorsBelongToTheirFlow(t *testing.T) {
	inAllWays(t, func(t *testing.T, d *bpf.Datapath, direction bpf.Direction, f family) {
		apply(t, d, pod(isolated(9), isolated(9)))
		if direction == bpf.Ingress {
			apply(t, d, pod(isolated(1), isolated(9)))
		} else {
			apply(t, d, pod(isolated(9), isolated(1)))
		}
		kinds := []uint8{3, 11, 12}
		if f.name == "IPv6" {
			kinds = []uint8{1, 2, 3, 4}
		}
		flow := frame{protocol: policy.UDP, sport: 4000, dport: port, options: []byte{1, 1, 1, 1}, extensions: []uint8{60}}.toward(direction, f.pod, f.allowed)
		for _, kind := range kinds {
			// Each side may hear that its packet did not arrive: the pod from any router, the other side from the pod.
			sent, got := flow, flow.answer(0)
			if direction == bpf.Ingress {
				sent, got = got, sent
			}
			toPod := icmp(f.router, f.pod, kind, 4, about(sent)...)
			fromPod := icmp(f.pod, f.allowed, kind, 3, about(got)...)
			expect(t, d, bpf.Ingress, toPod, false, "an error about a flow that is not known")
			expect(t, d, bpf.Egress, fromPod, false, "an error of the pod about a flow that is not known")
			expect(t, d, direction, flow, true, "the flow")
			expect(t, d, bpf.Ingress, toPod, true, "an error about the flow")
			expect(t, d, bpf.Egress, fromPod, true, "an error of the pod about the flow")
			expect(t, d, bpf.Ingress, icmp(f.router, f.pod, kind, 4, about(got)...), false, "an error about a packet that the pod did not send")
			flow.sport++
		}
		apply(t, d, pod(isolated(10), isolated(10)))
		flow.sport--
		sent := flow
		if direction == bpf.Ingress {
			sent = flow.answer(0)
		}
		expect(t, d, bpf.Ingress, icmp(f.router, f.pod, kinds[0], 4, about(sent)...), false, "an error about a flow that is denied by now")
	})
}

func TestEchoIsTrackedByItsID(t *testing.T) {
	inAllWays(t, func(t *testing.T, d *bpf.Datapath, direction bpf.Direction, f family) {
		request, reply := uint8(8), uint8(0)
		protocol := policy.ICMP
		if f.name == "IPv6" {
			request, reply, protocol = 128, 129, policy.ICMPv6
		}
		key := tables.Key(uint8(protocol), 0)
		set := isolated(20)
		changes := []tables.Change{
			{Ranges: &tables.RangesChange{First: 200, Ranges: []tables.Range{allowing(key, key)}}},
			{Row: &tables.RowChange{Key: tables.RowKey{Set: set, ID: uint32(classAllowed)}, Row: tables.Row{First: 200, Count: 1}}},
		}
		apply(t, d, changes...)
		back := opposite(direction)
		echo := func(direction bpf.Direction, kind uint8, id byte) frame {
			f := icmp(f.pod, f.allowed, kind, 0, 0, id, 0, 1).toward(direction, f.pod, f.allowed)
			return f
		}
		if direction == bpf.Ingress {
			apply(t, d, pod(set, isolated(9)))
		} else {
			apply(t, d, pod(isolated(9), set))
		}
		expect(t, d, back, echo(back, reply, 1), false, "a reply without a request")
		expect(t, d, direction, echo(direction, request, 1), true, "a request")
		expect(t, d, back, echo(back, reply, 1), true, "its reply")
		expect(t, d, back, echo(back, reply, 2), false, "a reply to another request")
		expect(t, d, back, echo(back, request, 1), false, "a request from the other side with the same id")
		expect(t, d, direction, icmp(f.pod, f.denied, request, 0).toward(direction, f.pod, f.denied), false, "a denied peer's request")
	})
}

func TestFlowsEnd(t *testing.T) {
	inAllWays(t, func(t *testing.T, d *bpf.Datapath, direction bpf.Direction, f family) {
		apply(t, d, pod(isolated(1), isolated(9)))
		if direction == bpf.Egress {
			apply(t, d, pod(isolated(9), isolated(1)))
		}
		timeouts := bpf.DefaultTimeouts()
		timeouts.TCPClosing, timeouts.UDPReplied, timeouts.TCPOpening, timeouts.UDPFirst = 0, 0, 0, 0
		if err := d.Set(bpf.Settings{Timeouts: timeouts}); err != nil {
			t.Fatal(err)
		}
		back := opposite(direction)
		first := connection(direction, f, 4000)
		expect(t, d, direction, first, true, "the first packet")
		expect(t, d, back, first.answer(syn|ack), true, "the reply at once")
		first.flags = ack | fin
		expect(t, d, direction, first, true, "the end of one side")
		expect(t, d, back, first.answer(ack|fin), true, "the end of the other")
		datagram := frame{protocol: policy.UDP, sport: 4000, dport: port}.toward(direction, f.pod, f.allowed)
		expect(t, d, direction, datagram, true, "a datagram")
		opened := frame{protocol: policy.TCP, sport: 4001, dport: port, flags: syn}.toward(direction, f.pod, f.allowed)
		expect(t, d, direction, opened, true, "a connection without answer")
		established := frame{protocol: policy.TCP, sport: 4002, dport: port, flags: syn}.toward(direction, f.pod, f.allowed)
		expect(t, d, direction, established, true, "another connection")
		expect(t, d, back, established.answer(syn|ack), true, "its reply")
		waitTick(t)
		expect(t, d, back, first.answer(ack), false, "a packet after both ends")
		expect(t, d, back, datagram.answer(0), false, "a late answer")
		expect(t, d, back, opened.answer(syn|ack), false, "a late answer to a connection")
		expect(t, d, back, established.answer(ack), true, "an established connection")
		expect(t, d, direction, first, true, "what the direction allows is a flow again")
	})
}

// waitTick waits until the programs' clock has gone on: lifetimes of zero are over.
func waitTick(tb testing.TB) {
	tb.Helper()
	<-time.After(1<<30 + 20*time.Millisecond)
}

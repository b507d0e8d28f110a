package enforce

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"
	"time"

	"github.com/berth-net/berth/internal/core/policy"
	"github.com/berth-net/berth/internal/core/policy/tables"
)

// Flow is a packet that was denied, or the first of a flow that was allowed, as the datapath tells of it.
type Flow struct {
	Time        time.Time
	Ifindex     int
	Pod, Remote netip.AddrPort // port 0 where the protocol has none
	Protocol    uint8
	Direction   policy.Direction // that was asked: of the flow's first packet
	Answer      bool             // the packet went the other way
	Allowed     bool
	By          tables.By
	Rule        uint32
	Set         tables.Set
	Reason      string // why a packet could not be judged; empty for one that was
	Host        bool   // the node itself, or the pod to itself
}

// FlowLine is a line of the flow log.
type FlowLine struct {
	Time      time.Time `json:"time"`
	Verdict   string    `json:"verdict"` // ACCEPT or DENY
	Direction string    `json:"direction"`
	Answer    bool      `json:"answer,omitempty"` // the packet is an answer, of a flow that is not allowed any more
	Protocol  string    `json:"protocol"`
	Namespace string    `json:"namespace,omitempty"`
	Pod       string    `json:"pod,omitempty"`
	PodIP     string    `json:"podIP"`
	PodPort   uint16    `json:"podPort,omitempty"`
	// PeerNamespace and Peer name the pod that has the other address; they are empty when it is no pod's.
	PeerNamespace string `json:"peerNamespace,omitempty"`
	Peer          string `json:"peer,omitempty"`
	PeerIP        string `json:"peerIP"`
	PeerPort      uint16 `json:"peerPort,omitempty"`
	Tier          string `json:"tier"`             // ADMIN, NETWORK_POLICY, BASELINE, DEFAULT, HOST or ERROR
	Policy        string `json:"policy,omitempty"` // kind, namespace and name of what has decided
	// Rule counts the policy's rules of the direction from 0; it is missing where no rule has decided but that the policy isolates.
	Rule     *int   `json:"rule,omitempty"`
	RuleName string `json:"ruleName,omitempty"`
	Reason   string `json:"reason,omitempty"`
}

// Describe names what flows tell by numbers. What has gone since stays without a name.
func (e *Enforcer) Describe(ctx context.Context, flows []Flow) ([]FlowLine, error) {
	reply := make(chan []FlowLine, 1)
	if err := e.ask(ctx, func() { reply <- e.describe(flows) }); err != nil {
		return nil, err
	}
	select {
	case lines := <-reply:
		return lines, nil
	case <-e.done:
		return nil, errStopped
	case <-ctx.Done():
		return nil, fmt.Errorf("ask for the names of flows: %w", ctx.Err())
	}
}

func (e *Enforcer) describe(flows []Flow) []FlowLine {
	peers, locals := e.peersOf(flows), make(map[int]name, len(e.locals))
	for _, l := range e.locals {
		locals[l.Ifindex] = l.name()
	}
	lines := make([]FlowLine, 0, len(flows))
	for _, f := range flows {
		pod, peer := locals[f.Ifindex], peers[f.Remote.Addr()]
		line := FlowLine{
			Time: f.Time.UTC(), Verdict: verdicts[f.Allowed], Direction: f.Direction.String(), Answer: f.Answer, Protocol: protocol(f.Protocol),
			Namespace: pod.namespace, Pod: pod.name, PodIP: f.Pod.Addr().String(), PodPort: f.Pod.Port(),
			PeerNamespace: peer.namespace, Peer: peer.name, PeerIP: f.Remote.Addr().String(), PeerPort: f.Remote.Port(), Reason: f.Reason,
		}
		e.decided(f, &line)
		lines = append(lines, line)
	}
	return lines
}

// peersOf are the pods that have the other addresses. One pass over all pods costs less than to keep a second map of them.
func (e *Enforcer) peersOf(flows []Flow) map[netip.Addr]name {
	peers := make(map[netip.Addr]name, len(flows))
	for _, f := range flows {
		peers[f.Remote.Addr()] = name{}
	}
	for who, p := range e.known.pods {
		for _, a := range p.Addrs {
			if _, ok := peers[a]; ok && !p.HostNetwork && !p.Ended {
				peers[a] = who
			}
		}
	}
	for _, l := range e.locals {
		for _, a := range l.Addrs {
			if _, ok := peers[a]; ok {
				peers[a] = l.name()
			}
		}
	}
	return peers
}

var verdicts = map[bool]string{true: "ACCEPT", false: "DENY"}

// decided says who has.
func (e *Enforcer) decided(f Flow, line *FlowLine) {
	line.Tier = "DEFAULT"
	switch {
	case f.Reason != "":
		line.Tier = "ERROR"
		return
	case f.Host:
		line.Tier = "HOST"
		return
	case f.By == tables.ByAdmin:
		line.Tier = "ADMIN"
	case f.By == tables.ByNetwork:
		line.Tier = "NETWORK_POLICY"
	case f.By == tables.ByBaseline:
		line.Tier = "BASELINE"
	case f.By == tables.ByIsolation:
		line.Tier = "NETWORK_POLICY"
		if ref, ok := e.compiler.Isolating(f.Set); ok {
			line.Policy = ref.String()
		}
		return
	default:
		return
	}
	if r, ok := e.compiler.Rule(f.Rule); ok {
		line.Policy, line.Rule, line.RuleName = r.Policy.String(), &r.Index, r.Name
	}
}

func protocol(number uint8) string {
	names := map[policy.Protocol]string{
		policy.TCP: "TCP", policy.UDP: "UDP", policy.SCTP: "SCTP", policy.ICMP: "ICMP", policy.ICMPv6: "ICMPv6",
	}
	if text, ok := names[policy.Protocol(number)]; ok {
		return text
	}
	return strconv.Itoa(int(number))
}

// Refs names the policies of rules, as far as they are still there, and says which policies there are.
func (e *Enforcer) Refs(ctx context.Context, rules []uint32) (of map[uint32]policy.Ref, known map[policy.Ref]bool, err error) {
	of, known = make(map[uint32]policy.Ref), make(map[policy.Ref]bool)
	_, err = inLoop(ctx, e, func() bool {
		for _, id := range rules {
			if r, ok := e.compiler.Rule(id); ok {
				of[id] = r.Policy
			}
		}
		for _, d := range e.known.policies {
			known[d.ref] = true
		}
		return true
	})
	return of, known, err
}

// Decider is who has decided a verdict of a set, in words: the policy and its rule, as far as they are still there.
func (e *Enforcer) Decider(ctx context.Context, v tables.Verdict, set tables.Set) (string, error) {
	return inLoop(ctx, e, func() string {
		if v.By == tables.ByIsolation {
			if ref, ok := e.compiler.Isolating(set); ok {
				return "isolation (" + ref.String() + ")"
			}
			return "isolation"
		}
		if r, ok := e.compiler.Rule(v.Rule); ok {
			return fmt.Sprintf("%s, %s rule %d", r.Policy, r.Direction, r.Index)
		}
		return map[tables.By]string{tables.ByAdmin: "the Admin tier", tables.ByNetwork: "a NetworkPolicy", tables.ByBaseline: "the Baseline tier", tables.ByDefault: "default"}[v.By]
	})
}

package node

import (
	"reflect"
	"slices"
	"strings"

	"github.com/berth-net/berth/internal/core/ipam"
	"github.com/berth-net/berth/internal/core/pool"
	"github.com/berth-net/berth/internal/run"
)

// follow takes over what the cluster tells of the node.
func (n *Node) follow(f Facts) {
	n.state.MaxPods, n.state.Unschedulable = f.MaxPods, !f.Schedulable
	cfg, contradictions := n.cfg.IPAM.With(f.Overrides)
	if !reflect.DeepEqual(cfg, n.state.Config) {
		n.log.Info("settings changed", "settings", namesOf(f.Overrides), "prefixes", cfg.Prefixes, "discovery", cfg.Discovery)
		n.state.SetConfig(cfg)
	}
	n.tellSettings(SettingsCondition(contradictions, f.Refused))
	if cfg.CustomNetworking {
		n.state.SetCustom(pool.Custom{Name: f.ENIConfig.Name, Found: f.ENIConfig.Found, Subnet: f.ENIConfig.Subnet, Groups: f.ENIConfig.Groups, Why: f.ENIConfig.Why})
	}
	bound := make([]pool.Bound, 0, len(f.Bound))
	for _, b := range f.Bound {
		bound = append(bound, pool.Bound{Namespace: b.Namespace, Name: b.Name, UID: b.UID, Leaving: b.Leaving})
	}
	n.state.Expect(bound, share(f.Unscheduled, f.Nodes))
}

// tellSettings tells the cluster whether settings for the node are taken: the condition always, since an earlier run may have left
// a False, and an event when it is new that some are not.
func (n *Node) tellSettings(c Condition) {
	n.ports.Cluster.Condition(c)
	if c.Status {
		n.untaken = ""
		return
	}
	if c.Message == n.untaken {
		return
	}
	n.untaken = c.Message
	n.log.Error("settings for this node are not taken", run.KeyWhy, c.Reason, "detail", c.Message)
	n.ports.Cluster.Event(Event{Node: true, Warning: true, Reason: c.Reason, Message: c.Message, Action: "Settings"})
}

// share is this node's part of the pods that wait for a node, rounded up.
func share(pods, nodes int) int {
	if nodes <= 0 {
		return 0
	}
	return (pods + nodes - 1) / nodes
}

func namesOf(overrides []pool.Overrides) []string {
	var names []string
	for _, o := range overrides {
		names = append(names, o.Name)
	}
	return names
}

// tellProblems tells the cluster what is wrong with the node's settings: a condition, and an event for each that is new.
func (n *Node) tellProblems() {
	problems := ipam.Problems(n.state)
	for _, p := range problems {
		if slices.Contains(n.toldOf, p) {
			continue
		}
		n.log.Error("a person has to look at this node", run.KeyWhy, p.Why, "detail", p.Message)
		n.ports.Cluster.Event(Event{Node: true, Warning: true, Reason: reasonOf(p.Why), Message: p.Message, Action: "Addressing"})
	}
	n.ports.Cluster.Condition(addressingCondition(problems))
	n.toldOf = problems
}

func addressingCondition(problems []ipam.Problem) Condition {
	if len(problems) == 0 {
		return Condition{Type: ConditionAddressing, Status: true, Reason: "AddressesAvailable", Message: "nothing in the node's settings keeps pods from addresses"}
	}
	var lines []string
	for _, p := range problems {
		lines = append(lines, p.Message)
	}
	return Condition{Type: ConditionAddressing, Status: false, Reason: reasonOf(problems[0].Why), Message: strings.Join(lines, "; ")}
}

// reasonOf spells a reason as Kubernetes does: max-pods-too-high is MaxPodsTooHigh.
func reasonOf(why pool.Why) string {
	var b strings.Builder
	for word := range strings.SplitSeq(string(why), "-") {
		b.WriteString(strings.ToUpper(word[:1]) + word[1:])
	}
	return b.String()
}

package policy

import (
	"fmt"
	"strconv"
	"strings"
)

// String is how logs, traces and golden files name a tier.
func (t Tier) String() string { return [...]string{"Admin", "Network", "Baseline", "Default"}[t] }

// String is how logs, traces and golden files name a direction.
func (d Direction) String() string { return [...]string{"ingress", "egress"}[d] }

// String is how logs, traces and golden files name an action.
func (a Action) String() string { return [...]string{"none", "accept", "deny", "pass"}[a] }

// String is the protocol's name, or its number where policies have no name for it.
func (p Protocol) String() string {
	switch p {
	case ICMP:
		return "icmp"
	case TCP:
		return "tcp"
	case UDP:
		return "udp"
	case ICMPv6:
		return "icmpv6"
	case SCTP:
		return "sctp"
	}
	return strconv.Itoa(int(p))
}

// String is kind, namespace and name.
func (r Ref) String() string {
	if r.Namespace == "" {
		return r.Kind + " " + r.Name
	}
	return r.Kind + " " + r.Namespace + "/" + r.Name
}

// String is the policy's canonical text: what it is and whom it selects, then a line for each rule. Policies that mean the same
// differ at most in the order of what is in them.
func (p Policy) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s", p.Ref, p.Tier)
	if p.Tier != Network {
		fmt.Fprintf(&b, " %d", p.Priority)
	}
	fmt.Fprintf(&b, ", for %s", p.Subject)
	if p.Tier == Network {
		b.WriteString(", isolates " + isolates(p.Isolates))
	}
	b.WriteByte('\n')
	for d, rules := range p.Rules {
		for i, r := range rules {
			fmt.Fprintf(&b, "  %s %d", Direction(d), i)
			if r.Name != "" {
				fmt.Fprintf(&b, " %q", r.Name)
			}
			fmt.Fprintf(&b, ": %s\n", r.Text(Direction(d)))
		}
	}
	return b.String()
}

func isolates(directions [2]bool) string {
	var texts []string
	for d, isolated := range directions {
		if isolated {
			texts = append(texts, Direction(d).String())
		}
	}
	if texts == nil {
		return "nothing"
	}
	return strings.Join(texts, " and ")
}

// Text is the rule in one line: "accept tcp 80, udp \"dns\" from 10.0.0.0/8 except 10.1.0.0/16; nodes []".
func (r Rule) Text(d Direction) string {
	peers, ports := "nobody", "no port"
	switch {
	case r.AnyPeer:
		peers = "any"
	case len(r.Peers) > 0:
		peers = join(r.Peers, "; ")
	}
	switch {
	case r.AnyPort:
		ports = "any port"
	case len(r.Ports) > 0:
		ports = join(r.Ports, ", ")
	}
	return fmt.Sprintf("%s %s %s %s", r.Action, ports, [...]string{"from", "to"}[d], peers)
}

func join[S fmt.Stringer](list []S, separator string) string {
	texts := make([]string, 0, len(list))
	for _, s := range list {
		texts = append(texts, s.String())
	}
	return strings.Join(texts, separator)
}

// String is whom the peer stands for.
func (p Peer) String() string {
	switch {
	case p.Pods != nil:
		return p.Pods.String()
	case p.Nodes != nil:
		return "nodes [" + p.Nodes.String() + "]"
	case p.Network != nil:
		return p.Network.String()
	}
	return p.Domain
}

// String is the pods' selector, and that of their namespaces. Nothing stands between the brackets of one that selects all.
func (p Pods) String() string {
	if p.Namespace != "" {
		return fmt.Sprintf("pods [%s] of namespace %s", p.Pods, p.Namespace)
	}
	return fmt.Sprintf("pods [%s] of namespaces [%s]", p.Pods, p.Namespaces)
}

// String is the block with its excepts.
func (b Block) String() string {
	if len(b.Except) == 0 {
		return b.CIDR.String()
	}
	return b.CIDR.String() + " except " + join(b.Except, ", ")
}

// String is the protocol, then a number, a range or a name; nothing where all ports of the protocol are meant.
func (p Port) String() string {
	switch {
	case p.Name != "":
		return fmt.Sprintf("%s %q", p.Protocol, p.Name)
	case p.First == 0 && p.Last == 65535:
		return p.Protocol.String()
	case p.First == p.Last:
		return fmt.Sprintf("%s %d", p.Protocol, p.First)
	}
	return fmt.Sprintf("%s %d-%d", p.Protocol, p.First, p.Last)
}

// String says what decided, as traces and logs show it: "deny by NetworkPolicy x/p rule 0".
func (d Decision) String() string {
	word := "deny"
	if d.Allowed {
		word = "allow"
	}
	switch {
	case d.Tier == Default:
		return word + " by default"
	case d.Rule < 0:
		return fmt.Sprintf("%s by %s: isolated, and no policy allows it", word, d.Policy)
	case d.Name != "":
		return fmt.Sprintf("%s by %s rule %d %q", word, d.Policy, d.Rule, d.Name)
	}
	return fmt.Sprintf("%s by %s rule %d", word, d.Policy, d.Rule)
}

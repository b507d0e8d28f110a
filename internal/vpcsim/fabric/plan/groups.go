package plan

import (
	"fmt"
	"strconv"

	"github.com/berth-net/berth/internal/core/vpc"
	"github.com/berth-net/berth/internal/vpcsim"
)

// groupRules adds each security group's two chains and, for groups that a rule refers to, the set of their members.
func (b *builder) groupRules(t *table) {
	referred := map[vpc.SecurityGroupID]bool{}
	for _, id := range sortedKeys(b.groups) {
		var in, out []string
		for _, r := range b.groups[id].Rules {
			if r.Egress {
				out = append(out, ruleTexts(r)...)
			} else {
				in = append(in, ruleTexts(r)...)
			}
			if r.Group != "" {
				referred[r.Group] = true
			}
		}
		t.chain("in-"+string(id), "", in...)
		t.chain("out-"+string(id), "", out...)
	}
	for _, id := range sortedKeys(referred) {
		singles := t.set("members-"+string(id), "set typeof ip saddr")
		blocks := t.set("blocks-"+string(id), "set typeof ip saddr ; flags interval")
		for _, e := range b.members[id] {
			for _, a := range e.Addresses {
				singles.add(a.String())
			}
			for _, p := range e.Prefixes {
				blocks.add(p.Masked().String())
			}
		}
	}
}

// ruleTexts is a security group's rule in nft's words: one line, or two where members may be single addresses or blocks.
func ruleTexts(r vpcsim.GroupRule) []string {
	proto, ok := protocolText(r)
	if !ok {
		return nil
	}
	side := "ip saddr "
	if r.Egress {
		side = "ip daddr "
	}
	switch {
	case r.Group != "":
		return []string{
			side + "@members-" + string(r.Group) + " " + proto + "accept",
			side + "@blocks-" + string(r.Group) + " " + proto + "accept",
		}
	case !r.CIDR.IsValid() || !r.CIDR.Addr().Is4():
		return nil
	case r.CIDR.Bits() == 0:
		return []string{proto + "accept"}
	default:
		return []string{side + r.CIDR.Masked().String() + " " + proto + "accept"}
	}
}

// protocolText is the rule's match on protocol and ports, with a space behind it; false where no IPv4 packet matches.
func protocolText(r vpcsim.GroupRule) (string, bool) {
	switch r.Protocol {
	case "-1", "all", "":
		return "", true
	case "tcp", "6":
		return portText("tcp", r), true
	case "udp", "17":
		return portText("udp", r), true
	case "icmp", "1":
		if r.From < 0 {
			return "meta l4proto icmp ", true
		}
		text := fmt.Sprintf("icmp type %d ", r.From)
		if r.To >= 0 {
			text += fmt.Sprintf("icmp code %d ", r.To)
		}
		return text, true
	case "icmpv6", "58":
		return "", false
	}
	n, err := strconv.ParseUint(r.Protocol, 10, 8)
	return fmt.Sprintf("meta l4proto %d ", n), err == nil
}

func portText(proto string, r vpcsim.GroupRule) string {
	switch {
	case r.From < 0 || (r.From == 0 && r.To >= 65535):
		return "meta l4proto " + proto + " "
	case r.From == r.To:
		return fmt.Sprintf("%s dport %d ", proto, r.From)
	default:
		return fmt.Sprintf("%s dport %d-%d ", proto, r.From, r.To)
	}
}

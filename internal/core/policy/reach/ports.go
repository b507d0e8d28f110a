package reach

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/berth-net/berth/internal/core/policy"
)

// Ports is which ports a Matrix is about.
type Ports struct {
	Protocol policy.Protocol // 0 for all, and for packets without ports
	Number   uint16          // 0 for all
	Name     string          // what the destination calls so, when not empty
}

// What cells say where they do not list ports.
const (
	All      = "all"
	None     = "none"
	Yes      = "yes"
	No       = "no"
	NoPort   = "no such port"
	NoFamily = "no common family"
)

// span is a range of ports, both ends included.
type span struct{ first, last uint16 }

func (s span) String() string {
	if s.first == s.last {
		return strconv.Itoa(int(s.first))
	}
	return fmt.Sprintf("%d-%d", s.first, s.last)
}

// bounds are the ports of a protocol from which on the verdict may be another one: between two of them nothing changes.
func bounds(w *policy.World, to *policy.Pod, protocol policy.Protocol) []uint16 {
	at := []uint16{1}
	edge := func(first, last uint16) {
		at = append(at, max(first, 1))
		if last < 65535 {
			at = append(at, last+1)
		}
	}
	for _, p := range w.Policies {
		for _, rules := range p.Rules {
			for _, r := range rules {
				for _, port := range r.Ports {
					if port.Protocol == protocol && port.Name == "" {
						edge(port.First, port.Last)
					}
				}
			}
		}
	}
	for _, n := range to.Ports {
		if n.Protocol == protocol {
			edge(n.Number, n.Number)
		}
	}
	slices.Sort(at)
	return slices.Compact(at)
}

// spans asks for every port of a protocol.
func spans(w *policy.World, p policy.Packet, to *policy.Pod) (yes, no []span) {
	at := bounds(w, to, p.Protocol)
	for i, first := range at {
		last := uint16(65535)
		if i+1 < len(at) {
			last = at[i+1] - 1
		}
		p.Port = first
		list := &no
		if policy.Evaluate(w, p).Allowed {
			list = &yes
		}
		if n := len(*list); n > 0 && (*list)[n-1].last+1 == first && first > 1 {
			(*list)[n-1].last = last
			continue
		}
		*list = append(*list, span{first, last})
	}
	return yes, no
}

// open says which ports of a world's second pod its first may reach.
func open(w *policy.World, p policy.Packet, to *policy.Pod, ask Ports) string {
	if ask.Number != 0 || ask.Name != "" {
		return single(w, p, to, ask)
	}
	protocols := []policy.Protocol{policy.TCP, policy.UDP, policy.SCTP}
	if ask.Protocol != 0 {
		protocols = []policy.Protocol{ask.Protocol}
	}
	var yes, no []string
	for _, protocol := range protocols {
		p.Protocol = protocol
		in, out := spans(w, p, to)
		yes, no = part(yes, protocol, in), part(no, protocol, out)
	}
	rest := true
	if ask.Protocol == 0 { // what has no ports is matched by rules for any port only
		p.Protocol, p.Port = policy.ICMP, 0
		if p.From.Is6() {
			p.Protocol = policy.ICMPv6
		}
		if rest = policy.Evaluate(w, p).Allowed; rest {
			yes = append(yes, "rest")
		} else {
			no = append(no, "rest")
		}
	}
	switch {
	case len(no) == 0:
		return All
	case len(yes) == 0:
		return None
	}
	listed, excepted := strings.Join(yes, " "), "all but "+strings.Join(no, " ")
	if rest && len(excepted) < len(listed) {
		return excepted
	}
	return listed
}

func part(to []string, protocol policy.Protocol, ports []span) []string {
	if len(ports) == 0 {
		return to
	}
	if ports[0] == (span{1, 65535}) {
		return append(to, protocol.String())
	}
	texts := make([]string, 0, len(ports))
	for _, s := range ports {
		texts = append(texts, s.String())
	}
	return append(to, protocol.String()+" "+strings.Join(texts, ","))
}

// single asks for one port.
func single(w *policy.World, p policy.Packet, to *policy.Pod, ask Ports) string {
	p.Protocol = ask.Protocol
	numbers := []uint16{ask.Number}
	if ask.Name != "" {
		numbers = nil
		for _, n := range to.Ports {
			if n.Name == ask.Name && n.Protocol == ask.Protocol {
				numbers = append(numbers, n.Number)
			}
		}
	}
	if len(numbers) == 0 {
		return NoPort
	}
	allowed := 0
	for _, p.Port = range numbers {
		if policy.Evaluate(w, p).Allowed {
			allowed++
		}
	}
	switch allowed {
	case 0:
		return No
	case len(numbers):
		return Yes
	}
	return "some"
}

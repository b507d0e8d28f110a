package reach

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/berth-net/berth/internal/core/policy"
)

// knowledge is all that a world's policies can know of a pod: which selectors select it, which blocks hold its addresses, what its
// ports are called.
type knowledge struct {
	*policy.World
	own    map[string][]policy.Pods // selectors of one namespace, by that
	shared []policy.Pods            // selectors by labels of namespaces
	blocks []policy.Block
	ports  map[string]bool // names that rules have
	known  map[string]string
}

func newKnowledge(w *policy.World, ask Ports) *knowledge {
	k := &knowledge{World: w, own: make(map[string][]policy.Pods), ports: make(map[string]bool), known: make(map[string]string)}
	if ask.Name != "" {
		k.ports[ask.Name] = true
	}
	seen := make(map[string]bool)
	for _, p := range w.Policies {
		k.selector(seen, p.Subject)
		for _, rules := range p.Rules {
			for _, r := range rules {
				k.rule(seen, r)
			}
		}
	}
	return k
}

func (k *knowledge) rule(seen map[string]bool, r policy.Rule) {
	for _, port := range r.Ports {
		if port.Name != "" {
			k.ports[port.Name] = true
		}
	}
	for _, peer := range r.Peers {
		switch {
		case peer.Pods != nil:
			k.selector(seen, *peer.Pods)
		case peer.Network != nil && !seen[peer.Network.String()]:
			seen[peer.Network.String()] = true
			k.blocks = append(k.blocks, *peer.Network)
		}
	}
}

func (k *knowledge) selector(seen map[string]bool, s policy.Pods) {
	text := s.String()
	if seen[text] {
		return
	}
	seen[text] = true
	if s.Namespace != "" {
		k.own[s.Namespace] = append(k.own[s.Namespace], s)
		return
	}
	k.shared = append(k.shared, s)
}

// key is the same for pods that no policy can tell apart. Addresses of nodes and of domains are taken for no pod's.
func (k *knowledge) key(p *policy.Pod) string {
	var b strings.Builder
	b.WriteString(k.selectors(p))
	for _, a := range p.Addrs {
		fmt.Fprintf(&b, "|%t:%s", a.Is4(), k.blocksOf(a))
	}
	var ports []string
	for _, n := range p.Ports {
		if k.ports[n.Name] {
			ports = append(ports, fmt.Sprintf("%s/%s/%d", n.Name, n.Protocol, n.Number))
		}
	}
	slices.Sort(ports)
	b.WriteString("|" + strings.Join(ports, ","))
	return b.String()
}

// selectors says which select a pod. Pods of a workload have the same labels: they are looked at once.
func (k *knowledge) selectors(p *policy.Pod) string {
	var b strings.Builder
	b.WriteString(p.Namespace)
	for _, name := range slices.Sorted(maps.Keys(p.Labels)) {
		b.WriteString("\x00" + name + "\x00" + p.Labels[name])
	}
	if known, ok := k.known[b.String()]; ok {
		return known
	}
	var out strings.Builder
	for i, s := range k.own[p.Namespace] {
		if k.Selects(s, p) {
			out.WriteString(p.Namespace + "." + strconv.Itoa(i) + ",")
		}
	}
	for i, s := range k.shared {
		if k.Selects(s, p) {
			out.WriteString(strconv.Itoa(i) + ",")
		}
	}
	k.known[b.String()] = out.String()
	return out.String()
}

// blocksOf says which blocks hold an address.
func (k *knowledge) blocksOf(a netip.Addr) string {
	var b strings.Builder
	for i, block := range k.blocks {
		if block.Contains(a) {
			b.WriteString(strconv.Itoa(i) + ",")
		}
	}
	return b.String()
}

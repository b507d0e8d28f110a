package reach

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"

	"github.com/berth-net/berth/internal/core/policy"
)

// Matrix is who can reach whom. Pods that nobody could tell apart by it are one group.
type Matrix struct {
	Groups []Group `json:"groups"`
	// Cells are, by group that sends and group that receives, the ports that are open: All, None, or a list as "tcp 80,8000-8080 udp
	// rest", where rest is what has no ports. Yes, No or NoPort where one port is asked for. Empty between groups outside of the
	// namespace that was asked for, and for a group of one pod that cannot be told from itself.
	Cells [][]string `json:"cells"`
	// HostNetwork counts pods that policies neither select nor see as pods; Placed counts pods without an address yet.
	HostNetwork int `json:"hostNetworkPods"`
	Placed      int `json:"podsWithoutAddress"`
}

// Group is pods that are treated alike.
type Group struct {
	Pods      int          `json:"pods"`
	Workloads []Membership `json:"workloads"`
	// Isolated tells for which directions the pods are reached only by what is allowed.
	Ingress bool `json:"isolatedForIngress"`
	Egress  bool `json:"isolatedForEgress"`
	// Selected tells whether any policy selects the pods.
	Selected bool `json:"selected"`
	// Outside tells that the pods are not of the namespace that was asked for.
	Outside bool `json:"outside,omitempty"`
}

// Membership is a workload's part in a group.
type Membership struct {
	Namespace string `json:"namespace"`
	Workload  string `json:"workload"`
	Pods      int    `json:"pods"`
	Of        int    `json:"of"` // pods of the workload, in all groups
}

// class is pods that no policy can tell apart.
type class struct {
	pods     []*policy.Pod
	outside  bool
	isolated [2]bool
	policies [2][]int // by direction, those that select it
	selected bool
}

// matrix is a Matrix in the making.
type matrix struct {
	*policy.World
	ask     Ports
	classes []*class
	texts   []string
	ids     map[string]uint32
}

// NewMatrix asks for all pods of a world. With a namespace it leaves out what does not concern that namespace's pods.
func NewMatrix(w *policy.World, namespace string, ask Ports) Matrix {
	m := &matrix{World: w, ask: ask, ids: make(map[string]uint32)}
	m.id("")
	var out Matrix
	for _, p := range w.Pods {
		if p.HostNetwork {
			out.HostNetwork++
		} else if IsPlaceholder(p.Addrs[0]) {
			out.Placed++
		}
	}
	m.classify(namespace)
	cells := m.cells()
	groups := m.merge(cells)
	of := make(map[[2]string]int)
	for _, c := range m.classes {
		for _, p := range c.pods {
			of[[2]string{p.Namespace, Workload(*p)}]++
		}
	}
	for _, members := range groups {
		out.Groups = append(out.Groups, m.group(members, of))
		row := make([]string, 0, len(groups))
		for _, to := range groups {
			row = append(row, m.texts[m.between(cells, members, to)])
		}
		out.Cells = append(out.Cells, row)
	}
	return out
}

// between is what members of one group may reach in another. Within a group it is what two different pods may.
func (m *matrix) between(cells [][]uint32, from, to []int) uint32 {
	if from[0] == to[0] && len(m.classes[from[0]].pods) == 1 {
		if len(from) == 1 {
			return 0
		}
		return cells[from[0]][from[1]]
	}
	return cells[from[0]][to[0]]
}

// id numbers a text.
func (m *matrix) id(text string) uint32 {
	id, ok := m.ids[text]
	if !ok {
		id = uint32(len(m.texts))
		m.ids[text], m.texts = id, append(m.texts, text)
	}
	return id
}

// classify sorts the pods by all that a policy can know of them.
func (m *matrix) classify(namespace string) {
	k := newKnowledge(m.World, m.ask)
	byKey := make(map[string]*class)
	for i := range m.Pods {
		p := &m.Pods[i]
		if p.HostNetwork {
			continue
		}
		outside := namespace != "" && p.Namespace != namespace
		key := k.key(p)
		if outside {
			key += "!"
		}
		c, ok := byKey[key]
		if !ok {
			c = m.class(p, outside)
			byKey[key] = c
			m.classes = append(m.classes, c)
		}
		c.pods = append(c.pods, p)
	}
}

func (m *matrix) class(p *policy.Pod, outside bool) *class {
	c := &class{outside: outside}
	for i := range m.Policies {
		by := &m.Policies[i]
		if !m.Selects(by.Subject, p) {
			continue
		}
		c.selected = true
		for d := range c.policies {
			if speaks(*by, policy.Direction(d)) {
				c.policies[d] = append(c.policies[d], i)
				c.isolated[d] = c.isolated[d] || by.Tier == policy.Network
			}
		}
	}
	return c
}

// cells asks for each pair of classes.
func (m *matrix) cells() [][]uint32 {
	cells := make([][]uint32, len(m.classes))
	for i, from := range m.classes {
		cells[i] = make([]uint32, len(m.classes))
		for j, to := range m.classes {
			if !from.outside || !to.outside {
				cells[i][j] = m.id(m.cell(from, to))
			}
		}
	}
	return cells
}

// cell is what the pods of one class may reach of another.
func (m *matrix) cell(from, to *class) string {
	a, b := from.pods[0], to.pods[0]
	if from == to {
		if b = second(m.World, from); b == nil {
			return ""
		}
	}
	w := &policy.World{Pods: []policy.Pod{*a, *b}, Namespaces: m.Namespaces, Nodes: m.Nodes, Resolved: m.Resolved, Strict: m.Strict}
	for _, i := range from.policies[policy.Egress] {
		w.Policies = append(w.Policies, m.Policies[i])
	}
	for _, i := range to.policies[policy.Ingress] {
		if !slices.Contains(from.policies[policy.Egress], i) {
			w.Policies = append(w.Policies, m.Policies[i])
		}
	}
	var texts []string
	for _, four := range []bool{true, false} {
		is := func(x netip.Addr) bool { return x.Is4() == four }
		i, j := slices.IndexFunc(a.Addrs, is), slices.IndexFunc(b.Addrs, is)
		if i < 0 || j < 0 {
			continue
		}
		text := open(w, policy.Packet{From: a.Addrs[i], To: b.Addrs[j]}, b, m.ask)
		if !slices.Contains(texts, text) {
			texts = append(texts, text)
		}
	}
	switch len(texts) {
	case 0:
		return NoFamily
	case 1:
		return texts[0]
	}
	return "IPv4 " + texts[0] + "; IPv6 " + texts[1]
}

// second is another pod of a class: a real one, or one as the only one would be at the next address, where no block tells these two
// apart. Nil where one does.
func second(w *policy.World, c *class) *policy.Pod {
	if len(c.pods) > 1 {
		return c.pods[1]
	}
	twin := *c.pods[0]
	twin.Addrs = slices.Clone(twin.Addrs)
	k := newKnowledge(&policy.World{Policies: chosen(w, c)}, Ports{})
	for i, a := range twin.Addrs {
		next := []netip.Addr{a.Next(), a.Prev()}
		at := slices.IndexFunc(next, func(n netip.Addr) bool { return n.IsValid() && k.blocksOf(n) == k.blocksOf(a) })
		if at < 0 {
			return nil
		}
		twin.Addrs[i] = next[at]
	}
	return &twin
}

func chosen(w *policy.World, c *class) []policy.Policy {
	var out []policy.Policy
	for _, list := range c.policies {
		for _, i := range list {
			out = append(out, w.Policies[i])
		}
	}
	return out
}

// merge joins classes that reach, and are reached, alike. A class of one pod that cannot be asked about itself stays alone.
func (m *matrix) merge(cells [][]uint32) [][]int {
	byKey := make(map[string]int)
	var groups [][]int
	for i, c := range m.classes {
		key := make([]byte, 0, 8*len(cells)+4)
		for j := range cells {
			key = binary.LittleEndian.AppendUint32(key, cells[i][j])
			key = binary.LittleEndian.AppendUint32(key, cells[j][i])
		}
		for _, flag := range []bool{c.isolated[0], c.isolated[1], c.selected, c.outside} {
			key = append(key, map[bool]byte{true: 1}[flag])
		}
		at, ok := byKey[string(key)]
		if !ok {
			at = len(groups)
			byKey[string(key)] = at
			groups = append(groups, nil)
		}
		groups[at] = append(groups[at], i)
	}
	slices.SortStableFunc(groups, func(a, b []int) int { return m.order(a, b) })
	return groups
}

// order puts the pods of the namespace in question first, then those that no policy selects, then by name.
func (m *matrix) order(a, b []int) int {
	x, y := m.classes[a[0]], m.classes[b[0]]
	rank := func(c *class) int {
		switch {
		case c.outside:
			return 2
		case c.selected:
			return 1
		}
		return 0
	}
	if rank(x) != rank(y) {
		return rank(x) - rank(y)
	}
	return strings.Compare(m.first(a), m.first(b))
}

func (m *matrix) first(members []int) string {
	var first string
	for _, i := range members {
		for _, p := range m.classes[i].pods {
			if name := PodName(*p); first == "" || name < first {
				first = name
			}
		}
	}
	return first
}

func (m *matrix) group(members []int, of map[[2]string]int) Group {
	c := m.classes[members[0]]
	g := Group{Ingress: c.isolated[policy.Ingress], Egress: c.isolated[policy.Egress], Selected: c.selected, Outside: c.outside}
	pods := make(map[[2]string]int)
	for _, i := range members {
		g.Pods += len(m.classes[i].pods)
		for _, p := range m.classes[i].pods {
			pods[[2]string{p.Namespace, Workload(*p)}]++
		}
	}
	for name, n := range pods {
		g.Workloads = append(g.Workloads, Membership{Namespace: name[0], Workload: name[1], Pods: n, Of: of[name]})
	}
	slices.SortFunc(g.Workloads, func(a, b Membership) int {
		if c := strings.Compare(a.Namespace, b.Namespace); c != 0 {
			return c
		}
		return strings.Compare(a.Workload, b.Workload)
	})
	return g
}

package compile

import (
	"cmp"
	"encoding/binary"
	"iter"
	"net/netip"
	"reflect"
	"slices"
	"strings"

	"github.com/berth-net/berth/internal/core/policy"
	"github.com/berth-net/berth/internal/core/policy/peers"
	"github.com/berth-net/berth/internal/core/policy/tables"
)

// document is a policy as it was told.
type document struct {
	policy policy.Policy
	halves [2]*half // by direction; nil where it says nothing
}

// says tells whether a policy says in a direction what it said.
func (d *document) says(p *policy.Policy, dir policy.Direction) bool {
	o := &d.policy
	return o.Tier == p.Tier && o.Priority == p.Priority && o.Isolates[dir] == p.Isolates[dir] && reflect.DeepEqual(o.Rules[dir], p.Rules[dir])
}

// half is what a policy says in one direction. It is never changed.
type half struct {
	id        uint32
	ref       policy.Ref
	direction policy.Direction
	tier      policy.Tier
	priority  int32
	isolates  bool
	rules     []policy.Rule
	weight    int           // blocks and rules: what it needs of the tables
	named     []policy.Port // ports whose names stand for what the subject calls so

	refs    int // sets
	parts   []part
	atoms   []uint32 // once for each time that it was acquired
	cidrs   []*cidrList
	numbers []*number
}

// newHalf is nil for a direction in which a policy says nothing.
func newHalf(id uint32, p *policy.Policy, d policy.Direction) *half {
	h := &half{id: id, ref: p.Ref, direction: d, tier: p.Tier, rules: p.Rules[d]}
	if p.Tier == policy.Network {
		if h.isolates = p.Isolates[d]; !h.isolates {
			return nil
		}
	} else if h.priority = p.Priority; len(h.rules) == 0 {
		return nil
	}
	for _, r := range h.rules {
		h.weight++
		for _, peer := range r.Peers {
			if peer.Network != nil {
				h.weight += 1 + len(peer.Network.Except)
			}
		}
	}
	if d == policy.Ingress {
		for _, r := range h.rules {
			for _, p := range r.Ports {
				name := policy.Port{Protocol: p.Protocol, Name: p.Name}
				if p.Name != "" && !r.AnyPort && !slices.Contains(h.named, name) {
					h.named = append(h.named, name)
				}
			}
		}
	}
	return h
}

// prefixes are those of its blocks; some come twice.
func (h *half) prefixes() iter.Seq[netip.Prefix] {
	return func(yield func(netip.Prefix) bool) {
		for _, r := range h.rules {
			for _, peer := range r.Peers {
				if peer.Network == nil || !peer.Network.CIDR.IsValid() {
					continue
				}
				for _, p := range append([]netip.Prefix{peer.Network.CIDR}, peer.Network.Except...) {
					if p.IsValid() && !yield(p.Masked()) {
						return
					}
				}
			}
		}
	}
}

// span are keys from first to last.
type span struct{ first, last uint32 }

// part is a rule, taken to pieces.
type part struct {
	anyPeer bool
	spans   []span        // ports by number
	named   []policy.Port // ports by the subject's names
	atoms   []uint32      // match for spans and named
	byName  []byName      // match for the port that they tell
	cidrs   *cidrList     // nil: none
}

// byName is an atom that tells the port of a protocol.
type byName struct {
	atom     uint32
	protocol policy.Protocol
}

// anyPod is the peer that stands for all pods that have a named port.
var anyPod = policy.Peer{Pods: &policy.Pods{Namespaces: policy.NewSelector(), Pods: policy.NewSelector()}}

// number is the number of a rule in the tables. It stays when the rule is changed.
type number struct {
	id   uint32
	refs int
}

// acquireHalf makes the parts of a half at its first use.
func (c *Compiler) acquireHalf(h *half) {
	if h.refs++; h.refs > 1 {
		return
	}
	for i, r := range h.rules {
		name := Rule{Policy: h.ref, Tier: h.tier, Direction: h.direction, Index: i}
		n, ok := c.numbers[name]
		if !ok {
			n = &number{id: c.newID()}
			c.numbers[name] = n
		}
		n.refs++
		h.numbers = append(h.numbers, n)
		name.Name = r.Name
		c.rules[n.id] = name
		h.parts = append(h.parts, c.partOf(h, r))
	}
}

// partOf takes a rule to pieces.
func (c *Compiler) partOf(h *half, r policy.Rule) part {
	p := part{anyPeer: r.AnyPeer}
	var byPeer []policy.Port
	var networks []policy.Block
	for _, port := range r.Ports {
		switch {
		case r.AnyPort:
		case port.Name == "" && port.First <= port.Last:
			p.spans = append(p.spans, span{tables.Key(uint8(port.Protocol), port.First), tables.Key(uint8(port.Protocol), port.Last)})
		case port.Name != "" && h.direction == policy.Ingress:
			p.named = append(p.named, port)
		case port.Name != "":
			byPeer = append(byPeer, policy.Port{Protocol: port.Protocol, Name: port.Name})
		}
	}
	if r.AnyPort {
		p.spans = []span{{0, tables.AnyKey}}
	}
	others := r.Peers
	if r.AnyPeer {
		others = []policy.Peer{anyPod}
	}
	for _, peer := range others {
		for _, port := range byPeer {
			if peer.Pods != nil {
				p.byName = append(p.byName, byName{h.atom(c.peers.Acquire(peer, port)), port.Protocol})
			}
		}
		switch {
		case r.AnyPeer || len(p.spans)+len(p.named) == 0:
		case peer.Network == nil:
			p.atoms = append(p.atoms, h.atom(c.peers.Acquire(peer, policy.Port{})))
		case peer.Network.CIDR.IsValid():
			networks = append(networks, *peer.Network)
		}
	}
	if len(networks) > 0 {
		p.cidrs = c.acquireCIDRs(networks)
		h.cidrs = append(h.cidrs, p.cidrs)
	}
	return p
}

func (h *half) atom(a uint32) uint32 {
	h.atoms = append(h.atoms, a)
	return a
}

// releaseHalf undoes the parts of a half that no set has.
func (f *flush) releaseHalf(h *half) {
	if h.refs--; h.refs > 0 {
		return
	}
	for _, a := range h.atoms {
		f.c.peers.ReleaseAtom(a)
	}
	for _, x := range h.cidrs {
		x.refs--
		f.cidrs = append(f.cidrs, x)
	}
	for i, n := range h.numbers {
		if n.refs--; n.refs == 0 {
			delete(f.c.numbers, Rule{Policy: h.ref, Tier: h.tier, Direction: h.direction, Index: i})
			f.retired = append(f.retired, n.id)
		}
	}
	h.parts, h.atoms, h.cidrs, h.numbers = nil, nil, nil, nil
}

// idMask is what is left of a tables.Set without flags.
const idMask = 1<<29 - 1

// set is the effective policy of a direction of some local pods. It is never changed.
type set struct {
	id     tables.Set
	key    string
	halves []*half
	refs   int // subjects
	denies bool

	fresh   bool // no packet is judged by it yet
	doomed  bool // no new packet will be judged by it
	deleted bool // no packet is judged by it any more

	any    []contribution
	terms  map[uint32][]contribution // by atom
	blocks map[uint32][]contribution // by list of CIDRs
	rows   map[tables.RowKey]*list

	tooLong bool // a row had more than MaxRanges
}

// contribution is what a rule says of some peers.
type contribution struct {
	tier     policy.Tier
	word     tables.Word
	spans    []span
	byName   bool // instead of spans, the port of the feature
	protocol policy.Protocol
}

// subject is what local pods of one fact are judged by.
type subject struct {
	fact    *peers.Fact
	refs    int // slots
	sets    [2]*set
	refused [2]*refusal
	dirty   bool
}

// local is an interface.
type local struct {
	slot    uint32
	key     Key
	of      Key      // whose the subject is
	subject *subject // nil: none, see bare
	bare    bool     // a pod that uses the host's network: nothing decides
	gone    bool
	told    bool // pod is in the tables
	pod     tables.Pod
}

// effective are the policies of a subject in a direction, by name.
func (c *Compiler) effective(f *peers.Fact, d policy.Direction) []*half {
	var halves []*half
	for _, docs := range [...][]*document{c.selecting[f.Namespace()], c.selecting[""]} {
		for _, doc := range docs {
			if h := doc.halves[d]; h != nil && f.SelectedBy(doc.policy.Subject) {
				halves = append(halves, h)
			}
		}
	}
	slices.SortFunc(halves, func(a, b *half) int { return compareRefs(a.ref, b.ref) })
	return halves
}

func compareRefs(a, b policy.Ref) int {
	return cmp.Or(strings.Compare(a.Kind, b.Kind), strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
}

// spansOf are the ports that a pod calls by a name.
func spansOf(f *peers.Fact, port policy.Port) []span {
	var spans []span
	for _, n := range f.Numbers(port) {
		key := tables.Key(uint8(port.Protocol), n)
		spans = append(spans, span{key, key})
	}
	return spans
}

// setFor is the set of a subject in a direction; nil when nothing decides there. Where the tables have no room for it, it is the one that
// denies everything.
func (f *flush) setFor(x *peers.Fact, d policy.Direction) (*set, *refusal) {
	halves := f.c.effective(x, d)
	if len(halves) == 0 && !f.c.strict {
		return nil, nil
	}
	key := []byte{byte(d)}
	for _, h := range halves {
		key = binary.AppendUvarint(key, uint64(h.id))
		for _, port := range h.named {
			spans := spansOf(x, port)
			key = binary.AppendUvarint(key, uint64(len(spans)))
			for _, s := range spans {
				key = binary.BigEndian.AppendUint32(key, s.first)
			}
		}
	}
	if s, ok := f.c.sets[string(key)]; ok {
		return s, nil
	}
	if len(halves) > 0 {
		if no := f.take(halves); no != nil {
			return f.denySet(), no
		}
	}
	return f.newSet(string(key), halves, x), nil
}

// denySet is the set that denies everything.
func (f *flush) denySet() *set {
	const key = "deny"
	if s, ok := f.c.sets[key]; ok {
		return s
	}
	s := f.newSet(key, nil, nil)
	s.denies = true
	s.id = s.id&idMask | tables.Isolates
	return s
}

// newSet makes a set. Its rows are written by writeSet.
func (f *flush) newSet(key string, halves []*half, x *peers.Fact) *set {
	s := &set{
		id: tables.Set(f.setID()), key: key, halves: halves, fresh: true,
		terms: make(map[uint32][]contribution), blocks: make(map[uint32][]contribution), rows: make(map[tables.RowKey]*list),
	}
	for _, h := range halves {
		f.c.acquireHalf(h)
		for _, id := range h.atoms {
			if f.c.uses[id] == nil {
				f.c.uses[id] = &use{sets: make(map[*set]struct{}), classes: make(map[*class]struct{})}
			}
		}
		if h.isolates {
			s.id |= tables.Isolates
		}
	}
	s.contribute(x)
	for id := range s.terms {
		f.c.uses[id].sets[s] = struct{}{}
	}
	for id := range s.blocks {
		f.c.blocks.byID[id].sets[s] = struct{}{}
		s.id |= tables.HasBlocks
	}
	if f.c.strict {
		s.id |= tables.Strict
	}
	f.c.sets[key] = s
	f.c.size.Sets++
	f.fresh = append(f.fresh, s)
	return s
}

// ranked is a rule of a set with its place in the order of its tier.
type ranked struct {
	half  *half
	index int
}

// compareRanked is the order that the comment of package policy gives.
func compareRanked(a, b ranked) int {
	order := [...]int{policy.Deny: 0, policy.Accept: 1, policy.Pass: 2}
	x, y := &a.half.rules[a.index], &b.half.rules[b.index]
	return cmp.Or(cmp.Compare(a.half.tier, b.half.tier), cmp.Compare(a.half.priority, b.half.priority), cmp.Compare(a.index, b.index),
		cmp.Compare(order[x.Action], order[y.Action]), compareRefs(a.half.ref, b.half.ref))
}

// contribute enters what the rules say with the peers of which they say it.
func (s *set) contribute(x *peers.Fact) {
	var rules []ranked
	for _, h := range s.halves {
		for i := range h.rules {
			rules = append(rules, ranked{h, i})
		}
	}
	slices.SortFunc(rules, compareRanked)
	for i, r := range rules {
		p := r.half.parts[r.index]
		one := contribution{tier: r.half.tier, word: tables.Word{
			Rank: uint32(i) + 1, Action: uint8(r.half.rules[r.index].Action), Rule: r.half.numbers[r.index].id,
		}}
		for _, a := range p.byName {
			named := one
			named.byName, named.protocol = true, a.protocol
			s.terms[a.atom] = append(s.terms[a.atom], named)
		}
		one.spans = p.spans
		for _, port := range p.named {
			one.spans = slices.Concat(one.spans, spansOf(x, port))
		}
		if len(one.spans) == 0 {
			continue
		}
		if p.anyPeer {
			s.any = append(s.any, one)
		}
		for _, a := range p.atoms {
			s.terms[a] = append(s.terms[a], one)
		}
		if p.cidrs != nil {
			s.blocks[p.cidrs.id] = append(s.blocks[p.cidrs.id], one)
		}
	}
}

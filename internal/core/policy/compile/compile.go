// Package compile turns policies into the contents of the datapath's maps, one change at a time.
//
// A Compiler is told of the cluster (policies, namespaces, nodes, pods, names) and of the pods of its node. Flush compares what they
// say now with what it has said before, and lists the writes to the maps (package tables) in an order in which no packet sees half
// of a policy.
//
//	policies of a local pod ─► set ──────────────┐
//	   │ their peers                             ├─► row (set, class), row (set, block) ─► ranges of ports
//	   ├─ atoms: selectors ─► signature ─► class ┤
//	   └─ lists of ipBlocks ► signature ─► block ┘
//
// Package peers knows the signature of each address: which peers of policies in use (atoms) it matches. Addresses of one signature are
// one class, those of the empty one are in none. Blocks are the same for prefixes, by the rules whose ipBlocks contain them.
//
// Sets and rows are never rewritten. A set holds the rules of one direction in their order; another effective policy is another set. A
// flush with new sets goes so:
//
//	widen    atoms of new sets split classes. To sets in use, parts of a class say what it said. Rows of the new sets are written
//	swap     each pod whose policy has changed gets its new sets with one write
//	settle   after the last packet that knows an old set: addresses get their final class, parts that now are alike are joined
//	delete   after the last packet that knows them: rows of old sets, and of classes without addresses
//
// A class keeps its number when only its signature changes, and of its parts the largest, so few addresses are written. An address that
// changes sides and a policy that changes in the same flush meet in a class of their own: old sets see the old side of it, new sets the new one.
//
// Of a packet, the side of one pod is judged at once. The two sides of one packet are judged by two sets.
package compile

import (
	"net/netip"
	"reflect"
	"slices"

	"github.com/berth-net/berth/internal/core/policy"
	"github.com/berth-net/berth/internal/core/policy/peers"
	"github.com/berth-net/berth/internal/core/policy/tables"
)

// Key is the caller's name of a pod, such as its UID.
type Key = peers.Key

// Options of a Compiler.
type Options struct {
	// Strict denies what no policy decides.
	Strict bool
	// FirstID is the first id of sets, classes and blocks; zero is one. What goes on with the maps or flows of another Compiler begins
	// above the ids of that one.
	FirstID uint32
	// Room is what the tables hold; zero is no limit. What has no room, the largest first, is denied, and is told by Problems.
	Room Size
}

// Compiler makes changes to the maps of what it is told. It belongs to one goroutine, and keeps what it is given: maps and slices must
// not be changed afterwards.
type Compiler struct {
	strict bool
	room   Size

	policies  map[policy.Ref]*document
	selecting map[string][]*document // by namespace of the subject; empty: across namespaces
	locals    map[uint32]*local
	localKeys map[Key]int // how many slots have it

	peers   *peers.Index
	uses    map[uint32]*use   // of atoms, by id
	classes map[string]*class // by signature

	sets     map[string]*set
	subjects map[*peers.Fact]*subject
	deny     *set // while an interface needs it
	blocks   blocks
	ranges   ranges
	rules    map[uint32]Rule
	numbers  map[Rule]*number

	size   Size
	ids    ids
	setIDs map[uint32]struct{} // that sets have
	lastID uint32              // of things that the maps of classes do not know: cidrs, rules, halves

	dirty pending
}

// pending is what has changed since the last flush.
type pending struct {
	any      bool
	locals   bool
	subjects []*subject
	retired  []uint32 // rules
}

// New makes a Compiler of empty maps.
func New(o Options) *Compiler {
	c := &Compiler{
		strict: o.Strict, room: o.Room, ids: ids{next: max(o.FirstID, 1), nextSet: max(o.FirstID&idMask, 1)}, setIDs: make(map[uint32]struct{}),
		policies: make(map[policy.Ref]*document), selecting: make(map[string][]*document), locals: make(map[uint32]*local),
		localKeys: make(map[Key]int), peers: peers.New(), uses: make(map[uint32]*use), classes: make(map[string]*class),
		sets: make(map[string]*set), subjects: make(map[*peers.Fact]*subject), rules: make(map[uint32]Rule), numbers: make(map[Rule]*number),
	}
	c.blocks = newBlocks()
	c.ranges = newRanges()
	return c
}

// newID names something that the maps do not know, for good.
func (c *Compiler) newID() uint32 {
	c.lastID++
	return c.lastID
}

// SetPolicy adds or replaces a policy.
func (c *Compiler) SetPolicy(p policy.Policy) {
	old := c.policies[p.Ref]
	if old != nil && reflect.DeepEqual(old.policy, p) {
		return
	}
	c.dirty.any = true
	doc := &document{policy: p}
	for d := range doc.halves {
		if old != nil && old.says(&p, policy.Direction(d)) {
			doc.halves[d] = old.halves[d]
			continue
		}
		doc.halves[d] = newHalf(c.newID(), &p, policy.Direction(d))
	}
	c.unlink(old)
	c.policies[p.Ref] = doc
	c.selecting[p.Subject.Namespace] = append(c.selecting[p.Subject.Namespace], doc)
	c.touchSelected(&p)
}

// DeletePolicy forgets a policy.
func (c *Compiler) DeletePolicy(ref policy.Ref) {
	c.unlink(c.policies[ref])
	delete(c.policies, ref)
}

// unlink takes a policy out of the index of subjects.
func (c *Compiler) unlink(doc *document) {
	if doc == nil {
		return
	}
	c.dirty.any = true
	c.touchSelected(&doc.policy)
	name := doc.policy.Subject.Namespace
	rest := slices.DeleteFunc(c.selecting[name], func(d *document) bool { return d == doc })
	if c.selecting[name] = rest; len(rest) == 0 {
		delete(c.selecting, name)
	}
}

// touchSelected marks the local subjects that a policy selects.
func (c *Compiler) touchSelected(p *policy.Policy) {
	for _, s := range c.subjects {
		if s.fact.SelectedBy(p.Subject) {
			c.touchSubject(s)
		}
	}
}

func (c *Compiler) touchSubject(s *subject) {
	c.dirty.any = true
	if !s.dirty {
		s.dirty = true
		c.dirty.subjects = append(c.dirty.subjects, s)
	}
}

// SetNamespace tells the labels of a namespace. One of which nothing is told has none.
func (c *Compiler) SetNamespace(name string, labels map[string]string) {
	if c.peers.SetNamespace(name, labels) {
		c.touchNamespace(name)
	}
}

// DeleteNamespace forgets the labels of a namespace.
func (c *Compiler) DeleteNamespace(name string) {
	if c.peers.DeleteNamespace(name) {
		c.touchNamespace(name)
	}
}

// touchNamespace marks local subjects of a namespace: other policies may select them.
func (c *Compiler) touchNamespace(name string) {
	for _, s := range c.subjects {
		if s.fact.Namespace() == name {
			c.touchSubject(s)
		}
	}
}

// SetPod adds or replaces a pod. Without addresses it is nobody's peer, but may be local. Of two pods with one address the one that
// came last has it.
func (c *Compiler) SetPod(key Key, p policy.Pod) {
	c.peers.SetPod(key, p)
	c.touchLocal(key)
}

// DeletePod forgets a pod.
func (c *Compiler) DeletePod(key Key) {
	c.peers.DeletePod(key)
	c.touchLocal(key)
}

// touchLocal makes the next flush look for the facts of local pods.
func (c *Compiler) touchLocal(key Key) {
	if c.localKeys[key] > 0 {
		c.dirty.any, c.dirty.locals = true, true
	}
}

// SetNode adds or replaces a node.
func (c *Compiler) SetNode(n policy.Node) { c.peers.SetNode(n) }

// DeleteNode forgets a node.
func (c *Compiler) DeleteNode(name string) { c.peers.DeleteNode(name) }

// SetResolved tells all addresses that a domain name stands for; none forgets it. The name is in lower case, without a dot at its end.
func (c *Compiler) SetResolved(domain string, addrs []netip.Addr) {
	c.peers.SetResolved(domain, addrs)
}

// SetLocal tells which pod an interface belongs to. Until the pod is told of, everything is denied there. A pod that is deleted keeps
// its policy for as long as it is local.
func (c *Compiler) SetLocal(slot uint32, key Key) {
	l := c.locals[slot]
	if l != nil && l.key == key && !l.gone {
		return
	}
	c.dirty.any, c.dirty.locals = true, true
	if l == nil {
		l = &local{slot: slot}
		c.locals[slot] = l
	} else if !l.gone {
		c.dropLocalKey(l.key)
	}
	l.key, l.gone, l.told = key, false, false
	c.localKeys[key]++
}

// DeleteLocal forgets an interface.
func (c *Compiler) DeleteLocal(slot uint32) {
	l := c.locals[slot]
	if l == nil || l.gone {
		return
	}
	c.dirty.any, c.dirty.locals = true, true
	c.dropLocalKey(l.key)
	l.gone = true
}

func (c *Compiler) dropLocalKey(key Key) {
	if c.localKeys[key]--; c.localKeys[key] == 0 {
		delete(c.localKeys, key)
	}
}

// Rule is what a number in the tables stands for.
type Rule struct {
	Policy    policy.Ref
	Tier      policy.Tier
	Direction policy.Direction
	Index     int    // in the policy's rules of the direction
	Name      string // as the resource has it, may be empty
}

// Rule says what a number in a word stands for. Numbers of rules that are gone are known until the next flush.
func (c *Compiler) Rule(id uint32) (Rule, bool) {
	r, ok := c.rules[id]
	return r, ok
}

// Isolating is the first policy for which a set has the flag Isolates, for logs. There is none where what a limit affects is denied.
func (c *Compiler) Isolating(id tables.Set) (policy.Ref, bool) {
	for _, s := range c.sets {
		if s.id != id {
			continue
		}
		for _, h := range s.halves {
			if h.isolates {
				return h.ref, true
			}
		}
	}
	return policy.Ref{}, false
}

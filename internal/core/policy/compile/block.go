package compile

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"github.com/berth-net/berth/internal/core/policy"
	"github.com/berth-net/berth/internal/core/policy/peers"
	"github.com/berth-net/berth/internal/core/policy/tables"
)

// cidrList are the ipBlocks of a rule in use: one list, however long, is one row of a set.
type cidrList struct {
	id     uint32
	key    string
	list   []policy.Block
	refs   int  // halves in use
	linked bool // prefixes have been looked up in it

	sets   map[*set]struct{}
	blocks map[*block]struct{}
}

// member is a list that has a CIDR, with the holes that it has there.
type member struct {
	of     *cidrList
	except []netip.Prefix
}

// contains tells whether all of a prefix that is no larger is in the block, given that it is in its CIDR.
func (m member) contains(p netip.Prefix) bool {
	return !slices.ContainsFunc(m.except, func(e netip.Prefix) bool { return within(p, e) })
}

func within(p, outer netip.Prefix) bool { return outer.Bits() <= p.Bits() && outer.Contains(p.Addr()) }

// prefixes are where addresses begin or cease to be in the list.
func (x *cidrList) prefixes() []netip.Prefix {
	var all []netip.Prefix
	for _, b := range x.list {
		all = append(all, b.CIDR.Masked())
		for _, e := range b.Except {
			if e.IsValid() {
				all = append(all, e.Masked())
			}
		}
	}
	slices.SortFunc(all, comparePrefixes)
	return slices.Compact(all)
}

func comparePrefixes(a, b netip.Prefix) int {
	return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
}

// block is a class of prefixes in the tables.
type block struct {
	id  uint32
	sig peers.Signature // of lists
	key string
	n   int // prefixes in the tables
}

// boundary is a prefix at which some block begins or has a hole. The longest one that contains an address tells all lists that it is in.
type boundary struct {
	prefix netip.Prefix
	refs   int // lists that it is of
	block  *block
	told   bool // it is in the tables
}

// blocks is what is known of prefixes.
type blocks struct {
	cidrs      map[string]*cidrList
	byID       map[uint32]*cidrList
	at         map[netip.Prefix][]member // by CIDR
	lengths    [2][129]int               // CIDRs by family and length
	boundaries map[netip.Prefix]*boundary
	told       [2]int // boundaries in the tables, by family
	bySig      map[string]*block
}

func newBlocks() blocks {
	return blocks{
		cidrs: make(map[string]*cidrList), byID: make(map[uint32]*cidrList), at: make(map[netip.Prefix][]member),
		boundaries: make(map[netip.Prefix]*boundary), bySig: make(map[string]*block),
	}
}

// keyOf is the same for lists that say the same.
func keyOf(list []policy.Block) string {
	texts := make([]string, 0, len(list))
	for _, b := range list {
		excepts := slices.SortedFunc(slices.Values(b.Except), comparePrefixes)
		text := b.CIDR.Masked().String()
		for _, e := range slices.Compact(excepts) {
			text += " " + e.Masked().String()
		}
		texts = append(texts, text)
	}
	slices.Sort(texts)
	return strings.Join(slices.Compact(texts), ",")
}

// acquireCIDRs is the list of some blocks, one reference more.
func (c *Compiler) acquireCIDRs(blocks []policy.Block) *cidrList {
	key := keyOf(blocks)
	x, ok := c.blocks.cidrs[key]
	if !ok {
		x = &cidrList{id: c.newID(), key: key, list: blocks, sets: make(map[*set]struct{}), blocks: make(map[*block]struct{})}
		c.blocks.cidrs[key], c.blocks.byID[x.id] = x, x
	}
	x.refs++
	return x
}

func familyOf(a netip.Addr) int {
	if a.Is4() {
		return 0
	}
	return 1
}

// link enters a list among those that prefixes are looked up in.
func (b *blocks) link(x *cidrList) {
	for _, m := range x.list {
		at := m.CIDR.Masked()
		b.at[at] = append(b.at[at], member{x, m.Except})
		b.lengths[familyOf(at.Addr())][at.Bits()]++
	}
	for _, p := range x.prefixes() {
		if b.boundaries[p] == nil {
			b.boundaries[p] = &boundary{prefix: p}
		}
		b.boundaries[p].refs++
	}
}

// unlink is the reverse of link. Boundaries stay, without references.
func (b *blocks) unlink(x *cidrList) {
	for _, m := range x.list {
		at := m.CIDR.Masked()
		b.lengths[familyOf(at.Addr())][at.Bits()]--
		b.at[at] = slices.DeleteFunc(b.at[at], func(o member) bool { return o.of == x })
		if len(b.at[at]) == 0 {
			delete(b.at, at)
		}
	}
	for _, p := range x.prefixes() {
		b.boundaries[p].refs--
	}
}

// covering calls what for each CIDR in use that contains a prefix, until it answers false.
func (b *blocks) covering(p netip.Prefix, what func(cidr netip.Prefix) bool) {
	lengths := &b.lengths[familyOf(p.Addr())]
	for bits := 0; bits <= p.Bits(); bits++ {
		if lengths[bits] == 0 {
			continue
		}
		if at, err := p.Addr().Prefix(bits); err == nil && !what(at) {
			return
		}
	}
}

// signature says which lists a prefix is in.
func (b *blocks) signature(p netip.Prefix) peers.Signature {
	var features []peers.Feature
	b.covering(p, func(at netip.Prefix) bool {
		for _, m := range b.at[at] {
			if m.contains(p) {
				features = append(features, peers.NewFeature(m.of.id, 0))
			}
		}
		return true
	})
	return peers.NewSignature(features)
}

// affected are the boundaries of lists and those inside of their CIDRs, in order.
func (b *blocks) affected(changed []*cidrList) []*boundary {
	inside, of := make(map[netip.Prefix]bool), make(map[netip.Prefix]bool)
	for _, x := range changed {
		for _, m := range x.list {
			inside[m.CIDR.Masked()] = true
		}
		for _, p := range x.prefixes() {
			of[p] = true
		}
	}
	var all []*boundary
	for _, e := range b.boundaries {
		hit := of[e.prefix]
		b.covering(e.prefix, func(at netip.Prefix) bool {
			hit = hit || inside[at]
			return !hit
		})
		if hit {
			all = append(all, e)
		}
	}
	slices.SortFunc(all, func(x, y *boundary) int { return comparePrefixes(x.prefix, y.prefix) })
	return all
}

// widenBlocks enters lists that came. To sets in use each prefix still says what it said.
func (f *flush) widenBlocks() {
	if len(f.cidrsCame) == 0 {
		return
	}
	b := &f.c.blocks
	for _, x := range f.cidrsCame {
		b.link(x)
	}
	for _, e := range b.affected(f.cidrsCame) {
		f.setBlock(e, b.signature(e.prefix))
	}
}

// narrowBlocks takes out lists that went, which no packet is judged by any more.
func (f *flush) narrowBlocks() {
	if len(f.cidrsWent) == 0 {
		return
	}
	b := &f.c.blocks
	affected := b.affected(f.cidrsWent) // while their CIDRs are known
	for _, x := range f.cidrsWent {
		b.unlink(x)
	}
	for _, e := range affected {
		if e.refs > 0 {
			f.setBlock(e, b.signature(e.prefix))
			continue
		}
		delete(b.boundaries, e.prefix)
		f.leaveBlock(e)
		f.c.size.Prefixes--
		b.told[familyOf(e.prefix.Addr())]--
		f.emit(tables.Change{Blocks: &tables.BlockChange{Prefix: e.prefix, Delete: true}})
	}
	for _, x := range f.cidrsWent {
		delete(b.cidrs, x.key)
	}
}

// setBlock gives a prefix the block of a signature, which is none where it is a hole.
func (f *flush) setBlock(e *boundary, sig peers.Signature) {
	key := sig.Key()
	if e.told && (e.block == nil && key == "" || e.block != nil && e.block.key == key) {
		return
	}
	f.leaveBlock(e)
	change := tables.BlockChange{Prefix: e.prefix}
	if key != "" {
		k, ok := f.c.blocks.bySig[key]
		if !ok {
			k = f.newBlock(sig, key)
		}
		k.n++
		e.block, change.Block = k, tables.Block(k.id)
	}
	if !e.told {
		e.told = true
		f.c.size.Prefixes++
		f.c.blocks.told[familyOf(e.prefix.Addr())]++
	}
	f.emit(tables.Change{Blocks: &change})
}

func (f *flush) leaveBlock(e *boundary) {
	if e.block == nil {
		return
	}
	if e.block.n--; e.block.n == 0 {
		f.emptyBlocks = append(f.emptyBlocks, e.block)
	}
	e.block = nil
}

// newBlock makes a block with its rows.
func (f *flush) newBlock(sig peers.Signature, key string) *block {
	k := &block{id: f.id(), sig: sig, key: key}
	f.c.blocks.bySig[key] = k
	f.c.size.Blocks++
	var sets []*set
	for id := range sig.IDs() {
		x := f.c.blocks.byID[id]
		x.blocks[k] = struct{}{}
		for s := range x.sets {
			if !s.deleted {
				sets = append(sets, s)
			}
		}
	}
	slices.SortFunc(sets, bySet)
	for _, s := range slices.Compact(sets) {
		f.writeBlockRow(s, k)
	}
	return k
}

// dropBlocks deletes the rows of blocks that no prefix has.
func (f *flush) dropBlocks() {
	for _, k := range f.emptyBlocks {
		if k.n > 0 || f.c.blocks.bySig[k.key] != k {
			continue // it has been taken again, or has gone already
		}
		delete(f.c.blocks.bySig, k.key)
		f.c.size.Blocks--
		var sets []*set
		for id := range k.sig.IDs() {
			x := f.c.blocks.byID[id]
			delete(x.blocks, k)
			for s := range x.sets {
				sets = append(sets, s)
			}
		}
		slices.SortFunc(sets, bySet)
		for _, s := range slices.Compact(sets) {
			f.deleteRow(s, tables.RowKey{Set: s.id, OfBlock: true, ID: k.id})
		}
	}
}

package ledger

import (
	"net/netip"
	"slices"
	"time"

	"github.com/berth-net/berth/internal/core/vpc"
)

// Observe folds the blocks that a read of EC2, asked at askedAt, shows of an interface. It tells whether the interface's
// record changed.
func (l *Ledger) Observe(i *Interface, shown []vpc.Block, askedAt time.Time) (changed bool) {
	listed := make(map[vpc.Block]bool, len(shown))
	for _, id := range shown {
		listed[id] = true
		if b := i.Blocks[id]; b != nil {
			changed = l.listed(b, askedAt) || changed
			continue
		}
		if at, ok := l.removed[place{i.id, id}]; ok && askedAt.Before(at.Add(Settle)) {
			continue
		}
		if l.elsewhere(id, askedAt) {
			continue
		}
		l.take(i, id, askedAt)
		changed = true
	}
	if !askedAt.After(i.WroteAt) {
		return changed
	}
	for id, b := range i.Blocks {
		if !listed[id] && l.omitted(b, askedAt) {
			i.drop(id.First())
			changed = true
		}
	}
	return changed
}

// listed ends the doubt about a block that EC2 lists, if the read is late enough to tell.
func (l *Ledger) listed(b *Block, askedAt time.Time) (changed bool) {
	before := b.Doubt
	b.MissingSince = time.Time{}
	if b.Doubt != "" {
		b.Doubt = l.doubt(b, askedAt)
	}
	return before == MaybeGone && b.Doubt == ""
}

// doubt is what is to be thought of a block that a read shows and that nobody vouches for.
func (l *Ledger) doubt(b *Block, askedAt time.Time) Doubt {
	if askedAt.Before(l.doubtUntil) && b.Count(InUse) < len(b.addrs) {
		return MaybeGone
	}
	return ""
}

// omitted notes that EC2 leaves a block out, and tells whether it is believed gone: after two reads far enough apart, and
// never while a pod may live on it.
func (l *Ledger) omitted(b *Block, askedAt time.Time) (gone bool) {
	if b.Doubt != NotListed {
		b.Doubt, b.MissingSince = NotListed, askedAt
	}
	return b.Count(InUse, Held) == 0 && !askedAt.Before(b.DecidedAt())
}

// DecidedAt is from when on a read that leaves the block out again ends it: a while after the first that did, and not as long
// as a read may lag behind the call that brought it. It would come back as free, whatever cooled in it.
func (b *Block) DecidedAt() time.Time {
	at := b.MissingSince.Add(MissingFor)
	if lags := b.gained.Add(Settle); lags.After(at) {
		return lags
	}
	return at
}

// elsewhere tells whether a block lies on another interface of ours, or in another form on this one, by a word that is younger
// than what this read may show. That the same read leaves it out there proves as little.
func (l *Ledger) elsewhere(id vpc.Block, askedAt time.Time) bool {
	for _, i := range l.interfaces {
		if askedAt.Before(i.WroteAt.Add(Settle)) && i.overlaps(id) {
			return true
		}
	}
	return false
}

// Gain adds blocks that EC2 has just assigned to an interface. Our own call vouches for them, also for those that the answer
// to a read, asked meanwhile, has brought before its own.
func (l *Ledger) Gain(i *Interface, blocks []vpc.Block) {
	for _, id := range blocks {
		switch b := i.Blocks[id]; {
		case b == nil:
			l.take(i, id, l.doubtUntil)
		case b.Doubt == MaybeGone:
			b.Doubt = ""
		default:
			continue
		}
		i.Blocks[id].gained = i.WroteAt
	}
}

// take adds a block that EC2 shows and the ledger did not know there.
func (l *Ledger) take(i *Interface, id vpc.Block, askedAt time.Time) {
	delete(l.removed, place{i.id, id})
	for _, other := range l.interfaces { // EC2 moved it between our interfaces, or gave it anew in another form
		other.dropOverlaps(id)
	}
	b := i.add(id)
	for _, a := range b.addrs {
		l.idle(a)
	}
	l.cool(b)
	for k, p := range l.pods {
		if id.Contains(p.Addr) {
			i.Addresses[p.Addr].Phase, i.Addresses[p.Addr].Owner, p.ENI = InUse, k, i.id
		}
	}
	b.Doubt = l.doubt(b, askedAt)
}

// cool lets those addresses of a block cool that pods gave back before it was known.
func (l *Ledger) cool(b *Block) {
	for _, a := range b.addrs {
		if r, ok := l.released[a.IP]; ok && a.Phase == Free {
			a.cool(r.at, r.until)
		}
		delete(l.released, a.IP)
	}
}

// Confirm doubts the blocks that a hint does not show either, while EC2 itself cannot be asked. Who has an address of one keeps
// it; the rest of a prefix is given to nobody.
func (i *Interface) Confirm(hint []vpc.Block, since time.Time) {
	for id, b := range i.Blocks {
		if b.Count(Leaving) == 0 && !slices.Contains(hint, id) {
			b.Doubt, b.MissingSince = NotListed, since
		}
	}
}

// Left ends what Leave began: EC2 has the blocks back.
func (l *Ledger) Left(i *Interface, blocks []vpc.Block, now time.Time) {
	for _, id := range blocks {
		if b := i.Blocks[id]; b != nil && b.Count(Leaving) == len(b.addrs) {
			i.drop(id.First())
			l.removed[place{i.id, id}] = now
		}
	}
}

// Keep takes back what Leave began and EC2 refused: the addresses serve pods again.
func (l *Ledger) Keep(i *Interface) {
	for _, b := range i.Blocks {
		l.stay(b)
	}
}

// Removed tells whether a block was given back a while ago.
func (l *Ledger) Removed(eni vpc.ENIID, id vpc.Block) bool {
	_, ok := l.removed[place{eni, id}]
	return ok
}

// EachRemoved calls f with the blocks that were given back a while ago.
func (l *Ledger) EachRemoved(f func(eni vpc.ENIID, id vpc.Block, at time.Time)) {
	for p, at := range l.removed {
		f(p.eni, p.block, at)
	}
}

// Block returns the block of an address on any interface, nil when unknown.
func (l *Ledger) Block(ip netip.Addr) *Block {
	if a := l.Find(ip); a != nil {
		return a.Block
	}
	return nil
}
